//! A worker: one thread, one runtime, its own sockets and upstream connections. Nothing leaves it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::runtime::Builder;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::name::Name;
use crate::pipeline::Gateway;
use crate::pipeline::since_epoch;
use crate::server::connection::Accepted;
use crate::server::connection::Protocols;
use crate::server::connection::Tls;
use crate::server::connection::serve;
use crate::server::socket::Socketed;
use crate::upstream::stream::Stream;

/// How often a worker writes out its access log and closes what has idled.
const HOUSEKEEPING: Duration = Duration::from_millis(250);

/// Pause after a failed accept: at the limit of file descriptors each further one fails at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a worker is told.
#[derive(Debug)]
pub enum Command {
    /// Accept connections on this socket.
    Listen {
        /// The listener's name.
        name: Name,
        /// The socket.
        socket: Socketed,
        /// What it speaks.
        tls: Tls,
    },
    /// Accept no more on this listener. Connections that it has are kept.
    Close(Name),
    /// Accept no more at all, finish what is in flight for at most this long, and end.
    Drain(Duration),
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    commands: mpsc::UnboundedSender<Command>,
    ended: CancellationToken,
}

impl Worker {
    /// Starts a worker's thread; `gateway` is called on it.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn start(index: usize, gateway: impl FnOnce() -> Gateway + Send + 'static) -> io::Result<Self> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let runtime = move || Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let ended = CancellationToken::new();
        let told = ended.clone().drop_guard();
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let _told = told;
            match runtime() {
                Ok(runtime) => runtime.block_on(work(Rc::new(gateway()), inbox)),
                Err(error) => tracing::error!(%error, worker = index, "a worker could not start"),
            }
        })?;
        Ok(Self { commands, ended })
    }

    /// Tells the worker something. A worker that has ended hears nothing.
    pub fn tell(&self, command: Command) {
        drop(self.commands.send(command));
    }

    /// Cancelled when its thread ends, whichever way.
    #[must_use]
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }
}

async fn work(gateway: Rc<Gateway>, mut inbox: mpsc::UnboundedReceiver<Command>) {
    let protocols = Rc::new(Protocols::new());
    gateway.metrics().worker_started();
    let connections = gateway.tasks().clone();
    let drain = CancellationToken::new();
    let mut listening: HashMap<Name, CancellationToken> = HashMap::new();
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    let drain_within = loop {
        tokio::select! {
            command = inbox.recv() => match command {
                Some(Command::Listen { name, socket, tls }) => {
                    let close = CancellationToken::new();
                    let accepting = Accepting {
                        gateway: Rc::clone(&gateway),
                        protocols: Rc::clone(&protocols),
                        connections: connections.clone(),
                        drain: drain.clone(),
                        close: close.clone(),
                        listener: name.clone(),
                        tls,
                    };
                    connections.spawn_local(accepting.run(socket));
                    listening.insert(name, close);
                }
                Some(Command::Close(name)) => {
                    if let Some(close) = listening.remove(&name) {
                        close.cancel();
                    }
                }
                Some(Command::Drain(within)) => break within,
                None => break Duration::ZERO,
            },
            _ = housekeeping.tick() => gateway.housekeeping(Instant::now(), since_epoch()),
        }
    };
    listening.values().for_each(CancellationToken::cancel);
    connections.close();
    // The sockets' queues are emptied first, so that nothing the kernel accepted is cut off.
    tokio::task::yield_now().await;
    drain.cancel();
    if tokio::time::timeout(drain_within, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections were still open at the end of the drain");
    }
    gateway.housekeeping(Instant::now(), since_epoch());
    gateway.metrics().worker_stopped();
}

/// One worker's end of a listener.
struct Accepting {
    gateway: Rc<Gateway>,
    protocols: Rc<Protocols>,
    connections: TaskTracker,
    drain: CancellationToken,
    close: CancellationToken,
    listener: Name,
    tls: Tls,
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    fn new(socket: Socketed) -> io::Result<Self> {
        Ok(match socket {
            Socketed::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            Socketed::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    fn poll_accept(&self, cx: &mut std::task::Context<'_>) -> Poll<io::Result<(Stream, Option<std::net::SocketAddr>)>> {
        match self {
            Self::Tcp(socket) => socket.poll_accept(cx).map_ok(|(tcp, address)| {
                // Answers are written whole; waiting for more to send with them only adds delay. A socket that
                // refuses the option still works.
                drop(tcp.set_nodelay(true));
                (Stream::Tcp(tcp), Some(address))
            }),
            Self::Unix(socket) => socket.poll_accept(cx).map_ok(|(unix, _)| (Stream::Unix(unix), None)),
        }
    }
}

impl Accepting {
    async fn run(self, socket: Socketed) {
        let listening = match Listening::new(socket) {
            Ok(listening) => listening,
            Err(error) => return tracing::error!(listener = %self.listener, %error, "a socket could not be used"),
        };
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                accepted = poll_fn(|cx| listening.poll_accept(cx)) => accepted,
                () = self.close.cancelled() => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    failing = false;
                    self.serve(stream, address);
                }
                Err(error) => {
                    self.gateway.listener_metrics(&self.listener).accept_failed();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(listener = %self.listener, %error, "connections cannot be accepted");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Connections that the kernel has completed belong to us: closing the socket would reset them.
        while let Poll::Ready(Ok((stream, address))) = poll_fn(|cx| Poll::Ready(listening.poll_accept(cx))).await {
            self.serve(stream, address);
        }
    }

    fn serve(&self, stream: Stream, address: Option<std::net::SocketAddr>) {
        let accepted = Accepted { stream, address, listener: self.listener.clone(), tls: self.tls };
        let (gateway, protocols) = (Rc::clone(&self.gateway), Rc::clone(&self.protocols));
        self.connections.spawn_local(serve(gateway, protocols, accepted, self.drain.clone()));
    }
}
