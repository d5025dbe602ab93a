//! Mounted files that are swapped, and that come broken, while traffic runs (R26): keys, a certificate, the configuration.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustls_pki_types::CertificateDer;

use super::stage::Stage;
use super::stage::refuses;
use super::stage::status;
use crate::changes::listeners::connect;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::free_address;
use crate::support::gateway::scratch;
use crate::support::kubelet::Put;
use crate::support::kubelet::Volume;
use crate::support::load::Caller;
use crate::support::load::Held;
use crate::support::load::Kind;
use crate::support::load::Load;
use crate::support::summary;

/// Root reads what nobody may read, unless it has given that up.
const WITHOUT_CAPABILITIES: [&str; 2] = ["setpriv", "--bounding-set=-all"];

/// What is mounted in each volume, and good.
struct Mounted {
    keys: [String; 2],
    certificate: [String; 2],
    der: CertificateDer<'static>,
    configuration: String,
}

impl Mounted {
    fn certify(&mut self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.certificate = [made.cert.pem(), made.signing_key.serialize_pem()];
        self.der = made.cert.der().clone();
    }

    fn first() -> Self {
        let mut mounted = Self {
            keys: [0, 1].map(key),
            certificate: Default::default(),
            der: CertificateDer::from(Vec::new()),
            configuration: String::new(),
        };
        mounted.certify();
        mounted
    }

    fn files(&self, volume: &str) -> Vec<(&'static str, &str)> {
        match volume {
            "keys" => vec![("primary", &self.keys[0]), ("secondary", &self.keys[1])],
            "tls" => vec![("tls.crt", &self.certificate[0]), ("tls.key", &self.certificate[1])],
            "." => vec![("gateway.yaml", &self.configuration)],
            other => panic!("{other} is not mounted"),
        }
    }
}

fn key(version: usize) -> String {
    format!("key-number-{version:03}-of-the-service")
}

fn more(tls: SocketAddr) -> String {
    format!(
        "  m: {{match: [{{prefix: /m}}], upstream: http1, auth: {{key: {{keys: {{directory: $DIR/keys}}}}}}}}
access_log: off
listeners:
  traffic: [{{address: $TRAFFIC}}, {{address: '{tls}', tls: {{certificate: $DIR/tls/tls.crt, private_key: $DIR/tls/tls.key}}}}]
  management: {{address: $MANAGEMENT}}
  health: {{address: $HEALTH}}
"
    )
}

fn is_successful(gateway: &Gateway) -> bool {
    gateway.metric("gateway_config_last_reload_successful") > 0.5
}

fn complaints(gateway: &Gateway) -> usize {
    gateway.log().iter().filter(|line| line["level"] == "WARN" || line["level"] == "ERROR").count()
}

/// Everything that is good is in force.
fn assert_in_force(gateway: &Gateway, tls: SocketAddr, mounted: &Mounted, what: &str) {
    for key in &mounted.keys {
        assert_eq!(status(gateway, "m", key), 200, "{what}: {key}");
    }
    assert!(connect(tls, &mounted.der).is_some(), "{what}: the certificate");
}

#[test]
fn mounted_files_are_swapped_or_broken_under_load_and_nobody_is_disturbed() {
    let directory = scratch();
    let at = |volume: &str| directory.path().join(volume);
    let mut mounted = Mounted::first();
    let mut volumes = ["keys", "tls", "."].map(|volume| (volume, Volume::mount(at(volume), &mounted.files(volume))));
    let tls = free_address();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let program: &[&str] = if is_root { &WITHOUT_CAPABILITIES } else { &[] };
    let stage = Stage::start_under(program, directory, &more(tls));
    let gateway = &stage.gateway;
    mounted.configuration = fs::read_to_string(gateway.config()).unwrap();
    let held = Held::new(&mounted.keys[0]);
    let of_mounted =
        Caller { kind: Kind::Http1, at: gateway.traffic(), path: "/m/score".to_owned(), key: held.clone() };
    let loads = [stage.load(), Load::start([(4, of_mounted)])];
    loads[0].go_on(100);

    let mut faults = 0;
    for (volume, mount) in &mut volumes {
        for (what, put) in bad(volume) {
            break_one(gateway, &mounted, volume, mount, what, put);
            assert_in_force(gateway, tls, &mounted, what);
            mount.swap(&mounted.files(volume));
            mended(gateway, what);
            faults += 1;
        }
    }
    for round in 1..=3 {
        swap_all(gateway, &mut mounted, &mut volumes, &held, round, tls);
        faults += 4;
    }
    half_written(gateway, &mounted);
    assert_in_force(gateway, tls, &mounted, "a file that was written in two halves");

    for (suite, load) in ["faults/files", "faults/files"].into_iter().zip(loads) {
        load.go_on(50);
        let seen = load.finish();
        seen.assert_undisturbed();
        summary::report(suite, seen.counts(std::mem::take(&mut faults)));
    }
    assert!(gateway.metric("gateway_panics_total") < 0.5);
}

