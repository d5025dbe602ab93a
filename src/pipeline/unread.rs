//! The refusal of what never became a request: its head could not be read, so nothing is known of it but its peer.

use http::Method;
use http::Request;
use http::Response;
use http::Uri;
use tokio::time::Instant;

use crate::model::refusal::Denied;
use crate::observe::record::Record;
use crate::pipeline::Gateway;
use crate::pipeline::peer::Peer;
use crate::pipeline::refuse;
use crate::pipeline::refuse::Context;
use crate::pipeline::refuse::Reader;
use crate::pipeline::relay::AnswerBody;

/// The method that OpenTelemetry gives to a request that has none that is known.
const NO_METHOD: &[u8] = b"_OTHER";

impl Gateway {
    /// The answer to what could not be read.
    #[must_use]
    pub fn refuse_unread(&self, peer: &Peer, why: Denied) -> Response<AnswerBody> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = Method::from_bytes(NO_METHOD).unwrap_or_default();
        head.uri = Uri::from_static("*");
        let mut record = Record::begin(&self.observer, &head, &peer.connection, Instant::now());
        record.refused(why.into());
        let request_id = record.request_id();
        let decision = record.decision_id();
        let context = Context { service: None, reader: Reader::Http, decision, request_id: &request_id, detail: None };
        refuse::answer(why.into(), &context).map(|text| AnswerBody::Own(Some(text), Some(Box::new(record))))
    }
}
