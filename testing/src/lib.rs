//! What the tests of all crates share.

use std::io::Write as _;

/// The file of reasons for which a test may be skipped: each line begins one, `#` begins a comment. `.ci/run` sets it.
pub const ALLOWED: &str = "BLOOMERY_TEST_SKIPS";

/// Says why a test, or a part of it, cannot run on this machine. The caller returns. Libtest has no such outcome, and
/// counts the test as passed.
///
/// # Panics
/// When [`ALLOWED`] names a file without this reason: CI skips only what it lists.
pub fn skip(reason: &str) {
    // Past the capture of test output, which would swallow it.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
    let Some(file) = std::env::var_os(ALLOWED) else { return };
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("cannot read {ALLOWED}={}: {error}", file.display()));
    assert!(is_allowed(&text, reason), "skipped, and {} does not list it: {reason}", file.display());
}

fn is_allowed(list: &str, reason: &str) -> bool {
    let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.into_iter().any(|line| reason.starts_with(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_reasons_are_allowed() {
        let list = "# Why.\nthis host has no veth\n\n";
        assert!(is_allowed(list, "this host has no veth: Operation not permitted"));
        assert!(!is_allowed(list, "# Why."));
        assert!(!is_allowed(list, "anything"));
        assert!(!is_allowed("", "anything"));
    }
}
