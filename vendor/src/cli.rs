//! The command line of the sources: its arguments for clap, and its commands.
//!
//! The program `vendor` is this module; a program with more commands can take [`Arguments`] as one of its own.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use build_support::Dirs;

use crate::{Signature, Source, Sources, faults};

/// The variables that change the commands, as the end of a help text.
pub const VARIABLES: &str = "\
Variables:
  BLOOMERY_MIRROR  a directory or http(s) address with the archives, asked before any other origin
  BLOOMERY_HOME    the store";

/// What the command line asks for.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// Use these pins instead of the project's
    #[arg(long, value_name = "FILE")]
    pub sources: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(clap::Subcommand, Clone, Debug, PartialEq)]
pub enum Command {
    /// Show what is pinned, what is in the store, and where it came from
    List,
    /// Show what is known to be wrong in them, its effect, and what helps
    Faults {
        /// Sources to show; default: all
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Fetch archives that are not in the store
    Fetch {
        /// Sources to fetch; default: all
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Fetch, and unpack for reading below vendor/upstream/ (builds do this by themselves)
    Unpack {
        /// Sources to unpack; default: all
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Hash the archives in the store again
    Verify {
        /// Also ask gpg about upstream's signatures
        #[arg(long)]
        signatures: bool,
        /// Sources to verify; default: all
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Pin the newest version in Debian's index, or the given one (needs apt and dpkg)
    Update {
        /// The source to pin
        name: String,
        /// The version to pin, also an older one
        version: Option<String>,
    },
    /// Write a mirror with which a machine without network builds everything
    Export {
        /// Where to write it
        dir: PathBuf,
    },
}

/// Does what the command line asks for, and prints to standard output.
///
/// # Errors
///
/// When the pins cannot be read, or when a command fails. Commands for several sources try them all, and the error
/// has every failure.
pub fn run(arguments: &Arguments) -> Result<()> {
    let dirs = Dirs::find()?;
    let sources = match &arguments.sources {
        Some(file) => Sources::read(file)?,
        None => Sources::pinned()?.clone(),
    };
    match &arguments.command {
        Command::List => list(&dirs, &sources),
        Command::Faults { names } => each(&sources, names, |source| say(&faults_of(source)?)),
        Command::Fetch { names } => each(&sources, names, |source| source.fetch(&dirs).map(drop)),
        Command::Unpack { names } => {
            each(&sources, names, |source| say(&format!("{}\n", source.unpack(&dirs)?.display())))
        }
        Command::Verify { signatures, names } => verify(&dirs, &sources, names, *signatures),
        Command::Update { name, version } => {
            let pins = arguments.sources.clone().unwrap_or_else(|| dirs.root.join("vendor/sources.toml"));
            say(&crate::update(&dirs, &pins, name, version.as_deref())?)
        }
        Command::Export { dir } => say(&format!("\n{}", crate::export(&dirs, &sources, dir)?)),
    }
}

/// Does something with the named sources, or with all. All are tried; the failures are told together at the end.
fn each(sources: &Sources, names: &[String], mut act: impl FnMut(&Source) -> Result<()>) -> Result<()> {
    let chosen: Vec<&Source> = match names {
        [] => sources.iter().collect(),
        names => names.iter().map(|name| sources.get(name)).collect::<Result<_>>()?,
    };
    let failures: Vec<String> =
        chosen.into_iter().filter_map(|source| act(source).err()).map(|e| format!("{e:#}")).collect();
    if failures.is_empty() { Ok(()) } else { bail!(failures.join("\nerror: ")) }
}

fn list(dirs: &Dirs, sources: &Sources) -> Result<()> {
    let mut rows = vec![["NAME", "VERSION", "LICENCE", "SIZE", "STORE", "ORIGIN USED"].map(String::from)];
    for source in sources.iter() {
        let archive = source.present(dirs);
        let size =
            archive.as_ref().map(|archive| archive.size).or(source.origins().next().and_then(|origin| origin.size()));
        let state = match (&archive, source.unpacked(dirs)) {
            (Some(_), Some(_)) => "archive, tree",
            (Some(_), None) => "archive",
            (None, Some(_)) => "tree",
            (None, None) => "-",
        };
        rows.push([
            source.name().to_string(),
            source.version().to_string(),
            source.license().to_string(),
            size.map_or(String::new(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6)),
            state.to_string(),
            archive.map_or(String::from("-"), |archive| archive.record.to_string()),
        ]);
    }
    let count = faults::known()?.len();
    say(&format!("{}{count} faults of these are known; `faults` in place of `list` shows them\n", table(&rows)))
}

fn faults_of(source: &Source) -> Result<String> {
    let known = faults::known()?.iter();
    Ok(known.filter(|fault| fault.source == source.name()).map(faults::Fault::text).collect())
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let line: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn verify(dirs: &Dirs, sources: &Sources, names: &[String], signatures: bool) -> Result<()> {
    each(sources, names, |source| {
        let Some(archive) = source.verify(dirs)? else {
            return say(&format!("{}: not in the store\n", source.name()));
        };
        say(&format!("{}: {} is the pinned archive\n", source.name(), archive.path.display()))?;
        if !signatures {
            return Ok(());
        }
        match source.verify_signature(dirs)? {
            Signature::Good(key) => say(&format!("{}: signed by {key}\n", source.name())),
            Signature::Skipped(reason) => say(&format!("{}: signature not checked: {reason}\n", source.name())),
        }
    })
}

/// Prints to standard output; a reader that has gone (`| head`) is no failure.
fn say(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot print"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn words(text: &str) -> Result<Arguments, clap::Error> {
        let words = std::iter::once("vendor").chain(text.split_whitespace());
        Program::try_parse_from(words).map(|program| program.arguments)
    }

    #[test]
    fn the_command_line_is_understood() {
        Program::command().debug_assert();
        let arguments = words("--sources x.toml fetch musl llvm").unwrap();
        assert_eq!(arguments.sources, Some("x.toml".into()));
        assert_eq!(arguments.command, Command::Fetch { names: vec!["musl".into(), "llvm".into()] });
        assert_eq!(
            words("verify --signatures").unwrap().command,
            Command::Verify { signatures: true, names: Vec::new() }
        );
        for wrong in ["", "--frobnicate", "list --sources", "fetch --signatures", "list musl", "update", "export"] {
            assert!(words(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_misspelt_command_gets_the_one_that_was_meant() {
        let error = words("fetsh musl").unwrap_err().to_string();
        assert!(error.contains("'fetch'"), "{error}");
    }

    #[test]
    fn columns_line_up() {
        let row = |a: &str, b: &str| [a.to_string(), b.to_string()];
        assert_eq!(table(&[row("A", "B"), row("long", "")]), "A     B\nlong\n");
    }
}
