//! The life of one HTTP connection.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::server_limits::{Peer, ServerLimits};

/// Serves one connection until it closes, exceeds its lifetime, or the server shuts down.
pub(crate) async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    peer: Peer,
    limits: ServerLimits,
    mut ending: watch::Receiver<bool>,
) {
    let mut builder = http1::Builder::new();
    // A client that has nothing more to say may still wait for the answer.
    builder.timer(TokioTimer::new()).header_read_timeout(limits.idle).half_close(true);
    let asked = AtomicUsize::new(0);
    let requests = Requests { inner: TowerToHyperService::new(router), peer, asked, most: limits.requests };
    let connection = builder.serve_connection(TokioIo::new(Impatient::new(stream, limits.stall)), requests);
    tokio::pin!(connection);
    tokio::select! {
        // A broken connection is the browser's affair.
        _ = connection.as_mut() => return,
        _ = ending.wait_for(|is_ending| *is_ending) => {}
        () = tokio::time::sleep(limits.lifetime) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(limits.stall, connection).await;
}

/// The router of one connection: adds the peer to each request, and `Connection: close` to the last answer.
struct Requests {
    inner: TowerToHyperService<Router>,
    peer: Peer,
    asked: AtomicUsize,
    most: usize,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<axum::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        let is_last = self.asked.fetch_add(1, Ordering::Relaxed) + 1 >= self.most;
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            if is_last {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}

/// A stream whose writes fail if the peer reads nothing for too long.
struct Impatient<S> {
    stream: S,
    stall: Duration,
    /// The timer that runs while no waiting byte is read.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn new(stream: S, stall: Duration) -> Self {
        Self { stream, stall, waiting: None }
    }

    fn bounded<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.stall)));
        waiting.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const LIMITS: ServerLimits = ServerLimits {
        connections: 1,
        connections_per_address: 1,
        requests: 1_000_000,
        idle: Duration::from_secs(30),
        stall: Duration::from_secs(10),
        lifetime: Duration::from_secs(120),
    };

    /// A connection whose pipe holds 64 bytes, and gives the seconds it lasted.
    fn open(limits: ServerLimits) -> (DuplexStream, JoinHandle<u64>) {
        let (client, server) = tokio::io::duplex(64);
        let router = Router::new().route("/", get(|| async { "a".repeat(1000) }));
        let peer = Peer::new([127, 0, 0, 1].into());
        let lasted = tokio::spawn(async move {
            let start = Instant::now();
            let (_end, ending) = watch::channel(false);
            converse(server, router, peer, limits, ending).await;
            start.elapsed().as_secs()
        });
        (client, lasted)
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_reads_is_left_after_the_stall() {
        let (mut client, lasted) = open(LIMITS);
        for _ in 0..5 {
            // The pipe is full before the fifth: then nobody listens any more.
            let _ = tokio::time::timeout(Duration::from_secs(1), client.write_all(REQUEST)).await;
        }
        assert_eq!(lasted.await.unwrap(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_a_byte_now_and_then_is_left_after_the_lifetime() {
        let (mut client, lasted) = open(LIMITS);
        client.write_all(REQUEST).await.unwrap();
        while client.read_u8().await.is_ok() {
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
        // The lifetime of 120 s, and a stall of 10 s for the answer under way.
        assert_eq!(lasted.await.unwrap(), 130);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_left_after_the_idle_time() {
        let (_client, lasted) = open(LIMITS);
        assert_eq!(lasted.await.unwrap(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_half_a_request_is_left_after_the_idle_time() {
        let (mut client, lasted) = open(LIMITS);
        client.write_all(&REQUEST[..20]).await.unwrap();
        assert_eq!(lasted.await.unwrap(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_asking_is_left_after_the_lifetime() {
        let (mut client, lasted) = open(LIMITS);
        let mut answers = 0;
        let mut bytes = [0; 4096];
        while client.write_all(REQUEST).await.is_ok() {
            let mut found = Vec::new();
            while !found.ends_with(&[b'a'; 1000]) {
                let n = client.read(&mut bytes).await.unwrap();
                assert!(n > 0, "an answer is whole or is not begun");
                found.extend_from_slice(&bytes[..n]);
            }
            answers += 1;
            tokio::time::sleep(Duration::from_secs(7)).await;
        }
        // Asked at 0, 7, .., 119 seconds.
        assert_eq!((answers, lasted.await.unwrap()), (18, 120));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_request_of_a_connection_is_answered_and_said_to_be_the_last() {
        let (client, lasted) = open(ServerLimits { requests: 3, ..LIMITS });
        let (mut read, mut write) = tokio::io::split(client);
        let asking = tokio::spawn(async move { write.write_all(&REQUEST.repeat(6)).await.is_ok() });
        let mut text = String::new();
        read.read_to_string(&mut text).await.unwrap();
        asking.await.unwrap();
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
        assert_eq!(text.matches("connection: close").count(), 1, "{text}");
        assert!(text.rfind("connection: close") > text.rfind("HTTP/1.1 200 OK"), "{text}");
        assert_eq!(lasted.await.unwrap(), 0);
    }
}
