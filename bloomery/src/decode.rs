//! `decode`: addresses in a kernel's messages as lines of its source.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use build_support::inspect::print;
use build_support::{Arch, Cmd, Context as _, Result, ensure, fs, store, tree};
use serde::Deserialize;
use system::Profile;
use system::profile::Package;
use system::vmlinux::Vmlinux;

use crate::context::{Context, arch, linux};
use crate::trace;
use crate::usage::say;

/// Show the source lines of a kernel's messages: of a panic, a BUG, a stack trace
///
/// Each message is printed as it is, and below it file and line of every function in it, with those that the compiler put inline there.
/// It needs the kernel that wrote the messages: of the profile's last build.
#[derive(clap::Args)]
pub struct Args {
    /// A name from image/profiles/, or the path of your own TOML file
    #[arg(value_name = "PROFILE")]
    profile: String,
    /// x86_64 or arm64
    #[arg(value_name = "ARCH")]
    arch: String,
    /// A file with the messages [default: standard input]
    #[arg(value_name = "LOG")]
    log: Option<PathBuf>,
}

/// Decodes.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let arch = arch(&args.arch)?;
    let profile = context.profile(&context.profile_name(&args.profile)?)?;
    let log = match &args.log {
        Some(file) => fs::read(file)?,
        None => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes)?;
            bytes
        }
    };
    let objects = objects(context, &profile, arch)?;
    let log = String::from_utf8_lossy(&log);
    let mut places = BTreeMap::new();
    for (module, file) in &objects {
        let bytes = fs::read(file)?;
        let object = Vmlinux::parse(&bytes).with_context(|| format!("cannot read {}", file.display()))?;
        for word in log.lines().flat_map(words).filter(|word| word.module == *module) {
            let addresses: Vec<u64> = addresses(&object, &word).into_iter().collect();
            if !addresses.is_empty() {
                places.insert(word.text.clone(), (module.clone(), addresses));
            }
        }
    }
    let frames = symbolize(context, &objects, &places)?;
    let source = linux(&context.dirs, &profile)?;
    print(&text(&log, &places, &frames, &source))?;
    if !profile.kernel.debug {
        say(&format!("the kernel of {} has no debug information, so functions have no lines", profile.name));
        say("hint: `debug = true` below [kernel], and the messages of that kernel");
    }
    Ok(ExitCode::SUCCESS)
}

/// The files with symbols, by the name of the module; the kernel has none.
type Objects = BTreeMap<Option<String>, PathBuf>;

/// The kernel, and the modules of the profile's packages.
fn objects(context: &Context, profile: &Profile, arch: Arch) -> Result<Objects> {
    let mut objects = Objects::from([(None, trace::vmlinux(context, profile, arch)?)]);
    for package in &profile.root.packages {
        let Package::Dir(dir) = package else { continue };
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let Some(built) = store::last(&context.dirs, &format!("package-{name}-{arch}"))? else { continue };
        for file in
            tree::files(&built.out())?.into_iter().filter(|file| file.extension().is_some_and(|end| end == "ko"))
        {
            let module = file.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
            objects.insert(Some(module), built.out().join(file));
        }
    }
    Ok(objects)
}

/// A place in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    /// As it is written.
    text: String,
    place: Place,
    module: Option<String>,
    /// Whether the next instruction is meant, and not that behind a call.
    exact: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// An offset in a function, and the function's size.
    Function { name: String, offset: u64, size: u64 },
    /// An address, of a kernel that knows no names of its functions (CONFIG_KALLSYMS).
    Address(u64),
}

/// The places in a line: `NAME+0xOFFSET/0xSIZE [MODULE]`, and addresses (lib/vsprintf.c, `%pS` and `%pB`).
fn words(line: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut exact = false;
    for word in line.split_whitespace() {
        // `RIP: 0010:NAME+...` on x86_64, `pc : NAME+...` on arm64.
        exact |= word == "RIP:" || word == "pc";
        if let Some(module) = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'))
            && let Some(last) = words.last_mut().filter(|last| matches!(last.place, Place::Function { .. }))
            && line.contains(&format!("{} {word}", last.text))
        {
            last.module = Some(module.into());
            continue;
        }
        let text = word.rsplit(':').next().unwrap_or(word).trim_matches(|c| "[]<>()".contains(c));
        if let Some(place) = place(text) {
            words.push(Word { text: text.into(), place, module: None, exact });
            exact = false;
        }
    }
    words
}

fn place(text: &str) -> Option<Place> {
    let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    if let Some((name, rest)) = text.split_once('+') {
        let (offset, size) = rest.split_once('/')?;
        return Some(Place::Function { name: name.into(), offset: hex(offset)?, size: hex(size)? });
    }
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let is_address =
        digits.len() == 16 && digits.starts_with("ffff") && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_address.then(|| u64::from_str_radix(digits, 16).ok()).flatten().map(Place::Address)
}

/// The addresses that a place may be: several where static functions have one name.
fn addresses(object: &Vmlinux, word: &Word) -> Vec<u64> {
    // An address behind a call may be that of another line, or of another function.
    let back = if word.exact { 0 } else { 1 };
    match &word.place {
        Place::Function { name, offset, size } => {
            // The kernel takes a function to end where the next symbol begins, which may be behind its last byte.
            let fits = |(_, bytes): &(u64, u64)| *bytes <= *size && *offset <= *size;
            let found = object.functions_named(name).into_iter().filter(fits);
            found.map(|(address, _)| address + offset.saturating_sub(back)).collect()
        }
        Place::Address(address) if object.has_code(*address) => vec![address - back],
        Place::Address(_) => Vec::new(),
    }
}

