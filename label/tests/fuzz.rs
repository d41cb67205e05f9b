//! Requests that no browser sends.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use label::ServerSettings;

use super::{Running, pictures};

/// Whole requests to spoil.
const REQUESTS: [&str; 6] = [
    "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "GET /api/progress?labeller=anna HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "GET /api/pairs/1/left?labeller=b%C3%A9n HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "POST /api/answers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
     Content-Length: 45\r\n\r\n{\"labeller\":\"anna\",\"index\":0,\"choice\":\"left\"}",
    "POST /api/answers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
     Transfer-Encoding: chunked\r\n\r\n2d\r\n{\"labeller\":\"anna\",\"index\":0,\"choice\":\"left\"}\r\n0\r\n\r\n",
    "POST /api/answers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
     Content-Length: 41\r\n\r\n{\"labeller\":\"anna\",\"index\":0,\"undo\":true}",
];

/// Pieces that parsers stumble over.
const PIECES: [&str; 14] = [
    "\0",
    "\r\n",
    "\r\n\r\n",
    "%",
    "%00",
    "\u{202e}",
    "\"",
    "{",
    "\\ud800",
    "9999999999999999999999",
    "-1",
    " HTTP/1.1",
    "Content-Length: 18446744073709551616\r\n",
    "Host: localhost\r\n",
];

fn spoiled(rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = REQUESTS.choose(rng).unwrap().as_bytes().to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..6) {
            0 => bytes[at] = rng.random(),
            1 => bytes.truncate(at + 1),
            2 => drop(bytes.remove(at)),
            3 => drop(bytes.splice(at..at, PIECES.choose(rng).unwrap().bytes())),
            4 => {
                let end = rng.random_range(at..bytes.len()) + 1;
                let part = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, part));
            }
            _ => {
                let noise: Vec<u8> = (0..rng.random_range(1..6000)).map(|_| rng.random()).collect();
                drop(bytes.splice(at..at, noise));
            }
        }
        if bytes.is_empty() {
            bytes.push(b'G');
        }
    }
    bytes
}

#[test]
fn no_request_breaks_the_server() {
    let (_parent, path) = pictures(2);
    let running = Running::start(&path, ServerSettings::default());
    let client = running.client();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut refused = 0;
    for number in 0..400 {
        let bytes = spoiled(&mut rng);
        if let Some(reply) = client.raw(&bytes) {
            let is_expected = reply.status == 200 || (400..500).contains(&reply.status);
            assert!(is_expected, "request {number}: {reply:?} to {}", String::from_utf8_lossy(&bytes));
            refused += usize::from(reply.status != 200);
        }
    }
    assert!(refused > 200, "{refused} of 400 were refused");
    assert_eq!(client.choose("zoe", 1, "left").status, 200, "it still answers");
    // Whatever got through is a judgement like others.
    let labels = running.end();
    assert_eq!(datasets::PairFolder::open(&path).unwrap().labels().unwrap(), labels);
}
