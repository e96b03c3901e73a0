//! Claims of any form: read as serde reads them or refused, explained without showing what is secret; and the entry of
//! a log with them keeps no token.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sysdig_scc::attest::policy::{Condition, Mapped};
use sysdig_scc::attest::{gotpm, json, token};

static CONDITION: LazyLock<Condition> = LazyLock::new(|| {
    let text = "assertion.a == assertion.b || assertion.env.size() > 1 && assertion.l.all(x, x in assertion.m) \
                || assertion.s.matches('^a+b?$') || int(assertion.n) > 1 || assertion.tokens == ''";
    Condition::compile(text).expect("a constant")
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(claims) = json::read(bytes, json::DEPTH) else { return };
    assert_eq!(serde_json::from_slice::<serde_json::Value>(bytes).expect("serde is less strict"), claims);
    let explained = CONDITION.explain(&claims, &Mapped::default());
    for value in explained.terms.iter().filter_map(|term| term.values.get("assertion.tokens")) {
        assert!(value == "***" || !(value.is_string() || value.is_number()), "{value}");
    }
    let entry = serde_json::json!({"logName": "projects/p/logs/gotpm", "jsonPayload": claims});
    let kept = gotpm::redact(&entry).to_string();
    assert_eq!(token::cut(&kept), kept, "a token is kept");
});
