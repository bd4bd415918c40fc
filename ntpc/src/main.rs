//! `ntpc` as a program of its own, for its tests and for hosts without Bloomery's init, whose program has it under this name.

use std::process::exit;

fn main() {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    exit(ntpc::run(&arguments));
}
