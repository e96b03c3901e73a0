//! Token text: whatever it is, it is taken apart or refused, and nothing unsigned is verified.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sysdig_scc::attest::token::take_apart;

fuzz_target!(|text: &str| {
    if let Ok(parts) = take_apart(text) {
        assert!(text.len() <= sysdig_scc::attest::token::LIMIT);
        assert!(!parts.signature.is_empty());
    }
});
