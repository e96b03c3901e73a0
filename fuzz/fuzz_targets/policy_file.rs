//! The text of a policy file, ours or a provider's: read and linted, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sysdig_scc::attest::policy::Policy;
use sysdig_scc::attest::policy::lint::lint;

fuzz_target!(|text: &str| {
    if let Ok(policy) = Policy::read(text, "fuzz") {
        assert!(!policy.audiences.is_empty());
        lint(&policy);
        policy.explain(&serde_json::json!({"sub": "me"}));
    }
});
