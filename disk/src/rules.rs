//! A table of permissions, owners and capabilities: what the files of the machine that builds cannot say.

use anyhow::{Result, anyhow, bail, ensure};
use build_support::xattr;
use glob::{MatchOptions, Pattern};

use crate::capabilities::Capabilities;
use crate::tree::{Kind, Tree};

/// One row of the table. What is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Paths, with or without a leading slash. `*` and `?` stand for characters of one name, `[...]` for one of several
    /// characters, `**` for any directories.
    pub path: String,
    /// Permissions, with set-id and sticky bits (`07777`).
    pub mode: Option<u32>,
    /// The number of the owner.
    pub uid: Option<u32>,
    /// The number of the group.
    pub gid: Option<u32>,
    /// Capabilities of regular files.
    pub capabilities: Option<Capabilities>,
}

/// As in a shell: a `*` ends at a slash, and names that begin with a dot are not special.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

impl Tree {
    /// Applies the rules in their order: of two that fit an entry, the later one wins. A mode fits everything but symbolic
    /// links, which have none; capabilities fit regular files. Rules decide: they may open what [`Tree::merge`] kept
    /// private.
    ///
    /// # Errors
    ///
    /// When a pattern cannot be read, when a rule fits nothing that it could change, or when a mode has more than
    /// permission bits.
    pub fn apply(&mut self, rules: &[Rule]) -> Result<()> {
        rules.iter().try_for_each(|rule| self.apply_one(rule))
    }

    /// The number of a user or a group, given as itself or as a name of the tree's own `etc/passwd` or `etc/group`: `table`
    /// is one of these, whose third field it is (passwd(5), group(5)).
    ///
    /// # Errors
    ///
    /// When the table has no such name; the message lists those that it has.
    pub fn account(&self, table: &str, name: &str) -> Result<u32> {
        if let Ok(number) = name.parse() {
            return Ok(number);
        }
        let text = match self.get(table).map(|entry| &entry.kind) {
            Some(Kind::File(content)) => content.text()?,
            _ => String::new(),
        };
        let mut known = Vec::new();
        for line in text.lines() {
            let mut fields = line.split(':');
            if let (Some(account), Some(Ok(number))) = (fields.next(), fields.nth(1).map(str::parse)) {
                if account == name {
                    return Ok(number);
                }
                known.push(account);
            }
        }
        bail!(
            "`{name}` is not in /{table} of the root file system\nhint: it has {}; add the name there, or write a number",
            known.join(", ")
        )
    }

