//! Records a boot: QEMU counts the guest's instructions, and stops where the kernel's phases and initcalls begin and end. The kernel
//! itself knows nothing of it, and executes not one instruction more.

use std::collections::HashMap;
use std::path::Path;

use build_support::{Arch, Context as _, Result, bail, ensure, fs};
use serde::Serialize;
use system::vmlinux::{Initcall, Vmlinux};

use super::remote::{Remote, Stop};

/// A stretch of the boot, in instructions since the machine's reset.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Span {
    /// What runs.
    pub name: String,
    /// Its first instruction.
    pub begin: u64,
    /// The instruction behind its last one.
    pub end: u64,
}

impl Span {
    /// Its instructions.
    pub fn count(&self) -> u64 {
        self.end - self.begin
    }
}

/// An initcall that was called.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Call {
    /// Its level, such as `device`.
    pub level: &'static str,
    /// What it is part of, by the name that a module of it would have.
    pub object: String,
    /// The function.
    #[serde(flatten)]
    pub span: Span,
}

/// A boot.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Trace {
    /// The profile.
    pub profile: String,
    /// The architecture.
    pub arch: String,
    /// Bytes of the kernel.
    pub kernel: u64,
    /// What ended it, in words.
    pub end: String,
    /// Its phases, one after the other.
    pub phases: Vec<Span>,
    /// Functions that `start_kernel` calls, and the unpacking of the initramfs.
    pub parts: Vec<Span>,
    /// Its initcalls, as they were called.
    pub initcalls: Vec<Call>,
}

impl Trace {
    /// Instructions from the reset to the end.
    pub fn total(&self) -> u64 {
        self.phases.last().map_or(0, |phase| phase.end)
    }
}

/// Functions that `start_kernel` calls (init/main.c).
const PARTS: &[&str] = &[
    "setup_arch",
    "setup_per_cpu_areas",
    "vfs_caches_init_early",
    "trap_init",
    "mm_core_init",
    "ftrace_init",
    "sched_init",
    "workqueue_init_early",
    "rcu_init",
    "init_IRQ",
    "timekeeping_init",
    "time_init",
    "console_init",
    "arch_cpu_finalize_init",
    "fork_init",
    "vfs_caches_init",
];
/// What the kernel does between its initcalls, or beside them in a thread of its own: the unpacking of the initramfs.
const LATE_PARTS: &[&str] = &["do_populate_rootfs", "mark_readonly"];

/// The stretch of a kernel's start that has its unpacking in it.
pub const UNPACKING: &str = "the kernel unpacks itself";

/// The kernel's first C function on one thread, and what comes after it on the thread of PID 1.
const START: &str = "start_kernel";
const AFTER_START: &str = "kernel_init";
/// The phase in which programs run.
const INIT: &str = "PID 1";

/// Where a phase begins: its name, and the address.
type Border = (&'static str, u64);

/// What a program does first that waits for a person: it reads from the terminal, or asks whether there is anything to read.
pub const READS: &[&str] = &["n_tty_read", "n_tty_poll"];

/// What is known of the kernel.
pub struct Kernel<'a> {
    /// The architecture.
    pub arch: Arch,
    /// With its symbols.
    pub vmlinux: &'a Vmlinux<'a>,
    /// As QEMU loads it.
    pub file: &'a Path,
}

/// Where QEMU puts a kernel: its entry in protected mode (Documentation/arch/x86/boot.rst), and of arm64's board `virt` the
/// beginning of memory (`VIRT_MEM`, hw/arm/virt.c) and the distance for a kernel without a preferred place (hw/arm/boot.c).
const X86_LOADED: u64 = 0x10_0000;
const ARM64_MEMORY: u64 = 0x4000_0000;
const ARM64_DISTANCE: u64 = 0x20_0000;

