//! Checks the registry as a scraper sees it, and the reference in `docs/metrics.md` against it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use prometheus::proto::MetricFamily;
use prometheus::proto::MetricType;

use super::ConnectionEnd;
use super::InFlight;
use super::Metrics;
use super::PoolState;
use super::ReloadStage;
use super::ReloadTrigger;
use super::Scheme;
use crate::model::name::Name;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::observe::usage::KeyAge;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Metrics with one of everything that has a name.
fn one_of_everything() -> Metrics {
    let metrics = Metrics::new();
    let service = metrics.service(&name("iris"));
    for scheme in [Scheme::Key, Scheme::Token, Scheme::Public] {
        service.prepare(scheme);
    }
    drop(metrics.upstream(&name("models")));
    drop(metrics.listener(&name("traffic-0")));
    drop(metrics.issuer(&name("entra")));
    metrics
}

/// Samples of a text exposition: name with labels, and value. Panics where a line is not of the format.
fn samples(exposition: &str) -> BTreeMap<String, f64> {
    let mut typed = HashSet::new();
    let mut samples = BTreeMap::new();
    for line in exposition.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(typed.insert(family.to_owned()), "{family} has two types");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let family = series.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end));
            assert!(typed.contains(family) || base.is_some_and(|base| typed.contains(base)), "{line}");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} stands twice");
        }
    }
    samples
}

#[test]
fn names_that_differ_in_one_letter_can_be_together() {
    let metrics = Metrics::new();
    for letter in 'a'..='z' {
        for text in [letter.to_string(), format!("model-{letter}")] {
            drop((metrics.service(&name(&text)), metrics.upstream(&name(&text))));
            drop((metrics.listener(&name(&text)), metrics.issuer(&name(&text))));
        }
    }
    metrics.forget_services(&HashSet::new());
    assert!(!metrics.exposition().contains("service=\"model-"), "forgotten series are gone");
}

#[test]
fn every_series_exists_at_zero_before_the_first_request() {
    let samples = samples(&one_of_everything().exposition());
    for (series, value) in &samples {
        let starts_at_zero = series.starts_with("gateway_") && !series.starts_with("gateway_build_info");
        assert!(!starts_at_zero || *value == 0.0, "{series} is {value}");
    }
    for series in [
        r#"gateway_http_requests_total{code="200",method="POST",service="iris"}"#,
        r#"gateway_http_request_duration_seconds_count{code_class="5xx",service="iris"}"#,
        r#"gateway_denials_total{reason="key_unknown",service="iris"}"#,
        r#"gateway_denials_total{reason="token_revoked",service="iris"}"#,
        r#"gateway_denials_total{reason="no_service",service="_none"}"#,
        r#"gateway_failures_total{reason="upstream_timeout",service="iris"}"#,
        r#"gateway_failures_total{reason="internal",service="_none"}"#,
        r#"gateway_key_uses_total{service="iris",slot="secondary"}"#,
        r#"gateway_upstream_errors_total{reason="no_endpoint",upstream="models"}"#,
        r#"gateway_connections_closed_total{listener="traffic-0",reason="protocol"}"#,
        r#"gateway_jwks_refreshes_total{issuer="entra",result="failure"}"#,
        r#"gateway_config_reloads_total{result="failed",trigger="signal"}"#,
        "gateway_panics_total",
    ] {
        assert_eq!(samples.get(series), Some(&0.0), "{series}");
    }
    assert!(samples.contains_key("process_open_fds") || !cfg!(target_os = "linux"));
}

