//! Values in DER (X.690), as far as a signature needs them.

/// Tags of universal types and of context-specific ones.
pub const BIT_STRING: u8 = 0x03;
pub const INTEGER: u8 = 0x02;
pub const OCTET_STRING: u8 = 0x04;
pub const NULL: u8 = 0x05;
pub const OBJECT_IDENTIFIER: u8 = 0x06;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;

/// `[number]` around other values.
pub const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// `[number] IMPLICIT` of a type without parts.
pub const fn implicit(number: u8) -> u8 {
    0x80 | number
}

/// A value with tag and length.
pub fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag], &length(content.len())[..], content].concat()
}

/// Several values in one, in this order.
pub fn all(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    value(tag, &parts.concat())
}

/// A set: DER sorts its members by their bytes (X.690, 11.6).
pub fn set(mut members: Vec<Vec<u8>>) -> Vec<u8> {
    members.sort();
    value(SET, &members.concat())
}

/// An identifier by the numbers of its arcs.
pub fn identifier(arcs: &[u32]) -> Vec<u8> {
    let mut content = Vec::new();
    if let [first, second, rest @ ..] = arcs {
        content.extend(base128(first * 40 + second));
        content.extend(rest.iter().flat_map(|arc| base128(*arc)));
    }
    value(OBJECT_IDENTIFIER, &content)
}

/// An algorithm without parameters, which are NULL.
pub fn algorithm(arcs: &[u32]) -> Vec<u8> {
    all(SEQUENCE, &[&identifier(arcs), &value(NULL, &[])])
}

/// Up to 127 in one byte, else the number of bytes with the highest bit set, then the bytes.
fn length(length: usize) -> Vec<u8> {
    if length < 0x80 {
        return vec![length as u8];
    }
    let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    [&[0x80 | bytes.len() as u8], &bytes[..]].concat()
}

/// Seven bits a byte, the highest first; all bytes but the last have bit 7.
fn base128(mut number: u32) -> Vec<u8> {
    let mut bytes = vec![number as u8 & 0x7f];
    while number > 0x7f {
        number >>= 7;
        bytes.push(0x80 | number as u8 & 0x7f);
    }
    bytes.reverse();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_their_shortest_form() {
        for (count, head) in [
            (0, &[4, 0][..]),
            (0x7f, &[4, 0x7f]),
            (0x80, &[4, 0x81, 0x80]),
            (0x100, &[4, 0x82, 1, 0]),
            (0x10000, &[4, 0x83, 1, 0, 0]),
        ] {
            let bytes = value(OCTET_STRING, &vec![0; count]);
            assert_eq!((&bytes[..head.len()], bytes.len()), (head, head.len() + count));
        }
    }

    #[test]
    fn identifiers_are_those_of_x690() {
        // The example of X.690, 8.19.5, and one with an arc of three bytes.
        assert_eq!(identifier(&[2, 999, 3]), [6, 3, 0x88, 0x37, 3]);
        assert_eq!(identifier(&[1, 2, 840, 113549]), [6, 6, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]);
    }

    #[test]
    fn sets_are_sorted() {
        let (long, short) = (value(OCTET_STRING, &[1, 2]), value(OCTET_STRING, &[3]));
        assert_eq!(set(vec![long.clone(), short.clone()]), all(SET, &[&short, &long]));
    }
}
