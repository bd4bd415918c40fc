//! What `modules.dep`, `modules.alias`, `modules.softdep` and `modules.builtin` say (modules.dep(5), depmod(8)). All are text
//! in the directory of the kernel's modules.

use std::fs::read_to_string;
use std::io;

use crate::pattern;

/// The tables of a kernel.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// `FILE: FILE FILE ...`: what the first needs, the last of which is to be loaded first.
    dependencies: String,
    /// `alias PATTERN NAME`.
    aliases: String,
    /// `softdep NAME pre: NAME ... post: NAME ...`.
    soft: String,
    /// A file's path for each part that is built in.
    built_in: String,
}

impl Tables {
    /// Reads the tables of a directory. Only the dependencies must be there.
    ///
    /// # Errors
    /// When these cannot be read.
    pub fn read(dir: &str) -> io::Result<Tables> {
        let table = |name: &str| read_to_string(format!("{dir}/{name}"));
        Ok(Tables {
            dependencies: table("modules.dep")?,
            aliases: table("modules.alias").unwrap_or_default(),
            soft: table("modules.softdep").unwrap_or_default(),
            built_in: table("modules.builtin").unwrap_or_default(),
        })
    }

    /// The file of a module and those of all that it needs, the first to be loaded first. The name is in its [`plain`] form.
    pub fn files(&self, name: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
        let mut lines = self.dependencies.lines().filter_map(|line| line.split_once(':'));
        let (file, needs) = lines.find(|(file, _)| name_of(file) == name)?;
        Some((file, needs.split_ascii_whitespace().rev()))
    }

    /// The modules that are called so, or are for such a device.
    pub fn named(&self, alias: &str) -> Vec<String> {
        let name = plain(alias);
        if self.files(&name).is_some() {
            return vec![name];
        }
        let mut found = Vec::new();
        for line in self.aliases.lines() {
            let mut words = line.split_ascii_whitespace();
            if words.next() != Some("alias") {
                continue;
            }
            if let (Some(pattern), Some(name)) = (words.next(), words.next())
                && fits(pattern, alias)
                && !found.iter().any(|known| known == name)
            {
                found.push(name.to_owned());
            }
        }
        found
    }

    /// The modules to load before and after this one, for those that the kernel has.
    pub fn soft(&self, name: &str) -> (Vec<&str>, Vec<&str>) {
        let of = |line: &'_ str| line.split_ascii_whitespace().nth(1).is_some_and(|word| plain(word) == name);
        let lines = self.soft.lines().filter(|line| of(line));
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for line in lines {
            soft_words(line.split_ascii_whitespace().skip(2), &mut before, &mut after);
        }
        (before, after)
    }

    /// Whether the kernel has it built in.
    pub fn is_built_in(&self, name: &str) -> bool {
        let name = plain(name);
        self.built_in.lines().any(|file| name_of(file) == name)
    }
}

/// Puts the words of a line of soft dependencies behind `pre:` and `post:` where they belong.
fn soft_words<'a>(words: impl Iterator<Item = &'a str>, before: &mut Vec<&'a str>, after: &mut Vec<&'a str>) {
    let mut list = before;
    let mut later = Some(after);
    for word in words {
        match word {
            "pre:" => {}
            "post:" => {
                if let Some(after) = later.take() {
                    list = after;
                }
            }
            name => list.push(name),
        }
    }
}

/// Whether an alias fits a pattern. Names of modules in it have `_` or `-`, whichever was written.
fn fits(pattern: &str, alias: &str) -> bool {
    pattern::fits(pattern, alias) || !alias.contains(':') && pattern::fits(&plain(pattern), &plain(alias))
}

/// A module's name has `_` where its file's may have `-`, and people write either.
pub fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of the module in a file.
pub fn name_of(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    plain(file.split(".ko").next().unwrap_or(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Tables {
        Tables {
            dependencies:
                "kernel/drivers/net/virtio_net.ko.zst: kernel/net/net-failover.ko.zst kernel/net/failover.ko.zst\n\
                           kernel/net/net-failover.ko.zst: kernel/net/failover.ko.zst\nkernel/net/failover.ko.zst:\n"
                    .into(),
            aliases:
                "# comment\nalias virtio:d00000001v* virtio_net\nalias devname:x y\nalias virtio:d0000000?v* other\n"
                    .into(),
            soft: "softdep virtio_net pre: a-b c post: d\nsoftdep x pre: y\n".into(),
            built_in: "kernel/lib/crc-32.ko\n".into(),
        }
    }

    #[test]
    fn a_device_finds_every_module_that_is_for_it() {
        let tables = tables();
        assert_eq!(tables.named("virtio:d00000001v00001AF4"), ["virtio_net", "other"]);
        assert_eq!(tables.named("net-failover"), ["net_failover"]);
        assert!(tables.named("pci:v1").is_empty());
    }

    #[test]
    fn what_is_needed_comes_first() {
        let tables = tables();
        let (file, needs) = tables.files("virtio_net").unwrap();
        assert_eq!(file, "kernel/drivers/net/virtio_net.ko.zst");
        assert_eq!(needs.collect::<Vec<_>>(), ["kernel/net/failover.ko.zst", "kernel/net/net-failover.ko.zst"]);
        assert!(tables.files("none").is_none());
    }

    #[test]
    fn soft_dependencies_and_parts_of_the_kernel() {
        let tables = tables();
        assert_eq!(tables.soft("virtio_net"), (vec!["a-b", "c"], vec!["d"]));
        assert_eq!(tables.soft("failover"), (vec![], vec![]));
        assert!(tables.is_built_in("crc_32") && tables.is_built_in("crc-32") && !tables.is_built_in("crc"));
    }
}
