//! Credentials that nobody should send: the corpus of `tests/tokens`, against the gateway as a process.

mod case;
mod keys;
mod remembered;
mod signature;
mod stage;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

use scoregate::model::refusal::Denied;
use scoregate::model::refusal::Failed;
use scoregate::model::refusal::Row;
use scoregate::model::refusal::Shown;

use self::case::Case;
use self::stage::Stage;
use crate::support::client::Answer;
use crate::support::client::Client;
use crate::support::corpus;
use crate::support::corpus::Group;
use crate::support::eventually;
use crate::support::seeds;
use crate::support::summary::Counts;
use crate::support::summary::report;

/// Connections at the same time.
const SENDERS: usize = 4;

/// A case that was sent.
struct Sent<'c> {
    group: &'c str,
    case: &'c Case,
    mark: String,
    answer: Answer,
}

#[test]
fn every_credential_of_the_corpus_is_answered_as_the_corpus_says() {
    let stage = Stage::set();
    let groups = corpus::groups("tokens", &["good.yaml"]);
    let sent = send_all(&stage, &groups);
    let reached: BTreeSet<String> =
        stage.upstream.received().iter().filter_map(|request| Some(request.header("x-case")?.to_owned())).collect();
    let reasons = reasons(&stage, &sent);
    let mut wrong: Vec<String> = sent.iter().filter_map(|sent| judged(sent, &reasons, &reached).err()).collect();
    wrong.extend(telling_refusals(&sent));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), sent.len(), wrong.join("\n"));
    assert!(sent.len() >= 300, "{} cases", sent.len());
    let panics = stage.gateway.metric("gateway_panics_total");
    assert!(panics == 0.0, "{panics} panics");
    let [cases, refused] = [sent.len(), sent.iter().filter(|sent| sent.answer.status != 200).count()];
    let [cases, refused] = [cases, refused].map(|count| u64::try_from(count).unwrap());
    report("tokens/corpus", Counts { cases, passed: cases, refused, ..Counts::default() });
}

/// Sends every group over a connection of its own, and after each what is good, on that connection and on a new one.
fn send_all<'c>(stage: &Stage, groups: &'c [Group<Case>]) -> Vec<Sent<'c>> {
    let (next, sent) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut of_group = send(stage, group);
                    sent.lock().unwrap().append(&mut of_group);
                }
            });
        }
    });
    sent.into_inner().unwrap()
}

fn send<'c>(stage: &Stage, group: &'c Group<Case>) -> Vec<Sent<'c>> {
    let mut client = Client::connect(stage.gateway.traffic());
    let mut sent = Vec::new();
    for (number, case) in group.cases.iter().enumerate() {
        let mark = format!("{} {number}", group.name);
        let request = stage.request(case, &mark);
        seeds::keep_request(&request);
        seeds::keep_token(&stage.token(case));
        client.send(request);
        let answer = client.answer_to(case.method.as_deref().unwrap_or("GET"));
        let is_done = matches!(answer.status, 400 | 431) || answer.header("connection") == Some("close");
        if is_done {
            client = Client::connect(stage.gateway.traffic());
        }
        sent.push(Sent { group: &group.name, case, mark, answer });
    }
    for client in [&mut client, &mut Client::connect(stage.gateway.traffic())] {
        client.send(stage.request(&stage.good["corp"], "canary"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()), "the canary after {}", group.name);
    }
    sent
}

/// The reasons in the access log, by decision; a line comes up to a second after its request.
fn reasons(stage: &Stage, sent: &[Sent<'_>]) -> HashMap<String, String> {
    let decisions: Vec<&str> = sent.iter().filter_map(|sent| sent.answer.header("x-scoregate-decision-id")).collect();
    eventually("every decision is in the access log", || {
        let told: HashMap<String, String> = stage
            .gateway
            .access_log()
            .iter()
            .filter_map(|line| {
                let decision = line["scoregate.decision_id"].as_str()?.to_owned();
                Some((decision, line["scoregate.reason"].as_str().unwrap_or("accepted").to_owned()))
            })
            .collect();
        decisions.iter().all(|decision| told.contains_key(*decision)).then_some(told)
    })
}

fn row(reason: &str) -> Option<Row> {
    let rows = Denied::ALL.iter().map(|why| why.row()).chain(Failed::ALL.iter().map(|failed| failed.row()));
    rows.into_iter().find(|row| row.code == reason)
}

/// Whether status, reason and upstream are as they should be.
fn judged(sent: &Sent<'_>, reasons: &HashMap<String, String>, reached: &BTreeSet<String>) -> Result<(), String> {
    let Sent { group, case, mark, answer } = sent;
    let told = answer.header("x-scoregate-decision-id").and_then(|decision| reasons.get(decision));
    // What is forwarded does not tell its caller of a decision.
    let reason = told.map_or(if answer.status == 200 { "accepted" } else { "nothing" }, String::as_str);
    let wanted = case.reason.all();
    let status_fits = match reason {
        "accepted" => answer.status == 200,
        refused => row(refused).is_some_and(|row| row.status.as_u16() == answer.status),
    };
    let has_reached = reached.contains(mark);
    if wanted.iter().any(|wanted| wanted == reason) && status_fits && has_reached == (reason == "accepted") {
        return Ok(());
    }
    let Case { name, why, source, .. } = case;
    let upstream = if has_reached { "and has reached the upstream" } else { "and has not reached the upstream" };
    let status = answer.status;
    Err(format!("{group}: {name}: got {status} {reason} {upstream}, want {wanted:?}: {why} ({source})"))
}

/// Refusals that must look alike and do not, byte for byte but for what names the request and the moment.
fn telling_refusals(sent: &[Sent<'_>]) -> Vec<String> {
    let mut first: BTreeMap<String, (&str, String)> = BTreeMap::new();
    let mut telling = Vec::new();
    for Sent { case, answer, .. } in sent {
        let hides =
            case.reason.all().iter().all(|reason| row(reason).is_some_and(|row| row.shown == Shown::AsUnauthenticated));
        let Some(decision) = answer.header("x-scoregate-decision-id").filter(|_| hides) else { continue };
        let named = ["x-scoregate-decision-id", "x-request-id", "date"];
        let headers = answer.headers.iter().filter(|(name, _)| !named.contains(&name.as_str()));
        let seen =
            format!("{} {:?} {}", answer.status, headers.collect::<Vec<_>>(), answer.text().replace(decision, "…"));
        // The realm is the service's name, which the caller knows.
        let realm = answer.header("www-authenticate").unwrap_or_default().to_owned();
        let (name, like) = first.entry(realm).or_insert_with(|| (&case.name, seen.clone()));
        if *like != seen {
            telling.push(format!("{} and {name} can be told apart:\n{seen}\n{like}", case.name));
        }
    }
    telling
}
