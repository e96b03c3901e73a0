//! Token text: whatever it is, it is taken apart or refused, and nothing unsigned is verified.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sysdig_scc::attest::chain::Roots;
use sysdig_scc::attest::keys::KeySet;
use sysdig_scc::attest::policy::Policy;
use sysdig_scc::attest::reason::LIMIT;
use sysdig_scc::attest::token::take_apart;
use sysdig_scc::attest::verify::{Trust, verify};

/// A key whose private half nobody has any more.
const KEYS: &str = concat!(
    r#"{"keys":[{"kty":"RSA","alg":"RS256","use":"sig","kid":"k","e":"AQAB","n":""#,
    "tRIlCM3tXe2Yhbq1Z68HkW0CmQclHHhKY5dBan6foMnoVKIz5e7CR3nLAeQYtzZUsiH-lhJTCYp8z3Y0Rz_9gB9GvfQLh80OPB0J2VM3br9FOjbelgk89p9yi013X8Pgjr1BTOp62McN5zU1R9t_wUUJdhZaaBq6Yprt4-X6B6oPJLsU1GgJxUjeZyl_mUZ1pW5XzrkSSMUUcc2pLZHwLTTVB5E4rriTrOhUyJkK_drxkwvUS4I1-WZCjDXVipu-a4xoMzCz7MfRfO9zmPxzShB8gO0TluVtGufawZ9ghRyU4Sb2XQuSRPTYUpB6NKtph_c_EsVqkVezEeJlTUz5vw",
    r#""}]}"#
);
const POLICY: &str = "audiences: [a]\ntokens: [oidc, pki]\ncondition: assertion.t\n";

static TRUST: LazyLock<(KeySet, Roots, Policy)> = LazyLock::new(|| {
    let keys = KeySet::read(KEYS.as_bytes()).expect("a constant");
    (keys, Roots::default(), Policy::read(POLICY, "fuzz").expect("a constant"))
});

fuzz_target!(|text: &str| {
    if let Ok(parts) = take_apart(text) {
        assert!(text.len() <= LIMIT);
        assert!(!parts.signature.is_empty());
    }
    let (keys, roots, policy) = &*TRUST;
    assert!(verify(text, policy, Trust { keys: Some(keys), roots }, 1_790_000_000).is_err());
});
