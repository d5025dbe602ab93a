//! All workers, and the listeners that they share.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::config::Address;
use crate::config::Listener;
use crate::model::name::Name;
use crate::pipeline::Gateway;
use crate::server::activation::Inherited;
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
    pub fn prepare(&self, listeners: &[Listener], inherited: &Inherited) -> Result<Prepared, BindError> {
        let tls = |listener: &Listener| if listener.tls.is_some() { Tls::On } else { Tls::Off };
        let stays = |listener: &&Listener| {
            let now = self.listening.get(&listener.name);
            now.is_some_and(|now| now.wanted == listener.address && now.tls == tls(listener))
        };
        let mut opened = Vec::new();
        for listener in listeners.iter().filter(|listener| !stays(listener)) {
            let bound = bind(&listener.name, &listener.address, self.workers.len(), inherited)?;
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

    /// Asks the workers whether they still turn.
    #[must_use]
    pub fn roll_call(&self) -> RollCall {
        RollCall(self.workers.iter().map(Worker::commands).collect())
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

/// A question to every worker.
#[derive(Debug)]
pub struct RollCall(Vec<mpsc::UnboundedSender<Command>>);

impl RollCall {
    /// Waits until every worker has answered, however long one is busy; false where one has ended or drains.
    pub async fn is_answered_by_all(&self) -> bool {
        let asked = self.0.iter().map(|worker| {
            let (answer, answered) = oneshot::channel();
            drop(worker.send(Command::Answer(answer)));
            answered
        });
        for answered in asked.collect::<Vec<_>>() {
            if answered.await.is_err() {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use tokio::sync::mpsc;

    use super::Command;
    use super::RollCall;

    #[tokio::test]
    async fn a_roll_call_waits_for_a_worker_that_is_stuck_and_misses_one_that_has_ended() {
        let (first, mut of_first) = mpsc::unbounded_channel();
        let (second, mut of_second) = mpsc::unbounded_channel();
        let roll_call = RollCall(vec![first, second]);
        let mut asked = pin!(roll_call.is_answered_by_all());
        let mut look = async || poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))).await;
        assert_eq!(look().await, Poll::Pending, "nobody has answered");
        for inbox in [&mut of_first, &mut of_second] {
            assert_eq!(look().await, Poll::Pending, "one has not answered");
            let Some(Command::Answer(answer)) = inbox.recv().await else { panic!("it was asked") };
            answer.send(()).unwrap();
        }
        assert_eq!(look().await, Poll::Ready(true));
        drop(of_second);
        let answering = async {
            let Some(Command::Answer(answer)) = of_first.recv().await else { panic!("it was asked") };
            answer.send(()).unwrap();
        };
        let (all, ()) = tokio::join!(roll_call.is_answered_by_all(), answering);
        assert!(!all, "the second has ended");
    }
}
