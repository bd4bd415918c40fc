//! `completion`: what a shell completes after `cargo bloomery`.

use std::process::ExitCode;

use build_support::Result;
use build_support::inspect::print;
use clap::{Command, CommandFactory as _, ValueEnum};
use clap_complete::{Shell, generate};

use crate::Cli;

/// Write a shell's completion of these commands to standard output
#[derive(clap::Args)]
#[command(
    after_help = "bash:  cargo bloomery completion bash >~/.local/share/bash-completion/completions/bloomery, and source it\n\
                        zsh:   cargo bloomery completion zsh >DIR/_cargo-bloomery, for a DIR of $fpath\n\
                        fish:  cargo bloomery completion fish >~/.config/fish/completions/cargo-bloomery.fish"
)]
pub struct Args {
    shell: Name,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Bash,
    Zsh,
    Fish,
}

/// Cargo has completions of its own, which go on working for its other commands. The function is the one that rustup and
/// cargo install.
const BASH: &str = r#"
_bloomery_after_cargo() {
    if [[ ${COMP_WORDS[1]} == bloomery && $COMP_CWORD -gt 1 ]]; then
        COMP_WORDS=("${COMP_WORDS[@]:1}")
        COMP_CWORD=$((COMP_CWORD - 1))
        _bloomery bloomery "$2" "$3"
    elif declare -F _cargo >/dev/null; then
        _cargo "$@"
    fi
}
complete -F _bloomery_after_cargo -o bashdefault -o default cargo
"#;

/// Prints the script.
pub fn run(args: &Args) -> Result<ExitCode> {
    print(&script(args.shell))?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Name) -> String {
    match shell {
        Name::Bash => text(Shell::Bash, Cli::command(), "bloomery") + BASH,
        // Cargo's own completion calls a function of this name.
        Name::Zsh => text(Shell::Zsh, Cli::command(), "cargo-bloomery"),
        // Fish adds up what is stated for one command.
        Name::Fish => text(Shell::Fish, Command::new("cargo").subcommand(Cli::command()), "cargo"),
    }
}

fn text(shell: Shell, mut command: Command, name: &str) -> String {
    let mut bytes = Vec::new();
    generate(shell, &mut command, name, &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
