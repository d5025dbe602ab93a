//! A client that sends the bytes it is told to, so that tests can break rules that a library keeps.

use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;

use serde_json::Value;

use super::PATIENCE;

/// A connection, and what was read from it beyond the last answer.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    ahead: Vec<u8>,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What followed the last chunk.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Answer {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }
}

/// The first value of a header, its name in lower case.
pub(crate) fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(named, _)| named == name).map(|(_, value)| value.as_str())
}

/// `GET` on a connection of its own.
pub(crate) fn get(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Answer {
    request(address, "GET", target, headers, b"")
}

/// `POST` on a connection of its own.
pub(crate) fn post(address: SocketAddr, target: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
    request(address, "POST", target, headers, body.as_ref())
}

/// Any request on a connection of its own.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    Client::connect(address).request(method, target, headers, body)
}

/// Raw bytes on a connection of its own, and the answer to them.
pub(crate) fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    let mut client = Client::connect(address);
    client.send(bytes);
    client.answer()
}

/// A request head. `Host` is added where the headers have none, `Content-Length` where there is a body.
pub(crate) fn head(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
    let has = |name: &str| headers.iter().any(|(named, _)| named.eq_ignore_ascii_case(name));
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !has("host") {
        head.push_str("host: gateway.test\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() && !has("content-length") && !has("transfer-encoding") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head + "\r\n"
}

/// Whether an answer with a `Content-Length` is there to its end.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

impl Client {
    /// Opens a connection.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|| panic!("nobody accepts connections at {address}"))
    }

    /// Opens a connection where somebody listens.
    pub(crate) fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has time limits");
        stream.set_nodelay(true).expect("a socket has options");
        Some(Self { stream, ahead: Vec::new() })
    }

    /// Sends bytes as they are. That the gateway has stopped to read is its right: the answer tells why.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match self.stream.write_all(bytes.as_ref()) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) => panic!("the request could not be sent: {error}"),
        }
    }

    /// Sends a request and reads its answer.
    pub(crate) fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut bytes = head(method, target, headers, body).into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes);
        self.answer_to(method)
    }

    /// Sends a request and reads its answer, which has a `Content-Length`; `None` when the connection ends before that.
    pub(crate) fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        let mut bytes = head(method, target, headers, body).into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes);
        while !is_whole(&self.ahead) {
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
            self.ahead.extend_from_slice(&buffer[..read]);
        }
        Some(self.answer_to(method))
    }

    /// Reads an answer to its end. An interim one (1xx) is an answer as well.
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// Reads an answer to its end; one to `HEAD` has no body whatever its headers say.
    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        let mut answer = self.answer_head();
        let is_bodiless = method == "HEAD" || answer.status < 200 || matches!(answer.status, 204 | 304);
        if is_bodiless {
            return answer;
        }
        if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                answer.body.extend(chunk);
            }
            answer.trailers = self.fields();
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().expect("content-length is a number");
            answer.body = self.take(length);
        } else {
            while self.read_more() > 0 {}
            answer.body = std::mem::take(&mut self.ahead);
        }
        answer
    }

    /// Reads the head of an answer, nothing of its body.
    pub(crate) fn answer_head(&mut self) -> Answer {
        let line = self.line();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer, but {line:?}"));
        Answer { status, headers: self.fields(), body: Vec::new(), trailers: Vec::new() }
    }

    /// Reads one chunk of a chunked body; `None` for the last one, which trailers follow.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line();
        let length = usize::from_str_radix(&line, 16).unwrap_or_else(|_not| panic!("no chunk, but {line:?}"));
        if length == 0 {
            return None;
        }
        let chunk = self.take(length);
        assert_eq!(self.line(), "", "a chunk ends with a line end");
        Some(chunk)
    }

    /// Whether the gateway has closed the connection; waits for its next byte or its end.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.ahead.is_empty() && self.read_more() == 0
    }

    /// Header or trailer fields up to the empty line.
    fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { return fields };
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line = self.take(end + 2);
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            let so_far = self.ahead.len();
            assert_ne!(self.read_more(), 0, "the connection ended within a line, after {so_far} bytes of it");
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            assert_ne!(self.read_more(), 0, "the connection ended {} bytes early", length - self.ahead.len());
        }
        self.ahead.drain(..length).collect()
    }

    /// Reads what comes next; 0 at the end, which a reset is as well.
    fn read_more(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(read) => {
                self.ahead.extend_from_slice(&buffer[..read]);
                read
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}
