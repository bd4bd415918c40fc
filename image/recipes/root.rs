//! The root file system: the skeleton, busybox, init, the compiler and the profile's own files in one tree.

use build_support::{Arch, Built, Dirs, Result, Stage, anyhow, fs};
use disk::oci::Layer;
use disk::{Tree, tar};

use super::outputs;
use super::profile::Profile;

/// A root file system, and the part of it that rarely changes.
pub struct Root {
    /// All of it.
    pub tree: Tree,
    /// The compiler's part, compressed once.
    pub compiler: Option<CompilerLayer>,
}

/// The compiler's part of a root file system.
pub struct CompilerLayer {
    /// Its tree.
    pub tree: Tree,
    /// Where its files come from.
    toolchain: Built,
    /// `layer.tar.zst`, and a layer of an OCI image below `oci/`.
    pub packed: Built,
}

/// Empty directories, most of them mount points: path and mode.
const DIRS: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr/local/bin", 0o755),
    ("var/lib", 0o755), // init keeps the clock and a seed for random numbers there.
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// Links: path and target. All programs are in one directory, whatever path they are called by.
const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("sbin", "usr/bin"),
    ("usr/sbin", "bin"),
    ("var/run", "/run"),
    ("etc/mtab", "/proc/self/mounts"),
    // The DHCP client writes name servers; /run is writable even when the root file system is not.
    ("etc/resolv.conf", "/run/resolv.conf"),
];

/// Puts the tree together.
pub fn assemble(dirs: &Dirs, arch: Arch, profile: &Profile, init: &Built, packages: &[Built]) -> Result<Root> {
    let mut tree = Tree::new();
    for (path, mode) in DIRS {
        tree.dir(path, *mode, "skeleton")?;
    }
    for (path, target) in LINKS {
        tree.link(path, target, "skeleton")?;
    }
    tree.dir("usr/lib", 0o755, "skeleton")?;
    tree.merge(sysroot::skeleton(), "", "skeleton")?;
    tree.chmod("etc/shadow", 0o600)?;
    tree.bytes("etc/hostname", format!("{}\n", profile.hostname), 0o644, "profile")?;
    tree.bytes("etc/os-release", os_release(profile), 0o644, "profile")?;
    if profile.has("busybox") {
        let (dir, _) = sysroot::busybox(arch.name()).ok_or_else(|| anyhow!("busybox was not built for {arch}"))?;
        tree.merge(&dir.join("bin"), "usr/bin", "busybox")?;
    }
    if profile.has("init") {
        tree.merge(&init.dir.join("sbin"), "usr/bin", "init")?;
    }
    let compiler = if profile.has("toolchain") { Some(pack_compiler(dirs, arch)?) } else { None };
    if let Some(compiler) = &compiler {
        lay_compiler(&mut tree, arch, &compiler.toolchain)?;
    }
    for package in packages {
        tree.merge(&package.dir, "", &package.stage)?;
    }
    lay_inittab(&mut tree, arch, profile)?;
    for files in &profile.files {
        tree.merge(&profile.path(files), "", "profile")?;
    }
    Ok(Root { tree, compiler })
}

/// The compiler's part as a layer, compressed once for all profiles.
fn pack_compiler(dirs: &Dirs, arch: Arch) -> Result<CompilerLayer> {
    let toolchain = toolchain::on_board(dirs, arch)?;
    let mut tree = Tree::new();
    lay_compiler(&mut tree, arch, &toolchain)?;
    let stage = Stage::new(dirs, "root-compiler", arch).recipe("root.rs", include_str!("root.rs"));
    let packed = outputs::writers(stage, dirs)?.needs(&toolchain).build(|job| {
        // 19 is zstd's highest level that needs no more memory to unpack than the default.
        tar::layer_zst(&tree, &job.out.join("layer.tar.zst"), 19, false)?;
        Layer::write(&tree, &job.out.join("oci"), 9).map(drop)
    })?;
    Ok(CompilerLayer { tree, toolchain, packed })
}

/// The toolchain as it lies on board: the board's own target at the root, the others below `/usr/<triple>`.
fn lay_compiler(tree: &mut Tree, arch: Arch, toolchain: &Built) -> Result<()> {
    tree.merge(&toolchain.dir.join("bin"), "usr/bin", "toolchain")?;
    tree.merge(&toolchain.dir.join("lib"), "usr/lib", "toolchain")?;
    for target in Arch::ALL {
        let triple = target.short_triple();
        let at = if target == arch { "usr".into() } else { format!("usr/{triple}/usr") };
        tree.merge(&toolchain::sysroot(toolchain, target).join("usr"), &at, "toolchain")?;
        if target == arch {
            // On board this target's sysroot is the root file system.
            let config = "# There are static libraries only.\n-static\n";
            tree.bytes(&format!("usr/bin/{}.cfg", target.triple()), config, 0o644, "toolchain")?;
        }
    }
    Ok(())
}

/// The skeleton's inittab with the architecture's serial console, and the profile's lines.
fn lay_inittab(tree: &mut Tree, arch: Arch, profile: &Profile) -> Result<()> {
    let text = fs::read_to_string(sysroot::skeleton().join("etc/inittab"))?;
    let mut text = text.replace("@SERIAL@", arch.serial_console());
    if !profile.inittab.is_empty() {
        text += &format!("\n# Of the profile {}.\n{}\n", profile.name, profile.inittab.join("\n"));
    }
    tree.bytes("etc/inittab", text, 0o644, "skeleton")
}

/// os-release(5).
fn os_release(profile: &Profile) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let Profile { name, description, .. } = profile;
    format!(
        "NAME=Bloomery\nID=bloomery\nVERSION_ID={version}\nVARIANT_ID={name}\n\
         VARIANT=\"{description}\"\nPRETTY_NAME=\"Bloomery {version} ({name})\"\n",
    )
}
