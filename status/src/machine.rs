//! Facts about the machine that the kernel shows in files.

use init_base::host_name;
use init_base::sys::{clock, files, system};

use crate::model::{Memory, Model};
use crate::text::plain;

/// Characters of a fact.
const LONGEST: usize = 100;

/// What does not change while the program runs.
pub fn read_fixed(model: &mut Model) {
    let release = text("/etc/os-release");
    model.product = plain(&value(&release, "PRETTY_NAME").unwrap_or_default(), LONGEST);
    model.description = plain(&value(&release, "VARIANT").unwrap_or_default(), 2 * LONGEST);
    let machine = std::env::consts::ARCH;
    model.kernel = plain(&format!("Linux {} {machine}", system::kernel_release()), LONGEST);
}

/// What does.
pub fn read(model: &mut Model) {
    model.host = host_name::current().unwrap_or_default();
    model.uptime = system::uptime();
    let is_set = clock::is_set(clock::milliseconds(), model.uptime);
    model.clock = Some(clock::now()).filter(|_| is_set);
    model.memory = memory(&text("/proc/meminfo"));
    let load = text("/proc/loadavg");
    model.load = plain(&load.split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" "), LONGEST);
}

/// A file's text; an empty one where it cannot be read.
pub fn text(path: &str) -> String {
    String::from_utf8_lossy(&files::read_file(path).unwrap_or_default()).into_owned()
}

/// A value of os-release(5), without its quotation marks.
fn value(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let mut letters = inner.chars();
    let mut out = String::new();
    while let Some(letter) = letters.next() {
        // A backslash takes its meaning from the next character.
        out.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    Some(out)
}

fn memory(text: &str) -> Option<Memory> {
    let kib = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.split_ascii_whitespace().next()?.parse().ok()
    };
    Some(Memory { total: kib("MemTotal")?, available: kib("MemAvailable")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_files() {
        let text = "NAME=Bloomery\nPRETTY_NAME=\"Bloomery 0.1.0 (single)\"\nVARIANT=\"a \\\"b\\\" \\$c\"\n";
        assert_eq!(value(text, "PRETTY_NAME").as_deref(), Some("Bloomery 0.1.0 (single)"));
        assert_eq!((value(text, "NAME"), value(text, "N")), (Some("Bloomery".into()), None));
        assert_eq!(value(text, "VARIANT").as_deref(), Some("a \"b\" $c"));
        let found = memory("MemTotal:         248000 kB\nMemFree:  1 kB\nMemAvailable:     200000 kB\n");
        assert_eq!(found, Some(Memory { total: 248_000, available: 200_000 }));
        assert_eq!(memory("MemTotal: x kB\n"), None);
    }

    #[test]
    fn this_machine_has_facts() {
        let mut model = Model::default();
        read_fixed(&mut model);
        read(&mut model);
        assert!(model.kernel.starts_with("Linux ") && model.memory.is_some() && !model.load.is_empty());
    }
}
