//! The server over real sockets of this machine.

mod crowd;
mod fuzz;
mod rules;
mod server;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use datasets::images::LatentShape;
use datasets::pairs::{GeneratedPair, GeneratedResult, Modality, NewResult, Refined};
use datasets::{Judgements, PairFolder, PairWriter, Pixels};
use label::{Server, ServerSettings, Stop};
use serde_json::Value;

/// A folder of hybrid pairs. Side `a` is red and was made of "red N", `b` is green.
fn pictures(n: usize) -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("pairs");
    let shape = LatentShape { channels: 1, height: 1, width: 1 };
    let mut writer = PairWriter::create(&path, Modality::Hybrid, serde_json::Map::new(), Some(shape)).unwrap();
    let picture = |side| Pixels::from_fn(2, 2, |_, _, channel| if channel == side { 1.0 } else { -1.0 });
    let pictures = [picture(0), picture(1)];
    for index in 0..n {
        let side = |at: usize, name: &str| GeneratedResult {
            refined: Some(Refined { text: format!("{name} {index}"), tokens: vec![1], is_null: false }),
            made: NewResult::Image { picture: &pictures[at], latent: &[0.0] },
            seed: 0,
            log_probs: None,
        };
        writer
            .push(&GeneratedPair { request: format!("<b>{index}</b>"), a: side(0, "red"), b: side(1, "green") })
            .unwrap();
    }
    writer.finish().unwrap();
    (parent, path)
}

/// A token that is long enough.
const TOKEN: &str = "a token of 25 characters!";

/// The settings of a server that demands it.
fn secret() -> ServerSettings {
    ServerSettings { token: Some(TOKEN.to_owned()), ..ServerSettings::default() }
}

/// A server in a thread of its own, on a port of its own.
struct Running {
    address: SocketAddr,
    stop: Stop,
    thread: JoinHandle<Judgements>,
}

impl Running {
    fn start(folder: &Path, settings: ServerSettings) -> Self {
        let server = Server::bind(PairFolder::open(folder).unwrap(), ServerSettings { port: 0, ..settings }).unwrap();
        let (address, (stop, stopped)) = (server.address(), label::stop());
        Self { address, stop, thread: std::thread::spawn(move || server.run(stopped).unwrap()) }
    }

    fn end(self) -> Judgements {
        self.stop.now();
        self.thread.join().unwrap()
    }

    fn client(&self) -> Client {
        Client { address: self.address, token: None }
    }
}

/// A browser, as far as the server can see.
#[derive(Clone)]
struct Client {
    address: SocketAddr,
    token: Option<&'static str>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Client {
    fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    fn post(&self, body: &str) -> Reply {
        self.send("POST", "/api/answers", &["Content-Type: application/json"], body.as_bytes())
    }

    fn choose(&self, labeller: &str, index: usize, choice: &str) -> Reply {
        self.post(&format!(r#"{{"labeller":"{labeller}","index":{index},"choice":"{choice}"}}"#))
    }

    fn send(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            write!(head, "Host: {}\r\n", self.address).unwrap();
        }
        if let Some(token) = self.token {
            write!(head, "Authorization: Bearer {token}\r\n").unwrap();
        }
        for header in headers {
            write!(head, "{header}\r\n").unwrap();
        }
        if !body.is_empty() {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        let bytes = [head.as_bytes(), b"\r\n", body].concat();
        self.raw(&bytes).unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    /// Sends these bytes, and reads until the server hangs up; nothing if it said nothing.
    fn raw(&self, bytes: &[u8]) -> Option<Reply> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        // Far longer than any answer takes: a server that hangs fails the test instead of holding it up.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // A server that refuses early may hang up before it has heard everything.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the server hangs");
        }
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Some(Reply { status, head, body: answer[end + 4..].to_vec() })
    }
}
