//! A worker: one thread, one runtime, its own sockets and upstream connections. Nothing leaves it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Limits;
use crate::model::name::Name;
use crate::pipeline::Gateway;
use crate::pipeline::since_epoch;
use crate::server::connection::Accepted;
use crate::server::connection::Tls;
use crate::server::connection::serve;
use crate::server::crowd::Crowd;
use crate::server::door::Door;
use crate::server::door::Entered;
use crate::server::http2;
use crate::server::socket::Socketed;

/// How often a worker writes out its access log and closes what has idled.
const HOUSEKEEPING: Duration = Duration::from_millis(250);

/// What a worker is told.
#[derive(Debug)]
pub enum Command {
    /// Accept connections on this socket.
    Listen {
        /// The listener's name.
        name: Name,
        /// The socket.
        socket: Socketed,
        /// Who is connected, to this socket and to the other workers'.
        crowd: Arc<Crowd>,
        /// What it speaks.
        tls: Tls,
    },
    /// Accept no more on this listener. Connections that it has are kept.
    Close(Name),
    /// Answer, to show that the thread turns.
    Answer(oneshot::Sender<()>),
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

    /// Its inbox, for whoever asks again and again.
    #[must_use]
    pub fn commands(&self) -> mpsc::UnboundedSender<Command> {
        self.commands.clone()
    }

    /// Cancelled when its thread ends, whichever way.
    #[must_use]
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }
}

async fn work(gateway: Rc<Gateway>, mut inbox: mpsc::UnboundedReceiver<Command>) {
    gateway.metrics().worker_started();
    let connections = gateway.tasks().clone();
    let drain = CancellationToken::new();
    let mut listening: HashMap<Name, CancellationToken> = HashMap::new();
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    let drain_within = loop {
        tokio::select! {
            command = inbox.recv() => match command {
                Some(Command::Listen { name, socket, crowd, tls }) => {
                    let close = CancellationToken::new();
                    let accepting = Accepting {
                        gateway: Rc::clone(&gateway),
                        connections: connections.clone(),
                        drain: drain.clone(),
                        close: close.clone(),
                        listener: name.clone(),
                        crowd,
                        tls,
                        protocol: RefCell::default(),
                    };
                    connections.spawn_local(accepting.run(socket));
                    listening.insert(name, close);
                }
                Some(Command::Close(name)) => {
                    if let Some(close) = listening.remove(&name) {
                        close.cancel();
                    }
                }
                Some(Command::Answer(answer)) => {
                    let _asks_no_more = answer.send(());
                }
                Some(Command::Drain(within)) => break within,
                None => break Duration::ZERO,
            },
            _ = housekeeping.tick() => gateway.housekeeping(Instant::now(), since_epoch()),
        }
    };
    // Whoever waits for an answer learns that none will come.
    drop(inbox);
    listening.values().for_each(CancellationToken::cancel);
    connections.close();
    drain.cancel();
    if tokio::time::timeout(drain_within, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections were still open at the end of the drain");
    }
    gateway.housekeeping(Instant::now(), since_epoch());
    gateway.metrics().worker_stopped();
}

/// What a listener bears, and how HTTP/2 is spoken within that.
type Protocol = (Arc<Limits>, Rc<http2::Protocol>);

/// One worker's end of a listener.
struct Accepting {
    gateway: Rc<Gateway>,
    connections: TaskTracker,
    drain: CancellationToken,
    close: CancellationToken,
    listener: Name,
    crowd: Arc<Crowd>,
    tls: Tls,
    protocol: RefCell<Option<Protocol>>,
}

impl Accepting {
    async fn run(self, socket: Socketed) {
        let metrics = self.gateway.listener_metrics(&self.listener);
        let mut door = match Door::new(self.listener.clone(), socket, Arc::clone(&self.crowd), metrics) {
            Ok(door) => door,
            Err(error) => return tracing::error!(listener = %self.listener, %error, "a socket could not be used"),
        };
        loop {
            let entered = tokio::select! {
                entered = door.next(|| self.gateway.limits(&self.listener)) => entered,
                () = self.close.cancelled() => break,
            };
            self.serve(entered);
        }
        let limits = self.gateway.limits(&self.listener);
        while let Some(entered) = door.last(&limits).await {
            self.serve(entered);
        }
    }

    fn serve(&self, entered: Entered) {
        let (limits, protocol) = self.protocol();
        let accepted = Accepted { entered, listener: self.listener.clone(), limits, protocol, tls: self.tls };
        self.connections.spawn_local(serve(Rc::clone(&self.gateway), accepted, self.drain.clone()));
    }

    /// Made anew when the configuration has changed.
    fn protocol(&self) -> Protocol {
        let limits = self.gateway.limits(&self.listener);
        let mut made = self.protocol.borrow_mut();
        match &*made {
            Some((of, protocol)) if Arc::ptr_eq(of, &limits) => (limits, Rc::clone(protocol)),
            Some(_) | None => {
                let protocol = Rc::new(http2::protocol(&limits));
                *made = Some((Arc::clone(&limits), Rc::clone(&protocol)));
                (limits, protocol)
            }
        }
    }
}
