//! Random rotations, seen from the door: what the store, the snapshot and its key table make of them together.

use http::Request;
use http::request::Parts;
use proptest::prelude::*;

use super::Caller;
use super::check;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::refusal::Refusal;
use crate::model::slot::Slot;
use crate::model::summary::Counts;
use crate::model::summary::report;
use crate::model::time::UnixSeconds;
use crate::observe::metrics::Metrics;
use crate::pipeline::Halt;
use crate::pipeline::find;
use crate::pipeline::judge::Judge;
use crate::pipeline::judge::Tokens;
use crate::snapshot::testing::Stage;
use crate::store::record_key::Owner;
use crate::store::slots::model;
use crate::store::slots::model::Rotation;
use crate::store::slots::model::Step;

const CONFIG: &str = "
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
upstreams: {model: {endpoints: ['http://127.0.0.1:9']}}
accounts: {contoso: {resource: /a/contoso}, other: {resource: /a/other}}
services:
  iris: {match: [{prefix: /iris}], upstream: model, auth: {key: {accounts: [contoso]}}}
  rose: {match: [{prefix: /rose}], upstream: model, auth: {key: {accounts: [other]}}}
";

/// Who was found to call, by the number that the model has for it.
type Opened = Result<(usize, Slot), Refusal>;

fn presented(path: &str, key: &str) -> Parts {
    let request =
        Request::builder().uri(path).header("host", "gateway").header("authorization", format!("Bearer {key}"));
    request.body(()).unwrap().into_parts().0
}

fn open(judge: &Judge<'_>, path: &str, key: &str) -> Opened {
    let head = presented(path, key);
    let routed = find::service(judge.snapshot, &head).unwrap_or_else(|halt| panic!("{path}: {halt:?}"));
    match check(judge, routed, &head).map(|known| known.into_parts().1) {
        Ok(Caller::Service(slot)) => Ok((0, slot)),
        Ok(Caller::Account(_, slot)) => Ok((1, slot)),
        Ok(other @ (Caller::Anyone | Caller::Token(..))) => panic!("{other:?}"),
        Err(Halt::Refused(why)) => Err(why),
        Err(halt @ Halt::KeysWanted { .. }) => panic!("{halt:?}"),
    }
}

/// Presents every key that there ever was, at the service that it is for and at one that it is not for.
fn compare(stage: &Stage, model: &Rotation, metrics: &Metrics, step: &Step) {
    let snapshot = stage.live.load();
    let judge = Judge { snapshot: &snapshot, now: model.now, tokens: &Tokens::default(), metrics: &metrics.gateway };
    for key in &model.seen {
        let live: Vec<(usize, Slot)> = [0, 1]
            .into_iter()
            .flat_map(|owner| model.live(owner).filter(|(_, live)| live == key).map(move |(slot, _)| (owner, slot)))
            .collect();
        assert!(live.len() < 2, "the model has a key in two slots: {live:?}");
        let opened = open(&judge, "/iris/score", key);
        match (opened, live.first()) {
            (Ok(opened), Some(live)) => assert_eq!(opened, *live, "{step:?}"),
            (Err(Refusal::Denied { why: Denied::KeyUnknown | Denied::KeyExpired, .. }), None) => {}
            (opened, live) => panic!("at {} after {step:?}: got {opened:?}, want {live:?}", model.now.0),
        }
        let elsewhere = open(&judge, "/rose/score", key);
        assert_eq!(elsewhere, Err(Denied::KeyUnknown.into()), "a key of iris and contoso opens rose");
    }
}

async fn follow_the_model(steps: Vec<(Step, bool)>) {
    let metrics = Metrics::new();
    let mut stage = Stage::new(CONFIG, &[]).await;
    let store = std::sync::Arc::clone(&stage.store);
    let mut watch = store.watch(stage.live.load().store_revision).await.unwrap();
    let owners = [Owner::Service(Name::parse("iris").unwrap()), Owner::Account(Name::parse("contoso").unwrap())];
    let mut model = Rotation::begin(&store, owners, UnixSeconds::now()).await;
    for (step, reloads) in &steps {
        model.take(&store, step).await;
        if *reloads {
            stage.reload().await;
        } else {
            stage.catch_up(&mut watch).await;
        }
        compare(&stage, &model, &metrics, step);
    }
    report("properties/rotation", Counts { cases: 1, passed: 1, ..Counts::default() });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn at_every_moment_exactly_the_slots_that_the_model_says_open_the_door(
        steps in proptest::collection::vec((model::step(), any::<bool>()), 1..20)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follow_the_model(steps));
    }
}
