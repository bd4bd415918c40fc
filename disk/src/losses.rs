//! What an output cannot hold. A writer refuses a tree with such things, so that nothing is lost in silence; a caller that
//! can do without them takes [`Tree::fit`] and reports the list.

use std::fmt;

use anyhow::{Result, bail};
use build_support::xattr;

use crate::tree::{Kind, Tree};

/// The forms in which a tree leaves the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A directory of an ordinary user's ([`Tree::write_to_dir`]).
    Directory,
    /// A tar archive.
    Tar,
    /// A layer of an OCI image.
    Oci,
    /// An ext4 file system.
    Ext4,
    /// A cpio archive.
    Cpio,
}

/// Something of a tree that an output cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The entry.
    pub path: String,
    /// What of it is lost, such as `the attribute security.capability`.
    pub what: String,
    /// Where.
    pub output: Output,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let output = match self.output {
            Output::Directory => "a directory",
            Output::Tar => "a tar archive",
            Output::Oci => "a container image",
            Output::Ext4 => "an ext4 file system that is made without root",
            Output::Cpio => "a cpio archive",
        };
        write!(f, "/{}: {} cannot be kept in {output}", self.path, self.what)
    }
}

impl Tree {
    /// What of the tree an output cannot hold.
    pub fn losses(&self, output: Output) -> Vec<Loss> {
        let mut losses = Vec::new();
        for (path, entry) in self.entries() {
            let mut lose = |what: String| losses.push(Loss { path: path.into(), what, output });
            match (&entry.kind, output) {
                (Kind::Socket, Output::Tar | Output::Oci | Output::Ext4) => lose("a socket".into()),
                (Kind::Device { .. }, Output::Directory) => lose("a device".into()),
                _ => {}
            }
            if output == Output::Directory {
                if (entry.uid, entry.gid) != (0, 0) {
                    lose(format!("the owner {}:{}", entry.uid, entry.gid));
                }
                if entry.mode & 0o6000 != 0 {
                    lose("a set-id bit".into());
                }
            }
            for name in entry.attributes.keys() {
                if output == Output::Cpio || (output == Output::Directory && name == xattr::CAPABILITY) {
                    lose(format!("the attribute {name}"));
                }
            }
        }
        losses
    }

    /// The tree without what an output cannot hold, and the list of that.
    pub fn fit(&self, output: Output) -> (Tree, Vec<Loss>) {
        let (mut tree, losses) = (self.clone(), self.losses(output));
        match output {
            Output::Cpio => tree.entries.values_mut().for_each(|entry| entry.attributes.clear()),
            Output::Tar | Output::Oci | Output::Ext4 => tree.entries.retain(|_, entry| entry.kind != Kind::Socket),
            Output::Directory => {} // Its writer leaves out what an ordinary user cannot make.
        }
        (tree, losses)
    }

    /// Refuses a tree that does not fit.
    pub(crate) fn require(&self, output: Output) -> Result<()> {
        let losses = self.losses(output);
        let Some(first) = losses.first() else { return Ok(()) };
        let more = if losses.len() > 1 { format!(" (and {} more)", losses.len() - 1) } else { String::new() };
        bail!("{first}{more}\nhint: remove it, or choose another output")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_output_cannot_hold_is_listed_and_refused() {
        let mut tree = Tree::new();
        tree.bytes("ping", "x", 0o4755, "one").unwrap();
        tree.set_attribute("ping", xattr::CAPABILITY, b"x").unwrap();
        tree.set_attribute("ping", "user.note", b"x").unwrap();
        tree.socket("run/log", 0o666, "one").unwrap();
        tree.device("dev/null", 1, 3, 0o666, "one").unwrap();
        tree.chown("dev/null", 5, 0).unwrap();
        for (output, losses) in [
            (Output::Tar, vec!["run/log a socket"]),
            (Output::Oci, vec!["run/log a socket"]),
            (Output::Ext4, vec!["run/log a socket"]),
            (Output::Cpio, vec!["ping the attribute security.capability", "ping the attribute user.note"]),
            (
                Output::Directory,
                vec![
                    "dev/null a device",
                    "dev/null the owner 5:0",
                    "ping a set-id bit",
                    "ping the attribute security.capability",
                ],
            ),
        ] {
            let (fitting, found) = tree.fit(output);
            let words: Vec<String> = found.iter().map(|loss| format!("{} {}", loss.path, loss.what)).collect();
            assert_eq!(words, losses, "{output:?}");
            let error = tree.require(output).unwrap_err().to_string();
            assert!(error.contains(&found[0].to_string()) && error.contains("hint:"), "{error}");
            if output != Output::Directory {
                fitting.require(output).unwrap();
            }
        }
        assert!(Tree::new().require(Output::Cpio).is_ok());
    }
}