    fn apply_one(&mut self, rule: &Rule) -> Result<()> {
        let pattern = Pattern::new(rule.path.trim_start_matches('/')).map_err(|error| {
            anyhow!("the pattern `{}` cannot be read: {error}\nhint: escape `[` as `[[]`", rule.path)
        })?;
        let paths: Vec<(String, bool, bool)> = self
            .entries()
            .filter(|(path, _)| pattern.matches_with(path, OPTIONS))
            .map(|(path, entry)| {
                (path.to_string(), matches!(entry.kind, Kind::Link(_)), matches!(entry.kind, Kind::File(_)))
            })
            .collect();
        ensure!(
            !paths.is_empty(),
            "the rule for `{}` fits nothing in the root file system\nhint: correct the path, or remove the rule",
            rule.path
        );
        ensure!(
            rule.capabilities.is_none() || paths.iter().any(|(_, _, file)| *file),
            "the rule for `{}` gives capabilities, and fits no regular file\nhint: name the program that a link leads to",
            rule.path
        );
        ensure!(
            rule.mode.is_none() || paths.iter().any(|(_, link, _)| !*link),
            "the rule for `{}` sets a mode, and fits links alone, which have none\nhint: name the file that a link leads to",
            rule.path
        );
        for (path, is_link, is_file) in paths {
            if let Some(entry) = self.get(&path) {
                let (uid, gid) = (rule.uid.unwrap_or(entry.uid), rule.gid.unwrap_or(entry.gid));
                self.chown(&path, uid, gid)?;
            }
            if let Some(mode) = rule.mode.filter(|_| !is_link) {
                self.chmod(&path, mode)?;
            }
            if let Some(capabilities) = rule.capabilities.filter(|_| is_file) {
                self.set_attribute(&path, xattr::CAPABILITY, &capabilities.to_bytes())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        for path in ["usr/bin/ping", "usr/bin/sub/ping", "usr/bin/ssh", "etc/ssh/host_key", "etc/.hidden"] {
            tree.bytes(path, "x", 0o644, "one").unwrap();
        }
        tree.link("bin", "usr/bin", "one").unwrap();
        tree
    }

    fn rule(path: &str) -> Rule {
        Rule { path: path.into(), ..Rule::default() }
    }

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (path, fits) in [
            ("/usr/bin/*", vec!["usr/bin/ping", "usr/bin/ssh", "usr/bin/sub"]),
            ("usr/**/ping", vec!["usr/bin/ping", "usr/bin/sub/ping"]),
            ("etc/ss?/host_key", vec!["etc/ssh/host_key"]),
            ("etc/*", vec!["etc/.hidden", "etc/ssh"]),
            ("usr/bin/[ps]*g", vec!["usr/bin/ping"]),
        ] {
            let mut tree = tree();
            tree.apply(&[Rule { uid: Some(7), ..rule(path) }]).unwrap();
            let changed: Vec<&str> = tree.entries().filter(|(_, entry)| entry.uid == 7).map(|(path, _)| path).collect();
            assert_eq!(changed, fits, "{path}");
        }
    }

    #[test]
    fn a_rule_changes_what_it_names_and_a_later_one_wins() {
        let mut tree = tree();
        let capabilities = Some(Capabilities::parse("cap_net_raw=ep").unwrap());
        tree.apply(&[
            Rule { mode: Some(0o755), uid: Some(1), gid: Some(2), capabilities, ..rule("usr/bin/*") },
            Rule { mode: Some(0o4711), ..rule("/usr/bin/ssh") },
        ])
        .unwrap();
        let ssh = tree.get("usr/bin/ssh").unwrap();
        assert_eq!((ssh.mode, ssh.uid, ssh.gid, ssh.attributes.len()), (0o4711, 1, 2, 1));
        let dir = tree.get("usr/bin/sub").unwrap();
        assert_eq!((dir.mode, dir.uid, dir.attributes.len()), (0o755, 1, 0));
    }

    #[test]
    fn names_of_accounts_are_those_of_the_tree() {
        let mut tree = Tree::new();
        tree.bytes("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nhttpd:x:80:81::/:\n", 0o644, "one").unwrap();
        assert_eq!(tree.account("etc/passwd", "httpd").unwrap(), 80);
        assert_eq!(tree.account("etc/passwd", "7").unwrap(), 7);
        let error = tree.account("etc/passwd", "http").unwrap_err().to_string();
        assert!(error.contains("`http` is not in /etc/passwd") && error.contains("root, httpd"), "{error}");
        assert!(tree.account("etc/group", "httpd").is_err());
    }

    #[test]
    fn a_rule_that_fits_nothing_is_an_error() {
        let capabilities = Some(Capabilities::parse("cap_net_raw=ep").unwrap());
        for wrong in [
            Rule { mode: Some(0o600), ..rule("etc/shadwo") },
            Rule { mode: Some(0o600), ..rule("etc/[") },
            Rule { mode: Some(0o755), ..rule("bin") },
            Rule { capabilities, ..rule("bin") },
        ] {
            let error = tree().apply(&[wrong]).unwrap_err().to_string();
            assert!(error.contains("hint:"), "{error}");
        }
        assert!(tree().apply(&[Rule { mode: Some(0o100644), ..rule("etc/*") }]).is_err());
    }
}
