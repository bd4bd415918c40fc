//! The states of a client (RFC 2131, section 4.4): what to send, and when, and which lease counts. No system call is made here.

use core::net::Ipv4Addr;
use core::time::Duration;

use crate::message::{Kind, Offer, Reply, Request};

/// The first answer is waited for this long, the next one twice as long, and so on up to the longest.
const FIRST: Duration = Duration::from_secs(1);
/// The longest that a request without an answer waits for the next one. RFC 2131 proposes 64 s; a cable that is plugged in is
/// noticed otherwise, but a server that starts late is not.
const LONGEST: Duration = Duration::from_secs(16);
/// Requests for the same offer; then it is looked for anew.
const MOST_REQUESTS: u32 = 4;
/// Questions whether the lease still counts, where the cable was unplugged.
const MOST_CHECKS: u32 = 3;
/// The least time between two requests for more time (RFC 2131, section 4.4.5).
const LEAST_PAUSE: Duration = Duration::from_secs(60);
/// After a refusal, so that a server that refuses what it offers is not asked for ever without a pause.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// A lease in use. Times are those since the machine's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it gives.
    pub offer: Offer,
    /// Who gave it.
    pub server: Option<Ipv4Addr>,
    /// When it was got, or renewed last.
    pub bound: Duration,
    /// When its server is asked for more time, and when everyone.
    pub renew: Duration,
    /// See `renew`.
    pub rebind: Duration,
    /// Nothing is for ever.
    pub end: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Looks for an offer.
    Selecting,
    /// Has chosen one.
    Requesting { offer: Offer, server: Option<Ipv4Addr> },
    /// Has a lease. `asking` is whether it asks for more time, or whether it still counts.
    Bound { lease: Lease, asking: bool },
}

/// What the client wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this to a server; nothing is everyone.
    Send(Request, Option<Ipv4Addr>),
    /// Use this lease; a lease of before ends with it where it differs.
    Bind(Box<Lease>),
    /// The lease counts no more.
    Unbind,
    /// Say this.
    Say(String),
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    state: State,
    /// Names the exchange; random.
    exchange: u32,
    /// Requests without an answer in this state.
    attempts: u32,
    /// When the exchange began.
    since: Duration,
    /// When there is something to do.
    due: Duration,
    random: u32,
}

impl Client {
    /// A client that asks at once. `seed` is random, and another one for each machine: many may start at the same time.
    pub fn new(seed: u32, now: Duration) -> Client {
        let mut client =
            Client { state: State::Selecting, exchange: 0, attempts: 0, since: now, due: now, random: seed | 1 };
        client.exchange = client.random();
        client
    }

    /// When [`Client::tick`] has something to do.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Names the exchange whose answers count.
    pub fn exchange(&self) -> u32 {
        self.exchange
    }

    /// Whether an answer may come: the state of a lease that nobody asks about needs no open port.
    pub fn is_asking(&self) -> bool {
        !matches!(self.state, State::Bound { asking: false, .. })
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        if now < self.due {
            return Vec::new();
        }
        match self.state.clone() {
            State::Selecting => {
                let say = (self.attempts == 3).then(|| Action::Say("no server answers; asking on".into()));
                let request = self.request(true, now);
                self.wait_longer(now);
                [Some(Action::Send(request, None)), say].into_iter().flatten().collect()
            }
            State::Requesting { offer, server } if self.attempts < MOST_REQUESTS => {
                let request = Request { wanted: Some(offer.address), server, ..self.request(false, now) };
                self.wait_longer(now);
                vec![Action::Send(request, None)]
            }
            State::Requesting { .. } => {
                self.restart(now, Duration::ZERO);
                self.tick(now)
            }
            State::Bound { lease, asking } => self.tick_bound(lease, asking, now),
        }
    }

