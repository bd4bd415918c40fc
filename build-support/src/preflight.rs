//! Checks before hours of compiling: programs, headers, disk and memory, all gaps in one message.

use anyhow::{Result, bail};

use crate::{Cmd, Dirs, host, vars};

pub use crate::host_clang::HostClang;

/// A program that the build needs, and the Debian package that has it.
pub struct Tool {
    /// Names that will do, the preferred one first. None for what [`HostClang`] finds by its version.
    pub names: &'static [&'static str],
    /// The Debian package.
    pub package: &'static str,
    /// What it is for.
    pub purpose: &'static str,
}

/// Every program that a build needs. setup.sh installs these packages (a test compares the two lists).
pub const TOOLS: &[Tool] = &[
    Tool { names: &[], package: "clang-22", purpose: "first compiler" },
    Tool { names: &[], package: "lld-22", purpose: "first linker" },
    Tool { names: &[], package: "llvm-22", purpose: "first binutils" },
    Tool { names: &["cc"], package: "gcc", purpose: "links Rust programs and builds the kernel's tools" },
    Tool { names: &["cmake"], package: "cmake", purpose: "configures LLVM" },
    Tool { names: &["ninja"], package: "ninja-build", purpose: "builds LLVM" },
    Tool { names: &["make"], package: "make", purpose: "builds musl, busybox and the kernel" },
    Tool { names: &["flex"], package: "flex", purpose: "kernel configuration" },
    Tool { names: &["bison"], package: "bison", purpose: "kernel configuration" },
    Tool { names: &["bc"], package: "bc", purpose: "kernel build" },
    Tool { names: &["perl"], package: "perl", purpose: "kernel build" },
    Tool { names: &["python3"], package: "python3", purpose: "LLVM build" },
    Tool { names: &["rsync"], package: "rsync", purpose: "kernel headers" },
    Tool { names: &["cpio"], package: "cpio", purpose: "kernel build" },
    Tool { names: &["tar"], package: "tar", purpose: "unpacks sources" },
    Tool { names: &["xz"], package: "xz-utils", purpose: "unpacks sources" },
    Tool { names: &["bzip2"], package: "bzip2", purpose: "unpacks sources" },
    Tool { names: &["zstd"], package: "zstd", purpose: "compresses the kernel" },
    Tool { names: &["curl"], package: "curl", purpose: "downloads sources" },
    Tool { names: &["mke2fs"], package: "e2fsprogs", purpose: "makes the root file system" },
    Tool { names: &["debugfs"], package: "e2fsprogs", purpose: "fills the root file system" },
    Tool { names: &["qemu-img"], package: "qemu-utils", purpose: "converts the disk" },
];

/// Headers of the host that the kernel's own tools need.
pub const HEADERS: &[(&str, &str)] = &[("libelf.h", "libelf-dev"), ("openssl/evp.h", "libssl-dev")];

/// Free disk below which a build of LLVM does not start: work tree, sources and results take about 8 GB.
const DISK: u64 = 10 << 30;
/// Memory below which it does not start: two compilers and the link take about 3 GB.
const MEMORY: u64 = 3 << 30;

/// Checks programs and headers, all at once.
///
/// # Errors
/// When something is missing: each gap with its package, and how to get a first compiler when there is none.
pub fn check_tools() -> Result<()> {
    let mut gaps = missing_tools(TOOLS);
    let clang = HostClang::find();
    if let Ok(clang) = &clang {
        gaps.extend(missing_headers(clang)?);
    }
    let Err(error) = clang else { return report(&gaps) };
    match report(&gaps) {
        Ok(()) => Err(error),
        Err(others) => Err(error.context(others)),
    }
}

fn report(gaps: &[(&str, String)]) -> Result<()> {
    if gaps.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = gaps.iter().map(|(package, _)| *package).collect();
    packages.sort();
    packages.dedup();
    let list: Vec<String> = gaps.iter().map(|(_, gap)| format!("  {gap}")).collect();
    bail!("this machine lacks:\n{}\nhint: run ./setup.sh, or install {}", list.join("\n"), packages.join(" "));
}

/// Checks that there is room for a build of LLVM.
pub fn check_room(dirs: &Dirs) -> Result<()> {
    room(host::free_disk(&dirs.home)?, host::available_memory()?)
}

/// Checks disk and memory, both in bytes.
fn room(disk: u64, memory: u64) -> Result<()> {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    if disk < DISK {
        bail!(
            "the store's disk has {:.1} GiB free, and a build needs {:.0}\nhint: free some space, or point {} at a larger disk",
            gib(disk),
            gib(DISK),
            vars::HOME
        );
    }
    if memory < MEMORY {
        bail!(
            "{:.1} GiB of memory are available, and a build needs {:.0}\nhint: close other programs, or use a larger machine",
            gib(memory),
            gib(MEMORY)
        );
    }
    Ok(())
}

fn missing_tools(tools: &'static [Tool]) -> Vec<(&'static str, String)> {
    let named = tools.iter().filter(|tool| !tool.names.is_empty());
    let missing = named.filter(|tool| tool.names.iter().all(|name| host::find_program(name).is_none()));
    missing
        .map(|tool| (tool.package, format!("{} ({}; package {})", tool.names.join(" or "), tool.purpose, tool.package)))
        .collect()
}

/// The compiler knows its include path better than any list of directories.
fn missing_headers(clang: &HostClang) -> Result<Vec<(&'static str, String)>> {
    let mut missing = Vec::new();
    for (header, package) in HEADERS {
        let checks = Cmd::new(clang.program("clang")?)
            .args(["-E", "-x", "c", "-include", header, "/dev/null", "-o", "/dev/null"])
            .run("look for a header");
        if checks.is_err() {
            missing.push((*package, format!("<{header}> (header; package {package})")));
        }
    }
    Ok(missing)
}

/// Whether ccache shall be used.
pub fn ccache() -> Option<std::path::PathBuf> {
    vars::on(vars::CCACHE, true).then(|| host::find_program("ccache"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: &[Tool] = &[
        Tool { names: &["absent-one"], package: "one", purpose: "a test" },
        Tool { names: &["sh"], package: "dash", purpose: "a shell" },
        Tool { names: &["absent-two", "absent-three"], package: "two", purpose: "a test" },
    ];

    #[test]
    fn every_missing_tool_is_named_with_its_package() {
        let gaps = missing_tools(ABSENT);
        let packages: Vec<&str> = gaps.iter().map(|gap| gap.0).collect();
        assert_eq!(packages, ["one", "two"]);
        assert!(gaps[1].1.contains("absent-two or absent-three"), "{}", gaps[1].1);
    }

    #[test]
    fn too_little_room_is_refused() {
        assert!(room(DISK, MEMORY).is_ok());
        let disk = room(1 << 30, MEMORY).unwrap_err().to_string();
        assert!(disk.contains("1.0 GiB free") && disk.contains("BLOOMERY_HOME"), "{disk}");
        assert!(room(DISK, 1 << 30).unwrap_err().to_string().contains("memory"));
    }
}
