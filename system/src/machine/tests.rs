use std::process::Command;

use build_support::{Dirs, fs};

use super::*;

/// A project with a profile of the test's own, and the outputs of it as empty files in a directory with odd characters.
struct Bench {
    dir: tempfile::TempDir,
    profile: Profile,
}

const HEAD: &str = "description = \"x\"\n[kernel]\nfragments = []\n";
const DISK: &str = "[[output]]\nkind = \"disk\"\nsize = \"64 MiB\"\n[[output]]\nkind = \"kernel\"\n";
const MEMORY: &str = "[root]\nkind = \"initramfs\"\n[[output]]\nkind = \"kernel\"\n[[output]]\nkind = \"initramfs\"\n";
const EFI: &str = "[root]\nkind = \"initramfs\"\nembed = true\n[[output]]\nkind = \"kernel\"\nformats = [\"image\", \"elf\"]\n\
                   [[output]]\nkind = \"efi\"\n";
const ISO: &str =
    "[root]\nkind = \"initramfs\"\nembed = true\n[[output]]\nkind = \"iso\"\nfile = \"cd/of {profile}\"\n";

const HYBRID: &str = "[root]\nkind = \"initramfs\"\nembed = true\n[[output]]\nkind = \"hybrid\"\n";

impl Bench {
    fn new(text: &str) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        tree::write_atomically(&dir.path().join("image/profiles/own.toml"), format!("{HEAD}{text}").as_bytes())
            .unwrap();
        let root = dir.path().to_path_buf();
        let dirs = Dirs { home: root.join("home"), target: root.join("target"), root };
        let profile = Profile::read(&dirs, "own").unwrap();
        let bench = Bench { dir, profile };
        for arch in Arch::ALL {
            for boot in bench.profile.boots(arch) {
                let machine = bench.machine(arch, boot);
                for file in machine.files().unwrap() {
                    tree::write_atomically(&bench.out().join(file), b"").unwrap();
                }
            }
        }
        tree::write_atomically(&bench.out().join("own/cmdline"), b"root=/dev/vda console=ttyAMA0\n").unwrap();
        bench
    }

    /// The profile with another text.
    fn reread(&self, text: &str) -> Profile {
        let root = self.dir.path().to_path_buf();
        fs::write(root.join("image/profiles/own.toml"), format!("{HEAD}{text}")).unwrap();
        Profile::read(&Dirs { home: root.join("home"), target: root.join("target"), root }, "own").unwrap()
    }

    /// What a build leaves, in a directory whose name QEMU and a shell would take apart.
    fn out(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("it's, odd")
    }

    fn machine(&self, arch: Arch, boot: Boot) -> Machine<'_> {
        // The test's machines are few, and each directory is one.
        Machine { arch, profile: &self.profile, boot, dir: Box::leak(self.out().into_boxed_path()) }
    }

    /// The command as text, by emulation.
    fn text(&self, arch: Arch, boot: Boot, options: &Options) -> String {
        let command = self.machine(arch, boot).command(options, &host(arch)).unwrap();
        format!("{command} ")
    }

    fn refusal(&self, boot: Boot, options: &Options, host: &Host) -> String {
        format!("{:#}", self.machine(Arch::X86_64, boot).command(options, host).unwrap_err())
    }
}

/// This machine without KVM. The tests need the firmware that ./setup.sh installs.
fn host(arch: Arch) -> Host {
    let host = Host::find(arch, Accelerator::Tcg, Path::new("/nonexistent"));
    assert!(host.firmware.is_some(), "there is no firmware for {arch}\nhint: run ./setup.sh");
    host
}

