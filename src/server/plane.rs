//! The small servers of the management and health planes, on the control runtime.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::header;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
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
use crate::server::conversation::Line;
use crate::server::conversation::paced;
use crate::server::conversation::protocol;
use crate::server::conversation::speak;
use crate::server::crowd::Crowd;
use crate::server::door::Door;
use crate::server::door::Entered;
use crate::server::pulse::Pulse;
use crate::server::socket::Socketed;
use crate::server::unread;
use crate::snapshot::live::Live;
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
    A: Fn(Request<Incoming>) -> F + Clone + 'static,
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
        A: Fn(Request<Incoming>) -> F + 'static,
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
        let pulse = Arc::new(Pulse::new());
        let (heard, limits, refuse) = (Arc::clone(&pulse), Arc::clone(&self.limits), unread.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Some(client) = &client {
                let _none_before = request.extensions_mut().insert(client.clone());
            }
            let under_way = UnderWay::begin(&heard);
            let (head, body) = request.into_parts();
            // What hyper takes depends on how it comes.
            let answering = match find::measure(&limits, &head) {
                Ok(()) => Ok(answer(Request::from_parts(head, body))),
                Err(too_large) => Err(too_large),
            };
            let unread = refuse.clone();
            async move {
                let mut answer = match answering {
                    Ok(answering) => answering.await,
                    Err(too_large) => unread(too_large),
                };
                if under_way.0.is_old() {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                drop(under_way);
                Ok::<_, Infallible>(answer)
            }
        });
        let line = Line { stream, place, pulse: Arc::clone(&pulse), patience };
        let ended = speak(&protocol(&self.limits), line, service, &CancellationToken::new()).await;
        open.ends(ended.counted(&pulse));
        if let Some(why) = ended.unanswered(&pulse)
            && let Some((stream, _place)) = pulse.left()
        {
            unread::say(stream, unread(why)).await;
        }
    }
}

/// A request, from when it was read until it is answered.
struct UnderWay(Arc<Pulse>);

impl UnderWay {
    fn begin(pulse: &Arc<Pulse>) -> Self {
        pulse.asked();
        Self(Arc::clone(pulse))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.answered();
    }
}
