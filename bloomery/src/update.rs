//! `update`: signs a kernel, or settings, for a system with two slots, and brings it there or into a file.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use build_support::inspect::print;
use build_support::{Arch, Context as _, Result, bail, ensure, fs, vars};
use disk::hybrid;
use slots::state::Kernel;
use slots::update::{Header, Kind, PORT};
use system::outputs::{self, Medium};
use system::{Profile, update_key};

use crate::context::{Context, arch};
use crate::usage::{say, wrong};

/// How long a system that is reached has for each answer: it writes the kernel to its disk and reads it again.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it takes to reach one.
const CONNECT: Duration = Duration::from_secs(10);

/// Sign an update of a running system and send it there, or write it to a file
///
/// The system starts the update once, and keeps it when its services come up.
#[derive(clap::Args)]
#[command(
    after_help = "Of PROFILE the kernel in the hybrid image is taken that the last build made. A file lies at the first byte of a \
                        stick that the system takes it from: dd if=FILE of=/dev/sdX"
)]
pub struct Args {
    /// A name from image/profiles/, or the path of your own TOML file
    #[arg(value_name = "PROFILE")]
    name: String,
    /// x86_64 or arm64 [default: $BLOOMERY_ARCH, else this machine's]
    arch: Option<String>,
    /// Send it to this system, at port 4919 unless said
    #[arg(long, value_name = "HOST[:PORT]")]
    to: Option<String>,
    /// Write it to this file
    #[arg(long, value_name = "FILE", conflicts_with = "to", required_unless_present = "to")]
    write: Option<PathBuf>,
    /// Instead of a kernel: settings that take the place of those that are kept
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The private key [default: the profile's `root.update-key`, else the store's own]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Makes the update, and sends or writes it.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let arch = match &args.arch {
        Some(name) => arch(name)?,
        None => vars::archs()?[0],
    };
    let profile = context.profile(&context.profile_name(&args.name)?)?;
    let of_profile = update_key::file(&context.dirs, &profile)?.with_context(|| {
        format!("the profile {} takes no updates\nhint: add `updater` to the packages below [root]", profile.name)
    })?;
    let pair = update_key::pair(args.key.as_ref().unwrap_or(&of_profile))?;
    ensure!(
        pair.pk == update_key::public(&of_profile)?,
        "the system does not know the key {}: its own is {}\nhint: sign with that one, or build the system with `root.update-key` first",
        args.key.as_ref().unwrap_or(&of_profile).display(),
        of_profile.display()
    );
    let (kind, content, build_id) = match &args.settings {
        Some(file) => (Kind::Settings, fs::read(file)?, [0; _]),
        None => {
            context.require_outputs(&profile, &args.name, arch)?;
            let (content, kernel) = kernel(context, &profile, arch)?;
            (Kind::Kernel, content, kernel.build_id)
        }
    };
    let serial = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let product = update_key::product(arch, &profile);
    let header = Header::new(kind, serial, &content, build_id, &product)
        .with_context(|| format!("the name {product} is longer than an update can say"))?;
    let bytes = [&header.sign(&pair)[..], &content].concat();
    match (&args.to, &args.write) {
        (Some(to), _) => send(to, &bytes),
        (None, Some(file)) => write(file, &bytes),
        (None, None) => bail!("neither `--to` nor `--write` is stated"),
    }
}

/// The kernel in the first slot of the profile's image, which has the signature for Secure Boot if the image has one.
fn kernel(context: &Context, profile: &Profile, arch: Arch) -> Result<(Vec<u8>, Kernel)> {
    let image = outputs::media(profile).into_iter().find_map(|medium| match medium {
        Medium::Hybrid(file) => Some(context.dirs.output(arch).join(file)),
        _ => None,
    });
    let file = image.with_context(|| format!("the profile {} has no raw hybrid image", profile.name))?;
    hybrid::kernel_in_slot(&fs::read(&file)?).with_context(|| {
        format!(
            "{} has no slots\nhint: state `slots = \"4 MiB\"` in the profile's output of kind `hybrid`",
            file.display()
        )
    })
}

fn write(file: &Path, bytes: &[u8]) -> Result<ExitCode> {
    fs::write(file, bytes)?;
    print(&format!("{}\n", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Sends it, and prints the system's answer.
fn send(to: &str, bytes: &[u8]) -> Result<ExitCode> {
    let mut stream = connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    say(&format!("sending {} bytes to {to}", bytes.len()));
    // A system that refuses says why before it has read all.
    match stream.write_all(bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write)) {
        Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            return Err(error).with_context(|| format!("cannot send the update to {to}"));
        }
        _ => {}
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("{to} does not answer"))?;
    match answer.trim().split_once(": ") {
        Some(("ok", words)) => {
            print(&format!("{to}: {words}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(("error", words)) => bail!("{to} does not take the update: {words}"),
        _ => bail!("{to} ended the connection without an answer\nhint: its log says more"),
    }
}

fn connect(to: &str) -> Result<TcpStream> {
    let with_port = if to.ends_with(']') || !to.contains(':') { format!("{to}:{PORT}") } else { to.into() };
    let addresses = with_port.to_socket_addrs().map_err(|error| {
        wrong(&format!("no system {to}: {error}"), "state HOST or HOST:PORT, with brackets around an IPv6 address")
    })?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    let reason = last.map_or("it has no address".into(), |error| error.to_string());
    bail!(
        "cannot reach {to}: {reason}\nhint: `updater` listens at TCP port {PORT}; `./run.sh --port 4919` gives this machine that port of the guest"
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What `send` says of a system with an answer that reads some bytes before.
    fn answered(reads: usize, answer: &'static [u8]) -> std::result::Result<ExitCode, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut vec![0; reads]).unwrap();
            stream.write_all(answer).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        });
        let result = send(&to, &[1; 100_000]).map_err(|error| format!("{error:#}"));
        server.join().unwrap();
        result
    }

    #[test]
    fn the_answer_decides() {
        assert_eq!(answered(100_000, b"ok: in slot 2; restarting to try it\n"), Ok(ExitCode::SUCCESS));
        assert!(
            answered(512, b"error: it is no update\n")
                .unwrap_err()
                .contains("does not take the update: it is no update")
        );
        assert!(answered(512, b"").unwrap_err().contains("without an answer"));
    }

    #[test]
    fn a_system_that_is_not_there() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(connect(&free.to_string()).unwrap_err().to_string().contains("cannot reach"));
        assert!(connect("no.such.host.invalid").unwrap_err().to_string().contains("no system"));
    }
}
