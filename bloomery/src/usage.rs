//! What a person is told who typed something wrong: what is wrong, and a hint what to do.

use std::fmt;
use std::process::ExitCode;

use anyhow::Error;
use build_support::report as text;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The exit status for a command line that cannot be understood.
const USAGE: u8 = 2;

/// A fault of the command line.
#[derive(Debug)]
struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// A fault of the command line, which ends the program with status 2.
pub fn wrong(what: &str, hint: &str) -> Error {
    Error::new(Wrong(format!("{what}\nhint: {hint}")))
}

/// A value that an option does not take.
#[derive(Debug)]
pub struct BadValue {
    /// What is wrong with it, where that is not plain to see.
    pub why: Option<&'static str>,
    /// One that it takes.
    pub example: &'static str,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.why.unwrap_or("it has another form"))
    }
}

impl std::error::Error for BadValue {}

/// Tells the user, on standard error. Standard output belongs to the answer, or to the guest.
pub fn say(line: &str) {
    eprintln!("bloomery: {line}");
}

/// Prints an error, and returns the status that it ends the program with.
pub fn report(error: &Error) -> ExitCode {
    say(&text::text(error));
    ExitCode::from(if error.is::<Wrong>() { USAGE } else { 1 })
}

/// Prints help, or what clap found wrong.
pub fn explain(error: &clap::Error) -> ExitCode {
    use ErrorKind as Kind;
    if matches!(error.kind(), Kind::DisplayHelp | Kind::DisplayVersion | Kind::DisplayHelpOnMissingArgumentOrSubcommand)
    {
        // A reader that has gone (`| head`) is no failure.
        let _ = error.print();
        return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
    }
    report(&fault(error))
}

fn fault(error: &clap::Error) -> Error {
    let get = |kind| error.get(kind).map(words).filter(|text| !text.is_empty());
    let argument = get(ContextKind::InvalidArg).unwrap_or_default();
    let option = argument.split([' ', '=']).next().unwrap_or_default();
    let meant = |kind| get(kind).map(|word| format!("did you mean `{word}`?"));
    let see = || "see --help".to_string();
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => wrong(
            &format!("unknown option {argument}"),
            &meant(ContextKind::SuggestedArg).map_or_else(see, |text| text + " see --help"),
        ),
        ErrorKind::UnknownArgument => wrong(&format!("one argument too many: `{argument}`"), &see()),
        ErrorKind::InvalidSubcommand => {
            let word = get(ContextKind::InvalidSubcommand).unwrap_or_default();
            wrong(
                &format!("there is no command `{word}`"),
                &meant(ContextKind::SuggestedSubcommand).unwrap_or_else(see),
            )
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            value_fault(error, option, get(ContextKind::InvalidValue))
        }
        ErrorKind::ArgumentConflict => {
            let other = get(ContextKind::PriorArg).unwrap_or_default();
            let other = other.split(' ').next().unwrap_or_default();
            wrong(&format!("{option} does not go with {other}"), "leave one of them out")
        }
        ErrorKind::MissingRequiredArgument => wrong(&format!("{argument} is missing"), &see()),
        ErrorKind::MissingSubcommand => wrong("which command?", &see()),
        // clap's own words for what has none here.
        _ => wrong(error.to_string().trim_start_matches("error: ").trim_end(), &see()),
    }
}

fn value_fault(error: &clap::Error, option: &str, value: Option<String>) -> Error {
    let Some(value) = value else {
        return wrong(&format!("{option} needs a value"), "see --help");
    };
    let bad = std::error::Error::source(error).and_then(|source| source.downcast_ref::<BadValue>());
    let known = error.get(ContextKind::ValidValue).map(words);
    let (why, hint) = match (bad, known) {
        (Some(bad), _) => (bad.why, format!("such as {option} {}", bad.example)),
        (None, Some(known)) => (None, format!("use {}", last_by_or(&known))),
        (None, None) => (None, "see --help".into()),
    };
    let why = why.map_or(String::new(), |why| format!(": {why}"));
    wrong(&format!("{option} cannot be `{value}`{why}"), &hint)
}

/// `a, b or c` from `a, b, c`.
fn last_by_or(list: &str) -> String {
    list.rsplit_once(", ").map_or(list.into(), |(first, last)| format!("{first} or {last}"))
}

fn words(value: &ContextValue) -> String {
    match value {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.join(", "),
        other => other.to_string(),
    }
}
