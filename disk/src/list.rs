//! Lists of files as the kernel's `gen_init_cpio` reads them (usr/gen_init_cpio.c of Linux 6.12), for an initramfs:
//!
//! ```text
//! # a comment
//! file  NAME LOCATION MODE UID GID [HARD LINKS]
//! dir   NAME MODE UID GID
//! nod   NAME MODE UID GID TYPE MAJOR MINOR
//! slink NAME TARGET MODE UID GID
//! pipe  NAME MODE UID GID
//! sock  NAME MODE UID GID
//! ```
//!
//! Modes are octal, a type is `b` or `c`. Words are separated by blanks, so no name has any; `${VARIABLE}` in a location
//! stands for a variable's value, which may. The kernel's program skips a line that it does not know, ignores words at a
//! line's end, and leaves out directories that a list forgets. Here the first two are errors, except for a comment at a
//! line's end, and directories are made.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::tree::{Content, Entry, Kind, Tree};

/// Lays the entries of a list over a tree. Locations are relative to the list's directory; `variable` gives the values of
/// variables. A name goes through the tree's links, as the kernel unpacks it: `/sbin/x` may become `/usr/bin/x`. Modes and owners
/// are those of the list, whatever was there.
///
/// # Errors
///
/// When the list cannot be read; when a line has an unknown type, too few or too many words, a wrong number, or a variable without
/// a value; when a file is not there; when a name is of another kind already. The error has the line and a hint.
pub fn lay_over(tree: &mut Tree, list: &Path, variable: impl Fn(&str) -> Option<String>, stage: &str) -> Result<()> {
    let base = list.parent().unwrap_or(Path::new("."));
    for (number, line) in (1..).zip(fs::read_to_string(list)?.lines()) {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        add(tree, line, base, &variable, stage).map_err(|error| {
            let text = format!("{error:#}");
            let hint = if text.contains("\nhint: ") { "" } else { "\nhint: correct the line" };
            anyhow::anyhow!("{}:{number}: {text}{hint}", list.display())
        })?;
    }
    Ok(())
}

