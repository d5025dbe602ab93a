//! The dashboard: a page that asks the API as anybody does, with a key that whoever looks at it types in.
//!
//! The files hold nothing of anybody, so everybody may have them. Nothing of it is made elsewhere: no script and no style
//! stands in the page itself, and the policy that comes with it lets a browser ask this listener only.

use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::header;
use http_body_util::Full;

use crate::manage::Asked;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;

/// What a browser is held to while it shows the page (CSP Level 3, Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// What else a browser is told.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    // A new version is a new page, at once.
    (header::CACHE_CONTROL, "no-cache"),
];

/// The files: name, media type, what is in it. The page itself has no name.
const FILES: [(&str, &str, &[u8]); 8] = [
    ("", "text/html; charset=utf-8", include_bytes!("page/index.html")),
    ("app.css", "text/css; charset=utf-8", include_bytes!("page/app.css")),
    ("app.js", SCRIPT, include_bytes!("page/app.js")),
    ("api.js", SCRIPT, include_bytes!("page/api.js")),
    ("view.js", SCRIPT, include_bytes!("page/view.js")),
    ("sections.js", SCRIPT, include_bytes!("page/sections.js")),
    ("dialogs.js", SCRIPT, include_bytes!("page/dialogs.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("page/icon.svg")),
];

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Answers with a file.
///
/// # Errors
/// 404.
pub(super) fn answer(asked: &Asked<'_>) -> Result<Reply, Refused> {
    let name = asked.name.unwrap_or_default();
    let found = FILES.iter().find(|(known, ..)| *known == name);
    let (_, media_type, bytes) = found.ok_or_else(|| Refused::not_found("nothing answers here"))?;
    let mut reply = Response::new(Full::new(Bytes::from_static(bytes)));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    Ok(reply)
}
