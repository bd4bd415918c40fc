//! The places that a recipe's arguments name. Arguments come from functions of the places: with the real ones they are
//! a command's, with names in their stead (`$WORK/sysroot`) they are a part of the stage's key, as they are passed and
//! the same on every machine.

use std::path::Path;

use crate::{Built, Job};

/// The places of a stage that is being built, or the names that stand for them.
pub struct Places {
    /// Where the stage is built.
    pub work: String,
    /// What it leaves.
    pub out: String,
    /// Its unpacked source.
    pub source: String,
    /// The store.
    pub home: String,
    named: bool,
}

impl Places {
    /// The names.
    pub fn named() -> Places {
        let [work, out, source, home] = ["$WORK", "$OUT", "$SOURCE", "$STORE"].map(String::from);
        Places { work, out, source, home, named: true }
    }

    /// The places of a job that builds this source.
    pub fn of(job: &Job, source: &Path) -> Places {
        Places::at(&job.work, &job.out, source, &job.dirs.home)
    }

    /// Work directory, result, source and store at these paths.
    pub fn at(work: &Path, out: &Path, source: &Path, home: &Path) -> Places {
        let [work, out, source, home] = [work, out, source, home].map(|path| path.display().to_string());
        Places { work, out, source, home, named: false }
    }

    /// Where another stage's result lies; its digest stands in the key by itself.
    pub fn result(&self, built: &Built) -> String {
        if self.named { format!("$STORE/{}", built.stage) } else { built.dir.display().to_string() }
    }
}

/// Arguments as a key has them, a line each.
pub fn lines(arguments: &[String]) -> String {
    arguments.join("\n")
}
