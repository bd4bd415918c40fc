//! The inputs of a stage as text, a line an input. The text's hash is the stage's key, and the difference of two
//! texts says why a stage is built again.

use crate::digest;

/// The inputs of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    lines: Vec<String>,
}

impl Manifest {
    /// Adds one input. A value of several lines becomes as many lines, so that a difference names the line.
    pub fn add(&mut self, kind: &str, name: &str, value: &str) {
        if value.is_empty() {
            self.lines.push(format!("{kind} {name} ="));
        }
        for line in value.lines() {
            self.lines.push(format!("{kind} {name} = {line}"));
        }
    }

    /// Reads back what `to_string` wrote.
    pub fn parse(text: &str) -> Manifest {
        Manifest { lines: text.lines().map(String::from).collect() }
    }

    /// The key: the first 16 hex digits of the text's SHA-256. 64 bits are plenty to tell results apart.
    pub fn key(&self) -> String {
        digest::text(&self.to_string())[..16].to_string()
    }

    /// What changed from `old` to this one: `- ` lines that went, `+ ` lines that came.
    pub fn changes_since(&self, old: &Manifest) -> Vec<String> {
        let gone = old.lines.iter().filter(|line| !self.lines.contains(line)).map(|line| format!("- {line}"));
        let come = self.lines.iter().filter(|line| !old.lines.contains(line)).map(|line| format!("+ {line}"));
        let changes: Vec<String> = gone.chain(come).collect();
        if changes.is_empty() && self != old {
            return vec!["the order of the inputs".into()];
        }
        changes
    }
}

impl std::fmt::Display for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(flags: &str) -> Manifest {
        let mut manifest = Manifest::default();
        manifest.add("source", "musl", "d585");
        manifest.add("input", "flags", flags);
        manifest
    }

    #[test]
    fn the_key_follows_the_inputs() {
        assert_eq!(sample("-O2").key(), sample("-O2").key());
        assert_ne!(sample("-O2").key(), sample("-O3").key());
    }

    #[test]
    fn a_difference_names_the_line() {
        let changes = sample("-O3\n-g").changes_since(&sample("-O2\n-g"));
        assert_eq!(changes, ["- input flags = -O2", "+ input flags = -O3"]);
    }

    #[test]
    fn it_is_read_back() {
        let manifest = sample("-O2");
        assert_eq!(Manifest::parse(&manifest.to_string()), manifest);
    }
}
