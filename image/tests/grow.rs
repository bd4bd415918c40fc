//! A disk that is larger than its image: partition and file system grow while they are in use, and a power cut at any moment loses
//! nothing. `BLOOMERY_TEST_POWER_CUTS` is how often the power fails (1).

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use build_support::{Arch, Dirs, fs};
use common::chance::{Chance, power_cuts};
use common::disk::{partition, root_file_system};
use common::guest::{Guest, Start};
use common::outputs::{Outputs, check_with, has_time};
use common::{report, slots};

for_each_arch! { the_root_fills_a_larger_disk }

#[test]
fn a_power_cut_while_it_grows_loses_nothing() -> Result<()> {
    cut_while_it_grows(Arch::host()?)
}

const NAME: &str = "grow";
/// Bytes of the disk, as qemu-img reads them.
const LARGER: &str = "3G";
/// Seconds that a guest may be silent.
const SILENCE: f64 = 60.0;

/// A disk to be changed.
struct Bench {
    outputs: Outputs,
    profile: String,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(arch: Arch) -> Result<Option<Bench>> {
        let profile = Dirs::find()?.root.join(format!("image/tests/profiles/{NAME}.toml")).display().to_string();
        let Some(outputs) = Outputs::of(arch, &profile)? else { return Ok(None) };
        Ok(Some(Bench { outputs, profile, dir: tempfile::tempdir()? }))
    }

    fn disk(&self) -> PathBuf {
        self.dir.path().join("bloomery").join(self.outputs.arch.name()).join(format!("{NAME}.qcow2"))
    }

    /// The disk as it was built, and larger.
    fn reset(&self) -> Result<()> {
        self.outputs.copy_profile(NAME, self.dir.path())?;
        check_with("qemu-img", &["resize", "-q", &self.disk().display().to_string(), LARGER]).map(drop)
    }

    fn start(&self, case: &str) -> Result<Guest> {
        let name = format!("{NAME}-{case}");
        let target = Some(self.dir.path());
        Guest::start(&self.outputs, &Start { target, ..Start::new(&name, &self.profile) })
    }

    /// Boots, waits until all has grown, looks at it in the guest, and from outside.
    fn grows(&self, case: &str) -> Result<()> {
        let mut guest = self.start(case)?;
        guest.prompt()?;
        let done = "initctl status grow | grep -q done";
        guest.run(&format!("i=0; until {done} || [ $i = 300 ]; do i=$((i+1)); sleep 0.1; done; {done}"))?;
        let megabytes = guest.run("df -m / | awk 'NR == 2 { print $2 }'")?;
        ensure!(megabytes.parse::<u64>()? > 2500, "the root has {megabytes} MB: {}", guest.run("initctl log grow")?);
        guest.run("head -c 400000000 /dev/zero >/root/large && sync && rm /root/large")?;
        guest.power_off()?;
        self.is_sound()
    }

    fn is_sound(&self) -> Result<()> {
        let raw = self.dir.path().join("raw");
        let [from, to] = [&self.disk(), &raw].map(|path| path.display().to_string());
        check_with("qemu-img", &["convert", "-O", "raw", &from, &to])?;
        let text = check_with("sgdisk", &["--verify", &to])?;
        ensure!(text.contains("No problems found"), "{text}");
        ensure!(partition(&raw, 2)?.length > 2_500_000_000, "{:?}", partition(&raw, 2)?);
        check_with("e2fsck", &["-fn", &root_file_system(&raw)?])?;
        fs::remove_file(raw)?;
        Ok(())
    }
}

fn the_root_fills_a_larger_disk(arch: Arch) -> Result<()> {
    if !has_time(arch)? {
        return Ok(());
    }
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let _slot = slots::one();
    bench.reset()?;
    bench.grows("whole")?;
    // A second time, from the other place of the table.
    check_with("qemu-img", &["resize", "-q", &bench.disk().display().to_string(), "5G"])?;
    bench.grows("again")?;
    ensure!(entries_are_back(&bench)?, "the entries of the table did not change their place");
    Ok(())
}

/// Whether the entries lie at their usual place again.
fn entries_are_back(bench: &Bench) -> Result<bool> {
    let raw = bench.dir.path().join("raw");
    check_with("qemu-img", &["convert", "-O", "raw", &bench.disk().display().to_string(), &raw.display().to_string()])?;
    let header = fs::read(&raw).map(|bytes| bytes.get(512..1024).map(<[u8]>::to_vec))?.context("a short disk")?;
    Ok(header[72..80] == 2_u64.to_le_bytes())
}

fn cut_while_it_grows(arch: Arch) -> Result<()> {
    let Some(bench) = Bench::new(arch)? else { return Ok(()) };
    let _slot = slots::one();
    let mut chance = Chance::new()?;
    for _ in 0..power_cuts()? {
        bench.reset()?;
        let mut guest = bench.start("cut")?;
        // The service runs within a second after the first prompt.
        guest.prompt()?;
        let end = Instant::now() + chance.below(Duration::from_millis(1500));
        guest.until_others("the cut", SILENCE, || (Instant::now() >= end, 0))?;
        drop(guest);
        bench.grows("after")?;
    }
    report(&format!("{NAME} {arch}: {} power cuts", power_cuts()?));
    Ok(())
}
