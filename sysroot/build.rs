//! Builds the user land of every wanted architecture with the toolchain.

use std::process::ExitCode;

use build_support::{Arch, Built, Dirs, Result, cargo, fs, report, vars};

mod recipes;

fn main() -> ExitCode {
    report::run(build)
}

fn build() -> Result<()> {
    if cargo::skips() {
        cargo::say_skipped();
        return export(&[]);
    }
    let dirs = Dirs::find()?;
    let mut built = Vec::new();
    for arch in vars::archs()? {
        built.push((arch, recipes::busybox::build(&dirs, arch)?));
    }
    cargo::rerun_if_changed(&["build.rs", "recipes", "busybox"])?;
    export(&built)
}

/// Writes the table of `src/lib.rs`.
fn export(built: &[(Arch, Built)]) -> Result<()> {
    let rows = built.iter().map(|(arch, it)| {
        println!("cargo:rerun-if-changed={}", it.dir.join("bin/busybox").display());
        format!("    ({:?}, {:?}, {:?}),\n", arch.name(), it.dir, it.digest)
    });
    let rows: String = rows.collect();
    let text = format!(
        "/// Architecture, directory and digest of busybox.\nconst BUSYBOX: &[(&str, &str, &str)] = &[\n{rows}];\n"
    );
    let out = std::env::var("OUT_DIR")?;
    Ok(fs::write(format!("{out}/paths.rs"), text)?)
}
