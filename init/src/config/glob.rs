//! Patterns for names, as shells have them.

/// Whether `name` fits `pattern`, in which `*` stands for any characters and `?` for one.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.as_bytes(), name.as_bytes());
    // Where to go on when the last star has to take one character more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), name.split_first()) {
            (Some((b'*', rest)), _) => {
                retry = Some((rest, name));
                pattern = rest;
            }
            (Some((wanted, rest)), Some((found, others))) if wanted == found || *wanted == b'?' => {
                (pattern, name) = (rest, others);
            }
            (None, None) => return true,
            _ => match retry.and_then(|(rest, from)| Some((rest, from.split_first()?.1))) {
                Some((rest, from)) => {
                    retry = Some((rest, from));
                    (pattern, name) = (rest, from);
                }
                None => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name) in [("eth0", "eth0"), ("en*", "enp0s1"), ("*", ""), ("e?h*", "eth0"), ("*a*b", "xaybab")] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("eth0", "eth01"), ("en*", "eth0"), ("?", ""), ("*a", "ab"), ("", "a")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