#[test]
fn a_service_has_no_series_for_reasons_that_its_scheme_cannot_give() {
    let metrics = Metrics::new();
    metrics.service(&name("keyed")).prepare(Scheme::Key);
    let text = metrics.exposition();
    assert!(text.contains(r#"gateway_denials_total{reason="key_expired",service="keyed"} 0"#));
    assert!(!text.contains(r#"gateway_denials_total{reason="token_expired""#));
    assert!(!text.contains(r#"gateway_denials_total{reason="no_service",service="keyed"}"#));
}

#[test]
fn a_moment_that_nobody_knows_is_absent_rather_than_1970() {
    let metrics = one_of_everything();
    assert!(!metrics.exposition().contains("_timestamp_seconds"));
    metrics.listener(&name("traffic-0")).certificate(UnixSeconds(1_800_000_000));
    let certificate = r#"gateway_tls_certificate_not_after_timestamp_seconds{listener="traffic-0"}"#;
    assert_eq!(samples(&metrics.exposition()).get(certificate), Some(&1_800_000_000.0));
}

#[test]
fn a_service_keeps_its_handles_across_reloads_and_loses_its_series_when_it_goes() {
    let metrics = Metrics::new();
    let (stays, goes) = (name("stays"), name("goes"));
    let first = metrics.service(&stays);
    let gone = metrics.service(&goes);
    metrics.forget_services(&HashSet::from([stays.clone()]));
    assert!(Arc::ptr_eq(&first, &metrics.service(&stays)));

    // A request of the snapshot before is still under way.
    let in_flight = InFlight::enter(&gone);
    gone.prepare(Scheme::Token);
    assert!(!metrics.exposition().contains("goes"));

    let back = metrics.service(&goes);
    assert!(!Arc::ptr_eq(&gone, &back));
    drop(in_flight);
    let series = r#"gateway_http_requests_in_flight{service="goes"}"#;
    assert_eq!(samples(&metrics.exposition()).get(series), Some(&0.0));
}

#[test]
fn a_guard_counts_out_what_it_counted_in() {
    let metrics = Metrics::new();
    let (service, listener) = (metrics.service(&name("iris")), metrics.listener(&name("edge")));
    let get = |series: &str| samples(&metrics.exposition())[series];
    {
        let _in_flight = InFlight::enter(&service);
        let mut connection = listener.accept();
        connection.ends(ConnectionEnd::Idle);
        assert_eq!(get(r#"gateway_http_requests_in_flight{service="iris"}"#), 1.0);
        assert_eq!(get(r#"gateway_connections_open{listener="edge"}"#), 1.0);
    }
    assert_eq!(get(r#"gateway_http_requests_in_flight{service="iris"}"#), 0.0);
    assert_eq!(get(r#"gateway_connections_open{listener="edge"}"#), 0.0);
    assert_eq!(get(r#"gateway_connections_closed_total{listener="edge",reason="idle"}"#), 1.0);
}

#[test]
fn pooled_connections_and_reloads_are_counted_in_their_states() {
    let metrics = Metrics::new();
    let upstream = metrics.upstream(&name("models"));
    upstream.connection_opened();
    upstream.connection_opened();
    upstream.connection_turned(PoolState::Active, PoolState::Idle);
    upstream.connection_closed(PoolState::Active);
    let gateway = &metrics.gateway;
    gateway.reload_published(ReloadTrigger::Start, 7, UnixSeconds(1000));
    gateway.reload_failed(ReloadTrigger::File, ReloadStage::Check);
    gateway.reload_unchanged(ReloadTrigger::Signal, UnixSeconds(2000));
    gateway.reload_failed(ReloadTrigger::Api, ReloadStage::Compile);
    let samples = samples(&metrics.exposition());
    for (series, value) in [
        (r#"gateway_upstream_connections{state="active",upstream="models"}"#, 0.0),
        (r#"gateway_upstream_connections{state="idle",upstream="models"}"#, 1.0),
        (r#"gateway_upstream_connections_opened_total{upstream="models"}"#, 2.0),
        (r#"gateway_config_reloads_total{result="published",trigger="start"}"#, 1.0),
        (r#"gateway_config_reloads_total{result="failed",trigger="file"}"#, 1.0),
        (r#"gateway_config_reload_failures_total{stage="check"}"#, 1.0),
        ("gateway_config_last_reload_successful", 0.0),
        ("gateway_config_last_reload_success_timestamp_seconds", 2000.0),
        ("gateway_config_generation", 7.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

#[test]
fn names_and_help_follow_the_conventions() {
    for family in one_of_everything().registry.gather() {
        let (name, help) = (family.name(), family.help());
        assert!(name.starts_with("gateway_") || name.starts_with("process_"), "{name}");
        assert!(help.ends_with('.'), "{name}: {help}");
        let counter = family.get_field_type() == MetricType::COUNTER;
        assert_eq!(name.ends_with("_total"), counter, "{name}");
        for unit in ["seconds", "bytes"] {
            assert!(!name.contains(unit) || help.to_lowercase().contains(unit), "{name} does not say its unit: {help}");
        }
    }
}

#[test]
fn docs_metrics_md_lists_every_family() {
    const BEGIN: &str = "<!-- Written by `UPDATE=1 cargo test`: from here -->\n";
    const END: &str = "<!-- to here -->\n";
    let metrics = one_of_everything();
    metrics.listener(&name("traffic-0")).certificate(UnixSeconds(1));
    metrics.issuer(&name("entra")).refreshed(1, UnixSeconds(1));
    metrics.service(&name("iris")).key_seen(Slot::Primary, KeyAge::Retiring, UnixSeconds(1));
    metrics.gateway.reload_unchanged(ReloadTrigger::Start, UnixSeconds(1));
    let upstream = metrics.upstream(&name("models"));
    upstream.prepare_checks();
    drop(upstream.endpoint("127.0.0.1:5001"));
    let table = table(&metrics.registry.gather());

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the table's first line");
    let (written, after) = rest.split_once(END).expect("the line after the table");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, [before, BEGIN, &table, END, after].concat()).unwrap();
    } else {
        assert_eq!(written, table, "run UPDATE=1 cargo test");
    }
}

fn table(families: &[MetricFamily]) -> String {
    let mut table = "| name | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for family in families {
        let labels: BTreeSet<&str> =
            family.get_metric().iter().flat_map(|metric| metric.get_label()).map(|label| label.name()).collect();
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        writeln!(table, "| `{}` | {kind} | {labels} | {} |", family.name(), family.help()).unwrap();
    }
    table
}
