//! The compiler on board, with the layer that is compressed once for all profiles.

use build_support::{Arch, Built, Dirs, Result, Stage};
use disk::oci::Layer;
use disk::{Tree, tar};
use system::outputs::{self, RootLayer};

/// Adds the compiler, and returns its part as a layer.
pub fn add(dirs: &Dirs, arch: Arch, tree: &mut Tree) -> Result<RootLayer> {
    let toolchain = toolchain::on_board(dirs, arch)?;
    let mut own = Tree::new();
    lay_out(&mut own, arch, &toolchain)?;
    let stage =
        Stage::new(dirs, "root", arch).instance("compiler").recipe("root/compiler.rs", include_str!("compiler.rs"));
    let packed = outputs::writers(stage, dirs)?.needs(&toolchain).build(|job| {
        // 19 is zstd's highest level that needs no more memory to unpack than the default.
        tar::layer_zst(&own, &job.out.join("layer.tar.zst"), 19, false)?;
        Layer::write(&own, &job.out.join("oci"), 9).map(drop)
    })?;
    lay_out(tree, arch, &toolchain)?;
    Ok(RootLayer { tree: own, packed })
}

/// The toolchain as it lies on board: the board's own target at the root, the others below `/usr/<triple>`.
fn lay_out(tree: &mut Tree, arch: Arch, toolchain: &Built) -> Result<()> {
    tree.merge_plain(&toolchain.dir.join("bin"), "usr/bin", "toolchain")?;
    tree.merge_plain(&toolchain.dir.join("lib"), "usr/lib", "toolchain")?;
    for target in Arch::ALL {
        let triple = target.short_triple();
        let at = if target == arch { "usr".into() } else { format!("usr/{triple}/usr") };
        tree.merge_plain(&toolchain::sysroot(toolchain, target).join("usr"), &at, "toolchain")?;
        if target == arch {
            // On board this target's sysroot is the root file system.
            let path = format!("usr/bin/{}.cfg", target.triple());
            tree.bytes(&path, toolchain::board_config(), 0o644, "toolchain")?;
        }
    }
    Ok(())
}
