//! One image that is a disk, a CD and a USB stick, for BIOS and UEFI (docs/hybrid.md): a FAT file system with the kernel, which
//! has the root file system inside, a loader for each firmware, and a settings file that a person edits.

use std::path::PathBuf;

use ::disk::Content;
use ::disk::gpt::Sector;
use ::disk::hybrid::{KERNEL, SETTINGS, Slots};
use anyhow::{Context as _, Result, ensure};
use build_support::{Built, Dirs, Job, Stage, digest, fs};
use slots::layout::BORDER;

use super::disk::{Format, formats, place_formats, write_formats};
use super::sign::SIGN;
use super::{Context, Kind, Medium, Output, tools, writers};
use crate::elf;
use crate::profile::Profile;
use crate::schema::{Default, Form, OutputKind, file, key};

const SCHEMA: OutputKind = OutputKind {
    name: "hybrid",
    meaning: "One image that is a disk, a CD and a USB stick, started by BIOS (x86_64) and by UEFI, with one copy of the kernel ([hybrid.md](hybrid.md)). It needs `root.embed`.",
    keys: &[
        file("\"{profile}\""),
        key(
            "formats",
            Form::Words(&["raw", "qcow2", "vmdk", "vhdx", "vdi"]),
            Default::Is("[\"raw\"]"),
            "`raw` (suffix `.iso`) to be written to a disk, a stick or a CD, `qcow2` for QEMU, `vmdk` for VMware, `vhdx` for Hyper-V, `vdi` for VirtualBox",
        ),
        key(
            "settings",
            Form::Line,
            Default::Absent("`image/profiles/bloomery.txt`"),
            "a file from this one's directory, of at most 16 KiB: the text that lies on the image as `BLOOMERY.TXT`, to be edited there, and is `/etc/bloomery.txt` in the running system. A signed output has none",
        ),
        key(
            "slots",
            Form::Size,
            Default::Absent("none"),
            "places of this size for two kernels, so that `updater` can put another one beside the one that runs, and a place for settings that are kept ([updates.md](updates.md))",
        ),
        SIGN,
    ],
};

/// The text that lies on the image where the profile states none, in the checkout.
const USUAL_SETTINGS: &str = "image/profiles/bloomery.txt";
/// Bytes of it that the loaders hand to the kernel.
const MOST_SETTINGS: u64 = 16 << 10;
/// Bytes that are left free: an editor writes a second copy before it removes the first.
const FREE: u64 = 64 << 10;

/// A raw image has the suffix that programs expect of a CD: VirtualBox, VMware and Hyper-V attach no other name, and those that
/// write sticks take it as well.
fn path(output: &Output, format: Format) -> String {
    let suffix = if format == Format::Raw { "iso" } else { format.suffix() };
    format!("{}.{suffix}", output.file)
}

/// The settings file that the profile states.
fn stated_settings(output: &Output) -> Option<PathBuf> {
    output.values().path("settings").ok().flatten()
}

/// Bytes of each slot; none for an image with one kernel.
fn slot_size(output: &Output) -> Option<u64> {
    output.values().size("slots").ok().flatten()
}

/// The slots, with the identifier by which the running kernel is known.
fn slots(cx: &Context) -> Result<Option<Slots>> {
    let Some(size) = slot_size(cx.output) else { return Ok(None) };
    let vmlinux = cx.kernel.vmlinux();
    let build_id = elf::build_id(&fs::read(&vmlinux)?)
        .with_context(|| format!("{} cannot be known again when it runs", vmlinux.display()))?;
    Ok(Some(Slots { size, build_id }))
}

/// The settings file; none for a signed output, whose kernel takes nothing from outside.
fn settings(output: &Output, dirs: &Dirs) -> Option<PathBuf> {
    let file = || stated_settings(output).unwrap_or_else(|| dirs.root.join(USUAL_SETTINGS));
    output.signing_key().is_none().then(file)
}

/// The kind.
pub struct Hybrid;

