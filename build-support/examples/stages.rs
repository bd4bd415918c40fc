//! Builds stages whose recipes are shell scripts. The tests start it, because an interrupted build, two builds at
//! once and another environment each need a process of their own. Leaves what a build script leaves: results in the
//! store, logs below `target/bloomery`.
//!
//! `stages NAME WORD... [+ NAME WORD...]...`, where each stage builds on the one before it and a word is one of
//! `script=TEXT` (gets `$OUT` and `$WORK`), `cmake=DIR` (a project to build and install), `compile=FILE`
//! (C, by the `cc` of the host), `input:NAME=VALUE`,
//! `recipe=SOURCE`, `instance=NAME`, `write=MIB` and `resumable`.

use std::process::ExitCode;

use build_support::tools::Compile;
use build_support::{Arch, Built, Dirs, Job, Result, Stage, bail, fs, report};

fn main() -> ExitCode {
    report::run(run)
}

fn run() -> Result<()> {
    let dirs = Dirs::find()?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut below = None;
    for words in words.split(|word| word == "+") {
        let built = build(&dirs, words, below.as_ref())?;
        println!("result: {} {} {}", built.key, built.digest, built.dir.display());
        below = Some(built);
    }
    Ok(())
}

fn build(dirs: &Dirs, words: &[String], below: Option<&Built>) -> Result<Built> {
    let Some((name, words)) = words.split_first() else { bail!("a stage has a name") };
    let mut stage = Stage::new(dirs, name, Arch::host()?);
    let (mut script, mut project, mut source, mut mebibytes) = ("true", None, None, 0);
    for word in words {
        match word.split_once('=') {
            Some(("script", text)) => script = text,
            Some(("cmake", dir)) => project = Some(dir),
            Some(("compile", file)) => source = Some(file),
            Some(("write", number)) => mebibytes = number.parse()?,
            Some(("instance", name)) => stage = stage.instance(name),
            Some(("recipe", source)) => stage = stage.recipe("recipe.rs", source),
            Some((input, value)) if input.starts_with("input:") => stage = stage.input(&input[6..], value),
            None if word == "resumable" => stage = stage.resumable(),
            _ => bail!("`{word}` is no word of a stage"),
        }
    }
    if let Some(below) = below {
        stage = stage.needs(below);
    }
    stage.build(|job| {
        write(job, mebibytes)?;
        if let Some(source) = source {
            let compile = Compile::new("cc", Arch::host()?, &["-O1".into(), "-c".into()])?;
            compile.cmd(job).arg(source).arg("-o").arg(job.out.join("object.o")).run("compile the file")?;
        }
        if let Some(project) = project {
            let prefix = format!("CMAKE_INSTALL_PREFIX={}", job.out.display());
            job.cmake(project).define([prefix]).env("GIVEN", "a value").run("build the project")?;
        }
        job.cmd("sh")
            .args(["-c", script])
            .dir(&job.work)
            .env("OUT", &job.out)
            .env("WORK", &job.work)
            .run("run the script")
    })
}

/// Writes as a recipe does that copies a file into its result: without a command.
fn write(job: &Job, mebibytes: usize) -> Result<()> {
    if mebibytes > 0 {
        fs::write(job.out.join("large"), vec![b'x'; mebibytes << 20])?;
    }
    Ok(())
}
