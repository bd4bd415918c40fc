//! A web server for one file, on this machine's loopback address: a guest with user networking reaches it at 10.0.2.2.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context as _, Result};

/// Serves a body to whoever asks for a path, until the test process ends. Returns the port.
pub fn serve(path: &'static str, body: String) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot listen on 127.0.0.1")?;
    let port = listener.local_addr().context("cannot ask for the port")?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, path, &body); // A guest that hangs up shows in the guest's own exit status.
        }
    });
    Ok(port)
}

fn answer(mut stream: TcpStream, path: &str, body: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let found = request.split(' ').nth(1) == Some(path);
    let (status, body) = if found { ("200 OK", body) } else { ("404 Not Found", "") };
    write!(stream, "HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
