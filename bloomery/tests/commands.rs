//! The commands of `cargo bloomery` besides `run` and `enter`, on a project of the test's own.

mod common;

use std::process::Command;

use build_support::{Arch, fs, tree};
use common::{Project, errors};
use disk::{Compression, Tree, cpio};

#[test]
fn a_misspelt_command_gets_the_right_one() {
    let project = Project::new();
    project.refuses(&["biuld"], 2, &["there is no command `biuld`", "did you mean `build`?"]);
    project.refuses(&["store", "lits"], 2, &["there is no command `lits`", "did you mean `list`?"]);
    project.refuses(&["xyzzy"], 2, &["there is no command `xyzzy`", "--help"]);
    project.refuses(&["config", "base", "full"], 2, &["one argument too many: `full`", "--help"]);
    project.refuses(&["commands"], 2, &["<STAGE> is missing", "--help"]);
}

#[test]
fn help_names_every_command() {
    let project = Project::new();
    let help = project.prints(&["--help"]);
    for command in [
        "new",
        "build",
        "run",
        "gdb",
        "trace",
        "enter",
        "menuconfig",
        "config",
        "size",
        "initramfs",
        "keys",
        "store",
        "commands",
        "sources",
        "completion",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in {help}");
        assert!(project.prints(&["help", command]).contains(&format!("cargo bloomery {command}")), "{command}");
    }
    let nothing = project.bloomery(&[]).output().unwrap();
    assert!(
        nothing.status.code() == Some(2) && errors(&nothing).contains("Usage: cargo bloomery"),
        "{}",
        errors(&nothing)
    );
}

#[test]
fn new_makes_a_profile_that_can_be_read() {
    let project = Project::new();
    let made = project.prints(&["new", "my/cellar", "--from", "cd"]);
    let names: Vec<&str> = made.lines().map(|line| line.rsplit("my/cellar/").next().unwrap()).collect();
    assert_eq!(names, ["cellar.toml", "service/build.sh", "service/hello.c", "files/etc/motd", "README.md"]);
    let path = project.root().join("my/cellar/cellar.toml");
    let profile = project.profile(&path.to_string_lossy());
    assert_eq!((profile.name.as_str(), profile.hostname.as_str()), ("cellar", "cellar"));
    assert_eq!(profile.service.unwrap().command, "/usr/bin/hello 8080");
    let page = fs::read_to_string(project.root().join("my/cellar/README.md")).unwrap();
    assert!(page.contains("- `cellar.iso`: a CD") && !page.contains('@'), "{page}");
    assert_eq!(fs::read_to_string(project.root().join("my/cellar/files/etc/motd")).unwrap(), "cellar\n");

    project.refuses(&["new", "my/cellar"], 2, &["unknown profile `appliance`"]);
    project.refuses(&["new", "my/cellar", "--from", "cd"], 1, &["is there, and not an empty directory"]);
    project.refuses(&["new", "my/ein keller", "--from", "cd"], 2, &["`ein keller` cannot be the machine's name"]);
    project.refuses(&["new", "x", "--from", "nope"], 2, &["unknown profile `nope`"]);
}

/// A cargo that says what it was told.
const FAKE_CARGO: &str = "#!/bin/sh\necho \"$BLOOMERY_ARCH / $BLOOMERY_PROFILE: $*\" >&2\nexit ${STATUS:-0}\n";

fn with_cargo(project: &Project, args: &[&str]) -> Command {
    project.program("fake/cargo", FAKE_CARGO);
    let mut command = project.bloomery(args);
    command.env("PATH", project.path("fake"));
    command
}

#[test]
fn build_hands_over_to_cargo() {
    let project = Project::new();
    let own = project.file("my profiles/own.toml", "extends = \"base\"\n");
    let all = ["build", "base", "my profiles/own.toml", "--arch", "x86_64", "--arch", "arm64"];
    let output = with_cargo(&project, &all).output().unwrap();
    let told = format!("\nx86_64 arm64 / base {}: build -p image --release\n", own.display());
    assert!(output.status.success() && errors(&output).contains(&told), "{}", errors(&output));
    let output =
        with_cargo(&project, &["build"]).env("BLOOMERY_PROFILE", "full base").env("BLOOMERY_ARCH", "arm64").output();
    assert!(errors(&output.unwrap()).contains("\narm64 / full base: build"), "the variables choose");
    let output = with_cargo(&project, &["build", "base"]).env("STATUS", "101").output().unwrap();
    assert_eq!(output.status.code(), Some(101));
}

