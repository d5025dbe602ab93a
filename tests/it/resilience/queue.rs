//! How many requests a service has at once, and those that wait for their turn.

use super::Patient;
use super::ask;
use super::told;
use super::wait_for_queue;
use crate::support::client;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::gateway::Gateway;

const OVERLOADED: &str = "Too many requests for service model (overloaded)";

fn yaml(upstream: &Patient, limits: &str, more: &str) -> String {
    format!(
        "
workers: 3
upstreams: {{a: {{endpoints: ['{}']}}}}
services:
  model: {{match: [{{prefix: /}}], upstream: a, auth: {{public: a test}}, upgrades: websocket, limits: {{{limits}}}}}
{more}",
        upstream.upstream.url()
    )
}

#[test]
fn those_who_wait_are_served_in_the_order_in_which_they_came() {
    let upstream = Patient::start();
    let gateway = Gateway::start(&yaml(&upstream, "concurrency: 1, queue: 20, queue_wait: 1m", ""));
    let mut clients = vec![ask(&gateway, "/0", &[])];
    upstream.wait_for(1);
    // Their connections are spread over the workers.
    for number in 1..=12 {
        clients.push(ask(&gateway, &format!("/{number}"), &[]));
        wait_for_queue(&gateway, f64::from(number));
    }
    for served in 1..=13 {
        assert_eq!(upstream.upstream.received().len(), served, "one at a time");
        upstream.answer(1);
        if served < 13 {
            upstream.wait_for(served + 1);
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, format!("/{number}")));
    }
    let order: Vec<String> = upstream.upstream.received().into_iter().map(|request| request.target).collect();
    assert_eq!(order, (0..13).map(|number| format!("/{number}")).collect::<Vec<_>>());
    assert_eq!(gateway.metric("gateway_http_queue_seconds_count{service=\"model\"}"), 12.0);
}

#[test]
fn a_full_queue_is_429_and_a_long_wait_503_in_the_words_that_azures_clients_know() {
    let upstream = Patient::start();
    let gateway = Gateway::start(&yaml(&upstream, "concurrency: 1, queue: 1, queue_wait: 700ms", ""));
    let mut first = ask(&gateway, "/first", &[]);
    upstream.wait_for(1);
    let mut second = ask(&gateway, "/second", &[]);
    wait_for_queue(&gateway, 1.0);
    let third = client::post(gateway.traffic(), "/third", &[], b"{}");
    // Without `Retry-After`: nobody knows when, and clients that see one send a request four times.
    assert_eq!(told(&third), (429, "service_busy".to_owned(), OVERLOADED.to_owned(), None));
    assert_eq!(told(&second.answer()), (503, "queue_timeout".to_owned(), OVERLOADED.to_owned(), None));
    upstream.answer(1);
    assert_eq!(first.answer().status, 200);
    upstream.answer(1);
    assert_eq!(client::get(gateway.traffic(), "/again", &[]).status, 200);
    let counted = |family: &str, reason: &str| {
        gateway.metric(&format!("gateway_{family}_total{{reason=\"{reason}\",service=\"model\"}}"))
    };
    assert_eq!((counted("denials", "service_busy"), counted("failures", "queue_timeout")), (1.0, 1.0));
    let targets: Vec<String> = upstream.upstream.received().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/first", "/again"], "who was refused has cost the upstream nothing");
}

#[test]
fn a_grpc_caller_is_told_by_grpc_status() {
    let upstream = Patient::start();
    let gateway = Gateway::start(&yaml(&upstream, "concurrency: 1, queue: 0", ""));
    let mut first = ask(&gateway, "/first", &[]);
    upstream.wait_for(1);
    let call = http::Request::post("http://stage/some.Service/Call");
    let (status, grpc, message, _) = crate::http2::grpc::call(gateway.traffic(), call);
    assert_eq!((status, grpc.as_deref(), message.as_deref()), (200, Some("8"), Some(OVERLOADED)));
    upstream.answer(1);
    assert_eq!(first.answer().status, 200);
}

