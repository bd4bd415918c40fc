//! Patterns of devices, as fnmatch(3) reads them without flags: `*`, `?`, `[abc]`, `[a-z]`, `[!a]`, and `\` before a character
//! that stands for itself.

/// Whether `text` fits `pattern`.
pub fn fits(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.as_bytes(), text.as_bytes());
    // Where to go on when the last star has to take one byte more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', rest)) = pattern.split_first() {
            retry = Some((rest, text));
            pattern = rest;
            continue;
        }
        match (one(pattern, text), retry) {
            (Some((rest, others)), _) if pattern.is_empty() => return rest.is_empty() && others.is_empty(),
            (Some((rest, others)), _) => (pattern, text) = (rest, others),
            (None, Some((rest, from))) => match from.split_first() {
                Some((_, from)) => {
                    retry = Some((rest, from));
                    (pattern, text) = (rest, from);
                }
                None => return false,
            },
            (None, None) => return false,
        }
    }
}

/// What is left of both after the pattern's first part, if the first byte of the text fits it; the ends fit each other.
fn one<'a>(pattern: &'a [u8], text: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let Some((&byte, others)) = text.split_first() else {
        return pattern.is_empty().then_some((pattern, text));
    };
    match pattern {
        [b'?', rest @ ..] => Some((rest, others)),
        [b'\\', wanted, rest @ ..] => (*wanted == byte).then_some((rest, others)),
        [b'[', rest @ ..] => match class(rest, byte) {
            Some((true, rest)) => Some((rest, others)),
            Some((false, _)) => None,
            // A bracket that is never closed stands for itself.
            None => (byte == b'[').then_some((rest, others)),
        },
        [wanted, rest @ ..] => (*wanted == byte).then_some((rest, others)),
        [] => None,
    }
}

/// Whether a byte is of the class that begins behind its bracket, and what follows its end.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match pattern {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (mut found, mut first) = (false, true);
    loop {
        rest = match rest {
            [b']', rest @ ..] if !first => return Some((found != negated, rest)),
            [low, b'-', high, rest @ ..] if *high != b']' => {
                found |= (*low..=*high).contains(&byte);
                rest
            }
            [wanted, rest @ ..] => {
                found |= *wanted == byte;
                rest
            }
            [] => return None,
        };
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_devices_say_fits() {
        for (pattern, text) in [
            ("pci:v00008086d000010D3sv*sd*bc*sc*i*", "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00"),
            ("virtio:d00000001v*", "virtio:d00000001v00001AF4"),
            ("usb:v0B95p1790d01[0-3]*dc*dsc*", "usb:v0B95p1790d0102dcFFdsc00"),
            ("of:N*T*Cvirtio,mmio", "of:NvirtioT(null)Cvirtio,mmio"),
            ("fs-ext4", "fs-ext4"),
            ("*a*b", "xaybab"),
            ("a[]x]b", "a]b"),
            ("a[!b]c", "axc"),
            ("a\\*", "a*"),
            ("[a", "[a"),
            ("a[b-]", "a-"),
            ("*", ""),
            ("", ""),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn others_do_not() {
        for (pattern, text) in [
            ("pci:v00008086d000010D3sv*", "pci:v00008086d000010D4sv00"),
            ("usb:d01[0-3]*", "usb:d0140"),
            ("a[!b]c", "abc"),
            ("a\\*", "ab"),
            ("?", ""),
            ("*a", "ab"),
            ("", "a"),
            ("a", ""),
            ("[", "a"),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_end_soon() {
        assert!(!fits(&"*a".repeat(100), &"a".repeat(99)));
    }
}
