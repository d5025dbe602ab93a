//! Whether a query says one thing, to whoever reads it.

use crate::config::QueryParameter;
use crate::model::path::escape;
use crate::model::path::escape::Piece;

/// Whether the parameter stands exactly once in the query and has exactly this value, names and values
/// decoded once and compared without regard to ASCII case.
///
/// Says no wherever servers could differ: at a `;` (a separator to some), at a name that is broken, beyond
/// ASCII, or the wanted one to whoever decodes twice, trims, or takes `name[]` for a list.
pub(super) fn says_plainly(query: &str, want: &QueryParameter) -> bool {
    if query.contains(';') {
        return false;
    }
    let mut said = None;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match reading_of(name, &want.name) {
            Reading::Other => {}
            Reading::Wanted if said.is_none() => said = Some(value),
            Reading::Wanted | Reading::Doubtful => return false,
        }
    }
    said.and_then(decoded).is_some_and(|value| value.eq_ignore_ascii_case(want.value.as_bytes()))
}

/// How servers read a parameter's name.
enum Reading {
    Wanted,
    Other,
    Doubtful,
}

fn reading_of(name: &str, wanted: &str) -> Reading {
    if name.eq_ignore_ascii_case(wanted) {
        return Reading::Wanted;
    }
    if name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'+' | b'[')) {
        return Reading::Other;
    }
    let Some(once) = decoded(name).filter(|once| once.is_ascii()) else { return Reading::Doubtful };
    if once.eq_ignore_ascii_case(wanted.as_bytes()) {
        return Reading::Wanted;
    }
    let mut bare = escape::decoded_throughout(name);
    bare.retain(|byte| byte.is_ascii_graphic() && *byte != b'+');
    let base = bare.split(|byte| *byte == b'[').next().unwrap_or_default();
    if base.eq_ignore_ascii_case(wanted.as_bytes()) { Reading::Doubtful } else { Reading::Other }
}

/// Decodes once, `+` as a space (WHATWG URL §5.1); `None` where an escape is broken.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let bytes = escape::pieces(text).map(|piece| match piece {
        Piece::Plain(b'+') => Some(b' '),
        Piece::Plain(byte) | Piece::Escaped { byte, .. } => Some(byte),
        Piece::Broken => None,
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::says_plainly;
    use crate::config::QueryParameter;

    #[test]
    fn only_what_nobody_could_read_otherwise_is_said_plainly() {
        let want = QueryParameter { name: "returnFaceId".to_owned(), value: "false".to_owned() };
        for (query, plain) in [
            ("returnFaceId=false", true),
            ("returnFaceId=FALSE", true),
            ("RETURNFACEID=False", true),
            ("returnFaceId=%66alse", true),
            ("return%46aceId=false", true),
            ("return%66aceId=false", true),
            ("a=b&returnFaceId=false&c", true),
            ("&&returnFaceId=false&", true),
            ("returnFaceId=false&returnFaceIds=true", true),
            ("returnFaceId=false&x=%zz", true),
            ("returnFaceId=false&a[]=b&c+d=%25", true),
            ("", false),
            ("returnFaceId", false),
            ("returnFaceId=", false),
            ("returnFaceId=true", false),
            ("returnFaceId=0", false),
            ("xreturnFaceId=false", false),
            ("x=returnFaceId=false", false),
            ("returnFaceId=false=", false),
            ("returnFaceId==false", false),
            ("returnFaceId=+false", false),
            ("returnFaceId=false+", false),
            ("returnFaceId=false%20", false),
            ("returnFaceId=false%00", false),
            ("returnFaceId=%2566alse", false),
            ("returnFaceId=fals%E9", false),
            ("returnFaceId=false%", false),
            ("returnFaceId=false%26returnFaceId=true", false),
            ("returnFaceId=false&returnFaceId=true", false),
            ("returnFaceId=false&returnFaceId", false),
            ("returnFaceId=false&return%46aceId=true", false),
            ("returnFaceId=false&%72eturnFaceId=true", false),
            ("returnFaceId=false&returnfaceid=true", false),
            ("returnFaceId=false;returnFaceId=true", false),
            ("returnFaceId=false&x=1;returnFaceId=true", false),
            ("returnFaceId=false&+returnFaceId=true", false),
            ("returnFaceId=false&returnFaceId+=true", false),
            ("returnFaceId=false&%20returnFaceId=true", false),
            ("returnFaceId=false&returnFaceId%00=true", false),
            ("returnFaceId=false&returnFaceId%09x=true", true),
            ("returnFaceId=false&return%2546aceId=true", false),
            ("returnFaceId=false&returnFaceId[]=true", false),
            ("returnFaceId=false&returnFaceId%5B0%5D=true", false),
            ("returnFaceId[]=false", false),
            ("returnFaceId=false&returnFace%C4%B1d=true", false),
            ("returnFaceId=false&returnFaceıd=true", false),
            ("returnFaceId=false&%zz=1", false),
            ("returnFaceId=false&%ff=1", false),
            ("+returnFaceId=false", false),
            ("return+FaceId=false", false),
        ] {
            assert_eq!(says_plainly(query, &want), plain, "{query}");
        }
    }

    #[test]
    fn a_name_with_a_space_can_be_wanted() {
        let want = QueryParameter { name: "a b".to_owned(), value: "c d".to_owned() };
        for query in ["a+b=c+d", "a%20b=c%20d", "A%20B=C+D"] {
            assert!(says_plainly(query, &want), "{query}");
        }
    }
}
