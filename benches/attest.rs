//! How fast a token is verified and a policy asked, on one core. The limit is OpenSSL's own RSA-2048 verification:
//! `openssl speed -seconds 2 rsa2048` prints it.
#![allow(missing_docs, clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "../tests/it/attest_issuer.rs"]
mod attest_issuer;

use std::hint::black_box;

use attest_issuer::{KEY, SPACE, claims, jwks};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use sysdig_scc::attest::chain::Roots;
use sysdig_scc::attest::keys::KeySet;
use sysdig_scc::attest::policy::Policy;
use sysdig_scc::attest::verify::{Trust, judge, verify};

const NOW: i64 = 1_790_000_000;

/// The policy of Google's documentation, for the fixture's image and account.
const POLICY: &str = "audiences: ['https://secrets.example.org']
condition: |
  assertion.submods.container.image_digest == 'sha256:1111111111111111111111111111111111111111111111111111111111111111'
  && 'score@acme-data.iam.gserviceaccount.com' in assertion.google_service_accounts
  && assertion.swname == 'CONFIDENTIAL_SPACE'
  && 'STABLE' in assertion.submods.confidential_space.support_attributes
";

fn attest(criterion: &mut Criterion) {
    let policy = Policy::read(POLICY, "bench").unwrap();
    let keys = KeySet::read(jwks(&[&KEY]).as_bytes()).unwrap();
    let roots = Roots::default();
    let token = KEY.token(&claims(SPACE, NOW, json!({})));
    let trust = Trust { keys: Some(&keys), roots: &roots };
    let verified = verify(&token, &policy, trust, NOW).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature).unwrap();
    let key = keys.find(&KEY.kid).unwrap();
    criterion.bench_function("rsa_2048_verify", |b| b.iter(|| black_box(key.verifies(message.as_bytes(), &signature))));
    criterion.bench_function("verify", |b| b.iter(|| black_box(verify(&token, &policy, trust, NOW).unwrap())));
    criterion.bench_function("policy", |b| b.iter(|| judge(black_box(&verified), &policy).unwrap()));
    criterion.bench_function("verify_and_policy", |b| {
        b.iter(|| judge(&verify(black_box(&token), &policy, trust, NOW).unwrap(), &policy).unwrap())
    });
    criterion.bench_function("explain", |b| b.iter(|| black_box(policy.explain(&verified.claims))));
}

criterion_group!(benches, attest);
criterion_main!(benches);
