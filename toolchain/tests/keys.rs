//! LLVM's key has every argument that CMake gets, as it gets it.

use std::path::Path;

use build_support::manifest::Manifest;
use build_support::{Arch, Built, Places, places};
use toolchain::recipes::allocator;
use toolchain::recipes::llvm::{Parts, definitions};
use toolchain::recipes::target::{Compiler, STACK, Target};

fn built(stage: &str) -> Built {
    Built {
        stage: stage.into(),
        key: "0".repeat(16),
        dir: format!("/store/{stage}-0/out").into(),
        digest: "0".repeat(64),
    }
}

fn target() -> Target {
    let [headers, musl, compiler_rt, libcxx] = ["linux-headers", "musl", "compiler-rt", "libcxx"].map(built);
    Target { arch: Arch::X86_64, headers, musl, compiler_rt, libcxx }
}

/// The definitions with real places and with names.
fn both(link: &str, native: Option<&Built>) -> (Vec<String>, Vec<String>) {
    let (target, malloc) = (target(), built("allocator-x86_64"));
    let parts = Parts { target: &target, malloc: &malloc, link, native };
    let compiler = Compiler::own(&built("compiler"));
    let [work, out, source, home] = ["/home/work", "/home/work/result/out", "/home/src/llvm", "/home"].map(Path::new);
    let real = definitions(&parts, &compiler, &Places::at(work, out, source, home)).unwrap();
    let named = definitions(&parts, &compiler.named(), &Places::named()).unwrap();
    (real, named)
}

fn key(definitions: &[String]) -> String {
    let mut manifest = Manifest::default();
    manifest.add("input", "cmake", &places::lines(definitions));
    manifest.key()
}

#[test]
fn every_argument_is_in_the_key_as_it_is_passed() {
    let native = built("llvm-x86_64");
    for native in [None, Some(&native)] {
        let (real, named) = both(allocator::LINK, native);
        let renamed: Vec<String> = real
            .iter()
            .map(|text| {
                text.replace("/home/work", "$WORK")
                    .replace("/home/src/llvm", "$SOURCE")
                    .replace("/store/compiler-0/out/bin", "$COMPILER")
                    .replace("/store/allocator-x86_64-0/out", "$STORE/allocator-x86_64")
                    .replace("/store/llvm-x86_64-0/out", "$STORE/llvm-x86_64")
            })
            .collect();
        assert_eq!(renamed, named);
        assert!(!named.iter().any(|text| text.contains("/home") || text.contains("/store")), "{named:#?}");
    }
}

#[test]
fn a_changed_link_flag_changes_the_key() {
    let (_, named) = both(allocator::LINK, None);
    let link = named.iter().find(|text| text.starts_with("CMAKE_EXE_LINKER_FLAGS=")).unwrap();
    for flag in [allocator::LINK, &format!("-Wl,-z,stack-size={STACK}"), "-Wl,--icf=all", "-static"] {
        assert!(link.contains(flag), "{flag} is not in {link}");
    }
    assert_ne!(key(&named), key(&both("-Wl,--wrap=pthread_join", None).1));
    assert_eq!(key(&named), key(&both(allocator::LINK, None).1));
}
