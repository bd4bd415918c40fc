//! The program against a local HTTP server: every origin, every fault, and what is left on disk after each.

mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use build_support::digest;
use server::{Faults, Server};
use tempfile::TempDir;

/// The archive's name with its origin.
const ARCHIVE: &str = "demo-1.0.tar.gz";

/// A home of its own, a directory that is served, and an archive in it.
struct Place {
    dir: TempDir,
    size: usize,
    sha256: String,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let served = dir.path().join("served");
        let tree = dir.path().join("demo-1.0");
        std::fs::create_dir_all(&served).unwrap();
        std::fs::create_dir_all(tree.join("sub")).unwrap();
        // Text that does not compress, so that half an archive is a fair part of it.
        let noise: String = (0..2000).map(|i| digest::text(&i.to_string())).collect();
        std::fs::write(tree.join("sub/noise"), noise).unwrap();
        std::fs::write(tree.join("README"), "A demo.\n").unwrap();
        let archive = served.join(ARCHIVE);
        let packed = Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(dir.path()).arg("demo-1.0").status();
        assert!(packed.unwrap().success());
        let size = std::fs::metadata(&archive).unwrap().len() as usize;
        let sha256 = digest::file(&archive).unwrap();
        Place { dir, size, sha256 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file in the store's directory of archives.
    fn archive(&self, name: &str) -> PathBuf {
        self.path("home/archives").join(name)
    }

    /// The name of a download that is not complete.
    fn part(&self) -> PathBuf {
        self.archive(&format!(".{ARCHIVE}.{}.part", &self.sha256[..12]))
    }

    /// Pins the archive at an address.
    fn pin(&self, url: &str) {
        let text = format!(
            "[demo]\nversion = \"1.0\"\nlicense = \"MIT\"\n\n[[demo.upstream]]\nurl = \"{url}/{ARCHIVE}\"\nsize = {}\nsha256 = \"{}\"\n",
            self.size, self.sha256
        );
        std::fs::write(self.path("sources.toml"), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vendor"));
        command.arg("--sources").arg(self.path("sources.toml")).args(args);
        command.env("BLOOMERY_HOME", self.path("home")).env_remove("BLOOMERY_MIRROR");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> (bool, String) {
        told(&self.command(args).output().unwrap())
    }

    fn run_with_mirror(&self, mirror: &str, args: &[&str]) -> (bool, String) {
        told(&self.command(args).env("BLOOMERY_MIRROR", mirror).output().unwrap())
    }

    fn assert_archive_is_whole(&self) {
        assert_eq!(digest::file(&self.archive(ARCHIVE)).unwrap(), self.sha256);
        assert!(!self.part().exists());
    }

    fn flip_a_byte(&self, path: &Path) {
        let mut content = std::fs::read(path).unwrap();
        content[self.size / 2] ^= 1;
        std::fs::write(path, content).unwrap();
    }
}

fn told(output: &Output) -> (bool, String) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.success(), text.concat())
}

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn upstream_is_fetched_once_and_recorded() {
    let place = Place::new();
    let server = Server::start(&place.path("served"), Faults::default());
    place.pin(&server.url);
    let (ok, text) = place.run(&["fetch"]);
    assert!(ok && text.contains(&format!("upstream {}/{ARCHIVE}", server.url)), "{text}");
    place.assert_archive_is_whole();
    assert!(place.run(&["fetch", "demo"]).0);
    assert_eq!(server.requests().len(), 1);
    let (_, table) = place.run(&["list"]);
    assert!(table.contains("demo  1.0      MIT") && table.contains(&format!("upstream {}", server.url)), "{table}");
    assert!(place.run(&["verify"]).1.contains("is the pinned archive"));
}

#[test]
fn a_mirror_comes_first() {
    let place = Place::new();
    let (mirror, upstream) = (place.path("mirror"), Server::start(&place.path("served"), Faults::default()));
    std::fs::create_dir(&mirror).unwrap();
    std::fs::copy(place.path("served").join(ARCHIVE), mirror.join(ARCHIVE)).unwrap();
    place.pin(&upstream.url);
    let (ok, text) = place.run_with_mirror(mirror.to_str().unwrap(), &["fetch"]);
    assert!(ok && text.contains(&format!("mirror {}/{ARCHIVE}", mirror.display())), "{text}");
    place.assert_archive_is_whole();
    std::fs::remove_dir_all(place.path("home")).unwrap();
    let served = Server::start(&mirror, Faults::default());
    let (ok, text) = place.run_with_mirror(&served.url, &["fetch"]);
    assert!(ok && text.contains(&format!("mirror {}/{ARCHIVE}", served.url)), "{text}");
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_mirror_without_the_archive_is_passed_over() {
    let place = Place::new();
    let upstream = Server::start(&place.path("served"), Faults::default());
    std::fs::create_dir(place.path("mirror")).unwrap();
    place.pin(&upstream.url);
    assert!(place.run_with_mirror(place.path("mirror").to_str().unwrap(), &["fetch"]).0);
    place.assert_archive_is_whole();
    let (ok, text) = place.run_with_mirror("/no/such/mirror", &["fetch"]);
    assert!(ok, "what is in the store needs no mirror: {text}");
}

#[test]
fn a_broken_download_is_resumed() {
    let place = Place::new();
    let broken = Server::start(&place.path("served"), Faults { cut_after: Some(place.size / 2), ..Faults::default() });
    place.pin(&broken.url);
    let (ok, text) = place.run(&["fetch"]);
    assert!(!ok && text.contains("curl: ("), "{text}");
    let half = std::fs::metadata(place.part()).unwrap().len();
    assert!(half > 0 && !place.archive(ARCHIVE).exists());
    let server = Server::start(&place.path("served"), Faults::default());
    place.pin(&server.url);
    let (ok, text) = place.run(&["fetch"]);
    assert!(ok, "{text}");
    assert_eq!(server.requests(), [format!("/{ARCHIVE} {half}-")]);
    place.assert_archive_is_whole();
}

#[test]
fn a_server_without_ranges_is_asked_for_the_whole() {
    let place = Place::new();
    let server = Server::start(&place.path("served"), Faults { no_ranges: true, ..Faults::default() });
    place.pin(&server.url);
    std::fs::create_dir_all(place.path("home/archives")).unwrap();
    std::fs::write(place.part(), "half").unwrap();
    let (ok, text) = place.run(&["fetch"]);
    assert!(ok, "{text}");
    place.assert_archive_is_whole();
}

#[test]
fn a_wrong_half_is_fetched_again_from_the_start() {
    let place = Place::new();
    let server = Server::start(&place.path("served"), Faults::default());
    place.pin(&server.url);
    std::fs::create_dir_all(place.path("home/archives")).unwrap();
    std::fs::write(place.part(), "not the beginning of the archive").unwrap();
    let (ok, text) = place.run(&["fetch"]);
    assert!(ok && server.requests().len() == 2, "{text}");
    place.assert_archive_is_whole();
}

#[test]
fn a_flipped_byte_is_refused_and_the_next_origin_asked() {
    let place = Place::new();
    let good = Server::start(&place.path("served"), Faults::default());
    let mirror = place.path("mirror");
    std::fs::create_dir(&mirror).unwrap();
    std::fs::copy(place.path("served").join(ARCHIVE), mirror.join(ARCHIVE)).unwrap();
    place.flip_a_byte(&mirror.join(ARCHIVE));
    let flipped = digest::file(&mirror.join(ARCHIVE)).unwrap();

    place.pin(&nobody());
    let (ok, text) = place.run_with_mirror(mirror.to_str().unwrap(), &["fetch"]);
    let bad = place.archive(&format!("{ARCHIVE}.bad"));
    for part in ["refused", &format!("SHA-256 {}", place.sha256), &format!("SHA-256 {flipped}"), bad.to_str().unwrap()]
    {
        assert!(!ok && text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert_eq!(digest::file(&bad).unwrap(), flipped);
    assert!(!place.archive(ARCHIVE).exists() && !place.part().exists());

    place.pin(&good.url);
    let (ok, text) = place.run_with_mirror(mirror.to_str().unwrap(), &["fetch"]);
    assert!(ok && text.contains("refused") && text.contains("upstream"), "{text}");
    place.assert_archive_is_whole();
}

#[test]
fn a_short_archive_is_refused() {
    let place = Place::new();
    let server = Server::start(&place.path("served"), Faults::default());
    place.pin(&server.url);
    let archive = place.path("served").join(ARCHIVE);
    let content = std::fs::read(&archive).unwrap();
    std::fs::write(&archive, &content[..place.size - 100]).unwrap();
    let (ok, text) = place.run(&["fetch"]);
    assert!(
        !ok && text.contains(&format!("expected {} bytes", place.size))
            && text.contains(&format!("{} bytes", place.size - 100)),
        "{text}"
    );
    assert!(!place.archive(ARCHIVE).exists());
}

#[test]
fn damage_in_the_store_is_found_and_mended() {
    let place = Place::new();
    let server = Server::start(&place.path("served"), Faults::default());
    place.pin(&server.url);
    assert!(place.run(&["fetch"]).0);
    place.flip_a_byte(&place.archive(ARCHIVE));
    let (ok, text) = place.run(&["verify"]);
    assert!(!ok && text.contains("damaged") && text.contains("refused"), "{text}");
    assert!(place.run(&["fetch"]).0);
    place.assert_archive_is_whole();
}

#[test]
fn without_network_every_origin_is_named_with_its_reason() {
    let place = Place::new();
    std::fs::create_dir(place.path("mirror")).unwrap();
    place.pin(&nobody());
    let (ok, text) = place.run_with_mirror(place.path("mirror").to_str().unwrap(), &["fetch"]);
    let parts = [
        "cannot fetch demo 1.0",
        "there is no such file",
        "upstream http://127.0.0.1",
        "curl: (7)",
        "hint:",
        "export DIR",
        "BLOOMERY_MIRROR",
    ];
    for part in parts {
        assert!(!ok && text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn a_mirror_that_is_not_there_is_said() {
    let place = Place::new();
    place.pin(&nobody());
    let (ok, text) = place.run_with_mirror("/no/such/mirror", &["fetch"]);
    assert!(!ok && text.contains("BLOOMERY_MIRROR=/no/such/mirror") && text.contains("hint:"), "{text}");
}

#[test]
fn wrong_pins_are_named_with_file_and_line() {
    let place = Place::new();
    for (text, line) in [("[demo]\nversion = \"1", 2), ("[demo]\nversion = \"1\"\nlicence = \"MIT\"\n", 3)] {
        std::fs::write(place.path("sources.toml"), text).unwrap();
        let (ok, told) = place.run(&["list"]);
        assert!(!ok && told.contains(&format!("sources.toml, line {line}")), "{told}");
    }
    let (ok, text) = told(
        &Command::new(env!("CARGO_BIN_EXE_vendor")).args(["--sources", "/no/such.toml", "list"]).output().unwrap(),
    );
    assert!(!ok && text.contains("/no/such.toml"), "{text}");
}

#[test]
fn two_at_once_fetch_once() {
    let place = Place::new();
    let server =
        Server::start(&place.path("served"), Faults { delay: Duration::from_millis(700), ..Faults::default() });
    place.pin(&server.url);
    let both = [place.command(&["fetch"]).spawn().unwrap(), place.command(&["fetch"]).spawn().unwrap()];
    for child in both {
        let (ok, text) = told(&child.wait_with_output().unwrap());
        assert!(ok, "{text}");
    }
    assert_eq!(server.requests().len(), 1);
    place.assert_archive_is_whole();
}

#[test]
fn a_killed_download_is_continued() {
    let place = Place::new();
    let slow = Server::start(&place.path("served"), Faults { delay: Duration::from_secs(60), ..Faults::default() });
    place.pin(&slow.url);
    let mut child = place.command(&["fetch"]).spawn().unwrap();
    wait_until(|| !slow.requests().is_empty());
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert!(!place.archive(ARCHIVE).exists());
    let server = Server::start(&place.path("served"), Faults::default());
    place.pin(&server.url);
    assert!(place.run(&["fetch"]).0);
    place.assert_archive_is_whole();
}

#[test]
fn an_exported_mirror_is_enough() {
    let place = Place::new();
    let server = Server::start(&place.path("served"), Faults::default());
    place.pin(&server.url);
    let mirror = place.path("exported");
    let (ok, text) = place.run(&["export", mirror.to_str().unwrap()]);
    assert!(ok && text.contains("BLOOMERY_MIRROR"), "{text}");
    let check = Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&mirror).output().unwrap();
    assert!(check.status.success(), "{}", told(&check).1);
    std::fs::remove_dir_all(place.path("home")).unwrap();
    place.pin(&nobody());
    assert!(place.run_with_mirror(mirror.to_str().unwrap(), &["fetch"]).0);
    place.assert_archive_is_whole();
}

#[test]
fn a_signature_is_checked_against_the_pinned_key() {
    if build_support::host::find_program("gpg").is_none() {
        testing::skip("gpg is not installed");
        return;
    }
    let place = Place::new();
    let server = Server::start(&place.path("served"), Faults::default());
    let keyring = place.path("keyring");
    std::fs::create_dir(&keyring).unwrap();
    std::fs::set_permissions(&keyring, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let gpg = |args: &[&str]| {
        let batch = ["--batch", "--pinentry-mode", "loopback", "--passphrase", ""];
        let output = Command::new("gpg").env("GNUPGHOME", &keyring).args(batch).args(args).output().unwrap();
        assert!(output.status.success(), "{}", told(&output).1);
        told(&output).1
    };
    gpg(&["--quick-generate-key", "test@example.org", "ed25519", "sign", "never"]);
    let listed = gpg(&["--with-colons", "--fingerprint"]);
    let key = listed.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap().trim_matches(':').to_string();
    gpg(&[
        "--detach-sign",
        "--output",
        place.path("served/sig").to_str().unwrap(),
        place.path("served").join(ARCHIVE).to_str().unwrap(),
    ]);
    let verify = |keyring: &Path, key: &str| {
        place.pin(&server.url);
        let text = std::fs::read_to_string(place.path("sources.toml")).unwrap();
        std::fs::write(
            place.path("sources.toml"),
            format!("{text}signature = \"{}/sig\"\nkey = \"{key}\"\n", server.url),
        )
        .unwrap();
        told(&place.command(&["verify", "--signatures"]).env("GNUPGHOME", keyring).output().unwrap())
    };
    place.pin(&server.url);
    assert!(place.run(&["fetch"]).0);
    let (ok, text) = verify(&keyring, &key);
    assert!(ok && text.contains(&format!("demo: signed by {key}")), "{text}");
    let (ok, text) = verify(&keyring, &"0".repeat(40));
    assert!(!ok && text.contains(&format!("is by the key {key}")), "{text}");
    let empty = place.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let (ok, text) = verify(&empty, &key);
    assert!(ok && text.contains("not in your keyring"), "{text}");
    std::fs::copy(place.path("sources.toml"), place.path("served/sig")).unwrap();
    assert!(!verify(&keyring, &key).0, "a text is no signature");
    let _ = Command::new("gpgconf").env("GNUPGHOME", &keyring).args(["--kill", "all"]).status(); // Its agent would stay.
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing happened for a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}
