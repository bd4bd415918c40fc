//! What build systems expect beside the libraries: start files for every way to link a program, libraries under the names
//! that GCC's have, and clear errors for what a static system has not.

use build_support::tools::Compile;
use build_support::{Arch, Built, Dirs, Job, Places, Result, Stage, fs, places, tree};

use super::target::{Compiler, Target, lay_sysroot};

/// The inputs, which lie in `driver/`.
const CRT1: &str = include_str!("../driver/crt1.c");
const REFUSAL: &str = include_str!("../driver/refusal.S");
const CONFIG_SITE: &str = include_str!("../driver/config.site");

/// Other names of libraries in the sysroot.
const SYSROOT_NAMES: &[(&str, &str)] = &[
    // GCC's unwinder, by the two names under which its driver links it.
    ("libgcc_eh.a", "libunwind.a"),
    ("libgcc_s.a", "libunwind.a"),
    // clang++ turns -lstdc++ into -lc++ itself; others do not.
    ("libstdc++.a", "libc++.a"),
    ("libsupc++.a", "libc++abi.a"),
];

/// Other names of compiler-rt's builtins, beside which they lie.
const BUILTINS_NAMES: &[&str] = &["libgcc.a", "libatomic.a"];

/// Libraries of GCC whose functions are musl's own (`__stack_chk_fail`) or are called on other architectures only.
const EMPTY: &[&str] = &["libssp.a", "libssp_nonshared.a"];

/// What a shared library would need.
const SHARED: (&str, &str) = (
    "__program_starts",
    "shared libraries are not supported: there is no dynamic loader (configure with --disable-shared)",
);

/// Runtimes of compiler-rt that cannot work: they find the C library's functions, which they replace, by the dynamic
/// loader. The archive's name as clang asks for it, and what to call it. clang links whole archives, and of SafeStack's
/// the member that has `__safestack_init`.
const REFUSED: &[(&str, &str)] = &[
    ("asan", "AddressSanitizer"),
    ("hwasan", "HWAddressSanitizer"),
    ("lsan", "LeakSanitizer"),
    ("tsan", "ThreadSanitizer"),
    ("msan", "MemorySanitizer"),
    ("dfsan", "DataFlowSanitizer"),
    ("rtsan", "RealtimeSanitizer"),
    ("nsan", "NumericalStabilitySanitizer"),
    ("tysan", "TypeSanitizer"),
    ("memprof", "the heap profiler (-fmemory-profile)"),
    ("safestack", "SafeStack"),
];

/// Archives that clang links beside those.
const BESIDE_REFUSED: &[&str] = &["asan_cxx", "asan_static", "hwasan_cxx", "tsan_cxx", "msan_cxx", "memprof_cxx"];

/// An archive without members (ar(5)).
const EMPTY_ARCHIVE: &[u8] = b"!<arch>\n";

/// Leaves `sysroot` and `resource`, which are laid over musl's files and compiler-rt's.
pub fn build(dirs: &Dirs, compiler: &Compiler, target: &Target) -> Result<Built> {
    let clang = compiler.path("clang")?;
    let compile = |places: &Places| Compile::new(&clang, target.arch, &flags(compiler, target.arch, places));
    Stage::new(dirs, "compat", target.arch)
        .recipe("compat.rs", include_str!("compat.rs"))
        .recipe("target.rs", include_str!("target.rs"))
        .input("compile", &places::lines(&compile(&Places::named())?.args))
        .input("crt1.c", CRT1)
        .input("refusal.S", REFUSAL)
        .input("config.site", CONFIG_SITE)
        .tool("clang", &compiler.version)
        .needs(&target.musl)
        .build(|job| {
            lay_sysroot(job, &[&target.musl])?;
            compiler.lay_resource(job, &[])?;
            job.dir("objects")?;
            let maker = Maker { job, compiler, compile: compile(&Places::of(job, &job.work))? };
            fs::create_dir_all(maker.resource(target.arch))?;
            fs::create_dir_all(maker.lib())?;
            maker.start_files()?;
            maker.names(target.arch)?;
            maker.runtimes(target.arch)?;
            tree::write_atomically(&job.out.join("sysroot/usr/share/config.site"), CONFIG_SITE.as_bytes())
        })
}

