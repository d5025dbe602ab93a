//! Follows the requests of an HTTP/1 connection through their bytes, and finds what hyper would take and a strict reader
//! would not. It never says where a request goes: only that a connection's bytes have no single reading.
//!
//! hyper reads on its own; both agree on where a request ends because whatever passes here has one reading. What hyper
//! refuses by itself (folded lines, blanks before a colon, control bytes, HTTP/1.0 with a coding) is not looked for.

/// How an HTTP/2 connection begins (RFC 9113 §3.4), without the line end.
const PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0";

const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";

/// Most digits of a chunk's size: as many as 64 bits have.
const MAX_SIZE_DIGITS: usize = 16;

/// Where a connection stands.
#[derive(Debug)]
pub(super) struct Framing {
    at: At,
    /// A line whose end has not come yet. Whoever parses the bytes afterwards bounds it: a head, an extension and trailers
    /// have limits there.
    begun: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the first line of the first request.
    Beginning,
    /// Before the line of a request.
    Request(EmptyLines),
    /// Among the fields of a head, with what they have said of its body.
    Fields(Length),
    /// In a body with so many bytes left.
    Body(u64),
    /// Before the size of a chunk.
    ChunkSize,
    /// In a chunk with so many bytes left.
    Chunk(u64),
    /// Behind a chunk.
    ChunkEnd,
    /// Behind the last chunk.
    Trailers,
    /// HTTP/2, which is framed otherwise.
    Elsewhere,
}

/// Empty lines before a request: one may be left over from the body before (RFC 9112 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EmptyLines {
    None,
    One,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Unsaid,
    Bytes(u64),
    Chunked,
}

/// A line has no single reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ambiguous;

impl Framing {
    /// A connection that has just begun.
    pub(super) const fn new() -> Self {
        Self { at: At::Beginning, begun: Vec::new() }
    }

    /// Goes on by what has been read. Gives how many of the bytes have one reading, where not all of them do; it must not
    /// be called again after that.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.at {
                At::Elsewhere => return None,
                At::Body(left) => {
                    let (left, rest) = skip(left, rest);
                    self.at = if left == 0 { At::Request(EmptyLines::None) } else { At::Body(left) };
                    rest
                }
                At::Chunk(left) => {
                    let (left, rest) = skip(left, rest);
                    self.at = if left == 0 { At::ChunkEnd } else { At::Chunk(left) };
                    rest
                }
                At::Beginning | At::Request(_) | At::Fields(_) | At::ChunkSize | At::ChunkEnd | At::Trailers => {
                    let Some((line, after)) = memchr::memchr(b'\n', rest).and_then(|end| rest.split_at_checked(end))
                    else {
                        self.begun.extend_from_slice(rest);
                        return None;
                    };
                    let next = if self.begun.is_empty() {
                        self.at.after(line)
                    } else {
                        let mut whole = std::mem::take(&mut self.begun);
                        whole.extend_from_slice(line);
                        self.at.after(&whole)
                    };
                    match next {
                        Ok(at) => self.at = at,
                        Err(Ambiguous) => return Some(bytes.len() - after.len()),
                    }
                    let after = after.get(1..).unwrap_or_default();
                    if matches!(self.at, At::Fields(_)) { skip_plain(after) } else { after }
                }
            };
        }
        None
    }
}

/// Skips what is left of a body; gives how much is left then, and what follows.
fn skip(left: u64, bytes: &[u8]) -> (u64, &[u8]) {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (left - here as u64, bytes.get(here..).unwrap_or_default())
}

/// Skips whole lines that are fields and say nothing of a body, which is nearly all of them: where the colon of one that does
/// would stand, they have something else.
fn skip_plain(fields: &[u8]) -> &[u8] {
    let mut rest = fields;
    while let Some((line, after)) = memchr::memchr(b'\n', rest).and_then(|end| rest.split_at_checked(end)) {
        let has_colon = |name: &[u8]| line.get(name.len()) == Some(&b':');
        let is_plain = matches!(line, [_, .., b'\r']) && !has_colon(CONTENT_LENGTH) && !has_colon(TRANSFER_ENCODING);
        if !is_plain {
            break;
        }
        rest = after.get(1..).unwrap_or_default();
    }
    rest
}

impl At {
    /// Where the connection stands after a line, given without its line feed.
    fn after(self, line: &[u8]) -> Result<Self, Ambiguous> {
        // A line feed alone is a line end to some only (RFC 9112 §2.2).
        let line = line.strip_suffix(b"\r").ok_or(Ambiguous)?;
        match self {
            Self::Beginning if line == PREFACE_LINE => Ok(Self::Elsewhere),
            Self::Beginning | Self::Request(EmptyLines::None) if line.is_empty() => Ok(Self::Request(EmptyLines::One)),
            // A fragment is no part of a target (RFC 9112 §3.2); hyper would cut it off.
            Self::Beginning | Self::Request(_) if line.is_empty() || memchr::memchr(b'#', line).is_some() => {
                Err(Ambiguous)
            }
            Self::Beginning | Self::Request(_) => Ok(Self::Fields(Length::Unsaid)),
            Self::Fields(Length::Unsaid | Length::Bytes(0)) if line.is_empty() => Ok(Self::Request(EmptyLines::None)),
            Self::Fields(Length::Bytes(bytes)) if line.is_empty() => Ok(Self::Body(bytes)),
            Self::Fields(Length::Chunked) if line.is_empty() => Ok(Self::ChunkSize),
            Self::Fields(length) => length.after(line).map(Self::Fields),
            Self::ChunkSize => chunk_size(line).map(|size| if size == 0 { Self::Trailers } else { Self::Chunk(size) }),
            Self::ChunkEnd if line.is_empty() => Ok(Self::ChunkSize),
            Self::ChunkEnd => Err(Ambiguous),
            Self::Trailers if line.is_empty() => Ok(Self::Request(EmptyLines::None)),
            // Whoever merges trailers into headers would read another request (RFC 9110 §6.5.1).
            Self::Trailers => match FramingField::of(line) {
                Some(_) => Err(Ambiguous),
                None => Ok(Self::Trailers),
            },
            Self::Body(_) | Self::Chunk(_) | Self::Elsewhere => Ok(self),
        }
    }
}

