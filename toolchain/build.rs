//! Builds the compiler and the target libraries, in the order of the bootstrap (docs/bootstrap.md).
//! Leaves `store/toolchain-<host>-<key>/out`; `target/bloomery/toolchain` is a link to it.

use std::process::ExitCode;

use build_support::preflight::{self, HostClang};
use build_support::{Arch, Built, Dirs, Result, cargo, fs, report, tree};

mod recipes;

use recipes::prefix::Complete;
use recipes::target::{self, Compiler};
use recipes::{allocator, compression, llvm, prefix};

fn main() -> ExitCode {
    report::run(build)
}

fn build() -> Result<()> {
    if cargo::skips() {
        cargo::say_skipped();
        return export(&[]);
    }
    let dirs = Dirs::find()?;
    let host = Arch::host()?;
    preflight::check_tools()?;
    let first = HostClang::find()?;

    let compiler = Compiler::host(&first);
    let own = target::build(&dirs, host, &compiler)?;
    let malloc = allocator::build(&dirs, &compiler, &own)?;
    let compression = compression::build(&dirs, &compiler, &own)?;
    let llvm = llvm::build(&dirs, &compiler, &own, &malloc, &compression, None)?;

    let compiler = Compiler::own(&llvm);
    let mut targets = vec![Complete::build(&dirs, own, &compiler)?];
    for other in Arch::ALL.into_iter().filter(|arch| *arch != host) {
        targets.push(Complete::build(&dirs, target::build(&dirs, other, &compiler)?, &compiler)?);
    }
    let built = prefix::build(&dirs, host, &llvm, &targets)?;

    let link = dirs.target.join("bloomery/toolchain");
    fs::create_dir_all(dirs.target.join("bloomery"))?;
    tree::link(&built.dir, &link)?;
    cargo::rerun_if_changed(&["build.rs", "recipes", "driver"])?;
    println!("cargo:rerun-if-changed={}", built.dir.join("bin/llvm").display());
    export(&targets.iter().flat_map(Complete::parts).chain([&llvm, &built]).collect::<Vec<_>>())
}

/// Writes the table of `src/lib.rs`.
fn export(results: &[&Built]) -> Result<()> {
    let rows =
        results.iter().map(|Built { stage, key, dir, digest }| format!("    {:?},\n", (stage, key, dir, digest)));
    let rows: String = rows.collect();
    let text = format!(
        "/// Stage, key, directory and digest of every result.\nconst RESULTS: &[(&str, &str, &str, &str)] = &[\n{rows}];\n"
    );
    Ok(fs::write(format!("{}/results.rs", std::env::var("OUT_DIR")?), text)?)
}
