//! What the command line says about a configuration.

use std::fmt::Write;

use crate::config::Address;
use crate::config::AllowedAccounts;
use crate::config::Auth;
use crate::config::Config;
use crate::config::HostMatch;
use crate::config::KeyAuth;
use crate::config::Listener;
use crate::config::Match;
use crate::config::PathMatch;
use crate::config::Problem;
use crate::config::Slots;
use crate::config::TokenAuth;
use crate::config::TokenIssuer;
use crate::config::Traffic;
use crate::model::path::PathTemplate;
use crate::model::path::TemplateSegment;

/// The problems of a file, a line each in the form `<file>:<line>:<column>: <path>: <what>` that editors and CI jump
/// to, and a last line that counts them.
#[must_use]
pub fn problems(file: &str, problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        push(&mut text, format_args!("{file}:{problem}\n"));
    }
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    push(&mut text, format_args!("{file}: {count} {noun}\n"));
    text
}

/// What a valid configuration exposes: a line for each listener, and for each service who may call it.
#[must_use]
pub fn summary(config: &Config) -> String {
    let mut text = String::new();
    let listeners = &config.listeners;
    for listener in listeners.traffic.iter().chain(&listeners.management).chain([&listeners.health]) {
        let Listener { name, address, tls, limits: _, forward_auth } = listener;
        let tls = if tls.is_some() { ", TLS" } else { "" };
        push(&mut text, format_args!("listener {name}: {}{tls}", show_address(address)));
        match forward_auth {
            Some(asking) => push(&mut text, format_args!(", decides for {}\n", asking.proxy.as_str())),
            None => text.push('\n'),
        }
    }
    for service in config.services.values() {
        let matches: Vec<String> = service.matches.iter().map(show_match).collect();
        let (name, upstream) = (&service.name, show_traffic(&service.traffic));
        push(&mut text, format_args!("service {name}: {} -> {upstream}, ", matches.join(" | ")));
        let managed = if service.managed.is_some() { "; the management API may change it" } else { "" };
        push(&mut text, format_args!("{}{managed}\n", show_auth(&service.auth)));
    }
    text
}

/// Appends to a text, which cannot fail.
fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    let written = text.write_fmt(what);
    debug_assert!(written.is_ok(), "memory takes every text");
}

/// Where a listener listens, as it is written.
#[must_use]
pub fn show_address(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Where a service's requests go.
#[must_use]
pub fn show_traffic(traffic: &Traffic) -> String {
    match traffic {
        Traffic::One(upstream) => upstream.to_string(),
        Traffic::Split(deployments) => {
            let each = deployments.iter().map(|it| format!("{} ({} at weight {})", it.name, it.upstream, it.weight));
            each.collect::<Vec<_>>().join(" | ")
        }
    }
}

/// Which requests a match takes: `GET,POST host/path/**`.
#[must_use]
pub fn show_match(matched: &Match) -> String {
    let host = match &matched.host {
        HostMatch::Any => String::new(),
        HostMatch::Exact(host) => host.clone(),
        HostMatch::Under(suffix) => format!("*.{suffix}"),
    };
    let path = match &matched.path {
        PathMatch::Template(path) => show_path(path),
        PathMatch::Prefix(path) if path.segments().is_empty() => "/**".to_owned(),
        PathMatch::Prefix(path) => format!("{}/**", show_path(path)),
    };
    let methods: Vec<&str> = matched.methods.iter().map(http::Method::as_str).collect();
    if methods.is_empty() { format!("{host}{path}") } else { format!("{} {host}{path}", methods.join(",")) }
}

/// A path with `{…}` for any one segment.
#[must_use]
pub fn show_path(path: &PathTemplate) -> String {
    let segments = path.segments().iter().map(|segment| match segment {
        TemplateSegment::Literal(text) => format!("/{text}"),
        TemplateSegment::Any => "/{…}".to_owned(),
    });
    let text: String = segments.collect();
    if text.is_empty() { "/".to_owned() } else { text }
}

/// Who may call a service.
#[must_use]
pub fn show_auth(auth: &Auth) -> String {
    match auth {
        Auth::Public { reason } => format!("PUBLIC: {reason}"),
        Auth::Key(KeyAuth { sources: _, slots, accounts }) => {
            let own = slots.as_ref().map(|slots| match slots {
                Slots::Store => "its own keys from the store".to_owned(),
                Slots::Directory(directory) => format!("its own keys from {}", directory.display()),
                Slots::References { .. } => "its own keys by reference".to_owned(),
            });
            let accounts = match accounts {
                AllowedAccounts::Every => Some("those of every account".to_owned()),
                AllowedAccounts::Only(names) if names.is_empty() => None,
                AllowedAccounts::Only(names) => {
                    let names: Vec<&str> = names.iter().map(crate::model::name::Name::as_str).collect();
                    Some(format!("those of {}", names.join(", ")))
                }
            };
            let keys: Vec<String> = own.into_iter().chain(accounts).collect();
            format!("key: {}", keys.join(", "))
        }
        Auth::Token(TokenAuth { issuers, audiences, .. }) => {
            let issuers: Vec<&str> = issuers
                .iter()
                .map(|issuer| match issuer {
                    TokenIssuer::Own => "own",
                    TokenIssuer::Foreign(name) => name.as_str(),
                })
                .collect();
            format!("token: issued by {} for {}", issuers.join(", "), audiences.join(", "))
        }
    }
}
