//! Writes one JSON object on one line.
//!
//! A line is written for most requests, so its cost counts: derived serialisation took 3.1 µs for one, half of
//! it to escape names that are literals; this takes 1.3 µs (`benches/record.rs`). Names are copied, and only a
//! value that needs escaping goes through `serde_json`.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serializer;

use super::line::Attributes;
use super::printable::Printable;
use super::printable::is_plain;
use super::stamp::Timestamp;
use crate::model::hex;

/// An object in the making. Names are literals of this crate, unique, and need no escaping.
pub(super) struct Object<'b> {
    buffer: &'b mut Vec<u8>,
    /// What stands before the next name.
    before: u8,
    /// The first failure; the line is then given up.
    written: serde_json::Result<()>,
}

impl<'b> Object<'b> {
    pub(super) fn begin(buffer: &'b mut Vec<u8>) -> Self {
        Self { buffer, before: b'{', written: Ok(()) }
    }

    pub(super) fn end(self) -> serde_json::Result<()> {
        self.buffer.push(b'}');
        self.written
    }

    pub(super) fn timestamp(&mut self, name: &'static str, value: Timestamp<'_>) {
        self.text(name, value.second);
        // In place of the quotation mark that ended the second.
        self.buffer.pop();
        self.buffer.push(b'.');
        self.three_digits(u64::from(value.millis));
        self.buffer.extend_from_slice(b"Z\"");
    }

    fn name(&mut self, name: &'static str) {
        self.buffer.extend_from_slice(&[self.before, b'"']);
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b"\":");
        self.before = b',';
    }

    fn digits(&mut self, number: u64) {
        self.buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn three_digits(&mut self, number: u64) {
        // The remainders are below ten.
        let digits = [100, 10, 1].map(|place| b'0' + u8::try_from(number / place % 10).unwrap_or_default());
        self.buffer.extend_from_slice(&digits);
    }

    fn escaped(
        &mut self,
        write: impl FnOnce(&mut serde_json::Serializer<&mut Vec<u8>, Printable>) -> serde_json::Result<()>,
    ) {
        let written = write(&mut serde_json::Serializer::with_formatter(self.buffer, Printable));
        self.keep(written);
    }

    fn keep(&mut self, written: serde_json::Result<()>) {
        if self.written.is_ok() {
            self.written = written;
        }
    }
}

impl Attributes for Object<'_> {
    fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        if is_plain(value) {
            self.buffer.push(b'"');
            self.buffer.extend_from_slice(value.as_bytes());
            self.buffer.push(b'"');
        } else {
            self.escaped(|to| to.serialize_str(value));
        }
    }

    fn words(&mut self, name: &'static str, words: &[&str]) {
        debug_assert!(words.iter().all(|word| is_plain(word)), "{words:?} would have to be escaped");
        self.name(name);
        self.buffer.push(b'"');
        for word in words {
            self.buffer.extend_from_slice(word.as_bytes());
        }
        self.buffer.push(b'"');
    }

    fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        self.digits(value);
    }

    fn address(&mut self, name: &'static str, value: IpAddr) {
        self.name(name);
        self.buffer.push(b'"');
        match value {
            IpAddr::V4(value) => {
                for (place, octet) in value.octets().into_iter().enumerate() {
                    if place > 0 {
                        self.buffer.push(b'.');
                    }
                    self.digits(octet.into());
                }
            }
            IpAddr::V6(value) => {
                let written = write!(self.buffer, "{value}").map_err(serde_json::Error::io);
                self.keep(written);
            }
        }
        self.buffer.push(b'"');
    }

    fn hex<const N: usize>(&mut self, name: &'static str, number: u128) {
        self.name(name);
        self.buffer.push(b'"');
        self.buffer.extend_from_slice(&hex::digits::<N>(number));
        self.buffer.push(b'"');
    }

    fn millis(&mut self, name: &'static str, value: Duration) {
        self.name(name);
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.digits(micros / 1000);
        self.buffer.push(b'.');
        self.three_digits(micros % 1000);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::Attributes as _;
    use super::Object;
    use crate::observe::record::stamp::Stamp;

    #[test]
    fn what_is_written_is_what_a_json_parser_reads() {
        let hostile = "\u{0}\n\"\\\u{7f}\u{9b}ü\u{2028}\u{202e}\u{feff}\u{10ffff}/";
        let mut buffer = b"before ".to_vec();
        let mut object = Object::begin(&mut buffer);
        object.text("plain", "a b~");
        object.text("empty", "");
        object.text("hostile", hostile);
        object.text_if("absent", None);
        object.word("word", "a b");
        object.words("words", &["service:", "iris"]);
        object.number_if("number", Some(u64::MAX));
        object.address_if("v4", Some([192, 0, 2, 1].into()));
        object.address_if("v6", Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()));
        object.hex::<8>("hex", 0x009f_a0ff);
        object.millis("millis", Duration::from_nanos(1_002_003_999));
        object.millis("nothing", Duration::ZERO);
        object.timestamp("timestamp", Stamp::default().at(Duration::from_micros(1_795_253_400_007_999)));
        object.end().unwrap();
        let text = std::str::from_utf8(&buffer).unwrap().strip_prefix("before ").unwrap();
        assert!(text.chars().all(|c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{202e}' | '\u{feff}')), "{text}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(text).unwrap(),
            json!({
                "plain": "a b~",
                "empty": "",
                "hostile": hostile,
                "word": "a b",
                "words": "service:iris",
                "number": u64::MAX,
                "v4": "192.0.2.1",
                "v6": "2001:db8::1",
                "hex": "009fa0ff",
                "millis": 1002.003,
                "nothing": 0.0,
                "timestamp": "2026-11-21T09:30:00.007Z",
            })
        );
    }
}