/// What may stand in the place of the first file of a volume, and is to be refused.
fn bad(volume: &str) -> Vec<(&'static str, Put<'static>)> {
    let text = match volume {
        "keys" => "short",
        "tls" => "-----BEGIN CERTIFICATE-----\nMIIB",
        _ => "listeners: [",
    };
    vec![
        ("a broken file", Put::Text(text)),
        ("an empty file", Put::Text("")),
        ("bytes that are no text", Put::Text("\u{0}\u{fffd}\u{0}")),
        ("a directory", Put::Directory),
        ("a file that may not be read", Put::Unreadable("")),
        ("no file", Put::Nothing),
    ]
}

fn break_one(gateway: &Gateway, mounted: &Mounted, volume: &str, mount: &mut Volume, what: &str, put: Put<'_>) {
    let (generation, before) = (gateway.generation(), complaints(gateway));
    let good = mounted.files(volume);
    // What may not be read is good otherwise.
    let put = if let Put::Unreadable(_) = put { Put::Unreadable(good[0].1) } else { put };
    let mut files: Vec<(&str, Put<'_>)> = good.iter().map(|(file, text)| (*file, Put::Text(text))).collect();
    files[0].1 = put;
    // A volume without one of the keys is one whose owner wants a single key.
    if matches!(put, Put::Nothing) {
        files.iter_mut().for_each(|(_, file)| *file = put);
    }
    mount.swap_with(&files);
    eventually(&format!("{volume}: {what} is counted"), || (!is_successful(gateway)).then_some(()));
    eventually(&format!("{volume}: {what} is logged"), || (complaints(gateway) > before).then_some(()));
    if volume == "." {
        assert!((gateway.generation() - generation).abs() < 0.5, "{what} brought a new generation");
    }
}

fn mended(gateway: &Gateway, what: &str) {
    eventually(&format!("after {what} all is well again"), || is_successful(gateway).then_some(()));
}

fn swap_all(
    gateway: &Gateway,
    mounted: &mut Mounted,
    volumes: &mut [(&str, Volume); 3],
    held: &Held,
    round: usize,
    tls: SocketAddr,
) {
    // One slot after the other: callers show the key of the slot that stays.
    for slot in [1, 0] {
        held.switch(&mounted.keys[1 - slot]);
        let new = key(2 * round + slot);
        let old = std::mem::replace(&mut mounted.keys[slot], new);
        volumes[0].1.swap(&mounted.files("keys"));
        eventually("the old key is refused", || refuses(status(gateway, "m", &old)).then_some(()));
        assert_eq!(status(gateway, "m", &mounted.keys[slot]), 200);
    }
    let old = mounted.der.clone();
    mounted.certify();
    volumes[1].1.swap(&mounted.files("tls"));
    eventually("the new certificate is served", || connect(tls, &mounted.der));
    assert!(connect(tls, &old).is_none(), "the old certificate is not served any longer");
    let service =
        format!("  n{round}: {{match: [{{prefix: /n{round}}}], upstream: http1, auth: {{public: a test}}}}\n");
    mounted.configuration = mounted.configuration.replacen("services:\n", &format!("services:\n{service}"), 1);
    volumes[2].1.swap(&mounted.files("."));
    let added = format!("n{round}");
    eventually("the new service answers", || (status(gateway, &added, "") == 200).then_some(()));
}

/// Somebody who writes slowly, in place: the first half does not count.
fn half_written(gateway: &Gateway, mounted: &Mounted) {
    // Through the links of the volume, into the file that they lead to.
    let path = gateway.directory().join("gateway.yaml");
    let text = mounted.configuration.replacen("n1: {", "n1: {max_body: 1MiB, ", 1);
    let middle = text.find("auth: {key").unwrap() + 7;
    write_slowly(&path, &text, middle, || {
        eventually("the half is refused", || (!is_successful(gateway)).then_some(()));
    });
    mended(gateway, "the other half");
}

fn write_slowly(path: &Path, text: &str, middle: usize, meanwhile: impl FnOnce()) {
    let (first, second) = text.split_at(middle);
    fs::write(path, first).unwrap();
    meanwhile();
    // The gateway's polling must not see the rest by chance only.
    thread::sleep(Duration::from_millis(100));
    fs::write(path, [first, second].concat()).unwrap();
}
