//! `bisect`: the symbols that a kernel lacks. Each kernel that is tried is of a profile that extends the one in question, so it is built
//! and kept as any other. Leaves these profiles in `target/bloomery/bisect`, and results in the store.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use build_support::inspect::print;
use build_support::kconfig::{Config, Fragment, Merged};
use build_support::{Arch, Cmd, Context as _, Result, bail, digest, ensure, fs, store, tree};
use system::{Profile, outputs};

use crate::context::{Context, arch, linux};
use crate::usage::{say, wrong};
use crate::{build, gdb, kbuild};

/// Find the symbols that a profile's kernel needs for a test to pass
///
/// SCRIPT fails with the profile's kernel and passes when the settings of CONFIG are added. The command builds kernels with ever fewer
/// of them, and prints those without which SCRIPT fails. It runs with PROFILE (a TOML file for ./run.sh --profile), ARCH and KERNEL (the
/// kernel's file) in its environment, from the checkout's root; status 0 means that it passes. More settings must not make it fail.
#[derive(clap::Args)]
pub struct Args {
    /// A name from image/profiles/, or the path of your own TOML file
    #[arg(value_name = "PROFILE")]
    profile: String,
    /// x86_64 or arm64
    #[arg(value_name = "ARCH")]
    arch: String,
    /// A fragment of image/kernel/, or the path of a fragment or of a whole configuration
    #[arg(long, value_name = "CONFIG")]
    good: String,
    /// The program that tells whether a kernel will do
    #[arg(long, value_name = "SCRIPT")]
    test: PathBuf,
}

/// Searches, and prints the settings.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let arch = arch(&args.arch)?;
    let name = context.profile_name(&args.profile)?;
    let profile = context.profile(&name)?;
    profile.check_arch(arch)?;
    let script = std::path::absolute(&args.test)?;
    ensure!(script.is_file(), "there is no program {}", script.display());
    let code = build::cargo(context, &[arch], std::slice::from_ref(&name))?;
    if code != ExitCode::SUCCESS {
        return Ok(code);
    }
    let config = fs::read_to_string(context.dirs.output(arch).join(format!("{}.config", gdb::kernel(&profile)?)))?;
    let good = good(context, &args.good)?;
    let settings = missing(&good, &config);
    let mut trial = Trial::new(context, arch, &profile, script, settings)?;
    say(&format!("{} settings of {} are not in the kernel of {}", trial.settings.len(), args.good, profile.name));
    let found = minimal(trial.settings.len(), &mut |chosen| trial.passes(chosen))?;
    let lines: String = found.iter().map(|at| format!("{}\n", trial.settings[*at])).collect();
    say(&format!(
        "{} kernels were tried; the test passes with these settings and fails without any of them",
        trial.known.len()
    ));
    print(&lines)?;
    Ok(ExitCode::SUCCESS)
}

fn good(context: &Context, name: &str) -> Result<Fragment> {
    let known = context.dirs.root.join(format!("image/kernel/{name}.config"));
    let path = if known.is_file() { known } else { std::path::absolute(name)? };
    if !path.is_file() {
        let hint = "name a file of image/kernel/ without `.config`, or the path of one";
        return Err(wrong(&format!("there is no configuration `{name}`"), hint));
    }
    Fragment::read(&path)
}

/// The settings of a fragment that a configuration does not have, as lines. A symbol that is off there and not known here is off here.
fn missing(good: &Fragment, config: &str) -> Vec<String> {
    let merged = Merged::new(std::slice::from_ref(good)).seed();
    let config = Config::parse(config);
    let has = |line: &str| {
        let one = Config::parse(line);
        let symbol = symbol(line);
        match (symbol.and_then(|symbol| one.get(symbol)), symbol.and_then(|symbol| config.get(symbol))) {
            (Some(asked), Some(made)) => asked == made,
            (Some(_), None) => line.starts_with('#'),
            (None, _) => true,
        }
    };
    merged.lines().filter(|line| !line.trim().is_empty() && !has(line)).map(String::from).collect()
}

fn symbol(line: &str) -> Option<&str> {
    let words = line.trim_start_matches("# ").strip_prefix("CONFIG_")?;
    words.split(['=', ' ']).next()
}