    fn tick_bound(&mut self, lease: Lease, asking: bool, now: Duration) -> Vec<Action> {
        if lease.end.is_some_and(|end| end <= now) {
            self.restart(now, Duration::ZERO);
            let mut actions = vec![Action::Unbind, Action::Say(format!("the lease of {} ended", lease.offer.address))];
            actions.extend(self.tick(now));
            return actions;
        }
        if asking && now < lease.renew && self.attempts >= MOST_CHECKS {
            // The lease counts until its end without an answer as well (RFC 2131, section 3.7).
            self.due = lease.renew;
            self.state = State::Bound { lease, asking: false };
            return Vec::new();
        }
        if !asking {
            self.begin(now);
        }
        let request = Request { client: lease.offer.address, ..self.request(false, now) };
        // Its own server until the time of rebinding, then everyone; everyone too, if the cable was unplugged: the network can
        // be another one.
        let server = lease.server.filter(|_| (lease.renew..lease.rebind).contains(&now));
        if now < lease.renew {
            self.wait_longer(now);
        } else {
            self.attempts += 1;
            let until = if now < lease.rebind { Some(lease.rebind) } else { lease.end };
            let half = until.map_or(LEAST_PAUSE, |until| (until.saturating_sub(now) / 2).max(LEAST_PAUSE));
            self.due = [Some(now + half), until, lease.end].into_iter().flatten().min().unwrap_or(now + half);
        }
        self.state = State::Bound { lease, asking: true };
        vec![Action::Send(request, server)]
    }

    /// The cable may have been unplugged, or somebody wants to know: asks whether the lease still counts, or for one at once.
    pub fn check(&mut self, now: Duration) -> Vec<Action> {
        match self.state.clone() {
            State::Bound { lease, .. } => self.tick_bound(lease, false, now),
            State::Selecting | State::Requesting { .. } => {
                self.restart(now, Duration::ZERO);
                self.tick(now)
            }
        }
    }

    /// Takes an answer to [`Client::exchange`].
    pub fn receive(&mut self, reply: Reply, now: Duration) -> Vec<Action> {
        let Reply { kind, server, offer } = reply;
        match (self.state.clone(), kind) {
            (State::Selecting, Kind::Offer) => {
                self.state = State::Requesting { offer, server };
                self.attempts = 0;
                self.due = now;
                self.tick(now)
            }
            (State::Requesting { .. } | State::Bound { asking: true, .. }, Kind::Ack) => self.bind(offer, server, now),
            // Only the server that was chosen may refuse; where everyone was asked, everyone may.
            (State::Requesting { server: chosen, .. }, Kind::Nak) if chosen == server || server.is_none() => {
                self.restart(now, AFTER_REFUSAL);
                vec![Action::Say(format!("{} refuses what it offered", server_name(server)))]
            }
            (State::Bound { lease, asking: true }, Kind::Nak) => {
                self.restart(now, AFTER_REFUSAL);
                let words = format!("{} takes {} back", server_name(server), lease.offer.address);
                vec![Action::Unbind, Action::Say(words)]
            }
            _ => Vec::new(),
        }
    }

    fn bind(&mut self, offer: Offer, server: Option<Ipv4Addr>, now: Duration) -> Vec<Action> {
        let before = match &self.state {
            State::Bound { lease, .. } => Some(lease.clone()),
            _ => None,
        };
        let server = server.or(before.as_ref().and_then(|lease| lease.server));
        let seconds = |count: u32| Duration::from_secs(count.into());
        let for_ever = offer.seconds == u32::MAX;
        // A lease of no time at all would be asked for without a pause.
        let whole = seconds(offer.seconds.max(60));
        // At no time at all it would be asked for without a pause, too.
        let said = |time: Option<u32>| time.filter(|time| *time > 0).map(seconds);
        let rebind = said(offer.rebind).filter(|time| *time < whole).unwrap_or(whole / 8 * 7);
        let renew = said(offer.renew).filter(|time| *time < rebind).unwrap_or((whole / 2).min(rebind));
        let lease = Lease {
            server,
            bound: now,
            renew: now + renew,
            rebind: now + rebind,
            end: (!for_ever).then_some(now + whole),
            offer,
        };
        let offer = &lease.offer;
        let say = before.is_none_or(|before| before.offer.address != offer.address).then(|| {
            let time = if for_ever { "ever".into() } else { format!("{} s", whole.as_secs()) };
            Action::Say(format!("{}/{} from {} for {time}", offer.address, offer.length, server_name(server)))
        });
        self.due = lease.renew;
        self.attempts = 0;
        self.state = State::Bound { lease: lease.clone(), asking: false };
        [Some(Action::Bind(Box::new(lease))), say].into_iter().flatten().collect()
    }

