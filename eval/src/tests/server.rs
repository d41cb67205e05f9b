//! A server on this machine that answers as a test wants, or misbehaves.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Answers with a status, more headers, and a body.
    Reply(u16, &'static str, String),
    /// Promises more of the body than it sends.
    Half(String),
    /// Closes the connection without a word.
    Close,
    /// Says nothing until the client goes away.
    Hang,
}

impl Action {
    /// A completion with this text.
    pub(crate) fn say(text: &str) -> Self {
        let reply = json!({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10}});
        Self::Reply(200, "", reply.to_string())
    }
}

/// A request that the server has read.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The first line and the headers, lines in lower case.
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Request {
    /// The text of the last message.
    pub(crate) fn text(&self) -> String {
        let messages = self.body["messages"].as_array().unwrap();
        messages.last().unwrap()["content"].as_str().unwrap_or_default().to_owned()
    }
}

/// The server; dropping it ends it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Decides by the number of the request, from 0, and the request.
type Script = dyn Fn(usize, &Request) -> Action + Send + Sync;

impl Server {
    pub(crate) fn start(script: impl Fn(usize, &Request) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, ended, script) =
            (Arc::clone(&requests), Arc::clone(&is_over), Arc::<Script>::from(Box::new(script) as Box<Script>));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                std::thread::spawn(move || drop(serve(&stream.unwrap(), &seen, &*script)));
            }
        });
        Self { address, requests, is_over, thread: Some(thread) }
    }

    /// The base of its API.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn serve(stream: &TcpStream, seen: &Mutex<Vec<Request>>, script: &Script) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) => return Ok(()),
            // What is no text is the beginning of TLS, to which servers without it reply in plain text.
            Err(_) => return answer(stream, Action::Reply(400, "", String::new())),
            Ok(_) => {}
        }
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request = Request { head, body: serde_json::from_slice(&body).unwrap_or_default() };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    answer(stream, script(number, &request))
}

fn answer(mut stream: &TcpStream, action: Action) -> std::io::Result<()> {
    match action {
        Action::Reply(status, headers, body) => write!(
            stream,
            "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        ),
        Action::Half(body) => {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len() + 50)
        }
        Action::Close => Ok(()),
        Action::Hang => stream.read(&mut [0]).map(drop),
    }
}
