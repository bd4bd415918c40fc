//! `cargo bloomery run` without a guest: what it prints, what bad arguments get, and when it builds.

mod common;

use std::process::Command;

use build_support::{Arch, fs};
use common::{Project, checkout, errors};

fn dry_run(project: &Project, options: &[&str]) -> String {
    project.prints(&[&["run", "x86_64", "--profile", "base", "--dry-run", "--accel", "tcg"], options].concat())
}

#[test]
fn a_dry_run_prints_the_whole_command() {
    let project = Project::new();
    let text = dry_run(&project, &[]);
    assert!(text.starts_with("qemu-system-x86_64 -nodefaults ") && text.lines().count() == 1, "{text}");
    for part in ["-m 1G -smp 1 ", "-accel tcg ", "-netdev user,id=net ", "-serial mon:stdio "] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    let out = project.out(Arch::X86_64);
    assert!(text.contains(&format!("file={}/base.qcow2 ", out.display())), "{text}");
    assert!(text.contains(&format!("-kernel {}/base/kernel", out.display())) && !text.contains("-snapshot"), "{text}");
}

#[test]
fn every_option_reaches_qemu() {
    let project = Project::new();
    for (options, part) in [
        (&["--memory", "512M"][..], "-m 512M "),
        (&["--smp", "4"], "-smp 4 "),
        (
            &["--port", "8080:80", "--port", "2222:22"],
            "user,id=net,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:2222-:22 ",
        ),
        (&["--snapshot"], "-snapshot"),
        (&["--gdb"], "-gdb tcp:127.0.0.1:1234 -S"),
        (&["--append", "quiet nokaslr"], "-append 'quiet nokaslr'"),
        (&["--append", "-v"], "-append -v"),
        (&["--boot", "uefi"], "if=pflash,unit=0"),
        (&["--", "-no-reboot", "-vga", "std"], "-no-reboot -vga std"),
    ] {
        let text = dry_run(&project, options);
        assert!(text.contains(part), "{options:?}: `{part}` is not in {text}");
    }
}

#[test]
fn firmware_replaces_the_kernel() {
    let project = Project::new();
    let text = dry_run(&project, &["--uefi"]);
    assert!(text.contains("if=pflash") && text.contains("readonly=on") && !text.contains("-kernel"), "{text}");
    // The printed command is one to use, so its copy of the firmware's variables is there.
    let variables = project.out(Arch::X86_64).join("base/uefi-vars.fd");
    assert!(text.contains(&variables.display().to_string()) && variables.exists(), "{text}");
}

#[test]
fn arm64_has_its_own_machine() {
    let project = Project::new();
    let text =
        project.prints(&["run", "aarch64", "--profile", "base", "--dry-run", "--accel", "tcg", "--append", "single"]);
    assert!(text.starts_with("qemu-system-aarch64 ") && text.contains("-M virt"), "{text}");
    assert!(text.contains("-append 'root=/dev/vda console=ttyAMA0 single'"), "{text}");
}

/// QEMU takes the command as it is printed, also when the directory has a comma, which separates QEMU's options.
#[test]
fn qemu_takes_the_command() {
    let project = Project::new();
    let target = project.root().join("odd, target");
    fs::rename(project.root().join("target"), &target).unwrap();
    let disk = target.join("bloomery/x86_64/base.qcow2");
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg("1M").status();
    assert!(made.expect("qemu-img does not start\nhint: run ./setup.sh").success());
    // It was laid out before the profile was saved.
    let script = target.join("bloomery/x86_64/base/run-qemu.sh");
    fs::write(&script, "").unwrap();
    fs::File::options().write(true).open(&script).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    // Stopped before its first instruction; `Ctrl-A X` ends it.
    let keys = project.file("keys", "\x01x");
    let mut run = project.bloomery(&["run", "x86_64", "--profile", "base", "--no-build", "--uefi", "--accel", "tcg"]);
    run.args(["--snapshot", "--", "-S"]).env("CARGO_TARGET_DIR", &target);
    let output = run.stdin(fs::File::open(keys).unwrap().into_file()).output().unwrap();
    assert!(output.status.success(), "{}\n{}", output.status, errors(&output));
    assert!(errors(&output).contains("booting x86_64 base by uefi by emulation\n"), "{}", errors(&output));
    let older = "the image is older than ";
    assert!(
        errors(&output).contains(older) && errors(&output).contains("--build makes it anew"),
        "{}",
        errors(&output)
    );
    assert!(target.join("bloomery/x86_64/base/uefi-vars.fd").exists(), "there is no copy of the UEFI variables");
}

