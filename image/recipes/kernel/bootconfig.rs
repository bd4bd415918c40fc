//! The boot configuration of a profile, checked by upstream's own tool before anything is compiled. `link` puts it into the
//! kernel.

use std::path::Path;

use build_support::host_clang::HostClang;
use build_support::{Arch, Built, Cmd, Dirs, Job, Result, Stage, fs};
use system::{Profile, bootconfig};

/// Its name in the build directory of the kernel, whatever the user's is.
pub const FILE: &str = "boot.conf";

/// What Kconfig is asked for. The kernel then reads it without the word `bootconfig` on its command line.
pub const CONFIG: &str = "CONFIG_BOOT_CONFIG=y\nCONFIG_BOOT_CONFIG_FORCE=y\nCONFIG_BOOT_CONFIG_EMBED=y\n\
                          CONFIG_BOOT_CONFIG_EMBED_FILE=\"boot.conf\"\n";

/// Directories of the kernel's source with code of every architecture.
const CODE: &[&str] =
    &["block", "certs", "crypto", "drivers", "fs", "init", "io_uring", "ipc", "kernel", "lib", "mm", "net", "security"];

/// Leaves the profile's boot configuration as [`FILE`]. Nothing for a profile without one.
pub fn check(dirs: &Dirs, arch: Arch, profile: &Profile) -> Result<Option<Built>> {
    let Some(file) = &profile.kernel.boot_config else { return Ok(None) };
    let (linux, text) = (vendor::source("linux")?, fs::read_to_string(file)?);
    bootconfig::check_text(file, &text)?;
    let stage = Stage::new(dirs, "boot-config", arch)
        .instance(&profile.name)
        .recipe("kernel/bootconfig.rs", include_str!("bootconfig.rs"))
        .source("linux", &linux.id())
        .input("text", &text);
    let built = stage.build(|job| {
        let source = linux.unpack(dirs)?;
        let tool = job.work.join("bootconfig");
        compile_tool(job, &source, &tool)?;
        let copy = job.out.join(FILE);
        fs::write(&copy, &text)?;
        let listing = list(&tool, &copy, file)?;
        let early = bootconfig::early_parameters(&grep_early(&source, arch)?)?;
        bootconfig::refuse_early(file, &text, &listing, &early)
    })?;
    Ok(Some(built))
}

/// The tool runs here, so the host's compiler makes it.
fn compile_tool(job: &Job, source: &Path, tool: &Path) -> Result<()> {
    let dir = source.join("tools/bootconfig");
    job.cmd(HostClang::find()?.program("clang")?)
        .arg("-O1")
        .arg("-I")
        .arg(dir.join("include"))
        .arg("-o")
        .arg(tool)
        .arg(dir.join("main.c"))
        .arg(source.join("lib/bootconfig.c"))
        .run("compile the tool bootconfig")
}

/// Every key with its value. A file with a fault is called by the user's own path.
fn list(tool: &Path, copy: &Path, file: &Path) -> Result<String> {
    let said = Cmd::new(tool).arg("-l").arg(copy).read("read the boot configuration");
    let fault = match &said {
        Ok(text) => bootconfig::fault(file, text),
        Err(error) => bootconfig::fault(file, &error.to_string()),
    };
    fault.map_or(said, Err)
}

fn grep_early(source: &Path, arch: Arch) -> Result<String> {
    let own = match arch {
        Arch::X86_64 => "arch/x86",
        Arch::Arm64 => "arch/arm64",
    };
    Cmd::new("grep")
        .args(["-rhoE", "--include=*.c", "-e", bootconfig::EARLY])
        .args(CODE.iter().chain([&own]))
        .dir(source)
        .read("look for early parameters in the kernel's source")
}
