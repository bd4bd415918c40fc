use super::*;

/// A project with profiles of the test's own, and a directory beside it.
struct Bench {
    dir: tempfile::TempDir,
}

const BASE: &str = "description = \"A base\"\n[root]\npackages = [\"busybox\", \"init\"]\n[kernel]\nfragments = [\"base\"]\n\
                    [[output]]\nkind = \"disk\"\nsize = \"64 MiB\"\n[[output]]\nkind = \"kernel\"\n";

impl Bench {
    fn new() -> Bench {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        bench.file("image/profiles/base.toml", BASE);
        bench
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn dirs(&self) -> Dirs {
        let root = self.dir.path().to_path_buf();
        Dirs { home: root.join("home"), target: root.join("target"), root }
    }

    /// Reads a profile of this text, from a file in a directory of its own.
    fn own(&self, text: &str) -> Result<Profile> {
        self.file("mine/own.toml", text);
        Profile::read(&self.dirs(), "mine/own.toml")
    }

    fn refusal(&self, text: &str) -> String {
        format!("{:#}", self.own(text).unwrap_err())
    }
}

#[test]
fn five_lines_are_a_profile() {
    let bench = Bench::new();
    bench.file("mine/daemon/build.sh", "");
    let text =
        "extends = \"base\"\nhostname = \"gate\"\n[root]\npackages = { add = [\"daemon\"], remove = [\"busybox\"] }\n";
    let profile = bench.own(text).unwrap();
    assert_eq!((profile.name.as_str(), profile.hostname.as_str()), ("own", "gate"));
    assert_eq!(profile.description, "A base");
    let mine = bench.dir.path().canonicalize().unwrap().join("mine/daemon");
    assert_eq!(profile.root.packages, [Package::Own("init".into()), Package::Dir(mine)]);
    assert_eq!(profile.machine.boots, [Boot::Kernel, Boot::Uefi, Boot::Bios]);
    assert_eq!(profile.kernel.variant, "base", "it shares the kernel of base");
}

#[test]
fn a_change_of_the_kernel_is_a_variant_of_its_own() {
    let bench = Bench::new();
    let profile = bench.own("extends = \"base\"\n[kernel]\nfragments = { add = [\"mine.config\"] }\n").unwrap();
    assert_eq!(profile.kernel.variant, "own");
    let paths: Vec<_> = profile.kernel.fragments.iter().map(|fragment| fragment.path(Arch::Arm64)).collect();
    assert!(paths[0].ends_with("image/profiles/base") && paths[1].ends_with("mine/mine.config"), "{paths:?}");
    let profile = bench.own("extends = \"base\"\n[kernel]\nfragments = [\"sub/of-{arch}.config\"]\n").unwrap();
    assert!(profile.kernel.fragments[0].path(Arch::Arm64).ends_with("mine/sub/of-arm64.config"));
}

#[test]
fn an_output_is_changed_added_and_dropped() {
    let bench = Bench::new();
    let text = "extends = \"base\"\n[[output]]\nname = \"disk\"\nformats = { add = [\"vdi\"] }\n[[output]]\nkind = \"oci\"\n\
                [[output]]\nkind = \"kernel\"\nenabled = false\n";
    let profile = bench.own(text).unwrap();
    let names: Vec<&str> = profile.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["disk", "oci"]);
    assert_eq!(profile.outputs[0].files(), ["own.img", "own.qcow2", "own.vdi"]);
    assert_eq!(profile.outputs[0].values().size("size").unwrap(), Some(64 << 20));
    assert_eq!(profile.machine.boots, [Boot::Uefi, Boot::Bios], "without the kernel's output");
}

