//! A machine that waits for a debugger behind a Unix socket.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use build_support::cmd::end_with_parent;
use build_support::{Context as _, Result, bail, ensure, fs};
use system::machine::{Host, Machine, Options};

use crate::context::Context;

/// How long QEMU may take to make its sockets.
const START: Duration = Duration::from_secs(60);
/// Bytes of a Unix socket's path (`sun_path`, unix(7)), with the zero byte.
const SOCKET_PATH: usize = 108;

/// Starts QEMU with its console in a file, and waits until it listens at every socket of the options. It ends with this process.
///
/// # Errors
/// A QEMU that does not start, with what it said.
pub fn start(context: &Context, machine: &Machine, options: &Options, console: &Path) -> Result<Child> {
    let sockets = options.debugger.iter().chain(&options.qmp).chain(&options.serial);
    let sockets: Vec<&Path> = sockets.map(AsRef::as_ref).collect();
    sockets.iter().try_for_each(|socket| make_way(socket))?;
    let host = Host::find(machine.arch, options.accelerator, &context.dirs.home);
    let qemu = machine.command(options, &host)?;
    let log = fs::File::create(console)?;
    let mut command = Command::new(&qemu.program);
    command.args(&qemu.args).stdin(Stdio::null()).stdout(log.file().try_clone()?).stderr(log.file().try_clone()?);
    command.process_group(0); // Ctrl-C is for the debugger.
    end_with_parent(&mut command);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", qemu.program.to_string_lossy()))?;
    sockets.iter().try_for_each(|socket| wait_for(&mut child, socket, console))?;
    Ok(child)
}

fn make_way(socket: &Path) -> Result<()> {
    ensure!(
        socket.as_os_str().len() < SOCKET_PATH,
        "the path of QEMU's socket is longer than {} bytes: {}\nhint: set CARGO_TARGET_DIR to a directory with a shorter path",
        SOCKET_PATH - 1,
        socket.display()
    );
    if socket.exists() {
        fs::remove_file(socket)?;
    }
    Ok(())
}

/// Waits until the guest's console shows a text, for as long as more comes.
///
/// # Errors
/// A QEMU that ends, and a console that is silent for [`START`].
pub fn wait_for_text(qemu: &mut Child, console: &Path, text: &str) -> Result<()> {
    let (mut last, mut bytes) = (Instant::now(), 0);
    loop {
        let shown = String::from_utf8_lossy(&fs::read(console)?).into_owned();
        if shown.contains(text) {
            return Ok(());
        }
        if let Some(status) = qemu.try_wait()? {
            bail!("QEMU ended with {status} before `{text}`:\n{}", shown.trim_end());
        }
        if shown.len() != bytes {
            (last, bytes) = (Instant::now(), shown.len());
        }
        ensure!(last.elapsed() < START, "the console does not show `{text}`: {}", console.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until QEMU listens.
fn wait_for(qemu: &mut Child, socket: &Path, console: &Path) -> Result<()> {
    let begin = Instant::now();
    while !socket.exists() {
        if let Some(status) = qemu.try_wait()? {
            bail!("QEMU ended with {status}:\n{}", fs::read_to_string(console)?.trim_end());
        }
        ensure!(begin.elapsed() < START, "QEMU made no socket within {} s", START.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
