//! Callers of every protocol that never pause for long, and what of it failed, closed or ended under them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::Response;
use http::header;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;
use super::summary::Counts;

/// What a caller does between two requests.
const THINKING: Duration = Duration::from_millis(5);

/// How many failures are told one by one.
const MOST_TOLD: usize = 10;

/// What a caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One request after the other on a connection that is kept.
    Http1,
    /// Two at a time on a connection that is kept.
    Http2,
    /// The same with a message, and an answer that ends with `grpc-status: 0`.
    Grpc,
    /// One answer that goes on.
    Events,
    /// A connection that echoes, over an upgrade.
    WebSocket,
}

/// A key that callers show, which can be changed under them.
#[derive(Debug, Clone)]
pub(crate) struct Held(Arc<RwLock<String>>);

impl Held {
    /// Callers show this.
    pub(crate) fn new(key: impl Into<String>) -> Self {
        Self(Arc::new(RwLock::new(key.into())))
    }

    /// Gives callers another key, once no request with the one before is under way.
    pub(crate) fn switch(&self, key: &str) {
        key.clone_into(&mut self.0.blocking_write());
    }
}

/// Who calls what.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) kind: Kind,
    pub(crate) at: SocketAddr,
    pub(crate) path: String,
    pub(crate) key: Held,
}

#[derive(Debug, Default)]
struct Counted {
    sent: AtomicU64,
    closed: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    told: Mutex<Vec<String>>,
    is_leaving: AtomicBool,
    done: CancellationToken,
}

impl Counted {
    fn failed(&self, caller: &Caller, why: impl std::fmt::Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut told = self.told.lock().expect("nobody panics while it is held");
        if told.len() < MOST_TOLD {
            told.push(format!("{:?} {}: {why}", caller.kind, caller.path));
        }
    }

    fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// A connection was closed that nobody was to close.
    fn closed(&self) {
        if !self.is_leaving() {
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_done(&self) -> bool {
        self.done.is_cancelled()
    }
}

/// What callers have seen, once they have ended.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Requests, and messages over WebSocket.
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    /// Connections that the gateway closed.
    pub(crate) closed: u64,
    /// Streams that ended, WebSockets among them.
    pub(crate) ended: u64,
    /// The first failures.
    pub(crate) told: Vec<String>,
}

impl Seen {
    /// Fails the test unless nobody was disturbed.
    pub(crate) fn assert_undisturbed(&self) {
        let Self { failed, closed, ended, told, .. } = self;
        assert_eq!((failed, closed, ended), (&0, &0, &0), "failed, closed, ended; first: {told:#?}");
        assert!(self.sent > 0, "nobody called");
    }

    /// A line of the summary.
    pub(crate) fn counts(&self, faults: u64) -> Counts {
        Counts { cases: 1, passed: 1, refused: 0, faults, sent: self.sent, failed: self.failed }
    }
}

/// Running callers.
#[derive(Debug)]
pub(crate) struct Load {
    counted: Arc<Counted>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts each caller as often as is said, all on one thread.
    pub(crate) fn start(callers: impl IntoIterator<Item = (usize, Caller)>) -> Self {
        let callers: Vec<(usize, Caller)> = callers.into_iter().collect();
        let counted: Arc<Counted> = Arc::default();
        let shared = Arc::clone(&counted);
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
            runtime.block_on(async {
                let mut running = JoinSet::new();
                for (times, caller) in callers {
                    for _ in 0..times {
                        running.spawn(call(caller.clone(), Arc::clone(&shared)));
                    }
                }
                running.join_all().await;
            });
        });
        Self { counted, thread: Some(thread) }
    }

    /// How many requests have been sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.counted.sent.load(Ordering::Relaxed)
    }

    /// Waits until this many more requests have been sent.
    pub(crate) fn go_on(&self, requests: u64) {
        let until = self.sent() + requests;
        super::eventually("the load goes on", || (self.sent() >= until).then_some(()));
    }

    /// From now on the gateway may say that it leaves, take no more connections, and end what goes on.
    pub(crate) fn expect_leave(&self) {
        self.counted.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Ends each caller after its answer, and tells what they have seen.
    pub(crate) fn finish(mut self) -> Seen {
        self.counted.done.cancel();
        let ended = self.thread.take().expect("it ends once").join();
        assert!(ended.is_ok(), "a caller panicked");
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counted { sent, closed, ended, failed, told, .. } = &*self.counted;
        let told = told.lock().expect("nobody panics while it is held").clone();
        Seen { sent: count(sent), failed: count(failed), closed: count(closed), ended: count(ended), told }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.counted.done.cancel();
    }
}

