//! What the machine that builds has: free disk, memory, processors, programs.

use std::path::{Path, PathBuf};
use std::sync::Once;

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::{Cmd, progress};

/// The search path of the user, which is also that of every command.
pub fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps mke2fs and its like where an ordinary user's PATH does not look.
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).collect()
}

/// Finds a program by name in the search path.
pub fn find_program(name: &str) -> Option<PathBuf> {
    find_program_in(&search_path(), name)
}

/// Finds a program by name in these directories.
pub fn find_program_in(path: &[PathBuf], name: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file();
    path.iter().map(|dir| dir.join(name)).find(is_program)
}

/// The first line that a program says when it is asked for its version by an option.
pub fn version(name: &str, option: &str) -> Result<String> {
    let text = Cmd::new(name).arg(option).read(&format!("ask {name} for its version"))?;
    Ok(text.lines().next().unwrap_or_default().trim().into())
}

/// Free bytes for an ordinary user on the file system of `path`, or of its nearest existing parent.
pub fn free_disk(path: &Path) -> Result<u64> {
    let existing =
        path.ancestors().find(|dir| dir.exists()).with_context(|| format!("no part of {} exists", path.display()))?;
    let stat = rustix::fs::statvfs(existing)
        .with_context(|| format!("cannot ask {} for its free space", existing.display()))?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// Bytes of memory that can be had without swapping (`MemAvailable` in /proc/meminfo, Documentation/filesystems/proc.rst).
pub fn available_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    text.lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .map(|kib| kib * 1024)
        .context("/proc/meminfo has no MemAvailable line")
}

/// What one compiler may take. clang has its largest files of LLVM in about this.
const JOB_MEMORY: u64 = 1 << 30;

/// How many jobs a build may run: cargo's `-j`, else the processors, and no more than there is memory for.
pub fn jobs() -> usize {
    static SAID: Once = Once::new();
    let from_cargo = std::env::var("NUM_JOBS").ok().and_then(|text| text.parse().ok());
    let wanted = from_cargo.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    let Ok(memory) = available_memory() else { return wanted };
    let jobs = within(wanted, memory);
    if jobs < wanted {
        let gib = memory as f64 / f64::from(1 << 30);
        SAID.call_once(|| {
            progress::line(&format!("{jobs} jobs and not {wanted}: {gib:.1} GiB of memory are available"))
        });
    }
    jobs
}

/// As many of the jobs as have their memory in so many bytes, and one at least.
fn within(jobs: usize, memory: u64) -> usize {
    jobs.min(usize::try_from(memory / JOB_MEMORY).unwrap_or(usize::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_has_its_memory() {
        for (jobs, gib, expected) in [(2, 23, 2), (16, 8, 8), (16, 16, 16), (4, 0, 1), (1, 0, 1)] {
            assert_eq!(within(jobs, gib << 30), expected, "{jobs} jobs in {gib} GiB");
        }
        assert_eq!(within(8, (4 << 30) - 1), 3);
    }
}
