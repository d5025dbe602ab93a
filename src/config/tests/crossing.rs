//! Services that could answer the same request.

use super::small_and_services;
use crate::config::Config;
use crate::config::overlap;
use crate::config::problem::Problems;

const KEY: &str = "key: {}";
const TOKEN: &str = "token: {audiences: [x]}";

/// The services, beside one that is out of their way.
fn file(services: &[String]) -> String {
    let out_of_the_way = "upstream: model\n    match: [{host: iris.test, path: /iris, methods: [POST]}]";
    small_and_services(services).replacen("upstream: model", out_of_the_way, 1)
}

fn service(name: &str, matches: &str, auth: &str) -> String {
    format!("{name}: {{upstream: model, match: [{matches}], auth: {{{auth}}}}}")
}

/// What is told about service `b` beside service `a`.
fn told(a: (&str, &str), b: (&str, &str)) -> Vec<String> {
    let text = file(&[service("a", a.0, a.1), service("b", b.0, b.1)]);
    let problems = Config::read(&text).err().unwrap_or_default();
    problems.into_iter().map(|problem| format!("{}: {}", problem.path, problem.what)).collect()
}

#[test]
fn who_answers_is_never_left_open() {
    #[rustfmt::skip]
    let rows = [
        // equal
        ("prefix: /a", "prefix: /a", Some("GET /a")),
        ("path: '/a/{x}'", "path: '/a/{y}'", Some("GET /a/x")),
        ("path: /a, methods: [GET]", "path: /a, methods: [HEAD, GET]", Some(" /a")),
        ("host: '*.x.com'", "host: '*.x.com'", Some("GET / at x.x.com")),
        // apart
        ("prefix: /a", "prefix: /ab", None),
        ("path: /a", "path: /a/", None),
        ("path: /a", "path: /a/b", None),
        ("path: /a, methods: [GET]", "path: /a, methods: [POST]", None),
        ("host: x.com", "host: y.com", None),
        ("host: x.com", "host: '*.x.com'", None),
        ("path: '/a/{x}'", "path: /a/", None),
        ("path: '/a/{x}/b'", "path: '/a/{x}/c'", None),
        // one holds the other
        ("prefix: /", "prefix: /a", None),
        ("prefix: /a", "path: /a", None),
        ("prefix: /a", "path: /a/", None),
        ("prefix: /a, methods: [POST]", "prefix: /a", None),
        ("path: /a, methods: [HEAD]", "path: /a, methods: [GET]", None),
        ("path: '/a/{x}'", "path: /a/b", None),
        ("prefix: /a", "host: x.com, prefix: /a/b, methods: [PUT]", None),
        ("host: '*.com'", "host: '*.x.com'", None),
        ("host: '*.x.com', path: /a", "host: y.x.com, path: /a", None),
        // crossing
        ("path: '/{x}/b'", "path: '/a/{x}'", Some("GET /a/b")),
        ("prefix: '/{x}/b'", "prefix: '/a'", Some("GET /a/b")),
        ("path: '/{x}/b'", "prefix: /a", Some("GET /a/b")),
        ("prefix: /a/b", "prefix: /a, methods: [PUT]", Some("PUT /a/b")),
        ("prefix: /a, methods: [GET, PUT]", "prefix: /a, methods: [PUT, POST]", Some("PUT /a")),
        ("prefix: /a/b", "host: x.com, prefix: /a", Some("GET /a/b at x.com")),
        ("prefix: /a/b", "host: '*.x.com', prefix: /a", Some("GET /a/b at x.x.com")),
        ("host: '*.x.com', path: '/a/{m}'", "host: m.x.com, path: '/{x}/b'", Some("GET /a/b at m.x.com")),
        ("host: x.com, methods: [GET]", "prefix: /a, methods: [GET, POST]", Some("GET /a at x.com")),
    ];
    for (a, b, example) in rows {
        let (a, b) = (format!("{{{a}}}"), format!("{{{b}}}"));
        for (first, second) in [(&a, &b), (&b, &a)] {
            let told = told((first, KEY), (second, TOKEN));
            match example {
                None => assert_eq!(told, Vec::<String>::new(), "{first} {second}"),
                Some(example) => {
                    assert_eq!(told.len(), 1, "{told:?} for {first} {second}");
                    assert!(told[0].contains(example), "{told:?} for {first} {second}");
                    let names_the_other = told[0].starts_with("services.b.match[0]: ") && told[0].contains("\"a\"")
                        || told[0].starts_with("services.a.match[0]: ") && told[0].contains("\"b\"");
                    assert!(names_the_other, "{told:?}");
                }
            }
        }
    }
}

#[test]
fn matches_may_cross_where_the_same_callers_are_let_in() {
    let (a, b) = ("{path: '/{x}/b'}", "{path: '/a/{x}'}");
    let every = "key: {keys: none, accounts: every}";
    for (one, other, fine) in [
        ("public: x", "public: y", true),
        (TOKEN, TOKEN, true),
        (every, every, true),
        // Each has two keys of its own.
        (KEY, KEY, false),
        ("public: x", KEY, false),
        (TOKEN, "token: {audiences: [y]}", false),
    ] {
        assert_eq!(told((a, one), (b, other)).is_empty(), fine, "{one} {other}");
    }
    let managed = format!("{TOKEN}}}, managed: true, identity: {{principal: none");
    assert_eq!(told((a, &managed), (b, TOKEN)).len(), 1, "the mode of one may change");
    let equal = told((a, TOKEN), (a, TOKEN));
    assert_eq!(equal.len(), 1, "equal matches are refused whoever is let in");
}

#[test]
fn the_gated_one_of_two_services_is_not_the_other() {
    let face =
        "c: {upstream: model, match: [{prefix: '/{x}/b'}], auth: {token: {audiences: [x]}}, features: {preset: face}}";
    let text = file(&[service("b", "{prefix: /a}", TOKEN), face.to_owned()]);
    assert_eq!(Config::read(&text).unwrap_err().len(), 1);
}

#[test]
fn one_service_may_match_a_request_twice() {
    let text = file(&[service("a", "{path: '/{x}/b'}, {path: '/a/{x}'}, {prefix: /}", KEY)]);
    assert!(Config::read(&text).is_ok());
}

#[test]
fn ten_thousand_services_are_compared_in_no_time() {
    let prefixes = (0..10_000).map(|n| format!("s{n}: {{upstream: model, auth: {{key: {{}}}}}}"));
    let hosts = (0..5_000)
        .map(|n| format!("h{n}: {{upstream: model, match: [{{host: h{n}.x.com, prefix: /v1}}], auth: {{key: {{}}}}}}"));
    for services in [prefixes.collect::<Vec<_>>(), hosts.collect()] {
        let text = file(&services);
        let config = Config::read(&text).unwrap_or_else(|problems| panic!("{:?}", problems.first()));
        assert_eq!(config.services.len(), services.len() + 1);
        let services: Vec<_> = config.services.values().collect();
        let begun = std::time::Instant::now();
        let mut problems = Problems::default();
        overlap::note(&services, &mut problems);
        // Pairwise, unoptimised, it would be fifty million comparisons and a quarter of a minute; it takes 50 ms.
        assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!(problems.is_empty());
    }
    let alike: Vec<String> = (0..5_000).map(|n| service(&format!("s{n}"), "{prefix: /a}", KEY)).collect();
    assert_eq!(Config::read(&file(&alike)).unwrap_err().len(), 4_999);
}
