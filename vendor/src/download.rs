//! Downloads into a partial file: curl for addresses, with resumption and a status line that follows the file's size.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use build_support::Cmd;
use build_support::cmd::Log;
use build_support::progress::Status;
use fs_err as fs;

const MB: u64 = 1_000_000;

/// What a download needs to know.
pub struct Job<'a> {
    /// Where the bytes go; what is there already is continued.
    pub part: &'a Path,
    /// The size of the whole, in bytes, where it is known.
    pub size: Option<u64>,
    /// What the status line says.
    pub label: String,
    /// Where curl's or apt's own words go.
    pub log: Arc<Log>,
}

/// Downloads an address with curl.
pub fn curl(url: &str, job: &Job) -> Result<()> {
    watch(job, || match run_curl(url, job) {
        // Exit status 33 of curl(1): the server sends no ranges, so the rest alone cannot be had.
        Err(error) if job.part.exists() && error.to_string().contains("curl: (33)") => {
            fs::remove_file(job.part)?;
            run_curl(url, job)
        }
        result => result,
    })
}

fn run_curl(url: &str, job: &Job) -> Result<()> {
    let mut cmd = Cmd::new("curl")
        .arg("--disable") // A user's ~/.curlrc could add output that the size and digest checks then refuse.
        .arg("--fail") // Without it an error page is taken for the archive.
        .arg("--location") // Releases on GitHub lie behind a redirect.
        .args(["--proto-redir", "=http,https"]) // A redirect must not read local files.
        .args(["--silent", "--show-error"]) // The status line shows progress, the log keeps errors.
        .args(["--connect-timeout", "20"])
        .args(["--speed-limit", "1000", "--speed-time", "60"]) // Gives up after a minute below 1 kB/s.
        .args(["--retry", "2"])
        .args(["--continue-at", "-"])
        .arg("--output")
        .arg(job.part)
        .arg(url);
    if let Some(size) = job.size {
        cmd = cmd.args(["--max-filesize", &size.to_string()]); // A wrong file should not fill the disk.
    }
    // Cmd passes the other proxy variables on by itself.
    for name in ["all_proxy", "ALL_PROXY"] {
        if let Some(value) = std::env::var_os(name) {
            cmd = cmd.env(name, value);
        }
    }
    cmd.log(&job.log).run(&format!("download {url}")).map_err(|error| short(&error, "curl: ("))
}

/// Runs a download while a status line follows the growth of the partial file.
pub fn watch<T>(job: &Job, download: impl FnOnce() -> Result<T>) -> Result<T> {
    let status = Status::start(
        // The status counts in megabytes.
        format!("{}{}", job.label, job.size.map_or(String::new(), |size| format!(" ({} MB)", size.div_ceil(MB)))),
        job.log.path.display().to_string(),
        None,
    );
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                if let Some(size) = job.size {
                    let bytes = job.part.metadata().map_or(0, |meta| meta.len());
                    status.observe(&format!("[{}/{}]", bytes / MB, size.div_ceil(MB)));
                }
                std::thread::park_timeout(Duration::from_millis(500));
            }
        });
        let result = download();
        ended.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        result
    })
}

/// Reduces a failed command's error to the line in which the tool says why.
pub fn short(error: &anyhow::Error, mark: &str) -> anyhow::Error {
    let text = format!("{error:#}");
    let said = text.lines().rev().filter_map(|line| line.strip_prefix("  | ")).find(|line| line.starts_with(mark));
    match said {
        Some(line) => anyhow!("{}", line.trim()),
        None => anyhow!("{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_own_reason_is_kept() {
        let error = anyhow!("cannot download x\ncommand: curl x\n  | other\n  | curl: (22) error: 404\nlog: y");
        assert_eq!(short(&error, "curl: (").to_string(), "curl: (22) error: 404");
        let error = anyhow!("cannot download x: `curl` is not installed\nhint: run ./setup.sh");
        assert!(short(&error, "curl: (").to_string().contains("not installed"));
    }
}
