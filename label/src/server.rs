//! The listening socket and its connections.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use datasets::pairs::Judgement;
use datasets::{Judgements, PairFolder};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::board::Board;
use crate::connection::converse;
use crate::guard::Guard;
use crate::server_limits::{Peer, Places, Room, ServerLimits};
use crate::{LabelError, Result, routes};

/// Minimum length of a token: 16 hexadecimal digits are 64 bits, out of reach at 100 attempts a minute.
const SHORTEST_TOKEN: usize = 16;
/// Time for answers in progress at shutdown.
const GRACE: Duration = Duration::from_secs(1);

/// Settings of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port; 0 selects a free one.
    pub port: u16,
    /// The access token of labellers, at least 16 characters; required if other machines can reach the host.
    pub token: Option<String>,
    /// Default labeller name.
    pub labeller: Option<String>,
    /// Seed of the left and right placement.
    pub seed: u64,
    /// Limits of connections.
    pub limits: ServerLimits,
}

impl Default for ServerSettings {
    fn default() -> Self {
        let limits = ServerLimits::default();
        Self { host: Ipv4Addr::LOCALHOST.into(), port: 8080, token: None, labeller: None, seed: 0, limits }
    }
}

/// A bound server that does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    board: Arc<Board>,
    router: Router,
    limits: ServerLimits,
}

impl Server {
    /// Binds the port and locks the folder for appending judgements.
    ///
    /// # Errors
    /// The port is in use, the judgements are malformed or locked by another process, the token is shorter than 16
    /// characters, or other machines can reach the host and there is no token.
    pub fn bind(pairs: PairFolder, settings: ServerSettings) -> Result<Self> {
        let ServerSettings { host, port, token, labeller, seed, limits } = settings;
        let token = token.filter(|token| !token.is_empty());
        if !host.is_loopback() && token.is_none() {
            return Err(LabelError::TokenDemanded { host });
        }
        if let Some(length) = token.as_ref().map(|token| token.chars().count()).filter(|n| *n < SHORTEST_TOKEN) {
            return Err(LabelError::TokenTooShort { length, shortest: SHORTEST_TOKEN });
        }
        if let Some(name) = labeller.as_ref().filter(|name| !Judgement::is_name(name)) {
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
        Ok(Self { listener, address, board, router, limits })
    }

    /// The listening address; the port is never 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The judgements in the folder.
    pub fn labels(&self) -> Judgements {
        self.board.labels()
    }

    /// Serves until `stop` is ready, and returns the judgements in the folder.
    ///
    /// Answers in progress get one second; a judgement being written is completed.
    ///
    /// # Errors
    /// The system could not create an event loop.
    ///
    /// # Panics
    /// It is called from within a tokio runtime.
    pub fn run(self, stop: impl Future<Output = ()>) -> Result<Judgements> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LabelError::Start)?;
        runtime.block_on(answer(self.listener, self.router, self.limits, stop)).map_err(LabelError::Start)?;
        drop(runtime);
        self.board.end();
        Ok(self.board.labels())
    }
}

async fn answer(
    listener: TcpListener,
    router: Router,
    limits: ServerLimits,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (end, ending) = watch::channel(false);
    let (mut connections, mut places) = (JoinSet::new(), Places::<AbortHandle>::new(limits));
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(ended) = connections.join_next_with_id() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                places.free(|connection| connection.id() == id);
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let peer = Peer::new(from.ip());
                    match places.make_room(&peer) {
                        Room::Free => {}
                        Room::InPlaceOf(other) => other.abort(),
                        // Dropping the stream hangs up.
                        Room::Full => continue,
                    }
                    let conversation = converse(stream, router.clone(), peer.clone(), limits, ending.clone());
                    places.take(connections.spawn(conversation), peer);
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

/// Stops a server from another thread, such as a signal handler.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Completes the paired future.
    pub fn now(&self) {
        self.0.send_replace(true);
    }
}

/// A stop handle, and the future for [`Server::run`].
///
/// The future also completes when the handle is dropped.
pub fn stop() -> (Stop, impl Future<Output = ()> + Send + 'static) {
    let (sender, mut receiver) = watch::channel(false);
    let stopped = async move {
        let _ = receiver.wait_for(|is_stopped| *is_stopped).await;
    };
    (Stop(sender), stopped)
}
