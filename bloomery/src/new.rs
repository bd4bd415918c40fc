//! `new`: a directory for a system of one's own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use build_support::inspect::print;
use build_support::{Context as _, Result, ensure, fs};
use system::Profile;
use system::outputs::Medium;

use crate::context::Context;
use crate::usage::wrong;

/// Make a directory for a system of your own: a profile, a service, a file to lay over, and a page that says how to go on
#[derive(clap::Args)]
pub struct Args {
    /// The directory to make; its name becomes that of the profile and of the machine
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The profile to begin with: a name from image/profiles/
    #[arg(long, value_name = "PROFILE", default_value = "appliance")]
    from: String,
}

/// The files: their paths, where `NAME` stands for the directory's name, and their texts.
const FILES: &[(&str, &str)] = &[
    ("NAME.toml", include_str!("../template/profile.toml")),
    ("service/build.sh", include_str!("../template/service/build.sh")),
    ("service/hello.c", include_str!("../template/service/hello.c")),
    ("files/etc/motd", include_str!("../template/files/etc/motd")),
];
/// Written last: it names what the profile makes.
const PAGE: (&str, &str) = ("README.md", include_str!("../template/README.md"));

/// Makes it, and prints its files.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let dir = std::path::absolute(&args.dir)?;
    let name = name_of(&dir)?;
    context.profile_name(&args.from)?;
    let from = context.profile(&args.from)?;
    ensure!(
        from.has("init"),
        "the profile {} has no init, which starts the service\nhint: --from appliance, single, base or full",
        args.from
    );
    require_empty(&dir)?;
    let path = dir.join(format!("{name}.toml"));
    let fill = |text: &str| {
        text.replace("@NAME@", &name).replace("@FROM@", &args.from).replace("@PATH@", &path.to_string_lossy())
    };
    let mut made = Vec::new();
    for (file, text) in FILES {
        made.push(write(&dir.join(file.replace("NAME", &name)), &fill(text))?);
    }
    let profile = context.profile(&path.to_string_lossy()).context("the new profile has a fault")?;
    let page = fill(PAGE.1).replace("@FILES@", &files(&profile));
    made.push(write(&dir.join(PAGE.0), &page)?);
    print(&made.iter().map(|file| format!("{}\n", file.display())).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

/// The directory's name, which has to be one of a host.
fn name_of(dir: &Path) -> Result<String> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let good = !name.is_empty()
        && name.len() <= 63 // A label of a host's name (RFC 1123, section 2.1).
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    match good {
        true => Ok(name),
        false => Err(wrong(
            &format!("`{name}` cannot be the machine's name"),
            "call the directory with letters, digits and `-`, at most 63 of them",
        )),
    }
}

fn require_empty(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let is_empty = dir.is_dir() && fs::read_dir(dir)?.next().is_none();
    ensure!(is_empty, "{} is there, and not an empty directory\nhint: choose another name", dir.display());
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<PathBuf> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, text)?;
    if path.extension().is_some_and(|extension| extension == "sh") {
        fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(path.into())
}

/// What the profile makes that can be started.
fn files(profile: &Profile) -> String {
    let mut lines = String::new();
    for output in profile.outputs.iter() {
        let media = output.kind.media(output);
        for file in output.files() {
            if let Some(how) = media.iter().find_map(|medium| use_of(medium, &file)) {
                lines += &format!("- `{file}`: {how}\n");
            }
        }
    }
    lines.trim_end().into()
}

/// How one starts a file.
fn use_of(medium: &Medium, file: &str) -> Option<&'static str> {
    match medium {
        Medium::Disk { file: path, .. } => (path == file).then_some("a disk"),
        Medium::Kernel(path) => (path == file).then_some("the kernel, for boot loaders and `-kernel`"),
        Medium::Elf(path) => (path == file).then_some("the kernel for machines without firmware"),
        Medium::Initramfs(path) => (path == file).then_some("the initramfs, beside the kernel"),
        Medium::Efi(path) => (path == file).then_some("the whole system as one EFI program"),
        Medium::Hybrid(path) => (path == file).then_some("a disk, a CD and a USB stick at once"),
        Medium::Cd(path) => (path == file).then_some("a CD"),
    }
}
