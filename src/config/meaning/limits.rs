//! What a listener bears of its clients.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Read;
use super::Reader;
use crate::config::Limits;
use crate::config::Patience;
use crate::config::problem::Place;
use crate::config::raw;
use crate::config::units;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const LEAST_BYTES: u64 = 1 << 10;
/// hyper and `http` take a target of less than 64 KiB.
const MOST_TARGET_BYTES: u64 = 60 << 10;
const MOST_HEADER_BYTES: u64 = 1 << 20;

impl Reader {
    /// `usual` is what is not written.
    pub(super) fn limits(&mut self, listener: &raw::Listener, usual: &Limits, at: &Place) -> Read<Limits> {
        let written = listener.limits.clone().unwrap_or_default();
        let patience = self.patience(listener, usual.patience, &at.field("timeouts"));
        let at = at.field("limits");
        let shared_addresses = self.networks(written.shared_addresses.as_deref(), &at.field("shared_addresses"));
        let mut bytes =
            |field: &str, text: Option<&str>, usual: usize, most: u64| self.bytes(text, &at.field(field), usual, most);
        let target_bytes = bytes("max_target", written.max_target.as_deref(), usual.target_bytes, MOST_TARGET_BYTES);
        let header_bytes = bytes("max_header", written.max_header.as_deref(), usual.header_bytes, MOST_HEADER_BYTES);
        let headers_bytes =
            bytes("max_headers", written.max_headers.as_deref(), usual.headers_bytes, MOST_HEADER_BYTES);
        Ok(Limits {
            connections: written.connections.unwrap_or(usual.connections),
            connections_per_address: written.connections_per_address.unwrap_or(usual.connections_per_address),
            failed_authentications: written
                .failed_authentications
                .and_then(NonZeroU32::new)
                .unwrap_or(usual.failed_authentications),
            shared_addresses: shared_addresses?,
            target_bytes: target_bytes?,
            header_bytes: header_bytes?,
            headers_bytes: headers_bytes?,
            header_count: written.max_header_count.map_or(usual.header_count, usize::from),
            patience: patience?,
        })
    }

    fn patience(&mut self, listener: &raw::Listener, usual: Patience, at: &Place) -> Read<Patience> {
        let written = listener.timeouts.clone().unwrap_or_default();
        let mut read = |field: &str, text: Option<&str>, usual: Duration| {
            self.duration(text, &at.field(field), usual, SECOND, DAY)
        };
        let handshake = read("handshake", written.handshake.as_deref(), usual.handshake);
        let head = read("head", written.head.as_deref(), usual.head);
        let idle = read("idle", written.idle.as_deref(), usual.idle);
        let write = read("write", written.write.as_deref(), usual.write);
        let lifetime = match written.lifetime.as_deref() {
            None => Ok(usual.lifetime),
            Some("none") => Ok(None),
            limit => read("lifetime", limit, DAY).map(Some),
        };
        Ok(Patience { handshake: handshake?, head: head?, idle: idle?, write: write?, lifetime: lifetime? })
    }

    fn bytes(&mut self, text: Option<&str>, at: &Place, usual: usize, most: u64) -> Read<usize> {
        let Some(text) = text else { return Ok(usual) };
        let size = self.keep(at, units::size(text))?;
        match usize::try_from(size) {
            Ok(bytes) if (LEAST_BYTES..=most).contains(&size) => Ok(bytes),
            Ok(_) | Err(_) => self.refuse(at, format!("want a size from 1KiB to {}", show(most))),
        }
    }
}

fn show(bytes: u64) -> String {
    if bytes >= 1 << 20 { format!("{}MiB", bytes >> 20) } else { format!("{}KiB", bytes >> 10) }
}
