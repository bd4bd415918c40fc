//! The kernel's headers for programs.

use build_support::{Arch, Built, Dirs, Places, Result, Stage, places};

/// Leaves `usr/include`.
pub fn build(dirs: &Dirs, arch: Arch) -> Result<Built> {
    let linux = vendor::source("linux")?;
    Stage::new(dirs, "linux-headers", arch)
        .recipe("headers.rs", include_str!("headers.rs"))
        .input("make", &places::lines(&arguments(arch, &Places::named())))
        .source("linux", &linux.id())
        .build(|job| {
            job.dir("build")?;
            let places = Places::of(job, &linux.unpack(dirs)?);
            job.make().args(arguments(arch, &places)).run("install the kernel's headers")
        })
}

fn arguments(arch: Arch, places: &Places) -> Vec<String> {
    vec![
        "-C".into(),
        places.source.clone(),
        format!("O={}/build", places.work),
        format!("ARCH={}", arch.linux()),
        format!("INSTALL_HDR_PATH={}/usr", places.out),
        "headers_install".into(),
    ]
}
