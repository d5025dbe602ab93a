//! Endpoints that fail: who finds out, who pays for it, and how they come back.

use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use super::told;
use crate::support::client;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::free_address;
use crate::support::upstream::Received;
use crate::support::upstream::Upstream;
use crate::support::upstream::respond;

/// An upstream that answers 503 while it is told to, and counts what came meanwhile.
struct Moody {
    upstream: Upstream,
    ails: Arc<AtomicBool>,
    failed: Arc<AtomicUsize>,
}

impl Moody {
    fn start() -> Self {
        let (ails, failed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (told, count) = (Arc::clone(&ails), Arc::clone(&failed));
        let upstream = Upstream::start(move |request, stream| {
            if told.load(Ordering::SeqCst) {
                if request.target != "/health" {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                return respond(stream, 503, &[], b"ailing");
            }
            respond(stream, 200, &[], request.target.as_bytes())
        });
        Self { upstream, ails, failed }
    }

    fn ail(&self, ails: bool) {
        self.ails.store(ails, Ordering::SeqCst);
    }

    fn served(&self) -> usize {
        self.upstream.received().iter().filter(|request| request.target != "/health").count()
    }
}

fn in_front_of(endpoints: &[String], upstream: &str) -> String {
    let endpoints = endpoints.iter().map(|url| format!("'{url}'")).collect::<Vec<_>>().join(", ");
    format!(
        "
workers: 2
upstreams: {{a: {{endpoints: [{endpoints}], {upstream}}}}}
services:
  model: {{match: [{{prefix: /}}], upstream: a, auth: {{public: a test}}}}
"
    )
}

fn healthy(gateway: &Gateway, endpoint: SocketAddr) -> f64 {
    gateway.metric(&format!("gateway_upstream_endpoint_healthy{{endpoint=\"{endpoint}\",upstream=\"a\"}}"))
}

fn statuses(gateway: &Gateway, count: usize) -> Vec<u16> {
    (0..count).map(|_| client::post(gateway.traffic(), "/score", &[], b"{}").status).collect()
}

#[test]
fn a_failing_endpoint_is_left_out_and_nobody_fails_after_that() {
    let (ailing, sound) = (Moody::start(), Moody::start());
    ailing.ail(true);
    let urls = [ailing.upstream.url(), sound.upstream.url()];
    let gateway = Gateway::start(&in_front_of(&urls, "ejection: {failures: 3, for: 1h, at_most: 1h}"));
    let answers = statuses(&gateway, 60);
    let failed = answers.iter().filter(|status| **status == 503).count();
    assert_eq!((failed, ailing.failed.load(Ordering::SeqCst)), (3, 3), "as many as it takes to find out: {answers:?}");
    assert_eq!(gateway.metric("gateway_upstream_ejections_total{upstream=\"a\"}"), 1.0);
    assert_eq!((healthy(&gateway, ailing.upstream.address()), healthy(&gateway, sound.upstream.address())), (0.0, 1.0));
    // A reload that changes the upstream forgets nothing.
    gateway.configure(&in_front_of(&urls, "ejection: {failures: 3, for: 1h, at_most: 1h}, host: endpoint"));
    gateway.hangup();
    eventually("the change is in force", || (gateway.generation() >= 2.0).then_some(()));
    assert!(statuses(&gateway, 20).iter().all(|status| *status == 200));
    assert_eq!(ailing.failed.load(Ordering::SeqCst), 3);
}

#[test]
fn after_its_time_one_request_tries_it_and_it_is_back_or_out_for_longer() {
    let (ailing, sound) = (Moody::start(), Moody::start());
    ailing.ail(true);
    let urls = [ailing.upstream.url(), sound.upstream.url()];
    let gateway = Gateway::start(&in_front_of(&urls, "ejection: {failures: 2, for: 300ms}"));
    statuses(&gateway, 40);
    assert_eq!(ailing.failed.load(Ordering::SeqCst), 2);
    let begun = Instant::now();
    eventually("somebody tries it", || {
        statuses(&gateway, 1);
        (ailing.failed.load(Ordering::SeqCst) == 3).then_some(())
    });
    eventually("somebody tries it again, after twice the time", || {
        statuses(&gateway, 1);
        (ailing.failed.load(Ordering::SeqCst) == 4).then_some(())
    });
    assert!(begun.elapsed() >= Duration::from_millis(800), "300 ms and 600 ms, less what went before");
    ailing.ail(false);
    eventually("it is back", || {
        statuses(&gateway, 1);
        (healthy(&gateway, ailing.upstream.address()) == 1.0).then_some(())
    });
    let before = ailing.served();
    statuses(&gateway, 40);
    assert!(ailing.served() > before + 5, "it has its share again");
}

#[test]
fn a_model_that_fails_over_its_input_is_no_failing_endpoint() {
    let upstream = Upstream::start(|_, stream| respond(stream, 500, &[], b"a script failed"));
    let gateway =
        Gateway::start(&in_front_of(&[upstream.url()], "ejection: {failures: 1}, when_none_is_healthy: refuse"));
    assert!(statuses(&gateway, 10).iter().all(|status| *status == 500));
}

#[test]
fn a_health_check_finds_an_endpoint_that_went_and_takes_it_back_at_once() {
    let (ailing, sound) = (Moody::start(), Moody::start());
    let checks = "health_check: {path: /health, every: 100ms, unhealthy_after: 2, healthy_after: 2}, \
                  ejection: {failures: 1, for: 1h, at_most: 1h}";
    let urls = [ailing.upstream.url(), sound.upstream.url()];
    let gateway = Gateway::start(&in_front_of(&urls, checks));
    let address = ailing.upstream.address();
    assert_eq!(healthy(&gateway, address), 1.0, "well until shown otherwise");
    ailing.ail(true);
    eventually("it is found unwell", || (healthy(&gateway, address) == 0.0).then_some(()));
    assert!(statuses(&gateway, 30).iter().all(|status| *status == 200), "nobody had to find out");
    ailing.ail(false);
    eventually("it is found well", || (healthy(&gateway, address) == 1.0).then_some(()));
    let before = ailing.served();
    assert!(statuses(&gateway, 40).iter().all(|status| *status == 200));
    assert!(ailing.served() > before, "it is used again");
    let checked = |result: &str| {
        gateway.metric(&format!("gateway_upstream_health_checks_total{{result=\"{result}\",upstream=\"a\"}}"))
    };
    assert!(checked("success") >= 4.0 && checked("failure") >= 2.0);
    let asked = ailing.upstream.received().into_iter().find(|request| request.target == "/health").unwrap();
    assert_eq!(asked.header("host"), Some(address.to_string().as_str()));
}

#[test]
fn while_none_is_well_all_are_tried_or_callers_are_told_at_once() {
    for (rule, want) in [("try", (200, String::new())), ("refuse", (503, "no_endpoint".to_owned()))] {
        let upstream = Upstream::start(|request, stream| {
            respond(stream, if request.target == "/health" { 404 } else { 200 }, &[], b"{}")
        });
        let checks =
            format!("health_check: {{path: /health, every: 100ms, unhealthy_after: 1}}, when_none_is_healthy: {rule}");
        let gateway = Gateway::start(&in_front_of(&[upstream.url()], &checks));
        eventually("it is found unwell", || (healthy(&gateway, upstream.address()) == 0.0).then_some(()));
        let answer = client::get(gateway.traffic(), "/score", &[]);
        let (status, code, message, retry_after) = told(&answer);
        assert_eq!((status, code), want, "{rule}");
        if status == 503 {
            assert_eq!((message.as_str(), retry_after), ("No ready replicas for service model", None));
            assert_eq!(answer.header("proxy-status"), Some("scoregate; error=destination_unavailable"));
        }
        // A check that was mistaken is mended by a reload.
        gateway.configure(&in_front_of(&[upstream.url()], "when_none_is_healthy: refuse"));
        gateway.hangup();
        eventually("nobody checks any longer", || (gateway.generation() >= 2.0).then_some(()));
        assert_eq!(client::get(gateway.traffic(), "/score", &[]).status, 200, "{rule}");
        assert!(!gateway.metrics().contains("gateway_upstream_endpoint_healthy{"));
    }
}

#[test]
fn an_outage_is_not_made_worse_by_what_is_sent_again() {
    let gone: Vec<SocketAddr> = (0..3).map(|_| free_address()).collect();
    let dropping: Vec<(TcpListener, Arc<AtomicUsize>)> = gone
        .iter()
        .map(|address| (TcpListener::bind(address).expect("it is free"), Arc::<AtomicUsize>::default()))
        .collect();
    for (listener, count) in &dropping {
        let (listener, count) = (listener.try_clone().expect("a socket can be shared"), Arc::clone(count));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
    }
    let urls: Vec<String> = gone.iter().map(|address| format!("http://{address}")).collect();
    let gateway = Gateway::start(&in_front_of(&urls, "retries: {of: idempotent, share: 0.1, per_second: 0}"));
    let requests = 300;
    for _ in 0..requests {
        assert_eq!(client::get(gateway.traffic(), "/", &[]).status, 502);
    }
    let attempts: usize = dropping.iter().map(|(_, count)| count.load(Ordering::SeqCst)).sum();
    assert!((requests + 10..=requests + requests / 10).contains(&attempts), "{attempts} for {requests} requests");
    let counted = gateway.metric("gateway_upstream_retries_total{reason=\"lost\",upstream=\"a\"}");
    assert_eq!(counted, f64::from(u32::try_from(attempts - requests).unwrap()));
    assert!(gateway.metric("gateway_upstream_retries_over_budget_total{upstream=\"a\"}") > 100.0);
}

#[test]
fn only_what_does_no_harm_is_sent_again_and_only_where_the_upstream_allows_it() {
    for (retries, method, body, want) in [
        ("{of: idempotent}", "GET", "", 200),
        ("{of: idempotent}", "DELETE", "", 200),
        ("{of: idempotent}", "PUT", "a body", 503),
        ("{of: idempotent}", "POST", "", 503),
        ("{of: unwritten}", "GET", "", 503),
    ] {
        let (ailing, sound) = (Moody::start(), Moody::start());
        ailing.ail(true);
        let urls = [ailing.upstream.url(), sound.upstream.url()];
        let gateway = Gateway::start(&in_front_of(&urls, &format!("retries: {retries}")));
        let mut client = Client::connect(gateway.traffic());
        let statuses: Vec<u16> =
            (0..30).map(|_| client.request(method, "/score", &[], body.as_bytes()).status).collect();
        let worst = statuses.iter().copied().max();
        assert_eq!(worst, Some(want), "{method} {body:?} with {retries}: {statuses:?}");
        let (failed, served) = (ailing.failed.load(Ordering::SeqCst), sound.served());
        assert!(failed > 0, "both were asked");
        let all = if want == 200 { 30 + failed } else { 30 };
        assert_eq!(failed + served, all, "{method} {body:?} with {retries}");
    }
}

#[test]
fn the_last_answer_of_trouble_reaches_the_caller() {
    let answer = |_: &Received, stream: &mut std::net::TcpStream| respond(stream, 503, &[("x-why", "busy")], b"busy");
    let upstreams = [Upstream::start(answer), Upstream::start(answer)];
    let urls = [upstreams[0].url(), upstreams[1].url()];
    let gateway = Gateway::start(&in_front_of(&urls, "retries: {of: idempotent}"));
    let answer = client::get(gateway.traffic(), "/", &[]);
    assert_eq!((answer.status, answer.header("x-why"), answer.text().as_str()), (503, Some("busy"), "busy"));
    assert_eq!(upstreams[0].received().len() + upstreams[1].received().len(), 2, "each was asked once");
}
