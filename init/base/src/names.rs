//! Names: which ones services may have, and which known one a mistyped one is most like.

/// Whether `name` can be a service's: it becomes a part of paths and of messages.
pub fn is_service_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(allowed) && !name.starts_with(['.', '-'])
}

/// The known name that `name` is most like, when it is like one at all.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // Two slips of the finger, and fewer in a short name.
    let limit = (name.len() / 2).min(2);
    let edits = known.iter().map(|other| (distance(name, other), *other));
    edits.filter(|(edits, _)| *edits <= limit).min().map(|(_, other)| other)
}

/// How many letters have to be put in, left out, changed or swapped with the next to get from `a` to `b`, or more than
/// that for names of very different lengths.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > 2 || a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    // Three rows of the usual table: the one of the letter before the last, of the last, and the new one.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut edits = (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(&y) && b.get(j - 1) == Some(&x);
            if swapped {
                edits = edits.min(at(&before, j - 1) + 1);
            }
            row.push(edits);
        }
        before = core::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names() {
        for name in ["web", "getty@ttyS0", "net.eth0", "a_b-c", "9p"] {
            assert!(is_service_name(name), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "a b", "-x", "ü", "a\n", &"x".repeat(65)] {
            assert!(!is_service_name(name), "{name}");
        }
    }

    #[test]
    fn slips_are_found() {
        let known = ["user", "umask", "command", "restart-delay"];
        let nearest = |name| nearest(name, &known);
        assert_eq!(nearest("usr"), Some("user"));
        assert_eq!(nearest("comamnd"), Some("command"));
        assert_eq!(nearest("restart_delay"), Some("restart-delay"));
        assert_eq!(nearest("commandline"), None);
        assert_eq!(nearest("x"), None);
        assert_eq!(nearest(""), None);
    }

    #[test]
    fn distances() {
        assert_eq!(distance("ab", "ab"), 0);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitten"), 1);
        assert_eq!(distance("abc", "abcdef"), usize::MAX);
    }
}