    /// Looks for an offer anew after a time.
    fn restart(&mut self, now: Duration, pause: Duration) {
        self.state = State::Selecting;
        self.begin(now);
        self.due = now + pause;
    }

    /// Begins an exchange.
    fn begin(&mut self, now: Duration) {
        self.exchange = self.random();
        self.since = now;
        self.attempts = 0;
    }

    fn request(&self, discover: bool, now: Duration) -> Request {
        let seconds = u16::try_from(now.saturating_sub(self.since).as_secs()).unwrap_or(u16::MAX);
        let client = Ipv4Addr::UNSPECIFIED;
        Request { discover, exchange: self.exchange, seconds, client, wanted: None, server: None }
    }

    /// Waits longer with each attempt, and up to a second more, so that machines that start together do not ask together.
    fn wait_longer(&mut self, now: Duration) {
        let pause = FIRST.saturating_mul(1 << self.attempts.min(10)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        self.due = now + pause + Duration::from_millis(u64::from(self.random() % 1000));
    }

    /// The next number of a xorshift generator (Marsaglia 2003).
    fn random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

fn server_name(server: Option<Ipv4Addr>) -> String {
    server.map_or("a server without a name".into(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn offer(last: u8, seconds: u32) -> Offer {
        Offer {
            address: Ipv4Addr::new(10, 0, 0, last),
            length: 24,
            routers: vec![SERVER],
            routes: vec![],
            name_servers: vec![],
            ntp_servers: vec![],
            log_servers: vec![],
            search: vec![],
            host_name: None,
            mtu: None,
            seconds,
            renew: None,
            rebind: None,
        }
    }

    fn reply(kind: Kind, offer: Offer) -> Reply {
        Reply { kind, server: Some(SERVER), offer }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn sent(actions: &[Action]) -> Vec<(bool, Ipv4Addr, Option<Ipv4Addr>)> {
        let sent = actions.iter().filter_map(|action| match action {
            Action::Send(request, server) => Some((request.discover, request.client, *server)),
            _ => None,
        });
        sent.collect()
    }

    /// A client with a lease of so many seconds, from time 0.
    fn bound(seconds: u32) -> Client {
        let mut client = Client::new(7, at(0));
        assert_eq!(sent(&client.tick(at(0))), [(true, Ipv4Addr::UNSPECIFIED, None)]);
        let request = client.receive(reply(Kind::Offer, offer(5, seconds)), at(0));
        assert!(matches!(&request[..], [Action::Send(Request { wanted: Some(_), server: Some(_), .. }, None)]));
        let bound = client.receive(reply(Kind::Ack, offer(5, seconds)), at(0));
        let Action::Bind(lease) = &bound[0] else { panic!("{bound:?}") };
        assert_eq!((&lease.offer, lease.server, lease.bound), (&offer(5, seconds), Some(SERVER), at(0)));
        assert!(matches!(&bound[1], Action::Say(words) if words.starts_with("10.0.0.5/24 from 10.0.0.1")));
        client
    }

    #[test]
    fn a_lease_is_renewed_then_rebound_then_lost() {
        let mut client = bound(3600);
        assert_eq!(client.due(), at(1800));
        let own = Ipv4Addr::new(10, 0, 0, 5);
        assert_eq!(sent(&client.tick(at(1800))), [(false, own, Some(SERVER))]);
        // Half of what is left until the time of rebinding, 3150 s.
        assert_eq!(client.due(), at(1800 + 675));
        assert_eq!(sent(&client.tick(at(3150))), [(false, own, None)]);
        assert!(client.tick(client.due() - at(1)).is_empty());
        let actions = client.tick(at(3600));
        assert_eq!((&actions[0], sent(&actions)), (&Action::Unbind, vec![(true, Ipv4Addr::UNSPECIFIED, None)]));
    }

    #[test]
    fn a_renewed_lease_begins_anew_and_says_nothing() {
        let mut client = bound(3600);
        assert!(!client.is_asking());
        client.tick(at(1800));
        assert!(client.is_asking());
        let renewed = client.receive(reply(Kind::Ack, offer(5, 3600)), at(1801));
        let [Action::Bind(lease)] = &renewed[..] else { panic!("{renewed:?}") };
        assert_eq!((lease.bound, lease.renew, lease.end), (at(1801), at(1801 + 1800), Some(at(1801 + 3600))));
        assert_eq!(client.due(), at(1801 + 1800));
        // Nobody asked.
        assert!(client.receive(reply(Kind::Nak, offer(5, 0)), at(1802)).is_empty());
    }

    #[test]
    fn a_refusal_ends_the_lease_and_asks_anew_after_a_pause() {
        let mut client = bound(3600);
        let old = client.exchange();
        client.tick(at(1800));
        assert_eq!(client.receive(reply(Kind::Nak, offer(5, 0)), at(1801))[0], Action::Unbind);
        assert_ne!(client.exchange(), old);
        assert!(client.tick(at(1801)).is_empty());
        assert_eq!(sent(&client.tick(at(1802))), [(true, Ipv4Addr::UNSPECIFIED, None)]);
    }

    #[test]
    fn questions_without_an_answer_become_rarer() {
        let mut client = Client::new(3, at(0));
        let mut times = Vec::new();
        while times.len() < 8 {
            let due = client.due();
            assert_eq!(client.tick(due).iter().filter(|action| matches!(action, Action::Send(..))).count(), 1);
            times.push(client.due() - due);
        }
        for (time, seconds) in times.iter().zip([1, 2, 4, 8, 16, 16, 16, 16]) {
            assert!((at(seconds)..at(seconds + 1)).contains(time), "{times:?}");
        }
    }

    #[test]
    fn an_offer_that_is_not_confirmed_is_dropped() {
        let mut client = Client::new(3, at(0));
        client.tick(at(0));
        client.receive(reply(Kind::Offer, offer(5, 60)), at(0));
        let discovers = |client: &mut Client| {
            let due = client.due();
            sent(&client.tick(due))[0].0
        };
        let asked: Vec<bool> = (0..4).map(|_| discovers(&mut client)).collect();
        assert_eq!(asked, [false, false, false, true]);
    }

    #[test]
    fn after_a_cable_was_unplugged_everyone_is_asked_and_silence_keeps_the_lease() {
        let mut client = bound(3600);
        let own = Ipv4Addr::new(10, 0, 0, 5);
        assert_eq!(sent(&client.check(at(100))), [(false, own, None)]);
        let mut now = at(100);
        for _ in 0..MOST_CHECKS {
            now = client.due();
            client.tick(now);
        }
        assert!(now < at(120));
        assert_eq!(client.due(), at(1800));
        assert_eq!(sent(&client.tick(at(1800))), [(false, own, Some(SERVER))]);
    }

    #[test]
    fn leases_for_ever_and_for_no_time() {
        let mut client = bound(3600);
        client.tick(at(1800));
        let at_once = Offer { renew: Some(0), rebind: Some(0), ..offer(5, 3600) };
        client.receive(reply(Kind::Ack, at_once), at(1800));
        assert_eq!(client.due(), at(3600));
        let mut client = bound(u32::MAX);
        assert!(client.due() > at(1 << 30));
        assert!(client.tick(at(1 << 30)).is_empty());
        assert_eq!(bound(0).due(), at(30));
    }
}
