use super::*;
use crate::net::config::{Rule, prefix};
use crate::net::{cmdline, config};

const ZERO: Duration = Duration::ZERO;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A wired card of number `index`.
fn card(index: u32, up: bool, carrier: bool) -> Link {
    Link {
        index,
        name: format!("eth{index}"),
        mac: Some([2, 0, 0, 0, 0, index as u8]),
        up,
        carrier,
        loopback: false,
        ethernet: true,
        enslaved: false,
        kind: String::new(),
        device: true,
        mtu: 1500,
    }
}

fn config_of(files: &[&str], command_line: &str) -> Config {
    let rules = files.iter().map(|text| config::parse(text).0.unwrap()).collect::<Vec<Rule>>();
    cmdline::parse(command_line).with_files(rules)
}

fn reconciler(files: &[&str], command_line: &str) -> Reconciler {
    Reconciler::new(config_of(files, command_line))
}

fn v4(text: &str) -> Prefix {
    prefix(text).unwrap()
}

fn start(index: u32) -> Action {
    Action::StartClient { name: format!("eth{index}"), metric: 100 + 10 * index, mtu: true }
}

fn stop(index: u32) -> [Action; 2] {
    [Action::StopClient(format!("eth{index}")), Action::ForgetLease(index, format!("eth{index}"))]
}

#[test]
fn without_files_a_card_is_set_up_and_asks_when_it_has_a_carrier() {
    let mut reconciler = reconciler(&[], "");
    assert_eq!(reconciler.link(card(2, false, false), true, ZERO), [Action::Up(2)]);
    assert_eq!(reconciler.link(card(2, true, false), true, ZERO), []);
    assert_eq!(reconciler.link(card(2, true, true), true, ZERO), [start(2)]);
    assert_eq!(reconciler.link(card(2, true, true), true, ZERO), [], "news that change nothing");
    assert_eq!(reconciler.gone(2), stop(2));
    assert_eq!(reconciler.gone(2), []);
}

#[test]
fn a_card_that_is_up_already_asks_at_once() {
    assert_eq!(reconciler(&[], "").link(card(2, true, true), true, ZERO), [start(2)]);
}

#[test]
fn what_is_no_wired_card_is_left_alone() {
    let mut reconciler = reconciler(&[], "");
    assert_eq!(reconciler.link(card(2, true, true), false, ZERO), []);
    let lo = Link { loopback: true, name: "lo".into(), ..card(1, false, false) };
    assert_eq!(reconciler.link(lo, false, ZERO), [Action::Up(1)]);
}

#[test]
fn a_static_host_from_a_file() {
    let file = "match = 'eth2'\naddresses = '192.168.1.5/24'\ngateway = '192.168.1.1'\ndns = '9.9.9.9'\n\
                search = ['a.org', 'b.org']\nmtu = 9000\nra = false\nipv6 = true";
    let mut reconciler = reconciler(&[file], "");
    let ipv6 = |name, value| Action::Ipv6("eth2".into(), name, Some(value));
    let expected = [Action::Mtu(2, 9000), ipv6("disable_ipv6", "0"), ipv6("accept_ra", "0"), Action::Up(2)];
    assert_eq!(reconciler.link(card(2, false, false), true, ZERO), expected);
    let route = Route { to: None, via: Some([192, 168, 1, 1].into()), metric: 120, on_link: false };
    let text = "search a.org b.org\nnameserver 9.9.9.9\n";
    let applied = [
        Action::Address(2, v4("192.168.1.5/24"), true),
        Action::Route(2, route, true),
        Action::Resolver(Origin::Static, "eth2".into(), text.into()),
    ];
    assert_eq!(reconciler.link(card(2, true, false), true, ZERO), applied);
    assert_eq!(reconciler.link(card(2, true, true), true, ZERO), [], "no client");
    // Set down by hand, and up again: the kernel dropped the routes.
    assert_eq!(reconciler.link(card(2, false, false), true, ZERO), []);
    assert_eq!(reconciler.link(card(2, true, true), true, ZERO), applied);
    // The kernel sets an interface down before it takes it away.
    assert_eq!(reconciler.link(card(2, false, false), true, ZERO), []);
    assert_eq!(reconciler.gone(2), [Action::Resolver(Origin::Static, "eth2".into(), String::new())]);
}