#[test]
fn a_kernel_is_loaded_beside_its_disk() {
    let bench = Bench::new(DISK);
    let text = bench.text(Arch::X86_64, Boot::Kernel, &Options::default());
    let out = bench.dir.path().canonicalize().unwrap();
    assert!(text.starts_with("qemu-system-x86_64 -nodefaults -no-user-config -M q35,sata=off "), "{text}");
    for part in
        [" -m 1G -smp 1 ", " -accel tcg -cpu max ", " user,id=net ", " -serial mon:stdio ", "drive=disk,bootindex=1 "]
    {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    // The comma is doubled in an option, and only there.
    assert!(text.contains(&format!("file={}/it'\\''s,, odd/own.qcow2' ", out.display())), "{text}");
    assert!(text.contains(&format!("-kernel '{}/it'\\''s, odd/own/kernel' ", out.display())), "{text}");
    for absent in ["-initrd", "pflash", "-append", "-snapshot", "-gdb", "-qmp"] {
        assert!(!text.contains(absent), "`{absent}` is in {text}");
    }
}

#[test]
fn every_option_has_its_arguments() {
    let bench = Bench::new(DISK);
    let text = |options: Options| bench.text(Arch::X86_64, Boot::Kernel, &options);
    let none = Options::default;
    for (options, part) in [
        (Options { memory: Some(512 << 20), ..none() }, " -m 512M "),
        (Options { memory: Some(5_000_000), ..none() }, " -m 4883K "),
        (Options { processors: Some(4), ..none() }, " -smp 4 "),
        (
            Options { ports: vec![Forward::new(8080, 80), Forward::new(2222, 22)], ..none() },
            " user,id=net,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:2222-:22 ",
        ),
        (Options { snapshot: true, ..none() }, " -snapshot "),
        (Options { gdb: true, ..none() }, " -gdb tcp:127.0.0.1:1234 -S "),
        (Options { append: "quiet nokaslr".into(), ..none() }, " -append 'quiet nokaslr' "),
        (Options { tap: Some("tap0".into()), ..none() }, " -netdev tap,id=net,script=no,downscript=no,ifname=tap0 "),
        (Options { qmp: Some("/run/a,b/qmp".into()), ..none() }, " -qmp unix:/run/a,,b/qmp,server=on,wait=off "),
        (
            Options { serial: Some("/run/a,b/port".into()), ..none() },
            " -serial unix:/run/a,,b/port,server=on,wait=off ",
        ),
        (Options { extra: vec!["-vga".into(), "std".into()], ..none() }, " -vga std "),
    ] {
        let text = text(options);
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    let other = bench.text(Arch::Arm64, Boot::Kernel, &Options { serial: Some("/run/a,b".into()), ..none() });
    assert!(
        other.contains(" socket,id=second,server=on,wait=off,path=/run/a,,b -device pci-serial,chardev=second "),
        "{other}"
    );
}

#[test]
fn a_profile_sizes_its_machine() {
    let bench = Bench::new(&format!("[machine]\nmemory = \"64 MB\"\nprocessors = 3\n{DISK}"));
    let text = bench.text(Arch::X86_64, Boot::Kernel, &Options::default());
    assert!(text.contains(" -m 62500K -smp 3 "), "{text}");
}

/// Its kernel takes what a boot loader says in place of its built-in command line.
#[test]
fn an_arm64_kernel_gets_its_whole_command_line() {
    let bench = Bench::new(DISK);
    let options = Options { append: "single".into(), ..Options::default() };
    let text = bench.text(Arch::Arm64, Boot::Kernel, &options);
    assert!(text.starts_with("qemu-system-aarch64 ") && text.contains(" -M virt"), "{text}");
    assert!(text.contains(" -append 'root=/dev/vda console=ttyAMA0 single' "), "{text}");
}

#[test]
fn a_root_in_memory_is_handed_over_or_in_the_kernel() {
    let options = Options::default();
    let beside = Bench::new(MEMORY).text(Arch::X86_64, Boot::Kernel, &options);
    assert!(beside.contains("/own/initramfs.cpio.zst' ") && beside.contains(" -initrd "), "{beside}");
    let inside = Bench::new(EFI).text(Arch::X86_64, Boot::Kernel, &options);
    assert!(inside.contains(" -kernel ") && !inside.contains(" -initrd "), "{inside}");
    assert!(!beside.contains("-drive") && !inside.contains("-drive"), "neither has a disk");
}

#[test]
fn firmware_starts_a_disk_a_cd_or_a_directory() {
    for (profile, parts) in [
        (DISK, ["format=qcow2,discard=unmap,file=", "virtio-blk-pci,drive=disk,bootindex=1"]),
        (ISO, ["media=cdrom,format=raw,readonly=on,file=", "scsi-cd,drive=disk,bootindex=1"]),
        (EFI, ["format=vvfat,readonly=on,dir=", "virtio-blk-pci,drive=disk,bootindex=1"]),
    ] {
        let bench = Bench::new(profile);
        for arch in Arch::ALL {
            let text = bench.text(arch, Boot::Uefi, &Options::default());
            assert!(text.contains("if=pflash,unit=0") && !text.contains("-kernel"), "{text}");
            assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} are not in {text}");
            bench.machine(arch, Boot::Uefi).prepare(&DEFAULT, &host(arch)).unwrap();
            let own = bench.out().join("own");
            assert!(own.join("uefi-vars.fd").metadata().unwrap().len() > 100_000);
            let program = own.join("esp/EFI/BOOT").join(arch.efi_file());
            assert_eq!(program.is_file(), profile == EFI, "{}", program.display());
        }
    }
}

/// A hybrid image is the same file on three media, for both firmwares.
#[test]
fn a_hybrid_image_is_a_disk_a_cd_or_a_stick() {
    let bench = Bench::new(HYBRID);
    assert_eq!(bench.profile.boots(Arch::Arm64), [Boot::Uefi, Boot::UefiCd, Boot::UefiUsb]);
    for (bios, uefi, parts) in [
        (Boot::Bios, Boot::Uefi, ["format=raw,discard=unmap,file=", "virtio-blk-pci,drive=disk,bootindex=1"]),
        (Boot::BiosCd, Boot::UefiCd, ["media=cdrom,format=raw,readonly=on,file=", "scsi-cd,drive=disk,bootindex=1"]),
        (Boot::BiosUsb, Boot::UefiUsb, ["-device qemu-xhci", "usb-storage,drive=disk,bootindex=1"]),
    ] {
        for boot in [bios, uefi] {
            let text = bench.text(Arch::X86_64, boot, &Options::default());
            assert!(parts.iter().all(|part| text.contains(part)) && text.contains("/own.iso"), "{text}");
            assert_eq!(text.contains("if=pflash,unit=0"), boot == uefi, "{text}");
            assert!(!text.contains("-kernel"), "{text}");
        }
    }
    let append = Options { append: "quiet".into(), ..Options::default() };
    assert!(bench.refusal(Boot::Bios, &append, &host(Arch::X86_64)).contains("--append does not go with --boot bios"));
}

/// The firmware's settings leave the wanted protocol first, and the file to load is told by QEMU's own servers.
#[test]
fn a_network_starts_what_it_serves() {
    let bench = Bench::new(EFI);
    let tap = Options { tap: Some("tap0".into()), ..Options::default() };
    let without = |protocol: &str| format!(" -fw_cfg name=opt/org.tianocore/{protocol}Support,string=n ");
    for (boot, absent) in [
        (Boot::Pxe4, &[][..]),
        (Boot::Pxe6, &["IPv4PXE"]),
        (Boot::Http4, &["IPv4PXE", "IPv6PXE"]),
        (Boot::Http6, &["IPv4PXE", "IPv6PXE"]),
    ] {
        for arch in Arch::ALL {
            let text = bench.text(arch, boot, &tap);
            assert!(
                text.contains("virtio-net-pci,netdev=net,romfile=,bootindex=1 ") && text.contains("pflash"),
                "{text}"
            );
            assert!(!text.contains("-kernel") && !text.contains("vvfat") && !text.contains("user,id=net"), "{text}");
            for protocol in ["IPv4PXE", "IPv6PXE"] {
                assert_eq!(text.contains(&without(protocol)), absent.contains(&protocol), "{text}");
            }
        }
    }
    let text = bench.text(Arch::X86_64, Boot::Pxe4, &Options::default());
    assert!(text.contains("/it'\\''s,, odd,bootfile=own.efi' "), "{text}");
    let text = bench.text(Arch::X86_64, Boot::Ipxe, &Options::default());
    assert!(text.contains("/it'\\''s,, odd/own,bootfile=kernel' ") && !text.contains("pflash"), "{text}");
    assert!(text.contains(" virtio-net-pci,netdev=net,bootindex=1 "), "{text}");
}

#[test]
fn a_machine_without_pci_has_no_device_on_it() {
    let bench = Bench::new(EFI);
    let options = Options { append: "quiet".into(), ..Options::default() };
    let text = bench.text(Arch::X86_64, Boot::Microvm, &options);
    assert!(text.contains(" -M microvm,acpi=off,rtc=on ") && text.contains("/own/kernel.elf' "), "{text}");
    assert!(text.contains(" virtio-net-device,netdev=net ") && text.contains(" -append quiet "), "{text}");
    assert!(!text.contains("-pci") && !text.contains("pflash"), "{text}");
}

/// What firmware kept in its variables stays, unless they are of other firmware.
#[test]
fn variables_are_copied_once() {
    let bench = Bench::new(DISK);
    let host = host(Arch::X86_64);
    let machine = bench.machine(Arch::X86_64, Boot::Uefi);
    let variables = bench.out().join("own/uefi-vars.fd");
    machine.prepare(&DEFAULT, &host).unwrap();
    let mut bytes = fs::read(&variables).unwrap();
    bytes[0] ^= 1;
    fs::write(&variables, &bytes).unwrap();
    machine.prepare(&DEFAULT, &host).unwrap();
    assert!(fs::read(&variables).unwrap() == bytes, "they were copied again");
    fs::write(&variables, "of other firmware").unwrap();
    machine.prepare(&DEFAULT, &host).unwrap();
    assert_eq!(fs::metadata(&variables).unwrap().len(), bytes.len() as u64);
}

#[test]
fn kvm_runs_the_hosts_processor() {
    let bench = Bench::new(DISK);
    let machine = bench.machine(Arch::X86_64, Boot::Kernel);
    let works = Host { kvm: Ok(()), firmware: None, processors: 16 };
    let command = machine.command(&Options::default(), &works).unwrap();
    assert!(
        command.kvm
            && command.to_string().contains(" -smp 4 ")
            && command.to_string().contains(" -accel kvm -cpu host ")
    );
    let options = Options { accelerator: Accelerator::Tcg, ..Options::default() };
    assert!(!machine.command(&options, &works).unwrap().kvm);
}

#[test]
fn what_cannot_be_is_refused() {
    let bench = Bench::new(DISK);
    let none = Host { kvm: Err("there is no /dev/kvm".into()), firmware: None, processors: 1 };
    let asked = Options { accelerator: Accelerator::Kvm, ..Options::default() };
    let append = Options { append: "quiet".into(), ..Options::default() };
    let efi = Bench::new(EFI);
    let tap = Options { tap: Some("tap0".into()), ports: vec![Forward::new(8080, 80)], ..Options::default() };
    let odd = Options { tap: Some("tap0,x=y".into()), ..Options::default() };
    for (text, parts) in [
        (bench.refusal(Boot::Uefi, &Options::default(), &none), ["no UEFI firmware is installed", "hint: ./setup.sh"]),
        (bench.refusal(Boot::Kernel, &asked, &none), ["does not work here: there is no /dev/kvm", "hint: --accel tcg"]),
        (bench.refusal(Boot::Uefi, &append, &none), ["--append does not go with --uefi", "hint: leave one"]),
        (efi.refusal(Boot::Http4, &Options::default(), &none), ["--boot http4 needs a network", "hint: --tap NAME"]),
        (efi.refusal(Boot::Ipxe, &append, &none), ["--append does not go with --boot ipxe", "hint: leave one"]),
        (bench.refusal(Boot::Kernel, &tap, &none), ["--port does not go with --tap", "hint: leave one"]),
        (bench.refusal(Boot::Kernel, &odd, &none), ["--tap cannot be `tap0,x=y`", "hint: the name"]),
        (
            Bench::new(ISO).refusal(Boot::Kernel, &Options::default(), &none),
            ["does not boot by `kernel`", "boots by uefi"],
        ),
    ] {
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} are not in {text}");
    }
}

