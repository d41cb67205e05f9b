//! The socket, and the connections to it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use datasets::pairs::Label;
use datasets::{Labels, PairFolder};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::board::Board;
use crate::guard::Guard;
use crate::{LabelError, Result, routes};

/// The most connections at a time; more wait until one ends.
const CONNECTIONS: usize = 256;
/// How long a connection may take to send the head of a request, or be silent between two.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long answers that are under way may take once the server is to end.
const GRACE: Duration = Duration::from_secs(1);

/// How to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub host: IpAddr,
    /// On which port; 0 is any that is free.
    pub port: u16,
    /// What everyone must know who labels; demanded where other machines can reach the host.
    pub token: Option<String>,
    /// Who labels, unless the page is told otherwise.
    pub labeller: Option<String>,
    /// Decides which side stands left.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { host: Ipv4Addr::LOCALHOST.into(), port: 8080, token: None, labeller: None, seed: 0 }
    }
}

/// A server that has its port and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    board: Arc<Board>,
    router: Router,
}

impl Server {
    /// Takes the port and the right to add judgements to the folder.
    ///
    /// # Errors
    /// The port is in use, the judgements are broken or another process adds to them, or other machines could reach the
    /// host and there is no token.
    pub fn bind(pairs: PairFolder, settings: Settings) -> Result<Self> {
        let Settings { host, port, token, labeller, seed } = settings;
        let token = token.filter(|token| !token.is_empty());
        if !host.is_loopback() && token.is_none() {
            return Err(LabelError::TokenDemanded { host });
        }
        if let Some(name) = labeller.as_ref().filter(|name| !Label::is_name(name)) {
            return Err(LabelError::Name { name: name.clone() });
        }
        let wanted = SocketAddr::new(host, port);
        let listener = TcpListener::bind(wanted).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => LabelError::PortInUse { address: wanted },
            _ => LabelError::Bind { address: wanted, source },
        })?;
        let address = listener.local_addr().map_err(LabelError::Start)?;
        let board = Arc::new(Board::open(pairs, labeller, seed)?);
        let router = routes::router(Arc::clone(&board), Guard::new(host, token.as_deref()));
        Ok(Self { listener, address, board, router })
    }

    /// Where it listens; the port is never 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stands in the folder.
    pub fn labels(&self) -> Labels {
        self.board.labels()
    }

    /// Answers until `stop` is ready, and gives what then stands in the folder.
    ///
    /// Answers that are under way get a second to end; a judgement that is being written is written.
    ///
    /// # Errors
    /// The system gives no event loop.
    ///
    /// # Panics
    /// It is called from within a tokio runtime.
    pub fn run(self, stop: impl Future<Output = ()>) -> Result<Labels> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LabelError::Start)?;
        runtime.block_on(answer(self.listener, self.router, stop)).map_err(LabelError::Start)?;
        // Waits for what is being written.
        drop(runtime);
        Ok(self.board.labels())
    }
}

async fn answer(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (end, ending) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, router.clone(), ending.clone()));
                }
                // Too many open files, or a browser that has gone: the next may do better.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
    drop(listener);
    end.send_replace(true);
    // Who takes longer is cut off when the set goes.
    let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

/// Answers the requests of one connection.
async fn converse(stream: TcpStream, router: Router, mut ending: watch::Receiver<bool>) {
    let mut builder = http1::Builder::new();
    // A client that has nothing more to say may still wait for the answer.
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).half_close(true);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        // A broken connection is the browser's affair.
        _ = connection.as_mut() => return,
        _ = ending.wait_for(|is_ending| *is_ending) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Ends a server from another thread, such as a signal's handler.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Makes the future ready that was made with this.
    pub fn now(&self) {
        self.0.send_replace(true);
    }
}

/// Something to stop a server with, and what to give to [`Server::run`].
///
/// The future is ready too when there is nothing left that could stop it.
pub fn stop() -> (Stop, impl Future<Output = ()> + Send + 'static) {
    let (sender, mut receiver) = watch::channel(false);
    let stopped = async move {
        let _ = receiver.wait_for(|is_stopped| *is_stopped).await;
    };
    (Stop(sender), stopped)
}
