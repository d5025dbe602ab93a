//! Foreign issuers: where their keys are, and which of their tokens are believed.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Uri;

use super::Read;
use super::Reader;
use super::list_of;
use crate::config::FetchUrl;
use crate::config::Issuer;
use crate::config::IssuerKeys;
use crate::config::TokenAlgorithm;
use crate::config::problem::Place;
use crate::config::raw;
use crate::model::name::Name;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const WELL_KNOWN: &str = "/.well-known/";

/// The name by which services refer to the gateway's own tokens.
pub(super) const OWN: &str = "own";

impl Reader {
    pub(super) fn issuers(
        &mut self,
        written: Option<&BTreeMap<String, raw::Issuer>>,
        own: Option<&str>,
        at: &Place,
    ) -> BTreeMap<Name, Issuer> {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        self.named(written, at, |reader, name, issuer, at| {
            if name.as_str() == OWN {
                reader.problems.note(at, "want another name: `own` is this gateway itself");
            }
            let issuer_at = at.field("issuer");
            if Some(issuer.issuer.as_str()) == own {
                reader.problems.note(&issuer_at, "want another `iss` than that of this gateway's own tokens");
            }
            if let Some(other) = seen.insert(issuer.issuer.clone(), name.to_string()) {
                reader.problems.note(&issuer_at, format!("the issuer {other:?} has the same `iss`"));
            }
            reader.issuer(name, issuer, at)
        })
    }

    fn issuer(&mut self, name: &Name, written: &raw::Issuer, at: &Place) -> Read<Issuer> {
        let issuer = if written.issuer.is_empty() {
            self.refuse(&at.field("issuer"), "want the exact `iss` of its tokens")
        } else {
            Ok(written.issuer.clone())
        };
        let keys = self.issuer_keys(written, at);
        let algorithms = self.algorithms(written, &at.field("algorithms"));
        let types = self.each(
            written.types.as_deref().unwrap_or(&["jwt".to_owned(), "at+jwt".to_owned()]),
            &at.field("types"),
            |reader, text, at| reader.token_type(text, at),
        );
        let leeway = self.duration(
            written.leeway.as_deref(),
            &at.field("leeway"),
            Duration::from_secs(30),
            Duration::ZERO,
            Duration::from_secs(5 * 60),
        );
        let max_lifetime = self.duration(
            written.max_lifetime.as_deref(),
            &at.field("max_lifetime"),
            DAY,
            Duration::from_secs(1),
            366 * DAY,
        );
        Ok(Issuer {
            name: name.clone(),
            issuer: issuer?,
            keys: keys?,
            algorithms: algorithms?,
            types: types?,
            leeway: leeway?,
            max_lifetime: max_lifetime?,
        })
    }

    fn issuer_keys(&mut self, written: &raw::Issuer, at: &Place) -> Read<IssuerKeys> {
        let keys_at = at.field("keys");
        let raw::IssuerKeys { file, url, discovery, secret } = &written.keys;
        match (file, url, discovery, secret) {
            (Some(file), None, None, None) => {
                self.refuse_fetching(written, at);
                self.path(file, &keys_at.field("file")).map(IssuerKeys::File)
            }
            (None, None, None, Some(secret)) => {
                self.refuse_fetching(written, at);
                self.secret_ref(secret, &keys_at.field("secret")).map(IssuerKeys::Secret)
            }
            (None, Some(url), None, None) => {
                let url = self.fetched_url(url, &keys_at.field("url"));
                self.fetch(url, written, at).map(IssuerKeys::Url)
            }
            (None, None, Some(url), None) => {
                let url = self.discovery_url(url, &keys_at.field("discovery"));
                self.fetch(url, written, at).map(IssuerKeys::Discovery)
            }
            _ => {
                let found = list_of(&[
                    ("file", file.is_some()),
                    ("url", url.is_some()),
                    ("discovery", discovery.is_some()),
                    ("secret", secret.is_some()),
                ]);
                self.refuse(&keys_at, format!("want exactly one of file, url, discovery and secret, found {found}"))
            }
        }
    }

