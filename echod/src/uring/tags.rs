//! Tags of operations: what kind, about what, and for [`SEND`] its place in the turn.

/// The signals.
pub const SIGNALS: u64 = 0;
/// A listening socket, by its place among them.
pub const ACCEPT: u64 = 1;
/// A datagram socket, by its place among them.
pub const DATAGRAMS: u64 = 2;
/// A datagram that goes back, by its buffer.
pub const ANSWERED: u64 = 3;
/// A receive of a connection, by its slot.
pub const RECEIVE: u64 = 4;
/// A send of a connection.
pub const SEND: u64 = 5;
/// A wait until a connection takes more.
pub const WRITABLE: u64 = 6;

/// Bits below the kind, and below the place.
const KIND: u32 = 32;
const PLACE: u32 = 40;

/// A tag without a place.
pub const fn tag(kind: u64, number: u64) -> u64 {
    kind << KIND | number
}

/// The tag of a send.
pub const fn of_send(slot: u32, place: usize) -> u64 {
    (place as u64) << PLACE | tag(SEND, slot as u64)
}

/// What kind of operation.
pub const fn kind(tag: u64) -> u64 {
    tag >> KIND & 0xff
}

/// About what.
pub const fn number(tag: u64) -> u32 {
    tag as u32
}

/// The place of a send.
pub const fn place(tag: u64) -> usize {
    (tag >> PLACE) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_tag_is_found_in_it() {
        let send = of_send(u32::MAX, 32_767);
        assert_eq!((kind(send), number(send), place(send)), (SEND, u32::MAX, 32_767));
        assert_eq!((kind(tag(ACCEPT, 3)), number(tag(ACCEPT, 3))), (ACCEPT, 3));
        // The tag of cancellations is of no kind.
        assert!(kind(u64::MAX) > WRITABLE);
    }
}
