//! HTTP/1 requests as upstreams read them: one as it should, the others each with a leniency that has been seen in servers.

/// How a server reads.
#[expect(clippy::struct_excessive_bools, reason = "leniencies that come in any combination, each with a name")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    pub(super) name: &'static str,
    /// Everything that the grammar does not have is an error.
    strict: bool,
    lines: Lines,
    /// Which of `Transfer-Encoding` and `Content-Length` says where a body ends.
    length: Length,
    /// Which of several values counts.
    pick: Pick,
    /// `_` in a name is `-`, as CGI has it.
    underscores: bool,
    /// A line that begins with a space continues the one before; otherwise it is trimmed and read as a field.
    folds: bool,
    /// `X-Original-URL` and its like are believed.
    overrides: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    CrLf,
    /// A line feed ends a line, with or without a carriage return.
    Lf,
    /// So does a carriage return alone.
    Cr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Coding,
    Number,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pick {
    First,
    Last,
}

/// A request as one of them sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) host: Option<String>,
    /// What the gateway tells of the caller.
    pub(super) principal: Option<String>,
    pub(super) body: Vec<u8>,
    /// Every field, names in lower case.
    pub(super) headers: Vec<(String, String)>,
}

/// What is left after the last whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rest {
    Nothing,
    /// A request that has not ended.
    Begun,
    /// Nothing that this reader could go on with.
    Garbled(String),
}

pub(super) const STRICT: Reader = Reader {
    name: "strict",
    strict: true,
    lines: Lines::CrLf,
    length: Length::Coding,
    pick: Pick::First,
    underscores: false,
    folds: true,
    overrides: false,
};

const LENIENT: Reader = Reader { name: "lenient", strict: false, lines: Lines::Lf, ..STRICT };

pub(super) const READERS: &[Reader] = &[
    STRICT,
    LENIENT,
    Reader { name: "only CRLF", lines: Lines::CrLf, ..LENIENT },
    Reader { name: "CR ends a line", lines: Lines::Cr, ..LENIENT },
    Reader { name: "length wins", length: Length::Number, ..LENIENT },
    Reader { name: "the last counts", pick: Pick::Last, ..LENIENT },
    Reader { name: "length wins, the last counts", length: Length::Number, pick: Pick::Last, ..LENIENT },
    Reader { name: "underscores are dashes", underscores: true, ..LENIENT },
    Reader { name: "underscores, the last counts", underscores: true, pick: Pick::Last, ..LENIENT },
    Reader { name: "underscores, length wins", underscores: true, length: Length::Number, ..LENIENT },
    Reader { name: "folds are fields", folds: false, ..LENIENT },
    Reader { name: "folds are fields, the last counts", folds: false, pick: Pick::Last, ..LENIENT },
    Reader { name: "overrides are believed", overrides: true, underscores: true, ..LENIENT },
];

/// Why reading stopped.
enum Stop {
    Early,
    Garbled(String),
}

fn garbled<T>(what: &str, bytes: &[u8]) -> Result<T, Stop> {
    Err(Stop::Garbled(format!("{what}: {:?}", String::from_utf8_lossy(bytes))))
}

impl Reader {
    /// Every request in `bytes`, and what is left of them.
    pub(super) fn read(&self, bytes: &[u8]) -> (Vec<Seen>, Rest) {
        let (mut seen, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            match self.request(&mut rest) {
                Ok(Some(request)) => seen.push(request),
                Ok(None) => {}
                Err(Stop::Early) => return (seen, Rest::Begun),
                Err(Stop::Garbled(what)) => return (seen, Rest::Garbled(what)),
            }
        }
        (seen, Rest::Nothing)
    }

    /// The next request; `None` for an empty line before one.
    fn request(&self, rest: &mut &[u8]) -> Result<Option<Seen>, Stop> {
        let line = self.line(rest)?;
        if line.is_empty() && !self.strict {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(line).into_owned();
        let words: Vec<&str> = if self.strict { text.split(' ').collect() } else { text.split_whitespace().collect() };
        let [method, target, version] = words[..] else { return garbled("a request line", line) };
        if self.strict && version != "HTTP/1.1" || !version.starts_with("HTTP/") {
            return garbled("a version", line);
        }
        let (method, target) = (method.to_owned(), target.to_owned());
        let headers = self.fields(rest)?;
        let body = self.body(&headers, rest)?;
        let mut seen = Seen {
            method,
            target,
            host: self.value(&headers, "host"),
            principal: self.value(&headers, "x-scoregate-principal"),
            body,
            headers,
        };
        if self.overrides {
            for name in ["x-original-url", "x-rewrite-url"] {
                seen.target = self.value(&seen.headers, name).unwrap_or(seen.target);
            }
            for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
                seen.method = self.value(&seen.headers, name).unwrap_or(seen.method);
            }
        }
        if self.strict && seen.headers.iter().filter(|(name, _)| name == "host").count() != 1 {
            return garbled("a number of hosts", seen.target.as_bytes());
        }
        Ok(Some(seen))
    }

