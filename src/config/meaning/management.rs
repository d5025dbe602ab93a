//! The management plane: its keys, the URL that its SDKs are told, and what a service is in their eyes.

use http::Uri;

use super::Kind;
use super::Read;
use super::Reader;
use crate::config::Auth;
use crate::config::ManagementIssuer;
use crate::config::ManagementKey;
use crate::config::Platform;
use crate::config::Role;
use crate::config::problem::Place;
use crate::config::raw;
use crate::model::name::Name;

impl Reader {
    pub(super) fn management_key(
        &mut self,
        name: &Name,
        written: &raw::ManagementKey,
        at: &Place,
    ) -> Read<ManagementKey> {
        let key_at = at.field("key");
        let key = self.secret_ref(&written.key, &key_at)?;
        self.claim(key.clone(), &key_at)?;
        let role = match written.role {
            raw::Role::Reader => Role::Reader,
            raw::Role::Operator => Role::Operator,
            raw::Role::Owner => Role::Owner,
        };
        Ok(ManagementKey { name: name.clone(), key, role })
    }

    pub(super) fn management_issuer(
        &mut self,
        name: &Name,
        written: &raw::ManagementIssuer,
        at: &Place,
    ) -> Read<ManagementIssuer> {
        let issuer = self.reference(name.as_str(), Kind::Issuer, at)?;
        let raw::Roles { claim, reader, operator, owner } = &written.roles;
        let listed = |role, values: &Option<Vec<String>>| {
            values.iter().flatten().map(|value| (role, value.clone())).collect::<Vec<_>>()
        };
        let roles: Vec<(Role, String)> =
            [listed(Role::Owner, owner), listed(Role::Operator, operator), listed(Role::Reader, reader)].concat();
        let roles_at = at.field("roles");
        if roles.is_empty() || claim.is_empty() || roles.iter().any(|(_, value)| value.is_empty()) {
            return self.refuse(&roles_at, "want a claim, and at least one value of it for reader, operator or owner");
        }
        if written.audiences.iter().any(String::is_empty) {
            return self.refuse(&at.field("audiences"), "want a text for each audience");
        }
        Ok(ManagementIssuer { issuer, audiences: written.audiences.clone(), claim: claim.clone(), roles })
    }

    /// The URL without the slash that may end it.
    pub(super) fn public_url(&mut self, written: Option<&str>, at: &Place) -> Read<Option<String>> {
        let Some(text) = written else { return Ok(None) };
        let url = text.parse::<Uri>().ok().filter(|url| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty())
                && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && url.query().is_none()
                && !text.contains('#')
        });
        match url {
            Some(_) => Ok(Some(text.trim_end_matches('/').to_owned())),
            None => self.refuse(at, "want a URL such as https://models.example.com, without a query"),
        }
    }

    pub(super) fn platform(
        &mut self,
        written: Option<raw::Platform>,
        auth: Option<&Auth>,
        at: &Place,
    ) -> Read<Platform> {
        match (written, auth) {
            (Some(raw::Platform::Aci), Some(Auth::Token(_))) => {
                self.refuse(at, "ACI webservices do not support token authentication; want `aks`, or no such field")
            }
            (Some(raw::Platform::Aci), _) => Ok(Platform::Aci),
            (Some(raw::Platform::Aks) | None, _) => Ok(Platform::Aks),
        }
    }
}
