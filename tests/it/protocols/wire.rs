//! HTTP/1.1 byte by byte, from either side: a client that does just what a test says, and an upstream that a test
//! scripts. Blocking, and never for long.

use std::fmt;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use rustls::ServerConfig;

use super::authority::accept;
use crate::support::PATIENCE;

/// Bytes in and out, over whatever a test has connected.
pub(crate) trait Bytes: Read + Write + Send {}
impl<T: Read + Write + Send> Bytes for T {}

/// One connection, read as HTTP/1.1.
pub(crate) struct Wire {
    io: Box<dyn Bytes>,
    buffer: Vec<u8>,
}

/// The head of a message: its first line, and its headers in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("unread", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl Head {
    /// The only value of a header; `None` where it is missing.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let first = values.next();
        assert_eq!(values.next(), None, "{name} stands more than once in {self:?}");
        first
    }

    /// The status of an answer.
    pub(crate) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{self:?}"))
    }
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The reason of an answer of the gateway's own, by status and `error.code`; of any other answer, no code.
    pub(crate) fn outcome(&self) -> (u16, String) {
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        (self.status(), document["error"]["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl Wire {
    pub(crate) fn new(io: impl Bytes + 'static) -> Self {
        Self { io: Box::new(io), buffer: Vec::new() }
    }

    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::tcp(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn tcp(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }

    pub(crate) fn unix(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::new(stream)
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.io.write_all(bytes.as_ref())?;
        self.io.flush()
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Sends a request without a body and reads the answer.
    pub(crate) fn get(&mut self, path: &str, headers: &str) -> Message {
        self.call("GET", path, headers, None)
    }

    /// Sends a request and reads the answer.
    pub(crate) fn call(&mut self, method: &str, path: &str, headers: &str, body: Option<&[u8]>) -> Message {
        self.send(request(method, path, headers, body));
        self.answer_to(method)
    }

    /// Reads what has come; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        let count = self.io.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }

    fn need_more(&mut self) -> io::Result<()> {
        if self.fill()? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.buffer.drain(..count).collect()
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let mut line = self.take(end + 2);
                line.truncate(end);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.need_more()?;
        }
    }

    /// Headers or trailers, up to the empty line.
    pub(crate) fn try_headers(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The next head.
    pub(crate) fn try_head(&mut self) -> io::Result<Head> {
        Ok(Head { line: self.line()?, headers: self.try_headers()? })
    }

    pub(crate) fn head(&mut self) -> Head {
        self.try_head().unwrap()
    }

    /// One chunk of a chunked body; empty for the last.
    pub(crate) fn try_chunk(&mut self) -> io::Result<Vec<u8>> {
        let size = self.line()?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_not_hexadecimal| io::ErrorKind::InvalidData)?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let chunk = self.exactly(size)?;
        self.line()?;
        Ok(chunk)
    }

    /// So many bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.need_more()?;
        }
        Ok(self.take(count))
    }

    /// What has come and was not taken.
    pub(crate) fn leftover(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// The next whole message; for an answer, `method` is that of its request.
    pub(crate) fn try_message(&mut self, method: &str) -> io::Result<Message> {
        let mut head = self.try_head()?;
        while head.line.starts_with("HTTP/") && head.status() == 100 {
            head = self.try_head()?;
        }
        let is_answer = head.line.starts_with("HTTP/");
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        let bodiless = is_answer && (method == "HEAD" || matches!(head.status(), 101 | 204 | 304));
        if bodiless {
        } else if head.get("transfer-encoding") == Some("chunked") {
            loop {
                let chunk = self.try_chunk()?;
                if chunk.is_empty() {
                    break;
                }
                body.extend(chunk);
            }
            trailers = self.try_headers()?;
        } else if let Some(length) = head.get("content-length") {
            body = self.exactly(length.parse().map_err(|_no_number| io::ErrorKind::InvalidData)?)?;
        } else if is_answer {
            while self.fill()? {}
            body = std::mem::take(&mut self.buffer);
        }
        Ok(Message { head, body, trailers })
    }

    pub(crate) fn answer_to(&mut self, method: &str) -> Message {
        self.try_message(method).unwrap()
    }

    /// Waits for the other side to close, and says whether it did so without another byte.
    pub(crate) fn ends(&mut self) -> bool {
        match self.fill() {
            Ok(more) => !more && self.buffer.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Reads and forgets what comes until the other side closes; how much it was.
    pub(crate) fn drain(&mut self) -> usize {
        let mut count = 0;
        while matches!(self.fill(), Ok(true)) {
            count += self.buffer.len();
            self.buffer.clear();
        }
        count
    }
}

/// A request as it goes over the wire; `headers` are whole lines, each with its end.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: Option<&[u8]>) -> Vec<u8> {
    let length = body.map(|body| format!("content-length: {}\r\n", body.len())).unwrap_or_default();
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: stage\r\n{length}{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// An answer with a body of known length.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// An upstream that plays a script on each connection and remembers what it was sent.
#[derive(Debug)]
pub(crate) struct Script {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    connections: usize,
    requests: Vec<Message>,
}

/// The upstream's end of one connection.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) wire: Wire,
    log: Arc<Mutex<Log>>,
}

impl Scene {
    /// The next request, whole; `None` when the gateway has closed.
    pub(crate) fn request(&mut self) -> Option<Message> {
        let request = self.wire.try_message("").ok()?;
        self.log.lock().unwrap().requests.push(request.clone());
        Some(request)
    }
}

impl Script {
    /// Plays `script` on each connection, each on a thread of its own, until the process ends.
    pub(crate) fn play(script: impl Fn(Scene) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        serve(Arc::clone(&log), script, move || listener.accept().map(|(stream, _)| Wire::tcp(stream)));
        Self { address, log }
    }

    /// The same over a Unix socket.
    pub(crate) fn play_on(path: &Path, script: impl Fn(Scene) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        serve(Arc::clone(&log), script, move || listener.accept().map(|(stream, _)| Wire::unix(stream)));
        Self { address: (Ipv4Addr::LOCALHOST, 0).into(), log }
    }

    /// The same over TLS. A connection whose handshake fails has no requests.
    pub(crate) fn play_tls(config: Arc<ServerConfig>, script: impl Fn(Scene) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        serve(Arc::clone(&log), script, move || listener.accept().map(|(stream, _)| accept(stream, &config)));
        Self { address, log }
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    pub(crate) fn requests(&self) -> Vec<Message> {
        self.log.lock().unwrap().requests.clone()
    }
}

/// A script: answers every request with 200 and its own path.
pub(crate) fn answer_with_path(mut scene: Scene) {
    while let Some(request) = scene.request() {
        let path = request.head.line.split(' ').nth(1).unwrap_or_default().to_owned();
        if scene.wire.try_send(ok(&path)).is_err() {
            return;
        }
    }
}

fn serve(
    log: Arc<Mutex<Log>>,
    script: impl Fn(Scene) + Send + Sync + 'static,
    mut accept: impl FnMut() -> io::Result<Wire> + Send + 'static,
) {
    let script = Arc::new(script);
    std::thread::spawn(move || {
        while let Ok(wire) = accept() {
            log.lock().unwrap().connections += 1;
            let (script, log) = (Arc::clone(&script), Arc::clone(&log));
            std::thread::spawn(move || script(Scene { wire, log }));
        }
    });
}
