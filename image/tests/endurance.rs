//! What may happen to an appliance often: its service is killed, and comes back each time.

mod common;

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Dirs};
use common::guest::{Guest, Start, patient};
use common::outputs::Outputs;
use common::terminal::Terminal;
use common::{report, slots};
use system::machine::Options;
use system::profile::Boot;

/// How often the service is killed where nothing else is said, and the variable that says more.
const KILLS: u32 = 30;
const MORE: &str = "BLOOMERY_TEST_KILLS";
/// Kills for each command that is typed.
const BATCH: u32 = 50;
/// KiB by which init may have grown: its logs are bounded, and the first kills fill them.
const GROWTH: u64 = 512;
/// KiB that the whole machine may have less: freed pages wait in the lists of each processor.
const LESS: u64 = 2048;

#[test]
fn a_service_that_is_killed_comes_back_each_time() -> Result<()> {
    let path = Dirs::find()?.root.join("image/tests/profiles/killed.toml").display().to_string();
    let Some(outputs) = Outputs::of(Arch::host()?, &path)? else { return Ok(()) };
    let kills = match std::env::var(MORE) {
        Ok(text) => text.parse().with_context(|| format!("{MORE}=`{text}` is no number"))?,
        Err(_) => KILLS,
    };
    let _slot = slots::one();
    let options = Options { append: patient(outputs.arch).into(), ..Options::default() };
    let mut guest = Guest::boot(&outputs, &Start { boot: Some(Boot::Kernel), options, ..Start::new("killed", &path) })?;
    // One end before the first look, so that what a first restart needs once is no growth.
    kill(&mut guest, 1)?;
    let (init, free) = memory(&mut guest)?;
    let mut left = kills - 1;
    while left > 0 {
        let now = left.min(BATCH);
        kill(&mut guest, now)?;
        left -= now;
    }
    let (init_after, free_after) = memory(&mut guest)?;
    report(&format!(
        "{kills} kills: init {init} KiB before and {init_after} after, of the machine {free} KiB available before and {free_after} after"
    ));
    ensure!(init_after < init + GROWTH, guest.failure("init grows"));
    ensure!(free_after + LESS > free, guest.failure("memory is lost"));
    let list = guest.run("initctl list")?;
    let row = list.lines().find(|line| line.starts_with("echo ")).context("init does not list the service")?;
    ensure!(row.split_whitespace().any(|word| word == kills.to_string()), "{list}");
    let answer = guest.run("echo up | nc 127.0.0.1 7")?;
    ensure!(answer.contains("up"), guest.failure("the service does not answer"));
    // The screen, on the line where the shell was.
    let terminal = Terminal::new(24, 80)?;
    guest.type_keys("exec status\n")?;
    terminal.shows(&mut guest, &["running", &format!("{kills} restarts"), "last end: signal 9"])
}

/// Kills the service so many times, each time when another process of it runs.
fn kill(guest: &mut Guest, times: u32) -> Result<()> {
    let wait = "until q=$(pidof echod) && [ \"$q\" != \"$p\" ]; do :; done";
    let command = format!("i=0; p=; while [ $i -lt {times} ]; do {wait}; kill -9 $q; p=$q; i=$((i+1)); done; {wait}");
    guest.run_slow(&command, 200.0).map(drop)
}

/// KiB of init's memory that no file holds, and those that the machine can still give.
fn memory(guest: &mut Guest) -> Result<(u64, u64)> {
    let text = guest.run("grep RssAnon /proc/1/status; grep MemAvailable /proc/meminfo")?;
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    Ok((numbers.next().context("no RssAnon")?, numbers.next().context("no MemAvailable")?))
}
