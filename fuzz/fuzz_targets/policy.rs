//! Expression text: whatever it is, it is compiled or refused, evaluated within its budget, and explained as it is
//! judged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sysdig_scc::attest::policy::{Answer, Condition, Mapped};

fuzz_target!(|text: &str| {
    if let Ok(condition) = Condition::compile(text) {
        let claims = serde_json::json!({"s": "abc", "l": [1, 2], "m": {"a": null}, "t": true, "d": 1.5});
        let (answer, explained) =
            (condition.ask(&claims, &Mapped::default()), condition.explain(&claims, &Mapped::default()));
        assert_eq!(answer == Answer::True, explained.allowed);
        for term in &explained.terms {
            assert!(text.contains(&term.source), "a term is not of the text: {}", term.source);
        }
    }
});
