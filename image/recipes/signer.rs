//! The program that signs EFI programs. A cargo of its own compiles it, as a stage: who signs nothing compiles nothing of it.

use build_support::{Arch, Built, Cmd, Dirs, Result, Stage, cargo, digest, fs, host};

/// The package, and its program.
const PACKAGE: &str = "efi-sign";

/// Leaves `efi-sign`, which runs on this machine.
pub fn build(dirs: &Dirs) -> Result<Built> {
    let lock = fs::read_to_string(dirs.root.join("Cargo.lock"))?;
    let source = dirs.root.join(PACKAGE);
    let rustc = Cmd::new("rustc").arg("--version").dir(&dirs.root).read("ask rustc for its version")?;
    Stage::new(dirs, "signer", Arch::host()?)
        .recipe("signer.rs", include_str!("signer.rs"))
        .input("crates", &cargo::locked(&lock, PACKAGE)?)
        .input("src", &digest::tree(&source.join("src"))?)
        .input("Cargo.toml", &fs::read_to_string(source.join("Cargo.toml"))?)
        .tool("rustc", rustc.trim())
        .build(|job| {
            // Not the project's own directory of targets, which the cargo that waits for this has locked.
            let target = job.dir("target")?;
            job.cmd("cargo")
                .dir(&dirs.root)
                .args(["build", "--locked", "--release", "--package", PACKAGE])
                .arg("--target-dir")
                .arg(&target)
                .arg(format!("-j{}", host::jobs()))
                .run("build the signer")?;
            Ok(fs::copy(target.join("release").join(PACKAGE), job.out.join(PACKAGE)).map(drop)?)
        })
}
