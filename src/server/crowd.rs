//! Who is connected to one listener, over all workers: counted when a connection is accepted and when it has ended,
//! never by a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use dashmap::DashMap;
use dashmap::Entry;

use crate::config::Limits;
use crate::model::source::Source;
use crate::observe::metrics::Shed;

/// The connections of one listener.
#[derive(Debug, Default)]
pub struct Crowd {
    open: AtomicU32,
    /// No entry is 0, so there are never more than connections.
    by_source: DashMap<Source, u32>,
}

impl Crowd {
    /// Takes one more in, for as long as its place lives.
    ///
    /// # Errors
    /// The limit that it would exceed.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>, limits: &Limits) -> Result<Place, Shed> {
        let mut place = Place { crowd: Arc::clone(self), source: None };
        if self.open.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            return Err(Shed::All);
        }
        let own = address.map(|address| address.to_canonical()).filter(|address| !limits.is_shared(address));
        let Some(source) = own.map(Source::of) else { return Ok(place) };
        let mut count = self.by_source.entry(source).or_insert(0);
        // One that exists is at least 1 and the limit too: what is refused leaves no entry behind.
        if *count >= limits.connections_per_address {
            return Err(Shed::Address);
        }
        *count += 1;
        drop(count);
        place.source = Some(source);
        Ok(place)
    }
}

/// A place among the connections; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    /// `None` where its address has no limit.
    source: Option<Source>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.open.fetch_sub(1, Ordering::Relaxed);
        let Some(source) = self.source else { return };
        if let Entry::Occupied(mut count) = self.crowd.by_source.entry(source) {
            if *count.get() <= 1 {
                count.remove();
            } else {
                *count.get_mut() -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::Crowd;
    use crate::config::Limits;
    use crate::observe::metrics::Shed;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_limit_holds_for_whom_it_is_meant_and_a_place_given_back_is_free() {
        let limits = Limits {
            connections: 4,
            connections_per_address: 2,
            shared_addresses: vec!["198.51.100.0/24".parse().unwrap()],
            ..Limits::usual()
        };
        let crowd = Arc::new(Crowd::default());
        let one = crowd.enter(Some(address("2001:db8::1")), &limits).unwrap();
        let two = crowd.enter(Some(address("2001:db8::2")), &limits).unwrap();
        assert_eq!(crowd.enter(Some(address("2001:db8::3")), &limits).unwrap_err(), Shed::Address);
        let shared: Vec<_> =
            (0..2).map(|_| crowd.enter(Some(address("::ffff:198.51.100.7")), &limits).unwrap()).collect();
        assert_eq!(crowd.enter(None, &limits).unwrap_err(), Shed::All);
        drop(shared);
        assert_eq!(crowd.enter(Some(address("2001:db8::3")), &limits).unwrap_err(), Shed::Address);
        drop(one);
        let three = crowd.enter(Some(address("2001:db8::3")), &limits).unwrap();
        drop((two, three));
        assert_eq!((crowd.open.load(std::sync::atomic::Ordering::Relaxed), crowd.by_source.len()), (0, 0));
    }
}
