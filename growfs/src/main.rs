//! `growfs` as a program of its own, for its tests; init's program has it under this name.

use std::process::exit;

fn main() {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    exit(growfs::run(&arguments));
}
