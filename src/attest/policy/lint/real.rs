//! Conditions that are true of a real token, as public codelabs, examples and providers have them: none of them is called
//! impossible.

use serde_json::{Value as Json, json};

use super::*;
use crate::attest::policy::{Condition, Mapped};

/// Of 2026, on a production image with a GPU; of 2023; and of a debug image with overrides.
fn tokens() -> [Json; 4] {
    let digest = format!("sha256:{}", "1".repeat(64));
    let base = json!({
        "aud": "https://secrets.example.org", "exp": 1_790_003_600, "iat": 1_790_000_000, "nbf": 1_790_000_000,
        "iss": "https://confidentialcomputing.googleapis.com",
        "sub": "https://www.googleapis.com/compute/v1/projects/acme-data/zones/europe-west4-a/instances/job-7",
        "eat_nonce": "2ip1f6phCaDVZ9VW7fxxyaEV",
        "eat_profile": "https://cloud.google.com/confidential-computing/confidential-space/docs/reference/token-claims",
        "secboot": true, "oemid": 11129, "hwmodel": "GCP_INTEL_TDX", "swname": "CONFIDENTIAL_SPACE", "swversion": ["260800"],
        "dbgstat": "disabled-since-boot", "attester_tcb": ["INTEL"],
        "tdx": {"gcp_attester_tcb_status": "UpToDate", "gcp_attester_tcb_date": "2026-03-13T00:00:00Z"},
        "google_service_accounts": ["score@acme-data.iam.gserviceaccount.com"],
        "submods": {
            "confidential_space": {
                "support_attributes": ["LATEST", "STABLE", "USABLE"], "monitoring_enabled": {"memory": false},
            },
            "container": {
                "image_reference": format!("europe-docker.pkg.dev/acme-data/jobs/score@{digest}"), "image_digest": digest,
                "image_id": format!("sha256:{}", "2".repeat(64)), "restart_policy": "Never", "args": ["/app/score"],
                "env": {"HOSTNAME": "job-7", "PATH": "/usr/bin:/bin"},
                "image_signatures": [
                    {"key_id": "a".repeat(64), "signature": "eHg=", "signature_algorithm": "ECDSA_P256_SHA256"},
                ],
            },
            "gce": {
                "zone": "europe-west4-a", "project_id": "acme-data", "project_number": "123456789012",
                "instance_name": "job-7", "instance_id": "4455667788990011223",
            },
            "nvidia_gpu": {
                "cc_mode": "ON", "cc_feature": "SPT",
                "gpus": [{
                    "hwmodel": "GCP_NVIDIA_H100", "driver_version": "570.86.15", "vbios_version": "96.00.A5.00.01",
                    "ueid": "1", "l4_serial_number": "2",
                }],
            },
        },
        "https://aws.amazon.com/tags": {"principal_tags": {
            "container.image_digest": ["sha256:1"], "confidential_space.support_attributes": ["LATEST=STABLE=USABLE"],
        }},
    });
    let mut listed = base.clone();
    listed["tdx"] = json!([base["tdx"]]);
    let mut old = base.clone();
    old["swversion"] = json!(["1"]);
    old["submods"]["container"]["cmd_override"] = Json::Null;
    old["submods"]["container"]["env_override"] = Json::Null;
    old["submods"].as_object_mut().unwrap().remove("confidential_space");
    old.as_object_mut().unwrap().remove("eat_profile");
    let mut debug = base.clone();
    debug["dbgstat"] = json!("enabled");
    debug["eat_nonce"] = json!(["aaaaaaaa", "bbbbbbbb"]);
    debug["submods"]["confidential_space"].as_object_mut().unwrap().remove("support_attributes");
    debug["submods"]["container"]["env_override"] = json!({"A-B": "x", "MODE": "y"});
    debug["submods"]["container"]["cmd_override"] = json!(["--x"]);
    [base, listed, old, debug]
}

