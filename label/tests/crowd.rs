//! Many who only hold on, and one who wants to work.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use label::{ServerLimits, ServerSettings};

use super::{Client, Running, TOKEN, pictures, secret};

/// A server with four places.
fn small() -> ServerSettings {
    ServerSettings { limits: ServerLimits { connections: 4, ..ServerLimits::default() }, ..secret() }
}

impl Running {
    /// A connection that asks again and again, as long as the system takes it, and never reads.
    fn deaf(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let requests = "GET /label.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
        // Taken in part, or not at all once both sides' buffers are full.
        let _ = stream.write(requests.as_bytes());
        stream
    }
}

/// Waits until the server has hung up; a read that takes a minute fails.
fn is_cut_off(mut stream: TcpStream) -> bool {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn clients_that_never_read_keep_nobody_out() {
    let (_parent, path) = pictures(1);
    let running = Running::start(&path, small());
    let deaf: Vec<TcpStream> = (0..12).map(|_| running.deaf()).collect();
    let client = Client { token: Some(TOKEN), ..running.client() };
    // Its own connection is the newest of all, so the oldest gives way to it.
    assert_eq!(client.get("/api/session").status, 200);
    assert_eq!(client.choose("anna", 0, "left").status, 200);
    let mut deaf = deaf.into_iter();
    for _ in 0..8 {
        assert!(is_cut_off(deaf.next().unwrap()), "four of twelve may stay");
    }
    assert_eq!(running.end().count("anna"), 1);
}

#[test]
fn who_brought_the_token_is_not_pushed_out() {
    let (_parent, path) = pictures(1);
    let running = Running::start(&path, small());
    let mut labeller = TcpStream::connect(running.address).unwrap();
    labeller.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let ask = |stream: &mut TcpStream| {
        let head = "GET /api/session HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ";
        write!(stream, "{head}{TOKEN}\r\n\r\n").unwrap();
        let mut found = Vec::new();
        while !found.ends_with(b"}") {
            let mut bytes = [0; 1024];
            let n = stream.read(&mut bytes).unwrap();
            assert!(n > 0, "the labeller is pushed out");
            found.extend_from_slice(&bytes[..n]);
        }
        String::from_utf8(found).unwrap()
    };
    assert!(ask(&mut labeller).starts_with("HTTP/1.1 200"));
    let deaf: Vec<TcpStream> = (0..8).map(|_| running.deaf()).collect();
    let mut deaf = deaf.into_iter();
    // Three places are left to the others, so five of eight have gone: the server has seen them all.
    for _ in 0..5 {
        assert!(is_cut_off(deaf.next().unwrap()));
    }
    assert!(ask(&mut labeller).starts_with("HTTP/1.1 200"));
    running.end();
}