#[test]
fn what_is_missing_would_be_built() {
    let project = Project::new();
    let text = project.prints(&["run", "x86_64", "--dry-run"]);
    assert_eq!(text, "BLOOMERY_ARCH=x86_64 BLOOMERY_PROFILE=full cargo build -p image --release\n");
    let own = project.file("mine/odd's.toml", "extends = \"base\"\n");
    project.refuses(&["run", "x86_64", "--profile", "mine/odd's.toml"], 1, &["cannot be called `odd's`"]);
    project.file("-x.toml", "extends = \"base\"\n");
    project.refuses(&["run", "x86_64", "--profile", "-x.toml"], 1, &["cannot be called `-x`", "hint: rename it"]);
    fs::rename(&own, own.with_file_name("own.toml")).unwrap();
    let text = project.prints(&["-C", "mine", "run", "arm64", "--profile", "own.toml", "--dry-run"]);
    let path = project.root().join("mine/own.toml");
    assert_eq!(
        text,
        format!("BLOOMERY_ARCH=arm64 BLOOMERY_PROFILE={} cargo build -p image --release\n", path.display())
    );
}

/// Two profiles of one name never boot each other's disk.
#[test]
fn outputs_of_another_profile_do_not_count() {
    let project = Project::new();
    for dir in ["a", "b"] {
        project.file(&format!("{dir}/mine.toml"), "extends = \"base\"\n");
    }
    let dry = |name: &str| project.prints(&["run", "x86_64", "--profile", name, "--dry-run", "--accel", "tcg"]);
    assert!(dry("a/mine.toml").contains("cargo build"));
    project.build(Arch::X86_64, "a/mine.toml");
    assert!(dry("a/mine.toml").starts_with("qemu-system-x86_64 "));
    assert!(dry("b/mine.toml").contains("b/mine.toml cargo build"));
    project.refuses(
        &["run", "x86_64", "--profile", "b/mine.toml", "--no-build"],
        1,
        &["there is no image of", "b/mine.toml", "names another profile", "cargo build -p image"],
    );
}

/// A cargo that lays the disk out as the build script does: when the file that it watches is gone. It notes where it ran
/// and what it was told.
const FAKE_CARGO: &str = r#"#!/bin/sh
out=$CARGO_TARGET_DIR/bloomery/x86_64
{ pwd; echo "$CARGO_TARGET_DIR $BLOOMERY_ARCH $BLOOMERY_PROFILE: $*"; } >"$FAKE/log"
echo building
[ -e "$out/base/profile" ] || { : >"$out/base.qcow2"; cp "$FAKE/mark" "$out/base/profile"; }
exit ${STATUS:-0}
"#;

/// A project with a fake cargo and a fake QEMU.
fn with_fakes(project: &Project, args: &[&str]) -> Command {
    project.program("fake/cargo", FAKE_CARGO);
    project.program("fake/qemu-system-x86_64", "#!/bin/sh\necho booted\n");
    let mut run = project.bloomery(&[&["run", "x86_64", "--profile", "base", "--accel", "tcg"], args].concat());
    run.env("PATH", project.path("fake")).env("FAKE", project.root().join("fake"));
    run
}

/// The target directory counts from where the user is, and the program and the build agree on it.
#[test]
fn a_removed_disk_is_laid_out_again() {
    let project = Project::new();
    let out = project.out(Arch::X86_64);
    fs::create_dir(project.root().join("fake")).unwrap();
    fs::copy(out.join("base/profile"), project.root().join("fake/mark")).unwrap();
    fs::write(out.join("base/key"), "0123").unwrap();
    fs::remove_file(out.join("base.qcow2")).unwrap();
    let mut run = with_fakes(&project, &[]);
    let output = run.current_dir(project.root().join("image")).env("CARGO_TARGET_DIR", "../target").output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "booted\n", "standard output is the guest's alone");
    assert!(errors(&output).contains("\nbuilding\n"), "{}", errors(&output));
    let log = fs::read_to_string(project.root().join("fake/log")).unwrap();
    let root = project.root();
    assert_eq!(log, format!("{0}\n{0}/image/../target x86_64 base: build -p image --release\n", root.display()));
    assert!(!out.join("base/key").exists(), "cargo watches it");
}

