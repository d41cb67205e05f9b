//! The socket, and the connections to it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use datasets::pairs::Label;
use datasets::{Labels, PairFolder};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::board::Board;
use crate::connection::converse;
use crate::guard::Guard;
use crate::limits::{Limits, Peer, Places, Room};
use crate::{LabelError, Result, routes};

/// The fewest characters of a token: 16 hexadecimal digits are 64 bits, out of reach of 100 tries a minute.
const SHORTEST_TOKEN: usize = 16;
/// How long answers that are under way may take once the server is to end.
const GRACE: Duration = Duration::from_secs(1);

/// How to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub host: IpAddr,
    /// On which port; 0 is any that is free.
    pub port: u16,
    /// What everyone must know who labels, of at least 16 characters; demanded where other machines can reach the host.
    pub token: Option<String>,
    /// Who labels, unless the page is told otherwise.
    pub labeller: Option<String>,
    /// Decides which side stands left.
    pub seed: u64,
    /// What connections may take.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        let limits = Limits::default();
        Self { host: Ipv4Addr::LOCALHOST.into(), port: 8080, token: None, labeller: None, seed: 0, limits }
    }
}

/// A server that has its port and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    board: Arc<Board>,
    router: Router,
    limits: Limits,
}

impl Server {
    /// Takes the port and the right to add judgements to the folder.
    ///
    /// # Errors
    /// The port is in use, the judgements are broken or another process adds to them, the token is shorter than 16
    /// characters, or other machines could reach the host and there is none.
    pub fn bind(pairs: PairFolder, settings: Settings) -> Result<Self> {
        let Settings { host, port, token, labeller, seed, limits } = settings;
        let token = token.filter(|token| !token.is_empty());
        if !host.is_loopback() && token.is_none() {
            return Err(LabelError::TokenDemanded { host });
        }
        if let Some(length) = token.as_ref().map(|token| token.chars().count()).filter(|n| *n < SHORTEST_TOKEN) {
            return Err(LabelError::TokenTooShort { length, shortest: SHORTEST_TOKEN });
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
        Ok(Self { listener, address, board, router, limits })
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
        runtime.block_on(answer(self.listener, self.router, self.limits, stop)).map_err(LabelError::Start)?;
        // Waits for what is being written.
        drop(runtime);
        Ok(self.board.labels())
    }
}

async fn answer(
    listener: TcpListener,
    router: Router,
    limits: Limits,
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
