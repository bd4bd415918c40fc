//! Unpacking: what a whole tree looks like, and that nothing else ever has its name.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use build_support::{Dirs, digest};
use tempfile::TempDir;
use vendor::Sources;

/// A checkout and a home of its own, with an archive in the checkout's `vendor/archives`.
struct Place {
    dir: TempDir,
    dirs: Dirs,
    sha256: String,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let (root, home) = (dir.path().join("checkout"), dir.path().join("home"));
        let archives = root.join("vendor/archives");
        let tree = dir.path().join("demo_1.0+repacked");
        for part in [&archives, &tree.join("library/core"), &tree.join("tests/library")] {
            std::fs::create_dir_all(part).unwrap();
        }
        std::fs::write(tree.join("library/core/lib.rs"), "// core\n").unwrap();
        std::fs::write(tree.join("tests/library/x"), "x").unwrap();
        std::fs::write(tree.join("LICENSE"), "MIT\n").unwrap();
        std::os::unix::fs::symlink("library/core", tree.join("link")).unwrap();
        let archive = archives.join("demo.tar.xz");
        let packed = Command::new("tar")
            .args(["--mtime=@981173106", "-cJf"])
            .arg(&archive)
            .arg("-C")
            .arg(dir.path())
            .arg("demo_1.0+repacked")
            .status();
        assert!(packed.unwrap().success());
        let sha256 = digest::file(&archive).unwrap();
        let dirs = Dirs { root, home, target: dir.path().join("target") };
        Place { dir, dirs, sha256 }
    }

    fn pins(&self, more: &str) -> String {
        let size = std::fs::metadata(self.dirs.root.join("vendor/archives/demo.tar.xz")).unwrap().len();
        format!(
            "[demo]\nversion = \"1.0\"\nlicense = \"MIT\"\n{more}\n[[demo.upstream]]\nurl = \"http://127.0.0.1:9/demo.tar.xz\"\nsize = {size}\nsha256 = \"{}\"\n",
            self.sha256
        )
    }

    fn source(&self, more: &str) -> vendor::Source {
        Sources::parse(&self.pins(more), "x.toml").unwrap().get("demo").unwrap().clone()
    }

    fn tree(&self) -> PathBuf {
        self.dirs.sources().join(format!("demo-{}", &self.sha256[..12]))
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_tree_is_whole_and_keeps_its_times() {
    let place = Place::new();
    let source = place.source("");
    assert_eq!(source.unpacked(&place.dirs), None);
    let dir = source.unpack(&place.dirs).unwrap();
    assert_eq!(dir, place.tree());
    assert_eq!(names(&dir), ["LICENSE", "library", "link", "tests"]);
    let modified = std::fs::metadata(dir.join("library/core/lib.rs")).unwrap().modified().unwrap();
    assert_eq!(modified, UNIX_EPOCH + Duration::from_secs(981_173_106));
    assert_eq!(std::fs::read_link(dir.join("link")).unwrap(), Path::new("library/core"));
    assert_eq!(std::fs::read_link(place.dirs.root.join("vendor/upstream/demo")).unwrap(), dir);
    let used = source.used(&place.dirs).unwrap();
    assert!(used.contains(&place.sha256) && used.contains("mirror ") && used.starts_with("demo 1.0 "), "{used}");
}

#[test]
fn a_choice_of_members_is_a_tree_of_its_own() {
    let place = Place::new();
    let all = place.source("").unpack(&place.dirs).unwrap();
    let some = place.source("only = [\"library\", \"LICENSE\"]\n").unpack(&place.dirs).unwrap();
    assert_ne!(all, some);
    assert_eq!(names(&some), ["LICENSE", "library"]);
    assert_eq!(std::fs::read_to_string(some.join("library/core/lib.rs")).unwrap(), "// core\n");
    let error = format!("{:#}", place.source("only = [\"missing\"]\n").unpack(&place.dirs).unwrap_err());
    assert!(error.contains("cannot unpack") && error.contains("missing"), "{error}");
}

#[test]
fn a_tree_that_is_there_is_taken_as_it_is() {
    let place = Place::new();
    std::fs::create_dir_all(place.tree()).unwrap();
    std::fs::write(place.tree().join("mark"), "").unwrap();
    std::fs::remove_dir_all(place.dirs.root.join("vendor")).unwrap();
    let source = place.source_without_archive();
    assert_eq!(source.unpack(&place.dirs).unwrap(), place.tree());
    assert_eq!(names(&place.tree()), ["mark"]);
}

impl Place {
    fn source_without_archive(&self) -> vendor::Source {
        let text = format!(
            "[demo]\nversion = \"1.0\"\nlicense = \"MIT\"\n[[demo.upstream]]\nurl = \"http://127.0.0.1:9/demo.tar.xz\"\nsha256 = \"{}\"\n",
            self.sha256
        );
        Sources::parse(&text, "x.toml").unwrap().get("demo").unwrap().clone()
    }
}

#[test]
fn nothing_is_unpacked_from_a_flipped_archive() {
    let place = Place::new();
    let source = place.source("");
    let archive = place.dirs.root.join("vendor/archives/demo.tar.xz");
    let mut content = std::fs::read(&archive).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&archive, content).unwrap();
    let error = format!("{:#}", source.unpack(&place.dirs).unwrap_err());
    assert!(error.contains("refused") && error.contains(&place.sha256) && error.contains("demo.tar.xz.bad"), "{error}");
    assert_eq!(names(&place.dirs.sources()), [""; 0]);
    assert!(!place.dirs.archives().join("demo.tar.xz").exists());
}

#[test]
fn a_killed_unpacking_leaves_nothing_with_the_trees_name() {
    let place = Place::new();
    // A tar that unpacks half and then hangs.
    let bin = place.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let script = "#!/bin/sh\nwhile [ \"$1\" != --directory ]; do shift; done\nmkdir \"$2/half\"\nexec sleep 600\n";
    std::fs::write(bin.join("tar"), script).unwrap();
    std::fs::set_permissions(bin.join("tar"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(place.dir.path().join("sources.toml"), place.pins("")).unwrap();
    let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())))
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vendor"));
    command.arg("--sources").arg(place.dir.path().join("sources.toml")).arg("unpack");
    command.env("PATH", path).env("BLOOMERY_HOME", &place.dirs.home);
    command.env("BLOOMERY_MIRROR", place.dirs.root.join("vendor/archives"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn().unwrap();
    let half = place.dirs.sources().join(format!(".demo-{}.tmp/half", &place.sha256[..12]));
    let started = Instant::now();
    while !half.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "tar was never started");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The whole group, as a closed terminal or a CI's time limit does.
    assert!(Command::new("kill").arg("-KILL").arg("--").arg(format!("-{}", child.id())).status().unwrap().success());
    child.wait().unwrap();
    assert!(!place.tree().exists());
    let dir = place.source("").unpack(&place.dirs).unwrap();
    assert_eq!(names(&dir), ["LICENSE", "library", "link", "tests"]);
    assert!(!half.parent().unwrap().exists());
}

#[test]
fn two_at_once_unpack_once() {
    let place = Place::new();
    let source = place.source("");
    let dirs = std::thread::scope(|scope| {
        let both = [scope.spawn(|| source.unpack(&place.dirs)), scope.spawn(|| source.unpack(&place.dirs))];
        both.map(|thread| thread.join().unwrap().unwrap())
    });
    assert_eq!(dirs, [place.tree(), place.tree()]);
    let visible: Vec<String> = names(&place.dirs.sources()).into_iter().filter(|name| name.starts_with('.')).collect();
    assert!(visible.is_empty(), "{visible:?}");
}
