//! The rules of [`RouteTable`] as tables, and a model of them that looks at every entry.

use http::Method;
use proptest::prelude::{Just, Strategy, prop_assert_eq, prop_oneof, proptest};

use super::{RouteTable, SameMatch};
use crate::config::{HostMatch, Match, PathMatch};
use crate::model::host::Host;
use crate::model::path::{NormalPath, PathTemplate, TemplateSegment};
use crate::model::refusal::Denied;

/// Reads `host path methods`: `*` is any host, a path that ends in `/**` a prefix, no method every method.
fn entry(written: &str) -> Match {
    let mut words = written.split(' ');
    let host = match words.next().unwrap() {
        "*" => HostMatch::Any,
        host => host
            .strip_prefix("*.")
            .map_or_else(|| HostMatch::Exact(host.to_owned()), |suffix| HostMatch::Under(suffix.to_owned())),
    };
    let path = words.next().unwrap();
    let template = |text: &str| PathTemplate::parse(if text.is_empty() { "/" } else { text }).unwrap();
    let path = path
        .strip_suffix("/**")
        .map_or_else(|| PathMatch::Template(template(path)), |prefix| PathMatch::Prefix(template(prefix)));
    Match { host, path, methods: words.map(|method| method.parse().unwrap()).collect() }
}

fn table(entries: &[(&str, usize)]) -> Result<RouteTable, SameMatch> {
    let entries: Vec<(Match, usize)> = entries.iter().map(|(written, service)| (entry(written), *service)).collect();
    RouteTable::build(entries.iter().map(|(entry, service)| (entry, *service)))
}

/// A request from its first byte: host and path are read before they are matched.
fn find(table: &RouteTable, method: &str, host: &str, path: &str) -> Result<usize, Denied> {
    let Ok(method) = method.parse() else { panic!("{method} is no method") };
    table.find(&Host::read(host)?, &NormalPath::read(path)?, &method)
}

const OPEN: usize = 0;
const SCORE: usize = 1;
const ADMIN: usize = 2;
const MODELS: usize = 3;
const PREDICT: usize = 4;
const READ: usize = 5;
const WRITE: usize = 6;
const SHOP: usize = 7;
const TENANT: usize = 8;
const DEEP_TENANT: usize = 9;
const ODD: usize = 10;

fn example() -> RouteTable {
    table(&[
        ("* /**", OPEN),
        ("* /score", SCORE),
        ("* /score/{model}", SCORE),
        ("* /admin/**", ADMIN),
        ("* /models/{name}", MODELS),
        ("* /models/{name}/versions/**", MODELS),
        ("* /models/m:predict", PREDICT),
        ("* /models/m/versions/1", PREDICT),
        ("* /things GET", READ),
        ("* /things", WRITE),
        ("* /only POST", READ),
        ("* /a%20b", READ),
        ("* /slash/", READ),
        ("* /odd/{x}", ODD),
        ("shop.example.com /**", SHOP),
        ("api.shop.example.com /v1/**", SHOP),
        ("*.example.com /**", TENANT),
        ("*.eu.example.com /**", DEEP_TENANT),
    ])
    .unwrap()
}

#[test]
fn the_most_specific_path_decides() {
    let table = example();
    for (method, host, path, want) in [
        ("GET", "h", "/", Ok(OPEN)),
        ("GET", "h", "/other", Ok(OPEN)),
        ("GET", "h", "/scores", Ok(OPEN)),
        ("POST", "h", "/score", Ok(SCORE)),
        ("POST", "h", "/score/iris", Ok(SCORE)),
        ("POST", "h", "/score/iris/x", Ok(OPEN)),
        ("GET", "h", "/admin", Ok(ADMIN)),
        ("GET", "h", "/admin/", Ok(ADMIN)),
        ("GET", "h", "/admin/users/1", Ok(ADMIN)),
        ("GET", "h", "/administrator", Ok(OPEN)),
        ("GET", "h", "/models/m", Ok(MODELS)),
        ("GET", "h", "/models/m:predict", Ok(PREDICT)),
        ("GET", "h", "/models/m:predictor", Ok(MODELS)),
        ("GET", "h", "/models/m/versions", Ok(MODELS)),
        ("GET", "h", "/models/m/versions/2", Ok(MODELS)),
        ("GET", "h", "/models/m/versions/1", Ok(PREDICT)),
        ("GET", "h", "/models/m/versions/1/x", Ok(MODELS)),
        ("GET", "h", "/models", Ok(OPEN)),
        ("GET", "h", "/a%20b", Ok(READ)),
        ("GET", "h", "/slash/", Ok(READ)),
    ] {
        assert_eq!(find(&table, method, host, path), want, "{method} {host} {path}");
    }
}

