//! `cost`: what a fragment adds to the kernel of a profile. Each change is a profile of its own that extends the one in question, so
//! its kernel is built and kept as any other. Leaves these profiles in `target/bloomery/cost`, and results in the store.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use build_support::inspect::print;
use build_support::kconfig::{self, Config, Value};
use build_support::{Arch, Cmd, Context as _, Dirs, Result, digest, ensure, fs, store, tree};
use system::profile::OF_ARCH;
use system::{Profile, outputs};

use crate::build;
use crate::context::{Context, arch};
use crate::usage::wrong;

/// Show what kernel fragments add to a profile's kernel, in bytes
///
/// A fragment that the profile has is left out, and any other is added: the kernel is built so, beside the one of the profile, which
/// takes minutes for each. Without fragments they are the groups of drivers, image/kernel/hardware-*.config, that the profile lacks.
#[derive(clap::Args)]
#[command(
    override_usage = "cargo bloomery cost PROFILE [ARCH] [CHANGE]...",
    after_help = "A CHANGE is a fragment of image/kernel/, the path of one of your own, a symbol that is turned over (CONFIG_IGB), a symbol \
                  with a value (CONFIG_NR_CPUS=64, CONFIG_IGB=n), or some of these with commas between them, which are changed together."
)]
pub struct Args {
    /// A name from image/profiles/, or the path of your own TOML file
    #[arg(value_name = "PROFILE")]
    profile: String,
    /// x86_64 or arm64 [default: this machine's], then what to change
    #[arg(value_name = "CHANGE")]
    words: Vec<String>,
}

/// Builds and prints a table.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let (arch, words) = match args.words.split_first() {
        Some((first, rest)) if arch(first).is_ok() => (arch(first)?, rest),
        _ => (Arch::host()?, &args.words[..]),
    };
    let name = context.profile_name(&args.profile)?;
    let profile = context.profile(&name)?;
    profile.check_arch(arch)?;
    let groups = if words.is_empty() { groups(&context.dirs, &profile, arch)? } else { words.to_vec() };
    let parse = |word: &String| Change::parse(&context.dirs, &profile, arch, word);
    let changes: Vec<Change> = groups.iter().map(parse).collect::<Result<_>>()?;
    let Some(base) = measure(context, arch, &Change::default(), &profile)? else { return Ok(ExitCode::FAILURE) };
    let mut rows = Vec::new();
    for change in &changes {
        let change = change.settled(&Config::parse(&base.config));
        let Some(kernel) = measure(context, arch, &change, &profile)? else { return Ok(ExitCode::FAILURE) };
        rows.push((change, kernel));
    }
    print(&table(&profile.name, arch, &base, &rows))?;
    Ok(ExitCode::SUCCESS)
}

/// The groups of drivers that a profile lacks. One that is for another architecture has its name at the end.
fn groups(dirs: &Dirs, profile: &Profile, arch: Arch) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dirs.root.join("image/kernel"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".config").filter(|name| name.starts_with("hardware-")).map(String::from));
    }
    names.sort();
    Ok(with_parts(&names, arch).into_iter().filter(|name| fragment(profile, arch, name).is_none()).collect())
}

/// Names of fragments with the architecture's part of each beside it, and without the parts of others.
fn with_parts(names: &[String], arch: Arch) -> Vec<String> {
    let is_part = |name: &str| Arch::ALL.iter().any(|arch| name.ends_with(&format!("-{arch}")));
    let whole = names.iter().filter(|name| !is_part(name));
    whole
        .map(|name| {
            let part = format!("{name}-{arch}");
            if names.contains(&part) { format!("{name},{part}") } else { name.clone() }
        })
        .collect()
}

/// A profile's own word for a fragment.
fn fragment(profile: &Profile, arch: Arch, name: &str) -> Option<String> {
    let mut stated = profile.kernel.fragments.iter().map(|fragment| fragment.name.clone());
    stated.find(|stated| stated == name || stated.replace(OF_ARCH, arch.name()) == name)
}

/// What is changed together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Change {
    /// As it was asked for, and shown.
    label: String,
    add: Vec<String>,
    remove: Vec<String>,
    /// Symbols, without a value where they are turned over.
    symbols: Vec<(String, Option<Value>)>,
}