const TRUE: [&str; 73] = [
    r#"assertion.submods.nvidia_gpu.gpus[0].hwmodel == "GCP_NVIDIA_H100""#,
    "assertion.submods.nvidia_gpu.gpus.all(g, g.vbios_version in ['96.00.A5.00.01'])",
    r#"assertion.submods.container.env == {"HOSTNAME": "job-7", "PATH": "/usr/bin:/bin"}"#,
    r#"assertion.submods.container.env["HOSTNAME"] == 'job-7'"#,
    "['ECDSA_P256_SHA256:KEY'].exists(f, f in assertion.submods.container.image_signatures.map(s, s.signature_algorithm+':'+s.key_id))",
    "assertion.submods.container.image_signatures.exists_one(s, s.key_id.startsWith('a'))",
    "[].all(a, a in assertion.submods.confidential_space.support_attributes)",
    "['STABLE','LATEST'].all(a, a in assertion.submods.confidential_space.support_attributes)",
    "assertion.submods.container.cmd_override == null",
    "has(assertion.submods.container.cmd_override) && assertion.submods.container.cmd_override != null",
    "!has(assertion.submods.container.env_override.example)",
    "'A-B' in assertion.submods.container.env_override",
    "assertion.submods.container.env_override.all(k, k in ['MODE','A-B'])",
    r#"assertion["https://aws.amazon.com/tags"].principal_tags["container.image_digest"][0] == 'sha256:1'"#,
    r#"assertion["https://aws.amazon.com/tags"]["principal_tags"]["confidential_space.support_attributes"].exists(s, s.contains('STABLE'))"#,
    "int(assertion.swversion[0]) >= 250800",
    "assertion.swversion[0] >= '250800'",
    "assertion.eat_nonce == 'x' || 'aaaaaaaa' in assertion.eat_nonce",
    "'aaaaaaaa' in assertion.eat_nonce",
    "type(assertion.eat_nonce) == string",
    "timestamp(assertion.tdx.gcp_attester_tcb_date) > timestamp('2024-01-01T00:00:00Z')",
    "timestamp(assertion.exp) - timestamp(assertion.iat) == duration('3600s')",
    "timestamp(assertion.iat) < timestamp('2030-01-01T00:00:00Z')",
    "assertion.submods.confidential_space.monitoring_enabled == {'memory': false}",
    "!assertion.submods.confidential_space.monitoring_enabled.memory",
    "assertion.secboot == true && assertion.oemid == 11129 && assertion.oemid == 11129.0 && assertion.oemid == 11129u",
    "assertion.oemid in [11129u, 5.0]",
    "assertion.oemid in {11129: 1}",
    "{11129u: true}[assertion.oemid]",
    "assertion.exp > 1.5 && assertion.exp > 1u",
    "dyn(assertion.exp) - 3600 == assertion.iat",
    "assertion.exp / 2 * 2 <= assertion.exp",
    "string(assertion.oemid) == '11129'",
    "assertion.submods.gce.zone.matches('^europe-') && matches(assertion.submods.gce.zone, 'west4')",
    "assertion.sub.matches('projects/acme-data/')",
    "assertion.submods.gce.project_id in ['acme-data','b']",
    "assertion.submods.container.restart_policy != 'Always'",
    "has(assertion.submods.confidential_space) ? 'STABLE' in assertion.submods.confidential_space.support_attributes : assertion.swversion[0] == '1'",
    "assertion.google_service_accounts.exists(e, e.endsWith('@acme-data.iam.gserviceaccount.com'))",
    "assertion.google_service_accounts == ['score@acme-data.iam.gserviceaccount.com']",
    "assertion.google_service_accounts[0] < 'z'",
    "size(assertion.submods) > 3 && size(assertion.submods.gce) == 5",
    "assertion.attester_tcb + ['X'] == ['INTEL','X']",
    "assertion.hwmodel < 'GCP_INTEL_TDY' && assertion.hwmodel > 'GCP'",
    "assertion.submods.gce.all(k, k != 'x')",
    "assertion.submods.gce.exists(k, assertion.submods.gce[k] == 'acme-data')",
    "assertion.submods.container.args[1-1] == '/app/score'",
    "assertion.submods.container.args[0.0] == '/app/score'",
    "assertion.submods.container.args[0u] == '/app/score'",
    "size(assertion.submods.container.image_digest) == 71",
    "bytes(assertion.hwmodel) == b'GCP_INTEL_TDX'",
    "!(assertion.dbgstat in ['enabled'])",
    "assertion.submods.container.env_override == null || size(assertion.submods.container.env_override) == 0",
    "has(assertion.eat_profile) && assertion.eat_profile.endsWith('token-claims')",
    "timestamp(assertion.iat).getFullYear() > 2000",
    "assertion == assertion",
    "null in [assertion.submods.container.cmd_override]",
    "assertion.submods.container.cmd_override.size() == 1",
    "assertion.submods.container.env_override.exists(x, true)",
    "'STABLE' in assertion.submods.confidential_space.support_attributes",
    "assertion.tdx[0].gcp_attester_tcb_status == 'UpToDate'",
    "int(assertion.tdx.gcp_attester_tcb_date.extract('{y}-')) >= 2026",
    "assertion.submods.nvidia_gpu.gpus.exists(gpu, gpu.hwmodel == 'GCP_NVIDIA_H100')",
    "assertion.submods.nvidia_gpu.gpus[0].driver_version.startsWith('570.') && has(assertion.submods.nvidia_gpu.gpus[0].ueid)",
    "assertion.submods.nvidia_gpu.gpus[0].l4_serial_number == '2'",
    "'score@acme-data.iam.gserviceaccount.com' in assertion.google_service_accounts && assertion.swname == 'CONFIDENTIAL_SPACE'",
    "assertion.submods.container.image_digest == 'sha256:1111111111111111111111111111111111111111111111111111111111111111'",
    "size(assertion.attester_tcb) == 1 && assertion.attester_tcb[0] == 'INTEL' && assertion.swversion[0] in ['260800']",
    "assertion.submods.container.image_reference.startsWith('europe-docker.pkg.dev/acme-data/')",
    "int(assertion.submods.gce.project_number) > 0 && assertion.submods.gce.instance_id != ''",
    "assertion.aud == 'https://secrets.example.org' && assertion.nbf == assertion.iat",
    "assertion.eat_nonce.all(n, size(n) > 5 && assertion.tdx.gcp_attester_tcb_status == 'UpToDate')",
    "assertion.tdx.exists(t, t.gcp_attester_tcb_status == 'UpToDate' && assertion.eat_nonce.startsWith('2ip1'))",
];

#[test]
fn what_is_true_of_a_real_token_is_not_called_impossible() {
    let tokens = tokens();
    for condition in TRUE.map(|condition| condition.replace("KEY", &"a".repeat(64))) {
        let compiled = Condition::compile(&condition).unwrap();
        let so = tokens.iter().any(|claims| compiled.explain(claims, &Mapped::default()).allowed);
        assert!(so, "{condition} is true of none of the tokens");
        let condition = format!("assertion.secboot && ({condition})");
        let text = json!({"audiences": ["https://secrets.example.org"], "condition": condition}).to_string();
        let found = lint(&Policy::read(&text, "p").unwrap());
        let errors: Vec<_> = found.iter().filter(|remark| remark.level == Level::Error).collect();
        assert!(errors.is_empty(), "{condition}: {errors:?}");
    }
}
