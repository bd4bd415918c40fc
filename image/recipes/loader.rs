//! The loaders of hybrid images (`image/loader/`): one for a BIOS, which x86_64 has, and one for UEFI firmware.

use std::path::Path;

use build_support::{Arch, Built, Dirs, Job, Result, Stage, digest};

/// Leaves `loader.efi`, `loader-alone.efi`, which gives the kernel nothing, and on x86_64 `mbr.bin` and `second.bin`.
pub fn build(dirs: &Dirs, arch: Arch) -> Result<Built> {
    let source = dirs.root.join("image/loader");
    Stage::new(dirs, "loader", arch)
        .recipe("loader.rs", include_str!("loader.rs"))
        .input("sources", &digest::tree(&source)?)
        .tool("llvm", &toolchain::host_llvm()?.digest)
        .build(|job| {
            if arch == Arch::X86_64 {
                assemble(job, &source, "mbr", "0x600")?; // It moves itself there.
                assemble(job, &source, "second", "0x7c00")?;
            }
            compile(job, arch, &source, "loader", "SETTINGS=1")?;
            compile(job, arch, &source, "loader-alone", "SETTINGS=0")
        })
}

/// Assembles code for real mode, to be loaded at an address as it is.
fn assemble(job: &Job, source: &Path, name: &str, address: &str) -> Result<()> {
    let object = job.work.join(format!("{name}.o"));
    job.cmd(toolchain::program("clang")?)
        .args(["--target=i386-unknown-none-elf", "-c"])
        .arg(source.join(format!("{name}.s")))
        .arg("-o")
        .arg(&object)
        .run(&format!("assemble {name}"))?;
    job.cmd(toolchain::program("ld.lld")?)
        .args(["-m", "elf_i386", "--oformat", "binary"])
        .args(["--image-base=0", &format!("-Ttext={address}")])
        .args(["-e", "_start"])
        .arg("-o")
        .arg(job.out.join(format!("{name}.bin")))
        .arg(&object)
        .run(&format!("link {name}"))
}

/// Compiles the EFI program with a definition.
fn compile(job: &Job, arch: Arch, source: &Path, name: &str, define: &str) -> Result<()> {
    // UEFI has the calling convention and the file format of Windows.
    let linked = match arch {
        Arch::X86_64 => "i386pep",
        Arch::Arm64 => "arm64pe",
    };
    let object = job.work.join(format!("{name}.o"));
    job.cmd(toolchain::program("clang")?)
        .arg(format!("--target={}-unknown-windows", arch.machine()))
        .args(["-std=c17", "-Oz", "-Wall", "-Wextra", "-Werror"])
        .args(["-ffreestanding", "-fno-builtin"]) // There is no memcpy that a loop could become.
        .arg("-fno-stack-protector") // Nor its functions.
        .arg(format!("-D{define}"))
        .arg("-c")
        .arg(source.join("efi.c"))
        .arg("-o")
        .arg(&object)
        .run(&format!("compile {name}.efi"))?;
    job.cmd(toolchain::program("ld.lld")?)
        .args(["-m", linked, "--subsystem", "efi_application"])
        .args(["-e", "efi_main"])
        .arg("--no-insert-timestamp") // The same source gives the same bytes.
        .arg("--strip-all")
        .arg("-o")
        .arg(job.out.join(format!("{name}.efi")))
        .arg(&object)
        .run(&format!("link {name}.efi"))
}
