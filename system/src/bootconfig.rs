//! The kernel's boot configuration (Documentation/admin-guide/bootconfig.rst of Linux): what upstream's tool says of a file, in
//! the words of an editor, and keys that the kernel would pass over.
//!
//! The kernel reads it after its early parameters, so that `kernel.loglevel = 3` shows in /proc/cmdline and changes nothing.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Error, Result, anyhow, bail, ensure};

/// The most bytes that the kernel takes (XBC_DATA_MAX, include/linux/bootconfig.h).
const MOST: usize = (1 << 15) - 1;

/// How the names of early parameters stand in the kernel's source, for grep(1) with `-oE`.
pub const EARLY: &str = r#"\<early_param(_on_off)?\("[^"]*"(, *"[^"]*")?"#;

/// Refuses a text that the tool would pass over without a word.
///
/// # Errors
/// A text that is too long, or has a zero byte, at which the tool stops.
pub fn check_text(file: &Path, text: &str) -> Result<()> {
    ensure!(
        text.len() <= MOST,
        "{}: it has {} bytes, and the kernel takes {MOST}\nhint: put settings of programs into files of the root file system",
        file.display(),
        text.len()
    );
    ensure!(!text.contains('\0'), "{}: it has a zero byte\nhint: write it as plain text", file.display());
    Ok(())
}

/// What `bootconfig -l` found wrong with a file, or `None` when it said nothing of that kind. Its exit status is no help: it is
/// the file's length.
pub fn fault(file: &Path, said: &str) -> Option<Error> {
    let file = file.display();
    let what = said.lines().find_map(message)?;
    let hint = "hint: the grammar is in Documentation/admin-guide/bootconfig.rst of Linux";
    let place = |(what, at): (&str, &str)| {
        let (line, column) = at.trim().split_once(':')?;
        Some(anyhow!("{file}:{}:{}: {what}\n{hint}", number(line)?, number(column)?))
    };
    let placed = what.rsplit_once(" at ").and_then(place);
    Some(placed.unwrap_or_else(|| anyhow!("{file}: {}\n{hint}", what.trim_end_matches('.'))))
}

/// What follows the word `Error` at the begin of a line; `Cmd` puts a mark before the output of a command that failed.
fn message(line: &str) -> Option<&str> {
    let line = line.trim_start_matches("  | ");
    line.strip_prefix("Parse Error: ").or(line.strip_prefix("Error: "))
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

/// The names of early parameters in what grep(1) found by [`EARLY`].
///
/// # Errors
/// A text without `loglevel`, which every kernel has: another source tree needs another pattern.
pub fn early_parameters(found: &str) -> Result<BTreeSet<String>> {
    let quoted = |line: &str| line.split('"').skip(1).step_by(2).map(same).collect::<Vec<_>>();
    let names: BTreeSet<String> = found.lines().flat_map(quoted).collect();
    ensure!(
        names.contains("loglevel"),
        "no early parameters were found in the kernel's source\nhint: look how init/main.c defines `loglevel`"
    );
    Ok(names)
}

/// The kernel takes `-` and `_` for the same in a parameter's name (`parameq`, kernel/params.c).
fn same(name: &str) -> String {
    name.replace('-', "_")
}

/// Refuses `kernel.NAME` where NAME is an early parameter. `listing` is what `bootconfig -l` printed of the text.
///
/// # Errors
/// Every such key, with its line and with what to write where.
pub fn refuse_early(file: &Path, text: &str, listing: &str, early: &BTreeSet<String>) -> Result<()> {
    let mut faults = Vec::new();
    for (key, value) in listing.lines().filter_map(|line| line.split_once(" = ")) {
        let Some(name) = key.strip_prefix("kernel.").filter(|name| early.contains(&same(name))) else { continue };
        let word = match value.trim_matches(['"', ',', ' ']) {
            "" => name.to_string(),
            value => format!("{name}={value}"),
        };
        faults.push(format!(
            "{}:{}: `{key}` does nothing: the kernel reads the early parameter `{name}` before its boot configuration\n\
             hint: move it to the profile: `command-line = \"{word}\"` below [kernel]",
            file.display(),
            line_of(text, name)
        ));
    }
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
}

/// The line (from 1) that has a name as a word, outside of a comment.
fn line_of(text: &str, name: &str) -> usize {
    let word = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let has = |line: &str| line.split('#').next().unwrap_or_default().split(|c| !word(c)).any(|found| found == name);
    text.lines().position(has).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_file_line_and_column() {
        let fault = |said: &str| fault(Path::new("my/boot.conf"), said).map(|error| error.to_string());
        let text = fault("Parse Error: Value is redefined at 2:16\n").unwrap();
        assert!(text.starts_with("my/boot.conf:2:16: Value is redefined\nhint: "), "{text}");
        // Cmd puts a mark before each line.
        assert!(
            fault("  | Parse Error: No closing quotes at 2:1").unwrap().starts_with("my/boot.conf:2:1: No closing")
        );
        assert!(fault("Error: Empty data.\n").unwrap().starts_with("my/boot.conf: Empty data\n"));
        assert!(fault("init.hello = \"Parse Error: none at 1:1\"\n").is_none());
    }

    #[test]
    fn what_the_tool_passes_over_is_refused() {
        let file = Path::new("boot.conf");
        assert!(check_text(file, &"a = 1\n".repeat(5461)).is_ok());
        assert!(check_text(file, &"a = 1\n".repeat(5462)).unwrap_err().to_string().contains("32767"));
        assert!(check_text(file, "a = 1\0").is_err());
    }

    #[test]
    fn early_parameters_are_refused_with_their_place() {
        let found =
            "early_param(\"loglevel\"\nearly_param(\"init_on_alloc\"\nearly_param_on_off(\"gbpages\", \"nogbpages\"\n";
        let early = early_parameters(found).unwrap();
        assert_eq!(early.len(), 4);
        let text = "# kernel.loglevel\nkernel {\n  panic = 10\n  loglevel = 3\n  init-on-alloc = 1; nogbpages\n}\nloglevel = 1\n";
        let listing = "kernel.panic = \"10\"\nkernel.loglevel = \"3\"\nkernel.init-on-alloc = \"1\"\nkernel.nogbpages = \"\"\nloglevel = \"1\"\n";
        let error = refuse_early(Path::new("boot.conf"), text, listing, &early).unwrap_err().to_string();
        for part in [
            "boot.conf:4: `kernel.loglevel` does nothing",
            "`command-line = \"loglevel=3\"` below [kernel]",
            "boot.conf:5: `kernel.init-on-alloc`",
            "`command-line = \"nogbpages\"`",
        ] {
            assert!(error.contains(part), "`{part}` is not in:\n{error}");
        }
        assert!(!error.contains("panic"), "{error}");
        assert!(refuse_early(Path::new("x"), "", "kernel.panic = \"10\"\n", &early).is_ok());
        assert!(early_parameters("early_param(\"mem\"\n").is_err());
    }
}
