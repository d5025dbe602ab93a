//! Questions as the proxies ask them, and as those would who want another answer.

use http::Method;
use http::Request;
use http::request::Parts;

use super::about;
use crate::config::AskingProxy;
use crate::model::refusal::Denied;

fn question(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut question = Request::builder().method(method).uri(target).header("host", "asked.example");
    for (name, value) in headers {
        question = question.header(*name, *value);
    }
    question.body(()).unwrap().into_parts().0
}

/// What is asked about: method, host and target.
fn read(proxy: AskingProxy, question: &Parts) -> Result<(Method, String, String), Denied> {
    let head = about(proxy, question)?;
    let host = head.headers.get_all("host").iter().map(|host| host.to_str().unwrap()).collect::<Vec<_>>().join("|");
    Ok((head.method, host, head.uri.to_string()))
}

type Want = Result<&'static str, Denied>;
type Headers = Vec<(&'static str, &'static str)>;

fn holds(proxy: AskingProxy, method: &str, target: &str, headers: &[(&str, &str)], want: Want) {
    let read = read(proxy, &question(method, target, headers));
    let read = read.map(|(method, host, target)| format!("{method} {host} {target}"));
    assert_eq!(read.as_deref().map_err(|why| *why), want, "{proxy:?}: {method} {target} {headers:?}");
}

#[test]
fn envoy_asks_with_the_requests_own_method_host_and_target_behind_the_prefix() {
    for (method, target, want) in [
        ("GET", "/authz/score", Ok("GET asked.example /score")),
        ("POST", "/authz/score?a=b&c", Ok("POST asked.example /score?a=b&c")),
        ("DELETE", "/authz/", Ok("DELETE asked.example /")),
        ("GET", "/authz/authz/a", Ok("GET asked.example /authz/a")),
        ("GET", "/authz//a", Ok("GET asked.example //a")),
        ("GET", "/authz", Err(Denied::ForwardAuthInvalid)),
        ("GET", "/authz?a", Err(Denied::ForwardAuthInvalid)),
        ("GET", "/authzz/a", Err(Denied::ForwardAuthInvalid)),
        ("GET", "/score", Err(Denied::NoService)),
        ("GET", "/a/../authz/score", Err(Denied::NoService)),
        ("GET", "/authz/../score", Err(Denied::PathAmbiguous)),
        ("GET", "/authz/a%2e%2e/b", Err(Denied::PathAmbiguous)),
        ("GET", "/authz/%73core", Err(Denied::PathAmbiguous)),
        ("GET", "/authz/%c3%a9", Err(Denied::PathAmbiguous)),
        ("GET", "/authz/%C3%A9", Ok("GET asked.example /%C3%A9")),
    ] {
        // A client's words in the headers of other proxies change nothing.
        let forged = [("x-forwarded-uri", "/open"), ("x-forwarded-method", "GET"), ("x-original-url", "http://b/open")];
        holds(AskingProxy::Envoy, method, target, &forged, want);
    }
    holds(AskingProxy::Envoy, "GET", "/authz/a", &[("host", "b")], Err(Denied::HostInvalid));
}

#[test]
fn traefik_and_caddy_ask_in_three_headers_each_of_which_stands_once() {
    let asked =
        |host, uri, method| vec![("x-forwarded-host", host), ("x-forwarded-uri", uri), ("x-forwarded-method", method)];
    let invalid = Err(Denied::ForwardAuthInvalid);
    let cases: Vec<(&str, Headers, Want)> = vec![
        ("/authz", asked("a.example", "/score?x=1", "POST"), Ok("POST a.example /score?x=1")),
        ("/authz", asked("a.example:8443", "/", "GET"), Ok("GET a.example:8443 /")),
        ("/authz", asked("a.example", "/a//b", "GET"), Ok("GET a.example /a//b")),
        ("/authz", asked("a.example", "/a/..%2fb", "GET"), Err(Denied::PathAmbiguous)),
        ("/authz", asked("a.example", "/a/./b", "GET"), Err(Denied::PathAmbiguous)),
        ("/authz", asked("a.example", "/%61", "GET"), Err(Denied::PathAmbiguous)),
        ("/authz", asked("a.example", "/a#b", "GET"), invalid),
        ("/authz", asked("a.example", "http://b/a", "GET"), invalid),
        ("/authz", asked("a.example", "a", "GET"), invalid),
        ("/authz", asked("a.example", "*", "OPTIONS"), invalid),
        ("/authz", asked("a.example", "", "GET"), invalid),
        ("/authz", asked("a.example", "/a b", "GET"), invalid),
        ("/authz", asked("a.example", "/a", "GE T"), invalid),
        ("/authz", asked("a.example", "/a", ""), invalid),
        ("/authz", [asked("a.example", "/a", "GET"), vec![("x-forwarded-uri", "/b")]].concat(), invalid),
        ("/authz", [asked("a.example", "/a", "GET"), vec![("x-forwarded-method", "GET")]].concat(), invalid),
        ("/authz", [asked("a.example", "/a", "GET"), vec![("x-forwarded-host", "b")]].concat(), invalid),
        ("/authz", vec![("x-forwarded-host", "a"), ("x-forwarded-uri", "/a")], invalid),
        ("/authz", vec![("x-original-url", "http://a/b"), ("x-original-method", "GET")], invalid),
        ("/authz?x", asked("a", "/a", "GET"), Err(Denied::NoService)),
        ("/authz/a", asked("a", "/a", "GET"), Err(Denied::NoService)),
        ("/", asked("a", "/a", "GET"), Err(Denied::NoService)),
    ];
    for (target, headers, want) in cases {
        for proxy in [AskingProxy::Traefik, AskingProxy::Caddy] {
            holds(proxy, "GET", target, &headers, want);
        }
    }
}

#[test]
fn nginx_asks_in_a_url_whose_host_ends_at_the_first_slash() {
    let invalid = Err(Denied::ForwardAuthInvalid);
    for (url, want) in [
        ("http://a.example/score?x=/1", Ok("POST a.example /score?x=/1")),
        ("https://a.example:8443/", Ok("POST a.example:8443 /")),
        // The host is judged later, as any other, and refused: the path is not what follows its `?`.
        ("http://open?/score", Ok("POST open? /score")),
        ("http://open#/score", Ok("POST open# /score")),
        ("http://a@b/score", Ok("POST a@b /score")),
        ("http:///score", Ok("POST  /score")),
        ("http://a/..%2Fscore", Err(Denied::PathAmbiguous)),
        ("http://a/score#x", invalid),
        ("http://a", invalid),
        ("ftp://a/score", invalid),
        ("/score", invalid),
        ("", invalid),
    ] {
        let headers = [("x-original-url", url), ("x-original-method", "POST"), ("x-forwarded-uri", "/open")];
        holds(AskingProxy::Nginx, "GET", "/authz", &headers, want);
    }
    holds(AskingProxy::Nginx, "GET", "/authz", &[("x-original-url", "http://a/b")], invalid);
    let twice = [("x-original-url", "http://a/b"), ("x-original-url", "http://a/c"), ("x-original-method", "GET")];
    holds(AskingProxy::Nginx, "GET", "/authz", &twice, invalid);
}