type Body = Full<Bytes>;

/// How a caller's connection ended.
enum End {
    /// The load is over.
    Done,
    /// Another connection is next.
    Again,
    /// The gateway has left, as was expected.
    Left,
}

async fn call(caller: Caller, counted: Arc<Counted>) {
    loop {
        let Some(stream) = connect(&caller, &counted).await else { return };
        let end = match caller.kind {
            Kind::Http1 => http1_calls(stream, &caller, &counted).await,
            Kind::Http2 | Kind::Grpc => http2_calls(stream, &caller, &counted).await,
            Kind::Events => events(stream, &caller, &counted).await,
            Kind::WebSocket => echoes(stream, &caller, &counted).await,
        };
        match end {
            End::Done | End::Left => return,
            End::Again if counted.is_done() => return,
            End::Again => {}
        }
    }
}

async fn connect(caller: &Caller, counted: &Counted) -> Option<TcpStream> {
    loop {
        match TcpStream::connect(caller.at).await {
            Ok(stream) => {
                stream.set_nodelay(true).expect("a socket has options");
                return Some(stream);
            }
            Err(_) if counted.is_leaving() || counted.is_done() => return None,
            Err(error) => counted.failed(caller, error),
        }
        tokio::time::sleep(THINKING).await;
    }
}

fn request(caller: &Caller, uri: String, key: &str) -> Request<Body> {
    let request = Request::builder().uri(uri).header(header::AUTHORIZATION, format!("Bearer {key}"));
    let request = match caller.kind {
        Kind::Http1 => request.method("POST").body(Full::from("a body")),
        Kind::Http2 | Kind::Events => request.body(Full::default()),
        Kind::Grpc => {
            let request = request.method("POST").header("te", "trailers").header("content-type", "application/grpc");
            request.body(Full::from("\0\0\0\0\0"))
        }
        Kind::WebSocket => {
            let request = request.header("connection", "upgrade").header("upgrade", "websocket");
            let request = request.header("sec-websocket-version", "13");
            request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").body(Full::default())
        }
    };
    request.expect("a request without a mistake")
}

/// Reads an answer to its end; returns whether it says that the connection ends with it.
async fn read(caller: &Caller, answer: Response<Incoming>) -> Result<bool, String> {
    let status = answer.status();
    let is_last = answer.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
    let body = answer.into_body().collect().await.map_err(|error| format!("{status}, and broke off: {error:?}"))?;
    let grpc_status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    if status != 200 {
        return Err(format!("{status} {}", String::from_utf8_lossy(&body.to_bytes())));
    }
    if caller.kind == Kind::Grpc && grpc_status.as_ref().is_none_or(|status| status != "0") {
        return Err(format!("grpc-status {grpc_status:?}"));
    }
    Ok(is_last)
}

/// An answer in time, or why there is none.
async fn in_time<T>(answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_late| Err("no answer in time".to_owned()))
}

async fn http1_calls(stream: TcpStream, caller: &Caller, counted: &Counted) -> End {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("nothing is sent yet");
    let connection = tokio::spawn(connection);
    let uri = caller.path.clone();
    let end = loop {
        if counted.is_done() {
            break End::Done;
        }
        if sender.is_closed() {
            counted.closed();
            break End::Again;
        }
        let key = caller.key.0.read().await;
        let mut request = request(caller, uri.clone(), &key);
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("gateway.test"));
        counted.sent.fetch_add(1, Ordering::Relaxed);
        let answer = in_time(async {
            let answer = sender.send_request(request).await.map_err(|error| format!("{error:?}"))?;
            read(caller, answer).await
        });
        match answer.await {
            Ok(false) => {}
            Ok(true) => {
                counted.closed();
                break End::Again;
            }
            Err(why) => {
                counted.failed(caller, why);
                break End::Again;
            }
        }
        drop(key);
        tokio::time::sleep(THINKING).await;
    };
    connection.abort();
    end
}

