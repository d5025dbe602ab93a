//! Who may call a service: exactly one of key, token and public.

use super::Kind;
use super::Read;
use super::Reader;
use super::issuers::OWN;
use super::list_of;
use crate::config::AllowedAccounts;
use crate::config::Auth;
use crate::config::CallerResource;
use crate::config::KeyAuth;
use crate::config::KeySource;
use crate::config::Modes;
use crate::config::Slots;
use crate::config::TokenAuth;
use crate::config::TokenIssuer;
use crate::config::problem::Place;
use crate::config::raw;
use crate::model::name::Name;
use crate::model::resource::ResourceId;

impl Reader {
    /// Who may call. Left out, it is a key where Azure says so too; where Azure's default is nothing, it has to be written.
    pub(super) fn auth(&mut self, service: &Name, written: &raw::Service, at: &Place) -> Read<Auth> {
        let at = at.field("auth");
        match (&written.auth, written.platform) {
            (Some(auth), _) => self.written_auth(service, auth, &at),
            (None, Some(raw::Platform::Aks)) => self.key_auth(&raw::KeyAuth::default(), &at).map(Auth::Key),
            (None, Some(raw::Platform::Aci)) => self.refuse(
                &at,
                "this field is missing: Azure leaves such a service on ACI open to everybody; want `{key: {}}`, or \
                 `{public: <reason>}` if that is meant",
            ),
            (None, None) => self.refuse(
                &at,
                "this field is missing: who may call, exactly one of key, token and public; only `platform: aks` has \
                 a default",
            ),
        }
    }

    /// Both modes of a service whose mode may be changed.
    pub(super) fn modes(
        &mut self,
        service: &Name,
        written: &raw::Service,
        auth: Option<&Auth>,
        at: &Place,
    ) -> Read<Option<Modes>> {
        let (true, Some(auth)) = (written.managed.unwrap_or(false), auth) else { return Ok(None) };
        if let Some(raw::Platform::Aci) = written.platform {
            return self.refuse(at, "want `platform: aks` with it: a service on ACI has no tokens, so no other mode");
        }
        if written.issues_limited_access_tokens.unwrap_or(false) {
            return self.refuse(at, "want no `issues_limited_access_tokens` with it: they are issued to keys only");
        }
        match auth {
            Auth::Key(key) => {
                let token = self.token_auth(service, &raw::TokenAuth::default(), at)?;
                Ok(Some(Modes { key: key.clone(), token }))
            }
            Auth::Token(token) => {
                let key = self.key_auth(&raw::KeyAuth::default(), at)?;
                Ok(Some(Modes { key, token: token.clone() }))
            }
            Auth::Public { .. } => {
                self.refuse(at, "want a key or a token with it: nothing opens a service to everybody")
            }
        }
    }

    fn written_auth(&mut self, service: &Name, written: &raw::Auth, at: &Place) -> Read<Auth> {
        let raw::Auth { key, token, public } = written;
        match (key, token, public) {
            (Some(key), None, None) => self.key_auth(key, &at.field("key")).map(Auth::Key),
            (None, Some(token), None) => self.token_auth(service, token, &at.field("token")).map(Auth::Token),
            (None, None, Some(reason)) if reason.trim().is_empty() => {
                self.refuse(&at.field("public"), "want the reason why everybody may call, for whoever reads this next")
            }
            (None, None, Some(reason)) => Ok(Auth::Public { reason: reason.trim().to_owned() }),
            _ => {
                let found =
                    list_of(&[("key", key.is_some()), ("token", token.is_some()), ("public", public.is_some())]);
                self.refuse(at, format!("want exactly one of key, token and public, found {found}"))
            }
        }
    }

    fn key_auth(&mut self, written: &raw::KeyAuth, at: &Place) -> Read<KeyAuth> {
        let sources = match &written.from {
            Some(from) => self.key_sources(from, &at.field("from")),
            None => Ok(vec![
                KeySource::Bearer,
                KeySource::Header(http::HeaderName::from_static("ocp-apim-subscription-key")),
            ]),
        };
        let slots = match &written.keys {
            Some(raw::ServiceSlots::None(raw::NoneWord::None)) => Ok(None),
            Some(raw::ServiceSlots::Given(slots)) => self.slots(slots, &at.field("keys")).map(Some),
            None => Ok(Some(Slots::Store)),
        };
        let accounts = match &written.accounts {
            Some(raw::AllowedAccounts::Every(raw::EveryWord::Every)) => Ok(AllowedAccounts::Every),
            Some(raw::AllowedAccounts::Only(names)) => {
                self.account_names(names, &at.field("accounts")).map(AllowedAccounts::Only)
            }
            None => Ok(AllowedAccounts::Only(Vec::new())),
        };
        let (slots, accounts) = (slots?, accounts?);
        if slots.is_none() && accounts == AllowedAccounts::Only(Vec::new()) {
            return self.refuse(at, "want accounts where keys are none: nobody could call this service");
        }
        Ok(KeyAuth { sources: sources?, slots, accounts })
    }

