//! zlib and zstd, static, for LLVM alone: it reads and writes compressed debug sections with them.

use build_support::tools::Compile;
use build_support::{Built, Dirs, Places, Result, Stage, fs, places};

use super::target::{Compiler, Target, lay_sysroot};

/// Leaves `include` and `lib` of each library.
pub fn build(dirs: &Dirs, compiler: &Compiler, target: &Target) -> Result<Vec<Built>> {
    Ok(vec![zlib(dirs, compiler, target)?, zstd(dirs, compiler, target)?])
}

/// The parts of zlib that work on memory. Those that read and write files (`gz*.c`) are not LLVM's, and need a configured
/// header.
const ZLIB: &[&str] = &[
    "adler32", "compress", "crc32", "deflate", "infback", "inffast", "inflate", "inftrees", "trees", "uncompr", "zutil",
];

/// Compiled file by file: upstream's CMake project wants a directory that Debian leaves out of the archive.
fn zlib(dirs: &Dirs, compiler: &Compiler, target: &Target) -> Result<Built> {
    let zlib = vendor::source("zlib")?;
    let clang = compiler.path("clang")?;
    let compile = |places: &Places| {
        let mut flags = compiler.flags(target.arch, places);
        flags.extend(["-O2".into(), "-c".into()]);
        Compile::new(&clang, target.arch, &flags)
    };
    Stage::new(dirs, "zlib", target.arch)
        .recipe("compression.rs", include_str!("compression.rs"))
        .input("compile", &places::lines(&compile(&Places::named())?.args))
        .source("zlib", &zlib.id())
        .tool("clang", &compiler.version)
        .needs(&target.musl)
        .build(|job| {
            lay_sysroot(job, &[&target.musl])?;
            compiler.lay_resource(job, &[])?;
            let (source, objects) = (zlib.unpack(dirs)?, job.dir("objects")?);
            let compile = compile(&Places::of(job, &source))?;
            for name in ZLIB {
                let (input, object) = (source.join(format!("{name}.c")), objects.join(format!("{name}.o")));
                compile.cmd(job).arg(input).arg("-o").arg(object).run("compile zlib")?;
            }
            let (include, lib) = (job.out.join("include"), job.out.join("lib"));
            fs::create_dir_all(&include)?;
            fs::create_dir_all(&lib)?;
            for name in ["zlib.h", "zconf.h"] {
                fs::copy(source.join(name), include.join(name))?;
            }
            job.cmd(compiler.path("llvm-ar")?)
                .arg("rcsD") // D: no times and no users.
                .arg(lib.join("libz.a"))
                .args(ZLIB.iter().map(|name| objects.join(format!("{name}.o"))))
                .run("archive zlib")
        })
}

const ZSTD: &[&str] = &[
    "ZSTD_BUILD_SHARED=OFF",
    "ZSTD_BUILD_PROGRAMS=OFF",
    "ZSTD_BUILD_TESTS=OFF",
    "ZSTD_BUILD_DICTBUILDER=OFF",
    // Formats from before 1.0, which no debug section has.
    "ZSTD_LEGACY_SUPPORT=OFF",
    // lld compresses with threads of its own.
    "ZSTD_MULTITHREAD_SUPPORT=OFF",
];

fn zstd(dirs: &Dirs, compiler: &Compiler, target: &Target) -> Result<Built> {
    let zstd = vendor::source("zstd")?;
    let definitions = |compiler: &Compiler, places: &Places| -> Result<Vec<String>> {
        let mut definitions = compiler.cmake(target.arch, places)?;
        definitions.push(format!("CMAKE_INSTALL_PREFIX={}", places.out));
        definitions.extend(ZSTD.iter().map(|option| option.to_string()));
        Ok(definitions)
    };
    Stage::new(dirs, "zstd", target.arch)
        .recipe("compression.rs", include_str!("compression.rs"))
        .input("cmake", &places::lines(&definitions(&compiler.named(), &Places::named())?))
        .source("zstd", &zstd.id())
        .tool("clang", &compiler.version)
        .needs(&target.musl)
        .build(|job| {
            lay_sysroot(job, &[&target.musl])?;
            compiler.lay_resource(job, &[])?;
            let source = zstd.unpack(dirs)?;
            job.cmake(source.join("build/cmake"))
                .define(definitions(compiler, &Places::of(job, &source))?)
                .run("build zstd")
        })
}
