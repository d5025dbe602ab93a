//! All workers, and the listeners that they share.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Address;
use crate::config::Listener;
use crate::model::name::Name;
use crate::pipeline::Gateway;
use crate::server::connection::Tls;
use crate::server::crowd::Crowd;
use crate::server::socket::BindError;
use crate::server::socket::Bound;
use crate::server::socket::bind;
use crate::server::worker::Command;
use crate::server::worker::Worker;

/// The workers and what they listen on.
#[derive(Debug)]
pub struct Fleet {
    workers: Vec<Worker>,
    listening: HashMap<Name, Listens>,
}

#[derive(Debug, Clone)]
struct Listens {
    wanted: Address,
    at: Address,
    tls: Tls,
}

/// Sockets that are open and not used yet: the change that they belong to can still be given up.
#[derive(Debug)]
pub struct Prepared {
    opened: Vec<(Listens, Bound)>,
    closed: Vec<Name>,
}

impl Fleet {
    /// Starts a worker for each gateway, which is made on its thread; they listen nowhere yet.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start<G>(gateways: impl Iterator<Item = G>) -> io::Result<Self>
    where
        G: FnOnce() -> Gateway + Send + 'static,
    {
        let workers = gateways.enumerate().map(|(index, gateway)| Worker::start(index, gateway));
        Ok(Self { workers: workers.collect::<io::Result<_>>()?, listening: HashMap::new() })
    }

    /// Opens the sockets of listeners that are new or have moved. Nothing changes until they are adopted.
    ///
    /// # Errors
    /// [`BindError`] for the first that cannot be opened; those opened before it are closed again.
    pub fn prepare(&self, listeners: &[Listener]) -> Result<Prepared, BindError> {
        let tls = |listener: &Listener| if listener.tls.is_some() { Tls::On } else { Tls::Off };
        let stays = |listener: &&Listener| {
            let now = self.listening.get(&listener.name);
            now.is_some_and(|now| now.wanted == listener.address && now.tls == tls(listener))
        };
        let mut opened = Vec::new();
        for listener in listeners.iter().filter(|listener| !stays(listener)) {
            let bound = bind(&listener.name, &listener.address, self.workers.len())?;
            let wanted = listener.address.clone();
            opened.push((Listens { wanted, at: bound.address.clone(), tls: tls(listener) }, bound));
        }
        let kept: Vec<&Name> = listeners.iter().filter(stays).map(|listener| &listener.name).collect();
        let closed = self.listening.keys().filter(|name| !kept.contains(name)).cloned().collect();
        Ok(Prepared { opened, closed })
    }

    /// Starts to accept on what was prepared, and stops where nobody is to listen any longer.
    pub fn adopt(&mut self, prepared: Prepared) {
        for name in prepared.closed {
            self.listening.remove(&name);
            self.workers.iter().for_each(|worker| worker.tell(Command::Close(name.clone())));
        }
        for (listens, bound) in prepared.opened {
            bound.announce();
            let crowd = Arc::new(Crowd::default());
            for (worker, socket) in self.workers.iter().zip(bound.sockets) {
                let crowd = Arc::clone(&crowd);
                worker.tell(Command::Listen { name: bound.name.clone(), socket, crowd, tls: listens.tls });
            }
            self.listening.insert(bound.name, listens);
        }
    }

    /// Where a listener listens, a port 0 resolved.
    #[must_use]
    pub fn address(&self, name: &Name) -> Option<&Address> {
        self.listening.get(name).map(|listens| &listens.at)
    }

    /// Accepts no more, finishes what is in flight for at most `within`, and ends the workers. What is returned ends
    /// when they have.
    pub fn drain(&self, within: Duration) -> impl Future<Output = ()> + use<> {
        self.workers.iter().for_each(|worker| worker.tell(Command::Drain(within)));
        let ended: Vec<_> = self.workers.iter().map(Worker::ended).collect();
        async move {
            // Workers end by themselves within the deadline; the margin covers a thread that is not scheduled.
            let all = async {
                for worker in ended {
                    worker.cancelled_owned().await;
                }
            };
            if tokio::time::timeout(within + Duration::from_secs(2), all).await.is_err() {
                tracing::warn!("a worker has not ended in time");
            }
        }
    }
}
