//! `initramfs`: what is inside of an archive, or of a kernel.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use build_support::inspect::print;
use build_support::{Arch, Context as _, Result, bail, fs, store, vars};
use disk::cpio::{self, Member};
use system::Profile;
use system::elf;
use system::outputs::{self, Medium};

use crate::context::{Context, arch};

/// List the files of an initramfs
#[derive(clap::Args)]
#[command(
    after_help = "FILE is a cpio archive or several one after the other, each plain or compressed by gzip, zstd, xz or lz4, or \
                        the unstripped `vmlinux` of a kernel. Of a PROFILE the initramfs is listed that the last build made."
)]
pub struct Args {
    /// A file, a name from image/profiles/, or the path of your own TOML file
    #[arg(value_name = "FILE|PROFILE")]
    name: String,
    /// x86_64 or arm64, for a profile [default: $BLOOMERY_ARCH, else this machine's]
    arch: Option<String>,
}

/// Prints a line for each entry, as `ls -l` does.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let arch = match &args.arch {
        Some(name) => arch(name)?,
        None => vars::archs()?[0],
    };
    let is_file = !args.name.ends_with(".toml") && Path::new(&args.name).is_file();
    let file = if is_file { PathBuf::from(&args.name) } else { of_profile(context, &args.name, arch)? };
    let members = members(context, &file)?;
    print(&text(&members))?;
    Ok(ExitCode::SUCCESS)
}

/// The archive that lies beside a profile's kernel, or the kernel that has it inside.
fn of_profile(context: &Context, name: &str, arch: Arch) -> Result<PathBuf> {
    let profile = context.profile(&context.profile_name(name)?)?;
    context.require_outputs(&profile, name, arch)?;
    if profile.root.embed {
        return embedding_kernel(context, &profile, name, arch);
    }
    let archive = outputs::media(&profile).into_iter().find_map(|medium| match medium {
        Medium::Initramfs(file) => Some(file),
        _ => None,
    });
    match archive {
        Some(file) => Ok(context.dirs.output(arch).join(file)),
        None => bail!(
            "the profile {} has no initramfs\nhint: `root.kind = \"initramfs\"` with `root.embed` or an [[output]] of kind `initramfs` makes one",
            profile.name
        ),
    }
}

/// The outputs have no symbols, which the result in the store has.
fn embedding_kernel(context: &Context, profile: &Profile, name: &str, arch: Arch) -> Result<PathBuf> {
    let stage = format!("link-{}-{arch}", profile.name);
    let linked = store::last(&context.dirs, &stage)?.with_context(|| {
        format!("the store has no result of {stage}\nhint: cargo bloomery build {name} --arch {arch}")
    })?;
    Ok(linked.out().join("debug/vmlinux"))
}

fn members(context: &Context, file: &Path) -> Result<Vec<Member>> {
    let bytes = fs::read(file)?;
    let wanted = || format!("cannot read {}", file.display());
    if bytes.starts_with(b"MZ") {
        bail!(
            "{} is a kernel without symbols\nhint: name its profile, or the `vmlinux` that it was made of",
            file.display()
        );
    }
    let work = context.dirs.work().join(format!("initramfs-{}", std::process::id()));
    if !bytes.starts_with(b"\x7fELF") {
        return unpacked(file, &work);
    }
    let archive = elf::initramfs(&bytes).with_context(wanted)?;
    fs::create_dir_all(&work)?;
    let inside = work.join("inside");
    fs::write(&inside, archive)?;
    unpacked(&inside, &work)
}

/// Lists an archive, and removes what was unpacked on the way.
fn unpacked(archive: &Path, work: &Path) -> Result<Vec<Member>> {
    let members = cpio::list(archive, work);
    if work.exists() {
        fs::remove_dir_all(work)?;
    }
    members
}

/// A line each, with a line above each archive where there are several.
fn text(members: &[Member]) -> String {
    let several = members.iter().any(|member| member.archive > 0);
    let mut text = String::new();
    let mut archive = None;
    for member in members {
        if several && archive != Some(member.archive) {
            archive = Some(member.archive);
            text += &format!("archive {}:\n", member.archive + 1);
        }
        text += &line(member);
    }
    text
}

fn line(member: &Member) -> String {
    let Member { mode, uid, gid, names, path, .. } = member;
    let size = match kind(*mode) {
        'b' | 'c' => format!("{}, {}", member.device.0, member.device.1),
        _ => member.size.to_string(),
    };
    let target = member.target.as_ref().map_or(String::new(), |target| format!(" -> {target}"));
    format!("{}{} {names:>2} {uid:>5} {gid:>5} {size:>9} {path}{target}\n", kind(*mode), permissions(*mode))
}

/// The letter of a kind of file, as ls(1) shows it (`st_mode`, inode(7)).
fn kind(mode: u32) -> char {
    match mode & 0o170000 {
        0o040000 => 'd',
        0o120000 => 'l',
        0o020000 => 'c',
        0o060000 => 'b',
        0o010000 => 'p',
        0o140000 => 's',
        0o100000 => '-',
        _ => '?',
    }
}

/// Nine letters, in which set-id and sticky bits take the place of the right to execute.
fn permissions(mode: u32) -> String {
    let class = |shift: u32, special: u32, letter: char| {
        let bits = mode >> shift;
        let execute = match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        };
        [if bits & 4 != 0 { 'r' } else { '-' }, if bits & 2 != 0 { 'w' } else { '-' }, execute]
    };
    [class(6, 0o4000, 's'), class(3, 0o2000, 's'), class(0, 0o1000, 't')].iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_ls_shows_them() {
        for (mode, text) in [
            (0o100644, "-rw-r--r--"),
            (0o104755, "-rwsr-xr-x"),
            (0o102644, "-rw-r-Sr--"),
            (0o041777, "drwxrwxrwt"),
            (0o020600, "crw-------"),
            (0o120777, "lrwxrwxrwx"),
        ] {
            assert_eq!(format!("{}{}", kind(mode), permissions(mode)), text);
        }
    }
}
