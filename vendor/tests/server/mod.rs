//! A small HTTP server for the tests: files of a directory, with ranges, and with the faults that networks have.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the server behaves.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// Ranges are not known: every answer is the whole file.
    pub no_ranges: bool,
    /// The connection breaks after this many bytes of a file.
    pub cut_after: Option<usize>,
    /// Every answer is late by this time.
    pub delay: Duration,
}

/// A running server; it ends with the test's process.
pub struct Server {
    /// Its address without a slash at the end.
    pub url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves a directory.
    pub fn start(dir: &Path, faults: Faults) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (dir, seen) = (dir.to_path_buf(), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (dir, seen) = (dir.clone(), Arc::clone(&seen));
                std::thread::spawn(move || answer(&stream.unwrap(), &dir, faults, &seen));
            }
        });
        Server { url, requests }
    }

    /// The requests so far: path, and the range when one was asked for.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Answers the requests of one connection; apt keeps it open.
fn answer(stream: &TcpStream, dir: &Path, faults: Faults, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let path = request.split(' ').nth(1).unwrap_or("/").to_string();
        let mut range = None;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) <= 2 {
                break;
            }
            let value = header.to_ascii_lowercase().strip_prefix("range: bytes=").map(|text| text.trim().to_string());
            range = value.or(range);
        }
        seen.lock().unwrap().push(format!("{path} {}", range.as_deref().unwrap_or_default()).trim().to_string());
        std::thread::sleep(faults.delay);
        if !send(stream, &dir.join(path.trim_start_matches('/')), range, faults) {
            return;
        }
    }
}

/// Sends a file; says whether the connection goes on.
fn send(mut stream: &TcpStream, file: &Path, range: Option<String>, faults: Faults) -> bool {
    let Ok(content) = std::fs::read(file) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").is_ok();
    };
    let asked = range.and_then(|text| text.trim_end_matches('-').parse::<usize>().ok());
    let start = asked.filter(|start| !faults.no_ranges && *start < content.len()).unwrap_or(0);
    let status = if start > 0 {
        format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{}", content.len() - 1, content.len())
    } else {
        "200 OK".to_string()
    };
    let body = &content[start..];
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    let cut = faults.cut_after.map_or(body.len(), |bytes| bytes.min(body.len()));
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..cut]));
    sent.is_ok() && cut == body.len()
}