impl Kind for Hybrid {
    fn schema(&self) -> &'static OutputKind {
        &SCHEMA
    }

    fn files(&self, output: &Output) -> Vec<String> {
        formats(output).into_iter().map(|format| path(output, format)).collect()
    }

    fn media(&self, output: &Output) -> Vec<Medium> {
        let medium = |format| match format {
            Format::Raw => Medium::Hybrid(path(output, format)),
            format => Medium::Disk { file: path(output, format), format, sector: Sector::Small },
        };
        formats(output).into_iter().map(medium).collect()
    }

    fn bootable_image(&self, output: &Output) -> Option<String> {
        formats(output).first().map(|format| path(output, *format))
    }

    fn has_efi_loader(&self) -> bool {
        true
    }

    fn sources(&self, output: &Output) -> Vec<PathBuf> {
        stated_settings(output).into_iter().collect()
    }

    fn check(&self, output: &Output, profile: &Profile) -> Result<()> {
        let Output { place, name, .. } = output;
        ensure!(
            profile.root.embed,
            "{place}: the output `{name}` needs `root.embed = true`: the kernel is all of the system that is on a hybrid image\nhint: state it below [root], or use an output of kind `disk`"
        );
        ensure!(
            !formats(output).is_empty(),
            "{place}: the output `{name}` has no format\nhint: state one of `formats`"
        );
        ensure!(
            slot_size(output).is_none() || profile.has("updater"),
            "{place}: the output `{name}` has `slots`, and no program that writes them\nhint: add `updater` to the packages below [root]"
        );
        ensure!(
            slot_size(output).is_none_or(|size| size.is_multiple_of(BORDER) && size > 0),
            "{place}: the `slots` of the output `{name}` are no multiple of 4 KiB\nhint: state mebibytes, such as \"4 MiB\""
        );
        let Some(file) = stated_settings(output) else { return Ok(()) };
        ensure!(
            output.signing_key().is_none(),
            "{place}: the output `{name}` has `sign` and `settings`: a signed kernel takes nothing from outside\nhint: leave one of them out (docs/secure-boot.md)"
        );
        ensure!(
            file.is_file(),
            "{place}: `settings` names {}, which is no file\nhint: a path counts from the directory of the profile",
            file.display()
        );
        let size = fs::metadata(&file)?.len();
        ensure!(
            size <= MOST_SETTINGS,
            "{place}: `settings` names {} with {size} bytes\nhint: the loaders take {MOST_SETTINGS} at most",
            file.display()
        );
        Ok(())
    }

    fn holds_root(&self) -> bool {
        false
    }

    fn inputs<'a>(&self, stage: Stage<'a>, cx: &Context) -> Result<Stage<'a>> {
        let names: Vec<&str> = formats(cx.output).iter().map(|format| format.name()).collect();
        let settings = settings(cx.output, cx.dirs).map(|file| digest::file(&file)).transpose()?;
        let stage = stage
            .recipe("outputs/hybrid.rs", include_str!("hybrid.rs"))
            .recipe("outputs/disk.rs", include_str!("disk.rs"))
            .input("formats", &names.join(" "))
            .input("settings", &settings.unwrap_or_default())
            .input("slots", &slot_size(cx.output).map_or(String::new(), |size| size.to_string()))
            .input("slots/src", &digest::tree(&cx.dirs.root.join("slots/src"))?)
            .needs(&cx.loaders()?.built);
        tools(writers(cx.needs_efi_program(stage), cx.dirs)?, ::disk::convert::TOOLS)
    }

    fn write(&self, job: &Job, cx: &Context) -> Result<()> {
        let raw = job.dir("hybrid")?.join("raw");
        let host = |name: String, file| (name, Content::Host(file));
        let mut files = vec![
            host(KERNEL.into(), cx.efi_program()),
            host(format!("EFI/BOOT/{}", cx.arch.efi_file()), cx.efi_loader()?),
        ];
        let settings = settings(cx.output, cx.dirs);
        files.extend(settings.clone().map(|file| host(SETTINGS.into(), file)));
        let bios = cx.bios_loader()?;
        let volume_id = super::identity::of_arch(cx.arch).volume_id;
        let slots = slots(cx)?;
        ::disk::Hybrid { volume_id, files, free: FREE, bios, settings: settings.is_some(), slots }.write(&raw)?;
        write_formats(job, cx.output, &raw, path)
    }

    fn place(&self, built: &Built, cx: &Context) -> Result<()> {
        place_formats(built, cx, path)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use build_support::Arch;

    use super::*;

    fn read(dir: &Path, root: &str, keys: &str) -> Result<Profile> {
        let dirs = Dirs { home: dir.join("home"), target: dir.join("target"), root: dir.into() };
        fs::create_dir_all(dir.join("image/profiles"))?;
        let text = format!(
            "description = \"x\"\n[kernel]\nfragments = []\n[root]\nkind = \"initramfs\"\n{root}\n[[output]]\nkind = \"hybrid\"\n{keys}\n"
        );
        fs::write(dir.join("own.toml"), text)?;
        Profile::read(&dirs, "./own.toml")
    }

    #[test]
    fn every_fault_has_its_place_and_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        fs::write(dir.join("large.txt"), vec![b'#'; 16_385]).unwrap();
        fs::write(dir.join("right.txt"), vec![b'#'; 16_384]).unwrap();
        for name in ["a.key", "a.crt"] {
            fs::write(dir.join(name), "").unwrap();
        }
        const EMBED: &str = "embed = true";
        const SIGN: &str = "sign = { key = \"a.key\", cert = \"a.crt\" }";
        for (root, keys, part) in [
            ("", "", "needs `root.embed = true`"),
            (EMBED, "formats = []", "has no format"),
            (EMBED, "settings = \"none.txt\"", "none.txt, which is no file"),
            (EMBED, "settings = \"large.txt\"", "large.txt with 16385 bytes"),
            (EMBED, &format!("settings = \"right.txt\"\n{SIGN}"), "has `sign` and `settings`"),
            (EMBED, "slots = \"4 MiB\"", "has `slots`, and no program that writes them\nhint: add `updater`"),
            ("embed = true\npackages = [\"init\", \"updater\"]", "slots = \"3 KiB\"", "no multiple of 4 KiB\nhint: "),
        ] {
            let error = format!("{:#}", read(dir, root, keys).unwrap_err());
            assert!(error.contains("own.toml:") && error.contains(part) && error.contains("hint: "), "{error}");
        }
        let profile = read(dir, EMBED, "settings = \"right.txt\"").unwrap();
        assert_eq!(profile.outputs[0].kind.sources(&profile.outputs[0]), [dir.join("right.txt")]);
        assert!(Arch::ALL.into_iter().all(|arch| profile.needs_loader(arch)));
    }

    #[test]
    fn its_files_have_the_names_that_programs_expect() {
        let dir = tempfile::tempdir().unwrap();
        let profile = read(dir.path(), "embed = true", "formats = [\"vdi\", \"raw\"]").unwrap();
        let output = &profile.outputs[0];
        assert_eq!(output.files(), ["own.iso", "own.vdi"]);
        assert_eq!(output.kind.media(output)[0], Medium::Hybrid("own.iso".into()));
        assert_eq!(output.kind.bootable_image(output).as_deref(), Some("own.iso"));
    }
}