/// The smallest choice among `count` settings that passes, when more settings never make it fail. The settings of a choice are numbers
/// from 0, in no order.
///
/// # Errors
/// Nothing to find: everything fails, or nothing is needed; and what a trial meets.
fn minimal(count: usize, passes: &mut dyn FnMut(&[usize]) -> Result<bool>) -> Result<Vec<usize>> {
    let first = |number: usize| (0..number).collect::<Vec<usize>>();
    ensure!(
        passes(&first(count))?,
        "the test fails even with all settings\nhint: does it pass with a kernel that has them?"
    );
    let mut needed = Vec::new();
    // Those below `rest` are still to be searched: with all of them and the needed ones it passes.
    let mut rest = count;
    while !passes(&needed)? {
        ensure!(
            rest > 0,
            "the test passes with more settings and fails with fewer, and then not: it does not decide by them alone"
        );
        // The shortest beginning that passes ends with a setting that is needed.
        let (mut fails, mut works) = (0, rest);
        while works - fails > 1 {
            let middle = fails + (works - fails) / 2;
            if passes(&[&needed[..], &first(middle)].concat())? { works = middle } else { fails = middle }
        }
        needed.push(works - 1);
        rest = works - 1;
    }
    ensure!(!needed.is_empty(), "the test passes with the kernel as it is: nothing is needed");
    needed.sort_unstable();
    Ok(needed)
}

/// Kernels with some of the settings.
struct Trial<'a> {
    context: &'a Context,
    arch: Arch,
    /// The profile's file.
    base: String,
    /// The name of the profile that extends it.
    name: String,
    script: PathBuf,
    settings: Vec<String>,
    source: PathBuf,
    /// What the kernel is asked for without them.
    seed: String,
    /// Whether the test passes, by the digest of the configuration.
    known: BTreeMap<String, bool>,
}

impl<'a> Trial<'a> {
    fn new(
        context: &'a Context,
        arch: Arch,
        profile: &Profile,
        script: PathBuf,
        settings: Vec<String>,
    ) -> Result<Trial<'a>> {
        let stage = format!("kernel-{}-{arch}", profile.kernel.variant);
        let built =
            store::last(&context.dirs, &stage)?.with_context(|| format!("the store has no result of {stage}"))?;
        let manifest = fs::read_to_string(built.dir.join("manifest"))?;
        let asked = manifest.lines().filter_map(|line| line.strip_prefix("input config = "));
        let base = profile.files.first().context("a profile has a file")?.display().to_string();
        Ok(Trial {
            context,
            arch,
            base,
            name: format!("{}-bisect", profile.name),
            script,
            settings,
            source: linux(&context.dirs, profile)?,
            seed: asked.map(|line| format!("{line}\n")).collect(),
            known: BTreeMap::new(),
        })
    }

    /// Whether the test passes with some of the settings. Two choices with one configuration are tried once.
    fn passes(&mut self, chosen: &[usize]) -> Result<bool> {
        let lines: Vec<&str> = chosen.iter().map(|at| self.settings[*at].as_str()).collect();
        let config = self.configure(&lines)?;
        let key = digest::text(&config);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        // Kconfig drops what depends on a setting that is not chosen.
        let made: Vec<&str> = config.lines().collect();
        let kept: Vec<&str> = lines.into_iter().filter(|line| made.contains(line)).collect();
        say(&format!("trying {} of {} settings", kept.len(), self.settings.len()));
        let passes = self.test(&kept)?;
        say(if passes { "the test passes" } else { "the test fails" });
        self.known.insert(key, passes);
        Ok(passes)
    }

    /// The configuration that Kconfig makes, as the build makes it.
    fn configure(&self, lines: &[&str]) -> Result<String> {
        let dirs = &self.context.dirs;
        let build = dirs.target.join(format!("bloomery/bisect/{}-{}", self.name, self.arch));
        fs::create_dir_all(&build)?;
        let seed = build.join("seed.config");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&seed, format!("{}{text}", self.seed))?;
        let make = Cmd::new("make").args(kbuild::words(dirs, self.arch, &self.source, &build)?);
        make.arg("allnoconfig").env("KCONFIG_ALLCONFIG", &seed).read("configure the kernel")?;
        Ok(fs::read_to_string(build.join(".config"))?)
    }

    fn test(&self, lines: &[&str]) -> Result<bool> {
        let dirs = &self.context.dirs;
        let dir = dirs.target.join("bloomery/bisect");
        let (file, fragment) = (dir.join(format!("{}.toml", self.name)), dir.join(format!("{}.config", self.name)));
        let settings: String = lines.iter().map(|line| format!("{line}\n")).collect();
        tree::write_atomically(&fragment, format!("# Whether they are needed is asked.\n{settings}").as_bytes())?;
        tree::write_atomically(&file, profile(&self.base, &fragment, lines.is_empty()).as_bytes())?;
        let name = file.display().to_string();
        if build::cargo(self.context, &[self.arch], std::slice::from_ref(&name))? != ExitCode::SUCCESS {
            bail!("the kernel with {} settings cannot be built; see {}", lines.len(), fragment.display());
        }
        let built = self.context.profile(&name)?;
        let kernel = dirs.output(self.arch).join(outputs::kernel(&built).context("the profile leaves no kernel")?);
        let mut command = Command::new(&self.script);
        command.env("PROFILE", &file).env("ARCH", self.arch.name()).env("KERNEL", kernel).current_dir(&dirs.root);
        // Standard output is for the answer.
        let output = Stdio::from(std::io::stderr().as_fd().try_clone_to_owned()?);
        let status = command.stdin(Stdio::null()).stdout(output).status();
        Ok(status.with_context(|| format!("cannot start {}", self.script.display()))?.success())
    }
}