impl Change {
    fn parse(dirs: &Dirs, profile: &Profile, arch: Arch, word: &str) -> Result<Change> {
        let mut change = Change { label: word.into(), ..Change::default() };
        for item in word.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            if let Some(symbol) = item.strip_prefix("CONFIG_") {
                change.symbols.push(match symbol.split_once('=') {
                    Some((symbol, value)) => (symbol.into(), Some(Value::parse(value))),
                    None => (symbol.into(), None),
                });
            } else if let Some(stated) = fragment(profile, arch, item) {
                change.remove.push(stated);
            } else {
                change.add.push(known(dirs, item, arch)?);
            }
        }
        ensure!(
            change != Change { label: word.into(), ..Change::default() },
            "`{word}` names no fragment and no symbol\nhint: see cargo bloomery cost --help"
        );
        Ok(change)
    }

    /// The same with a value for each symbol: one that is off is turned on, and any other off.
    fn settled(&self, base: &Config) -> Change {
        let settle = |(symbol, value): &(String, Option<Value>)| {
            let is_on = base.get(symbol).is_some_and(|value| *value != Value::No);
            (symbol.clone(), Some(value.clone().unwrap_or(if is_on { Value::No } else { Value::Yes })))
        };
        Change { symbols: self.symbols.iter().map(settle).collect(), ..self.clone() }
    }

    /// The name of its profile.
    fn name(&self, profile: &str) -> String {
        if self.label.is_empty() {
            return format!("{profile}-as-it-is");
        }
        let letters = self.label.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
        let words: String = letters.take(40).collect();
        // Two changes differ in their names also where they begin alike.
        format!("{profile}-{}-{}", words.to_lowercase().trim_matches('-'), &digest::text(&self.label)[..8])
    }

    /// The text of its profile: a kernel alone, without the limits of an image.
    fn profile(&self, profile: &Profile, own: &Path) -> String {
        let quote = |text: &str| toml::Value::from(text).to_string();
        let list = |names: &[String]| names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
        let file = profile.files.first().map_or(String::new(), |file| file.display().to_string());
        let mut add = self.add.clone();
        if !self.symbols.is_empty() {
            add.push(own.display().to_string());
        }
        let mut text = format!("extends = {}\n", quote(&file));
        if !add.is_empty() || !self.remove.is_empty() {
            text +=
                &format!("\n[kernel]\nfragments = {{ add = [{}], remove = [{}] }}\n", list(&add), list(&self.remove));
        }
        // A limit needs an image that it is for.
        let limited = profile.outputs.iter().position(|output| output.kind.bootable_image(output).is_some());
        let limited = limited.filter(|_| profile.budget.image.is_some());
        if limited.is_some() {
            text += "\n[budget]\nimage = \"1 TiB\"\n";
        }
        for (at, output) in profile.outputs.iter().enumerate() {
            if limited != Some(at) {
                text += &format!("\n[[output]]\nname = {}\nenabled = false\n", quote(&output.name));
            }
        }
        text + "\n[[output]]\nname = \"cost\"\nkind = \"kernel\"\n"
    }

    /// The fragment of its symbols.
    fn fragment(&self) -> String {
        let lines = self.symbols.iter().map(|(symbol, value)| value.as_ref().unwrap_or(&Value::Yes).line(symbol));
        lines.fold("# What they cost is asked for.\n".into(), |text, line| text + &line + "\n")
    }
}

/// A fragment's name as a profile elsewhere states it.
fn known(dirs: &Dirs, name: &str, arch: Arch) -> Result<String> {
    let plain = name.replace(OF_ARCH, arch.name());
    if ["config", "list"].iter().any(|suffix| dirs.root.join(format!("image/kernel/{plain}.{suffix}")).is_file()) {
        return Ok(plain);
    }
    let path: PathBuf = std::path::absolute(&plain)?;
    if !path.is_file() {
        let hint = "name a file of image/kernel/ without `.config`, the path of one, or a symbol such as CONFIG_IGB";
        return Err(wrong(&format!("there is no kernel fragment `{name}`"), hint));
    }
    Ok(path.display().to_string())
}

/// A kernel that was built.
struct Kernel {
    /// The file that firmware starts: packed.
    packed: u64,
    sections: Sections,
    /// The final configuration, as Kconfig wrote it.
    config: String,
}

/// Sizes of `vmlinux` as size(1) has them: code with constants, initialised data, and memory that is zero at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sections {
    text: u64,
    data: u64,
    bss: u64,
}

