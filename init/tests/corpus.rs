//! A bounded run of every fuzz target over the kept corpus and changed copies of it. `init/fuzz` has the targets, and
//! `cargo fuzz run NAME` there goes on for as long as one likes.
//!
//! The changes are the same in every run, because they begin with the same number. `BLOOMERY_TEST_FUZZ_SEED=NUMBER` begins with
//! another one, and `BLOOMERY_TEST_FUZZ=SECONDS` goes on for so long.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use targets::TARGETS;

/// Changed inputs for each target.
const CASES: u32 = 10_000;
/// What the changes begin with, unless another number is asked for.
const SEED: u64 = 20_261_121;
/// The longest input in bytes.
const LONGEST: usize = 8192;

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }
}

/// Bytes and words at which parsers take turns.
#[rustfmt::skip]
const TOKENS: &[&[u8]] = &[
    b"", b"\0", b"\n", b"\t", b" ", b"\\", b":", b"=", b"#", b"/", b"..", b"'", b"\"", b"[", b"]", b"{", b"}", b",",
    b"-", b"@", b"%", b"\xff", b"\xc3", b"0", b"-1", b"18446744073709551615", b"99999999999999999999", b"1e999",
    b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x10\0\0\0",
];

/// One to eight changes of an input.
fn change(random: &mut Random, corpus: &[Vec<u8>], input: &mut Vec<u8>) {
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        let length = random.below(16.min(input.len() - at) + 1);
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 => drop(input.drain(at..at + length)),
            3 => {
                let token = TOKENS[random.below(TOKENS.len())];
                drop(input.splice(at..at + length.min(token.len()), token.iter().copied()));
            }
            4 => {
                let part = input[at..at + length].to_vec();
                let to = random.below(input.len() + 1);
                drop(input.splice(to..to, part));
            }
            // The end of one after the beginning of another.
            5 => {
                let other = &corpus[random.below(corpus.len())];
                input.truncate(at);
                input.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            6 if random.below(8) == 0 => {
                let times = random.below(200);
                let part = input[at..at + length].repeat(times);
                drop(input.splice(at..at, part));
            }
            _ => {}
        }
        input.truncate(LONGEST);
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(corpus.len() > 1, "{} has too few inputs", directory.display());
    corpus
}

/// Tells which input it was when a target panics.
struct Tell<'a>(&'a str, &'a [u8]);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the target {} fails for b\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

#[test]
fn no_input_breaks_a_parser() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let more = number("BLOOMERY_TEST_FUZZ").map(Duration::from_secs);
    let seed = number("BLOOMERY_TEST_FUZZ_SEED").unwrap_or(SEED).max(1);
    eprintln!("changes of seed {seed}");
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        let mut random = Random(seed);
        let started = Instant::now();
        let mut cases = 0;
        let mut longest = Duration::ZERO;
        for input in corpus.iter().map(Vec::as_slice).chain([b"".as_slice()]) {
            let _tell = Tell(name, input);
            target(input);
        }
        while cases < CASES || more.is_some_and(|time| started.elapsed() < time / TARGETS.len() as u32) {
            let mut input = corpus[random.below(corpus.len())].clone();
            change(&mut random, &corpus, &mut input);
            let _tell = Tell(name, &input);
            let begun = Instant::now();
            target(&input);
            longest = longest.max(begun.elapsed());
            cases += 1;
        }
        eprintln!(
            "{name}: {cases} cases in {} ms, the longest {} ms",
            started.elapsed().as_millis(),
            longest.as_millis()
        );
        // A thousand times what any input of this size takes, and far below a hang: build hosts are busy.
        assert!(longest < Duration::from_secs(10), "{name}: {longest:?} for one input");
    }
}

/// The fuzzer's programs and the corpus are those of the list.
#[test]
fn every_target_has_its_program() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (place, ending) in [("fuzz/corpus", ""), ("fuzz/fuzz_targets", ".rs")] {
        let mut found: Vec<_> =
            fs::read_dir(manifest.join(place)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        found.sort();
        let mut wanted: Vec<_> =
            TARGETS.iter().map(|(name, _)| std::ffi::OsString::from(format!("{name}{ending}"))).collect();
        wanted.sort();
        assert_eq!(found, wanted, "{place}");
    }
}
