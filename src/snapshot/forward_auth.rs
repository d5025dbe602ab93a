//! Whose questions a listener answers, ready for requests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::AskingPeers;
use crate::config::AskingProxy;
use crate::config::Config;
use crate::model::name::Name;

/// Whose questions a listener answers.
#[derive(Debug)]
pub struct ForwardAuth {
    /// Who asks.
    pub proxy: AskingProxy,
    peers: AskingPeers,
    /// Networks whose word on whom they speak for is believed: the peers, and the trusted proxies behind which they are.
    believed: Vec<IpNet>,
}

impl ForwardAuth {
    /// Whether a peer may ask; it has no address on a Unix socket.
    #[must_use]
    pub fn may_ask(&self, peer: Option<IpAddr>) -> bool {
        match (&self.peers, peer) {
            (AskingPeers::In(networks), Some(peer)) => networks.iter().any(|network| network.contains(&peer)),
            (AskingPeers::OnSocket, None) => true,
            (AskingPeers::In(_), None) | (AskingPeers::OnSocket, Some(_)) => false,
        }
    }

    /// Whose word is believed.
    #[must_use]
    pub fn believed(&self) -> &[IpNet] {
        &self.believed
    }
}

/// Whose questions which listener answers; most answer nobody's.
pub(super) fn by_listener(config: &Config) -> HashMap<Name, Arc<ForwardAuth>> {
    let asked = |listener: &crate::config::Listener| {
        let asking = listener.forward_auth.as_ref()?;
        let mut believed = config.trusted_proxies.clone();
        if let AskingPeers::In(networks) = &asking.peers {
            believed.extend(networks);
        }
        let forward_auth = ForwardAuth { proxy: asking.proxy, peers: asking.peers.clone(), believed };
        Some((listener.name.clone(), Arc::new(forward_auth)))
    };
    config.listeners.traffic.iter().filter_map(asked).collect()
}
