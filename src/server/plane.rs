//! The small servers of the management and health planes, on the control runtime.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body_util::Full;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::manage::Client;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::observe::metrics::ConnectionEnd;
use crate::observe::metrics::ListenerMetrics;
use crate::pipeline::find;
use crate::server::connection::Tls;
use crate::server::conversation::Answers;
use crate::server::conversation::Line;
use crate::server::conversation::paced;
use crate::server::conversation::speak;
use crate::server::crowd::Crowd;
use crate::server::door::Door;
use crate::server::door::Entered;
use crate::server::http2;
use crate::server::socket::Socketed;
use crate::snapshot::live::Live;
use crate::upstream::client_body::ClientBody;
use crate::upstream::stream::Stream;

/// A plane's listener that is open.
#[derive(Debug)]
pub struct Open {
    /// Its name.
    pub name: Name,
    /// Its socket.
    pub socket: Socketed,
    /// What it speaks. Without a certificate one that speaks TLS says nothing.
    pub tls: Tls,
    /// Where its certificate and what it bears are looked up for each connection.
    pub live: Live,
    /// What it counts.
    pub metrics: Arc<ListenerMetrics>,
}

/// Accepts and answers until the task is dropped, and says `unread` to what is no request. Runs on a `LocalRuntime`.
pub async fn serve<A, F, U>(open: Open, answer: A, unread: U)
where
    A: Fn(Request<ClientBody>) -> F + Clone + 'static,
    F: Future<Output = Response<Full<Bytes>>> + 'static,
    U: Fn(Denied) -> Response<Full<Bytes>> + Clone + 'static,
{
    let Open { name, socket, tls, live, metrics } = open;
    let mut door = match Door::new(name.clone(), socket, Arc::new(Crowd::default()), Arc::clone(&metrics)) {
        Ok(door) => door,
        Err(error) => return tracing::error!(listener = %name, %error, "a socket could not be used"),
    };
    loop {
        let entered = door.next(|| live.load().limits(&name)).await;
        let snapshot = live.load();
        let acceptor = snapshot.tls.get(&name).map(|config| TlsAcceptor::from(Arc::clone(config)));
        let acceptor = match (tls, acceptor) {
            (Tls::Off, _) => None,
            (Tls::On, Some(acceptor)) => Some(acceptor),
            (Tls::On, None) => continue,
        };
        let connection =
            Connection { entered, acceptor, limits: snapshot.limits(&name), metrics: Arc::clone(&metrics) };
        drop(tokio::task::spawn_local(connection.serve(answer.clone(), unread.clone())));
    }
}

struct Connection {
    entered: Entered,
    /// `None` is plain text.
    acceptor: Option<TlsAcceptor>,
    limits: Arc<Limits>,
    metrics: Arc<ListenerMetrics>,
}

impl Connection {
    async fn serve<A, F, U>(self, answer: A, unread: U)
    where
        A: Fn(Request<ClientBody>) -> F + 'static,
        F: Future<Output = Response<Full<Bytes>>> + 'static,
        U: Fn(Denied) -> Response<Full<Bytes>> + Clone + 'static,
    {
        let Entered { stream, address, place } = self.entered;
        let client = address.map(|address| Client {
            address: address.ip(),
            limits: Arc::clone(&self.limits),
            metrics: Arc::clone(&self.metrics),
        });
        let patience = self.limits.patience;
        let mut open = self.metrics.accept();
        let stream = paced(stream, patience.write);
        let stream = match self.acceptor {
            None => stream,
            Some(acceptor) => match tokio::time::timeout(patience.handshake, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => Stream::Tls(Box::new(stream.into())),
                Ok(Err(_)) | Err(_) => return open.ends(ConnectionEnd::Handshake),
            },
        };
        let limits = Arc::clone(&self.limits);
        let answers = Rc::new(Plane { answer, refuse: unread, client, limits });
        let line = Line { stream, place, limits: &self.limits, drain: &CancellationToken::new() };
        open.ends(speak(&http2::protocol(&self.limits), line, &answers).await);
    }
}

/// Who answers on a connection.
struct Plane<A, U> {
    answer: A,
    refuse: U,
    client: Option<Client>,
    limits: Arc<Limits>,
}

impl<A, F, U> Answers for Plane<A, U>
where
    A: Fn(Request<ClientBody>) -> F + 'static,
    F: Future<Output = Response<Full<Bytes>>> + 'static,
    U: Fn(Denied) -> Response<Full<Bytes>> + 'static,
{
    type Body = Full<Bytes>;

    async fn answer(&self, request: Request<ClientBody>) -> Response<Full<Bytes>> {
        let (mut head, body) = request.into_parts();
        if let Err(too_large) = find::measure(&self.limits, &head) {
            return self.refuse(too_large);
        }
        if let Some(client) = &self.client {
            let _none_before = head.extensions.insert(client.clone());
        }
        (self.answer)(Request::from_parts(head, body)).await
    }

    fn refuse(&self, why: Denied) -> Response<Full<Bytes>> {
        (self.refuse)(why)
    }

    fn is_tired(&self) -> bool {
        false
    }
}
