//! Random accounts, ceilings and tokens: what is lent is bounded where it is issued, and again where it is used.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use http::Request;
use http::request::Parts;
use proptest::prelude::*;

use super::issue;
use crate::model::feature::FeatureNames;
use crate::model::feature::FeatureSet;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::resource::ResourceId;
use crate::model::summary::Counts;
use crate::model::summary::report;
use crate::model::time::UnixSeconds;
use crate::observe::metrics::Metrics;
use crate::pipeline::Halt;
use crate::pipeline::authenticate;
use crate::pipeline::authorize;
use crate::pipeline::find;
use crate::pipeline::judge::Judge;
use crate::pipeline::judge::Tokens;
use crate::snapshot::Snapshot;
use crate::snapshot::testing::Stage;
use crate::store::record_key::Owner;
use crate::store::records::AccountRecord;
use crate::tokens::limited::LimitedLifetime;
use crate::tokens::limited::Loan;
use crate::tokens::limited::issue_limited_token;

const CONFIG: &str = "\
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
upstreams: {face: {endpoints: ['http://127.0.0.1:9']}}
services:
  face:
    match: [{prefix: /face}]
    upstream: face
    auth: {key: {keys: none, accounts: every}}
    features: {preset: face}
    issues_limited_access_tokens: true
";

/// Accounts that come and go; the last one never is there.
const NAMES: [&str; 4] = ["ann", "bob", "cid", "nobody"];

/// A call, and the flags of which it needs one.
const CALLS: [(&str, &[&str]); 5] = [
    ("/face/v1.0/identify", &["Face.Identification"]),
    ("/face/v1.0/verify", &["Face.Verification"]),
    ("/face/v1.0/group", &["Face.Identification", "Face.Verification"]),
    ("/face/v1.0/detect?returnFaceId=false", &[]),
    ("/face/v1.0/persongroups", &[]),
];

type Flags = BTreeSet<&'static str>;

#[derive(Debug, Clone)]
enum Step {
    /// The vendor asks for a token.
    Issue { vendor: usize, target: usize, flags: Flags },
    /// There is a token that was issued at another time, under whatever ceiling.
    Older { vendor: usize, target: usize, flags: Flags },
    /// An account is made, or what it holds and may lend is set.
    Set { account: usize, approvals: Flags, may_issue: Flags },
    /// An account goes.
    Remove { account: usize },
}

fn flags() -> impl Strategy<Value = Flags> {
    proptest::sample::subsequence(FeatureNames::FACE.to_vec(), 0..=3).prop_map(|flags| flags.into_iter().collect())
}

fn step() -> impl Strategy<Value = Step> {
    let pair = || (0..NAMES.len(), 0..NAMES.len(), flags());
    prop_oneof![
        3 => pair().prop_map(|(vendor, target, flags)| Step::Issue { vendor, target, flags }),
        2 => pair().prop_map(|(vendor, target, flags)| Step::Older { vendor, target, flags }),
        4 => (0..3_usize, flags(), flags())
            .prop_map(|(account, approvals, may_issue)| Step::Set { account, approvals, may_issue }),
        1 => (0..3_usize).prop_map(|account| Step::Remove { account }),
    ]
}

/// What an account should hold, with the key that it shows.
struct Holding {
    approvals: Flags,
    may_issue: Flags,
    key: String,
}

struct Lent {
    vendor: usize,
    target: usize,
    flags: Flags,
    jwt: String,
}

struct World {
    stage: Stage,
    now: UnixSeconds,
    metrics: Metrics,
    tokens: Tokens,
    accounts: BTreeMap<usize, Holding>,
    lent: Vec<Lent>,
}

fn name(account: usize) -> Name {
    Name::parse(NAMES[account]).unwrap()
}

fn resource(account: usize) -> ResourceId {
    ResourceId::parse(&format!("/a/{}", NAMES[account])).unwrap()
}

fn owned(flags: &Flags) -> Vec<String> {
    // A flag that nobody knows must grant nothing.
    flags.iter().map(|flag| (*flag).to_owned()).chain(["Face.Unheard".to_owned()]).collect()
}

fn set(snapshot: &Snapshot, flags: &Flags) -> FeatureSet {
    let known = flags.iter().map(|flag| snapshot.features.find(flag).unwrap());
    known.fold(FeatureSet::EMPTY, FeatureSet::union)
}

impl World {
    async fn take(&mut self, step: &Step) {
        let snapshot = self.stage.live.load();
        match step {
            Step::Issue { vendor, target, flags } => self.issue(&snapshot, *vendor, *target, flags),
            Step::Older { vendor, target, flags } => {
                let loan = Loan {
                    isv: &name(*vendor),
                    isv_resource: &resource(*vendor),
                    target: &resource(*target),
                    flags: set(&snapshot, flags),
                    lifetime: LimitedLifetime::DEFAULT,
                };
                let issuer = &snapshot.management.tokens.issuer;
                let names = &snapshot.features;
                let issued = issue_limited_token(snapshot.own_keys.newest(), issuer, &loan, names, self.now).unwrap();
                self.keep(*vendor, *target, flags, issued.jwt.expose().clone());
            }
            Step::Set { account, approvals, may_issue } => self.set(*account, approvals, may_issue).await,
            Step::Remove { account } => {
                if self.accounts.remove(account).is_some() {
                    self.stage.store.remove_account(&name(*account)).await.unwrap();
                    self.stage.reload().await;
                }
            }
        }
    }