#[test]
fn another_spelling_never_reaches_a_more_open_service() {
    use Denied::PathAmbiguous;
    let table = example();
    for (method, host, path, want) in [
        // Spellings that the normal form brings together.
        ("POST", "h", "/%73core", Ok(SCORE)),
        ("POST", "h", "/sc%6Fre/%69ris", Ok(SCORE)),
        ("GET", "h", "/models/m%3Ax", Ok(MODELS)),
        // Spellings that a lenient server could bring together: never by way of a more open service.
        ("POST", "h", "/SCORE", Err(PathAmbiguous)),
        ("POST", "h", "/Score", Err(PathAmbiguous)),
        ("POST", "h", "/score/", Err(PathAmbiguous)),
        ("POST", "h", "/Score/iris", Err(PathAmbiguous)),
        ("POST", "h", "/score/IRIS", Ok(SCORE)),
        ("POST", "h", "/score/iris/", Err(PathAmbiguous)),
        ("GET", "h", "/Admin/users", Err(PathAmbiguous)),
        ("GET", "h", "/aDMIN", Err(PathAmbiguous)),
        ("GET", "h", "/models/m%3Apredict", Err(PathAmbiguous)),
        ("GET", "h", "/models/M:predict", Err(PathAmbiguous)),
        ("GET", "h", "/Models/m", Err(PathAmbiguous)),
        ("GET", "h", "/models/m/", Err(PathAmbiguous)),
        ("GET", "h", "/models/m/versions/1/", Err(PathAmbiguous)),
        ("GET", "h", "/A%20B", Err(PathAmbiguous)),
        ("GET", "h", "/slash", Err(PathAmbiguous)),
        ("GET", "h", "/Only", Err(PathAmbiguous)),
        ("POST", "h", "//score", Err(PathAmbiguous)),
        ("POST", "h", "/score//", Err(PathAmbiguous)),
        ("POST", "h", "/score;x=1", Err(PathAmbiguous)),
        ("POST", "h", "/;x/score", Err(PathAmbiguous)),
        ("GET", "h", "/admin%2Fusers", Err(PathAmbiguous)),
        ("GET", "h", "/x%5C/admin", Ok(OPEN)),
        ("GET", "h", "/%5Cadmin", Err(PathAmbiguous)),
        ("GET", "h", "/%2561dmin", Err(PathAmbiguous)),
        ("GET", "h", "/%252Fadmin", Err(PathAmbiguous)),
        ("GET", "h", "/ad%256Din/users", Err(PathAmbiguous)),
        // Oddities that lead nowhere else are the service's to judge.
        ("GET", "h", "/x%2Fy", Ok(OPEN)),
        ("GET", "h", "/x//y", Ok(OPEN)),
        ("GET", "h", "/admin//x", Ok(ADMIN)),
        ("GET", "h", "/admin/a;v=1", Ok(ADMIN)),
        ("GET", "h", "/odd/a%25b", Ok(ODD)),
        ("GET", "h", "/odd/a%2Fb", Err(PathAmbiguous)),
        // What is no path.
        ("GET", "h", "/admin/../score", Err(PathAmbiguous)),
        ("GET", "h", "/x/%2e%2e/admin", Err(PathAmbiguous)),
        ("GET", "h", "/x/..;/admin", Err(PathAmbiguous)),
        ("GET", "h", "/x/..%2Fadmin", Err(PathAmbiguous)),
        ("GET", "h", "/x\\admin", Err(PathAmbiguous)),
        ("GET", "h", "/%zz", Err(PathAmbiguous)),
        ("GET", "h", "admin", Err(PathAmbiguous)),
    ] {
        assert_eq!(find(&table, method, host, path), want, "{method} {host} {path}");
    }
}

#[test]
fn a_method_that_is_not_taken_is_not_offered_to_a_wider_path() {
    use Denied::MethodNotAllowed;
    let table = example();
    for (method, host, path, want) in [
        ("GET", "h", "/things", Ok(READ)),
        ("HEAD", "h", "/things", Ok(READ)),
        ("POST", "h", "/things", Ok(WRITE)),
        ("OPTIONS", "h", "/things", Ok(WRITE)),
        ("POST", "h", "/only", Ok(READ)),
        ("GET", "h", "/only", Err(MethodNotAllowed)),
        ("HEAD", "h", "/only", Err(MethodNotAllowed)),
        ("OPTIONS", "h", "/only", Err(MethodNotAllowed)),
        ("PROPFIND", "h", "/only", Err(MethodNotAllowed)),
    ] {
        assert_eq!(find(&table, method, host, path), want, "{method} {host} {path}");
    }
}

