//! Packets of NTP version 4 (RFC 5905, section 7.3) as bytes: pure functions, for any input.

use core::time::Duration;

/// Bytes of a packet without extensions.
pub const SIZE: usize = 48;
/// Seconds from 1900, where NTP's eras begin, to 1970 (RFC 5905, figure 4).
const TO_1970: i64 = 2_208_988_800;
/// Seconds of an era.
const ERA: i64 = 1 << 32;
/// 2026-01-01: no machine's clock is before it (init sees to that), so that an era of NTP's 32 bits can be told from the next, which
/// begins in 2036.
const EARLIEST: i64 = 1_767_225_600;

/// A time of the wall clock, from 1970.
pub type Time = Duration;

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its distance from a reference clock, 1 to 15.
    pub stratum: u8,
    /// When the question came to it.
    pub received: Time,
    /// When the answer left it.
    pub sent: Time,
}

/// Why an answer is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not to this question, or is no answer at all: somebody else's, or forged.
    Stray,
    /// The server does not know the time itself.
    NotSynchronised,
    /// It asks not to be asked so often, or not at all (RFC 5905, section 7.4).
    GoAway,
}

/// A question. `nonce` takes the place of the time at which it is sent, which the server gives back as it is: nobody learns this
/// machine's clock, and who does not see the question cannot answer it.
pub fn question(nonce: u64) -> [u8; SIZE] {
    let mut packet = [0; SIZE];
    // No leap second, version 4, client.
    packet[0] = 4 << 3 | 3;
    packet[40..48].copy_from_slice(&nonce.to_be_bytes());
    packet
}

/// Reads the answer to the question with `nonce`.
pub fn answer(packet: &[u8], nonce: u64) -> Result<Reply, Refusal> {
    let Some(packet) = packet.first_chunk::<SIZE>() else {
        return Err(Refusal::Stray);
    };
    let (leap, version, mode) = (packet[0] >> 6, packet[0] >> 3 & 7, packet[0] & 7);
    let field = |at: usize| u64::from_be_bytes(core::array::from_fn(|byte| packet[at + byte]));
    let (origin, received, sent) = (field(24), field(32), field(40));
    // Servers of version 3 answer in that version.
    if mode != 4 || !(3..=4).contains(&version) || origin != nonce {
        return Err(Refusal::Stray);
    }
    match packet[1] {
        0 => Err(Refusal::GoAway),
        1..=15 if leap != 3 && received != 0 && sent != 0 => {
            Ok(Reply { stratum: packet[1], received: time(received), sent: time(sent) })
        }
        _ => Err(Refusal::NotSynchronised),
    }
}

/// A time of NTP: 32 bits of seconds and 32 of their fraction.
fn time(stamp: u64) -> Time {
    let mut seconds = (stamp >> 32) as i64 - TO_1970;
    while seconds < EARLIEST {
        seconds += ERA;
    }
    let nanoseconds = ((stamp & 0xffff_ffff) * 1_000_000_000) >> 32;
    Duration::new(seconds.unsigned_abs(), nanoseconds as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of a server of stratum 2 to the question with nonce 7.
    fn packet() -> [u8; SIZE] {
        let mut packet = [0; SIZE];
        packet[0] = 4 << 3 | 4;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&7_u64.to_be_bytes());
        for at in [32, 40] {
            let seconds = (EARLIEST + TO_1970) as u64 + at as u64;
            packet[at..at + 8].copy_from_slice(&(seconds << 32 | 0x8000_0000).to_be_bytes());
        }
        packet
    }

    #[test]
    fn a_question_tells_nothing() {
        let packet = question(0x0102_0304_0506_0708);
        assert_eq!((packet[0], &packet[1..40]), (0x23, &[0; 39][..]));
        assert_eq!(packet[40..], [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn an_answer_is_read() {
        let reply = answer(&packet(), 7).unwrap();
        assert_eq!(reply.stratum, 2);
        assert_eq!(reply.received, Duration::new(EARLIEST as u64 + 32, 500_000_000));
        assert_eq!(reply.sent - reply.received, Duration::from_secs(8));
    }

    #[test]
    fn the_next_era_follows_this_one() {
        // 2036-02-07 06:28:16 UTC is 0 in NTP's seconds (RFC 5905, figure 4).
        assert_eq!(time(1 << 31), Duration::new(2_085_978_496, 500_000_000));
        assert_eq!(time(((EARLIEST + TO_1970) as u64) << 32).as_secs(), EARLIEST as u64);
    }

    #[test]
    fn others_are_refused() {
        let with = |at: usize, value: u8| {
            let mut packet = packet();
            packet[at] = value;
            answer(&packet, 7)
        };
        assert_eq!(answer(&packet(), 8), Err(Refusal::Stray));
        assert_eq!(answer(&packet()[..47], 7), Err(Refusal::Stray));
        assert_eq!(with(0, 4 << 3 | 3), Err(Refusal::Stray), "a client");
        assert_eq!(with(0, 1 << 3 | 4), Err(Refusal::Stray), "version 1");
        assert_eq!(with(0, 3 << 6 | 4 << 3 | 4), Err(Refusal::NotSynchronised));
        assert_eq!(with(1, 16), Err(Refusal::NotSynchronised));
        assert_eq!(with(1, 0), Err(Refusal::GoAway));
        let mut silent = packet();
        silent[40..48].fill(0);
        assert_eq!(answer(&silent, 7), Err(Refusal::NotSynchronised));
    }
}