async fn http2_calls(stream: TcpStream, caller: &Caller, counted: &Counted) -> End {
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let Ok((sender, connection)) = handshake else {
        counted.closed();
        return End::Again;
    };
    let connection = tokio::spawn(connection);
    let uri = format!("http://gateway.test{}", caller.path);
    let end = loop {
        if counted.is_done() {
            break End::Done;
        }
        if sender.is_closed() {
            counted.closed();
            break End::Again;
        }
        let key = caller.key.0.read().await;
        let one = async || {
            let (mut sender, request) = (sender.clone(), request(caller, uri.clone(), &key));
            in_time(async {
                let answer = match sender.send_request(request).await {
                    Ok(answer) => answer,
                    // Nothing of it was sent: the gateway has said that it takes no more on this connection.
                    Err(error) if counted.is_leaving() && (error.is_canceled() || error.is_closed()) => return Ok(()),
                    Err(error) => return Err(format!("{error:?}")),
                };
                read(caller, answer).await.map(drop)
            })
            .await
        };
        let answers: [Result<(), String>; 2] = tokio::join!(one(), one()).into();
        for answer in answers {
            counted.sent.fetch_add(1, Ordering::Relaxed);
            if let Err(why) = answer {
                counted.failed(caller, why);
            }
        }
        drop(key);
        tokio::time::sleep(THINKING).await;
    };
    connection.abort();
    end
}

async fn events(stream: TcpStream, caller: &Caller, counted: &Counted) -> End {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("nothing is sent yet");
    let connection = tokio::spawn(connection);
    let key = caller.key.0.read().await.clone();
    let mut request = request(caller, caller.path.clone(), &key);
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("gateway.test"));
    counted.sent.fetch_add(1, Ordering::Relaxed);
    let end = match sender.send_request(request).await {
        Ok(answer) if answer.status() == 200 => follow(answer.into_body(), caller, counted).await,
        Ok(answer) => {
            counted.failed(caller, answer.status());
            End::Again
        }
        Err(error) => {
            counted.failed(caller, format!("{error:?}"));
            End::Again
        }
    };
    connection.abort();
    end
}

async fn follow(mut body: Incoming, caller: &Caller, counted: &Counted) -> End {
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(PATIENCE, body.frame()) => next,
            () = counted.done.cancelled() => return End::Done,
        };
        match next {
            Ok(Some(Ok(_event))) => {}
            Ok(Some(Err(_)) | None) => return stream_ended(counted),
            Err(_late) => {
                counted.failed(caller, "no event in time");
                return End::Again;
            }
        }
    }
}

fn stream_ended(counted: &Counted) -> End {
    if counted.is_leaving() {
        return End::Left;
    }
    counted.ended.fetch_add(1, Ordering::Relaxed);
    End::Again
}

async fn echoes(stream: TcpStream, caller: &Caller, counted: &Counted) -> End {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("nothing is sent yet");
    let connection = tokio::spawn(connection.with_upgrades());
    let key = caller.key.0.read().await.clone();
    let mut request = request(caller, caller.path.clone(), &key);
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("gateway.test"));
    counted.sent.fetch_add(1, Ordering::Relaxed);
    let upgraded = in_time(async {
        let answer = sender.send_request(request).await.map_err(|error| format!("{error:?}"))?;
        if answer.status() != 101 {
            return Err(answer.status().to_string());
        }
        hyper::upgrade::on(answer).await.map_err(|error| format!("{error:?}"))
    });
    let mut upgraded = match upgraded.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(why) => {
            counted.failed(caller, why);
            connection.abort();
            return End::Again;
        }
    };
    loop {
        if counted.is_done() {
            return End::Done;
        }
        let mut came = [0; 4];
        let echoed = in_time(async {
            upgraded.write_all(b"ping").await.map_err(|error| error.to_string())?;
            upgraded.flush().await.map_err(|error| error.to_string())?;
            upgraded.read_exact(&mut came).await.map_err(|error| error.to_string())
        });
        match echoed.await {
            Ok(_four) if &came == b"ping" => counted.sent.fetch_add(1, Ordering::Relaxed),
            Ok(_four) => {
                counted.failed(caller, "another echo");
                return End::Again;
            }
            Err(_ended) => return stream_ended(counted),
        };
        tokio::time::sleep(THINKING).await;
    }
}