/// A function at an address.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Frame {
    #[serde(rename = "FunctionName")]
    function: String,
    #[serde(rename = "FileName")]
    file: String,
    #[serde(rename = "Line")]
    line: u64,
}

/// llvm-symbolizer's answer for an address: the innermost function first.
#[derive(Deserialize)]
struct Symbolized {
    #[serde(rename = "Address")]
    address: String,
    #[serde(rename = "Symbol", default)]
    frames: Vec<Frame>,
}

/// The addresses of each place that was found, with its object.
type Places = BTreeMap<String, (Option<String>, Vec<u64>)>;
/// The functions at an address of an object.
type Frames = BTreeMap<(Option<String>, u64), Vec<Frame>>;

fn symbolize(context: &Context, objects: &Objects, places: &Places) -> Result<Frames> {
    let symbolizer = context.dirs.target.join("bloomery/toolchain/bin/llvm-symbolizer");
    ensure!(symbolizer.is_file(), "there is no toolchain\nhint: cargo bloomery build");
    let mut frames = Frames::new();
    for (module, file) in objects {
        let of_object = places.values().filter(|(own, _)| own == module);
        let mut addresses: Vec<u64> = of_object.flat_map(|(_, addresses)| addresses.clone()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            continue;
        }
        let command = Cmd::new(&symbolizer).arg(format!("--obj={}", file.display())).arg("--output-style=JSON");
        let answer = command.args(addresses.iter().map(|address| format!("{address:#x}"))).read("look lines up")?;
        frames.extend(parse(&answer)?.into_iter().map(|(address, found)| ((module.clone(), address), found)));
    }
    Ok(frames)
}

fn parse(answer: &str) -> Result<BTreeMap<u64, Vec<Frame>>> {
    let symbolized: Vec<Symbolized> =
        serde_json::from_str(answer).with_context(|| format!("llvm-symbolizer answers {answer}"))?;
    let address = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
    symbolized.into_iter().map(|one| Ok((address(&one.address)?, one.frames))).collect()
}

/// The messages, each with its lines below.
fn text(log: &str, places: &Places, frames: &Frames, source: &Path) -> String {
    let mut text = String::new();
    for line in log.lines() {
        text += &format!("{}\n", line.trim_end_matches('\r'));
        for word in words(line) {
            let Some((module, addresses)) = places.get(&word.text).filter(|(module, _)| *module == word.module) else {
                continue;
            };
            for found in addresses.iter().filter_map(|address| frames.get(&(module.clone(), *address))) {
                for (at, frame) in found.iter().enumerate() {
                    let how = if at == 0 { "" } else { "inlined in " };
                    let function = own_name(&word).filter(|_| at + 1 == found.len()).unwrap_or(&frame.function);
                    text += &format!("        {how}{function} at {}\n", shown(frame, source));
                }
            }
        }
    }
    text
}

/// The function that a module's message names. Sections of a module begin at one address each, so that what is called by an address
/// alone may be another section's.
fn own_name(word: &Word) -> Option<&str> {
    match &word.place {
        Place::Function { name, .. } if word.module.is_some() => Some(name),
        _ => None,
    }
}

fn shown(frame: &Frame, source: &Path) -> String {
    let file = Path::new(&frame.file);
    let file = file.strip_prefix(source).unwrap_or(file);
    if frame.line == 0 { file.display().to_string() } else { format!("{}:{}", file.display(), frame.line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, offset: u64, size: u64) -> Place {
        Place::Function { name: name.into(), offset, size }
    }

    #[test]
    fn places_are_found_as_the_kernel_writes_them() {
        let one = |line: &str| {
            let words = words(line);
            assert_eq!(words.len(), 1, "{line}: {words:?}");
            words[0].clone()
        };
        let word = one("[    1.2] RIP: 0010:sysrq_handle_crash+0x11/0x20");
        assert_eq!((word.place, word.exact), (function("sysrq_handle_crash", 0x11, 0x20), true));
        let word = one(" ? panic+0x100/0x2c0");
        assert_eq!((word.place, word.exact), (function("panic", 0x100, 0x2c0), false));
        let word = one("[    2.0]  greet_show+0x1c/0x40 [greet]");
        assert_eq!((word.place, word.module), (function("greet_show", 0x1c, 0x40), Some("greet".into())));
        assert!(one("pc : do_mem_abort+0x4/0x8").exact);
        assert!(!one("lr : do_mem_abort+0x4/0x8").exact);
        assert_eq!(one("[<ffffffff81001234>] ?").place, Place::Address(0xffff_ffff_8100_1234));
        assert_eq!(one("RIP: 0010:0xffffffff81001234").place, Place::Address(0xffff_ffff_8100_1234));
        for line in ["CPU: 0 PID: 1 Comm: sh", "RAX: 0000000000000000", "a+b", "1+2/3", "[    1.2] text [sh]"] {
            assert_eq!(words(line), [], "{line}");
        }
    }

    #[test]
    fn a_message_has_its_lines_below() {
        let answer = r#"[{"Address":"0x10","ModuleName":"vmlinux","Symbol":[
            {"Column":2,"FileName":"/s/kernel/panic.c","FunctionName":"inner","Line":7},
            {"Column":2,"FileName":"/s/kernel/panic.c","FunctionName":"panic","Line":9}]}]"#;
        let frames = parse(answer).unwrap().into_iter().map(|(address, found)| ((None, address), found)).collect();
        let places = Places::from([("panic+0x11/0x20".into(), (None, vec![0x10]))]);
        let text = text("one\r\n panic+0x11/0x20\ntwo\n", &places, &frames, Path::new("/s"));
        assert_eq!(
            text,
            "one\n panic+0x11/0x20\n        inner at kernel/panic.c:7\n        inlined in panic at kernel/panic.c:9\ntwo\n"
        );
    }
}
