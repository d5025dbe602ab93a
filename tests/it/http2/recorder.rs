//! An upstream that keeps every byte it is sent, and reads them as strictly as HTTP/1.1 can be read.

use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

/// What has arrived as one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Its bytes.
    pub(crate) text: String,
    /// What a strict reader says of it.
    pub(crate) reading: Reading,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A whole request.
    Whole,
    /// The connection ended before the request did.
    CutOff,
    /// Not to be read in one way only, and why.
    Ambiguous(String),
}

/// The upstream. Answers each request with its own path.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) at: SocketAddr,
    log: Arc<Mutex<Vec<Recorded>>>,
    /// Connections with a request that is not whole yet.
    waiting: Arc<AtomicUsize>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let log: Arc<Mutex<Vec<Recorded>>> = Arc::default();
        let waiting: Arc<AtomicUsize> = Arc::default();
        let (filled, counted) = (Arc::clone(&log), Arc::clone(&waiting));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, waiting) = (Arc::clone(&filled), Arc::clone(&counted));
                thread::spawn(move || record(stream, &log, &waiting));
            }
        });
        Self { at, log, waiting }
    }

    /// Whether no request has begun to arrive and is not whole yet.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    /// What has arrived since it was asked last, without the canary's own requests.
    pub(crate) fn take(&self) -> Vec<Recorded> {
        let mut all = std::mem::take(&mut *self.log.lock().unwrap());
        all.retain(|recorded| !recorded.text.starts_with("GET /canary/"));
        all
    }
}

fn record(mut stream: TcpStream, log: &Mutex<Vec<Recorded>>, waiting: &AtomicUsize) {
    let mut bytes: Vec<u8> = Vec::new();
    let push = |bytes: &[u8], reading| {
        log.lock().unwrap().push(Recorded { text: String::from_utf8_lossy(bytes).into_owned(), reading });
    };
    loop {
        match whole(&bytes) {
            Ok(Some(length)) => {
                let request: Vec<u8> = bytes.drain(..length).collect();
                let path = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap_or_default().to_owned();
                push(&request, Reading::Whole);
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
                continue;
            }
            Ok(None) => {}
            Err(why) => return push(&bytes, Reading::Ambiguous(why)),
        }
        let mut piece = [0; 4096];
        let begun = usize::from(!bytes.is_empty());
        waiting.fetch_add(begun, Ordering::SeqCst);
        let read = stream.read(&mut piece);
        if matches!(read, Ok(0) | Err(_)) && begun > 0 {
            push(&bytes, Reading::CutOff);
        }
        waiting.fetch_sub(begun, Ordering::SeqCst);
        match read {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend(&piece[..count]),
        }
    }
}

/// How long the first request is; `None` while it is not whole.
fn whole(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_not| "a head that is no text".to_owned())?;
    if head.replace("\r\n", "").contains(['\r', '\n', '\0']) {
        return Err("a stray line end".to_owned());
    }
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    if words.len() != 3 || words[2] != "HTTP/1.1" || words.contains(&"") {
        return Err("no request line".to_owned());
    }
    let (mut lengths, mut codings, mut hosts) = (Vec::new(), Vec::new(), 0);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a line without a colon")?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(format!("the name {name:?}"));
        }
        // Servers that turn headers into variables cannot tell `-` from `_`.
        match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "content-length" => lengths.push(value.trim().to_owned()),
            "transfer-encoding" => codings.push(value.trim().to_owned()),
            "host" => hosts += 1,
            _ => {}
        }
    }
    if hosts != 1 {
        return Err(format!("{hosts} Host lines"));
    }
    let body = end + 4;
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Some(body)),
        ([length], []) => {
            let length: usize = length.parse().map_err(|_not| format!("the length {length:?}"))?;
            Ok((bytes.len() >= body + length).then_some(body + length))
        }
        ([], [coding]) if coding == "chunked" => Ok(chunked(bytes, body)?),
        _ => Err(format!("lengths {lengths:?}, codings {codings:?}")),
    }
}

/// Where a chunked body ends, its trailers included.
fn chunked(bytes: &[u8], mut at: usize) -> Result<Option<usize>, String> {
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let size = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size = usize::from_str_radix(&size, 16).map_err(|_not| format!("the chunk size {size:?}"))?;
        at += end + 2;
        if size == 0 {
            let rest = &bytes[at..];
            if rest.starts_with(b"\r\n") {
                return Ok(Some(at + 2));
            }
            return Ok(rest.windows(4).position(|four| four == b"\r\n\r\n").map(|end| at + end + 4));
        }
        if bytes.len() < at + size + 2 {
            return Ok(None);
        }
        at += size + 2;
    }
}
