//! `echod`: sends back what it receives by TCP and UDP (RFC 862). It is linked into init's program, which runs it by this name.
//!
//! One thread, and one of two engines with the same behaviour: [`uring`] (multishot accept and receive with provided
//! buffers) and [`epoll`], which also serves where the kernel refuses io_uring. Both keep their connections in a
//! [`table`], and share sockets, signals and counters, the [`service`]. Memory is bounded: buffers, connections, and a
//! budget for what slow readers do not take.

mod epoll;
mod options;
mod service;
mod sys;
mod table;
mod uring;

use std::os::unix::net::UnixDatagram;

use init_base::bootconfig;
use options::{Asked, Engine, Options};
use service::Service;
use sys::files::to_stderr;
use sys::{Errno, descriptors, files};

/// Descriptors besides those of connections: standard ones, sockets, ring, signals.
const OTHER_DESCRIPTORS: u32 = 64;

/// Runs it with the arguments after the name, until a signal stops it; returns the exit code.
pub fn run(args: &[&str]) -> i32 {
    let configured = options::configured(&bootconfig::below("echod"));
    let words: Vec<&str> = configured.iter().map(String::as_str).chain(args.iter().copied()).collect();
    let options = match options::parse(&words) {
        Ok(Asked::Serve(options)) => options,
        Ok(Asked::Help) => {
            let _ = files::write_all(rustix::stdio::stdout(), options::USAGE.as_bytes());
            return 0;
        }
        Err(message) => {
            to_stderr(format_args!("echod: {message}\nhint: echod --help lists the options\n"));
            return 2;
        }
    };
    match serve(options) {
        Ok(()) => 0,
        Err(message) => {
            to_stderr(format_args!("echod: {message}\n"));
            1
        }
    }
}

fn serve(mut options: Options) -> Result<(), String> {
    make_room(&mut options);
    let mut service = Service::open(options)?;
    let ended = match service.options.engine {
        Engine::Uring => match uring::Uring::new(&service) {
            Ok(engine) => engine.run(&mut service, ready),
            Err(error) => {
                to_stderr(format_args!("echod: the kernel refuses io_uring ({error}): epoll\n"));
                epoll::run(&mut service, ready)
            }
        },
        Engine::Epoll => epoll::run(&mut service, ready),
    };
    ended.map_err(|error: Errno| format!("cannot wait for connections: {error}"))
}

/// Raises the limit on open descriptors to what the connections need, or serves fewer.
fn make_room(options: &mut Options) {
    let wanted = u64::from(options.max_connections.saturating_add(OTHER_DESCRIPTORS));
    // Where it cannot be known, what is too much fails when it is opened, and is said then.
    let Ok(given) = descriptors::descriptor_limit() else { return };
    if given.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = |maximum| descriptors::Limit { current: Some(wanted), maximum };
    let enough = given.maximum.is_none_or(|maximum| maximum >= wanted);
    let set = if enough { raised(given.maximum) } else { raised(Some(wanted)) };
    if descriptors::set_descriptor_limit(set).is_ok() {
        return;
    }
    // Every process may raise the limit to its own maximum.
    let _ = descriptors::set_descriptor_limit(descriptors::Limit { current: given.maximum, maximum: given.maximum });
    let current = descriptors::descriptor_limit().ok().and_then(|limit| limit.current).unwrap_or(wanted);
    let room = u32::try_from(current).unwrap_or(u32::MAX).saturating_sub(OTHER_DESCRIPTORS).max(1);
    if room < options.max_connections {
        to_stderr(format_args!("echod: the limit of open files ({current}) allows {room} connections\n"));
        options.max_connections = room;
    }
}

/// Tells people, and the supervisor if it asked (sd_notify(3)), that it serves.
fn ready(service: &Service) {
    service.announce();
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", &path));
    if let Err(error) = sent {
        to_stderr(format_args!("echod: cannot tell {} that it is ready: {error}\n", path.display()));
    }
}
