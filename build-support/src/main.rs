//! `cargo run -p build-support -- store ...`: the same as `cargo bloomery store ...`, for those who know this name, and
//! without what the larger program is compiled from.

use std::process::ExitCode;

use build_support::{Dirs, Result, bail, inspect, report, store};

const HELP: &str = "\
A look into the store of stage results. `cargo bloomery store` is the same.

Usage: cargo run -p build-support -- store COMMAND

Commands:
  list          every result: size, age, what it took, whether the last build used it
  why STAGE     what changed since the last result of a stage (musl, kernel, ...)
  verify        compares every result with the digest taken when it was built
  gc [--dry-run]
                removes results that the last build of their stage did not use, the work
                directories of interrupted builds, and unpacked sources (archives stay)
  path          where the store is
";

fn main() -> ExitCode {
    report::run(run)
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let dirs = Dirs::find()?;
    match words.as_slice() {
        ["store", "list"] => inspect::print(&inspect::list(&dirs)?),
        ["store", "why", stage] => inspect::print(&store::why(&dirs, stage)?),
        ["store", "verify"] => inspect::print(&inspect::verify(&dirs)?),
        ["store", "gc"] => inspect::collect(&dirs, false),
        ["store", "gc", "--dry-run"] => inspect::collect(&dirs, true),
        ["store", "path"] => inspect::print(&format!("{}\n", dirs.home.display())),
        [] | ["--help" | "-h" | "help", ..] | ["store", "--help" | "-h"] => inspect::print(HELP),
        _ => bail!("`{}` is no command\nhint: cargo run -p build-support -- --help", words.join(" ")),
    }
}
