//! Builds the compiler and the target libraries, in the order of the bootstrap (docs/bootstrap.md).
//! Leaves `store/toolchain-<host>-<key>/out`; `target/bloomery/toolchain` is a link to it.

use std::process::ExitCode;

use build_support::preflight::{self, HostClang};
use build_support::{Arch, Dirs, Result, cargo, fs, report, tree};

mod recipes;

use recipes::target::{self, Compiler};
use recipes::{allocator, llvm, prefix};

fn main() -> ExitCode {
    report::run(build)
}

fn build() -> Result<()> {
    if cargo::skips() {
        cargo::say_skipped();
        return export("", "", "");
    }
    let dirs = Dirs::find()?;
    let host = Arch::host()?;
    preflight::check_tools()?;
    let first = HostClang::find()?;

    let own = target::build(&dirs, host, &Compiler::host(&first))?;
    let malloc = allocator::build(&dirs, &first, &own)?;
    let llvm = llvm::build(&dirs, &first, &own, &malloc)?;

    let mut targets = vec![own];
    for other in Arch::ALL.into_iter().filter(|arch| *arch != host) {
        targets.push(target::build(&dirs, other, &Compiler::own(&llvm))?);
    }
    let built = prefix::build(&dirs, &llvm, &targets)?;

    let link = dirs.target.join("bloomery/toolchain");
    fs::create_dir_all(dirs.target.join("bloomery"))?;
    tree::link(&built.dir, &link)?;
    cargo::rerun_if_changed(&["build.rs", "recipes", "driver"])?;
    println!("cargo:rerun-if-changed={}", built.dir.join("bin/llvm").display());
    export(&built.dir.to_string_lossy(), &built.digest, &llvm.digest)
}

/// Writes the constants of `src/lib.rs`.
fn export(dir: &str, digest: &str, llvm_digest: &str) -> Result<()> {
    let out = std::env::var("OUT_DIR")?;
    let text = format!(
        "/// Where the toolchain lies.\npub const DIR: &str = {dir:?};\n\
         /// The digest of what it holds.\npub const DIGEST: &str = {digest:?};\n\
         /// The digest of LLVM alone.\npub const LLVM_DIGEST: &str = {llvm_digest:?};\n"
    );
    Ok(fs::write(format!("{out}/paths.rs"), text)?)
}
