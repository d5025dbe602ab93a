//! Listeners: addresses, names, TLS.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Read;
use super::Reader;
use crate::config::Address;
use crate::config::AskingPeers;
use crate::config::AskingProxy;
use crate::config::ForwardAuth;
use crate::config::Limits;
use crate::config::Listener;
use crate::config::Listeners;
use crate::config::ServerTls;
use crate::config::problem::Place;
use crate::config::raw;
use crate::model::name::Name;

impl Reader {
    pub(super) fn listeners(&mut self, written: &raw::Listeners, at: &Place) -> Read<Listeners> {
        let mut number = 0;
        let traffic = self.each(&written.traffic, &at.field("traffic"), |reader, listener, at| {
            let usual = format!("traffic-{number}");
            number += 1;
            reader.listener(listener, &usual, &Limits::usual(), at).map(|listener| (listener, at.clone()))
        });
        let management_at = at.field("management");
        let management = written
            .management
            .as_ref()
            .map(|listener| self.listener(listener, "management", &Limits::usual_of_planes(), &management_at));
        if written.management.as_ref().is_some_and(|listener| listener.forward_auth.is_some()) {
            self.problems.note(&management_at.field("forward_auth"), "want it on a listener of traffic");
        }
        let health_at = at.field("health");
        let plain = raw::Listener {
            address: written.health.address.clone(),
            name: None,
            tls: None,
            limits: None,
            timeouts: None,
            forward_auth: None,
        };
        let health = self.listener(&plain, "health", &Limits::usual_of_planes(), &health_at);
        let (traffic, health) = (traffic?, health?);
        let management = management.transpose()?;
        let others = management.iter().map(|listener| (listener, &management_at)).chain([(&health, &health_at)]);
        let mut seen: Vec<&Listener> = Vec::new();
        for (listener, at) in traffic.iter().map(|(listener, at)| (listener, at)).chain(others) {
            if seen.iter().any(|other| other.name == listener.name) {
                self.problems.note(&at.field("name"), "want a name that no other listener has");
            }
            if !lets_the_kernel_choose(&listener.address) && seen.iter().any(|other| other.address == listener.address)
            {
                self.problems.note(&at.field("address"), "want an address that no other listener has");
            }
            seen.push(listener);
        }
        Ok(Listeners { traffic: traffic.into_iter().map(|(listener, _)| listener).collect(), management, health })
    }

    fn listener(&mut self, written: &raw::Listener, usual: &str, limits: &Limits, at: &Place) -> Read<Listener> {
        let name_text = written.name.as_deref().unwrap_or(usual);
        let name = self.keep(&at.field("name"), Name::parse(name_text));
        let address = self.address(&written.address, &at.field("address"));
        let tls = written.tls.as_ref().map(|tls| self.server_tls(tls, &at.field("tls"))).transpose();
        let limits = self.limits(written, limits, at);
        let forward_auth_at = at.field("forward_auth");
        let is_tcp = matches!(address, Ok(Address::Tcp(_)));
        let asking = written.forward_auth.as_ref();
        let forward_auth = asking.map(|asking| self.forward_auth(asking, is_tcp, &forward_auth_at)).transpose();
        let (name, address) = (name?, address?);
        Ok(Listener { name, address, tls: tls?, limits: limits?, forward_auth: forward_auth? })
    }

    fn forward_auth(&mut self, written: &raw::ForwardAuth, is_tcp: bool, at: &Place) -> Read<ForwardAuth> {
        let proxy = match written.proxy {
            raw::AskingProxy::Envoy => AskingProxy::Envoy,
            raw::AskingProxy::Traefik => AskingProxy::Traefik,
            raw::AskingProxy::Caddy => AskingProxy::Caddy,
            raw::AskingProxy::Nginx => AskingProxy::Nginx,
        };
        let peers_at = at.field("peers");
        let peers = match (&written.peers, is_tcp) {
            (Some(networks), true) => AskingPeers::In(self.networks(Some(networks), &peers_at)?),
            (None, false) => AskingPeers::OnSocket,
            (None, true) => return self.refuse(at, "missing: `peers`, the addresses and networks that may ask"),
            (Some(_), false) => {
                return self.refuse(&peers_at, "want none on a Unix socket: whoever can open it may ask");
            }
        };
        Ok(ForwardAuth { proxy, peers })
    }

    fn address(&mut self, text: &str, at: &Place) -> Read<Address> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Address::Unix(PathBuf::from(path))),
            Some(_) => self.refuse(at, "want unix: and an absolute path, such as unix:/run/scoregate.sock"),
            None => match text.parse::<SocketAddr>() {
                Ok(address) => Ok(Address::Tcp(address)),
                Err(_) => self.refuse(at, "want IP:PORT, such as 127.0.0.1:8080 or [::1]:8080, or unix:/path"),
            },
        }
    }

    fn server_tls(&mut self, written: &raw::ServerTls, at: &Place) -> Read<ServerTls> {
        let certificate = self.path(&written.certificate, &at.field("certificate"));
        let private_key = self.path(&written.private_key, &at.field("private_key"));
        let client_ca = self.optional_path(written.client_ca.as_deref(), &at.field("client_ca"));
        Ok(ServerTls { certificate: certificate?, private_key: private_key?, client_ca: client_ca? })
    }
}

fn lets_the_kernel_choose(address: &Address) -> bool {
    matches!(address, Address::Tcp(address) if address.port() == 0)
}