#[test]
fn a_short_loss_of_the_carrier_asks_for_the_lease_again() {
    let mut reconciler = reconciler(&[], "");
    reconciler.link(card(2, true, true), true, ZERO);
    reconciler.address(2, v4("10.0.2.15/24"), true, true);
    assert_eq!(reconciler.link(card(2, true, false), true, at(5)), []);
    assert_eq!(reconciler.deadline(), Some(at(15)));
    assert_eq!(reconciler.tick(at(14)), []);
    assert_eq!(reconciler.link(card(2, true, true), true, at(14)), [Action::Renew("eth2".into())]);
    assert_eq!(reconciler.deadline(), None);
}

#[test]
fn a_client_without_an_address_starts_anew_when_the_carrier_is_back() {
    let mut reconciler = reconciler(&[], "");
    reconciler.link(card(2, true, true), true, ZERO);
    reconciler.link(card(2, true, false), true, at(5));
    assert_eq!(reconciler.link(card(2, true, true), true, at(6)), [Action::RestartClient("eth2".into())]);
}

#[test]
fn a_long_loss_of_the_carrier_stops_the_client() {
    let mut reconciler = reconciler(&[], "");
    reconciler.link(card(2, true, true), true, ZERO);
    reconciler.link(card(2, true, false), true, at(5));
    assert_eq!(reconciler.tick(at(15)), stop(2));
    assert_eq!(reconciler.deadline(), None);
    assert_eq!(reconciler.link(card(2, true, true), true, at(99)), [start(2)]);
}

#[test]
fn another_name_is_another_interface() {
    let mut reconciler = reconciler(&["match = 'lan*'\ndhcp = true"], "ip=off");
    assert_eq!(reconciler.link(card(2, true, true), true, ZERO), []);
    let renamed = Link { name: "lan0".into(), ..card(2, true, true) };
    let actions = reconciler.link(renamed, true, ZERO);
    assert_eq!(actions, [Action::StartClient { name: "lan0".into(), metric: 120, mtu: true }]);
    assert_eq!(reconciler.name(2), Some("lan0"));
    let actions = reconciler.link(card(2, true, true), true, ZERO);
    assert_eq!(actions[0], Action::StopClient("lan0".into()));
}

#[test]
fn the_first_rule_that_matches_counts_and_the_command_line_comes_first() {
    let files = ["match = '02:00:00:00:00:02'\nignore = true", "match = 'eth*'\nmtu = 1400\ndhcp = false"];
    let mut reconciler = reconciler(&files, "ip=10.0.0.9::10.0.0.1:255.255.255.0::eth3:off");
    assert_eq!(reconciler.link(card(2, false, true), true, ZERO), []);
    assert_eq!(reconciler.link(card(3, false, true), true, ZERO), [Action::Up(3)]);
    assert_eq!(reconciler.link(card(4, false, true), true, ZERO), [Action::Mtu(4, 1400), Action::Up(4)]);
    let actions = reconciler.link(card(3, true, true), true, ZERO);
    assert_eq!(actions[0], Action::Address(3, v4("10.0.0.9/24"), true));
}

#[test]
fn an_address_without_a_device_is_for_the_first_card_only() {
    let mut reconciler = reconciler(&[], "ip=10.0.0.9");
    let address = Action::Address(2, v4("10.0.0.9/8"), true);
    assert_eq!(reconciler.link(card(2, true, true), true, ZERO), [address]);
    assert_eq!(reconciler.link(card(3, true, true), true, ZERO), [start(3)]);
    reconciler.gone(2);
    let address = Action::Address(4, v4("10.0.0.9/8"), true);
    assert_eq!(reconciler.link(card(4, true, true), true, ZERO), [address]);
}

#[test]
fn what_a_new_list_lacks_is_gone() {
    let mut reconciler = reconciler(&[], "");
    reconciler.link(card(2, true, true), true, ZERO);
    reconciler.link(card(3, true, true), true, ZERO);
    reconciler.list_begins();
    reconciler.link(card(3, true, true), true, ZERO);
    assert_eq!(reconciler.list_ends(), stop(2));
    assert_eq!(reconciler.name(3), Some("eth3"));
}

