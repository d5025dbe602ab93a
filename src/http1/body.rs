//! How long a body is, and the bytes of it.

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::Version;
use http::header::CONTENT_LENGTH;
use http::header::TRANSFER_ENCODING;

use super::Malformed;
use super::head;

/// How much is looked through for the end of the line that gives the size of a chunk, in bytes.
const MAX_CHUNK_LINE: usize = 256;

/// Most digits of a chunk's size: as many as 64 bits have.
const MAX_SIZE_DIGITS: usize = 16;

/// How a body ends (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// After so many bytes.
    Of(u64),
    /// With a chunk of no bytes.
    Chunked,
    /// Neither is said: of a request that means no body, of an answer that it lasts until the connection is closed.
    Unsaid,
}

impl Length {
    /// Reads what a head says.
    ///
    /// # Errors
    /// [`Malformed::Length`] for whatever two readers could take differently: both fields, several lengths, signs,
    /// lists, any coding but `chunked` alone, a coding in HTTP/1.0.
    pub fn said(fields: &HeaderMap, version: Version) -> Result<Self, Malformed> {
        let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
        let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
        match (codings.next(), lengths.next()) {
            (None, None) => Ok(Self::Unsaid),
            (None, Some(length)) if lengths.next().is_none() => decimal(length.as_bytes()).map(Self::Of),
            (Some(coding), None) if codings.next().is_none() && version == Version::HTTP_11 => {
                if coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    Ok(Self::Chunked)
                } else {
                    Err(Malformed::Length)
                }
            }
            _ => Err(Malformed::Length),
        }
    }
}

/// `1*DIGIT` in its one spelling, without leading zeros; no more than a signed number holds, since some read one.
fn decimal(digits: &[u8]) -> Result<u64, Malformed> {
    let plain = !digits.is_empty()
        && digits.iter().all(u8::is_ascii_digit)
        && (digits.len() == 1 || digits.first() != Some(&b'0'));
    let text = std::str::from_utf8(digits).ok().filter(|_| plain).ok_or(Malformed::Length)?;
    let number: i64 = text.parse().map_err(|_overflow| Malformed::Length)?;
    u64::try_from(number).map_err(|_negative| Malformed::Length)
}

/// Takes a body off a connection's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoder {
    at: At,
    /// Bytes of chunk extensions that may still come.
    extensions: u16,
}

/// Where a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// So many bytes are left.
    Counted(u64),
    /// Everything that comes.
    UntilClose,
    /// The line with a chunk's size is next.
    ChunkSize,
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// The end of the line after a chunk is next.
    ChunkEnd,
    /// The trailer section is next.
    Trailers,
    /// There is no more.
    Done,
}

/// What a decoder found.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// Bytes of the body; never none.
    Data(Bytes),
    /// The trailers of a body that has some. It ends with them.
    Trailers(HeaderMap),
    /// The end.
    End,
    /// More bytes are needed.
    More,
}

impl Decoder {
    /// No body.
    pub const DONE: Self = Self::at(At::Done);

    /// Everything until the connection is closed.
    pub const UNTIL_CLOSE: Self = Self::at(At::UntilClose);

    const fn at(at: At) -> Self {
        Self { at, extensions: 0 }
    }

    /// So many bytes.
    #[must_use]
    pub const fn counted(bytes: u64) -> Self {
        Self::at(At::Counted(bytes))
    }

    /// Chunks, with at most so many bytes of extensions in all of them together.
    #[must_use]
    pub const fn chunked(extensions: u16) -> Self {
        Self { at: At::ChunkSize, extensions }
    }

    /// Takes the next piece off the front of `input`.
    ///
    /// # Errors
    /// [`Malformed::Chunk`], [`Malformed::TooLarge`].
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            self.at = match self.at {
                At::Done | At::Counted(0) => {
                    self.at = At::Done;
                    return Ok(Piece::End);
                }
                At::Chunk(0) => At::ChunkEnd,
                At::UntilClose | At::Counted(_) | At::Chunk(_) if input.is_empty() => return Ok(Piece::More),
                At::UntilClose => return Ok(Piece::Data(input.split().freeze())),
                At::Counted(left) => {
                    let data = some(left, input);
                    self.at = At::Counted(left - data.len() as u64);
                    return Ok(Piece::Data(data));
                }
                At::Chunk(left) => {
                    let data = some(left, input);
                    self.at = At::Chunk(left - data.len() as u64);
                    return Ok(Piece::Data(data));
                }
                At::ChunkSize => match chunk_size(input, &mut self.extensions)? {
                    None => return Ok(Piece::More),
                    Some(0) => At::Trailers,
                    Some(size) => At::Chunk(size),
                },
                At::ChunkEnd => match input.get(..2) {
                    Some(b"\r\n") => {
                        drop(input.split_to(2));
                        At::ChunkSize
                    }
                    Some(_) => return Err(Malformed::Chunk),
                    None if input.first().is_none_or(|byte| *byte == b'\r') => return Ok(Piece::More),
                    None => return Err(Malformed::Chunk),
                },
                At::Trailers => match head::trailers(input)? {
                    None => return Ok(Piece::More),
                    Some(fields) => {
                        self.at = At::Done;
                        return Ok(if fields.is_empty() { Piece::End } else { Piece::Trailers(fields) });
                    }
                },
            };
        }
    }

    /// Whether there is no more, without looking at further bytes.
    #[must_use]
    pub const fn is_done(self) -> bool {
        matches!(self.at, At::Done | At::Counted(0))
    }

    /// How many bytes are left, where that has been said.
    #[must_use]
    pub const fn left(self) -> Option<u64> {
        match self.at {
            At::Counted(left) => Some(left),
            At::Done => Some(0),
            At::UntilClose | At::ChunkSize | At::Chunk(_) | At::ChunkEnd | At::Trailers => None,
        }
    }
}

