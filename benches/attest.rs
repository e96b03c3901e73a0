//! How fast a token is verified and a policy asked, on one core: the signature alone, the whole token, the policy, and
//! both. OpenSSL's own RSA-2048 verification, which is the limit, is printed beside them where `openssl` is there.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, unreachable_pub, dead_code)]

#[path = "../tests/it/attest_issuer.rs"]
mod attest_issuer;

use std::hint::black_box;

use attest_issuer::{KEY, SPACE, claims, jwks};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use sysdig_scc::attest::cel::Budget;
use sysdig_scc::attest::chain::Roots;
use sysdig_scc::attest::keys::KeySet;
use sysdig_scc::attest::policy::Policy;
use sysdig_scc::attest::verify::{Trust, judge, verify};

const NOW: i64 = 1_790_000_000;

/// The policy of Google's documentation, for the fixture's image and account.
const POLICY: &str = include_str!("../tests/data/attestation/benched-policy.yaml");

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
    println!("openssl speed rsa2048: {}", openssl());
    criterion.bench_function("signature", |b| b.iter(|| black_box(key.verifies(message.as_bytes(), &signature))));
    criterion.bench_function("verify", |b| b.iter(|| black_box(verify(&token, &policy, trust, NOW).unwrap())));
    criterion
        .bench_function("policy", |b| b.iter(|| judge(black_box(&verified), &policy, &mut Budget::default()).unwrap()));
    criterion.bench_function("verify_and_policy", |b| {
        b.iter(|| {
            judge(&verify(black_box(&token), &policy, trust, NOW).unwrap(), &policy, &mut Budget::default()).unwrap()
        })
    });
    criterion.bench_function("explanation", |b| b.iter(|| black_box(policy.explain(&verified.claims))));
}

/// What `openssl speed` says of one core, or why it says nothing.
fn openssl() -> String {
    let ran = std::process::Command::new("openssl").args(["speed", "-seconds", "1", "rsa2048"]).output();
    let Ok(output) = ran else { return "the command openssl is not there".to_owned() };
    let text = String::from_utf8_lossy(&output.stdout);
    // The last columns are signatures and verifications a second; newer ones print two more for encryption.
    let columns = |line: &str| line.split_whitespace().filter_map(|word| word.parse::<f64>().ok()).collect::<Vec<_>>();
    let rates = text.lines().find(|line| line.starts_with("rsa")).map(columns);
    match rates.as_deref() {
        Some([_, sign, verify, ..]) if *verify > *sign => format!("{verify:.0} verifications/s"),
        _ => text.lines().rfind(|line| line.starts_with("rsa")).unwrap_or("no figure").to_owned(),
    }
}

criterion_group!(benches, attest);
criterion_main!(benches);