    fn line<'b>(&self, rest: &mut &'b [u8]) -> Result<&'b [u8], Stop> {
        let bytes = *rest;
        let (line, after) = match self.lines {
            Lines::CrLf => {
                let end = bytes.windows(2).position(|two| two == b"\r\n").ok_or(Stop::Early)?;
                (&bytes[..end], end + 2)
            }
            Lines::Lf => {
                let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Stop::Early)?;
                (bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]), end + 1)
            }
            Lines::Cr => {
                let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')).ok_or(Stop::Early)?;
                (&bytes[..end], if bytes[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 })
            }
        };
        *rest = &bytes[after..];
        let has_control = line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
        if self.strict && has_control { garbled("a control byte", line) } else { Ok(line) }
    }

    fn fields(&self, rest: &mut &[u8]) -> Result<Vec<(String, String)>, Stop> {
        let mut fields: Vec<(String, String)> = Vec::new();
        loop {
            let line = self.line(rest)?;
            if line.is_empty() {
                return Ok(fields);
            }
            let text: String = line.iter().copied().map(char::from).collect();
            let is_fold = text.starts_with([' ', '\t']);
            match fields.last_mut() {
                Some((_, value)) if is_fold && self.folds && !self.strict => {
                    value.push(' ');
                    value.push_str(text.trim());
                    continue;
                }
                _ if is_fold && self.strict => return garbled("a folded line", line),
                _ => {}
            }
            let Some((name, value)) = text.split_once(':') else {
                if self.strict {
                    return garbled("a field", line);
                }
                continue;
            };
            if self.strict && !name.bytes().all(is_token) {
                return garbled("a name", line);
            }
            let name = name.trim().to_ascii_lowercase();
            fields.push((if self.underscores { name.replace('_', "-") } else { name }, value.trim().to_owned()));
        }
    }

    fn value(&self, headers: &[(String, String)], name: &str) -> Option<String> {
        let mut values = headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone());
        match self.pick {
            Pick::First => values.next(),
            Pick::Last => values.next_back(),
        }
    }

    fn body(&self, headers: &[(String, String)], rest: &mut &[u8]) -> Result<Vec<u8>, Stop> {
        let coding = self.value(headers, "transfer-encoding");
        let number = self.value(headers, "content-length");
        if self.strict {
            let count =
                headers.iter().filter(|(name, _)| name == "transfer-encoding" || name == "content-length").count();
            let is_plain = coding.as_deref().is_none_or(|coding| coding == "chunked")
                && number.as_deref().is_none_or(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
            if count > 1 || !is_plain {
                return garbled("a length", format!("{coding:?} {number:?}").as_bytes());
            }
        }
        let is_chunked = coding.is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"));
        // A number that is none is what is left of it: `+5`, `5, 6`, `5 `.
        let number = number.map(|number| {
            let digits: String =
                number.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
            digits.parse::<usize>().unwrap_or(0)
        });
        match number {
            Some(number) if !is_chunked || self.length == Length::Number => taken(rest, number).map(<[u8]>::to_vec),
            _ if is_chunked => self.chunks(rest),
            _ => Ok(Vec::new()),
        }
    }

    fn chunks(&self, rest: &mut &[u8]) -> Result<Vec<u8>, Stop> {
        let mut body = Vec::new();
        loop {
            let line = self.line(rest)?;
            let text = String::from_utf8_lossy(line);
            let digits: String = text.chars().take_while(char::is_ascii_hexdigit).collect();
            if self.strict && digits.len() != text.len() {
                return garbled("a chunk size", line);
            }
            let Ok(size) = usize::from_str_radix(&digits, 16) else { return garbled("a chunk size", line) };
            if size == 0 {
                self.fields(rest)?;
                return Ok(body);
            }
            body.extend_from_slice(taken(rest, size)?);
            let end = self.line(rest)?;
            if !end.is_empty() {
                return garbled("the end of a chunk", end);
            }
        }
    }
}

fn taken<'b>(rest: &mut &'b [u8], count: usize) -> Result<&'b [u8], Stop> {
    let (taken, after) = rest.split_at_checked(count).ok_or(Stop::Early)?;
    *rest = after;
    Ok(taken)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What would be smuggled past a gateway that forwards as it received, and who would see it.
#[test]
fn each_leniency_is_seen_by_the_reader_that_has_it() {
    const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    for (reader, sent) in [
        (
            "length wins",
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{HIDDEN}"),
        ),
        (
            "lenient",
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"
            ),
        ),
        (
            "CR ends a line",
            format!("POST / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 0\r\nContent-Length: 33\r\n\r\n{HIDDEN}"),
        ),
        (
            "the last counts",
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\nContent-Length: 0\r\n\r\n{HIDDEN}"),
        ),
        (
            "underscores are dashes",
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 0\r\nContent-Length: 33\r\n\r\n{HIDDEN}"),
        ),
        (
            "folds are fields",
            format!("POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Content-Length: 0\r\nContent-Length: 33\r\n\r\n{HIDDEN}"),
        ),
        ("overrides are believed", "GET / HTTP/1.1\r\nHost: a\r\nX_Original_URL: /hidden\r\n\r\n".to_owned()),
    ] {
        let found = READERS.iter().find(|known| known.name == reader).unwrap();
        let (seen, rest) = found.read(sent.as_bytes());
        assert!(seen.iter().any(|request| request.target == "/hidden"), "{reader}: {seen:?} {rest:?}");
        let (seen, _) = STRICT.read(sent.as_bytes());
        assert!(seen.iter().all(|request| request.target != "/hidden"), "strict saw as much as {reader}: {seen:?}");
    }
}