/// Runs the script of a bench's profile, which lies where a build leaves it.
fn run_script(bench: &Bench, arch: Arch, args: &[&str]) -> std::process::Output {
    let path = bench.out().join("own").join(outputs::RUN_SCRIPT);
    fs::write(&path, script(arch, &bench.profile).unwrap().unwrap()).unwrap();
    Command::new("sh").arg(&path).args(args).output().unwrap()
}

#[test]
fn the_script_starts_the_same_machine() {
    let tap = Options { tap: Some("tap0".into()), ..Options::default() };
    let some = Options {
        memory: Some(512 << 20),
        processors: Some(2),
        ports: vec![Forward::new(8080, 80), Forward { host: 2222, address: Some([10, 0, 2, 88].into()), guest: 22 }],
        snapshot: true,
        gdb: true,
        extra: vec!["-name".into(), "it's $HOME".into()],
        ..Options::default()
    };
    let words = "--memory 512M --smp 2 --port 8080:80 --port 2222:10.0.2.88:22 --snapshot --gdb";
    let append = Options { append: "quiet x=\"a b\"".into(), ..Options::default() };
    for profile in [DISK, MEMORY, EFI, ISO, HYBRID] {
        let bench = Bench::new(profile);
        for (arch, boot) in
            Arch::ALL.into_iter().flat_map(|arch| bench.profile.boots(arch).into_iter().map(move |boot| (arch, boot)))
        {
            let mut cases: Vec<(Vec<&str>, &Options)> = vec![(vec!["--tap", "tap0"], &tap)];
            if !boot.needs_tap() {
                cases.push((vec![], &DEFAULT));
                cases.push((words.split(' ').chain(["--", "-name", "it's $HOME"]).collect(), &some));
            }
            if boot.takes_words() {
                cases.push((vec!["--append", "quiet x=\"a b\""], &append));
            }
            for (args, options) in cases {
                let args = [&["--boot", boot.name(), "--accel", "tcg", "--dry-run"], &args[..]].concat();
                let output = run_script(&bench, arch, &args);
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success() && said.is_empty(), "{args:?}: {said}");
                let text = String::from_utf8(output.stdout).unwrap();
                assert_eq!(text.trim_end(), bench.text(arch, boot, options).trim_end(), "{args:?}");
            }
            let program = bench.out().join("own/esp/EFI/BOOT").join(arch.efi_file());
            assert!(boot != Boot::Uefi || program.is_file() == (profile == EFI));
        }
    }
}

