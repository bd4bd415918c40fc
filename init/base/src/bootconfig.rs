//! The kernel's boot configuration (Documentation/admin-guide/bootconfig.rst), as `/proc/bootconfig` shows it: one text that
//! configures the kernel, PID 1 and its services.

use crate::sys::files;

/// Where the kernel shows it (fs/proc/bootconfig.c). A kernel without one has no such file.
const PATH: &str = "/proc/bootconfig";

/// A key and what it is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Words with `.` between them.
    pub key: String,
    /// One value, or those of a list.
    pub values: Vec<String>,
}

impl Entry {
    /// The values as one text.
    pub fn joined(&self) -> String {
        self.values.join(",")
    }
}

/// All entries, in their order. Without proc, or a boot configuration, there are none.
pub fn all() -> Vec<Entry> {
    let text = files::read_file(PATH).unwrap_or_default();
    parse(&String::from_utf8_lossy(&text))
}

/// Those whose keys begin with `name.`, without that.
pub fn below(name: &str) -> Vec<Entry> {
    select(all(), name)
}

fn select(entries: Vec<Entry>, name: &str) -> Vec<Entry> {
    let inner = |entry: Entry| {
        let key = entry.key.strip_prefix(name)?.strip_prefix('.')?.to_owned();
        Some(Entry { key, ..entry })
    };
    entries.into_iter().filter_map(inner).collect()
}

/// The entries of a text: `KEY = "VALUE", "VALUE"` in each line, with the other quotation marks around a value that has these.
/// The kernel has read it before, so nothing else is expected.
pub fn parse(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return entries;
        }
        if rest.starts_with('#') {
            // The loader's own words stand there as a comment.
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
            continue;
        }
        let Some((key, values)) = rest.split_once(" = ") else { return entries };
        let (values, after) = read_values(values);
        entries.push(Entry { key: key.into(), values });
        rest = after;
    }
}

/// The values at the beginning of a text, and what follows them.
fn read_values(mut text: &str) -> (Vec<String>, &str) {
    let mut values = Vec::new();
    loop {
        let Some(quote) = text.chars().next().filter(|quote| matches!(quote, '"' | '\'')) else {
            // Not what the kernel writes: up to the end of the line it is passed over.
            return (values, text.split_once('\n').map_or("", |(_, rest)| rest));
        };
        let Some((value, rest)) = text[1..].split_once(quote) else { return (values, "") };
        values.push(value.to_owned());
        match rest.strip_prefix(", ") {
            Some(rest) => text = rest,
            None => return (values, rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, values: &[&str]) -> Entry {
        Entry { key: key.into(), values: values.iter().map(|value| (*value).into()).collect() }
    }

    #[test]
    fn what_the_kernel_shows() {
        let text = "kernel.console = \"ttyS0\"\ninit.skip = \"clock\", \"seed\"\nnote = 'say \"x\"'\ntwo = \"a\nb\"\nempty = \"\"\n\
                    # Parameters from bootloader:\n# quiet a = \"b\"\n";
        let expected = [
            entry("kernel.console", &["ttyS0"]),
            entry("init.skip", &["clock", "seed"]),
            entry("note", &["say \"x\""]),
            entry("two", &["a\nb"]),
            entry("empty", &[""]),
        ];
        assert_eq!(parse(text), expected);
        assert_eq!(select(parse(text), "init"), [entry("skip", &["clock", "seed"])]);
        assert_eq!(select(parse(text), "in"), []);
        assert_eq!(expected[1].joined(), "clock,seed");
    }

    #[test]
    fn other_texts_end() {
        for text in ["", "\n", "a", "a = ", "a = b\n", "a = \"b", "a = \"b\", ", "#", "# x"] {
            parse(text);
        }
        assert_eq!(parse("a = b\nc = \"d\"\n"), [entry("a", &[]), entry("c", &["d"])]);
    }
}
