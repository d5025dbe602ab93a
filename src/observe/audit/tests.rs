//! What is found, what is kept, what is refused: a real log in a real directory, and what can happen to it.

use std::fs;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use super::Act;
use super::Audit;
use super::AuditError;
use super::AuditWriter;
use super::Event;
use super::NotRecorded;
use super::key::PUBLIC;
use super::key::PublicKey;
use super::query;
use super::query::Filter;
use super::verify::Report;
use super::verify::Wrong;
use super::verify::verify;
use crate::config::AuditLog;
use crate::config::OnAuditFailure;
use crate::model::time::UnixSeconds;
use crate::observe::metrics::Metrics;

const SOON: Duration = Duration::from_secs(10);

struct Stage {
    directory: TempDir,
    metrics: Arc<Metrics>,
}

impl Stage {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), metrics: Arc::new(Metrics::new()) }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn config(&self, on_failure: OnAuditFailure) -> AuditLog {
        AuditLog { directory: self.log(), on_failure, max_file_bytes: 4096 }
    }

    fn start(&self, on_failure: OnAuditFailure) -> Result<(Audit, AuditWriter), AuditError> {
        AuditWriter::start(&self.config(on_failure), Arc::clone(&self.metrics))
    }

    /// A log of one run with these events, closed.
    async fn with(&self, events: std::ops::Range<u64>) {
        let (audit, writer) = self.start(OnAuditFailure::Block).unwrap();
        for number in events {
            audit.record(event(number)).await.unwrap();
        }
        writer.finish(SOON);
    }

    fn verify(&self) -> Report {
        verify(&self.log(), &PublicKey::read(&self.log().join(PUBLIC)).unwrap(), None).unwrap()
    }

    fn fault(&self) -> Option<(String, u64, Wrong)> {
        let fault = self.verify().fault?;
        Some((fault.file.file_name()?.to_str()?.to_owned(), fault.line, fault.what))
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.log()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
        files.sort();
        files
    }

    fn series(&self, name: &str) -> f64 {
        let text = self.metrics.exposition();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }

    async fn eventually(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not in time: {what}");
    }
}

fn event(number: u64) -> Event {
    Event {
        act: Act::IssueLimitedAccessToken,
        who: "account:vendor".to_owned(),
        resource: format!("/a/Client-{}", number % 3),
        rule: "accounts.vendor.may_issue".to_owned(),
        detail: json!({ "jti": format!("token-{number}") }),
        decision: format!("{number:032x}"),
    }
}

