//! Google's tokens with every claim that they are known to have, in all combinations of the forms in which they were seen:
//! what is an error of kinds on each, such as a list compared with a number, is one on every token.

use serde_json::{Value as Json, json};

use super::Mapping;
use super::fault::{fault, undecided};
use super::mapping::Mapped;
use super::strangers;
use super::wish::Wish;
use crate::attest::cel::node::Node;
use crate::attest::cel::{Budget, EvalError, Scope, Value};

/// The tokens with what a policy maps of them.
pub(super) struct Samples {
    tokens: Vec<(Json, Mapped)>,
}

impl Samples {
    pub(super) fn of(mapping: &Mapping) -> Self {
        let mapped = |claims: Json| {
            let mapped = mapping.apply(&claims).unwrap_or_default();
            (claims, mapped)
        };
        Self { tokens: tokens().into_iter().map(mapped).collect() }
    }

    /// Why a term is an error for every token, if its claims' kinds alone make it one.
    pub(super) fn fault_of_term(&self, term: &Node) -> Option<String> {
        self.faulty(term, |value| matches!(value, Value::Bool(_)))
    }

    /// The same of an expression that may have any value.
    pub(super) fn fault_of_value(&self, node: &Node) -> Option<String> {
        self.faulty(node, |_| true)
    }

    fn faulty(&self, node: &Node, fits: impl Fn(&Value<'_>) -> bool) -> Option<String> {
        for (claims, mapped) in &self.tokens {
            match node.evaluate_alone(scope(claims, mapped), &mut Budget::default())? {
                Ok(value) if fits(&value) => return None,
                Err(error) if !is_of_kinds(&error) => return None,
                _ => {}
            }
        }
        let (claims, mapped) = self.tokens.first()?;
        Some(told(node, scope(claims, mapped)))
    }
}

fn scope<'a>(claims: &'a Json, mapped: &'a Mapped) -> Scope<'a> {
    Scope { assertion: claims, google: &mapped.google, attribute: &mapped.attribute }
}

/// What is wrong with a term that is an error on these claims.
pub(super) fn told(term: &Node, scope: Scope<'_>) -> String {
    let mut budget = Budget::default();
    let mut wish = Wish { scope, budget: &mut budget, values: false };
    fault(term, &mut wish)
        .or_else(|| undecided(term, &mut wish))
        .unwrap_or_else(|| "its parts are of kinds that do not fit".to_owned())
}

/// Whether it is so whatever the values are. How a number in the claims is typed is not documented, so that sums of
/// numbers of two types may have a value elsewhere.
fn is_of_kinds(error: &EvalError) -> bool {
    match error {
        EvalError::Overload { operation, kinds } => {
            let number = |kind: &str| matches!(kind, "int" | "uint" | "double");
            !(["+", "-", "*", "/", "%"].contains(&operation.trim()) && kinds.split(" and ").all(number))
        }
        _ => false,
    }
}

fn tokens() -> Vec<Json> {
    let tcb = |date: &str| json!({"gcp_attester_tcb_status": "UpToDate", "gcp_attester_tcb_date": date});
    // One nonce is a text, several are a list; tdx is documented as a list, and was seen as a map too. Each of these is
    // as it is whatever the others are: a term may fit one form of each, and be true.
    let nonces = [json!("zq-nonce-1"), json!(["zq-nonce-1", "zq-nonce-2"])];
    let modules = [tcb("2026-03-13T00:00:00Z"), json!([tcb("2024-11-07T12:30:45Z")])];
    let audiences = [json!("https://zzq.example"), json!(["https://zzq.example"])];
    let mut tokens = vec![token()];
    for (claim, forms) in [("eat_nonce", nonces), ("tdx", modules), ("aud", audiences)] {
        let of_each = |token: Json| {
            forms.clone().map(|form| {
                let mut token = token.clone();
                token[claim] = form;
                token
            })
        };
        tokens = tokens.into_iter().flat_map(of_each).collect();
    }
    tokens
}

/// The claims that have one form.
fn token() -> Json {
    let mut token = strangers::ordinary();
    token["eat_profile"] = json!("https://zzq.example/token-claims");
    token["hwmodel"] = json!("GCP_INTEL_TDX");
    token["attester_tcb"] = json!(["INTEL"]);
    token["submods"]["container"]["cmd_override"] = json!(["--zq"]);
    token["submods"]["container"]["env_override"] = json!({"ZQ": "zq"});
    token["submods"]["nvidia_gpu"] = json!({
        "cc_mode": "ON", "cc_feature": "SPT",
        "gpus": [{
            "hwmodel": "GCP_NVIDIA_H100", "driver_version": "590.48.01", "vbios_version": "96.00.CF.00.01",
            "ueid": "907", "l4_serial_number": "907",
        }],
    });
    token
}