#[test]
fn a_failed_build_boots_nothing() {
    let project = Project::new();
    let output = with_fakes(&project, &["--build"]).env("STATUS", "101").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(101), 0), "{}", errors(&output));
    fs::remove_file(project.out(Arch::X86_64).join("base/kernel")).unwrap();
    fs::copy(project.out(Arch::X86_64).join("base/profile"), project.root().join("fake/mark")).unwrap();
    let output = with_fakes(&project, &[]).output().unwrap();
    let text = errors(&output);
    assert!(
        output.status.code() == Some(1)
            && text.contains("the build left no ")
            && text.contains("hint: is BLOOMERY_SKIP"),
        "{text}"
    );
}

#[test]
fn an_image_that_is_there_is_not_built() {
    let project = Project::new();
    let output = with_fakes(&project, &[]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "booted\n");
    assert!(!project.root().join("fake/log").exists(), "cargo was called");
}

#[test]
fn bad_arguments_are_explained() {
    let project = Project::new();
    for (args, parts) in [
        (&[][..], ["which architecture", "./run.sh x86_64"]),
        (&["riscv64"], ["unknown architecture `riscv64`", "x86_64 or arm64"]),
        (&["x86_64", "arm64"], ["one architecture", "./run.sh x86_64"]),
        (&["x86_64", "--profile", "nope"], ["unknown profile `nope`", "base cd full"]),
        (&["x86_64", "--profile", "/no/such.toml"], ["no profile file /no/such.toml", "image/profiles"]),
        (
            &["x86_64", "--profile", "../profiles/base.toml"],
            ["no profile file ../profiles/base.toml", "image/profiles"],
        ),
        (&["x86_64", "--profile"], ["--profile needs a value", "--help"]),
        (&["x86_64", "--frobnicate"], ["unknown option --frobnicate", "--help"]),
        (&["x86_64", "--snapshoot"], ["unknown option --snapshoot", "did you mean `--snapshot`?"]),
        (&["x86_64", "--memory", "lots"], ["--memory cannot be `lots`", "512M"]),
        (&["x86_64", "--smp", "0"], ["--smp cannot be `0`", "--smp 2"]),
        (&["x86_64", "--port", "80"], ["--port cannot be `80`", "8080:80"]),
        (&["x86_64", "--port", "99999:80"], ["no port above 65535", "8080:80"]),
        (&["x86_64", "--accel", "warp"], ["--accel cannot be `warp`", "kvm, tcg or auto"]),
        (&["x86_64", "--boot", "floppy"], ["--boot cannot be `floppy`", "use kernel, uefi, microvm"]),
        (&["x86_64", "--boot", "kernel", "--uefi"], ["--uefi", "leave one"]),
        (&["x86_64", "--uefi", "--append", "quiet"], ["--append does not go with --uefi", "leave one"]),
    ] {
        project.refuses(&[&["run"], args].concat(), 2, &parts);
    }
}

#[test]
fn a_boot_that_the_profile_lacks_lists_those_it_has() {
    let project = Project::new();
    let args = ["run", "x86_64", "--profile", "cd", "--boot", "kernel", "--dry-run"];
    project.refuses(&args, 1, &["the profile cd does not boot by `kernel`", "it boots by uefi"]);
    assert!(project.prints(&["run", "x86_64", "--profile", "cd", "--dry-run"]).contains("cargo build"));
}

#[test]
fn nothing_is_built_when_that_is_forbidden() {
    let project = Project::new();
    project.refuses(&["run", "x86_64", "--no-build"], 1, &["there is no image", "full.qcow2", "cargo build -p image"]);
}

