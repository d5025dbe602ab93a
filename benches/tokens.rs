//! What does a token cost that was never seen, one that is remembered, and how does that grow?

#![expect(clippy::expect_used, clippy::unreachable, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use scoregate::config::{Auth, Config, SigningAlgorithm};
use scoregate::model::name::Name;
use scoregate::model::time::UnixSeconds;
use scoregate::tokens::cache::VerifiedCache;
use scoregate::tokens::issuer::TrustedIssuer;
use scoregate::tokens::jwks::KeySet;
use scoregate::tokens::signing::SigningKey;
use scoregate::tokens::verify::{ServiceVerifier, VerifiedToken};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

const CONFIG: &str = "
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
issuers: {bench: {issuer: bench, keys: {url: 'https://bench.example/jwks'}, algorithms: [RS256, ES256, EdDSA]}}
upstreams: {model: {endpoints: ['http://127.0.0.1:9']}}
services: {iris: {upstream: model, auth: {token: {issuers: [bench], audiences: [iris]}}}}
";

struct Issuer {
    key: SigningKey,
    verifier: ServiceVerifier,
}

impl Issuer {
    fn new(algorithm: SigningAlgorithm) -> Self {
        let key = SigningKey::generate(algorithm).expect("a key");
        let set = serde_json::json!({ "keys": [key.public_jwk()] }).to_string();
        let set = KeySet::parse(set.as_bytes()).expect("a key set");
        let config = Config::read(CONFIG).expect("a configuration");
        let name = Name::parse("bench").expect("a name");
        let trusted = TrustedIssuer::foreign(config.issuers.get(&name).expect("an issuer"), Some(Arc::new(set)));
        let service = config.services.values().next().expect("a service");
        let Auth::Token(auth) = &service.auth else { unreachable!("the service is called with tokens") };
        Self { key, verifier: ServiceVerifier::new(vec![Arc::new(trusted)], auth) }
    }

    fn token(&self, number: usize) -> String {
        let claims = serde_json::json!({
            "iss": "bench", "aud": "iris", "sub": format!("caller-{number}"), "iat": NOW.0, "exp": NOW.0 + 600,
        });
        self.key.sign("JWT", &claims).expect("a token").expose().to_owned()
    }

    fn verify(&self, token: &str) -> Arc<VerifiedToken> {
        self.verifier.verify(token, NOW).map_err(|_rejected| "rejected").expect("a good token")
    }
}

fn tokens(c: &mut Criterion) {
    scoregate::tokens::install_crypto_provider();
    let mut group = c.benchmark_group("tokens");
    for algorithm in [SigningAlgorithm::Rs256, SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
        let issuer = Issuer::new(algorithm);
        let token = issuer.token(0);
        group.bench_function(BenchmarkId::new("never seen", format!("{algorithm:?}")), |b| {
            b.iter(|| issuer.verify(black_box(&token)));
        });
        let broken = format!("{}A", token.split_at(token.len() - 1).0);
        group.bench_function(BenchmarkId::new("broken", format!("{algorithm:?}")), |b| {
            b.iter(|| issuer.verifier.verify(black_box(&broken), NOW).is_err());
        });
    }
    let issuer = Issuer::new(SigningAlgorithm::Es256);
    for remembered in [1, 1_000, 4_000] {
        let mut cache = VerifiedCache::new(VerifiedCache::<VerifiedToken>::DEFAULT_ENTRIES);
        let tokens: Vec<String> = (0..remembered).map(|number| issuer.token(number)).collect();
        for token in &tokens {
            let verified =
                cache.find_or_verify(token, issuer.verifier.epoch(), NOW, || issuer.verifier.verify(token, NOW));
            verified.map_err(|_rejected| "rejected").expect("a good token");
        }
        let mut presented = tokens.iter().cycle();
        group.bench_function(BenchmarkId::new("remembered", remembered), |b| {
            b.iter(|| {
                let token = presented.next().expect("a cycle has no end");
                cache.find_or_verify(token, issuer.verifier.epoch(), NOW, || Err::<_, ()>(())).is_ok()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = tokens
}
criterion_main!(benches);
