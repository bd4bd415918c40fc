//! The kernel's headers for programs.

use build_support::{Arch, Built, Dirs, Result, Stage};

/// Leaves `usr/include`.
pub fn build(dirs: &Dirs, arch: Arch) -> Result<Built> {
    let linux = vendor::source("linux")?;
    Stage::new(dirs, "linux-headers", arch)
        .recipe("headers.rs", include_str!("headers.rs"))
        .source("linux", &linux.id())
        .build(|job| {
            job.cmd("make")
                .arg("-C")
                .arg(linux.unpack(dirs)?)
                .def("O", job.dir("build")?)
                .def("ARCH", arch.linux())
                .def("INSTALL_HDR_PATH", job.out.join("usr"))
                .arg("headers_install")
                .run("install the kernel's headers")
        })
}
