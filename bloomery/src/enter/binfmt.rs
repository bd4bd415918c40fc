//! qemu-user for programs of the other architecture, by the kernel's table of binary formats
//! (Documentation/admin-guide/binfmt-misc.rst).

use std::path::Path;

use build_support::{Arch, Context as _, Result, bail, fs};
use rustix::mount::{MountFlags, mount};

/// Where the table is mounted.
const TABLE: &str = "/proc/sys/fs/binfmt_misc";
/// Where packages leave lines for the table (binfmt.d(5)).
const LINES: &[&str] = &["/usr/lib/binfmt.d", "/etc/binfmt.d"];

fn name(arch: Arch) -> String {
    format!("qemu-{}", arch.machine())
}

/// Whether the host's table has qemu-user for an architecture, with the program opened (flag F), so that it runs in a chroot.
///
/// # Errors
/// An entry that cannot be read.
pub fn is_registered(arch: Arch) -> Result<bool> {
    let entry = Path::new(TABLE).join(name(arch));
    if !entry.exists() {
        return Ok(false);
    }
    let text = fs::read_to_string(entry)?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags: ")).unwrap_or_default();
    Ok(text.starts_with("enabled") && flags.contains('F'))
}

/// Enters qemu-user into the table of the new user namespace, which Linux has since 6.7.
///
/// # Errors
/// A missing qemu-user, or a kernel without such tables.
pub fn register(arch: Arch) -> Result<()> {
    let file = format!("{}.conf", name(arch));
    let Some(line) = LINES.iter().map(|dir| Path::new(dir).join(&file)).find(|path| path.is_file()) else {
        bail!("there is no qemu-user for programs of {arch}\nhint: run ./setup.sh (Debian: qemu-user-static)");
    };
    let hint = "a user namespace has such a table since Linux 6.7; before that, root can register it for the whole machine: \
                sudo systemctl restart systemd-binfmt";
    mount("binfmt_misc", TABLE, "binfmt_misc", MountFlags::empty(), None::<&std::ffi::CStr>)
        .with_context(|| format!("cannot mount a table of binary formats\nhint: {hint}"))?;
    fs::write(Path::new(TABLE).join("register"), fs::read(&line)?)
        .with_context(|| format!("the kernel does not take {}\nhint: {hint}", line.display()))
}
