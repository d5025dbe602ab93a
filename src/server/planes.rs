//! The listeners of the management and health planes, on the control runtime.

use std::collections::HashMap;
use std::sync::Arc;

use http::Request;
use tokio::task::JoinHandle;

use crate::config::Address;
use crate::config::Listener;
use crate::config::Listeners;
use crate::health::Health;
use crate::manage::Management;
use crate::manage::Traffic;
use crate::observe::metrics::Metrics;
use crate::server::activation::Inherited;
use crate::server::connection::Tls;
use crate::server::plane;
use crate::server::plane::Open;
use crate::server::socket::BindError;
use crate::server::socket::Bound;
use crate::server::socket::bind;
use crate::snapshot::live::Live;
use crate::upstream::client_body::ClientBody;

/// What the planes listen on, and who answers there.
#[derive(Debug)]
pub struct Planes {
    live: Live,
    metrics: Arc<Metrics>,
    health: Health,
    management: Arc<Management>,
    listening: HashMap<Plane, Listens>,
}

/// The two planes that are not the traffic's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plane {
    /// Operators'.
    Management,
    /// The kubelet's and Prometheus'.
    Health,
}

#[derive(Debug)]
struct Listens {
    wanted: Listener,
    at: Address,
    task: JoinHandle<()>,
}

impl Listens {
    /// Whether it is where the listener is to be. What that bears is read anew for each connection.
    fn is_at(&self, listener: &Listener) -> bool {
        let Listener { name, address, tls, limits: _, forward_auth: _ } = listener;
        (name, address, tls) == (&self.wanted.name, &self.wanted.address, &self.wanted.tls)
    }
}

/// Sockets that are open and not used yet.
#[derive(Debug)]
pub struct Prepared {
    opened: Vec<(Plane, Listener, Bound)>,
    closed: Vec<Plane>,
}

impl Planes {
    /// Listens nowhere yet.
    #[must_use]
    pub fn new(live: Live, metrics: Arc<Metrics>, health: Health, management: Arc<Management>) -> Self {
        Self { live, metrics, health, management, listening: HashMap::new() }
    }

    /// Opens the sockets of planes that are new or have moved.
    ///
    /// # Errors
    /// [`BindError`] for the first that cannot be opened.
    pub fn prepare(&self, listeners: &Listeners, inherited: &Inherited) -> Result<Prepared, BindError> {
        let wanted = [(Plane::Management, listeners.management.as_ref()), (Plane::Health, Some(&listeners.health))];
        let mut prepared = Prepared { opened: Vec::new(), closed: Vec::new() };
        for (plane, listener) in wanted {
            let listens = self.listening.get(&plane);
            match listener {
                None => prepared.closed.extend(listens.map(|_| plane)),
                Some(listener) if listens.is_some_and(|listens| listens.is_at(listener)) => {}
                Some(listener) => {
                    let bound = bind(&listener.name, &listener.address, 1, inherited)?;
                    prepared.opened.push((plane, listener.clone(), bound));
                }
            }
        }
        Ok(prepared)
    }

    /// Starts to accept on what was prepared. Runs on a `LocalRuntime`.
    pub fn adopt(&mut self, prepared: Prepared) {
        for plane in prepared.closed {
            self.close(plane);
        }
        for (plane, wanted, bound) in prepared.opened {
            self.close(plane);
            bound.announce();
            let Bound { name, address, sockets } = bound;
            let Some(socket) = sockets.into_iter().next() else { continue };
            let open = Open {
                socket,
                tls: if wanted.tls.is_some() { Tls::On } else { Tls::Off },
                live: self.live.clone(),
                metrics: self.metrics.listener(&name),
                name,
            };
            let task = match plane {
                Plane::Management => {
                    let (management, unread) = (Arc::clone(&self.management), Arc::clone(&self.management));
                    let answer = move |request| {
                        let management = Arc::clone(&management);
                        async move { management.answer(request).await }
                    };
                    tokio::task::spawn_local(plane::serve(open, answer, move |why| unread.refuse_unread(why)))
                }
                Plane::Health => {
                    let health = self.health.clone();
                    let answer = move |request: Request<ClientBody>| {
                        let answer = health.answer(request.method(), request.uri().path());
                        async move { answer }
                    };
                    tokio::task::spawn_local(plane::serve(open, answer, Health::refuse_unread))
                }
            };
            self.listening.insert(plane, Listens { wanted, at: address, task });
        }
    }

    /// Tells the management plane where clients come.
    pub fn traffic_at(&self, traffic: Option<Traffic>) {
        self.management.traffic_at(traffic);
    }

    /// Where a plane listens, a port 0 resolved.
    #[must_use]
    pub fn address(&self, plane: Plane) -> Option<&Address> {
        self.listening.get(&plane).map(|listens| &listens.at)
    }

    fn close(&mut self, plane: Plane) {
        if let Some(listens) = self.listening.remove(&plane) {
            listens.task.abort();
        }
    }
}
