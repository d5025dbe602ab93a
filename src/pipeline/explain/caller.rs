//! The checks of credential, caller and features in words. Of a credential only its place and length is told.

use crate::config::KeySource;
use crate::config::Slots;
use crate::model::feature::FeatureSet;
use crate::model::name::Name;
use crate::observe::decisions::Needed;
use crate::observe::decisions::Place;
use crate::observe::decisions::Shown;
use crate::observe::decisions::Unsigned;
use crate::observe::record::Principal;
use crate::pipeline::explain::Telling;
use crate::pipeline::explain::Told;
use crate::snapshot::service::Account;
use crate::snapshot::service::AccountOrigin;
use crate::snapshot::service::Auth;
use crate::snapshot::service::Service;
use crate::tokens::said::said;

impl Telling<'_> {
    pub(super) fn credential(&self) -> Told {
        let Some(service) = self.service else { return Told::default() };
        let (field, finding) = match &service.auth {
            Auth::Public => ("auth.public", "The service is public: nobody is asked for one.".to_owned()),
            Auth::Key { sources, .. } => {
                let places: Vec<String> = sources.iter().map(place).collect();
                ("auth.key.from", format!("The service reads a key from {}.", places.join(", ")))
            }
            Auth::Token { .. } => ("auth.token", "The service reads a token from Authorization: Bearer.".to_owned()),
        };
        Told { input: shown(&self.decision.evidence.shown), rule: self.rule_of_auth(service, field), finding }
    }

    pub(super) fn caller(&self) -> Told {
        let Some(service) = self.service else { return Told::default() };
        let claims = self.decision.evidence.token.as_ref().map(claims).unwrap_or_default();
        let input = if claims.is_empty() { shown(&self.decision.evidence.shown) } else { claims };
        let known = self.decision.principal.as_ref().map(|principal| format!("It is {principal}.")).unwrap_or_default();
        match &service.auth {
            Auth::Public => Told { rule: self.rule_of_auth(service, "auth.public"), finding: known, ..Told::default() },
            Auth::Key { .. } => Told { input, rule: self.rule_of_keys(service), finding: known },
            Auth::Token { .. } => Told { input, rule: self.rule_of_auth(service, "auth.token"), finding: known },
        }
    }

    pub(super) fn features(&self) -> Told {
        let Some(service) = self.service else { return Told::default() };
        let evidence = &self.decision.evidence;
        let mut inputs: Vec<String> = evidence.needed.as_ref().map(needs).into_iter().collect();
        inputs.extend(evidence.limited.as_ref().map(|token| format!("LimitedAccessToken: {}", claims(token))));
        let mut rules = vec![self.written.rule(&format!("services.{}.features", service.settings.name))];
        rules.push(self.rule_of_account("approvals"));
        rules.retain(|rule| !rule.is_empty());
        let held = self.account().map(|account| {
            let held = names(self.snapshot.features.names_of(account.approvals));
            format!("The account {} holds {held} in its own right.", account.name)
        });
        let finding = held.or_else(|| evidence.needed.is_some().then(|| "The caller is no account's.".to_owned()));
        let ceiling = evidence.limited.as_ref().and_then(|token| self.ceiling(token));
        let finding: Vec<String> = finding.into_iter().chain(ceiling).collect();
        Told { input: inputs.join("; "), rule: rules.join("; "), finding: finding.join(" ") }
    }

    /// What the vendor of a LimitedAccessToken may lend at this moment.
    fn ceiling(&self, token: &Unsigned) -> Option<String> {
        let vendor = said(token.as_str()).into_iter().find(|(name, _)| *name == "isv")?.1;
        let account = Name::parse(&vendor).ok().and_then(|name| self.snapshot.account_named(&name))?;
        let lends = names(self.snapshot.features.names_of(account.may_issue));
        Some(format!("Its vendor {vendor} may lend {lends}."))
    }

    /// The account that called, or whose resource the caller stands for.
    fn account(&self) -> Option<&Account> {
        match &self.decision.principal {
            Some(Principal::Account { account, .. }) => self.snapshot.account_named(account),
            Some(Principal::Service { .. } | Principal::Token { .. } | Principal::Anonymous) | None => {
                self.snapshot.account_of(self.decision.evidence.resource.as_ref()?)
            }
        }
    }

    /// Where an account says what it holds; empty where nobody knows which.
    pub(super) fn rule_of_account(&self, field: &str) -> String {
        let Some(Account { name, origin, .. }) = self.account() else { return String::new() };
        match origin {
            AccountOrigin::File { .. } => self.written.rule(&format!("accounts.{name}.{field}")),
            AccountOrigin::Store { .. } => format!("store: accounts/{name} {field}"),
        }
    }

    /// Whose choice the mode is: where the API may change it, the store's.
    fn rule_of_auth(&self, service: &Service, field: &str) -> String {
        let name = &service.settings.name;
        if service.settings.managed.is_some() {
            let rule = self.written.rule(&format!("services.{name}.managed"));
            return format!("{rule}; store: services/{name} auth mode");
        }
        self.rule_of_service(field)
    }

    /// Where the keys come from that open a service.
    fn rule_of_keys(&self, service: &Service) -> String {
        let name = &service.settings.name;
        let slots = service.settings.key_auth().and_then(|key| key.slots.as_ref());
        let own = slots.map(|slots| match slots {
            Slots::Store => format!("store: services/{name} primary, secondary"),
            Slots::Directory(_) | Slots::References { .. } => {
                self.written.rule(&format!("services.{name}.auth.key.keys"))
            }
        });
        let accounts = self.written.rule(&format!("services.{name}.auth.key.accounts"));
        own.into_iter().chain([accounts]).collect::<Vec<_>>().join("; ")
    }
}

fn place(source: &KeySource) -> String {
    match source {
        KeySource::Bearer => "Authorization: Bearer".to_owned(),
        KeySource::Header(name) => format!("the header {name}"),
        KeySource::Query(name) => format!("the query parameter {name}"),
    }
}

/// What stood where credentials can stand, by place and length.
fn shown(all: &[Shown]) -> String {
    let each = all.iter().map(|Shown { place, times, bytes }| {
        let place = match place {
            Place::Header(name) => format!("header {name}"),
            Place::Query(name) => format!("query parameter {name}"),
        };
        let times = if *times == 1 { String::new() } else { format!(", {times} times") };
        format!("{place}: {bytes} bytes{times}")
    });
    let text = each.collect::<Vec<_>>().join("; ");
    if text.is_empty() { "no credential".to_owned() } else { text }
}

fn claims(token: &Unsigned) -> String {
    said(token.as_str()).into_iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

fn needs(Needed { names: known, all_of, any_of }: &Needed) -> String {
    let each = |set: FeatureSet, word: &str| known.names_of(set).collect::<Vec<_>>().join(word);
    let mut wanted: Vec<String> = Vec::new();
    if !all_of.is_empty() {
        wanted.push(each(*all_of, " and "));
    }
    wanted.extend(any_of.iter().map(|set| each(*set, " or ")));
    format!("needs {}", wanted.join(", and "))
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let listed = names.collect::<Vec<_>>().join(", ");
    if listed.is_empty() { "no feature".to_owned() } else { listed }
}