#[test]
fn a_reload_changes_what_changed() {
    let file = "match = 'eth2'\naddresses = ['10.0.0.1/24', '10.0.0.2/24']\ngateway = '10.0.0.254'";
    let mut reconciler = reconciler(&[file], "");
    reconciler.link(card(2, true, true), true, ZERO);
    reconciler.link(card(3, true, true), true, ZERO);
    let same = reconciler.reload(config_of(&[file], ""), |_| true, ZERO);
    assert_eq!(same, []);

    let changed = "match = 'eth2'\naddresses = ['10.0.0.2/24']\ngateway = '10.0.0.254'";
    let actions = reconciler.reload(config_of(&[changed], ""), |_| true, ZERO);
    assert_eq!(actions[0], Action::Address(2, v4("10.0.0.1/24"), false));
    assert!(actions.contains(&Action::Address(2, v4("10.0.0.2/24"), true)));
    assert!(!actions.iter().any(|action| matches!(action, Action::Route(_, _, false))));

    let actions = reconciler.reload(config_of(&[], ""), |_| true, ZERO);
    let route = Route { to: None, via: Some([10, 0, 0, 254].into()), metric: 120, on_link: false };
    let expected = [Action::Route(2, route, false), Action::Address(2, v4("10.0.0.2/24"), false), start(2)];
    assert_eq!(actions, expected);
}

#[test]
fn a_reload_that_changes_what_a_client_is_told_starts_another() {
    let mut reconciler = reconciler(&["match = 'eth2'"], "");
    assert_eq!(reconciler.link(card(2, true, true), true, ZERO), [start(2)]);
    let actions = reconciler.reload(config_of(&["match = 'eth2'\nmtu = 1500\nmetric = 5"], ""), |_| true, ZERO);
    let [stopped, forgotten] = stop(2);
    let started = Action::StartClient { name: "eth2".into(), metric: 5, mtu: false };
    assert_eq!(actions, [stopped, forgotten, started]);
}

#[test]
fn a_reload_about_the_resolver_lets_the_client_write_its_lines_again() {
    let mut reconciler = reconciler(&["match = 'eth2'"], "");
    reconciler.link(card(2, true, true), true, ZERO);
    let told = |text: &str| Action::Resolver(Origin::Static, "eth2".into(), text.into());
    let actions = reconciler.reload(config_of(&["match = 'eth2'\ndns = '9.9.9.9'"], ""), |_| true, ZERO);
    let lines = told("nameserver 9.9.9.9\n");
    assert_eq!(actions, [Action::RestartClient("eth2".into()), lines.clone()], "it has no address yet");
    reconciler.address(2, v4("10.0.2.15/24"), true, true);
    let renew = || Action::Renew("eth2".into());
    let actions = reconciler.reload(config_of(&["match = 'eth2'\nsearch = 'a.org'"], ""), |_| true, ZERO);
    assert_eq!(actions, [told(""), renew(), told("search a.org\n")]);
    let actions = reconciler.reload(config_of(&["match = 'eth2'\nsearch = 'b.org'"], ""), |_| true, ZERO);
    assert_eq!(actions, [told(""), told("search b.org\n")], "nothing new for the client");
    assert_eq!(reconciler.reload(config_of(&["match = 'eth2'"], ""), |_| true, ZERO), [told(""), renew()]);
}

#[test]
fn a_reload_takes_back_what_it_set_in_the_kernel() {
    let mut reconciler =
        reconciler(&["match = 'eth2'\nmtu = 9000\nra = true\nipv6 = false\naddresses = 'fd00::1/64'"], "ip=off");
    let first = reconciler.link(card(2, true, true), true, ZERO);
    assert_eq!(first[0], Action::Mtu(2, 9000));
    reconciler.link(Link { mtu: 9000, ..card(2, true, true) }, true, ZERO);
    let actions = reconciler.reload(config_of(&["match = 'eth2'\nmtu = 1400\nra = true"], "ip=off"), |_| true, ZERO);
    let back = |name| Action::Ipv6("eth2".into(), name, None);
    assert!(actions.contains(&back("disable_ipv6")) && !actions.contains(&back("accept_ra")), "{actions:?}");
    assert!(actions.contains(&Action::Mtu(2, 1400)), "{actions:?}");
    let actions = reconciler.reload(config_of(&[], "ip=off"), |_| true, ZERO);
    assert!(actions.contains(&Action::Mtu(2, 1500)) && actions.contains(&back("accept_ra")), "{actions:?}");
    assert!(!actions.contains(&back("disable_ipv6")), "{actions:?}");
}

