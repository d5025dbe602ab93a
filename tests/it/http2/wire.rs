//! HTTP/2 frame by frame (RFC 9113 §4, RFC 7541): a client that writes what it is told and reads what comes.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

/// `END_STREAM`, and `ACK` where a frame has that.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The error codes of RFC 9113 §7, by number.
const ERRORS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// A frame that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of `RST_STREAM`, or of `GOAWAY`.
    pub(crate) fn error(&self) -> &'static str {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let code = self.payload.get(at..at + 4).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
        code.and_then(|code| ERRORS.get(code as usize)).copied().unwrap_or("an unknown code")
    }

    /// The status in the head of an answer, from an encoder that was told to keep no table.
    pub(crate) fn status(&self) -> Option<u16> {
        const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        let mut block = &*self.payload;
        // Behind changes of the table's size.
        while *block.first()? & 0xe0 == 0x20 {
            let length = if block[0] == 0x3f { block[1..].iter().position(|byte| *byte < 0x80)? + 2 } else { 1 };
            block = block.get(length..)?;
        }
        match *block.first()? {
            byte @ 0x88..=0x8e => Some(INDEXED[usize::from(byte - 0x88)]),
            // A literal whose name has the index of `:status`.
            0x48 | 0x08 | 0x18 => {
                let length = usize::from(block.get(1)? & 0x7f);
                let text = block.get(2..2 + length)?;
                if block[1] & 0x80 == 0 { std::str::from_utf8(text).ok()?.parse().ok() } else { digits(text) }
            }
            _ => None,
        }
    }
}

/// Three digits of the Huffman code (RFC 7541, appendix B).
fn digits(text: &[u8]) -> Option<u16> {
    let mut bits = text.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
    let mut take = |count: usize| bits.by_ref().take(count).fold(0, |all, bit| all << 1 | u16::from(bit));
    let mut status = 0;
    for _ in 0..3 {
        let code = take(5);
        let digit = match code {
            0..=2 => code,
            // 3 to 9 have six bits: 011001 is 3.
            12..=15 => (code << 1 | take(1)) - 25 + 3,
            _ => return None,
        };
        status = status * 10 + digit;
    }
    Some(status)
}

/// A frame as it goes over the wire.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    sized(payload.len(), kind, flags, stream, payload)
}

/// A frame that says it is this long, whatever follows.
pub(crate) fn sized(length: usize, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A setting, as `SETTINGS` has it.
pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A header field in plain literals, nothing indexed (RFC 7541 §6.2.2). Names and values are whatever they are.
pub(crate) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        integer(&mut bytes, 0, 7, text.len());
        bytes.extend(text);
    }
    bytes
}

/// An integer behind the high bits of its first byte (RFC 7541 §5.1).
pub(crate) fn integer(bytes: &mut Vec<u8>, high: u8, prefix: u32, value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        bytes.push(high | u8::try_from(value).unwrap());
        return;
    }
    bytes.push(high | u8::try_from(most).unwrap());
    let mut rest = value - most;
    while rest >= 0x80 {
        bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// The header block of a request without a body.
pub(crate) fn request(method: &str, path: &str) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "stage")];
    pseudo.iter().flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect()
}

/// A connection, and what was read from it beyond the last frame.
#[derive(Debug)]
pub(crate) struct Http2 {
    io: TcpStream,
    ahead: Vec<u8>,
}

impl Http2 {
    /// Connects and says hello; `settings` besides that the gateway's encoder is to keep no table.
    pub(crate) fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(address);
        let settings: Vec<u8> = [(1, 0)].iter().chain(settings).flat_map(|(id, value)| setting(*id, *value)).collect();
        client.send([PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()).unwrap();
        client
    }

    /// Connects and says nothing.
    pub(crate) fn silent(address: SocketAddr) -> Self {
        let io = TcpStream::connect(address).unwrap();
        io.set_nodelay(true).unwrap();
        io.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        Self { io, ahead: Vec::new() }
    }

    /// Sends bytes as they are. An error says that the gateway has closed, or reads no more.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.io.write_all(bytes.as_ref())
    }

    /// The next frame; `Ok(None)` at the end of the connection.
    pub(crate) fn next(&mut self, until: Instant) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.buffered() {
                return Ok(Some(frame));
            }
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.io.set_read_timeout(Some(left))?;
            let mut piece = [0; 16 * 1024];
            match self.io.read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(count) => self.ahead.extend(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
        }
    }

    fn buffered(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.ahead.get(..9)?.try_into().unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = self.ahead.get(9..9 + length)?.to_vec();
        self.ahead.drain(..9 + length);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads until a frame is the one that is wanted, or for too long.
    pub(crate) fn until(&mut self, patience: Duration, mut wanted: impl FnMut(&Frame) -> bool) -> Option<Frame> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            let frame = self.next(until).ok()??;
            if wanted(&frame) {
                return Some(frame);
            }
        }
        None
    }
}

#[test]
fn the_status_of_an_answer_is_read_in_each_of_its_forms() {
    let head = |payload: &[u8]| Frame { kind: HEADERS, flags: 0, stream: 1, payload: payload.to_vec() };
    for (block, want) in [
        (&[0x88, 0x00][..], Some(200)),
        (&[0x20, 0x8c], Some(400)),
        (&[0x20, 0x3f, 0xe1, 0x1f, 0x88], Some(200)),
        (b"\x48\x03405", Some(405)),
        // 4, 0, 5: 011010 00000 011011.
        (&[0x48, 0x83, 0b0110_1000, 0b0000_1101, 0b1111_1111], Some(405)),
        // 4, 3, 1: 011010 011001 00001.
        (&[0x08, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111], Some(431)),
        (&[], None),
        (&[0x40], None),
    ] {
        assert_eq!(head(block).status(), want, "{block:?}");
    }
}
