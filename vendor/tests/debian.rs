//! The Debian origin and `update`, against a local repository, through the machine's real apt with a configuration
//! of the test's own. Without apt (not on Debian) there is nothing to test, and the tests say so.

mod server;

use std::path::{Path, PathBuf};
use std::process::Command;

use build_support::{digest, host};
use server::{Faults, Server};
use tempfile::TempDir;

struct Place {
    dir: TempDir,
    server: Server,
    sha256: [String; 2],
}

const POOL: &str = "pool/main/d/demo";

impl Place {
    /// A repository with versions 1.0 and 1.1 of `demo`; `None` without apt.
    fn new() -> Option<Place> {
        if host::find_program("apt-get").is_none() {
            testing::skip("this machine has no apt");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let debian = dir.path().join("served/debian");
        std::fs::create_dir_all(debian.join(POOL)).unwrap();
        let mut index = String::new();
        let sha256 = ["1.0", "1.1"].map(|version| {
            let name = format!("demo_{version}.orig.tar.gz");
            let file = debian.join(POOL).join(&name);
            std::fs::write(&file, format!("archive {version}")).unwrap();
            let sha256 = digest::file(&file).unwrap();
            index += &format!(
                "Package: demo\nVersion: {version}-1\nDirectory: {POOL}\nFormat: 3.0 (quilt)\nChecksums-Sha256:\n {sha256} 11 {name}\n\n"
            );
            sha256
        });
        write_index(&debian, &index);
        let server = Server::start(&dir.path().join("served"), Faults::default());
        let place = Place { dir, server, sha256 };
        place.configure_apt();
        place.pin();
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn configure_apt(&self) {
        std::fs::write(self.path("demo.list"), format!("deb {}/debian trixie main\n", self.server.url)).unwrap();
        let state = self.path("state");
        std::fs::create_dir_all(state.join("lists/partial")).unwrap();
        // Nobody signs a test's repository.
        let text = format!(
            "Dir::Etc::SourceList \"{}\";\nDir::Etc::SourceParts \"/dev/null\";\nDir::State \"{}\";\n\
             Acquire::AllowInsecureRepositories \"true\";\nAcquire::http::Proxy \"DIRECT\";\n",
            self.path("demo.list").display(),
            state.display(),
        );
        std::fs::write(self.path("apt.conf"), text).unwrap();
    }

    fn pin(&self) {
        let text = format!(
            "# The top.\n[demo]\nversion = \"1.0\" # the last good one\nlicense = \"MIT\"\n\n[demo.debian]\npackage = \"demo\"\n\
             path = \"{POOL}/demo_1.0.orig.tar.gz\"\nsize = 11\nsha256 = \"{}\"\n",
            self.sha256[0]
        );
        std::fs::write(self.path("sources.toml"), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vendor"));
        command.arg("--sources").arg(self.path("sources.toml")).args(args);
        command.env("BLOOMERY_HOME", self.path("home")).env_remove("BLOOMERY_MIRROR");
        let output = command.env("APT_CONFIG", self.path("apt.conf")).output().unwrap();
        let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        (output.status.success(), text.concat())
    }

    fn pins(&self) -> String {
        std::fs::read_to_string(self.path("sources.toml")).unwrap()
    }
}

/// The index of the suite that `update` reads; the others are not there, as on a machine with an older mirror.
fn write_index(debian: &Path, index: &str) {
    for suite in ["trixie", "trixie-updates", "sid"] {
        let dir = debian.join("dists").join(suite);
        std::fs::create_dir_all(dir.join("main/source")).unwrap();
        std::fs::write(dir.join("main/source/Sources"), index).unwrap();
        let release = format!(
            "Origin: Debian\nLabel: Debian\nSuite: {suite}\nCodename: {suite}\nDate: Sat, 21 Nov 2020 00:00:00 UTC\nArchitectures: amd64\n\
             Components: main\nSHA256:\n {} {} main/source/Sources\n",
            digest::text(index),
            index.len()
        );
        std::fs::write(dir.join("Release"), release).unwrap();
    }
}

#[test]
fn an_archive_comes_through_apt_without_an_index() {
    let Some(place) = Place::new() else { return };
    let (ok, text) = place.run(&["fetch"]);
    let address = format!("{}/debian/{POOL}/demo_1.0.orig.tar.gz", place.server.url);
    assert!(ok && text.contains(&format!("debian {address}")), "{text}");
    assert_eq!(digest::file(&place.path("home/archives/demo_1.0.orig.tar.gz")).unwrap(), place.sha256[0]);
    let requests = place.server.requests();
    assert!(requests.iter().all(|request| request.contains(POOL)), "{requests:?}");
}

#[test]
fn what_the_mirror_lacks_is_said_with_its_address() {
    let Some(place) = Place::new() else { return };
    std::fs::remove_dir_all(place.path("served/debian").join(POOL)).unwrap();
    let (ok, text) = place.run(&["fetch"]);
    assert!(!ok && text.contains("demo_1.0.orig.tar.gz: 404"), "{text}");
}

#[test]
fn update_pins_the_newest_version_and_keeps_the_rest() {
    let Some(place) = Place::new() else { return };
    let before = place.pins();
    let (ok, text) = place.run(&["update", "demo"]);
    assert!(ok && text.contains("demo 1.0 -> 1.1"), "{text}");
    let expected = before
        .replace("\"1.0\"", "\"1.1\"")
        .replace("demo_1.0", "demo_1.1")
        .replace(&place.sha256[0], &place.sha256[1]);
    assert_eq!(place.pins(), expected);
    assert!(place.run(&["update", "demo"]).1.contains("nothing newer"));
    assert!(place.run(&["update", "demo", "1.0"]).0);
    assert_eq!(place.pins(), before);
}

#[test]
fn an_update_that_cannot_be_had_changes_nothing() {
    let Some(place) = Place::new() else { return };
    let before = place.pins();
    std::fs::remove_file(place.path("served/debian").join(POOL).join("demo_1.1.orig.tar.gz")).unwrap();
    let (ok, text) = place.run(&["update", "demo"]);
    assert!(ok && text.contains("cannot fetch demo 1.1") && text.contains("demo 1.0: pinned"), "{text}");
    let (ok, text) = place.run(&["update", "demo", "2.0"]);
    assert!(!ok && text.contains("no demo 2.0") && text.contains("1.0, 1.1"), "{text}");
    assert_eq!(place.pins(), before);
}