#[test]
fn build_refuses_before_cargo_starts() {
    let project = Project::new();
    project.file("own.toml", "extends = \"base\"\n[[output]]\nkind = \"kernel\"\nformats = [\"elf\"]\n");
    project.refuses(&["build", "nope"], 2, &["unknown profile `nope`", "base cd full"]);
    project.refuses(&["build", "base", "--arch", "mips"], 2, &["unknown architecture `mips`"]);
    project.refuses(&["build", "own.toml", "--arch", "arm64"], 1, &["format `elf`"]);
    project.file("own.toml", "extends = \"base\"\nhostnam = \"x\"\n");
    project.refuses(&["build", "own.toml"], 1, &["own.toml:2", "hostnam"]);
}

#[test]
fn config_shows_where_values_come_from() {
    let project = Project::new();
    let text = project.prints(&["config", "full"]);
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    assert!(line("description = \"Large\"").ends_with("full.toml:2"), "{text}");
    assert!(line("output.disk.size").contains("base.toml:"), "{text}");
    assert!(line("hostname").ends_with("# default"), "{text}");
    project.refuses(&["config", "nope"], 2, &["unknown profile `nope`"]);
}

/// An EFI program with one section of 1536 bytes.
fn kernel() -> Vec<u8> {
    let mut bytes = vec![0; 0x200];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x86] = 1;
    bytes[0x98..0x9d].copy_from_slice(b".text");
    bytes[0xa9] = 6;
    bytes
}

#[test]
fn the_files_of_an_initramfs_are_listed() {
    let project = Project::new();
    let mut tree = Tree::new();
    tree.device("dev/console", 5, 1, 0o600, "test").unwrap();
    tree.bytes("init", "program", 0o755, "test").unwrap();
    tree.link("bin", "usr/bin", "test").unwrap();
    let file = project.root().join("one.cpio");
    cpio::write(&tree, &file, Compression::Gzip).unwrap();
    let listed = "lrwxrwxrwx  1     0     0         7 bin -> usr/bin\ndrwxr-xr-x  2     0     0         0 dev\n\
                  crw-------  1     0     0      5, 1 dev/console\n-rwxr-xr-x  1     0     0         7 init\n";
    assert_eq!(project.prints(&["initramfs", "one.cpio"]), listed);
    // Another one behind it: each has a line above.
    let twice = [fs::read(&file).unwrap(), fs::read(&file).unwrap()].concat();
    fs::write(&file, twice).unwrap();
    let both = format!("archive 1:\n{listed}archive 2:\n{listed}");
    assert_eq!(project.prints(&["initramfs", "one.cpio"]), both);
    assert_eq!(fs::read_dir(project.root().join("home/work")).unwrap().count(), 0, "files were left");

    project.refuses(&["initramfs", "base", "arm64"], 1, &["base has no initramfs"]);
    project.refuses(&["initramfs", "cd", "arm64"], 1, &["no outputs of cd", "build cd --arch arm64"]);
    project.build(Arch::Arm64, "cd");
    fs::create_dir_all(project.root().join("home/store")).unwrap();
    project.refuses(&["initramfs", "cd", "arm64"], 1, &["no result of link-cd-arm64"]);
    fs::write(project.root().join("kernel"), kernel()).unwrap();
    project.refuses(&["initramfs", "kernel"], 1, &["without symbols", "vmlinux"]);
    project.refuses(&["initramfs", "nothing"], 2, &["unknown profile `nothing`"]);
}

