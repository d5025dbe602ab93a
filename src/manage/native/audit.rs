//! What the audit log says, for whoever may not or cannot read its files.

use std::str::FromStr;

use http::StatusCode;
use serde_json::json;

use crate::manage::Asked;
use crate::manage::Management;
use crate::manage::reply;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;
use crate::model::path::escape;
use crate::model::path::escape::Piece;
use crate::model::time::UnixSeconds;
use crate::observe::audit::query::Filter;
use crate::observe::audit::query::newest;

/// Lines that are shown where nobody says how many.
const LINES: usize = 100;

/// Most lines that are shown.
const MOST_LINES: usize = 1000;

const WANT: &str = "want a query of resource, act, since and until (whole seconds since 1970) and limit (1 to 1000), each at most once";

/// Shows the newest lines that are asked for, oldest first.
///
/// # Errors
/// 400 for a query that cannot be read, 409 where there is no audit log, 503.
pub(super) async fn query(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let (filter, limit) = wanted(asked.query.unwrap_or_default()).ok_or_else(|| Refused::bad_argument(WANT))?;
    let directory = manage.audit.directory().map(ToOwned::to_owned);
    let directory = directory.ok_or_else(|| Refused::conflict("gateway.yaml says `audit: off`"))?;
    let read = tokio::task::spawn_blocking(move || newest(&directory, &filter, limit)).await;
    let lines = read.map_err(std::io::Error::other).flatten().map_err(|error| {
        tracing::error!(%error, "the audit log could not be read");
        Refused::unavailable("the audit log cannot be read at the moment")
    })?;
    Ok(reply::json(StatusCode::OK, &json!({ "value": lines })))
}

fn wanted(query: &str) -> Option<(Filter, usize)> {
    let mut filter = Filter::default();
    let mut limit = None;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=')?;
        let value = decoded(value)?;
        let was_there = match name {
            "resource" => filter.resource.replace(value).is_some(),
            "act" => filter.act.replace(value).is_some(),
            "since" => filter.since.replace(seconds(&value)?).is_some(),
            "until" => filter.until.replace(seconds(&value)?).is_some(),
            "limit" => limit.replace(number(&value)?).is_some(),
            _ => return None,
        };
        if was_there {
            return None;
        }
    }
    let limit = limit.unwrap_or(LINES);
    (1..=MOST_LINES).contains(&limit).then_some((filter, limit))
}

/// A time that an `int64` holds, as the description says.
fn seconds(text: &str) -> Option<UnixSeconds> {
    number(text).and_then(|seconds: i64| u64::try_from(seconds).ok()).map(UnixSeconds)
}

/// Digits and nothing else: a sign is none.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Decodes once, `+` as a space (WHATWG URL §5.1); `None` where an escape is broken.
fn decoded(text: &str) -> Option<String> {
    let bytes = escape::pieces(text).map(|piece| match piece {
        Piece::Plain(b'+') => Some(b' '),
        Piece::Plain(byte) | Piece::Escaped { byte, .. } => Some(byte),
        Piece::Broken => None,
    });
    String::from_utf8(bytes.collect::<Option<_>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::LINES;
    use super::wanted;
    use crate::model::time::UnixSeconds;

    #[test]
    fn a_query_says_what_is_wanted_once_and_nothing_else() {
        for (query, want) in [
            ("", Some((None, None, LINES))),
            ("resource=/subscriptions/s%2F1", Some((Some("/subscriptions/s/1"), None, LINES))),
            ("since=5&limit=1000", Some((None, Some(5), 1000))),
            ("limit=0", None),
            ("limit=1001", None),
            ("limit=+5", None),
            ("since=-1", None),
            ("since=9223372036854775808", None),
            ("act=a&act=b", None),
            ("act", None),
            ("act=%zz", None),
            ("actor=a", None),
        ] {
            let got = wanted(query);
            let got = got.as_ref().map(|(filter, limit)| (filter.resource.as_deref(), filter.since, *limit));
            assert_eq!(got, want.map(|(resource, since, limit)| (resource, since.map(UnixSeconds), limit)), "{query}");
        }
    }
}