    fn issue(&mut self, snapshot: &Snapshot, vendor: usize, target: usize, flags: &Flags) {
        let body = serde_json::json!({ "targetAzureResourceId": resource(target).as_str(), "featureFlags": flags });
        let got = issue(snapshot, &name(vendor), None, body.to_string().as_bytes(), &"decision", self.now);
        let ceiling = self.accounts.get(&vendor).map(|holding| &holding.may_issue);
        let want = match ceiling {
            _ if flags.is_empty() || !self.accounts.contains_key(&target) => Err(Denied::IssueArgument.into()),
            Some(ceiling) if flags.is_subset(ceiling) => Ok(()),
            Some(_) | None => Err(Denied::IssueNotAllowed.into()),
        };
        let row = format!("{} lends {flags:?} to {} under {ceiling:?}", NAMES[vendor], NAMES[target]);
        assert_eq!(got.as_ref().map(|_| ()).map_err(|why| why.refusal), want, "{row}");
        if let Ok((issued, _)) = got {
            self.keep(vendor, target, flags, issued.jwt.expose().clone());
        }
    }

    fn keep(&mut self, vendor: usize, target: usize, flags: &Flags, jwt: String) {
        self.lent.push(Lent { vendor, target, flags: flags.clone(), jwt });
    }

    async fn set(&mut self, account: usize, approvals: &Flags, may_issue: &Flags) {
        let (named, store) = (name(account), Arc::clone(&self.stage.store));
        if let Some(holding) = self.accounts.get_mut(&account) {
            store.set_features(&named, Some(&owned(approvals)), Some(&owned(may_issue))).await.unwrap();
            (holding.approvals, holding.may_issue) = (approvals.clone(), may_issue.clone());
        } else {
            let record = AccountRecord {
                resource: resource(account),
                approvals: owned(approvals),
                may_issue: owned(may_issue),
                created: self.now,
            };
            store.create_account(&named, &record).await.unwrap();
            let key = store.list(&Owner::Account(named)).await.unwrap().primary.expose().clone();
            let holding = Holding { approvals: approvals.clone(), may_issue: may_issue.clone(), key };
            self.accounts.insert(account, holding);
        }
        self.stage.reload().await;
    }

    /// Makes every call as every account with every token and with none.
    fn compare(&self, after: &Step) {
        let snapshot = self.stage.live.load();
        let judge = Judge { snapshot: &snapshot, now: self.now, tokens: &self.tokens, metrics: &self.metrics.gateway };
        for (account, holding) in &self.accounts {
            for token in self.lent.iter().map(Some).chain([None]) {
                for (target, needs) in CALLS {
                    let want = self.expected(*account, holding, token, needs).map(|grant| set(&snapshot, &grant));
                    let got = granted(&judge, &call(target, &holding.key, token.map(|token| &*token.jwt)));
                    let lent = token.map(|token| (NAMES[token.vendor], NAMES[token.target], &token.flags));
                    assert_eq!(got, want, "{} calls {target} with {lent:?} after {after:?}", NAMES[*account]);
                }
            }
        }
    }

    /// What the caller may use: account ∪ (token ∩ ceiling), where the call needs more than the account has.
    fn expected(&self, account: usize, own: &Holding, token: Option<&Lent>, needs: &[&str]) -> Result<Flags, Denied> {
        let enough = |flags: &Flags| needs.is_empty() || needs.iter().any(|flag| flags.contains(flag));
        if enough(&own.approvals) {
            return Ok(own.approvals.clone());
        }
        let token = token.ok_or(Denied::FeatureNotGranted)?;
        if token.target != account {
            return Err(Denied::LimitedTokenResource);
        }
        let nothing = Flags::new();
        let ceiling = self.accounts.get(&token.vendor).map_or(&nothing, |vendor| &vendor.may_issue);
        let lent: Flags = token.flags.intersection(ceiling).copied().collect();
        let grant: Flags = own.approvals.union(&lent).copied().collect();
        if enough(&grant) { Ok(grant) } else { Err(Denied::FeatureNotGranted) }
    }
}

fn call(target: &str, key: &str, token: Option<&str>) -> Parts {
    let mut request = Request::builder().method("POST").uri(target).header("host", "gateway");
    request = request.header("ocp-apim-subscription-key", key);
    if let Some(token) = token {
        request = request.header("limitedaccesstoken", format!("Bearer {token}"));
    }
    request.body(()).unwrap().into_parts().0
}

fn granted(judge: &Judge<'_>, head: &Parts) -> Result<FeatureSet, Denied> {
    let known = find::service(judge.snapshot, head).and_then(|routed| authenticate::check(judge, routed, head));
    let known = known.unwrap_or_else(|halt: Halt| panic!("{}: {halt:?}", head.uri));
    authorize::check(judge, known, head).map(|authorized| authorized.grant()).map_err(|uncovered| uncovered.why)
}

async fn follow_the_model(steps: Vec<Step>) {
    let mut world = World {
        stage: Stage::new(CONFIG, &[]).await,
        now: UnixSeconds::now(),
        metrics: Metrics::new(),
        tokens: Tokens::default(),
        accounts: BTreeMap::new(),
        lent: Vec::new(),
    };
    for step in &steps {
        world.take(step).await;
        world.compare(step);
    }
    report("properties/ceilings", Counts { cases: 1, passed: 1, ..Counts::default() });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_grant_is_never_wider_than_the_account_and_what_its_token_lends_below_the_ceiling(
        steps in proptest::collection::vec(step(), 4..20)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follow_the_model(steps));
    }
}
