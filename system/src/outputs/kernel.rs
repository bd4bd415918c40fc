//! The kernel with its configuration, its command line and, where the profile asks for it, what a debugger reads.

use anyhow::{Result, bail};
use build_support::{Arch, Job, Stage, fs, tree};

use super::{Context, Kind, Medium, Output, firecracker, place};
use crate::schema::{Default, Form, OutputKind, file, key};

const SCHEMA: OutputKind = OutputKind {
    name: "kernel",
    meaning: "The kernel, with its configuration (suffix `.config`) and its command line (`cmdline` beside it). arm64 has another file for UEFI firmware (suffix `.efi`). With `kernel.debug` the directory `debug` beside it has `vmlinux` and GDB's scripts. With the format `elf` a configuration for Firecracker lies beside it (suffix `.firecracker.json`).",
    keys: &[
        file("\"{profile}/kernel\""),
        key(
            "formats",
            Form::Words(&["image", "elf"]),
            Default::Is("[\"image\"]"),
            "`image` for boot loaders and QEMU's `-kernel`, `elf` (suffix `.elf`) with a PVH entry for Firecracker, Cloud Hypervisor and QEMU's microvm; arm64 has none, and they take its `image`",
        ),
    ],
};

fn has(output: &Output, format: &str) -> bool {
    output.values().words("formats").is_ok_and(|formats| formats.contains(&format))
}

fn beside(output: &Output, name: &str) -> String {
    match output.file.rsplit_once('/') {
        Some((dir, _)) => format!("{dir}/{name}"),
        None => name.into(),
    }
}

/// The kind.
pub struct Kernel;

impl Kind for Kernel {
    fn schema(&self) -> &'static OutputKind {
        &SCHEMA
    }

    fn files(&self, output: &Output) -> Vec<String> {
        let file = &output.file;
        let mut files = Vec::new();
        if has(output, "image") {
            files.extend([file.clone(), format!("{file}.efi")]);
        }
        if has(output, "elf") {
            files.extend([format!("{file}.elf"), format!("{file}{}", firecracker::SUFFIX)]);
        }
        files.extend([format!("{file}.config"), beside(output, "cmdline"), beside(output, "debug")]);
        files
    }

    fn media(&self, output: &Output) -> Vec<Medium> {
        let image = has(output, "image").then(|| Medium::Kernel(output.file.clone()));
        let elf = has(output, "elf").then(|| Medium::Elf(format!("{}.elf", output.file)));
        image.into_iter().chain(elf).collect()
    }

    fn check_arch(&self, output: &Output, arch: Arch) -> Result<()> {
        if has(output, "elf") && !has(output, "image") && arch != Arch::X86_64 {
            bail!(
                "{}: the output `{}` has the format `elf` alone, which a kernel for {arch} does not have\n\
                 hint: its `image` is what every loader takes: add it to `formats`",
                output.place,
                output.name
            );
        }
        Ok(())
    }

    fn holds_root(&self) -> bool {
        false
    }

    fn inputs<'a>(&self, stage: Stage<'a>, cx: &Context) -> Result<Stage<'a>> {
        let formats = cx.output.values().words("formats")?.join(" ");
        let stage = if has(cx.output, "elf") { firecracker::inputs(stage, cx) } else { stage };
        Ok(stage
            .recipe("outputs/kernel.rs", include_str!("kernel.rs"))
            .input("formats", &formats)
            .input("debug", &cx.profile.kernel.debug.to_string())
            .needs(&cx.kernel.built))
    }

    fn write(&self, job: &Job, cx: &Context) -> Result<()> {
        let (from, file) = (&cx.kernel.built.dir, &cx.output.file);
        place::make_parent(&job.out.join(file))?;
        if has(cx.output, "image") {
            tree::copy(&cx.kernel.image(), &job.out.join(file))?;
            let efi = from.join("kernel.efi");
            if efi.is_file() {
                tree::copy(&efi, &job.out.join(format!("{file}.efi")))?;
            }
        }
        if has(cx.output, "elf") {
            let elf = cx.arch == Arch::X86_64;
            if elf {
                strip(job, cx, &format!("{file}.elf"))?;
            }
            let kernel = if elf { format!("{file}.elf") } else { file.clone() };
            fs::write(job.out.join(format!("{file}{}", firecracker::SUFFIX)), firecracker::config(cx, &kernel))?;
        }
        fs::copy(from.join("kernel.config"), job.out.join(format!("{file}.config")))?;
        fs::copy(from.join("cmdline"), job.out.join(beside(cx.output, "cmdline")))?;
        if cx.profile.kernel.debug {
            tree::copy(&from.join("debug"), &job.out.join(beside(cx.output, "debug")))?;
        }
        Ok(())
    }
}

/// The ELF file without what only debuggers read. Its PVH entry is a note (`XEN_ELFNOTE_PHYS32_ENTRY`), which stays.
fn strip(job: &Job, cx: &Context, file: &str) -> Result<()> {
    let strip = cx.dirs.target.join("bloomery/toolchain/bin/llvm-strip");
    job.cmd(strip).arg("-o").arg(job.out.join(file)).arg(cx.kernel.vmlinux()).run("strip the kernel")
}