static DEFAULT: Options = Options {
    memory: None,
    processors: None,
    append: String::new(),
    ports: Vec::new(),
    variables: None,
    tap: None,
    snapshot: false,
    gdb: false,
    accelerator: Accelerator::Auto,
    qmp: None,
    debugger: None,
    serial: None,
    extra: Vec::new(),
};

/// An image is the script with its files: where the build left them, or all in one directory.
#[test]
fn the_script_finds_files_beside_itself() {
    let bench = Bench::new(DISK);
    run_script(&bench, Arch::X86_64, &["--help"]);
    let flat = bench.dir.path().join("flat");
    fs::create_dir(&flat).unwrap();
    for file in ["own/run-qemu.sh", "own.qcow2", "own/kernel"] {
        fs::copy(bench.out().join(file), flat.join(file.rsplit('/').next().unwrap())).unwrap();
    }
    fs::os::unix::fs::symlink(flat.join("run-qemu.sh"), bench.dir.path().join("link")).unwrap();
    let dry = |name: &str| {
        let mut run = Command::new("sh");
        run.arg(bench.dir.path().join(name)).args(["--accel", "tcg", "--dry-run"]).current_dir("/").output().unwrap()
    };
    for name in ["flat/run-qemu.sh", "link"] {
        let output = dry(name);
        let text = String::from_utf8(output.stdout).unwrap();
        let flat = flat.canonicalize().unwrap();
        assert!(text.contains(&format!("file={}/own.qcow2 ", flat.display())), "{text}{:?}", output.stderr);
    }
    fs::remove_file(flat.join("own.qcow2")).unwrap();
    let output = dry("link");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("there is no own.qcow2\nhint: copy it"), "{text}");
}

