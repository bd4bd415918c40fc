//! The manual pages say what the program understands, and are pages that a formatter takes without a warning.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn crate_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(crate_file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The words that stand in quotes after `before` in a source file, up to its tests.
fn quoted_after<'a>(source: &'a str, before: &str) -> Vec<&'a str> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    code.split(before).skip(1).filter_map(|rest| rest.strip_prefix('"')?.split('"').next()).collect()
}

fn each_is_named(words: &[&str], page: &str) {
    assert!(words.len() > 3, "the source changed; this test has to find the words again: {words:?}");
    let text = read(page).replace("\\-", "-");
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '.';
    for word in words {
        let named = text.split(|letter| !is_word(letter)).any(|found| found.trim_end_matches('.') == *word);
        assert!(named, "{page} does not name '{word}'");
    }
}

#[test]
fn every_key_of_a_service_is_in_its_page() {
    let source = read("src/service/file.rs");
    let keys = [quoted_after(&source, "take("), quoted_after(&source, ".table(")].concat();
    each_is_named(&keys, "man/services.5");
}

#[test]
fn every_setting_of_a_machine_is_in_its_page() {
    let source = read("base/src/settings.rs");
    each_is_named(&quoted_after(&source, "Key { name: "), "man/settings.5");
}

#[test]
fn every_key_of_a_network_rule_is_in_its_page() {
    let source = read("src/net/config.rs");
    let way = source.split("fn way(").nth(1).and_then(|rest| rest.split("other =>").next()).unwrap();
    let of_a_way = way.lines().filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" =>"));
    let keys: Vec<&str> = quoted_after(&source, "take(").into_iter().chain(of_a_way.map(|(key, _)| key)).collect();
    each_is_named(&keys, "man/network.5");
}

#[test]
fn every_option_of_the_kernel_command_line_is_in_its_page() {
    let source = read("src/config/options.rs");
    let taken = source.split("fn take(").nth(1).and_then(|rest| rest.split("_ => return None").next()).unwrap();
    let own = taken.lines().filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" =>"));
    let own: Vec<String> = own.map(|(name, _)| format!("init.{name}")).collect();
    each_is_named(&own.iter().map(String::as_str).collect::<Vec<_>>(), "man/init.8");
}

#[test]
fn every_phase_of_the_boot_is_in_its_page() {
    let source = read("src/boot/mod.rs");
    each_is_named(&quoted_after(&source, " Phase { name: "), "man/init.8");
}

#[test]
fn every_option_of_a_tool_is_in_its_page() {
    for program in ["initctl", "echod", "dhcpc", "modprobe", "ntpc", "status", "syslogc", "updater", "growfs"] {
        let page = format!("../{program}/man/{program}.8");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{program}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_init"), dir.join(program)).unwrap();
        let output = Command::new(dir.join(program)).arg("--help").output().unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
        let help = String::from_utf8(output.stdout).unwrap();
        let options: Vec<&str> = help
            .split(|letter: char| letter.is_whitespace() || "[],|".contains(letter))
            .filter_map(|word| word.strip_prefix("--"))
            .collect();
        let text = read(&page);
        assert!(!options.is_empty(), "{help}");
        for option in options {
            assert!(text.contains(&format!("Fl -{option}")), "{page} does not name --{option}");
        }
    }
}

#[test]
fn pages_are_formatted_without_a_warning() {
    if Command::new("groff").arg("--version").output().is_err() {
        return testing::skip("this host has no groff");
    }
    let mut pages = 0;
    let dirs = [
        "man",
        "../initctl/man",
        "../echod/man",
        "../ntpc/man",
        "../status/man",
        "../syslogc/man",
        "../updater/man",
        "../growfs/man",
    ]
    .map(crate_file);
    for entry in dirs.iter().flat_map(|dir| fs::read_dir(dir).unwrap()) {
        let path = entry.unwrap().path();
        let output = Command::new("groff").args(["-mdoc", "-Tutf8", "-ww", "-b"]).arg(&path).output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", path.display());
        pages += 1;
    }
    assert!(pages >= 5);
}

/// The skeleton's man(1) knows every macro of every page: none is left in its text, which begins with the page's title.
#[test]
fn the_manual_on_board_shows_every_page() {
    let root = crate_file("..");
    let shown = tempfile_dir("manual");
    let mut count = 0;
    for entry in fs::read_dir(&root).unwrap() {
        let Ok(pages) = fs::read_dir(entry.unwrap().path().join("man")) else { continue };
        for page in pages.map(|page| page.unwrap().path()) {
            let (name, section) =
                (page.file_stem().unwrap().to_str().unwrap(), page.extension().unwrap().to_str().unwrap());
            let place = shown.join(format!("man{section}"));
            fs::create_dir_all(&place).unwrap();
            let packed = Command::new("gzip").arg("-9nc").arg(&page).output().unwrap();
            fs::write(place.join(format!("{name}.{section}.gz")), packed.stdout).unwrap();
            let script = root.join("sysroot/skeleton/usr/bin/man");
            let output = Command::new("sh").arg(script).args([section, name]).env("MANPATH", &shown).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && output.stderr.is_empty(), "{name}: {output:?}");
            assert_eq!(text.lines().next(), Some(format!("{}({section})", name.to_uppercase()).as_str()));
            assert!(text.lines().all(|line| line.len() <= 100 && !line.starts_with('.')), "{name}:\n{text}");
            let macros = ["Ar", "Cm", "Fl", "Ic", "Li", "Nm", "Op", "Pa", "Pq", "Xr"];
            let left = text.split_whitespace().find(|word| macros.contains(word) || word.contains("\\("));
            assert_eq!(left, None, "{name}:\n{text}");
            count += 1;
        }
    }
    fs::remove_dir_all(&shown).unwrap();
    assert!(count >= 13, "{count} pages");
}

fn tempfile_dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("init-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}