#[test]
fn a_reload_that_refuses_routers_takes_away_what_they_gave() {
    let mut reconciler = reconciler(&["match = 'eth2'\naddresses = 'fd00::1/64'\ndhcp = false"], "");
    reconciler.link(card(2, true, true), true, ZERO);
    let refusing = "match = 'eth2'\naddresses = 'fd00::1/64'\ndhcp = false\nra = false";
    let actions = reconciler.reload(config_of(&[refusing], ""), |_| true, ZERO);
    let expected = [
        Action::Ipv6("eth2".into(), "accept_ra", Some("0")),
        Action::FlushIpv6("eth2".into()),
        Action::Address(2, v4("fd00::1/64"), true),
    ];
    assert_eq!(actions, expected);
    let actions = reconciler.reload(config_of(&[&format!("{refusing}\nmetric = 3")], ""), |_| true, ZERO);
    assert!(!actions.contains(&Action::FlushIpv6("eth2".into())), "{actions:?}");
}

#[test]
fn a_port_of_a_bridge_is_let_go_and_configured_again_when_it_leaves() {
    let mut reconciler = reconciler(&["match = 'eth3'\naddresses = '10.1.0.1/24'"], "");
    reconciler.link(card(2, true, true), true, ZERO);
    reconciler.link(card(3, true, true), true, ZERO);
    let port = |index| Link { enslaved: true, ..card(index, true, true) };
    assert_eq!(reconciler.link(port(2), false, ZERO), stop(2));
    assert_eq!(reconciler.link(port(2), false, ZERO), []);
    assert_eq!(reconciler.link(port(3), false, ZERO), [], "a rule names it");
    assert_eq!(reconciler.link(card(2, true, true), true, ZERO), [start(2)]);
}

#[test]
fn the_first_card_that_becomes_a_port_is_not_the_first_any_more() {
    let mut reconciler = reconciler(&[], "ip=10.0.0.9");
    let address = |index, add| Action::Address(index, v4("10.0.0.9/8"), add);
    reconciler.link(card(2, true, true), true, ZERO);
    let port = Link { enslaved: true, ..card(2, true, true) };
    assert_eq!(reconciler.link(port, false, ZERO), [address(2, false)]);
    assert_eq!(reconciler.link(card(3, true, true), true, ZERO), [address(3, true)]);
}

#[test]
fn a_reload_that_ends_dhcp_takes_the_lease_away() {
    let mut reconciler = reconciler(&[], "");
    reconciler.link(card(2, true, true), true, ZERO);
    reconciler.address(2, v4("10.0.2.15/24"), true, true);
    let actions = reconciler.reload(config_of(&["match = 'eth2'\naddresses = '10.9.0.1/24'"], ""), |_| true, ZERO);
    let [stopped, forgotten] = stop(2);
    assert_eq!(actions, [stopped, forgotten, Action::Address(2, v4("10.9.0.1/24"), true)]);
}

#[test]
fn the_first_global_address_is_told_once() {
    let mut reconciler = reconciler(&[], "");
    reconciler.link(card(2, true, true), true, ZERO);
    assert_eq!(reconciler.address(2, v4("fe80::1/64"), false, true), []);
    assert_eq!(reconciler.address(2, v4("10.0.2.15/24"), true, false), []);
    let online = Action::Online("eth2".into(), v4("10.0.2.15/24"));
    assert_eq!(reconciler.address(2, v4("10.0.2.15/24"), true, true), [online]);
    assert_eq!(reconciler.address(2, v4("10.0.2.16/24"), true, true), []);
    assert_eq!(reconciler.address(7, v4("10.0.2.16/24"), true, true), [], "an interface that nobody knows");
}

