//! What ordinary programs ask of compiler and linker, for every target.

mod common;

use build_support::Arch;
use common::{Place, assert_parts, elf_type};

const HELLO: &str = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";

const ATOMIC_C: &str = r#"#include <stdatomic.h>
#include <stdio.h>
struct large { char bytes[24]; };
_Atomic struct large shared;
int main(void) {
    struct large mine = {{1, 2}};
    atomic_store(&shared, mine);
    mine = atomic_load(&shared);
    struct large next = {{3, 4}};
    _Bool swapped = atomic_compare_exchange_strong(&shared, &mine, next);
    printf("%d %d\n", swapped, atomic_exchange(&shared, mine).bytes[1]);
}
"#;

const ATOMIC_CPP: &str = r#"#include <atomic>
#include <cstdio>
#include <thread>
struct Two { long a, b; };
struct Three { long a, b, c; };
std::atomic<Two> two;
std::atomic<Three> three;
static void count() {
    for (int i = 0; i < 10000; ++i) {
        for (Two old = two.load(); !two.compare_exchange_weak(old, {old.a + 1, old.b - 1});) {}
        for (Three old = three.load(); !three.compare_exchange_weak(old, {old.a + 1, old.b - 1, old.c + 2});) {}
    }
}
int main() {
    std::thread other(count);
    count();
    other.join();
    std::printf("%ld %ld %ld %ld\n", two.load().a, two.load().b, three.load().a, three.load().c);
}
"#;

#[test]
fn objects_of_any_size_are_atomic() {
    let Some(place) = Place::new() else { return };
    let (c, cpp) = (place.file("a.c", ATOMIC_C), place.file("a.cpp", ATOMIC_CPP));
    for arch in Arch::ALL {
        for library in ["", "-latomic"] {
            place.compile("clang", arch, &format!("-O1 -Wno-atomic-alignment {c} {library}"));
            place.prints(arch, "1 4\n");
            place.compile("clang++", arch, &format!("-O1 -Wno-atomic-alignment {cpp} {library}"));
            place.prints(arch, "20000 -20000 20000 40000\n");
        }
    }
}

const LIBRARIES: &[&str] = &["gcc", "gcc_s", "gcc_eh", "atomic", "ssp", "ssp_nonshared", "stdc++", "supc++"];

#[test]
fn the_libraries_of_gcc_are_there_under_their_names() {
    let Some(place) = Place::new() else { return };
    let c = place.file("hello.c", HELLO);
    let throws = "#include <cstdio>\n#include <stdexcept>\n#include <string>\nint main() {\n    try { throw \
                  std::runtime_error(\"thrown\"); } catch (std::exception &error) { std::puts(error.what()); }\n}\n";
    let cpp = place.file("throws.cpp", throws);
    for arch in Arch::ALL {
        for library in LIBRARIES {
            place.compile("clang", arch, &format!("{c} -l{library}"));
            place.prints(arch, "hello\n");
        }
        // As GCC's own driver names them, with none of clang's.
        let own =
            "-nostdlib++ -nodefaultlibs -Wl,--start-group -lstdc++ -lm -lgcc_s -lgcc -lgcc_eh -lc -Wl,--end-group";
        for libraries in [own, "-lstdc++", "-static-libgcc -static-libstdc++"] {
            place.compile("clang++", arch, &format!("{cpp} {libraries}"));
            place.prints(arch, "thrown\n");
        }
        // Code without a C library divides 128-bit numbers by a function of libgcc.
        let bare = place.file("bare.c", "unsigned __int128 a, b; void _start(void) { a = a / b; }\n");
        place.compile("clang", arch, &format!("-nostdlib {bare} -lgcc"));
    }
}

const THREAD: &str = r#"#include <cstdio>
#include <cstring>
#include <thread>
__attribute__((noinline)) static int use(int depth) {
    char room[200 * 1024];
    std::memset(room, depth, sizeof room);
    volatile char *seen = room;
    return depth == 0 ? 0 : use(depth - 1) + seen[1000];
}
int main() {
    std::thread([] { std::printf("%d\n", use(30)); }).join();
}
"#;

#[test]
fn a_thread_has_eight_mebibytes_of_stack() {
    let Some(place) = Place::new() else { return };
    let source = place.file("thread.cpp", THREAD);
    for arch in Arch::ALL {
        place.compile("clang++", arch, &source);
        place.prints(arch, "465\n");
        let header = place.good("readelf", "-lW program");
        let stack = header.lines().find(|line| line.contains("GNU_STACK")).unwrap();
        assert!(stack.contains(" 0x800000 "), "{stack}");
    }
    let llvm = place.good("readelf", &format!("-lW {}", place.bin.join("llvm").display()));
    let stack = llvm.lines().find(|line| line.contains("GNU_STACK")).unwrap();
    assert!(stack.contains(" 0x800000 "), "the compiler's own threads: {stack}");
}

