//! The gateway, and the upstream behind all of its services: it keeps every byte that it was sent.

use std::fs;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::thread;

use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::wire::readers::Rest;
use crate::wire::readers::STRICT;
use crate::wire::readers::Seen;

/// The services that are called with a key, which is `tainted-key-of-` and their name. Nothing tainted may reach the upstream.
const CLOSED: [&str; 5] = ["admin", "keyed", "asked", "socket", "vault"];

/// One gateway with its upstream.
#[derive(Debug)]
pub(super) struct Stage {
    gateway: Gateway,
    recorder: Recorder,
}

/// Where the recording stood at some moment: how much had come over each connection.
#[derive(Debug)]
pub(super) struct Mark(Vec<usize>);

impl Stage {
    /// The services that the cases are about.
    pub(super) fn set() -> Self {
        Self::with(SERVICES)
    }

    /// Other ones; `@UPSTREAM` is the upstream.
    pub(super) fn with(configuration: &str) -> Self {
        let recorder = Recorder::start();
        let directory = scratch();
        for service in CLOSED {
            fs::write(directory.path().join(service), format!("tainted-key-of-{service}"))
                .expect("a file can be written");
        }
        let gateway = Gateway::start_in(directory, &configuration.replace("@UPSTREAM", &recorder.address.to_string()));
        Self { gateway, recorder }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.gateway.traffic()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.recorder.lock().iter().map(|connection| connection.bytes.len()).collect())
    }

    /// What has come since then, a piece for each connection over which something came, without what went through a
    /// tunnel.
    pub(super) fn since(&self, mark: &Mark) -> Vec<Vec<u8>> {
        let connections = self.recorder.lock();
        let begins = mark.0.iter().copied().chain(std::iter::repeat(0));
        let pieces = connections.iter().zip(begins).map(|(connection, begin)| {
            let end = connection.tunnel_from.unwrap_or(connection.bytes.len());
            connection.bytes.get(begin..end).unwrap_or_default().to_vec()
        });
        pieces.filter(|piece| !piece.is_empty()).collect()
    }

    /// Waits until the upstream has read everything that the gateway has sent: both count the same connections, and what
    /// the gateway has closed has been read to its end.
    pub(super) fn settle(&self) {
        eventually("what was sent has arrived", || {
            let metrics = self.gateway.metrics();
            let sum = |name: &str| {
                let values = metrics.lines().filter(|line| line.starts_with(name));
                values.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum::<usize>()
            };
            let connections = self.recorder.lock();
            let open = connections.iter().filter(|connection| !connection.ended).count();
            let is_settled = connections.len() == sum("gateway_upstream_connections_opened_total{")
                && open == sum("gateway_upstream_connections{");
            is_settled.then_some(())
        });
    }

    pub(super) fn has_not_panicked(&self) {
        let panics = self.gateway.metric("gateway_panics_total");
        assert!(panics == 0.0, "{panics} panics");
    }
}

/// However it is written.
fn is_vault(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or_default();
    name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case("vault.test")
}

/// What the upstream has to be told of the caller at this path.
pub(super) fn principal(target: &str, host: Option<&str>) -> Option<String> {
    let path = target.split('?').next().unwrap_or_default();
    let below = |prefix: &str| path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
    let service = if below("/open/admin") {
        "admin"
    } else if below("/keyed") {
        "keyed"
    } else if below("/asked") {
        "asked"
    } else if below("/socket") {
        "socket"
    } else if below("/vault") && host.is_some_and(is_vault) {
        "vault"
    } else {
        return None;
    };
    Some(format!("service:{service}:primary"))
}

