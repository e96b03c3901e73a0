//! Tokens of strangers: of other people's projects, images and software, and of debug images. A term that is true of
//! them too asks for nothing, whatever it names.

mod alike;

use serde_json::{Value as Json, json};

use super::Mapping;
use super::mapping::Mapped;
use crate::attest::cel::node::{Node, Variable};
use crate::attest::cel::{Budget, Scope, Value};

/// The strangers' tokens with what a policy maps of them.
pub(super) struct Strangers<'m> {
    mapping: &'m Mapping,
    tokens: [(Json, Mapped); 5],
}

/// What a term says of strangers; nothing, where it has no answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said {
    /// Of a debug image's, whose names come before others in order.
    pub(super) debug: Option<bool>,
    /// Of one whose names come behind others in order.
    pub(super) last: Option<bool>,
    /// Of software that nobody vouches for.
    pub(super) software: Option<bool>,
    /// Of a production image's.
    pub(super) production: Option<bool>,
    /// Of a plain VM's.
    pub(super) vm: Option<bool>,
}

impl<'m> Strangers<'m> {
    pub(super) fn of(mapping: &'m Mapping) -> Self {
        // Names that nothing is likely to ask for, before and behind others in order.
        let stable = json!(["LATEST", "STABLE", "USABLE"]);
        let debug = token("CONFIDENTIAL_SPACE", "aaq-1", &"0".repeat(64), Json::Null);
        let last = token("CONFIDENTIAL_SPACE", "zzq-9", &"f".repeat(64), json!(["EXPERIMENTAL"]));
        let software = token("ANOTHER_SOFTWARE", "zzq-9", &"f".repeat(64), json!([]));
        let mut production = token("CONFIDENTIAL_SPACE", "aaq-1", &"0".repeat(64), stable);
        production["dbgstat"] = json!("disabled-since-boot");
        let mut vm = token("GCE", "aaq-1", "", Json::Null);
        vm["submods"] = json!({"gce": vm["submods"]["gce"]});
        if let Some(claims) = vm.as_object_mut() {
            claims.remove("dbgstat");
            claims.remove("swversion");
        }
        let tokens = [debug, last, software, production, vm].map(|claims| {
            let mapped = mapping.apply(&claims).unwrap_or_default();
            (claims, mapped)
        });
        Self { mapping, tokens }
    }

    /// What a term says of each.
    pub(super) fn asked(&self, term: &Node) -> Said {
        let [debug, last, software, production, vm] =
            self.tokens.each_ref().map(|(claims, mapped)| says(term, claims, mapped, &mut Budget::default()));
        Said { debug, last, software, production, vm }
    }

    /// Whether a term is so of somebody whose names are like those that it asks for.
    pub(super) fn alike(&self, term: &Node, truth: bool) -> bool {
        let maps = term.claims().iter().any(|path| path.variable != Variable::Assertion);
        let mapping = Some(self.mapping).filter(|_| maps);
        let expressions = mapping.into_iter().flat_map(|mapping| mapping.entries().map(|(_, made)| made.root()));
        let nodes: Vec<&Node> = std::iter::once(term).chain(expressions).collect();
        let mut budget = Budget::default();
        alike::tokens(&nodes).into_iter().any(|claims| {
            let mapped = mapping.and_then(|mapping| mapping.apply_within(&claims, &mut budget).ok());
            // What took too long is no answer, and neither is what comes behind it.
            !budget.short && says(term, &claims, &mapped.unwrap_or_default(), &mut budget) == Some(truth)
        })
    }
}

fn says(term: &Node, claims: &Json, mapped: &Mapped, budget: &mut Budget) -> Option<bool> {
    let scope = Scope { assertion: claims, google: &mapped.google, attribute: &mapped.attribute };
    match term.evaluate_alone(scope, budget) {
        Some(Ok(Value::Bool(value))) => Some(value),
        _ => None,
    }
}

/// A token like any other.
pub(super) fn ordinary() -> Json {
    token("CONFIDENTIAL_SPACE", "aaq-1", &"0".repeat(64), json!(["LATEST", "STABLE", "USABLE"]))
}

fn token(software: &str, project: &str, hash: &str, support: Json) -> Json {
    let mut space = json!({"monitoring_enabled": {"memory": false}});
    if !support.is_null() {
        space["support_attributes"] = support;
    }
    json!({
        "iss": "https://confidentialcomputing.googleapis.com", "aud": "https://zzq.example",
        "iat": 1, "nbf": 1, "exp": 3601,
        "sub": format!("https://www.googleapis.com/compute/v1/projects/{project}/zones/zq-1/instances/zq-2"),
        "secboot": true, "oemid": 11129, "hwmodel": "GCP_AMD_SEV", "swname": software, "swversion": ["260800"],
        "dbgstat": "enabled", "google_service_accounts": [format!("zq@{project}.iam.gserviceaccount.com")],
        "submods": {
            "confidential_space": space,
            "container": {
                "image_reference": format!("zq.pkg.dev/{project}/zq/zq:latest"),
                "image_digest": format!("sha256:{hash}"), "image_id": format!("sha256:{hash}"),
                "restart_policy": "Never", "env": {"HOSTNAME": "zq-2"}, "args": ["/zq"],
                "image_signatures": [{"key_id": hash, "signature": "enE=", "signature_algorithm": "ECDSA_P256_SHA256"}],
            },
            "gce": {
                "zone": "zq-1", "project_id": project, "project_number": "907", "instance_name": "zq-2",
                "instance_id": "9070907",
            },
        },
    })
}
