//! The store: a file of this machine, or an etcd that many gateways share.

use std::path::PathBuf;

use http::Uri;

use super::Noted;
use super::Read;
use super::Reader;
use super::urls::is_loopback;
use crate::config::ClientTls;
use crate::config::Etcd;
use crate::config::SecretRef;
use crate::config::Store;
use crate::config::problem::Place;
use crate::config::raw;

const USUAL_PREFIX: &str = "/scoregate/";

/// Whether an endpoint is spoken to in the clear; all of an etcd are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Reader {
    pub(super) fn store(&mut self, written: &raw::Store, at: &Place) -> Read<Store> {
        let directory = match &written.directory {
            Some(directory) => self.path(directory, &at.field("directory")),
            None => Ok(PathBuf::from("state")),
        };
        let key_at = at.field("master_key");
        let master_key = written.master_key.as_ref().map(|key| self.secret_ref(key, &key_at)).transpose();
        let etcd_at = at.field("etcd");
        let etcd = written.etcd.as_ref().map(|etcd| self.etcd(etcd, &etcd_at)).transpose()?;
        if etcd.is_some() && written.master_key.is_none() {
            return self
                .refuse(&key_at, "want a master key beside etcd: all gateways seal and open under the same one");
        }
        if etcd.is_some() && !cfg!(feature = "etcd") {
            return self.refuse(
                &etcd_at,
                "this scoregate was built without etcd; `cargo build --release --features etcd` builds one with it",
            );
        }
        let previous_at = at.field("previous_master_keys");
        let previous_master_keys =
            self.each(&written.previous_master_keys, &previous_at, |reader, key, at| reader.secret_ref(key, at))?;
        Ok(Store { directory: directory?, master_key: master_key?, previous_master_keys, etcd })
    }

    fn etcd(&mut self, written: &raw::Etcd, at: &Place) -> Read<Etcd> {
        let endpoints = self.etcd_endpoints(&written.endpoints, &at.field("endpoints"));
        let prefix = self.etcd_prefix(written.prefix.as_deref().unwrap_or(USUAL_PREFIX), &at.field("prefix"));
        let user = written.user.as_ref().map(|user| self.etcd_user(user, &at.field("user"))).transpose();
        let tls_at = at.field("tls");
        let tls = written.tls.as_ref().map(|tls| self.client_tls(tls, &tls_at)).transpose();
        let (scheme, endpoints) = endpoints?;
        let tls = match (scheme, tls?) {
            (Scheme::Https, Some(tls)) => Some(tls),
            (Scheme::Https, None) => Some(ClientTls { ca: None, server_name: None, client: None }),
            (Scheme::Http, None) => None,
            (Scheme::Http, Some(_)) => {
                return self.refuse(&tls_at, "want https:// endpoints with it: these are plain text");
            }
        };
        Ok(Etcd { endpoints, prefix: prefix?, user: user?, tls })
    }

    fn etcd_endpoints(&mut self, written: &[String], at: &Place) -> Read<(Scheme, Vec<String>)> {
        let mut first = None;
        let endpoints = self.each(written, at, |reader, text, at| {
            let (scheme, endpoint) = reader.etcd_endpoint(text, at)?;
            if *first.get_or_insert(scheme) != scheme {
                return reader.refuse(at, "want the same scheme for all endpoints of an etcd");
            }
            Ok(endpoint)
        })?;
        Ok((first.ok_or(Noted)?, endpoints))
    }

    /// Reads an endpoint. The problem never quotes it: user information in a URL is a secret.
    fn etcd_endpoint(&mut self, text: &str, at: &Place) -> Read<(Scheme, String)> {
        let wanted = "want a URL of a host and a port, such as https://etcd-0.etcd:2379";
        let Ok(url) = text.parse::<Uri>() else { return self.refuse(at, wanted) };
        let (Some(authority), Some(_)) = (url.authority(), url.port_u16()) else { return self.refuse(at, wanted) };
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && !text.contains('#');
        if !is_bare || authority.as_str().contains('@') || authority.host().is_empty() {
            return self.refuse(at, wanted);
        }
        match url.scheme_str() {
            Some("https") => Ok((Scheme::Https, format!("https://{authority}"))),
            Some("http") if is_loopback(authority.host()) => Ok((Scheme::Http, format!("http://{authority}"))),
            Some("http") => self.refuse(at, "want https: whoever can change records on their way can let anybody in"),
            Some(_) | None => self.refuse(at, wanted),
        }
    }

    fn etcd_prefix(&mut self, text: &str, at: &Place) -> Read<String> {
        // A prefix without its last slash would begin those of others as well.
        if text.len() > 2 && text.starts_with('/') && text.ends_with('/') && !text.contains('\0') {
            return Ok(text.to_owned());
        }
        self.refuse(at, "want a prefix between slashes, such as /scoregate/")
    }

    fn etcd_user(&mut self, written: &raw::EtcdUser, at: &Place) -> Read<(String, SecretRef)> {
        let name = if written.name.is_empty() {
            self.refuse(&at.field("name"), "want the name of a user")
        } else {
            Ok(written.name.clone())
        };
        let password = self.secret_ref(&written.password, &at.field("password"));
        Ok((name?, password?))
    }
}
