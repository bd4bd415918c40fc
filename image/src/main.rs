//! `cargo run -p image -- menuconfig ...` of former days: says where the menu is.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).skip_while(|word| word == "menuconfig").collect();
    let words = if words.is_empty() { "PROFILE ARCH".into() } else { words.join(" ") };
    eprintln!("error: this program has no menu any more\nhint: cargo bloomery menuconfig {words}");
    ExitCode::from(2)
}