const SERVICES: &str = "
workers: 1
upstreams: {a: {endpoints: ['http://@UPSTREAM']}}
services:
  open: {match: [{prefix: /open}], upstream: a, auth: {public: a test}}
  admin: {match: [{prefix: /open/admin}], upstream: a, auth: {key: {keys: {primary: {key: 'file:$DIR/admin'}}}}}
  keyed:
    match: [{prefix: /keyed}]
    upstream: a
    auth:
      key:
        from: [bearer, {header: Ocp-Apim-Subscription-Key}, {header: x-key}]
        keys: {primary: {key: 'file:$DIR/keyed'}}
  asked: {match: [{prefix: /asked}], upstream: a, auth: {key: {from: [bearer, {query: key}], keys: {primary: {key: 'file:$DIR/asked'}}}}}
  socket: {match: [{prefix: /socket}], upstream: a, upgrades: websocket, auth: {key: {keys: {primary: {key: 'file:$DIR/socket'}}}}}
  public-vault: {match: [{prefix: /vault}], upstream: a, auth: {public: a test}}
  vault: {match: [{host: vault.test, prefix: /vault}], upstream: a, auth: {key: {keys: {primary: {key: 'file:$DIR/vault'}}}}}
  reading: {match: [{prefix: /reading, methods: [GET]}], upstream: a, auth: {public: a test}}
  lax:
    match: [{prefix: /lax}]
    upstream: a
    auth: {public: a test}
    path_allows: [encoded_separators, empty_segments, semicolons, encoded_percent]
  small: {match: [{prefix: /small}], upstream: a, max_body: 1KiB, auth: {public: a test}}
  stripped: {match: [{prefix: /outer/inner}], strip_prefix: /outer, upstream: a, auth: {public: a test}}
";

/// An upstream that answers each whole request with its method and target.
#[derive(Debug)]
struct Recorder {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Connection>>>,
}

#[derive(Debug, Default)]
struct Connection {
    bytes: Vec<u8>,
    /// It was read to its end.
    ended: bool,
    /// Where a WebSocket began.
    tunnel_from: Option<usize>,
}

impl Recorder {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let connections: Arc<Mutex<Vec<Connection>>> = Arc::default();
        let log = Arc::clone(&connections);
        // It ends with the process: nobody connects once the gateway is gone.
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let log = Arc::clone(&log);
                let number = {
                    let mut connections = locked(&log);
                    connections.push(Connection::default());
                    connections.len() - 1
                };
                thread::spawn(move || {
                    record(stream, number, &log).unwrap_or_default();
                    locked(&log)[number].ended = true;
                });
            }
        });
        Self { address, connections }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        locked(&self.connections)
    }
}

fn locked(log: &Mutex<Vec<Connection>>) -> MutexGuard<'_, Vec<Connection>> {
    log.lock().expect("nobody panics while it holds the bytes")
}

fn record(mut stream: TcpStream, number: usize, log: &Mutex<Vec<Connection>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut piece, mut answered) = ([0; 16 * 1024], 0);
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        let requests = {
            let mut connections = locked(log);
            let connection = &mut connections[number];
            connection.bytes.extend_from_slice(&piece[..count]);
            if connection.tunnel_from.is_some() {
                continue;
            }
            let (requests, rest) = STRICT.read(&connection.bytes);
            if let Rest::Garbled(_) = rest {
                return Ok(());
            }
            if requests.last().is_some_and(is_handshake) {
                connection.tunnel_from = Some(connection.bytes.len());
            }
            requests
        };
        for request in &requests[answered..] {
            stream.write_all(answer(request).as_bytes())?;
        }
        answered = requests.len();
    }
}

fn is_handshake(request: &Seen) -> bool {
    let has = |name: &str, wanted: &str| request.headers.iter().any(|(known, value)| known == name && value == wanted);
    has("upgrade", "websocket") && has("sec-websocket-version", "13")
}

fn answer(request: &Seen) -> String {
    if is_handshake(request) {
        return "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".to_owned();
    }
    let body = format!("{} {}", request.method, request.target);
    let sent = if request.method == "HEAD" { "" } else { &body };
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{sent}", body.len())
}
