//! How an error reaches the user.

use std::process::ExitCode;

use anyhow::{Error, Result};

use crate::cmake;

/// Runs a build script's or tool's body; an error is printed as a readable stop. In a child that builds a CMake project
/// it does that instead.
pub fn run(body: impl FnOnce() -> Result<()>) -> ExitCode {
    if let Some(code) = cmake::serve() {
        return code;
    }
    match body() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {}", text(&error));
            ExitCode::FAILURE
        }
    }
}

/// The chain of an error, outermost first, hints last.
pub fn text(error: &Error) -> String {
    let (mut lines, mut hints) = (Vec::new(), Vec::new());
    for cause in error.chain() {
        for line in cause.to_string().lines() {
            let list = if line.starts_with("hint:") { &mut hints } else { &mut lines };
            // fs-err repeats the cause of the cause; one of them is enough.
            if list.last().is_none_or(|last: &String| !last.ends_with(line)) {
                list.push(line.to_string());
            }
        }
    }
    lines.append(&mut hints);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn the_hint_comes_last() {
        let error = Err::<(), _>(anyhow::anyhow!("disk full")).context("cannot write\nhint: free some").unwrap_err();
        assert_eq!(text(&error), "cannot write\ndisk full\nhint: free some");
    }
}