impl Length {
    /// What is known of the body after one more field. Each of the two lengths stands once, and never beside the other
    /// (RFC 9112 §6.1, §6.3).
    fn after(self, line: &[u8]) -> Result<Self, Ambiguous> {
        let said = match FramingField::of(line) {
            None | Some(FramingField::Host) => return Ok(self),
            Some(FramingField::ContentLength(value)) => Self::Bytes(decimal(value)?),
            Some(FramingField::TransferEncoding(value)) if value.eq_ignore_ascii_case(b"chunked") => Self::Chunked,
            Some(FramingField::TransferEncoding(_)) => return Err(Ambiguous),
        };
        if self == Self::Unsaid { Ok(said) } else { Err(Ambiguous) }
    }
}

/// A field that says where a request ends, or whose it is.
enum FramingField<'l> {
    ContentLength(&'l [u8]),
    TransferEncoding(&'l [u8]),
    Host,
}

impl<'l> FramingField<'l> {
    /// Reads a line, if it is one of them. What is no field at all is not looked at.
    fn of(line: &'l [u8]) -> Option<Self> {
        Self::named(line, CONTENT_LENGTH)
            .map(Self::ContentLength)
            .or_else(|| Self::named(line, TRANSFER_ENCODING).map(Self::TransferEncoding))
            .or_else(|| Self::named(line, b"host").map(|_value| Self::Host))
    }

    /// The value of a field of this name. Where the colon stands tells nearly all lines apart.
    fn named(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
        let (known, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        known.eq_ignore_ascii_case(name).then(|| trimmed(value))
    }
}

/// Without the optional white space around it (RFC 9110 §5.6.3), which is less than `trim_ascii` takes.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// `1*DIGIT` in its one spelling, without leading zeros; no more than a signed number holds, since some read one.
fn decimal(digits: &[u8]) -> Result<u64, Ambiguous> {
    if digits.len() > 1 && digits.starts_with(b"0") || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Ambiguous);
    }
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i64>().ok());
    number.and_then(|number| u64::try_from(number).ok()).ok_or(Ambiguous)
}

/// The size of a chunk, and behind it nothing but an extension without control bytes (RFC 9112 §7.1.1).
fn chunk_size(line: &[u8]) -> Result<u64, Ambiguous> {
    let (digits, extension) =
        line.split_at_checked(line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count()).ok_or(Ambiguous)?;
    let is_extension =
        extension.starts_with(b";") && extension.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    if digits.len() > MAX_SIZE_DIGITS || !extension.is_empty() && !is_extension {
        return Err(Ambiguous);
    }
    let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    size.ok_or(Ambiguous)
}

#[cfg(test)]
mod tests {
    use super::Framing;

    /// How much of it has one reading, in one piece and in pieces of every size.
    fn followed(bytes: &[u8]) -> Option<usize> {
        let whole = Framing::new().follow(bytes);
        for size in 1..bytes.len() {
            let mut framing = Framing::new();
            let mut before = 0;
            let found = bytes.chunks(size).find_map(|piece| {
                let found = framing.follow(piece).map(|end| before + end);
                before += piece.len();
                found
            });
            assert_eq!(found, whole, "{} in pieces of {size}", String::from_utf8_lossy(bytes));
        }
        whole
    }

    #[test]
    fn what_has_one_reading_passes() {
        for bytes in [
            "",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-LENGTH:\t5 \r\n\r\n\n\n\n\n\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\n\n\n\n\n\n\r\n0aF;x=\"y\"\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n000\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n#\n",
            "GET / HTTP/1.1\r\nCookie: content-length: 1\r\nContent_Length: x\r\nTe: trailers\r\n\r\n",
        ] {
            assert_eq!(followed(bytes.as_bytes()), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_has_several_readings_ends_before_the_line_feed_that_tells() {
        for bytes in [
            "GET / HTTP/1.1|\n",
            "\r\n\r|\nGET / HTTP/1.1\r\n\r\n",
            "GET /#a HTTP/1.1\r|\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a|\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n|\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nPRI * HTTP/2.0\r\nContent-Length: x\r|\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r|\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\nX: y\r\ntransfer-encoding: chunked\r|\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r|\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r|\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 05\r|\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length:\r|\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r|\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5 \r|\nhello\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a\0\r|\nhello\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000005\r|\nhello\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello|\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHOST: b\r|\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y|\n\r\n",
        ] {
            let (passes, rest) = bytes.split_once('|').unwrap();
            assert_eq!(followed(format!("{passes}{rest}").as_bytes()), Some(passes.len()), "{bytes:?}");
        }
    }
}