#[test]
fn a_file_name_is_not_inherited() {
    let bench = Bench::new();
    bench.file("image/profiles/large.toml", "extends = \"base\"\n[[output]]\nkind = \"sysroot\"\nfile = \"sysroot\"\n");
    let large = Profile::read(&bench.dirs(), "large").unwrap();
    assert_eq!(large.outputs.last().unwrap().file, "sysroot");
    assert_eq!(bench.own("extends = \"large\"\n").unwrap().outputs.last().unwrap().file, "own/sysroot");
}

#[test]
fn profiles_in_a_circle_are_named() {
    let bench = Bench::new();
    bench.file("mine/other.toml", "extends = \"own.toml\"\n");
    let text = bench.refusal("extends = \"./other.toml\"\n");
    assert!(
        text.contains("own.toml -> ") && text.contains("other.toml -> ") && text.contains("hint: remove"),
        "{text}"
    );
}

#[test]
fn an_unknown_base_is_named_with_its_line() {
    let text = Bench::new().refusal("# Mine.\nextends = \"bas\"\n");
    assert!(text.contains("own.toml:2: cannot extend `bas`") && text.contains("hint: use base"), "{text}");
}

#[test]
fn a_taken_name_is_refused() {
    let bench = Bench::new();
    for name in ["base", "sysroot", "log"] {
        bench.file(&format!("mine/{name}.toml"), "extends = \"base\"\n");
        let text = Profile::read(&bench.dirs(), &format!("mine/{name}.toml")).unwrap_err().to_string();
        assert!(text.contains(&format!("cannot be called `{name}`")) && text.contains("hint: rename"), "{text}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let bench = Bench::new();
    for (text, parts) in [
        ("[root]\nembed = true\n", ["`root.embed` needs `root.kind", "hint: "]),
        ("[[output]]\nkind = \"initramfs\"\n", ["own.toml:3: the output `initramfs` needs", "`archive`"]),
        ("[[output]]\nkind = \"iso\"\n", ["needs `root.embed = true`", "`disk`"]),
        (
            "[root]\nkind = \"initramfs\"\n",
            ["the output `disk` needs `root.kind = \"ext4\"` or `root.embed`", "`initramfs`"],
        ),
        ("[budget]\nimage = \"5 MB\"\n[[output]]\nkind = \"disk\"\nenabled = false\n", ["budget.image", "hint: add"]),
        ("[budget]\nmemory = \"2 GiB\"\n", ["more than the 1 GiB of `machine.memory`", "hint: raise"]),
        (
            "[[output]]\nname = \"b\"\nkind = \"disk\"\nsize = \"64M\"\n",
            ["are both the file own.img", "another `file`"],
        ),
        (
            "[[output]]\nkind = \"oci\"\n[[output]]\nkind = \"oci\"\n",
            ["the output `oci` was already stated at", "`name`"],
        ),
        ("[[output]]\nkind = \"oci\"\nfile = \"../x\"\n", ["cannot lie at `../x`", "hint: "]),
        ("[root]\npackages = [\"echod\"]\n", ["`echod`, which is a part of `init`", "hint: add `init`"]),
        ("[service]\nname = \"x\"\n", ["a service without `command`", "hint: "]),
        (
            "[service]\nprogram = \"bin-{arch}/web\"\ncommand = \"/usr/bin/echod\"\n",
            [
                "becomes /usr/bin/web, and the service's `command` runs /usr/bin/echod",
                "hint: state `command = \"/usr/bin/web\"`",
            ],
        ),
        ("hostname = \"my host\"\n", ["own.toml:2: `hostname` cannot be `my host`", "hint: "]),
        ("inittab = [\"::respwan:/bin/x\"]\n", ["unknown action `respwan`", "respawn"]),
        ("console = \"getty\"\n", ["`console`", "login"]),
        ("[[user]]\nname = \"Ada\"\n", ["a user or a group cannot be named `Ada`", "hint: "]),
        ("[[user]]\nname = \"ada\"\n[[user]]\nname = \"ada\"\n", ["the user `ada` is there twice", "hint: "]),
        ("[[user]]\nname = \"a\"\nuid = 7\n[[user]]\nname = \"b\"\nuid = 7\n", ["have the number 7", "hint: "]),
        ("[[user]]\nname = \"a\"\nuid = 99999\n", ["`uid` is above 60000", "hint: "]),
        ("[[user]]\nname = \"a\"\nhome = \"a:b\"\n", ["`home` cannot be `a:b`", "hint: "]),
        ("[[user]]\nname = \"a\"\npassword = \"secret\"\n", ["`password` is no hash", "openssl passwd -6"]),
        ("[[user]]\nname = \"a\"\nauthorized-keys = [\"a b\"]\n", ["`a b` is no public key", "hint: "]),
        ("[[user]]\nname = \"a\"\nauthorized-keys = [\"none.pub\"]\n", ["there is no file", "hint: "]),
        ("[kernel]\ncommand-line = 'x=\"a'\n", ["a quote that is not closed", "hint: "]),
        (
            "[machine]\nboots = [\"kernel\"]\n[[output]]\nkind = \"kernel\"\nenabled = false\n",
            ["names `kernel`", "uefi"],
        ),
    ] {
        let text = bench.refusal(&format!("extends = \"base\"\n{text}"));
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} are not in:\n{text}");
    }
}

#[test]
fn a_boot_that_is_not_there_lists_those_that_are() {
    let bench = Bench::new();
    let profile = bench.own("extends = \"base\"\n[machine]\nboots = [\"uefi\"]\n").unwrap();
    let text = profile.check_boot(Arch::X86_64, Boot::Kernel).unwrap_err().to_string();
    assert!(text.contains("does not boot by `kernel`") && text.contains("hint: it boots by uefi"), "{text}");
    let text = "extends = \"base\"\n[root]\nkind = \"initramfs\"\nembed = true\n[[output]]\nkind = \"kernel\"\n\
                formats = [\"image\", \"elf\"]\n[[output]]\nkind = \"disk\"\nenabled = false\n";
    let profile = bench.own(text).unwrap();
    let names = |arch| profile.boots(arch).iter().map(|boot| boot.name()).collect::<Vec<_>>();
    assert_eq!(names(Arch::X86_64), ["kernel", "microvm", "ipxe"]);
    assert_eq!(names(Arch::Arm64), ["kernel"]);
    let text = profile.check_boot(Arch::Arm64, Boot::Microvm).unwrap_err().to_string();
    assert!(text.contains("does not boot by `microvm` on arm64\nhint: it boots by kernel"), "{text}");
}

#[test]
fn an_output_that_an_architecture_lacks_is_refused() {
    let bench = Bench::new();
    let with = |formats: &str| {
        bench.own(&format!("extends = \"base\"\n[[output]]\nkind = \"kernel\"\nformats = {formats}\n")).unwrap()
    };
    with("[\"image\", \"elf\"]").check_arch(Arch::Arm64).unwrap();
    let profile = with("[\"elf\"]");
    profile.check_arch(Arch::X86_64).unwrap();
    let text = profile.check_arch(Arch::Arm64).unwrap_err().to_string();
    assert!(text.contains("own.toml:3: the output `kernel`") && text.contains("arm64"), "{text}");
}

#[test]
fn a_required_key_that_nobody_states_is_named() {
    let text = Bench::new().refusal("[kernel]\nfragments = []\n");
    assert!(text.contains("states no `description`") && text.contains("hint: "), "{text}");
}

#[test]
fn every_value_is_shown_with_its_place() {
    let bench = Bench::new();
    bench.file("mine/own.toml", "extends = \"base\"\n[root]\npackages = { add = [\"x\"] }\n");
    let text = resolve::resolve(&bench.dirs(), "mine/own.toml").unwrap().show();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_string();
    assert!(line("hostname = \"bloomery\"").ends_with("# default"), "{text}");
    let packages = line("root.packages = [\"busybox\", \"init\", \"x\"]");
    assert!(packages.contains("base.toml:3") && packages.ends_with("own.toml:3"), "{text}");
    assert!(line("output.disk.size").contains("base.toml:8"), "{text}");
}

#[test]
fn a_directory_that_is_not_there_or_none_is_an_error() {
    let bench = Bench::new();
    bench.file("mine/rootfs/etc/motd", "hello");
    let with = |line: &str| format!("extends = \"base\"\n[root]\n{line}\n");
    assert!(bench.own(&with("files = [\"rootfs\"]")).is_ok());
    for (line, part) in [
        ("files = [\"rootfs/etc/motd\"]", "own.toml:3: `files` names `rootfs/etc/motd`, which is no directory"),
        ("files = [\"rotfs\"]", "own.toml:3: `files` names `rotfs`, and "),
        ("files = { add = [\"rootfs\", \"rotfs\"] }", "own.toml:3: `files` names `rotfs`, and "),
        ("lists = [\"rootfs\"]", "own.toml:3: `lists` names `rootfs`, and "),
        ("packages = { add = [\"rootfs\"] }", "rootfs has no build.sh"),
        ("packages = { add = [\"busybocks\"] }", "busybocks has no build.sh"),
    ] {
        let text = bench.refusal(&with(line));
        assert!(text.contains(part) && text.contains("hint:"), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn attributes_come_in_order_and_are_checked() {
    let bench = Bench::new();
    bench.file("image/profiles/base.toml", &format!("{BASE}[[attribute]]\npath = \"etc/shadow\"\nmode = \"600\"\n"));
    let row = |keys: &str| format!("extends = \"base\"\n[[attribute]]\npath = \"usr/bin/ping\"\n{keys}\n");
    let profile = bench.own(&row("mode = 0o4711\nowner = \"nobody\"\ncapabilities = \"cap_net_raw=ep\"")).unwrap();
    let modes: Vec<_> = profile.attributes.iter().map(|attribute| (attribute.path.as_str(), attribute.mode)).collect();
    assert_eq!(modes, [("etc/shadow", Some(0o600)), ("usr/bin/ping", Some(0o4711))]);
    assert_eq!(profile.attributes[1].owner.as_deref(), Some("nobody"));
    let text = bench.refusal(&row("capabilities = \"cap_net_row=ep\""));
    assert!(text.contains("own.toml:3: `capabilities` is refused"), "{text}");
    assert!(bench.refusal(&row("")).contains("the attributes of `usr/bin/ping` are not stated"));
}

#[test]
fn files_of_the_kernel_are_found_beside_the_profile() {
    let bench = Bench::new();
    bench.file("mine/boot.conf", "init.x = 1");
    bench.file("mine/key.pem", "");
    let with = |lines: &str| format!("extends = \"base\"\n[kernel]\n{lines}\n");
    let kernel = bench.own(&with("boot-config = \"boot.conf\"\nmodules = \"signed\"")).unwrap().kernel;
    assert!(kernel.boot_config.unwrap().ends_with("mine/boot.conf"));
    assert_eq!((kernel.modules, kernel.module_key), (Modules::Signed, None));
    let base = bench.own(&with("")).unwrap().kernel;
    assert_eq!((base.boot_config.is_none(), base.modules, base.has_modules()), (true, Modules::None, false));
    for (lines, part) in [
        ("boot-config = \"boot.cfg\"", "own.toml:3: `boot-config` names "),
        ("modules = \"signed\"\nmodule-key = \"no.pem\"", "own.toml:4: `module-key` names "),
        ("modules = \"plain\"\nmodule-key = \"key.pem\"", "own.toml:4: `module-key` signs modules"),
        ("modules = \"sined\"", "`signed` was probably meant"),
    ] {
        let text = bench.refusal(&with(lines));
        assert!(text.contains(part) && text.contains("hint: "), "`{part}` is not in:\n{text}");
    }
}