fn flags(compiler: &Compiler, arch: Arch, places: &Places) -> Vec<String> {
    let mut flags = compiler.flags(arch, places);
    flags.extend(
        [
            "-Os",
            // It runs before the C library can: no calls of it, no canary, nothing to unwind to.
            "-ffreestanding",
            "-fno-stack-protector",
            "-fno-asynchronous-unwind-tables",
            "-c",
        ]
        .map(String::from),
    );
    flags
}

/// What the steps share.
struct Maker<'a> {
    job: &'a Job<'a>,
    compiler: &'a Compiler,
    compile: Compile,
}

impl Maker<'_> {
    fn lib(&self) -> std::path::PathBuf {
        self.job.out.join("sysroot/usr/lib")
    }

    fn resource(&self, arch: Arch) -> std::path::PathBuf {
        self.job.out.join("resource/lib").join(arch.triple())
    }

    /// Compiles a text; returns the object's path.
    fn object(&self, name: &str, suffix: &str, text: &str, defines: &[String]) -> Result<std::path::PathBuf> {
        let (source, object) =
            (self.job.work.join(format!("{name}.{suffix}")), self.job.work.join(format!("objects/{name}.o")));
        fs::write(&source, text)?;
        self.compile.cmd(self.job).args(defines).arg(&source).arg("-o").arg(&object).run(&format!("compile {name}"))?;
        Ok(object)
    }

    /// The files that a link begins with; one kind serves all. musl's libc.a learns to refuse shared libraries.
    fn start_files(&self) -> Result<()> {
        let (lib, musl) = (self.lib(), self.job.work.join("sysroot/usr/lib"));
        fs::copy(self.object("crt1", "c", CRT1, &[])?, lib.join("crt1.o"))?;
        for name in ["rcrt1.o", "Scrt1.o"] {
            tree::link("crt1.o", &lib.join(name))?;
        }
        let (needed, message) = SHARED;
        let needs = self.object("needs-a-program", "S", REFUSAL, &defines(needed, message, None))?;
        self.job
            .cmd(self.compiler.path("ld.lld")?)
            .args(["-r", "-o"])
            .arg(lib.join("crti.o"))
            .arg(musl.join("crti.o"))
            .arg(needs)
            .run("link crti.o")?;
        fs::copy(musl.join("libc.a"), lib.join("libc.a"))?;
        self.refusal("shared-library", needed, message, &lib.join("libc.a"))
    }

    /// Adds to an archive what stops the link.
    fn refusal(&self, name: &str, needed: &str, message: &str, archive: &std::path::Path) -> Result<()> {
        let parts = ["FIRST", "SECOND"]
            .map(|part| self.object(&format!("{name}-{part}"), "S", REFUSAL, &defines(needed, message, Some(part))));
        let [first, second] = parts;
        self.job
            .cmd(self.compiler.path("llvm-ar")?)
            .arg("qcsD") // q: at the end; D: no times and no users.
            .arg(archive)
            .args([first?, second?])
            .run(&format!("add to {}", archive.display()))
    }

    fn names(&self, arch: Arch) -> Result<()> {
        for (name, library) in SYSROOT_NAMES {
            tree::link(library, &self.lib().join(name))?;
        }
        for name in BUILTINS_NAMES {
            tree::link("libclang_rt.builtins.a", &self.resource(arch).join(name))?;
        }
        EMPTY.iter().try_for_each(|name| Ok(fs::write(self.lib().join(name), EMPTY_ARCHIVE)?))
    }

    fn runtimes(&self, arch: Arch) -> Result<()> {
        let archive = |name: &str| self.resource(arch).join(format!("libclang_rt.{name}.a"));
        for (name, title) in REFUSED {
            let message = format!("{title} is not supported: it needs a dynamic loader");
            self.refusal(name, &format!("__{name}_init"), &message, &archive(name))?;
        }
        BESIDE_REFUSED.iter().try_for_each(|name| Ok(fs::write(archive(name), EMPTY_ARCHIVE)?))
    }
}

/// The macros of `refusal.S`.
fn defines(needed: &str, message: &str, part: Option<&str>) -> Vec<String> {
    let part = part.map(|part| format!("-D{part}"));
    part.into_iter().chain([format!("-DNEEDED={needed}"), format!("-DMESSAGE=\"{message}\"")]).collect()
}