/// Builds the kernel with a change. None where the build failed, which has said why.
fn measure(context: &Context, arch: Arch, change: &Change, profile: &Profile) -> Result<Option<Kernel>> {
    let dirs = &context.dirs;
    let name = change.name(&profile.name);
    let dir = dirs.target.join("bloomery/cost");
    let (file, own) = (dir.join(format!("{name}.toml")), dir.join(format!("{name}.config")));
    if !change.symbols.is_empty() {
        tree::write_atomically(&own, change.fragment().as_bytes())?;
    }
    // Written anew, it makes cargo look again, though nothing else changed: the outputs of the last time are gone.
    tree::write_atomically(&file, change.profile(profile, &own).as_bytes())?;
    let built = context.profile(&file.display().to_string())?;
    if build::cargo(context, &[arch], &[file.display().to_string()])? != ExitCode::SUCCESS {
        return Ok(None);
    }
    let kernel = read(dirs, arch, &built)?;
    // The store has them; what lies beside images is for images.
    let out = dirs.output(arch);
    for file in built.outputs.iter().flat_map(|output| output.files()).filter(|file| out.join(file).is_file()) {
        fs::remove_file(out.join(file))?;
    }
    fs::remove_dir_all(out.join(outputs::directory(&built)))?;
    Ok(Some(kernel))
}

fn read(dirs: &Dirs, arch: Arch, profile: &Profile) -> Result<Kernel> {
    let out = dirs.output(arch);
    let plain = outputs::kernel(profile).with_context(|| format!("{} leaves no kernel", profile.name))?;
    let efi = out.join(format!("{plain}.efi"));
    let packed = if efi.is_file() { efi } else { out.join(&plain) };
    let config = fs::read_to_string(out.join(format!("{plain}.config")))?;
    // A kernel with something inside it is linked anew for its profile.
    let linked = store::last(dirs, &format!("link-{}-{arch}", profile.name))?;
    let result = match linked {
        Some(entry) => entry,
        None => store::last(dirs, &format!("kernel-{}-{arch}", profile.kernel.variant))?
            .with_context(|| format!("the store has no kernel of {}", profile.name))?,
    };
    let size = Cmd::new(dirs.target.join("bloomery/toolchain/bin/llvm-size"));
    let sizes = size.arg(result.out().join("debug/vmlinux")).read("read the kernel's sections")?;
    Ok(Kernel { packed: fs::metadata(packed)?.len(), sections: sections(&sizes)?, config })
}

/// The table of size(1) for one file: names of columns, then numbers.
fn sections(table: &str) -> Result<Sections> {
    let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    let number = |at: usize| row.get(at).and_then(|word| word.parse().ok());
    let sections = || Some(Sections { text: number(0)?, data: number(1)?, bss: number(2)? });
    sections().with_context(|| format!("llvm-size prints no table: {table}"))
}

/// The kernel as it is, a row for each change, and the symbols that each turns.
fn table(profile: &str, arch: Arch, base: &Kernel, rows: &[(Change, Kernel)]) -> String {
    let Sections { text, data, bss } = base.sections;
    let numbers = |numbers: [String; 4]| numbers.map(|number| format!("{number:>12}")).concat();
    let width = rows.iter().map(|(change, _)| change.label.len()).chain([profile.len()]).max().unwrap_or(0);
    let mut table = format!("the kernel of {profile} for {arch}, in bytes\n\n{:width$}", "");
    table += &numbers(["packed", "text", "data", "bss"].map(String::from));
    table += &format!("  symbols\n{profile:width$}{}\n", numbers([base.packed, text, data, bss].map(grouped)));
    let mut symbols = String::new();
    for (change, kernel) in rows {
        let now = kernel.sections;
        let differences = [
            difference(base.packed, kernel.packed),
            difference(text, now.text),
            difference(data, now.data),
            difference(bss, now.bss),
        ];
        let turned = turned(&base.config, &kernel.config);
        table += &format!("{:width$}{}  {}\n", change.label, numbers(differences), turned.len());
        symbols += &format!("\n{}\n", change.label);
        turned.iter().for_each(|line| symbols += &format!("  {line}\n"));
    }
    table + &symbols
}

/// The symbols that are on in one of two configurations alone, or have another value, as lines.
fn turned(old: &str, new: &str) -> Vec<String> {
    let difference = kconfig::diff(old, new);
    let is_on = |(_, value): &&(String, Value)| *value != Value::No;
    let added = difference.added.iter().filter(is_on).map(|(symbol, value)| format!("+{}", value.line(symbol)));
    let removed = difference.removed.iter().filter(is_on).map(|(symbol, value)| format!("-{}", value.line(symbol)));
    let changed = difference.changed.iter().map(|(symbol, old, new)| match (old, new) {
        (Value::No, new) => format!("+{}", new.line(symbol)),
        (old, Value::No) => format!("-{}", old.line(symbol)),
        (old, new) => format!(" CONFIG_{symbol}: {old}, now {new}"),
    });
    let mut lines: Vec<String> = added.chain(removed).chain(changed).collect();
    lines.sort_by(|a, b| a[1..].cmp(&b[1..]));
    lines
}