#[test]
fn the_most_specific_host_decides_alone() {
    use Denied::{HostInvalid, NoService};
    let table = example();
    for (method, host, path, want) in [
        ("GET", "shop.example.com", "/", Ok(SHOP)),
        ("GET", "SHOP.Example.com.:8443", "/score", Ok(SHOP)),
        ("GET", "api.shop.example.com", "/v1/x", Ok(SHOP)),
        ("GET", "api.shop.example.com", "/", Err(NoService)),
        ("POST", "api.shop.example.com", "/score", Err(NoService)),
        ("GET", "api.shop.example.com", "/V1/x", Err(NoService)),
        ("GET", "other.example.com", "/score", Ok(TENANT)),
        ("GET", "a.b.example.com", "/", Ok(TENANT)),
        ("GET", "a.eu.example.com", "/", Ok(DEEP_TENANT)),
        ("GET", "eu.example.com", "/", Ok(TENANT)),
        ("GET", "example.com", "/score", Ok(SCORE)),
        ("GET", "notexample.com", "/", Ok(OPEN)),
        ("GET", "shop.example.com.evil", "/", Ok(OPEN)),
        ("GET", "[::1]:80", "/score", Ok(SCORE)),
        ("GET", "", "/score", Err(HostInvalid)),
        ("GET", "a,shop.example.com", "/", Err(HostInvalid)),
        ("GET", "shop.example.com@evil", "/", Err(HostInvalid)),
        ("GET", "shop.example.com:x", "/", Err(HostInvalid)),
    ] {
        assert_eq!(find(&table, method, host, path), want, "{method} {host} {path}");
    }
}

#[test]
fn without_a_wider_service_another_spelling_reaches_none() {
    let table = table(&[("* /score POST", SCORE)]).unwrap();
    for path in ["/SCORE", "/score/", "//score", "/score%2F", "/score/x", "/"] {
        assert_eq!(find(&table, "POST", "h", path), Err(Denied::NoService), "{path}");
    }
}

#[test]
fn spellings_that_were_written_down_are_told_apart() {
    let table = table(&[("* /a", 1), ("* /A", 2), ("* /a/", 3), ("* /p/**", 4), ("* /P/**", 5)]).unwrap();
    for (path, service) in [("/a", 1), ("/A", 2), ("/a/", 3), ("/p/x", 4), ("/P/x", 5)] {
        assert_eq!(find(&table, "GET", "h", path), Ok(service), "{path}");
    }
}

#[test]
fn two_services_never_match_the_same_requests() {
    for (one, other, clash) in [
        ("* /a", "* /a", true),
        ("* /a/{x}", "* /a/{y}", true),
        ("* /a/**", "* /a/**", true),
        ("h /a GET", "h /a GET POST", true),
        ("h /a GET", "h /a HEAD", true),
        ("* /a GET", "* /a POST", false),
        ("* /a GET", "* /a", false),
        ("* /a", "h /a", false),
        ("h /a", "*.h /a", false),
        ("* /a", "* /a/**", false),
        ("* /a", "* /a/", false),
        ("* /a", "* /A", false),
    ] {
        let refused = table(&[(one, 1), (other, 2)]).err();
        assert_eq!(refused, clash.then_some(SameMatch { first: 1, second: 2 }), "{one} and {other}");
        assert!(table(&[(one, 1), (other, 1)]).is_ok(), "{one} and {other} of one service");
    }
}

#[test]
fn a_refused_method_can_be_answered_with_those_that_are_taken() {
    let table = table(&[("* /a POST", 1), ("* /a GET", 2), ("* /b", 1)]).unwrap();
    for (path, want) in [("/a", "GET HEAD POST"), ("/b", ""), ("/c", "")] {
        let (host, path) = (Host::read("h").unwrap(), NormalPath::read(path).unwrap());
        let mut taken: Vec<&str> = table.methods_at(&host, &path).map(Method::as_str).collect();
        taken.sort_unstable();
        assert_eq!(taken.join(" "), want, "{path:?}");
    }
}

/// How specific a path is: the sum of its parts, read from the left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    PrefixEnd,
    Variable,
    Literal,
    WholeEnd,
}

fn parts_of(path: &PathMatch) -> Vec<Part> {
    let (PathMatch::Template(template) | PathMatch::Prefix(template)) = path;
    let end = if matches!(path, PathMatch::Prefix(_)) { Part::PrefixEnd } else { Part::WholeEnd };
    let part = |segment: &TemplateSegment| match segment {
        TemplateSegment::Literal(_) => Part::Literal,
        TemplateSegment::Any => Part::Variable,
    };
    template.named_segments().iter().map(part).chain([end]).collect()
}

