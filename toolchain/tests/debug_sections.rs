//! Compressed debug sections, in both formats of the ELF standard.

mod common;

use build_support::Arch;
use common::{Place, assert_parts};

const SOURCE: &str = "int twice(int x) { return 2 * x; }\nint main(void) { return twice(21) - 42; }\n";

/// The compressed sections of a file, as readelf shows them (flag C).
fn compressed(place: &Place, file: &str) -> usize {
    let text = place.good("readelf", &format!("-SW {file}"));
    let rows = text.lines().filter(|line| line.contains(".debug_"));
    rows.filter(|row| row.split_whitespace().rev().nth(3).is_some_and(|flags| flags.contains('C'))).count()
}

#[test]
fn the_compiler_the_linker_and_objcopy_compress_and_read_them() {
    let Some(place) = Place::new() else { return };
    // Enough text to be worth it: a section that would not shrink stays as it is.
    let many: String =
        (0..200).map(|i| format!("int function_with_a_long_name_{i}(int x) {{ return x + {i}; }}\n")).collect();
    let source = place.file("main.c", &format!("{many}{SOURCE}"));
    for arch in Arch::ALL {
        let target = format!("--target={}", arch.short_triple());
        for format in ["zlib", "zstd"] {
            // Objects, which the linker then reads.
            place.good("clang", &format!("{target} -g -gz={format} -c {source} -o main.o"));
            assert!(compressed(&place, "main.o") > 0, "{arch} {format}: no section of the object is compressed");
            place.compile("clang", arch, "-g main.o");
            assert_eq!(compressed(&place, "program"), 0);
            assert_parts(&place.good("objdump", "-d --source program"), &["return 2 * x"]);
            // The linker's own.
            place.compile("clang", arch, &format!("-g -gz={format} main.o"));
            assert!(compressed(&place, "program") > 0, "{arch} {format}: no section of the program is compressed");
            place.prints(arch, "");
            let address =
                place.good("nm", "program").lines().find(|line| line.ends_with(" T twice")).unwrap()[..16].to_string();
            assert_parts(&place.good("addr2line", &format!("-f -e program {address}")), &["twice", "main.c:201"]);
            // And back.
            place.good("objcopy", "--decompress-debug-sections program plain");
            assert_eq!(compressed(&place, "plain"), 0);
            place.good("objcopy", &format!("--compress-debug-sections={format} plain again"));
            assert!(compressed(&place, "again") > 0);
        }
        place.compile("clang", arch, &format!("-g -gz {source}"));
        assert!(compressed(&place, "program") > 0);
    }
}