/// A function so deep that a pass of LLVM needs more than 128 KiB of stack.
fn deep(calls: usize) -> String {
    let body: String = (0..calls).map(|i| format!("    if (get({i})) return {i}; out[{i} % 64] = r;\n")).collect();
    format!(
        "volatile int sink; int out[64];\nint get(int i) {{ return sink == i + 1; }}\n\
         int deep(int *p) {{\n    int r = 0; *p = 0;\n{body}    return r; }}\nint main(void) {{ int q; return deep(&q); }}\n"
    )
}

#[test]
fn a_thread_of_the_linker_compiles_a_deep_function() {
    let Some(place) = Place::new() else { return };
    let source = place.file("deep.c", &deep(1000));
    for jobs in ["", "-Wl,--thinlto-jobs=1"] {
        place.compile("clang", Arch::host().unwrap(), &format!("-O2 -flto=thin {source} {jobs}"));
        place.prints(Arch::host().unwrap(), "");
    }
}

#[test]
fn position_independent_programs_run_however_they_are_linked() {
    let Some(place) = Place::new() else { return };
    let c = place.file("hello.c", HELLO);
    // Pointers in data, a constructor, and exceptions.
    let cpp = place.file(
        "all.cpp",
        "#include <iostream>\n#include <map>\n#include <string>\nstatic std::map<std::string, int> table{{\"a\", 1}, \
         {\"b\", 2}};\nstatic const char *names[] = {\"a\", \"b\"};\nint main() {\n    int sum = 0;\n    \
         for (auto name : names) sum += table.at(name);\n    try { sum += table.at(\"c\"); } catch (...) { sum += 10; }\n    \
         std::cout << sum << std::endl;\n}\n",
    );
    for arch in Arch::ALL {
        for (flags, position_independent) in [
            ("", false),
            ("-no-pie -Wno-unused-command-line-argument", false),
            ("-fPIE -Wl,-pie", true),
            ("-fPIE -Wl,-pie -Wl,-z,now -Wl,-z,relro", true),
            ("-fPIE -Wl,--pic-executable", true),
            ("-fPIE -static-pie", true),
            ("-fPIE -static-pie -Wl,-z,pack-relative-relocs", true),
            ("-O2 -flto", false),
        ] {
            place.compile("clang", arch, &format!("{flags} {c}"));
            place.prints(arch, "hello\n");
            assert_eq!(elf_type(&place.path("program")) == 3, position_independent, "{arch} {flags}");
            place.compile("clang++", arch, &format!("{flags} {cpp}"));
            place.prints(arch, "13\n");
        }
    }
}

#[test]
fn a_shared_library_is_refused_by_its_name() {
    let Some(place) = Place::new() else { return };
    let c = place.file("f.c", "int f(void) { return 1; }\n");
    let cpp = place.file("f.cpp", "#include <iostream>\nvoid f() { std::cout << \"f\" << std::endl; }\n");
    for arch in Arch::ALL {
        for (compiler, source) in [("clang", &c), ("clang++", &cpp)] {
            let said = place.run(compiler, &format!("--target={} -fPIC -shared {source} -o f.so", arch.short_triple()));
            assert!(!said.ok && !place.path("f.so").exists(), "{}", said.text);
            assert_parts(&said.text, &["shared libraries are not supported", "--disable-shared"]);
            assert_eq!(said.text.matches("ld.lld: error").count(), 1, "{}", said.text);
        }
        // Somebody with a loader of their own says so.
        place.good("clang", &format!("--target={} -fPIC -shared -nostartfiles {c} -o f.so", arch.short_triple()));
        assert_eq!(elf_type(&place.path("f.so")), 3);
        std::fs::remove_file(place.path("f.so")).unwrap();
    }
}

#[test]
fn the_names_of_a_unix_compiler_work() {
    let Some(place) = Place::new() else { return };
    let host = Arch::host().unwrap();
    let (c, cpp) =
        (place.file("hello.c", HELLO), place.file("hello.cpp", "#include <cstdio>\nint main() { puts(\"hi\"); }\n"));
    for name in ["cc", "gcc", "clang", "c89", "c99", "c17"] {
        place.compile(name, host, &c);
        place.prints(host, "hello\n");
    }
    for name in ["c++", "g++", "clang++"] {
        place.compile(name, host, &cpp);
        place.prints(host, "hi\n");
    }
    let modern = place.file("modern.c", "int main(void) { for (int i = 0; i < 1; i++) {} return 0; }\n");
    place.compile("c99", host, &format!("-pedantic-errors {modern}"));
    let old = place.run("c89", &format!("-pedantic-errors {modern} -o program"));
    assert!(!old.ok && old.text.contains("C99"), "{}", old.text);
    assert_parts(&place.good("gcov", "--version"), &["LLVM"]);
}