/// The rules without an index.
fn find_slowly(
    entries: &[(Match, usize)],
    host: &Host<'_>,
    path: &NormalPath<'_>,
    method: &Method,
) -> Result<usize, Denied> {
    let host_rank = |entry: &Match| match &entry.host {
        HostMatch::Exact(exact) => (exact == host.as_str()).then_some((2, exact.len())),
        HostMatch::Under(suffix) => host.as_str().ends_with(&format!(".{suffix}")).then_some((1, suffix.len())),
        HostMatch::Any => Some((0, 0)),
    };
    let best_host = entries.iter().filter_map(|(entry, _)| host_rank(entry)).max();
    let here: Vec<_> =
        entries.iter().filter(|(entry, _)| host_rank(entry) == best_host && best_host.is_some()).collect();
    let select = |fits: &dyn Fn(&PathMatch) -> bool| {
        let best = here.iter().filter(|(entry, _)| fits(&entry.path)).map(|(entry, _)| parts_of(&entry.path)).max()?;
        Some(here.iter().filter(|(entry, _)| fits(&entry.path) && parts_of(&entry.path) == best).collect::<Vec<_>>())
    };
    let taken_by = |entry: &Match| {
        let listed = entry.methods.contains(method) || (method == Method::HEAD && entry.methods.contains(&Method::GET));
        if listed { Some(1) } else { entry.methods.is_empty().then_some(0) }
    };

    let exact = select(&|entry| match entry {
        PathMatch::Template(template) => template.matches(path),
        PathMatch::Prefix(template) => template.leads(path),
    });
    let exact = exact.ok_or(Denied::NoService)?;
    let chosen = exact.iter().filter(|(entry, _)| taken_by(entry).is_some()).max_by_key(|(entry, _)| taken_by(entry));
    let (_, service) = chosen.ok_or(Denied::MethodNotAllowed)?;

    let folded = path.loosest().to_ascii_lowercase();
    let folded = folded.strip_suffix('/').unwrap_or(&folded);
    let loosest = select(&|entry| match entry {
        PathMatch::Template(template) => template.matches_loosely(folded),
        PathMatch::Prefix(template) => {
            let wanted = template.named_segments().len();
            let ends = folded.match_indices('/').map(|(at, _)| at).chain([folded.len()]);
            ends.into_iter().any(|end| {
                let start = folded.get(..end).unwrap();
                start.matches('/').count() == wanted && template.matches_loosely(start)
            })
        }
    });
    let same_in_it = loosest.is_none_or(|entries| {
        // Spellings that fold to the same path stand together; each brings the entry that takes the method.
        let of_service = entries.iter().filter(|(_, other)| other == service);
        of_service.into_iter().any(|(entry, _)| {
            let rivals = entries.iter().filter(|(other, _)| other.path == entry.path);
            let best = rivals.filter(|(other, _)| taken_by(other).is_some()).max_by_key(|(other, _)| taken_by(other));
            best.is_some_and(|(_, other)| other == service)
        })
    });
    if same_in_it { Ok(*service) } else { Err(Denied::PathAmbiguous) }
}

fn entries() -> impl Strategy<Value = Vec<(Match, usize)>> {
    let host = prop_oneof![Just("*"), Just("h"), Just("*.h"), Just("*.a.h")];
    let segment = prop_oneof![Just("/a"), Just("/b"), Just("/A"), Just("/{x}"), Just("/a:b")];
    let end = prop_oneof![Just(""), Just("/"), Just("/**")];
    let methods = prop_oneof![Just(""), Just(" GET"), Just(" POST"), Just(" GET POST")];
    let path = proptest::collection::vec(segment, 1..4);
    let one = (host, path, end, methods, 0..4_usize).prop_map(|(host, path, end, methods, service)| {
        (entry(&format!("{host} {}{end}{methods}", path.concat())), service)
    });
    proptest::collection::vec(one, 1..12)
}

proptest! {
    #[test]
    fn the_index_finds_what_looking_at_every_entry_finds(
        entries in entries(),
        host in prop_oneof![Just("h"), Just("a.h"), Just("b.a.h"), Just("x")],
        path in "(/(a|b|A|c|a:b|a%3Ab|%61|a;x|)){1,4}/?",
        method in prop_oneof![Just(Method::GET), Just(Method::HEAD), Just(Method::POST)],
    ) {
        let Ok(table) = RouteTable::build(entries.iter().map(|(entry, service)| (entry, *service))) else { return Ok(()) };
        let (host, path) = (Host::read(host).unwrap(), NormalPath::read(&path).unwrap());
        prop_assert_eq!(table.find(&host, &path, &method), find_slowly(&entries, &host, &path, &method));
    }
}
