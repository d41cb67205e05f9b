//! A server on this machine that behaves like the hub, and misbehaves on demand.
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::download::checksum;

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) from: Option<usize>,
}

/// What a server does in place of what it should.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Answers with a status and these headers.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// Ends the connection after so many bytes of the body.
    Cut(usize),
    /// Sends all of the file, whatever range is asked for.
    Whole,
    /// Changes a byte.
    Damage,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Vec<Asked>>,
    /// What happens at the next requests whose path contains a text.
    faults: Mutex<BTreeMap<&'static str, VecDeque<Fault>>>,
    is_over: AtomicBool,
}

pub(super) struct Server {
    pub(super) address: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

type Headers = Vec<(String, String)>;

impl Server {
    /// A server of replies: status, headers and body by request.
    fn start(reply: impl Fn(&Asked) -> (u16, Headers, Vec<u8>) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let inner = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if inner.is_over.load(Ordering::Relaxed) {
                    break;
                }
                // A client may leave in the middle of a reply.
                let _ = stream.and_then(|stream| answer(&stream, &inner, &reply));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// A server of files by path, with ranges.
    pub(super) fn of_files(files: Vec<(String, Vec<u8>)>) -> Self {
        Self::start(move |asked| {
            let found = files.iter().find(|(path, _)| *path == asked.path);
            found.map_or((404, Headers::new(), Vec::new()), |(_, bytes)| (200, Headers::new(), bytes.clone()))
        })
    }

    /// A hub with one repository, which was `org/old` before, whose large files (`.safetensors`) lie at another server.
    pub(super) fn hub(repository: &'static str, files: &[(&str, &[u8])], elsewhere: &str) -> Self {
        let files: Vec<(String, Vec<u8>)> =
            files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        let elsewhere = elsewhere.to_owned();
        Self::start(move |asked| {
            if asked.path.contains("/org/old/") {
                let to = asked.path.replace("/org/old/", &format!("/{repository}/"));
                return (307, vec![("location".to_owned(), to)], Vec::new());
            }
            let path = asked.path.replace("/datasets/", "/").replace("/api/models/", "/api/");
            if path == format!("/api/{repository}/revision/main") {
                return (200, Headers::new(), format!("{{\"sha\": \"{COMMIT}\"}}").into_bytes());
            }
            if let Some(page) = path.strip_prefix(&format!("/api/{repository}/tree/{COMMIT}?")) {
                return listing(&files, page, &path);
            }
            let Some(file) = path.strip_prefix(&format!("/{repository}/resolve/{COMMIT}/")) else {
                let code = ("x-error-code".to_owned(), "RepoNotFound".to_owned());
                return (401, vec![code], Vec::new());
            };
            match files.iter().find(|(path, _)| path == file) {
                Some(_) if is_large(file) => {
                    let to = format!("{elsewhere}/{file}");
                    (
                        302,
                        vec![("location".to_owned(), to), ("x-repo-commit".to_owned(), COMMIT.to_owned())],
                        Vec::new(),
                    )
                }
                Some((_, bytes)) => (200, Headers::new(), bytes.clone()),
                None => (404, vec![("x-error-code".to_owned(), "EntryNotFound".to_owned())], Vec::new()),
            }
        })
    }

    /// Something that happens at the next request whose path contains a text.
    pub(super) fn will(&self, at: &'static str, fault: Fault) -> &Self {
        self.shared.faults.lock().unwrap().entry(at).or_default().push_back(fault);
        self
    }

    /// The requests so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread.
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
        self.thread.take().map(JoinHandle::join);
    }
}

fn is_large(path: &str) -> bool {
    path.ends_with(".safetensors")
}

/// A list of files in pages of two.
fn listing(files: &[(String, Vec<u8>)], query: &str, path: &str) -> (u16, Headers, Vec<u8>) {
    let at: usize = query.split("cursor=").nth(1).map_or(0, |at| at.parse().unwrap());
    let entry = |(path, bytes): &(String, Vec<u8>)| {
        let (git, size) = (checksum(&"0".repeat(40), bytes), bytes.len());
        let large = serde_json::json!({"oid": checksum(&"0".repeat(64), bytes), "size": size});
        let mut entry = serde_json::json!({"type": "file", "path": path, "oid": git, "size": size});
        if is_large(path) {
            entry["lfs"] = large;
        }
        entry
    };
    let page: Vec<serde_json::Value> = files.iter().skip(at).take(2).map(entry).collect();
    let next = (at + 2 < files.len()).then(|| {
        let start = path.split("&cursor").next().unwrap();
        ("link".to_owned(), format!("<{start}&cursor={}>; rel=\"next\"", at + 2))
    });
    (200, next.into_iter().collect(), serde_json::to_vec(&page).unwrap())
}

/// Reads a request.
fn asked(stream: &TcpStream) -> std::io::Result<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        let mut pairs = headers.iter().filter_map(|line| line.split_once(": "));
        pairs.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let range = header("range").map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap());
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Asked { path, authorization: header("authorization"), from: range })
}

fn answer(
    stream: &TcpStream,
    shared: &Shared,
    reply: &impl Fn(&Asked) -> (u16, Headers, Vec<u8>),
) -> std::io::Result<()> {
    let asked = asked(stream)?;
    shared.asked.lock().unwrap().push(asked.clone());
    let fault = {
        let mut faults = shared.faults.lock().unwrap();
        faults.iter_mut().find(|(at, _)| asked.path.contains(**at)).and_then(|(_, faults)| faults.pop_front())
    };
    let (mut status, mut headers, mut body) = reply(&asked);
    let whole = body.len();
    if let (Some(from), 200, false) = (asked.from, status, matches!(fault, Some(Fault::Whole))) {
        status = 206;
        headers.push(("content-range".to_owned(), format!("bytes {from}-{}/{whole}", whole - 1)));
        body.drain(..from);
    }
    let mut sent = body.len();
    match fault {
        Some(Fault::Status(other, more)) => {
            status = other;
            headers = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            (body, sent) = (Vec::new(), 0);
        }
        Some(Fault::Cut(after)) => sent = after.min(body.len()),
        Some(Fault::Damage) => body[0] ^= 1,
        Some(Fault::Whole) | None => {}
    }
    let mut text = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        use std::fmt::Write as _;
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let mut stream = stream;
    stream.write_all(format!("{text}\r\n").as_bytes())?;
    stream.write_all(&body[..sent])
}
