//! Tokens of strangers: of other people's projects, images and software, and of debug images. A term that is true of
//! them too asks for nothing, whatever it names.

use serde_json::{Value as Json, json};

use super::Mapping;
use super::mapping::Mapped;
use crate::attest::cel::node::Node;
use crate::attest::cel::{Budget, Scope, Value};

/// The strangers' tokens with what a policy maps of them.
pub(super) struct Strangers {
    tokens: [(Json, Mapped); 3],
    /// For all that is looked at in one policy.
    budget: Budget,
}

impl Strangers {
    pub(super) fn of(mapping: &Mapping) -> Self {
        // Names that nothing is likely to ask for, before and behind others in order.
        let low = ("CONFIDENTIAL_SPACE", "aaq-1", '0', Json::Null);
        let high = ("CONFIDENTIAL_SPACE", "zzq-9", 'f', json!(["EXPERIMENTAL"]));
        let other = ("ANOTHER_SOFTWARE", "zzq-9", 'f', json!([]));
        let tokens = [low, high, other].map(|(software, project, digit, support)| {
            let claims = token(software, project, &digit.to_string().repeat(64), support);
            let mapped = mapping.apply(&claims).unwrap_or_default();
            (claims, mapped)
        });
        Self { tokens, budget: Budget::default() }
    }

    /// What a term says of each; of the last one no known software vouches.
    pub(super) fn asked(&mut self, term: &Node) -> [Option<bool>; 3] {
        let Self { tokens, budget } = self;
        tokens.each_ref().map(|(claims, mapped)| {
            let scope = Scope { assertion: claims, google: &mapped.google, attribute: &mapped.attribute };
            match term.evaluate_alone(scope, budget) {
                Some(Ok(Value::Bool(value))) => Some(value),
                _ => None,
            }
        })
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
