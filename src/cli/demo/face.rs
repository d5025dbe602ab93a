//! A service that speaks the wire format of Face's `detect`, `identify`, `verify` and large person groups.
//!
//! It recognises no faces and looks at no image: a "face" is the SHA-256 of the bytes, or of the URL's text,
//! that were sent. Two faces are identical when those hashes are, with confidence 1, and otherwise differ, with
//! confidence 0. That is enough to show which calls a gateway lets through. URLs are never fetched, groups
//! need no training, and everything is forgotten when the process ends.

mod call;
mod groups;
mod refused;
mod uuid;

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::TcpListener;

use self::call::{Call, Identify, Image, Named, ReturnFaceId, Verify};
use self::groups::Groups;
use self::refused::Refused;
use self::uuid::Uuid;
use super::exchange;

/// Largest body, in bytes: Face's limit for an image.
const MOST_BODY_BYTES: usize = 6 * 1024 * 1024;

/// The service and what it remembers.
#[derive(Debug, Default)]
pub struct Face {
    groups: Mutex<Groups>,
}

/// Answers with a service of its own until the listener fails for good.
///
/// # Errors
/// The failure to accept that did not pass within five seconds.
pub async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let face = Arc::new(Face::default());
    exchange::serve(listener, move |request| {
        let face = Arc::clone(&face);
        async move { face.answer(request).await }
    })
    .await
}

type Answer = Result<Response<Full<Bytes>>, Refused>;

impl Face {
    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.find_answer(request).await.unwrap_or_else(Refused::into_response)
    }

    async fn find_answer<B>(&self, request: Request<B>) -> Answer
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let call = Call::at(head.uri.path()).ok_or(Refused::NoSuchCall)?;
        if !call.takes(&head.method) {
            return Err(Refused::MethodNotAllowed { allowed: call.allows() });
        }
        let body = exchange::read(body, MOST_BODY_BYTES).await?;
        match call {
            Call::Detect => detect(head.uri.query(), &head.headers, &body),
            Call::Identify => self.identify(&read(&body)?),
            Call::Verify => self.verify(&read(&body)?),
            Call::Group { group } => self.group(group, &head.method, &body),
            Call::Persons { group } => self.add_person(group, &body),
            Call::Faces { group, person } => self.add_face(group, person, &head.headers, &body),
        }
    }

    fn identify(&self, wanted: &Identify) -> Answer {
        let most = wanted.most_candidates()?;
        let groups = self.groups();
        let group = groups.find(&wanted.large_person_group_id)?;
        let found: Vec<_> = wanted
            .face_ids()?
            .iter()
            .map(|face| {
                let candidates: Vec<_> = group
                    .persons_with(*face)
                    .take(most)
                    .map(|person| json!({ "personId": person, "confidence": 1.0 }))
                    .collect();
                json!({ "faceId": face, "candidates": candidates })
            })
            .collect();
        Ok(ok(&found))
    }

    fn verify(&self, wanted: &Verify) -> Answer {
        let identical = match wanted {
            Verify::Faces { face_id1, face_id2 } => face_id1 == face_id2,
            Verify::Person { face_id, large_person_group_id, person_id } => {
                self.groups().find(large_person_group_id)?.has_face(*person_id, *face_id)?
            }
        };
        let confidence = if identical { 1.0 } else { 0.0 };
        Ok(ok(&json!({ "isIdentical": identical, "confidence": confidence })))
    }

    fn group(&self, id: &str, method: &Method, body: &[u8]) -> Answer {
        let mut groups = self.groups();
        match *method {
            Method::PUT => {
                let Named { name } = read(body)?;
                groups.create(id, name)?;
                Ok(done())
            }
            Method::DELETE => {
                groups.delete(id)?;
                Ok(done())
            }
            _ => Ok(ok(&json!({ "largePersonGroupId": id, "name": groups.find(id)?.name }))),
        }
    }

    fn add_person(&self, group: &str, body: &[u8]) -> Answer {
        // That a person has a name is Face's rule; nothing here ever gives it back.
        let Named { name: _ } = read(body)?;
        Ok(ok(&json!({ "personId": self.groups().add_person(group)? })))
    }

    fn add_face(&self, group: &str, person: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
        let person = Uuid::parse(person).map_err(|bad| Refused::BadArgument(format!("personId: {bad}.")))?;
        let face = image(headers, body)?;
        self.groups().add_face(group, person, face)?;
        Ok(ok(&json!({ "persistedFaceId": face })))
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        // Each change of the groups is one insertion or removal: a thread that panicked left nothing half done.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn detect(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Answer {
    let returned = ReturnFaceId::asked(query)?;
    let face = image(headers, body)?;
    let side = 40 + face.byte(0) % 80;
    let rectangle = json!({ "top": face.byte(1), "left": face.byte(2), "width": side, "height": side });
    let found = match returned {
        ReturnFaceId::Yes => json!({ "faceId": face, "faceRectangle": rectangle }),
        ReturnFaceId::No => json!({ "faceRectangle": rectangle }),
    };
    Ok(ok(&[found]))
}

/// The one "face" of an image that was sent as bytes or named by its URL.
fn image(headers: &HeaderMap, body: &[u8]) -> Result<Uuid, Refused> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/octet-stream") {
        return if body.is_empty() { Err(Refused::InvalidImageSize) } else { Ok(Uuid::of(body)) };
    }
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Refused::UnsupportedMediaType);
    }
    let Image { url } = read(body)?;
    if url.starts_with("https://") || url.starts_with("http://") {
        Ok(Uuid::of(url.as_bytes()))
    } else {
        Err(Refused::InvalidUrl)
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    // Face's own text. The parser's would quote the body.
    serde_json::from_slice(body).map_err(|_unquoted| Refused::BadArgument("Request body is invalid.".to_owned()))
}

fn ok(document: &impl Serialize) -> Response<Full<Bytes>> {
    exchange::json(StatusCode::OK, document)
}

/// 200 with an empty body, Face's answer to a change that returns nothing.
fn done() -> Response<Full<Bytes>> {
    Response::new(Full::default())
}

#[cfg(test)]
mod tests;