#[test]
fn the_script_explains_bad_arguments() {
    let bench = Bench::new(ISO);
    for (args, parts) in [
        (&["--frobnicate"][..], ["unknown option --frobnicate", "--help"]),
        (&["--boot", "kernel"], ["does not boot by `kernel`", "it boots by uefi"]),
        (&["--boot"], ["--boot needs a value", "--help"]),
        (&["--memory", "lots"], ["--memory cannot be `lots`", "512M"]),
        (&["--memory", "M"], ["--memory cannot be `M`", "512M"]),
        (&["--smp", "0"], ["--smp cannot be `0`", "--smp 2"]),
        (&["--port", "80"], ["--port cannot be `80`", "8080:80"]),
        (&["--port", "80:"], ["--port cannot be `80:`", "8080:80"]),
        (&["--port", "99999:80"], ["no port above 65535", "8080:80"]),
        (&["--port", "1:2:3"], ["--port cannot be `1:2:3`", "8080:10.0.2.88:80"]),
        (&["--port", "1:10.0.2.300:3"], ["--port cannot be `1:10.0.2.300:3`", "8080:10.0.2.88:80"]),
        (&["--port", "1:10.0.2:3"], ["--port cannot be `1:10.0.2:3`", "8080:10.0.2.88:80"]),
        (&["--port", "1:x:3"], ["--port cannot be `1:x:3`", "8080:10.0.2.88:80"]),
        (&["--accel", "warp"], ["--accel cannot be `warp`", "kvm, tcg or auto"]),
        (&["--append", "quiet"], ["--append does not go with --uefi", "leave one"]),
        (&["--tap", "a,b"], ["--tap cannot be `a,b`", "tap0"]),
        (&["--tap", "sixteen-letters-"], ["--tap cannot be", "tap0"]),
        (&["--tap", "tap0", "--port", "1:2"], ["--port does not go with --tap", "leave one"]),
    ] {
        let output = run_script(&bench, Arch::X86_64, args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(
            parts.iter().all(|part| text.contains(part)) && text.contains("\nhint: "),
            "{parts:?} are not in {text}"
        );
    }
    let help = String::from_utf8(run_script(&bench, Arch::X86_64, &["--help"]).stdout).unwrap();
    for option in ["--boot", "--uefi", "--memory", "--smp", "--snapshot", "--append", "--port", "Ctrl-A X"] {
        assert!(help.contains(option), "{option} is not in {help}");
    }
}

/// By shellcheck, for a plain POSIX shell.
#[test]
fn the_script_is_clean() {
    for (profile, arch) in
        [DISK, MEMORY, EFI, ISO].into_iter().flat_map(|profile| Arch::ALL.map(|arch| (profile, arch)))
    {
        let bench = Bench::new(profile);
        let path = bench.dir.path().join("run-qemu.sh");
        let text = script(arch, &bench.profile).unwrap().unwrap();
        let words = text.split('@').skip(1).step_by(2);
        let mark =
            words.filter(|word| !word.is_empty()).find(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        assert!(mark.is_none(), "the mark {mark:?} is left in:\n{text}");
        fs::write(&path, text).unwrap();
        let output = Command::new("shellcheck").arg(&path).output();
        let output = output.expect("shellcheck does not start\nhint: run ./setup.sh");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn what_does_not_boot_has_no_script() {
    let bench = Bench::new("[[output]]\nkind = \"oci\"\n");
    assert!(script(Arch::X86_64, &bench.profile).unwrap().is_none());
}

/// Variables of the user's own take the place of the copy, in the command and in the script.
#[test]
fn variables_can_be_the_users() {
    let bench = Bench::new(DISK);
    let arch = Arch::X86_64;
    let template = host(arch).firmware.unwrap().variables;
    let file = bench.dir.path().join("keys, mine.fd");
    fs::copy(template, &file).unwrap();
    let options = Options { variables: Some(file.clone()), ..DEFAULT.clone() };
    let text = bench.text(arch, Boot::Uefi, &options);
    assert!(text.contains("if=pflash,unit=1,format=raw,file=") && text.contains("/keys,, mine.fd' "), "{text}");
    bench.machine(arch, Boot::Uefi).prepare(&options, &host(arch)).unwrap();
    assert!(!bench.out().join("own/uefi-vars.fd").exists());
    let name = file.to_str().unwrap();
    let output = run_script(&bench, arch, &["--vars", name, "--accel", "tcg", "--dry-run"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), text.trim_end(), "{:?}", output.stderr);

    let short = bench.dir.path().join("short");
    fs::write(&short, "short").unwrap();
    for (boot, file, part) in [
        (Boot::Kernel, &file, "--vars does not go with --boot kernel"),
        (Boot::Uefi, &short, "has another size than the variables of the firmware"),
        (Boot::Uefi, &bench.dir.path().join("none"), "there is no file"),
    ] {
        let error = bench.refusal(boot, &Options { variables: Some(file.clone()), ..DEFAULT.clone() }, &host(arch));
        assert!(error.contains(part) && error.contains("hint: "), "`{part}` is not in: {error}");
        let args = ["--boot", boot.name(), "--vars", file.to_str().unwrap(), "--accel", "tcg", "--dry-run"];
        let said = String::from_utf8(run_script(&bench, arch, &args).stderr).unwrap();
        assert!(said.contains(part) && said.contains("hint: "), "`{part}` is not in: {said}");
    }
}

/// Nothing from outside reaches a signed kernel, so words for it are a mistake.
#[test]
fn a_signed_kernel_takes_no_words() {
    let bench = Bench::new(EFI);
    for name in ["key", "crt"] {
        fs::write(bench.dir.path().join(name), "").unwrap();
    }
    let signed = format!("{EFI}sign = {{ key = \"../../key\", cert = \"../../crt\" }}\n");
    let bench = Bench { profile: bench.reread(&signed), ..bench };
    let error =
        bench.refusal(Boot::Kernel, &Options { append: "quiet".into(), ..DEFAULT.clone() }, &host(Arch::X86_64));
    assert!(error.contains("a signed kernel has its command line built in\nhint: "), "{error}");
    let output = run_script(&bench, Arch::X86_64, &["--append", "quiet"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(2) && said.contains("--append does not go with own: a signed kernel"),
        "{said}"
    );
}