    fn fetch(&mut self, url: Read<Uri>, written: &raw::Issuer, at: &Place) -> Read<FetchUrl> {
        let ca = self.optional_path(written.ca.as_deref(), &at.field("ca"));
        let refresh = self.duration(
            written.refresh.as_deref(),
            &at.field("refresh"),
            Duration::from_secs(15 * 60),
            Duration::from_secs(10),
            DAY,
        );
        let cooldown = self.duration(
            written.cooldown.as_deref(),
            &at.field("cooldown"),
            Duration::from_secs(30),
            Duration::from_secs(1),
            DAY,
        );
        Ok(FetchUrl { url: url?, ca: ca?, refresh: refresh?, cooldown: cooldown? })
    }

    fn discovery_url(&mut self, text: &str, at: &Place) -> Read<Uri> {
        let url = self.fetched_url(text, at)?;
        if url.path().contains(WELL_KNOWN) {
            return Ok(url);
        }
        if url.query().is_some() {
            return self.refuse(at, "want the issuer's URL without a query");
        }
        let document = format!("{}{WELL_KNOWN}openid-configuration", text.trim_end_matches('/'));
        self.fetched_url(&document, at)
    }

    fn refuse_fetching(&mut self, written: &raw::Issuer, at: &Place) {
        for (field, given) in [
            ("ca", written.ca.is_some()),
            ("refresh", written.refresh.is_some()),
            ("cooldown", written.cooldown.is_some()),
        ] {
            if given {
                self.problems.note(&at.field(field), "want it only where keys are fetched, by `url` or `discovery`");
            }
        }
    }

    fn algorithms(&mut self, written: &raw::Issuer, at: &Place) -> Read<Vec<TokenAlgorithm>> {
        let by_secret = written.keys.secret.is_some();
        let mut algorithms = Vec::new();
        self.each(&written.algorithms, at, |reader, algorithm, at| {
            let (algorithm, is_hmac) = algorithm_of(*algorithm);
            if is_hmac && !by_secret {
                return reader.refuse(at, "want HMAC only with a `secret`: public keys are no secret to sign with");
            }
            if by_secret && !is_hmac {
                return reader.refuse(at, "want HS256, HS384 or HS512 with a `secret`");
            }
            if algorithms.contains(&algorithm) {
                return reader.refuse(at, "this algorithm is listed twice");
            }
            algorithms.push(algorithm);
            Ok(())
        })?;
        Ok(algorithms)
    }

    /// The media type of RFC 7515 §4.1.9: `application/` may be left out, and letter case does not matter.
    fn token_type(&mut self, text: &str, at: &Place) -> Read<String> {
        let lower = text.to_ascii_lowercase();
        let short = lower.strip_prefix("application/").unwrap_or(&lower);
        if short.is_empty() || !short.bytes().all(|b| b.is_ascii_graphic()) {
            return self.refuse(at, "want a token type such as jwt or at+jwt");
        }
        Ok(short.to_owned())
    }
}

/// The algorithm, and whether it is an HMAC.
const fn algorithm_of(written: raw::Algorithm) -> (TokenAlgorithm, bool) {
    match written {
        raw::Algorithm::Rs256 => (TokenAlgorithm::Rs256, false),
        raw::Algorithm::Rs384 => (TokenAlgorithm::Rs384, false),
        raw::Algorithm::Rs512 => (TokenAlgorithm::Rs512, false),
        raw::Algorithm::Ps256 => (TokenAlgorithm::Ps256, false),
        raw::Algorithm::Ps384 => (TokenAlgorithm::Ps384, false),
        raw::Algorithm::Ps512 => (TokenAlgorithm::Ps512, false),
        raw::Algorithm::Es256 => (TokenAlgorithm::Es256, false),
        raw::Algorithm::Es384 => (TokenAlgorithm::Es384, false),
        raw::Algorithm::EdDsa => (TokenAlgorithm::EdDsa, false),
        raw::Algorithm::Hs256 => (TokenAlgorithm::Hs256, true),
        raw::Algorithm::Hs384 => (TokenAlgorithm::Hs384, true),
        raw::Algorithm::Hs512 => (TokenAlgorithm::Hs512, true),
    }
}
