//! Random revocations, waits and sweeps: the store and the table that requests ask, against a plain map.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::TokenId;
use crate::model::feature::FeatureSet;
use crate::model::name::Name;
use crate::model::resource::ResourceId;
use crate::model::summary::Counts;
use crate::model::summary::report;
use crate::model::time::UnixSeconds;
use crate::store::engine::Event;
use crate::store::records::RevocationRecord;
use crate::store::records::Revoked;
use crate::store::revoked::Revocations;
use crate::store::testing::TestStore;
use crate::tokens::Validity;
use crate::tokens::limited::LimitedToken;
use crate::tokens::verify::VerifiedToken;

/// What can be revoked. Issuers and ids run into each other; a resource stands under two spellings.
const TOKENS: [(&str, &str); 5] = [("i", "jk"), ("ij", "k"), ("i", "k"), ("", "ijk"), ("resource", "/a/x")];
const RESOURCES: [&str; 4] = ["/a/x", "/A/%58/", "/a/y", "/a"];
const VENDORS: [&str; 3] = ["i", "v", "vv"];

/// The moments at which tokens were issued.
const ISSUED: [u64; 4] = [0, 5, 10, 40];

#[derive(Debug, Clone)]
enum Step {
    Revoke { what: usize, issued_before: u64, lasts: u64 },
    Wait(u64),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let all = TOKENS.len() + RESOURCES.len() + VENDORS.len();
    prop_oneof![
        5 => (0..all, 0..50_u64, 0..30_u64)
            .prop_map(|(what, issued_before, lasts)| Step::Revoke { what, issued_before, lasts }),
        2 => (1..15_u64).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}

/// What is revoked, in a form that two spellings of the same share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum What {
    Token(usize),
    Resource(String),
    Vendor(usize),
}

fn resource(spelling: &str) -> What {
    What::Resource(spelling.replace("%58", "x").trim_end_matches('/').to_ascii_lowercase())
}

fn named(what: usize) -> (What, Revoked) {
    if let Some((iss, jti)) = TOKENS.get(what) {
        return (What::Token(what), Revoked::Jti { iss: (*iss).to_owned(), jti: (*jti).to_owned() });
    }
    let what = what - TOKENS.len();
    match RESOURCES.get(what) {
        Some(id) => (resource(id), Revoked::Resource(ResourceId::parse(id).unwrap())),
        None => {
            let what = what - RESOURCES.len();
            (What::Vendor(what), Revoked::Isv(Name::parse(VENDORS[what]).unwrap()))
        }
    }
}

#[derive(Default)]
struct Model {
    now: u64,
    /// Until when a token must have been issued to be meant, and when the entry ends.
    revoked: HashMap<What, (u64, u64)>,
}

impl Model {
    fn cuts(&self, what: &What, issued: Option<u64>) -> bool {
        self.revoked.get(what).is_some_and(|(issued_up_to, expires)| {
            let meant = matches!(what, What::Token(_)) || issued.is_none_or(|issued| issued <= *issued_up_to);
            meant && self.now < *expires
        })
    }

    async fn take(&mut self, store: &TestStore, step: &Step) {
        match step {
            Step::Wait(seconds) => self.now += seconds,
            Step::Sweep => {
                store.sweep(&store.read().await.unwrap(), UnixSeconds(self.now)).await.unwrap();
                self.revoked.retain(|_, (_, expires)| self.now < *expires);
            }
            Step::Revoke { what, issued_before, lasts } => {
                let (what, revoked) = named(*what);
                let expires = self.now + lasts;
                let record = RevocationRecord {
                    revoked,
                    issued_before: UnixSeconds(*issued_before),
                    expires: UnixSeconds(expires),
                    why: String::new(),
                };
                store.revoke(&record).await.unwrap();
                let held = self.revoked.entry(what).or_default();
                *held = (held.0.max(*issued_before), held.1.max(expires));
            }
        }
    }

    /// Asks for every token that there could be.
    fn compare(&self, revocations: &Revocations, after: &Step) {
        assert_eq!(revocations.len(), self.revoked.len(), "after {after:?}");
        let now = UnixSeconds(self.now);
        for (token, at) in TOKENS.iter().zip(0..).flat_map(|pair| RESOURCES.map(|at| (pair, at))) {
            for issued in ISSUED {
                let (id, own) = (TokenId::of(token.0.0, token.0.1), What::Token(token.1));
                for issued in [Some(issued), None] {
                    let want = self.cuts(&own, issued) || self.cuts(&resource(at), issued);
                    let cut = revocations.cover(&service(id, at, issued), now);
                    assert_eq!(cut, want, "{token:?} {at} {issued:?} at {} after {after:?}", self.now);
                }
                for (vendor, number) in VENDORS.iter().zip(0..) {
                    let by = [own.clone(), resource(at), What::Vendor(number)];
                    let want = by.iter().any(|what| self.cuts(what, Some(issued)));
                    let cut = revocations.cover_limited(&limited(id, at, vendor, issued), now);
                    assert_eq!(cut, want, "{token:?} {at} {vendor} {issued} at {} after {after:?}", self.now);
                }
            }
        }
    }
}

fn validity() -> Validity {
    Validity { from: UnixSeconds(0), until: UnixSeconds(u64::MAX) }
}

fn service(id: TokenId, at: &str, issued: Option<u64>) -> VerifiedToken {
    VerifiedToken {
        issuer: Name::parse("own").unwrap(),
        subject: "s".into(),
        id: None,
        revocable: Some(id),
        issued: issued.map(UnixSeconds),
        expires: validity().until,
        resource: Some(ResourceId::parse(at).unwrap()),
        validity: validity(),
    }
}

fn limited(id: TokenId, at: &str, vendor: &str, issued: u64) -> LimitedToken {
    LimitedToken {
        target: ResourceId::parse(at).unwrap(),
        flags: FeatureSet::EMPTY,
        isv: Name::parse(vendor).unwrap(),
        id: Arc::from(""),
        revocable: id,
        issued: UnixSeconds(issued),
        expires: validity().until,
        issuer: Arc::from(""),
        validity: validity(),
    }
}

async fn follow_the_model(steps: Vec<Step>) {
    let store = TestStore::open().await;
    let mut followed = store.read().await.unwrap();
    let mut watch = store.watch(followed.revision).await.unwrap();
    let mut model = Model::default();
    for step in &steps {
        model.take(&store, step).await;
        let read = store.read().await.unwrap();
        while followed.revision < read.revision {
            let Some(Event::Changed(update)) = watch.next().await else { panic!("the watch ended") };
            store.follow(&mut followed, &update);
        }
        model.compare(&read.revocations, step);
        model.compare(&followed.revocations, step);
    }
    report("properties/revocation", Counts { cases: 1, passed: 1, ..Counts::default() });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn exactly_those_tokens_are_cut_off_that_the_model_says(steps in proptest::collection::vec(step(), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follow_the_model(steps));
    }
}