    fn key_sources(&mut self, written: &[raw::KeySource], at: &Place) -> Read<Vec<KeySource>> {
        let mut sources = Vec::new();
        self.each(written, at, |reader, source, at| {
            let source = reader.key_source(source, at)?;
            if sources.contains(&source) {
                return reader.refuse(at, "this place is listed twice");
            }
            sources.push(source);
            Ok(())
        })?;
        Ok(sources)
    }

    fn key_source(&mut self, written: &raw::KeySource, at: &Place) -> Read<KeySource> {
        match written {
            raw::KeySource::Bearer(raw::BearerWord::Bearer) => Ok(KeySource::Bearer),
            raw::KeySource::Named(raw::NamedSource { header: Some(name), query: None }) => {
                self.header_name(name, &at.field("header")).map(KeySource::Header)
            }
            raw::KeySource::Named(raw::NamedSource { header: None, query: Some(name) }) => {
                let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
                if name.is_empty() || !name.bytes().all(is_plain) {
                    return self.refuse(&at.field("query"), "want a name of letters, digits, '-', '.', '_' and '~'");
                }
                Ok(KeySource::Query(name.clone()))
            }
            raw::KeySource::Named(raw::NamedSource { header, query }) => {
                let found = list_of(&[("header", header.is_some()), ("query", query.is_some())]);
                self.refuse(at, format!("want bearer, or exactly one of header and query, found {found}"))
            }
        }
    }

    fn account_names(&mut self, written: &[String], at: &Place) -> Read<Vec<Name>> {
        let mut names = Vec::new();
        self.each(written, at, |reader, name, at| {
            let name = reader.reference(name, Kind::Account, at)?;
            if names.contains(&name) {
                return reader.refuse(at, "this account is listed twice");
            }
            names.push(name);
            Ok(())
        })?;
        Ok(names)
    }

    fn token_auth(&mut self, service: &Name, written: &raw::TokenAuth, at: &Place) -> Read<TokenAuth> {
        let issuers = match &written.issuers {
            Some(names) => self.token_issuers(names, &at.field("issuers")),
            None => Ok(vec![TokenIssuer::Own]),
        };
        let audiences = match &written.audiences {
            Some(audiences) => self.each(audiences, &at.field("audiences"), |reader, audience, at| {
                if audience.is_empty() { reader.refuse(at, "want an audience") } else { Ok(audience.clone()) }
            }),
            None => Ok(vec![service.to_string()]),
        };
        let required_claims = written.required_claims.clone().unwrap_or_default();
        if let Some(name) = required_claims.keys().find(|name| name.is_empty()) {
            self.problems.note(&at.field("required_claims").field(name), "want the name of a claim");
        }
        let resource_at = at.field("resource");
        let resource =
            written.resource.as_ref().map(|resource| self.caller_resource(resource, &resource_at)).transpose();
        Ok(TokenAuth { issuers: issuers?, audiences: audiences?, required_claims, resource: resource? })
    }

    fn token_issuers(&mut self, written: &[String], at: &Place) -> Read<Vec<TokenIssuer>> {
        let mut issuers = Vec::new();
        self.each(written, at, |reader, name, at| {
            let issuer = if name == OWN {
                TokenIssuer::Own
            } else {
                TokenIssuer::Foreign(reader.reference(name, Kind::Issuer, at)?)
            };
            if issuers.contains(&issuer) {
                return reader.refuse(at, "this issuer is listed twice");
            }
            issuers.push(issuer);
            Ok(())
        })?;
        Ok(issuers)
    }

    fn caller_resource(&mut self, written: &raw::CallerResource, at: &Place) -> Read<CallerResource> {
        match (&written.fixed, &written.claim) {
            (Some(id), None) => self.keep(&at.field("fixed"), ResourceId::parse(id)).map(CallerResource::Fixed),
            (None, Some(claim)) if !claim.is_empty() => Ok(CallerResource::Claim(claim.clone())),
            (None, Some(_)) => self.refuse(&at.field("claim"), "want the name of a claim"),
            (fixed, claim) => {
                let found = list_of(&[("fixed", fixed.is_some()), ("claim", claim.is_some())]);
                self.refuse(at, format!("want exactly one of fixed and claim, found {found}"))
            }
        }
    }
}
