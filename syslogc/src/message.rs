//! Messages of syslog as bytes (RFC 5424, section 6). Pure functions, for any text.

/// Who said it (RFC 5424, table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facility {
    /// The kernel.
    Kernel = 0,
    /// A service.
    Daemon = 3,
    /// This program.
    Syslog = 5,
}

/// Severities (RFC 5424, table 2).
pub const WARNING: u8 = 4;
/// See [`WARNING`]: of PID 1's lines about a service.
pub const NOTICE: u8 = 5;
/// See [`WARNING`]: of what services say, which tell no severity.
pub const INFORMATIONAL: u8 = 6;

/// Bytes of the longest message: receivers should take 2048 (RFC 5424, section 6.1).
const LONGEST: usize = 2048;
/// Characters of HOSTNAME and APP-NAME (RFC 5424, section 6).
const HOST: usize = 255;
const APP: usize = 48;

/// A message in parts.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Who said it.
    pub facility: Facility,
    /// How grave it is, 0 to 7.
    pub severity: u8,
    /// When, in the form of RFC 3339; empty where nobody knows.
    pub time: &'a str,
    /// The machine.
    pub host: &'a str,
    /// The program.
    pub app: &'a str,
    /// What was said.
    pub text: &'a str,
}

/// The bytes of a message. Control characters in the text become blanks, and its end is cut where it is too long.
pub fn encode(message: &Message<'_>) -> Vec<u8> {
    let priority = message.facility as u8 * 8 + message.severity.min(7);
    let time = if message.time.is_empty() { "-" } else { message.time };
    let (host, app) = (name(message.host, HOST), name(message.app, APP));
    // Neither PROCID, MSGID nor structured data.
    let mut out = format!("<{priority}>1 {time} {host} {app} - - - ");
    for letter in message.text.chars() {
        let letter = if letter.is_control() { ' ' } else { letter };
        if out.len() + letter.len_utf8() > LONGEST {
            break;
        }
        out.push(letter);
    }
    out.into_bytes()
}

/// A name of printable ASCII; `-` for none.
fn name(text: &str, longest: usize) -> String {
    let letters = text.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { '?' });
    let name: String = letters.take(longest).collect();
    if name.is_empty() { "-".into() } else { name }
}

/// A message with its length, for a stream (RFC 6587, section 3.4.1).
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut out = format!("{} ", message.len()).into_bytes();
    out.extend_from_slice(message);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message<'_> {
        Message { facility: Facility::Daemon, severity: INFORMATIONAL, time: "", host: "iron", app: "web", text }
    }

    #[test]
    fn the_form_of_the_rfc() {
        let time = "2026-11-21T06:45:50.123Z";
        let bytes = encode(&Message { time, ..message("it's \x1b[2J\tup") });
        assert_eq!(String::from_utf8(bytes).unwrap(), "<30>1 2026-11-21T06:45:50.123Z iron web - - - it's  [2J up");
        let odd = Message { facility: Facility::Kernel, severity: 9, host: "", app: "a b\u{e9}", ..message("x") };
        assert_eq!(encode(&odd), b"<7>1 - - a?b? - - - x");
        assert_eq!(frame(b"<7>1 x"), b"6 <7>1 x");
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        let bytes = encode(&message(&"é".repeat(2000)));
        assert!(bytes.len() > LONGEST - 2 && bytes.len() <= LONGEST && String::from_utf8(bytes).is_ok());
    }
}
