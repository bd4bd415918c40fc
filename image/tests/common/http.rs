//! A small web server: HEAD and GET with a length (RFC 9110).

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// Serves a body to whoever asks for a path, until the test process ends, on this machine's loopback address: a guest with
/// user networking reaches it at 10.0.2.2. Returns the port.
pub fn serve(path: &'static str, body: impl Into<Vec<u8>>) -> Result<u16> {
    let body = body.into();
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot listen on 127.0.0.1")?;
    let port = listener.local_addr().context("cannot ask for the port")?.port();
    let find = move |asked: &str| (asked == path).then(|| body.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &find); // A guest that hangs up shows in the guest's own exit status.
        }
    });
    Ok(port)
}

/// The first lines of requests, each behind the address that it came from.
pub type Requests = Arc<Mutex<Vec<String>>>;

/// Serves the files of a directory on port 80 of an address, until the test process ends, to several at once.
pub fn serve_files(address: IpAddr, dir: &Path) -> Result<Requests> {
    let listener =
        TcpListener::bind((address, 80)).with_context(|| format!("cannot listen on port 80 of {address}"))?;
    let (requests, dir) = (Requests::default(), dir.to_path_buf());
    let log = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (dir, log) = (dir.clone(), Arc::clone(&log));
            std::thread::spawn(move || {
                let peer = stream.peer_addr().map_or(String::new(), |peer| peer.ip().to_string());
                // A guest that hangs up is seen not to start.
                let request = answer(stream, &|path: &str| file(&dir, path)).unwrap_or_default();
                log.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{peer} {request}"));
            });
        }
    });
    Ok(requests)
}

/// A file of the directory itself.
fn file(dir: &Path, path: &str) -> Option<Vec<u8>> {
    let name = path.strip_prefix('/').filter(|name| !name.contains('/') && *name != "..")?;
    std::fs::read(PathBuf::from(dir).join(name)).ok()
}

/// Answers one request, and returns its first line.
fn answer(mut stream: TcpStream, find: &dyn Fn(&str) -> Option<Vec<u8>>) -> std::io::Result<String> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let mut words = request.split(' ');
    let head = words.next() == Some("HEAD");
    let body = words.next().and_then(find);
    let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
    let body = body.unwrap_or_default();
    write!(stream, "HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(if head { &[] } else { &body })?;
    Ok(request)
}
