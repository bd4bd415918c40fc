//! Programs that the compiler instruments: those whose runtime is there work, the others get a clear error.

mod common;

use build_support::Arch;
use common::{Place, assert_parts};

const OVERFLOWS: &str = r#"#include <limits.h>
#include <signal.h>
#include <stdio.h>
static volatile sig_atomic_t got;
static void take(int number) { got = number; }
int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = take};
    if (sigaction(SIGUSR1, &action, 0) != 0) return 1;
    raise(SIGUSR1);
    int x = INT_MAX;
    x += argc;
    printf("%d %d\n", got == SIGUSR1, x < 0);
}
"#;

#[test]
fn undefined_behaviour_is_told() {
    let Some(place) = Place::new() else { return };
    let source = place.file("overflows.c", OVERFLOWS);
    for arch in Arch::ALL {
        for (flags, message) in [
            ("-fsanitize=undefined", "overflows.c:11:7: runtime error: signed integer overflow"),
            ("-fsanitize=undefined -fsanitize-minimal-runtime", "ubsan: add-overflow"),
        ] {
            place.compile("clang", arch, &format!("-g {flags} {source}"));
            let Some(said) = place.start(arch) else { continue };
            assert!(said.ok, "{arch} {flags}: {}", said.text);
            assert_parts(&said.text, &[message, "1 1\n"]);
        }
        place.compile("clang", arch, &format!("-fsanitize=undefined -fno-sanitize-recover=all {source}"));
        assert!(place.start(arch).is_none_or(|said| !said.ok));
    }
    let vptr = "struct A { virtual ~A() {} int a = 1; };\nstruct B { virtual ~B() {} int b = 2; };\n\
                int main() { A *a = new A; return reinterpret_cast<B *>(a)->b - 1; }\n";
    let vptr = place.file("vptr.cpp", vptr);
    let host = Arch::host().unwrap();
    place.compile("clang++", host, &format!("-fsanitize=vptr {vptr}"));
    assert_parts(&place.start(host).unwrap().text, &["does not point to an object of type 'B'"]);
}

const BRANCHES: &str = "#include <stdio.h>\n#include <stdlib.h>\nint main(int argc, char **argv) {\n    \
    if (argc > 1)\n        abort();\n    puts(\"taken\");\n    return 0;\n}\n";

#[test]
fn coverage_is_counted_and_shown() {
    let Some(place) = Place::new() else { return };
    let (source, host) = (place.file("branches.c", BRANCHES), Arch::host().unwrap());
    place.compile("clang", host, &format!("--coverage {source}"));
    place.prints(host, "taken\n");
    place.good("gcov", "program-branches.gcda");
    let shown = build_support::fs::read_to_string(place.path("branches.c.gcov")).unwrap();
    assert_parts(&shown, &["#####:    5:        abort();", "1:    6:    puts"]);

    place.compile("clang", host, &format!("-fprofile-instr-generate -fcoverage-mapping {source}"));
    place.prints(host, "taken\n");
    place.good("llvm-profdata", "merge default.profraw -o merged");
    let shown = place.good("llvm-cov", "show program -instr-profile=merged");
    assert_parts(&shown, &["5|      0|        abort();", "6|      1|    puts"]);
    // The profile also serves the optimiser.
    place.compile("clang", host, &format!("-O2 -fprofile-instr-use=merged {source}"));
    place.prints(host, "taken\n");
    for arch in Arch::ALL {
        place.compile("clang", arch, &format!("-fprofile-generate {source}"));
        place.prints(arch, "taken\n");
    }
}

const THREADS: &str = "#include <cstdio>\n#include <string>\n#include <thread>\n#include <vector>\nint main() {\n    \
    std::vector<std::thread> threads;\n    for (int i = 0; i < 4; ++i)\n        threads.emplace_back([] {\n            \
    std::vector<std::string> all;\n            for (int k = 0; k < 1000; ++k) all.push_back(std::string(100 + k, 'x'));\n        \
    });\n    for (auto &thread : threads) thread.join();\n    std::puts(\"done\");\n}\n";

#[test]
fn programs_with_other_runtimes_work() {
    let Some(place) = Place::new() else { return };
    let source = place.file("threads.cpp", THREADS);
    for arch in Arch::ALL {
        for flags in [
            "-fsanitize=scudo",
            "-fsanitize=cfi -flto -fvisibility=hidden",
            "-fsanitize=cfi -fno-sanitize-trap=cfi -flto -fvisibility=hidden",
            "-fxray-instrument -fxray-instruction-threshold=1",
        ] {
            place.compile("clang++", arch, &format!("{flags} {source}"));
            place.prints(arch, "done\n");
        }
    }
}

#[test]
fn control_flow_integrity_stops_a_wrong_call() {
    let Some(place) = Place::new() else { return };
    let host = Arch::host().unwrap();
    let text = "struct A { virtual int f() { return 1; } };\nstruct B { virtual int g() { return 2; } };\n\
                int main() { A *a = new A; return reinterpret_cast<B *>(a)->g(); }\n";
    let source = place.file("wrong.cpp", text);
    let flags = "-O1 -fsanitize=cfi-vcall -flto -fvisibility=hidden";
    place.compile("clang++", host, &format!("{flags} -fno-sanitize-trap=cfi {source}"));
    assert_parts(&place.start(host).unwrap().text, &["control flow integrity check"]);
    place.compile("clang++", host, &format!("{flags} {source}"));
    assert!(!place.start(host).unwrap().ok, "it went through");
}

#[test]
fn the_fuzzer_finds_the_fault() {
    let Some(place) = Place::new() else { return };
    let host = Arch::host().unwrap();
    let text = "#include <stddef.h>\n#include <stdint.h>\nextern \"C\" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {\n    \
                if (size >= 3 && data[0] == 'B' && data[1] == 'U' && data[2] == 'G') __builtin_trap();\n    return 0;\n}\n";
    let source = place.file("fuzz.cpp", text);
    place.compile("clang++", host, &format!("-O1 -g -fsanitize=fuzzer,undefined {source}"));
    let program = place.path("program");
    let said = common::said(
        std::process::Command::new(program).args(["-seed=1", "-max_total_time=60"]).current_dir(place.path("")),
    );
    assert!(!said.ok, "{}", said.text);
    assert_parts(&said.text, &["libFuzzer: deadly signal"]);
}

#[test]
fn a_runtime_that_cannot_work_is_refused_by_its_name() {
    let Some(place) = Place::new() else { return };
    let source = place.file("main.c", "int main(void) { return 0; }\n");
    for (flag, name) in [
        ("address", "AddressSanitizer"),
        ("hwaddress", "HWAddressSanitizer"),
        ("leak", "LeakSanitizer"),
        ("thread", "ThreadSanitizer"),
        ("memory", "MemorySanitizer"),
        ("dataflow", "DataFlowSanitizer"),
        ("realtime", "RealtimeSanitizer"),
        ("numerical", "NumericalStabilitySanitizer"),
        ("type", "TypeSanitizer"),
        ("safe-stack", "SafeStack"),
    ] {
        let said = place.run("clang", &format!("-fsanitize={flag} {source} -o program"));
        assert!(!said.ok, "-fsanitize={flag} links");
        assert_parts(&said.text, &[&format!("{name} is not supported: it needs a dynamic loader")]);
    }
    let said = place.run("clang", &format!("-fmemory-profile {source} -o program"));
    assert!(!said.ok && said.text.contains("-fmemory-profile) is not supported"), "{}", said.text);
}