#[test]
fn size_counts_bytes_by_part() {
    let project = Project::new();
    let own = project.out(Arch::Arm64).join("base");
    let rows = "/usr/bin/sh\tfile\t0755\t1000\tab\tbusybox\n/etc/motd\tfile\t0644\t24\tab\tskeleton\n";
    fs::write(own.join("manifest.tsv"), format!("path\tkind\tmode\tsize\tsha256\tstage\n{rows}")).unwrap();
    fs::write(own.join("kernel"), kernel()).unwrap();
    fs::File::create(project.out(Arch::Arm64).join("base.img")).unwrap().set_len(5 << 20).unwrap();
    let text = project.prints(&["size", "base", "--arch", "arm64"]);
    for row in ["     5242880            0  base.img", "1536  .text", "1000  busybox", "24  /etc", "1024  together"] {
        assert!(text.contains(row), "`{row}` is not in\n{text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&project.prints(&["size", "base", "--arch", "arm64", "--json"])).unwrap();
    assert_eq!(json["outputs"]["base.img"]["bytes"], 5 << 20);
    assert_eq!(json["outputs"]["base.img"]["allocated"], 0);
    assert_eq!((&json["stages"]["busybox"], &json["directories"]["/etc"]), (&1000.into(), &24.into()));
    assert_eq!((&json["kernel"][".text"], &json["arch"]), (&1536.into(), &"arm64".into()));
    project.refuses(
        &["size", "full", "--arch", "arm64"],
        1,
        &["no outputs of full", "cargo bloomery build full --arch arm64"],
    );
}

#[test]
fn size_says_what_is_no_kernel() {
    let project = Project::new();
    let own = project.out(Arch::X86_64).join("base");
    fs::write(own.join("manifest.tsv"), "path\tkind\tsize\tstage\n").unwrap();
    let output = project.bloomery(&["size", "base", "--arch", "x86_64"]).output().unwrap();
    assert!(
        !output.status.success() && errors(&output).contains("base/kernel is no EFI program"),
        "{}",
        errors(&output)
    );
}

#[test]
fn the_store_is_shown() {
    let project = Project::new();
    let home = project.root().join("home");
    assert_eq!(project.prints(&["store", "path"]), format!("{}\n", home.display()));
    assert!(project.prints(&["store", "list"]).starts_with("stage "));
    assert_eq!(project.prints(&["store", "verify"]), "0 results are as they were built\n");
    let left = home.join("work/musl-x86_64/file");
    tree::write_atomically(&left, b"text").unwrap();
    assert!(project.prints(&["store", "gc", "--dry-run"]).contains("could be freed") && left.exists());
    assert!(project.prints(&["store", "gc"]).contains("freed") && !left.exists());
    project.refuses(&["store", "why", "musl"], 1, &["no stage `musl` was ever asked for"]);
}

#[test]
fn the_commands_of_a_stage_are_those_of_the_last_build() {
    let project = Project::new();
    let store = project.root().join("home/store");
    let add = |stage: &str, inputs: &str, commands: Option<&str>| {
        let key = build_support::digest::text(inputs)[..16].to_string();
        let dir = store.join(format!("{stage}-{key}"));
        tree::write_atomically(&dir.join("digest"), "0".repeat(64).as_bytes()).unwrap();
        if let Some(text) = commands {
            fs::write(dir.join("commands"), text).unwrap();
        }
        key
    };
    add("musl-x86_64", "input flags = -O1\n", Some("make old\n"));
    let key = add("musl-x86_64", "input flags = -O2\n", Some("cd /work && make CC='clang -O2'\n"));
    add("musl-arm64", "input arm = 1\n", Some("make arm64\n"));
    add("llvm-x86_64", "input a = 1\n", None);
    for (stage, inputs) in
        [("musl-x86_64", "input flags = -O2\n"), ("musl-arm64", "input arm = 1\n"), ("llvm-x86_64", "input a = 1\n")]
    {
        fs::write(store.join(format!(".wanted-{stage}")), inputs).unwrap();
    }
    let text = project.prints(&["commands", "musl", "--arch", "x86_64"]);
    assert_eq!(text, format!("# musl-x86_64-{key}\ncd /work && make CC='clang -O2'\n"));
    let both = project.prints(&["commands", "musl"]);
    assert!(both.contains("make arm64") && both.contains("make CC=") && !both.contains("make old"), "{both}");
    project.refuses(&["commands", "llvm"], 1, &["no commands of llvm", "build again"]);
    project.refuses(&["commands", "glibc"], 1, &["no stage `glibc`", "known are"]);
}

#[test]
fn menuconfig_needs_a_kernel_that_was_built() {
    let project = Project::new();
    fs::remove_file(project.out(Arch::X86_64).join("base/kernel.config")).unwrap();
    let build = "cargo bloomery build base --arch x86_64";
    project.refuses(&["menuconfig", "base", "x86_64"], 1, &["there is no kernel of base for x86_64 yet", build]);
    project.refuses(
        &["menuconfig", "cd", "x86_64"],
        1,
        &["leaves no configuration of its kernel", "add an [[output]]"],
    );
    project.refuses(&["menuconfig", "busybox", "riscv64"], 2, &["unknown architecture `riscv64`"]);
}

/// What bash offers after `cargo WORDS...`, the last of which is not complete.
fn completed(script: &str, words: &str) -> String {
    let ask = format!(
        "{script}\n_cargo() {{ COMPREPLY=(of-cargo); }}\nCOMP_WORDS=(cargo {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
         _bloomery_after_cargo cargo \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\necho \"${{COMPREPLY[*]}}\"\n"
    );
    let output = Command::new("bash").args(["--norc", "-c", &ask]).output().expect("bash does not start");
    assert!(output.status.success(), "{}", errors(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn shells_complete_commands_and_options() {
    let project = Project::new();
    let bash = project.prints(&["completion", "bash"]);
    assert_eq!(completed(&bash, "bloomery comm"), "commands\n");
    assert_eq!(completed(&bash, "bloomery run --snap"), "--snapshot\n");
    assert_eq!(completed(&bash, "bloomery store g"), "gc\n");
    assert_eq!(completed(&bash, "bui"), "of-cargo\n", "cargo's own completion goes on");
    assert!(project.prints(&["completion", "zsh"]).starts_with("#compdef cargo-bloomery"));
    let fish = project.prints(&["completion", "fish"]);
    assert!(fish.lines().any(|line| line.starts_with("complete -c cargo") && line.contains("menuconfig")), "{fish}");
    project.refuses(&["completion", "csh"], 2, &["cannot be `csh`", "use bash, zsh or fish"]);
}

/// Those of this checkout, in a store of the test's own.
#[test]
fn sources_are_listed_and_verified() {
    let project = Project::new();
    let list = project.prints(&["sources", "list"]);
    let row = list.lines().find(|line| line.starts_with("linux ")).unwrap_or_default();
    assert!(list.starts_with("NAME ") && row.contains("GPL-2.0") && row.ends_with('-'), "{list}");
    assert_eq!(project.prints(&["sources", "verify", "musl"]), "musl: not in the store\n");
    let faults = project.prints(&["sources", "faults", "musl"]);
    assert!(faults.starts_with("musl ") && faults.contains("exit(3)") && !faults.contains("busybox 1"), "{faults}");
    let output = project.bloomery(&["sources", "verify", "glibc"]).output().unwrap();
    assert!(output.status.code() == Some(1) && errors(&output).contains("glibc"), "{}", errors(&output));
    project.refuses(&["sources", "fecth"], 2, &["there is no command `fecth`", "did you mean `fetch`?"]);
}

#[test]
fn keys_are_made_and_kept() {
    let project = Project::new();
    let printed = project.prints(&["keys", "my keys"]);
    let files: Vec<&str> = printed.lines().collect();
    assert_eq!(files[..3], ["my keys/secure-boot.key", "my keys/secure-boot.crt", "my keys/secure-boot.cer"]);
    assert!(files.contains(&"my keys/x86_64-vars.fd") && files.contains(&"my keys/arm64-vars.fd"), "{printed}");
    let key = fs::read(project.root().join("my keys/secure-boot.key")).unwrap();
    project.prints(&["keys", "my keys"]);
    assert!(fs::read(project.root().join("my keys/secure-boot.key")).unwrap() == key);
    project.refuses(&["keys"], 2, &["<DIR> is missing"]);
}