#[test]
fn help_names_every_option() {
    let project = Project::new();
    let help = project.prints(&["run", "--help"]);
    for option in [
        "--profile",
        "--boot",
        "--uefi",
        "--append",
        "--memory",
        "--smp",
        "--port",
        "--snapshot",
        "--gdb",
        "--accel",
        "--build",
        "--no-build",
        "--dry-run",
        "--help",
        "./run.sh ARCH",
        "Ctrl-A X",
    ] {
        assert!(help.contains(option), "--help does not name {option}:\n{help}");
    }
}

/// A cargo that says where it runs, and what it was told.
const TELLING_CARGO: &str = "#!/bin/sh\npwd\nprintf '%s\\n' \"${CARGO_TARGET_DIR:-none}\" \"$@\"\n";

/// `./run.sh` is found by a symbolic link, from another directory, whatever CDPATH says.
#[test]
fn the_script_calls_cargo_in_its_checkout() {
    let project = Project::new();
    fs::copy(checkout().join("run.sh"), project.root().join("run.sh")).unwrap();
    project.program("fake/cargo", TELLING_CARGO);
    project.program("target/release/bloomery", "");
    project.program("elsewhere/built/release/bloomery", "");
    let sources = sources(&project);
    fs::create_dir(project.root().join("elsewhere/image")).unwrap();
    fs::os::unix::fs::symlink("../run.sh", project.root().join("elsewhere/boot it")).unwrap();
    let root = project.root();
    for (name, from, target) in [
        ("./run.sh", "", None),
        ("../run.sh", "image", None),
        ("./boot it", "elsewhere", None),
        ("elsewhere/boot it", "", None),
        ("../run.sh", "elsewhere", Some("built")),
    ] {
        let dir = root.join(from);
        let mut run = Command::new(name);
        run.args(["x86_64", "--profile", "-x.toml", "--", "a b"]).current_dir(&dir).env("PATH", project.path("fake"));
        run.env("CDPATH", format!("{0}/elsewhere:{0}", root.display())).env_remove("CARGO_TARGET_DIR");
        let told = target.map_or("none".into(), |target| {
            run.env("CARGO_TARGET_DIR", target);
            dir.join(target).display().to_string()
        });
        let output = run.output().unwrap();
        let from = dir.display().to_string();
        let from = from.trim_end_matches('/');
        let words = [
            "run",
            "--quiet",
            "--release",
            "--package",
            "bloomery",
            "--",
            "-C",
            from,
            "run",
            "x86_64",
            "--profile",
            "-x.toml",
            "--",
            "a b",
        ];
        let expected = format!("{}\n{told}\n{}\n", root.display(), words.join("\n"));
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{name}: {}", errors(&output));
    }
    // What takes a while is no silent wait.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    fs::File::options().write(true).open(&sources).unwrap().file().set_modified(later).unwrap();
    let output = Command::new("./run.sh").current_dir(&root).env("PATH", project.path("fake")).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("--quiet"), "cargo compiles, and says nothing");
}

/// What the program is compiled from, older than the program; the path of one file.
fn sources(project: &Project) -> std::path::PathBuf {
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    let names = ["bloomery", "system", "disk", "vendor", "build-support"].map(|name| format!("{name}/src/a.rs"));
    let files = names.map(|name| project.file(&name, ""));
    for file in &files {
        fs::File::options().write(true).open(file).unwrap().file().set_modified(old).unwrap();
    }
    files.into_iter().nth(2).unwrap()
}

#[test]
fn the_script_says_that_there_is_no_cargo() {
    let project = Project::new();
    fs::copy(checkout().join("run.sh"), project.root().join("run.sh")).unwrap();
    for tool in ["readlink", "dirname"] {
        fs::create_dir_all(project.root().join("bin")).unwrap();
        let path = build_support::host::find_program(tool).unwrap();
        fs::os::unix::fs::symlink(path, project.root().join("bin").join(tool)).unwrap();
    }
    let output =
        Command::new("/bin/sh").arg(project.root().join("run.sh")).env("PATH", project.root().join("bin")).output();
    let output = output.unwrap();
    let text = errors(&output);
    assert!(output.status.code() == Some(1) && text.contains("cargo is not installed\nhint: ./setup.sh"), "{text}");
}