#[test]
fn a_client_that_leaves_gives_back_its_place_whether_it_waits_or_is_served() {
    let upstream = Patient::start();
    let gateway = Gateway::start(&yaml(&upstream, "concurrency: 1, queue: 1, queue_wait: 1m", ""));
    let first = ask(&gateway, "/first", &[]);
    upstream.wait_for(1);
    let second = ask(&gateway, "/second", &[]);
    wait_for_queue(&gateway, 1.0);
    drop(second);
    wait_for_queue(&gateway, 0.0);
    let mut third = ask(&gateway, "/third", &[]);
    wait_for_queue(&gateway, 1.0);
    drop(first);
    upstream.wait_for(2);
    assert_eq!(upstream.upstream.last().target, "/third");
    upstream.answer(2);
    assert_eq!(third.answer().status, 200);
}

#[test]
fn a_websocket_takes_its_place_until_it_ends() {
    let upstream = crate::support::upstream::Upstream::start(|request, stream| {
        if request.target != "/socket" {
            return crate::support::upstream::respond(stream, 200, &[], b"ok");
        }
        let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        std::io::Write::write_all(stream, head.as_bytes())?;
        std::io::copy(stream, &mut std::io::sink()).map(drop)
    });
    let held = Patient { upstream, may_answer: std::sync::Arc::default() };
    let gateway = Gateway::start(&yaml(&held, "concurrency: 1, queue: 0", ""));
    let upgrade =
        [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
    let mut socket = ask(&gateway, "/socket", &upgrade);
    assert_eq!(socket.answer_head().status, 101);
    let busy = client::get(gateway.traffic(), "/", &[]);
    assert_eq!(told(&busy).1, "service_busy");
    drop(socket);
    eventually("the place is given back", || (client::get(gateway.traffic(), "/", &[]).status == 200).then_some(()));
}

#[test]
fn a_reload_in_the_middle_forgets_nobody() {
    let upstream = Patient::start();
    let limits = "concurrency: 2, queue: 1, queue_wait: 1m";
    let gateway = Gateway::start(&yaml(&upstream, limits, ""));
    let mut served = [ask(&gateway, "/0", &[]), ask(&gateway, "/1", &[])];
    upstream.wait_for(2);
    let mut waiting = ask(&gateway, "/2", &[]);
    wait_for_queue(&gateway, 1.0);
    let reload = |limits: &str, generation: f64| {
        let other =
            format!("  other-{generation}: {{match: [{{path: /other}}], upstream: a, auth: {{public: a test}}}}\n");
        gateway.configure(&yaml(&upstream, limits, &other));
        gateway.hangup();
        eventually("the change is in force", || (gateway.generation() >= generation).then_some(()));
    };
    reload(limits, 2.0);
    assert_eq!(client::get(gateway.traffic(), "/3", &[]).status, 429, "two are served and one waits");
    // A higher limit lets in who waits as soon as somebody comes.
    reload("concurrency: 4, queue: 1, queue_wait: 1m", 3.0);
    let mut last = ask(&gateway, "/4", &[]);
    upstream.wait_for(4);
    assert_eq!(upstream.upstream.received().len(), 4);
    upstream.answer(4);
    for client in served.iter_mut().chain([&mut waiting, &mut last]) {
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn the_limit_is_exact_over_all_workers() {
    let (inside, most) = (std::sync::Arc::new(std::sync::Mutex::new((0, 0))), 3);
    let seen = std::sync::Arc::clone(&inside);
    let upstream = crate::support::upstream::Upstream::start(move |_, stream| {
        let mut now = seen.lock().expect("no test panics while it holds it");
        now.0 += 1;
        now.1 = now.1.max(now.0);
        drop(now);
        std::thread::sleep(std::time::Duration::from_millis(2));
        seen.lock().expect("no test panics while it holds it").0 -= 1;
        crate::support::upstream::respond(stream, 200, &[], b"ok")
    });
    let held = Patient { upstream, may_answer: std::sync::Arc::default() };
    let gateway = Gateway::start(&yaml(&held, &format!("concurrency: {most}, queue: 100, queue_wait: 1m"), ""));
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let mut client = Client::connect(gateway.traffic());
                for _ in 0..20 {
                    assert_eq!(client.request("GET", "/", &[], b"").status, 200);
                }
            });
        }
    });
    assert_eq!(inside.lock().unwrap().1, most, "as many as there may be, and never more");
}
