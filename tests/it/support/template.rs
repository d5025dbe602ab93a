//! Texts of a corpus: what stands in `@{…}` is a time, bytes, or a word that the case knows.

use scoregate::model::time::UnixSeconds;

/// Replaces each `@{…}`: `now+60` by a time, `ff fe` by bytes, `5b*8000` by a byte many times, anything else by what
/// `word` says.
pub(crate) fn expand(text: &str, word: &dyn Fn(&str) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut pieces = text.split("@{");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (inside, after) = piece.split_once('}').unwrap_or_else(|| panic!("no end of @{{{piece}"));
        let meant = time(inside).or_else(|| repeated(inside)).or_else(|| word(inside));
        bytes.extend(meant.unwrap_or_else(|| panic!("nobody knows @{{{inside}}} in {text}")));
        bytes.extend_from_slice(after.as_bytes());
    }
    bytes
}

fn time(inside: &str) -> Option<Vec<u8>> {
    let offset: i64 = match inside.strip_prefix("now")? {
        "" => 0,
        offset => offset.parse().ok()?,
    };
    let moment = UnixSeconds::now().0.checked_add_signed(offset)?;
    Some(moment.to_string().into_bytes())
}

fn repeated(inside: &str) -> Option<Vec<u8>> {
    let (digits, times) = match inside.split_once('*') {
        Some((digits, times)) => (digits, times.parse().ok()?),
        None => (inside, 1),
    };
    Some(bytes(digits)?.repeat(times))
}

/// The bytes that hexadecimal digits mean; spaces may stand between pairs.
pub(crate) fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let is_pairs = !digits.is_empty() && digits.len().is_multiple_of(2);
    is_pairs.then(|| digits.chunks(2).map(byte).collect())?
}