/// The text of a profile with further settings. Without any it is as it was, and shares its kernel.
fn profile(base: &str, fragment: &Path, is_empty: bool) -> String {
    let quote = |text: &str| toml::Value::from(text).to_string();
    let mut text = format!("extends = {}\n", quote(base));
    if !is_empty {
        text += &format!("\n[kernel]\nfragments = {{ add = [{}] }}\n", quote(&fragment.display().to_string()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds what a test needs, with the number of trials.
    fn search(count: usize, needs: &[usize]) -> (Result<Vec<usize>>, usize) {
        let mut trials = 0;
        let found = minimal(count, &mut |chosen| {
            trials += 1;
            Ok(needs.iter().all(|need| chosen.contains(need)))
        });
        (found, trials)
    }

    #[test]
    fn the_needed_settings_are_found_wherever_they_are() {
        for needs in [&[0][..], &[99], &[50], &[3, 4], &[0, 99], &[7, 31, 32, 80]] {
            let (found, trials) = search(100, needs);
            assert_eq!(found.unwrap(), needs);
            // For each one seven steps and the question whether it is enough, and two questions before.
            assert!(trials <= 2 + 8 * needs.len(), "{trials} for {needs:?}");
        }
        assert_eq!(search(1, &[0]).0.unwrap(), [0]);
    }

    #[test]
    fn what_cannot_be_found_is_said() {
        let error = |needs| search(4, needs).0.unwrap_err().to_string();
        assert!(error(&[4]).contains("even with all settings"));
        assert!(error(&[]).contains("nothing is needed"));
    }

    #[test]
    fn a_setting_that_the_kernel_has_is_no_candidate() {
        let text = "# Why.\nCONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_N=2\n# CONFIG_D is not set\n";
        let good = Fragment::parse(Path::new("good"), text).unwrap();
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\nCONFIG_N=1\n";
        let mut lines = missing(&good, config);
        lines.sort();
        assert_eq!(lines, ["# CONFIG_C is not set", "CONFIG_B=y", "CONFIG_N=2"]);
    }

    #[test]
    fn a_profile_without_settings_is_as_it_was() {
        assert_eq!(profile("/a/lab.toml", Path::new("/b.config"), true), "extends = \"/a/lab.toml\"\n");
        let text = profile("/a/lab.toml", Path::new("/b.config"), false);
        assert!(text.ends_with("fragments = { add = [\"/b.config\"] }\n"), "{text}");
    }
}