#[test]
fn name_servers_of_routers_come_change_and_end() {
    let mut reconciler = reconciler(&["match = 'eth3'\ndns = '9.9.9.9'"], "");
    reconciler.link(card(2, true, true), true, ZERO);
    reconciler.link(card(3, true, true), true, ZERO);
    let (far, near): (Ipv6Addr, Ipv6Addr) = ("2001:db8::53".parse().unwrap(), "fe80::53".parse().unwrap());
    let wrote = |text: &str| [Action::Resolver(Origin::Ra, "eth2".into(), text.into())];
    assert_eq!(reconciler.servers(2, &[far], 60, ZERO), wrote("nameserver 2001:db8::53\n"));
    assert_eq!(reconciler.servers(2, &[far], 60, at(30)), [], "the same again lasts longer");
    assert_eq!(reconciler.deadline(), Some(at(90)));
    let both = wrote("nameserver 2001:db8::53\nnameserver fe80::53%eth2\n");
    assert_eq!(reconciler.servers(2, &[near], u32::MAX, at(30)), both);
    assert_eq!(reconciler.tick(at(90)), wrote("nameserver fe80::53%eth2\n"));
    assert_eq!(reconciler.servers(2, &[near], 0, at(91)), wrote(""));
    assert_eq!(reconciler.servers(3, &[far], 60, ZERO), [], "the file's servers are in their place");
}

#[test]
fn a_reload_keeps_the_name_servers_of_routers_that_the_settings_want() {
    let mut reconciler = reconciler(&[], "");
    reconciler.link(card(2, true, true), true, ZERO);
    let server: Ipv6Addr = "2001:db8::53".parse().unwrap();
    reconciler.servers(2, &[server], 60, ZERO);
    let of_routers = |actions: Vec<Action>| -> Vec<String> {
        let lines = |action| match action {
            Action::Resolver(Origin::Ra, _, lines) => Some(lines),
            _ => None,
        };
        actions.into_iter().filter_map(lines).collect()
    };
    let mut reload = |files: &[&str]| of_routers(reconciler.reload(config_of(files, ""), |_| true, ZERO));
    assert_eq!(reload(&["match = 'eth2'\nmtu = 1400"]), [""; 0]);
    assert_eq!(reload(&["match = 'eth2'\ndns = '9.9.9.9'"]), [""]);
    assert_eq!(reload(&["match = 'eth2'\nsearch = 'a.org'"]), ["nameserver 2001:db8::53\n"]);
    assert_eq!(reload(&["match = 'eth2'\nra = false"]), [""]);
    assert_eq!(of_routers(reconciler.gone(2)), [""; 0]);
}

#[test]
fn gateways_outside_of_all_networks_are_at_the_link() {
    let file = "match = 'eth2'\naddresses = ['203.0.113.7/32', 'fd00::2/64']\ngateway = ['10.0.0.1', 'fe80::1']\n\
                routes = [{ to = '10.8.0.0/16', via = '10.7.0.1' }, { to = '10.7.0.0/16' }]";
    let mut reconciler = reconciler(&[file], "");
    let actions = reconciler.link(card(2, true, true), true, ZERO);
    let routes: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Route(2, route, true) => Some((route.via.map(|via| via.to_string()), route.on_link)),
            _ => None,
        })
        .collect();
    let via = |text: &str| Some(text.to_owned());
    let expected = [(None, false), (via("10.7.0.1"), false), (via("10.0.0.1"), true), (via("fe80::1"), false)];
    assert_eq!(routes, expected);
}

#[test]
fn a_flood_of_interfaces_and_addresses_is_bounded() {
    let mut reconciler = reconciler(&[], "");
    for index in 2..5000 {
        reconciler.link(card(index, true, true), true, ZERO);
        reconciler.address(2, Prefix { address: index.to_be_bytes().into(), length: 8 }, true, true);
    }
    assert_eq!(reconciler.links.len(), MOST_LINKS);
    assert_eq!(reconciler.links[&2].addresses.len(), MOST_ADDRESSES);
}