/// As much of `left` bytes as is there.
fn some(left: u64, input: &mut BytesMut) -> Bytes {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    let is_all = here == input.len() && here as u64 == left;
    if is_all { std::mem::take(input).freeze() } else { input.split_to(here).freeze() }
}

/// Reads `1*HEXDIG [ chunk-ext ] CRLF` (RFC 9112 §7.1). Extensions say nothing to anybody here: they are dropped, as far as
/// they are allowed at all, and have neither blanks before them nor control bytes in them, since readers differ about where
/// such ones end.
fn chunk_size(input: &mut BytesMut, extensions: &mut u16) -> Result<Option<u64>, Malformed> {
    let looked_through = input.get(..MAX_CHUNK_LINE).unwrap_or(input);
    let Some(end) = memchr::memchr(b'\n', looked_through) else {
        return if input.len() > MAX_CHUNK_LINE { Err(Malformed::Chunk) } else { Ok(None) };
    };
    let line = input.split_to(end + 1);
    let line = line.strip_suffix(b"\r\n").ok_or(Malformed::Chunk)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at_checked(digits).ok_or(Malformed::Chunk)?;
    if !(1..=MAX_SIZE_DIGITS).contains(&digits.len()) {
        return Err(Malformed::Chunk);
    }
    if !extension.is_empty() {
        let is_plain =
            extension.starts_with(b";") && extension.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
        let bytes = u16::try_from(extension.len()).ok().filter(|_| is_plain).ok_or(Malformed::Chunk)?;
        *extensions = extensions.checked_sub(bytes).ok_or(Malformed::Chunk)?;
    }
    digits
        .iter()
        .try_fold(0_u64, |size, digit| {
            let value = char::from(*digit).to_digit(16).ok_or(Malformed::Chunk)?;
            Ok(size << 4 | u64::from(value))
        })
        .map(Some)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use http::HeaderMap;
    use http::HeaderValue;
    use http::Version;
    use http::header::CONTENT_LENGTH;
    use http::header::TRANSFER_ENCODING;

    use super::Decoder;
    use super::Length;
    use super::Piece;
    use crate::http1::Malformed;

    #[test]
    fn a_length_has_one_reading_or_is_refused() {
        type Case<'a> = (&'a [&'a str], &'a [&'a str], Version, Result<Length, Malformed>);
        let cases: [Case<'_>; 20] = [
            (&[], &[], Version::HTTP_11, Ok(Length::Unsaid)),
            (&["0"], &[], Version::HTTP_11, Ok(Length::Of(0))),
            (&["9223372036854775807"], &[], Version::HTTP_10, Ok(Length::Of(i64::MAX.unsigned_abs()))),
            (&["9223372036854775808"], &[], Version::HTTP_11, Err(Malformed::Length)),
            (&["+5"], &[], Version::HTTP_11, Err(Malformed::Length)),
            (&["-5"], &[], Version::HTTP_11, Err(Malformed::Length)),
            (&["05"], &[], Version::HTTP_11, Err(Malformed::Length)),
            (&["0x5"], &[], Version::HTTP_11, Err(Malformed::Length)),
            (&["5 "], &[], Version::HTTP_11, Err(Malformed::Length)),
            (&["5, 5"], &[], Version::HTTP_11, Err(Malformed::Length)),
            (&["5", "5"], &[], Version::HTTP_11, Err(Malformed::Length)),
            (&[""], &[], Version::HTTP_11, Err(Malformed::Length)),
            (&[], &["chunked"], Version::HTTP_11, Ok(Length::Chunked)),
            (&[], &["Chunked"], Version::HTTP_11, Ok(Length::Chunked)),
            (&[], &["chunked"], Version::HTTP_10, Err(Malformed::Length)),
            (&[], &["gzip, chunked"], Version::HTTP_11, Err(Malformed::Length)),
            (&[], &["chunked", "chunked"], Version::HTTP_11, Err(Malformed::Length)),
            (&[], &["identity"], Version::HTTP_11, Err(Malformed::Length)),
            (&[], &[" chunked"], Version::HTTP_11, Err(Malformed::Length)),
            (&["5"], &["chunked"], Version::HTTP_11, Err(Malformed::Length)),
        ];
        for (lengths, codings, version, want) in cases {
            let mut fields = HeaderMap::new();
            for length in lengths {
                fields.append(CONTENT_LENGTH, HeaderValue::from_str(length).unwrap());
            }
            for coding in codings {
                fields.append(TRANSFER_ENCODING, HeaderValue::from_str(coding).unwrap());
            }
            assert_eq!(Length::said(&fields, version), want, "{lengths:?} {codings:?}");
        }
    }

    /// Everything that a decoder makes of bytes that come in pieces of `step`.
    fn decoded(mut decoder: Decoder, bytes: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let (mut data, mut trailers, mut input) = (Vec::new(), 0, BytesMut::new());
        for piece in bytes.chunks(step) {
            input.extend_from_slice(piece);
            loop {
                match decoder.next(&mut input)? {
                    Piece::Data(piece) => data.extend_from_slice(&piece),
                    Piece::Trailers(fields) => trailers += fields.len(),
                    Piece::More => break,
                    Piece::End => return Ok((data, trailers, true)),
                }
            }
        }
        Ok((data, trailers, false))
    }

    #[test]
    fn chunks_are_read_strictly_however_they_come() {
        for (bytes, want) in [
            ("3\r\nabc\r\n0\r\n\r\n", Ok(("abc", 0, true))),
            ("3\r\nabc\r\n00a\r\n0123456789\r\n0\r\n\r\n", Ok(("abc0123456789", 0, true))),
            ("3\r\nabc\r\n0\r\nx: y\r\nz: w\r\n\r\n", Ok(("abc", 2, true))),
            ("3\r\nab", Ok(("ab", 0, false))),
            ("0\r\n", Ok(("", 0, false))),
            ("3\nabc\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            ("3;a=b\r\nabc\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            ("3 \r\nabc\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            ("+3\r\nabc\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            ("0x3\r\nabc\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            ("\r\nabc\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            ("3\r\nabcd\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            ("3\r\nabc\n0\r\n\r\n", Err(Malformed::Chunk)),
            ("10000000000000003\r\nabc\r\n0\r\n\r\n", Err(Malformed::Chunk)),
            ("3\r\nabc\r\n0\r\nx\r\n\r\n", Err(Malformed::Chunk)),
        ] {
            for step in [1, 2, 1000] {
                let want = want.map(|(data, trailers, ended)| (data.as_bytes().to_vec(), trailers, ended));
                assert_eq!(decoded(Decoder::chunked(0), bytes.as_bytes(), step), want, "{bytes:?} by {step}");
            }
        }
    }

    #[test]
    fn extensions_are_dropped_as_far_as_they_are_allowed() {
        for (bytes, allowed, want) in [
            ("3;a=b\r\nabc\r\n0;\tlast\r\n\r\n", 10, Ok(("abc", 0, true))),
            ("3;a=\"b;c d\"\r\nabc\r\n0\r\n\r\n", 100, Ok(("abc", 0, true))),
            ("3;a=b\r\nabc\r\n0;\tlast\r\n\r\n", 9, Err(Malformed::Chunk)),
            ("3 ;a=b\r\nabc\r\n0\r\n\r\n", 100, Err(Malformed::Chunk)),
            ("3;a\0\r\nabc\r\n0\r\n\r\n", 100, Err(Malformed::Chunk)),
            ("3;a\rb\r\nabc\r\n0\r\n\r\n", 100, Err(Malformed::Chunk)),
            ("3;a\nabc\r\n0\r\n\r\n", 100, Err(Malformed::Chunk)),
        ] {
            for step in [1, 2, 1000] {
                let want = want.map(|(data, trailers, ended)| (data.as_bytes().to_vec(), trailers, ended));
                assert_eq!(decoded(Decoder::chunked(allowed), bytes.as_bytes(), step), want, "{bytes:?} by {step}");
            }
        }
    }

    #[test]
    fn a_counted_body_leaves_what_follows() {
        let mut input = BytesMut::from("abcdef");
        let mut decoder = Decoder::counted(4);
        assert_eq!(decoder.next(&mut input), Ok(Piece::Data("abcd".into())));
        assert!(decoder.is_done());
        assert_eq!(decoder.next(&mut input), Ok(Piece::End));
        assert_eq!(input, "ef");
    }
}