impl Kernel<'_> {
    /// The phases of the boot, in order.
    fn borders(&self) -> Result<Vec<Border>> {
        let mut borders = match self.arch {
            Arch::X86_64 => vec![(UNPACKING, X86_LOADED), ("first steps in assembly", self.vmlinux.entry())],
            Arch::Arm64 => vec![("first steps in assembly", arm64_loaded(self.file)?)],
        };
        for (name, symbol) in [
            (START, START),
            (AFTER_START, "rest_init"),
            ("early initcalls, processors, timers", "do_one_initcall"),
            ("initcalls", "driver_init"),
            (INIT, "run_init_process"),
        ] {
            borders.push((name, self.address(symbol)?));
        }
        Ok(borders)
    }

    fn address(&self, symbol: &str) -> Result<u64> {
        self.vmlinux.symbol(symbol).with_context(|| format!("the kernel has no function {symbol}"))
    }
}

/// Bytes 8 to 15 of an `Image` are the preferred distance from the beginning of memory (Documentation/arch/arm64/booting.rst).
fn arm64_loaded(image: &Path) -> Result<u64> {
    let bytes = fs::read(image)?;
    let field = bytes.get(8..16).context("the kernel is no Image")?;
    let distance = u64::from_le_bytes(field.try_into()?);
    Ok(ARM64_MEMORY + if distance == 0 { ARM64_DISTANCE } else { distance })
}

/// What happens at an address.
#[derive(Clone, Debug)]
enum Mark {
    /// A phase begins.
    Phase(&'static str),
    /// A part begins.
    Part(&'static str),
    /// An initcall begins, by its place in the list.
    Initcall(usize),
    /// The boot may be over.
    End,
    /// The kernel gives up.
    Panic,
}

/// Runs the machine until the kernel calls one of the functions in `ends` for PID 1 or a program after it.
///
/// # Errors
/// A kernel that panics, or comes nowhere.
pub fn record(remote: &mut Remote, kernel: &Kernel, ends: &[&str], trace: &mut Trace) -> Result<()> {
    Recorder::new(remote, kernel, ends)?.run(trace)
}

struct Recorder<'a> {
    remote: &'a mut Remote,
    initcalls: Vec<Initcall>,
    /// Functions of the kernel, with their addresses, that are looked at from `start_kernel` on, and after the first initcalls.
    parts: Vec<Border>,
    late_parts: Vec<Border>,
    /// Where the machine stops, and why. Several things can begin at one address.
    marks: HashMap<u64, Vec<Mark>>,
    /// Calls that did not return yet: their address of return, and what is called.
    open: Vec<(u64, Mark, u64)>,
    init_runs: bool,
    /// The names of what ends the boot, for messages.
    ends: String,
}

impl<'a> Recorder<'a> {
    fn new(remote: &'a mut Remote, kernel: &Kernel, ends: &[&str]) -> Result<Recorder<'a>> {
        let mut marks: HashMap<u64, Vec<Mark>> = HashMap::new();
        let mut mark = |address: u64, mark: Mark| marks.entry(address).or_default().push(mark);
        for (name, address) in kernel.borders()? {
            mark(address, Mark::Phase(name));
        }
        let parts = |names: &'static [&'static str]| {
            names.iter().filter_map(|name| Some((*name, kernel.vmlinux.symbol(name)?))).collect::<Vec<_>>()
        };
        let initcalls = kernel.vmlinux.initcalls()?;
        for function in ends {
            mark(kernel.address(function)?, Mark::End);
        }
        mark(kernel.address("panic")?, Mark::Panic);
        marks.keys().try_for_each(|address| remote.stop_at(*address))?;
        let (parts, late_parts) = (parts(PARTS), parts(LATE_PARTS));
        Ok(Recorder {
            remote,
            initcalls,
            parts,
            late_parts,
            marks,
            open: Vec::new(),
            init_runs: false,
            ends: ends.join(" or "),
        })
    }

