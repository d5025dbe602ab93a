//! What the corpora send, kept for the fuzz targets to begin with. Nothing here judges.

use std::fs;
use std::hash::DefaultHasher;
use std::hash::Hasher as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The directory that they go to, one within it for each target; `tests/run` names it.
const VARIABLE: &str = "SCOREGATE_TEST_SEEDS";

/// What is kept of one: as much as a target is given.
const MAX_BYTES: usize = 8192;

/// Keeps an input of a target, where somebody wants it.
pub(crate) fn keep(target: &str, input: &[u8]) {
    let Some(directory) = std::env::var_os(VARIABLE) else { return };
    let directory = PathBuf::from(directory).join(target);
    let input = &input[..input.len().min(MAX_BYTES)];
    // The same input has the same name in every run.
    let mut hasher = DefaultHasher::new();
    hasher.write(input);
    let path = directory.join(format!("{:016x}", hasher.finish()));
    fs::create_dir_all(&directory).and_then(|()| fs::write(path, input)).expect("a seed can be written");
}

/// Keeps a token, and what it says.
pub(crate) fn keep_token(token: &[u8]) {
    keep("token", token);
    let mut parts = token.split(|byte| *byte == b'.').map(|part| URL_SAFE_NO_PAD.decode(part));
    if let (Some(Ok(header)), Some(Ok(claims))) = (parts.next(), parts.next()) {
        keep("claims", &[&header[..], b"\n", &claims].concat());
        keep("limited", &[b"limited-access+jwt\n", &claims[..]].concat());
    }
}

/// Keeps what is sent over HTTP/1, for its reader and for whoever judges the head of a request.
pub(crate) fn keep_request(bytes: &[u8]) {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = bytes[..end].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut lines: Vec<&[u8]> = head.collect();
    lines[0] = lines[0].strip_suffix(b" HTTP/1.1").unwrap_or(lines[0]);
    keep("request", &lines.join(&b'\n'));
    keep("requests", &[b"\x01", bytes].concat());
}
