//! An upstream that answers what the test says and remembers what it was sent. HTTP/1.1, a thread a connection.

use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::client::find;

/// A request as it arrived, its body read to the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// Path and query as they were sent.
    pub(crate) target: String,
    /// In order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Number of the connection, from 0.
    pub(crate) connection: usize,
}

impl Received {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(named, _)| named == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// A server on a port of its own; accepts no more when dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    stopped: Arc<AtomicBool>,
}

impl Upstream {
    /// Answers every request with what `answer` writes to the connection, which then takes the next request. An error
    /// closes the connection.
    pub(crate) fn start(answer: impl Fn(&Received, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), answer)
    }

    /// Like [`Upstream::start`], at this address.
    pub(crate) fn start_at(
        address: SocketAddr,
        answer: impl Fn(&Received, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let stopped: Arc<AtomicBool> = Arc::default();
        let (answer, log, stop) = (Arc::new(answer), Arc::clone(&received), Arc::clone(&stopped));
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { return };
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                // The gateway closes connections when it likes; a test looks at what was received.
                thread::spawn(move || serve(stream, connection, &*answer, &log).unwrap_or_default());
            }
        });
        Self { address, received, stopped }
    }

    /// Answers everything with 200 and `ok`.
    pub(crate) fn ok() -> Self {
        Self::start(|_, stream| respond(stream, 200, &[], b"ok"))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What an `endpoints` entry says.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that has arrived.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no test panics while it holds the requests").clone()
    }

    /// What arrived last.
    pub(crate) fn last(&self) -> Received {
        self.received().pop().expect("a request has reached the upstream")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; nobody waits for it.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
    }
}

/// Writes an answer with a `Content-Length`.
pub(crate) fn respond(stream: &mut TcpStream, status: u16, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
    let mut bytes = format!("HTTP/1.1 {status} Any\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str("\r\n");
    let mut bytes = bytes.into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes)
}

fn serve(
    mut stream: TcpStream,
    connection: usize,
    answer: &dyn Fn(&Received, &mut TcpStream) -> io::Result<()>,
    log: &Mutex<Vec<Received>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let Some(request) = read(&mut reader, connection)? else { return Ok(()) };
        log.lock().map_err(|_panicked| io::Error::other("a test panicked"))?.push(request.clone());
        answer(&request, &mut stream)?;
    }
}

/// The next request; `None` when the connection has ended.
fn read(reader: &mut BufReader<TcpStream>, connection: usize) -> io::Result<Option<Received>> {
    let Some(line) = line(reader)? else { return Ok(None) };
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = fields(reader)?;
    let mut body = Vec::new();
    if find(&headers, "transfer-encoding").is_some() {
        loop {
            let size = line_of(reader)?;
            let size = usize::from_str_radix(&size, 16).map_err(|_not| io::Error::from(ErrorKind::InvalidData))?;
            if size == 0 {
                fields(reader)?;
                break;
            }
            let mut chunk = vec![0; size];
            reader.read_exact(&mut chunk)?;
            body.extend(chunk);
            line_of(reader)?;
        }
    } else if let Some(length) = find(&headers, "content-length") {
        body.resize(length.parse().map_err(|_not| io::Error::from(ErrorKind::InvalidData))?, 0);
        reader.read_exact(&mut body)?;
    }
    Ok(Some(Received { method, target, headers, body, connection }))
}

fn fields(reader: &mut BufReader<TcpStream>) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line_of(reader)?;
        let Some((name, value)) = line.split_once(':') else { return Ok(fields) };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn line_of(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    line(reader)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

fn line(reader: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if reader.read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}
