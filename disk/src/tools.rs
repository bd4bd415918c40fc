//! The host programs that decide about bytes of an output. A stage that writes one has their versions in its key.

use anyhow::Result;
use build_support::host;

/// A program of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The program's name.
    pub name: &'static str,
    /// The option that makes it print its version.
    version_option: &'static str,
}

impl Tool {
    /// The first line that the program prints about its version.
    ///
    /// # Errors
    ///
    /// When the program is not installed or does not start.
    pub fn version(&self) -> Result<String> {
        host::version(self.name, self.version_option)
    }
}

/// Compresses archives.
pub const ZSTD: Tool = Tool { name: "zstd", version_option: "--version" };
/// Compresses archives.
pub const GZIP: Tool = Tool { name: "gzip", version_option: "--version" };
/// Compresses archives.
pub const LZ4: Tool = Tool { name: "lz4", version_option: "--version" };
/// Compresses archives.
pub const XZ: Tool = Tool { name: "xz", version_option: "--version" };
/// Makes ext4 file systems.
pub const MKE2FS: Tool = Tool { name: "mke2fs", version_option: "-V" };
/// Fills ext4 file systems.
pub const DEBUGFS: Tool = Tool { name: "debugfs", version_option: "-V" };
/// Converts disks.
pub const QEMU_IMG: Tool = Tool { name: "qemu-img", version_option: "--version" };