/// The files of this machine that a list names.
///
/// # Errors
///
/// As [`lay_over`].
pub fn locations(list: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Vec<PathBuf>> {
    let mut tree = Tree::new();
    lay_over(&mut tree, list, variable, "list")?;
    let host = |(_, entry): (&str, &Entry)| match &entry.kind {
        Kind::File(Content::Host(path)) => Some(path.clone()),
        _ => None,
    };
    Ok(tree.entries().filter_map(host).collect())
}

/// The lines that there are, as errors show them.
const FORMS: &[(&str, &str)] = &[
    ("file", "file NAME LOCATION MODE UID GID [HARD LINKS]"),
    ("dir", "dir NAME MODE UID GID"),
    ("nod", "nod NAME MODE UID GID TYPE MAJOR MINOR"),
    ("slink", "slink NAME TARGET MODE UID GID"),
    ("pipe", "pipe NAME MODE UID GID"),
    ("sock", "sock NAME MODE UID GID"),
];

fn add(
    tree: &mut Tree,
    line: &str,
    base: &Path,
    variable: &impl Fn(&str) -> Option<String>,
    stage: &str,
) -> Result<()> {
    let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
    let Some((kind, form)) = FORMS.iter().find(|(kind, _)| words[0] == *kind) else {
        let kinds: Vec<&str> = FORMS.iter().map(|(kind, _)| *kind).collect();
        bail!("`{}` is no type of a line\nhint: a line begins with one of {}", words[0], kinds.join(", "));
    };
    ensure!(
        !line.starts_with([' ', '\t']),
        "the line begins with a blank\nhint: gen_init_cpio would skip it: remove the blank"
    );
    let least = form.split(" [").next().unwrap_or_default().split(' ').count();
    if let Some(comment) = words.iter().skip(least).position(|word| word.starts_with('#')) {
        words.truncate(least + comment);
    }
    let wrong =
        || anyhow::anyhow!("a line of this type has other words\nhint: write `{form}`, with no blanks in a name");
    let [_, name, rest @ ..] = &words[..] else { return Err(wrong()) };
    if *kind == "dir" && name.trim_matches('/').is_empty() {
        return Ok(()); // The root itself, which an archive need not have.
    }
    let name = &tree.behind_links(name, *kind == "dir");
    let (mode, uid, gid) = match (*kind, rest) {
        ("file", [location, mode, uid, gid, links @ ..]) => {
            let location = base.join(expand(location, variable)?);
            ensure!(
                location.is_file(),
                "{} is no file on this machine\nhint: locations are relative to {}",
                location.display(),
                base.display()
            );
            tree.file(name, &location, octal(mode)?, stage)?;
            for link in links {
                let link = tree.behind_links(link, false);
                tree.hard_link(&link, name, stage)?;
            }
            (octal(mode)?, uid, gid)
        }
        ("dir", [mode, uid, gid]) => {
            tree.dir(name, octal(mode)?, stage)?;
            (octal(mode)?, uid, gid)
        }
        ("nod", [mode, uid, gid, class, major, minor]) => {
            let (mode, major, minor) = (octal(mode)?, number(major)?, number(minor)?);
            match *class {
                "c" => tree.device(name, major, minor, mode, stage)?,
                "b" => tree.block_device(name, major, minor, mode, stage)?,
                _ => bail!(
                    "`{class}` is no type of a device\nhint: write b for a block device, c for a character device"
                ),
            }
            (mode, uid, gid)
        }
        ("slink", [target, mode, uid, gid]) => {
            octal(mode)?;
            tree.link(name, target, stage)?;
            (0o777, uid, gid) // Linux gives every link this mode.
        }
        ("pipe", [mode, uid, gid]) => {
            tree.pipe(name, octal(mode)?, stage)?;
            (octal(mode)?, uid, gid)
        }
        ("sock", [mode, uid, gid]) => {
            tree.socket(name, octal(mode)?, stage)?;
            (octal(mode)?, uid, gid)
        }
        _ => return Err(wrong()),
    };
    tree.chmod(name, mode)?; // A file that takes another's place would be as private as that was.
    tree.chown(name, number(uid)?, number(gid)?)
}

fn octal(text: &str) -> Result<u32> {
    u32::from_str_radix(text, 8).with_context(|| format!("`{text}` is no mode: octal digits are wanted, such as 0755"))
}

fn number(text: &str) -> Result<u32> {
    text.parse().with_context(|| format!("`{text}` is no number"))
}

/// Puts the values of `${VARIABLE}` into a location.
fn expand(text: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<String> {
    let Some((before, rest)) = text.split_once("${") else { return Ok(text.into()) };
    let Some((name, after)) = rest.split_once('}') else { return Ok(text.into()) };
    let value = variable(name)
        .with_context(|| format!("the variable {name} has no value\nhint: set it, or write the location without it"))?;
    Ok(format!("{before}{value}{}", expand(after, variable)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Class;

    fn variable(name: &str) -> Option<String> {
        (name == "SRC").then(|| "my files".into())
    }

    fn parsed(text: &str, base: &Path) -> Result<Tree> {
        let mut tree = Tree::new();
        fs::write(base.join("x.list"), text)?;
        lay_over(&mut tree, &base.join("x.list"), variable, "list").map(|()| tree)
    }

    #[test]
    fn every_type_of_line_is_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("my files")).unwrap();
        fs::write(dir.path().join("my files/init"), "program").unwrap();
        let text = "# A comment\n\n   \ndir / 0755 0 0\nfile /sbin/init ${SRC}/init 0755 0 0 /init /etc/init\n\
                    nod /dev/console\t0600 0 5 c 5 1\nnod /dev/vda 660 0 6 b 254 0\nslink /bin/sh ../sbin/init 0777 1 2\n\
                    pipe /run/p 0622 0 0 # a comment\nsock run/s 0666 0 0\ndir /dev 0700 3 4\n";
        let tree = parsed(text, dir.path()).unwrap();
        let lines: Vec<String> = tree
            .entries()
            .map(|(path, entry)| format!("{path} {} {:o} {}:{}", entry.kind.name(), entry.mode, entry.uid, entry.gid))
            .collect();
        let want = [
            "bin dir 755 0:0",
            "bin/sh link 777 1:2",
            "dev dir 700 3:4",
            "dev/console char 600 0:5",
            "dev/vda block 660 0:6",
            "etc dir 755 0:0",
            "etc/init file 755 0:0",
            "init file 755 0:0",
            "run dir 755 0:0",
            "run/p pipe 622 0:0",
            "run/s socket 666 0:0",
            "sbin dir 755 0:0",
            "sbin/init file 755 0:0",
        ];
        assert_eq!(lines, want);
        assert_eq!(tree.get("dev/vda").unwrap().kind, Kind::Device { class: Class::Block, major: 254, minor: 0 });
        assert_eq!(tree.names().of("init", tree.get("init").unwrap()).len(), 3);
    }

    #[test]
    fn a_list_has_the_last_word_over_a_tree() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one", "x.list"] {
            fs::write(dir.path().join(name), "file /sbin/one one 0755 7 8\ndir /bin 0700 0 0\n").unwrap();
        }
        let mut tree = Tree::new();
        tree.link("sbin", "usr/bin", "base").unwrap();
        tree.link("bin", "usr/bin", "base").unwrap();
        tree.bytes("usr/bin/one", "old", 0o600, "base").unwrap();
        let list = dir.path().join("x.list");
        lay_over(&mut tree, &list, variable, "list").unwrap();
        let one = tree.get("usr/bin/one").unwrap();
        assert_eq!((one.mode, one.uid, one.gid, tree.get("usr/bin").unwrap().mode), (0o755, 7, 8, 0o700));
        assert_eq!(one.kind, Kind::File(Content::Host(dir.path().join("one"))));
        assert_eq!(locations(&list, variable).unwrap(), [dir.path().join("one")]);
    }

    #[test]
    fn a_wrong_line_is_named_with_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x"), "").unwrap();
        for (line, part) in [
            ("directory /a 0755 0 0", "`directory` is no type"),
            ("dir /a 0755 0", "write `dir NAME MODE UID GID`"),
            ("dir /my dir 0755 0 0", "no blanks in a name"),
            ("dir /a 0755 0 0 comment", "other words"),
            ("dir /a 0855 0 0", "`0855` is no mode"),
            ("dir /a 100755 0 0", "permission bits"),
            ("dir /a 0755 root 0", "`root` is no number"),
            ("nod /a 0600 0 0 x 1 3", "`x` is no type of a device"),
            ("file /a nothing 0644 0 0", "no file on this machine"),
            ("file /a ${NOTHING}/x 0644 0 0", "NOTHING has no value"),
            ("file /a/../b x 0644 0 0", "`..`"),
            (" dir /a 0755 0 0", "begins with a blank"),
            ("dir /f 0755 0 0", "/f is a file"),
        ] {
            let text = format!("# one\nfile /f x 0644 0 0\n{line}\n");
            let error = format!("{:#}", parsed(&text, dir.path()).unwrap_err());
            assert!(error.contains("/x.list:3: ") && error.contains(part), "{line}: {error}");
            assert_eq!(error.matches("\nhint: ").count(), 1, "{line}: {error}");
        }
    }
}
