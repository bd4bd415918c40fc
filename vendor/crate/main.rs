//! `cargo run -p vendor -- ...`: shows, fetches, verifies, re-pins and exports the sources.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use build_support::Dirs;
use vendor::{Signature, Source, Sources};

const HELP: &str = "\
The sources that Bloomery builds: pinned in vendor/sources.toml, verified before anything is built from them.

usage: cargo run -p vendor -- [--sources FILE] COMMAND

commands:
  list               what is pinned, what is in the store, and where it came from
  fetch [NAME..]     fetch archives that are not in the store (default: all)
  unpack [NAME..]    fetch, and unpack for reading below vendor/src/ (builds do this by themselves)
  verify [--signatures] [NAME..]
                     hash the archives in the store again; with --signatures also ask gpg about upstream's signatures
  update NAME [VERSION]
                     pin the newest version in Debian's index, or the given one
  export DIR         write a mirror with which a machine without network builds everything

options:
  --sources FILE     use these pins instead of the project's
  --help             this text

variables:
  BLOOMERY_MIRROR    a directory or http(s) address with the archives, asked before any other origin
  BLOOMERY_HOME      the store
";

/// What the command line asks for.
struct Asked {
    sources: Option<PathBuf>,
    command: String,
    signatures: bool,
    names: Vec<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Some(asked) = parse(std::env::args().skip(1))? else {
        return say(HELP);
    };
    let dirs = Dirs::find()?;
    let sources = match &asked.sources {
        Some(file) => Sources::read(file)?,
        None => Sources::pinned()?.clone(),
    };
    match (asked.command.as_str(), asked.names.as_slice()) {
        ("list", []) => list(&dirs, &sources),
        ("fetch", names) => each(&sources, names, |source| source.fetch(&dirs).map(drop)),
        ("unpack", names) => each(&sources, names, |source| say(&format!("{}\n", source.unpack(&dirs)?.display()))),
        ("verify", names) => verify(&dirs, &sources, names, asked.signatures),
        ("update", [name]) => say(&vendor::update(&dirs, &pins_file(&dirs, &asked), name, None)?),
        ("update", [name, version]) => say(&vendor::update(&dirs, &pins_file(&dirs, &asked), name, Some(version))?),
        ("export", [dir]) => say(&format!("\n{}", vendor::export(&dirs, &sources, dir.as_ref())?)),
        (command, names) => {
            bail!("cannot understand `{command} {}`\nhint: --help shows the commands", names.join(" "))
        }
    }
}

/// The file that `update` changes.
fn pins_file(dirs: &Dirs, asked: &Asked) -> PathBuf {
    asked.sources.clone().unwrap_or_else(|| dirs.root.join("vendor/sources.toml"))
}

/// Reads the command line; `None`: the help is wanted.
fn parse(args: impl Iterator<Item = String>) -> Result<Option<Asked>> {
    let mut args = args;
    let mut sources = None;
    let mut signatures = false;
    let mut words = Vec::new();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" | "help" => return Ok(None),
            "--sources" => {
                sources = Some(args.next().context("--sources needs a file\nhint: --help shows how")?.into())
            }
            "--signatures" => signatures = true,
            option if option.starts_with('-') => bail!("unknown option `{option}`\nhint: --help shows the options"),
            _ => words.push(arg),
        }
    }
    if words.is_empty() {
        return Ok(None);
    }
    let command = words.remove(0);
    if signatures && command != "verify" {
        bail!("--signatures belongs to `verify`, not to `{command}`\nhint: --help shows the options");
    }
    Ok(Some(Asked { sources, command, signatures, names: words }))
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
    say(&table(&rows))
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
    use super::*;

    fn words(text: &str) -> Result<Option<Asked>> {
        parse(text.split_whitespace().map(String::from))
    }

    #[test]
    fn the_command_line_is_understood() {
        let asked = words("--sources x.toml fetch musl llvm").unwrap().unwrap();
        assert_eq!(asked.sources, Some("x.toml".into()));
        assert_eq!((asked.command.as_str(), asked.names.len()), ("fetch", 2));
        assert!(words("fetch --help").unwrap().is_none() && words("").unwrap().is_none());
        assert!(words("--frobnicate").is_err() && words("list --sources").is_err());
        assert!(words("verify --signatures").unwrap().unwrap().signatures && words("fetch --signatures").is_err());
    }

    #[test]
    fn columns_line_up() {
        let row = |a: &str, b: &str| [a.to_string(), b.to_string()];
        assert_eq!(table(&[row("A", "B"), row("long", "")]), "A     B\nlong\n");
    }
}
