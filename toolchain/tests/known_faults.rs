//! The faults of musl that `vendor/known-faults.toml` lists, each as it is today. One of these tests fails when a new pin has repaired
//! its fault: then the entry goes, and the test with it.

mod common;

use build_support::Arch;
use common::Place;

/// Runs `work` in a child, and says how that ended.
const CHILD: &str = r#"#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>
static void work(void);
int main(void) {
    int status;
    fflush(stdout);
    if (fork() == 0) {
        work();
        _exit(0);
    }
    wait(&status);
    if (WIFSIGNALED(status)) printf("signal %d\n", WTERMSIG(status));
    else printf("exit %d\n", WEXITSTATUS(status));
    return 0;
}
"#;

/// What a program prints whose child is ended by SIGSEGV.
const CRASH: &str = "signal 11\n";

/// Compiles `CHILD` with these lines, and expects an output on some architectures.
fn child_prints(work: &str, archs: &[Arch], expected: &str) {
    let Some(place) = Place::new() else { return };
    let program = place.file("fault.c", &format!("{CHILD}{work}"));
    for arch in archs {
        place.compile("clang", *arch, &format!("-O1 {program}"));
        // An emulator says on standard error, which is behind, that a program was ended by a signal.
        if let Some(said) = place.start(*arch) {
            assert!(said.ok && said.text.starts_with(expected), "{arch}: expected\n{expected}got\n{}", said.text);
        }
    }
}

#[test]
fn strptime_crashes_before_tzset() {
    let parse = "#include <time.h>\nstatic void work(void) {\n    struct tm tm = {0};\n";
    let rest = "    strptime(\"UTC\", \"%Z\", &tm);\n}\n";
    child_prints(&format!("{parse}{rest}"), &Arch::ALL, CRASH);
    // What helps.
    child_prints(&format!("{parse}    tzset();\n{rest}"), &Arch::ALL, "exit 0\n");
}

#[test]
fn exit_in_a_handler_of_exit_crashes() {
    let with = |exit: &str| {
        format!("static void leave(void) {{ {exit}(3); }}\nstatic void work(void) {{ atexit(leave); exit(0); }}\n")
    };
    child_prints(&with("exit"), &Arch::ALL, CRASH);
    child_prints(&with("_exit"), &Arch::ALL, "exit 3\n");
}

/// On the host's architecture: qemu-user makes a fork of a vfork, which shares no memory.
#[test]
fn exit_after_vfork_crashes_the_parent() {
    let with = |exit: &str| {
        format!("static void work(void) {{\n    if (vfork() == 0) {exit}(0);\n    wait(0);\n    exit(0);\n}}\n")
    };
    let host = [Arch::host().unwrap()];
    child_prints(&with("exit"), &host, CRASH);
    child_prints(&with("_exit"), &host, "exit 0\n");
}

/// A processor with AMX, as far as a program sees it: the kernel says in the auxiliary vector how large a signal's frame can be.
#[test]
fn a_usual_signal_stack_can_be_too_small() {
    let work = r#"#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
static void work(void) {
    char **after = environ;
    while (*after++) ;
    Elf64_auxv_t *entry = (Elf64_auxv_t *)after;
    while (entry->a_type && entry->a_type != 51) entry++; /* AT_MINSIGSTKSZ */
    if (!entry->a_type) _exit(9);
    entry->a_un.a_val = 11008; /* What Linux says with AMX: 8 KiB of tiles, and the rest. */
    stack_t usual = { .ss_sp = malloc(SIGSTKSZ), .ss_size = SIGSTKSZ };
    if (sigaltstack(&usual, 0) == 0) _exit(1);
    if (errno != ENOMEM) _exit(2);
    size_t size = sysconf(_SC_MINSIGSTKSZ);
    stack_t asked = { .ss_sp = malloc(size), .ss_size = size };
    _exit(sigaltstack(&asked, 0) == 0 ? 0 : 3);
}
"#;
    if Arch::host().unwrap() == Arch::X86_64 {
        child_prints(work, &[Arch::X86_64], "exit 0\n");
    } else {
        testing::skip("only x86_64 has such processors");
    }
}

/// U+FFFD, and each of its plane from U+D800 on that has four bytes (GB 18030-2005, appendix D): musl counts the surrogates among them.
#[test]
fn gb18030_becomes_other_characters() {
    let Some(place) = Place::new() else { return };
    let program = r#"#include <iconv.h>
#include <stdio.h>
int main(void) {
    iconv_t code = iconv_open("UTF-32BE", "GB18030");
    for (int round = 0; round < 2; round++) {
        unsigned char in[4] = { 0x84, 0x31, 0xa4, 0x37 }, out[4] = { 0 };
        if (round == 0) in[0] = 0x81, in[2] = 0xa0;
        char *from = (char *)in, *to = (char *)out;
        size_t given = 4, room = 4;
        iconv(code, &from, &given, &to, &room);
        printf("%02x%02x\n", out[2], out[3]);
    }
    return 0;
}
"#;
    let program = place.file("gb18030.c", program);
    for arch in Arch::ALL {
        place.compile("clang", arch, &format!("-O1 {program}"));
        // The first one is right; the second one would be fffd.
        place.prints(arch, "0747\nf750\n");
    }
}
