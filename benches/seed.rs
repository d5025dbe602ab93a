//! What the comparison of benches/peers begins with: a store of many accounts, and many tokens of one issuer.
//!
//! `seed store DIRECTORY ACCOUNTS` makes a store with its master key. The primary key of the account `a7` is
//! `a7-primary-0123456789abcdefghijklmnop`. `seed tokens DIRECTORY ALGORITHM COUNT` writes an issuer's key set, its key
//! pair, and tokens, a line each. Without arguments both are made small, and looked at.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::fs;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use scoregate::config::SigningAlgorithm;
use scoregate::model::digest::Digest;
use scoregate::model::name::Name;
use scoregate::model::resource::ResourceId;
use scoregate::model::slot::Slot;
use scoregate::model::time::UnixSeconds;
use scoregate::store::embedded::Embedded;
use scoregate::store::engine::Batch;
use scoregate::store::engine::Engine as _;
use scoregate::store::engine::Expectation;
use scoregate::store::master_key;
use scoregate::store::record_key::Owner;
use scoregate::store::record_key::RecordKey;
use scoregate::store::records::AccountRecord;
use scoregate::store::records::KeyDigestRecord;
use scoregate::store::records::SlotRecord;
use scoregate::store::records::SlotsRecord;
use scoregate::store::records::encode;
use scoregate::store::seal::MasterKey;
use scoregate::store::seal::Place;
use scoregate::store::seal::Sealer;
use scoregate::tokens::signing::SigningKey;
use serde_json::json;

/// Accounts of one commit.
const TOGETHER: usize = 5_000;

/// How long a token of the issuer lives.
const LIFETIME_SECONDS: u64 = 3_000;

fn main() {
    scoregate::tokens::install_crypto_provider();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["store", directory, accounts] => store(Path::new(directory), accounts.parse().expect("a number")),
        ["tokens", directory, algorithm, count] => {
            tokens(Path::new(directory), algorithm, count.parse().expect("a number"));
        }
        _ => itself(),
    }
}

fn itself() {
    let directory = tempfile::tempdir().expect("a directory");
    store(&directory.path().join("store"), 10);
    tokens(directory.path(), "ES256", 10);
    let written = fs::read_to_string(directory.path().join("tokens")).expect("tokens");
    assert_eq!(written.lines().count(), 10);
}

fn store(directory: &Path, accounts: usize) {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).expect("a directory");
    let master = master_key::create_own(&directory.join(master_key::FILE)).expect("a master key");
    let sealer = Sealer::new(MasterKey::new(&master).expect("a master key"), Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let engine = Embedded::open(directory).await.expect("a store");
        for first in (0..accounts).step_by(TOGETHER) {
            let some = first..accounts.min(first + TOGETHER);
            let batch = some.fold(Batch::new(), |batch, number| account(batch, number, &sealer));
            engine.commit(batch).await.expect("a commit");
        }
        engine.close().await;
    });
}

fn account(batch: Batch, number: usize, sealer: &Sealer) -> Batch {
    let name = Name::parse(&format!("a{number}")).expect("a name");
    let resource = format!("/subscriptions/s/resourceGroups/bench/providers/p/accounts/a{number}");
    let resource = ResourceId::parse(&resource).expect("a resource");
    let created = UnixSeconds::now();
    let account = AccountRecord { resource, approvals: Vec::new(), may_issue: Vec::new(), created };
    let owner = Owner::Account(name.clone());
    let slots = RecordKey::Slots(owner.clone()).to_string();
    let record = |slot: Slot| {
        let key = format!("a{number}-{slot}-0123456789abcdefghijklmnop");
        let place = Place { record: &slots, field: slot.as_str() };
        let sealed = sealer.seal(place, key.as_bytes()).expect("a sealed key");
        SlotRecord { digest: Digest::of(key.as_bytes()), sealed, created, expires: None, retiring: None }
    };
    let both = SlotsRecord { primary: record(Slot::Primary), secondary: record(Slot::Secondary) };
    let claims = [both.primary.digest, both.secondary.digest].map(|digest| RecordKey::KeyDigest(digest).to_string());
    let claim = encode(&KeyDigestRecord { owner: owner.to_string() }).expect("a record");
    let put = |batch: Batch, key: String, value| batch.put(key, value, Expectation::Absent);
    let batch = put(batch, RecordKey::Account(name).to_string(), encode(&account).expect("a record"));
    let batch = put(batch, slots.clone(), encode(&both).expect("a record"));
    claims.into_iter().fold(batch, |batch, key| put(batch, key, claim.clone()))
}

fn tokens(directory: &Path, algorithm: &str, count: usize) {
    let algorithm = match algorithm {
        "RS256" => SigningAlgorithm::Rs256,
        _ => SigningAlgorithm::Es256,
    };
    let key = SigningKey::generate(algorithm).expect("a key");
    let set = json!({ "keys": [key.public_jwk()] });
    fs::write(directory.join("jwks.json"), set.to_string()).expect("a key set");
    fs::write(directory.join("signer.der"), key.pkcs8().expose()).expect("a key pair");
    let now = UnixSeconds::now();
    let token = |number: usize| {
        let claims = json!({
            "iss": "bench", "aud": "svc", "sub": format!("caller-{number}"), "iat": now.0, "exp": now.0 + LIFETIME_SECONDS,
        });
        key.sign("JWT", &claims).expect("a token").expose().clone() + "\n"
    };
    fs::write(directory.join("tokens"), (0..count).map(token).collect::<String>()).expect("tokens");
}
