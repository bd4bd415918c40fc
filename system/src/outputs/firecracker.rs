//! A configuration by which Firecracker starts a kernel with its root file system: `firecracker --no-api --config-file FILE`,
//! from the directory of that file, because Firecracker reads paths from the directory that it is started in.

use std::path::{Component, Path, PathBuf};

use build_support::Stage;
use serde_json::{Value, json};

use super::{Context, DiskFormat, Medium, media};
use crate::profile::RootKind;

/// What its file's name ends with.
pub const SUFFIX: &str = ".firecracker.json";
/// The tap device that the guest's card leads to.
const TAP: &str = "tap0";
/// Words for the kernel. Firecracker's own would switch modules off. It ends when the guest resets its keyboard controller
/// (`reboot=k`), and has no PCI bus to look for.
const WORDS: &str = "console=ttyS0 reboot=k pci=off";

/// Adds to the key what decides about the configuration.
pub fn inputs<'a>(stage: Stage<'a>, cx: &Context) -> Stage<'a> {
    let text = config(cx, "");
    stage.recipe("outputs/firecracker.rs", include_str!("firecracker.rs")).input("firecracker", &text)
}

/// The configuration for a kernel, a file below `target/bloomery/ARCH/`.
pub fn config(cx: &Context, kernel: &str) -> String {
    let dir = Path::new(&cx.output.file).parent().unwrap_or(Path::new(""));
    let path = |file: &str| Value::from(relative(Path::new(file), dir).display().to_string());
    let mut source = json!({ "kernel_image_path": path(kernel), "boot_args": WORDS });
    let mut drives = Vec::new();
    match cx.profile.root.kind {
        RootKind::Initramfs if cx.profile.root.embed => {}
        RootKind::Initramfs => {
            let beside = media(cx.profile).into_iter().find_map(|medium| match medium {
                Medium::Initramfs(file) => Some(file),
                _ => None,
            });
            if let Some(file) = beside {
                source["initrd_path"] = path(&file);
            }
        }
        RootKind::Ext4 => drives.extend(super::disk(cx.profile, DiskFormat::Raw).map(|file| {
            let root = path(&file);
            // The kernel's built-in command line says which partition is the root.
            json!({ "drive_id": "disk", "path_on_host": root, "is_root_device": false, "is_read_only": false })
        })),
    }
    let config = json!({
        "boot-source": source,
        "drives": drives,
        "network-interfaces": [{ "iface_id": "eth0", "host_dev_name": TAP }],
        "machine-config": {
            "vcpu_count": cx.profile.machine.processors.unwrap_or(1),
            "mem_size_mib": cx.profile.machine.memory >> 20,
        },
    });
    format!("{config:#}\n")
}

/// The way to a file from a directory; both begin at the same one.
fn relative(file: &Path, dir: &Path) -> PathBuf {
    let common = file.components().zip(dir.components()).take_while(|(one, other)| one == other).count();
    let up = dir.components().skip(common).map(|_| Component::ParentDir);
    up.chain(file.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_goes_up_and_down() {
        for (file, dir, way) in [
            ("own/kernel.elf", "own", "kernel.elf"),
            ("own.img", "own", "../own.img"),
            ("a/b/x", "a/c/d", "../../b/x"),
            ("kernel", "", "kernel"),
        ] {
            assert_eq!(relative(Path::new(file), Path::new(dir)), Path::new(way));
        }
    }
}
