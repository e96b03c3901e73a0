//! Expression text: whatever it is, it is compiled or refused, and evaluated within its budget.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sysdig_scc::attest::policy::{Condition, Mapped};

fuzz_target!(|text: &str| {
    if let Ok(condition) = Condition::compile(text) {
        let claims = serde_json::json!({"s": "abc", "l": [1, 2], "m": {"a": null}, "t": true});
        condition.explain(&claims, &Mapped::default());
    }
});