fn difference(old: u64, new: u64) -> String {
    let sign = if new < old { "-" } else { "+" };
    format!("{sign}{}", grouped(old.abs_diff(new)))
}

/// A number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appliance() -> (Dirs, Profile) {
        let dirs = Dirs::find().unwrap();
        let profile = Profile::read(&dirs, "appliance").unwrap();
        (dirs, profile)
    }

    fn parse(word: &str) -> Result<Change> {
        let (dirs, profile) = appliance();
        Change::parse(&dirs, &profile, Arch::X86_64, word)
    }

    #[test]
    fn a_fragment_of_the_profile_is_left_out_and_another_one_added() {
        let change = parse("watchdog,hardware-intel,vm-x86_64,CONFIG_IGB,CONFIG_NR_CPUS=64").unwrap();
        assert_eq!(
            (&change.add[..], &change.remove[..]),
            (&["hardware-intel".into()][..], &["watchdog".into(), "vm-{arch}".into()][..])
        );
        let base = Config::parse("CONFIG_IGB=y\nCONFIG_NR_CPUS=16\n");
        let settled = change.settled(&base);
        assert_eq!(settled.fragment(), "# What they cost is asked for.\n# CONFIG_IGB is not set\nCONFIG_NR_CPUS=64\n");
        let other = parse("CONFIG_IGC").unwrap().settled(&Config::parse("# CONFIG_IGC is not set\n"));
        assert!(other.fragment().ends_with("\nCONFIG_IGC=y\n"));
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        let error = parse("hardwar").unwrap_err().to_string();
        assert!(error.contains("`hardwar`") && error.contains("hint:"), "{error}");
        assert!(parse(",").is_err());
    }

    #[test]
    fn a_change_is_a_profile_that_can_be_read() {
        let (dirs, profile) = appliance();
        let dir = tempfile::tempdir().unwrap();
        let change = parse("watchdog,hardware-intel,CONFIG_IGB=n").unwrap();
        let (file, own) =
            (dir.path().join(format!("{}.toml", change.name("appliance"))), dir.path().join("own.config"));
        fs::write(&own, change.fragment()).unwrap();
        fs::write(&file, change.profile(&profile, &own)).unwrap();
        let changed = Profile::read(&dirs, &file.display().to_string()).unwrap();
        let names: Vec<&str> = changed.kernel.fragments.iter().map(|fragment| fragment.name.as_str()).collect();
        assert!(
            names.contains(&"hardware-intel") && names.contains(&"vm") && !names.contains(&"watchdog"),
            "{names:?}"
        );
        assert_eq!(names.last().map(|name| Path::new(name).is_file()), Some(true));
        assert_eq!(changed.outputs.len(), 2, "an image with a limit, and the kernel");
        // The kernel as it is belongs to the profile's variant, so it is not compiled again.
        fs::write(&file, Change::default().profile(&profile, &own)).unwrap();
        assert_eq!(Profile::read(&dirs, &file.display().to_string()).unwrap().kernel.variant, "appliance");
    }

    #[test]
    fn groups_come_with_their_architectures_parts() {
        let names = ["a", "a-arm64", "a-x86_64", "b"].map(String::from);
        assert_eq!(with_parts(&names, Arch::X86_64), ["a,a-x86_64", "b"]);
        let (dirs, profile) = appliance();
        let groups = groups(&dirs, &profile, Arch::Arm64).unwrap();
        assert!(groups.contains(&"hardware-power,hardware-power-arm64".into()), "{groups:?}");
        for group in groups {
            Change::parse(&dirs, &profile, Arch::Arm64, &group).unwrap();
        }
    }

    #[test]
    fn a_table_has_differences_and_the_symbols_that_turn() {
        let kernel = |packed, config: &str| Kernel {
            packed,
            sections: sections("   text\t   data\t    bss\n 5000000\t 300\t 40\t 5000340\t 4c4cd4\tvmlinux\n").unwrap(),
            config: config.into(),
        };
        let base = kernel(3_000_000, "CONFIG_A=y\nCONFIG_N=1\n# CONFIG_B is not set\nCONFIG_OLD=y\n");
        let more = kernel(3_012_288, "CONFIG_A=y\nCONFIG_N=2\nCONFIG_B=y\n# CONFIG_C is not set\n");
        let change = Change { label: "b".into(), ..Change::default() };
        let text = table("mine", Arch::X86_64, &base, &[(change, more)]);
        for line in [
            "mine   3,000,000   5,000,000         300          40",
            "b        +12,288          +0          +0          +0  3",
            "  +CONFIG_B=y\n   CONFIG_N: 1, now 2\n  -CONFIG_OLD=y\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(sections("error").is_err());
    }
}
