//! A profile's root file system as initramfs, with files of a test laid over it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use build_support::fs;
use disk::{Compression, Tree, cpio};
use tempfile::TempDir;

use super::outputs::{Outputs, check_with};

/// Who put a file into the tree, for the tree's own error messages.
const STAGE: &str = "test";

/// An unpacked root file system, of which archives are made.
pub struct Initramfs {
    dir: TempDir,
}

impl Initramfs {
    /// Unpacks a profile's root file system.
    pub fn of(outputs: &Outputs, profile: &str) -> Result<Initramfs> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().join("root");
        fs::create_dir_all(&root)?;
        let tar = outputs.file(&format!("{profile}/rootfs.tar.zst"))?;
        check_with("tar", &["--zstd", "-xf", &tar.to_string_lossy(), "-C", &root.to_string_lossy()])?;
        Ok(Initramfs { dir })
    }

    /// A file of the root file system.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("root").join(name)
    }

    /// Writes an archive whose `/sbin/init` is this program of the root file system. The files replace those of the
    /// root; all of them can be executed.
    pub fn write(&self, name: &str, init: &str, files: &[(&str, &str)]) -> Result<PathBuf> {
        let mut tree = Tree::new();
        tree.merge(&self.path(""), "", STAGE)?;
        let program = self.path("usr/bin").join(init);
        ensure!(program.is_file(), "the image has no program {init}");
        // A copy and no link: busybox is init by its name.
        replace(&mut tree, "usr/bin/init")?;
        tree.file("usr/bin/init", &program, 0o755, STAGE)?;
        // The image's own table is no test's.
        replace(&mut tree, "etc/inittab")?;
        for (path, content) in files {
            replace(&mut tree, path)?;
            tree.bytes(path, *content, 0o755, STAGE)?;
        }
        // The kernel opens it for PID 1 before anything is mounted.
        tree.device("dev/console", 5, 1, 0o600, STAGE)?;
        let out = self.dir.path().join(format!("{name}.cpio"));
        cpio::write(&tree, &out, Compression::None)?;
        Ok(out)
    }

    /// A directory for what else a test needs.
    pub fn work(&self) -> &Path {
        self.dir.path()
    }
}

fn replace(tree: &mut Tree, path: &str) -> Result<()> {
    if tree.get(path).is_some() {
        tree.remove(path)?;
    }
    Ok(())
}
