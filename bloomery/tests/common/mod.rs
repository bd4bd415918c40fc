//! A project of a test's own, and the program that works on it.
#![allow(dead_code)] // Every test binary compiles this module and uses its own part of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use build_support::{Arch, Dirs, fs, tree};
use system::{Profile, outputs};

/// The profiles of the project.
const PROFILES: &[(&str, &str)] = &[
    (
        "base",
        "description = \"Small\"\n[kernel]\nfragments = [\"base\"]\n[root]\npackages = [\"init\"]\n\
              [[output]]\nkind = \"disk\"\nsize = \"64 MiB\"\n[[output]]\nkind = \"kernel\"\n",
    ),
    ("full", "extends = \"base\"\ndescription = \"Large\"\n[root]\npackages = { add = [\"toolchain\"] }\n"),
    (
        "cd",
        "extends = \"base\"\n[root]\nkind = \"initramfs\"\nembed = true\n[[output]]\nname = \"disk\"\nenabled = false\n\
            [[output]]\nname = \"kernel\"\nenabled = false\n[[output]]\nkind = \"iso\"\n",
    ),
];

/// A project with profiles, and with what a build of `base` leaves.
pub struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    /// Makes it.
    pub fn new() -> Project {
        let project = Project { dir: tempfile::tempdir().unwrap() };
        for (name, text) in PROFILES {
            project.file(&format!("image/profiles/{name}.toml"), text);
        }
        for arch in Arch::ALL {
            project.build(arch, "base");
        }
        project
    }

    /// Its root.
    pub fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    /// The outputs of an architecture.
    pub fn out(&self, arch: Arch) -> PathBuf {
        self.root().join("target/bloomery").join(arch.name())
    }

    /// Writes a file, and returns its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.root().join(name);
        tree::write_atomically(&path, text.as_bytes()).unwrap();
        path
    }

    /// Writes a program, and returns its path.
    pub fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name, text);
        fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A profile, by its name or its path.
    pub fn profile(&self, name: &str) -> Profile {
        let root = self.root();
        Profile::read(&Dirs { home: root.join("home"), target: root.join("target"), root }, name).unwrap()
    }

    /// Leaves what a build of a profile leaves, as empty files.
    pub fn build(&self, arch: Arch, name: &str) {
        let (profile, out) = (self.profile(name), self.out(arch));
        for file in profile.outputs.iter().flat_map(|output| output.files()) {
            tree::write_atomically(&out.join(file), b"").unwrap();
        }
        let own = out.join(outputs::directory(&profile));
        tree::write_atomically(&own.join("cmdline"), b"root=/dev/vda console=ttyAMA0\n").unwrap();
        tree::write_atomically(&own.join(outputs::PROFILE_MARK), outputs::identity(&profile).as_bytes()).unwrap();
    }

    /// The program, as cargo starts it from the project's root.
    pub fn bloomery(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bloomery"));
        command.args(args).current_dir(self.root()).stdin(Stdio::null());
        command.env("CARGO_MANIFEST_DIR", self.root().join("bloomery"));
        command.env("CARGO_TARGET_DIR", self.root().join("target")).env("BLOOMERY_HOME", self.root().join("home"));
        for name in ["BLOOMERY_ARCH", "BLOOMERY_PROFILE", "BLOOMERY_SKIP", "XDG_RUNTIME_DIR", "CARGO"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs the program, which must succeed, and returns its standard output.
    pub fn prints(&self, args: &[&str]) -> String {
        let output = self.bloomery(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}\n{}", output.status, errors(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the program, which must fail with a status, parts of a message and a hint.
    pub fn refuses(&self, args: &[&str], status: i32, parts: &[&str]) {
        let output = self.bloomery(args).output().unwrap();
        let text = errors(&output);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{args:?}: `{part}` is not in {text}");
        }
        assert!(text.contains("\nhint: ") && output.stdout.is_empty(), "{args:?}: {text}");
    }

    /// A search path with a directory of the project before all others.
    pub fn path(&self, dir: &str) -> String {
        format!("{}:{}", self.root().join(dir).display(), std::env::var("PATH").unwrap())
    }
}

/// What a program said on standard error.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The checkout of this test.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}