    fn run(&mut self, trace: &mut Trace) -> Result<()> {
        trace.phases.push(Span { name: "firmware and boot loader".into(), begin: 0, end: 0 });
        let (mut pass, mut stop) = (Vec::new(), Vec::new());
        loop {
            let Some(at) = self.remote.run(&pass, &stop)? else {
                let hint =
                    if self.init_runs { "name another function: --until do_exit" } else { "see how ./run.sh boots it" };
                bail!("the boot ended before {}, or hangs\nhint: {hint}", self.ends);
            };
            (pass, stop) = (Vec::new(), Vec::new());
            if self.leave(&at, trace, &mut stop) {
                pass.push(at.address);
            }
            if let Some(marks) = self.marks.remove(&at.address) {
                pass = vec![at.address];
                if self.enter(&at, marks, trace, &mut stop)? {
                    return Ok(());
                }
            }
        }
    }

    /// Ends the call that returns to an address; whether nothing stops there any more.
    fn leave(&mut self, stop: &Stop, trace: &mut Trace, stops: &mut Vec<u64>) -> bool {
        let Some(at) = self.open.iter().rposition(|(place, ..)| *place == stop.address) else { return false };
        let (_, mark, begin) = self.open.remove(at);
        let span = |name: &str| Span { name: name.into(), begin, end: stop.instructions };
        match mark {
            Mark::Part(name) => trace.parts.push(span(name)),
            Mark::Initcall(at) => {
                let call = &self.initcalls[at];
                let (level, object) = (call.level, call.object.clone());
                trace.initcalls.push(Call { level, object, span: span(&call.function) });
                self.expect_initcall(at + 1, stops);
            }
            _ => {}
        }
        !self.is_open(stop.address)
    }

    /// Stops at the next initcall: they are called in the order of the tables. A stop makes all code of its page slow in QEMU, so
    /// that there are never more than are needed.
    fn expect_initcall(&mut self, at: usize, stops: &mut Vec<u64>) {
        let Some(address) = self.initcalls.get(at).map(|call| call.address) else { return };
        self.expect(address, Mark::Initcall(at), stops);
        if at > 0 && self.initcalls[at].level != self.initcalls[0].level {
            for (name, address) in std::mem::take(&mut self.late_parts) {
                self.expect(address, Mark::Part(name), stops);
            }
        }
    }

    fn expect(&mut self, address: u64, mark: Mark, stops: &mut Vec<u64>) {
        if !self.is_open(address) && !self.marks.contains_key(&address) {
            stops.push(address);
        }
        self.marks.entry(address).or_default().push(mark);
    }

    fn is_open(&self, address: u64) -> bool {
        self.open.iter().any(|(place, ..)| *place == address)
    }

    /// Begins what begins at an address; whether the boot is over. Adds to `stops` where calls return to.
    fn enter(&mut self, stop: &Stop, marks: Vec<Mark>, trace: &mut Trace, stops: &mut Vec<u64>) -> Result<bool> {
        let now = stop.instructions;
        for mark in marks {
            match mark {
                Mark::Panic => bail!("the kernel panicked after {} instructions", grouped(now)),
                Mark::End => {
                    end_phase(trace, now);
                    ensure!(
                        self.init_runs,
                        "the kernel called {} before PID 1 started\nhint: name another function: --until FUNCTION",
                        self.ends
                    );
                    return Ok(true);
                }
                Mark::Phase(name) => {
                    end_phase(trace, now);
                    trace.phases.push(Span { name: name.into(), begin: now, end: now });
                    self.init_runs |= name == INIT;
                    match name {
                        START => {
                            for (name, address) in std::mem::take(&mut self.parts) {
                                self.expect(address, Mark::Part(name), stops);
                            }
                        }
                        AFTER_START => self.expect_initcall(0, stops),
                        _ => {}
                    }
                }
                Mark::Part(_) | Mark::Initcall(_) => {
                    let back = self.remote.return_address(stop)?;
                    if !self.is_open(back) && !self.marks.contains_key(&back) {
                        stops.push(back);
                    }
                    self.open.push((back, mark, now));
                }
            }
        }
        Ok(false)
    }
}

fn end_phase(trace: &mut Trace, now: u64) {
    if let Some(last) = trace.phases.last_mut() {
        last.end = now;
    }
}

/// A number with a comma before every third digit.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