/// Changes the lines of a file.
fn edit(path: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> = fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[tokio::test]
async fn a_line_says_what_happened_and_a_log_that_nobody_touched_is_whole() {
    let stage = Stage::new();
    stage.with(0..3).await;
    let text = fs::read_to_string(stage.log().join("audit.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let acts: Vec<&str> = lines.iter().map(|line| line["act"].as_str().unwrap()).collect();
    let issue = "limited_access_token.issue";
    assert_eq!(acts, ["log.start", issue, issue, issue, "log.checkpoint"]);
    let line = &lines[2];
    assert_eq!(line["seq"], 3);
    assert_eq!(line["who"], "account:vendor");
    assert_eq!(line["resource"], "/a/Client-1");
    assert_eq!(line["rule"], "accounts.vendor.may_issue");
    assert_eq!(line["detail"]["jti"], "token-1");
    assert_eq!(line["decision_id"], "00000000000000000000000000000001");
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(line["prev"].as_str().unwrap().len(), 64);
    let report = stage.verify();
    assert_eq!((report.fault, report.lines, report.checkpoints, report.unsigned), (None, 5, 1, 0));
    assert!((stage.series("gateway_audit_events_written_total") - 3.0).abs() < 0.1);
    let mode = |name: &str| fs::metadata(stage.log().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("audit.jsonl"), mode("audit.key"), mode(".")), (0o600, 0o600, 0o700));
}

#[tokio::test]
async fn a_line_that_was_changed_taken_out_doubled_or_moved_is_found() {
    type Edit = fn(&mut Vec<String>);
    let cases: &[(&str, Edit, u64, &str)] = &[
        ("a word changed", |lines| lines[2] = lines[2].replace("token-1", "token-7"), 4, "was changed"),
        ("another number", |lines| lines[2] = lines[2].replace("\"seq\":3", "\"seq\":9"), 3, "want line number 3"),
        ("one taken out", |lines| drop(lines.remove(2)), 3, "want line number 3, found 4"),
        ("the first taken out", |lines| drop(lines.remove(0)), 1, "want line number 1, found 2"),
        ("one doubled", |lines| lines.insert(2, lines[2].clone()), 4, "want line number 4, found 3"),
        ("two exchanged", |lines| lines.swap(1, 2), 2, "want line number 2, found 3"),
        ("one put in", |lines| lines.insert(2, "{}".to_owned()), 3, "want a line of the log"),
        ("an empty one put in", |lines| lines.insert(2, String::new()), 3, "want a line of the log"),
        ("the checkpoint changed", |lines| lines[4] = lines[4].replace("gateway", "somebody"), 5, "signature"),
        (
            "another key's name",
            |lines| lines[4] = lines[4].replace("\"key\":\"", "\"key\":\"0"),
            5,
            "signed by the key",
        ),
        ("the end taken off", |lines| lines.truncate(3), 1, "ends before line number 5"),
        ("everything taken off", Vec::clear, 1, "ends before line number 5"),
    ];
    for (what, change, line, want) in cases {
        let stage = Stage::new();
        stage.with(0..3).await;
        edit(&stage.log().join("audit.jsonl"), change);
        let (_, found, wrong) = stage.fault().unwrap_or_else(|| panic!("{what} is not found"));
        assert_eq!(found, *line, "{what}: {wrong}");
        assert!(wrong.to_string().contains(want), "{what}: {wrong}");
    }
}

#[tokio::test]
async fn whoever_rewrites_the_chain_has_to_sign_it_as_well() {
    let (stage, forger) = (Stage::new(), Stage::new());
    stage.with(0..3).await;
    forger.with(5..8).await;
    fs::copy(forger.log().join("audit.jsonl"), stage.log().join("audit.jsonl")).unwrap();
    assert!(matches!(stage.fault(), Some((_, 5, Wrong::Key { .. }))));
    let known = stage.log().join("audit.head");
    fs::copy(forger.log().join("audit.head"), &known).unwrap();
    assert!(matches!(stage.fault(), Some((_, 1, Wrong::NotACheckpoint))));
    // A log of the same key that began again lacks what is known of it elsewhere.
    let stage = Stage::new();
    stage.with(0..3).await;
    let kept = stage.directory.path().join("kept");
    fs::copy(stage.log().join("audit.head"), &kept).unwrap();
    fs::remove_file(stage.log().join("audit.jsonl")).unwrap();
    fs::remove_file(stage.log().join("audit.head")).unwrap();
    stage.with(0..3).await;
    assert_eq!(stage.fault(), None);
    let key = PublicKey::read(&stage.log().join(PUBLIC)).unwrap();
    let fault = verify(&stage.log(), &key, Some(&kept)).unwrap().fault.unwrap();
    assert_eq!(fault.what, Wrong::Lost(5));
}

#[tokio::test]
async fn a_restart_goes_on_where_the_last_run_ended() {
    let stage = Stage::new();
    stage.with(0..2).await;
    stage.with(2..4).await;
    let report = stage.verify();
    assert_eq!((report.fault, report.lines, report.checkpoints), (None, 8, 2));
}

#[tokio::test]
async fn what_a_crash_left_of_a_line_is_set_aside_and_told() {
    for torn in ["{\"seq\":5,\"time\":\"20", "x"] {
        let stage = Stage::new();
        stage.with(0..2).await;
        let path = stage.log().join("audit.jsonl");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(torn.as_bytes()).unwrap();
        assert_eq!(stage.fault(), Some(("audit.jsonl".to_owned(), 5, Wrong::Torn)));
        stage.with(2..3).await;
        let report = stage.verify();
        assert_eq!((report.fault, report.torn), (None, 1), "{torn}");
        assert_eq!(fs::read_to_string(stage.log().join("audit.torn")).unwrap(), format!("{torn}\n"));
    }
}

#[tokio::test]
async fn full_files_are_closed_and_the_chain_goes_through_them() {
    let stage = Stage::new();
    stage.with(0..40).await;
    stage.with(40..60).await;
    let files = stage.files();
    assert!(files.len() > 4, "{files:?}");
    assert!(files.iter().all(|path| fs::metadata(path).unwrap().len() < 8192));
    let report = stage.verify();
    assert_eq!(report.fault, None);
    assert_eq!(report.files.len(), files.len());
    let filter = Filter { act: Some("limited_access_token.issue".to_owned()), ..Filter::default() };
    let found = query::newest(&stage.log(), &filter, usize::MAX).unwrap();
    let order: Vec<String> = found.iter().map(|line| line["detail"]["jti"].as_str().unwrap().to_owned()).collect();
    assert_eq!(order, (0..60).map(|number| format!("token-{number}")).collect::<Vec<_>>());

    let between = stage.directory.path().join("between");
    fs::rename(&files[1], &between).unwrap();
    let (file, line, wrong) = stage.fault().unwrap();
    assert_eq!((file.as_str(), line), (files[2].file_name().unwrap().to_str().unwrap(), 1), "{wrong}");
    fs::rename(&files[2], &files[1]).unwrap();
    fs::rename(&between, &files[2]).unwrap();
    assert!(matches!(stage.fault(), Some((_, 1, Wrong::Order { .. }))), "two files exchanged");
}

#[tokio::test]
async fn a_query_finds_a_resource_however_it_is_written_and_stops_at_its_limit() {
    let stage = Stage::new();
    stage.with(0..9).await;
    let resource = |resource: &str| Filter { resource: Some(resource.to_owned()), ..Filter::default() };
    for (filter, limit, want) in [
        (resource("/a/Client-1"), 100, 3),
        (resource("/A/CLIENT-1/"), 100, 3),
        (resource("/a/client-1"), 2, 2),
        (resource("/a/client-1"), 0, 0),
        (resource("/a/client"), 100, 0),
        (Filter { act: Some("log.start".to_owned()), ..Filter::default() }, 100, 1),
        (Filter { since: Some(UnixSeconds(4_000_000_000)), ..Filter::default() }, 100, 0),
        (Filter { until: Some(UnixSeconds(4_000_000_000)), ..resource("/a/client-1") }, 100, 3),
        (Filter { until: Some(UnixSeconds(1)), ..Filter::default() }, 100, 0),
    ] {
        let found = query::newest(&stage.log(), &filter, limit).unwrap();
        assert_eq!(found.len(), want, "{filter:?} {limit}");
    }
    let last = query::newest(&stage.log(), &resource("/a/client-1"), 1).unwrap();
    assert_eq!(last[0]["detail"]["jti"], "token-7", "the newest are kept");
}

#[tokio::test]
async fn a_log_that_is_taken_away_blocks_or_is_counted_and_works_again_once_it_is_back() {
    for on_failure in [OnAuditFailure::Block, OnAuditFailure::Count] {
        let stage = Stage::new();
        let (audit, writer) = stage.start(on_failure).unwrap();
        audit.record(event(0)).await.unwrap();
        stage.eventually("the first line", |stage| stage.series("gateway_audit_events_written_total") > 0.5).await;
        let away = stage.directory.path().join("away");
        fs::rename(stage.log(), &away).unwrap();
        let blocked = on_failure == OnAuditFailure::Block;
        let want = if blocked { Err(NotRecorded) } else { Ok(()) };
        assert_eq!(audit.record(event(1)).await, want);
        stage.eventually("the failure is told", |stage| stage.series("gateway_audit_failing") > 0.5).await;
        assert_eq!((audit.ready(), audit.note(event(2))), (want, want));
        stage.eventually("both are counted", |stage| stage.series("gateway_audit_events_dropped_total") > 1.5).await;
        fs::rename(&away, stage.log()).unwrap();
        stage.eventually("it works again", |stage| stage.series("gateway_audit_failing") < 0.5).await;
        assert_eq!((audit.ready(), audit.record(event(3)).await), (Ok(()), Ok(())));
        writer.finish(SOON);
        let report = stage.verify();
        assert_eq!(report.fault, None, "{on_failure:?}");
        let resumed = Filter { act: Some("log.resumed".to_owned()), ..Filter::default() };
        let told = query::newest(&stage.log(), &resumed, 10).unwrap();
        assert_eq!(told.len(), 1);
    }
}

#[tokio::test]
async fn a_full_disk_keeps_what_was_acknowledged() {
    let stage = Stage::new();
    stage.with(0..2).await;
    let path = stage.log().join("audit.jsonl");
    let kept = stage.directory.path().join("kept");
    let (audit, writer) = stage.start(OnAuditFailure::Block).unwrap();
    audit.record(event(2)).await.unwrap();
    // The device that is always full stands where the file was.
    fs::rename(&path, &kept).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    assert_eq!(audit.record(event(3)).await, Err(NotRecorded));
    assert_eq!(audit.ready(), Err(NotRecorded));
    fs::rename(&kept, &path).unwrap();
    stage.eventually("it works again", |_| audit.ready().is_ok()).await;
    audit.record(event(4)).await.unwrap();
    writer.finish(SOON);
    assert_eq!(stage.fault(), None);
    let issued = Filter { act: Some("limited_access_token.issue".to_owned()), ..Filter::default() };
    let found = query::newest(&stage.log(), &issued, 10).unwrap();
    let found: Vec<&str> = found.iter().map(|line| line["detail"]["jti"].as_str().unwrap()).collect();
    assert_eq!(found, ["token-0", "token-1", "token-2", "token-4"]);
}

#[tokio::test]
async fn nothing_is_cut_off_a_file_that_comes_back_in_the_place_of_a_new_one() {
    let stage = Stage::new();
    let (audit, writer) = stage.start(OnAuditFailure::Block).unwrap();
    audit.record(event(0)).await.unwrap();
    let path = stage.log().join("audit.jsonl");
    let kept = stage.directory.path().join("kept");
    fs::rename(&path, &kept).unwrap();
    audit.record(event(1)).await.unwrap();
    let before = fs::read(&kept).unwrap();
    fs::rename(&kept, &path).unwrap();
    audit.record(event(2)).await.unwrap();
    writer.finish(SOON);
    assert!(fs::read(&path).unwrap().starts_with(&before));
    assert!(
        matches!(stage.fault(), Some((_, 3, Wrong::Order { want: 3, found: 4 }))),
        "what the other file had is lost"
    );
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_fatal_only_where_it_blocks() {
    let stage = Stage::new();
    fs::write(stage.log(), "a file stands where the directory should be").unwrap();
    assert!(matches!(stage.start(OnAuditFailure::Block), Err(AuditError::File { .. })));
    let (audit, writer) = stage.start(OnAuditFailure::Count).unwrap();
    audit.record(event(0)).await.unwrap();
    stage.eventually("it is counted", |stage| stage.series("gateway_audit_events_dropped_total") > 0.5).await;
    fs::remove_file(stage.log()).unwrap();
    stage.eventually("it is opened after all", |stage| stage.series("gateway_audit_failing") < 0.5).await;
    writer.finish(SOON);
    assert_eq!(stage.fault(), None);
}

#[tokio::test]
async fn a_log_has_one_writer_one_key_and_an_end_that_can_be_read() {
    let stage = Stage::new();
    let (_audit, writer) = stage.start(OnAuditFailure::Block).unwrap();
    assert!(matches!(stage.start(OnAuditFailure::Block), Err(AuditError::InUse(_))));
    writer.finish(SOON);
    let key = stage.log().join("audit.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(stage.start(OnAuditFailure::Block), Err(AuditError::TooOpen { .. })));
    fs::remove_file(&key).unwrap();
    assert!(matches!(stage.start(OnAuditFailure::Block), Err(AuditError::OtherKey(_))), "the old key was lost");
    let stage = Stage::new();
    stage.with(0..1).await;
    edit(&stage.log().join("audit.jsonl"), |lines| lines.push("no line of ours".to_owned()));
    assert!(matches!(stage.start(OnAuditFailure::Block), Err(AuditError::Unreadable(_))));
}

#[tokio::test]
async fn a_directory_that_others_may_write_holds_no_log() {
    for (mode, fits) in [(0o700, true), (0o755, true), (0o775, false), (0o777, false), (0o1777, false)] {
        let stage = Stage::new();
        fs::create_dir_all(stage.log()).unwrap();
        fs::set_permissions(stage.log(), fs::Permissions::from_mode(mode)).unwrap();
        match stage.start(OnAuditFailure::Block) {
            Ok((_audit, writer)) => {
                assert!(fits, "{mode:o}");
                writer.finish(SOON);
            }
            Err(error) => assert!(!fits && matches!(error, AuditError::DirectoryTooOpen { .. }), "{mode:o}: {error}"),
        }
    }
}

#[tokio::test]
async fn of_a_flood_of_denials_a_few_are_lines_and_the_rest_is_counted_in_one() {
    let stage = Stage::new();
    let (audit, writer) = stage.start(OnAuditFailure::Block).unwrap();
    for number in 0..20_000 {
        audit.deny(|| Event { act: Act::Denied, ..event(number) });
    }
    audit.record(event(1)).await.unwrap();
    // The second ends, and the line comes.
    let lines = |act: &str| {
        let filter = Filter { act: Some(act.to_owned()), ..Filter::default() };
        query::newest(&stage.log(), &filter, 20_000).unwrap()
    };
    let told =
        || lines("log.denials_left_out").iter().map(|line| line["detail"]["denials"].as_u64().unwrap()).sum::<u64>();
    let deadline = tokio::time::Instant::now() + SOON;
    while told() + lines("request.denied").len() as u64 != 20_000 {
        assert!(tokio::time::Instant::now() < deadline, "{} left out", told());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(lines("request.denied").len() <= 100, "a few seconds at most");
    writer.finish(SOON);
    assert_eq!(stage.fault(), None);
}

#[tokio::test]
async fn a_flood_of_denials_leaves_room_for_what_others_wait_for() {
    let stage = Stage::new();
    let (audit, writer) = stage.start(OnAuditFailure::Block).unwrap();
    for number in 0..20_000 {
        audit.tell(|| Event { act: Act::Denied, ..event(number) });
        if number % 1000 == 0 {
            assert_eq!(audit.note(event(number)), Ok(()), "{number}");
        }
    }
    audit.record(event(1)).await.unwrap();
    writer.finish(SOON);
    let (written, dropped) =
        (stage.series("gateway_audit_events_written_total"), stage.series("gateway_audit_events_dropped_total"));
    assert!((written + dropped - 20_021.0).abs() < 0.1, "{written} and {dropped}");
    assert_eq!(stage.fault(), None);
}
