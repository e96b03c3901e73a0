//! Tokens and what is made of them: every trap closed, and the policies' samples.

use aws_lc_rs::rsa::KeySize;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use sysdig_scc::attest::cel::Budget;
use sysdig_scc::attest::chain::Roots;
use sysdig_scc::attest::keys::KeySet;
use sysdig_scc::attest::outcome::{Decided, Flood, Forged, Told, events, opened};
use sysdig_scc::attest::policy::lint::lint;
use sysdig_scc::attest::policy::{Explanation, Policy};
use sysdig_scc::attest::reason::Reason;
use sysdig_scc::attest::verify::{self, Trust, Verified, verify};
use sysdig_scc::event::attestation::{Attestation, Category};

use crate::attest_issuer::{
    Chain, ChainShape, ISSUER, KEY, NEXT, SPACE, Signer, VM, attesting, base64url, claims, jwks,
};

const NOW: i64 = 1_790_000_000;

fn policy(extra: &str) -> Policy {
    let text = format!("audiences: ['https://secrets.example.org']\ncondition: \"assertion.secboot\"\n{extra}");
    Policy::read(&text, "test").unwrap()
}

fn check(token: &str, policy: &Policy, now: i64) -> Result<Verified, Reason> {
    let keys = KeySet::read(jwks(&[&KEY]).as_bytes()).unwrap();
    verify(token, policy, Trust { keys: Some(&keys), roots: &Roots::default() }, now)
}

fn code(result: Result<Verified, Reason>) -> &'static str {
    result.map_or_else(|reason| reason.code(), |_| "good")
}

fn judge(verified: &Verified, policy: &Policy) -> Result<(), Reason> {
    verify::judge(verified, policy, &mut Budget::default())
}

fn explain(verified: &Verified, policy: &Policy) -> Explanation {
    verify::explain(verified, policy, &mut Budget::default()).1
}

#[test]
fn a_good_token_is_verified_and_agrees_with_another_library() {
    let token = KEY.token(&claims(SPACE, NOW, json!({})));
    let verified = check(&token, &policy(""), NOW + 5).unwrap();
    assert_eq!(verified.claims["submods"]["gce"]["project_id"], "acme-data");
    let (n, e) = KEY.components();
    let key = jsonwebtoken::DecodingKey::from_rsa_raw_components(&n, &e);
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    rules.validate_exp = false;
    rules.set_audience(&["https://secrets.example.org"]);
    rules.set_issuer(&[ISSUER]);
    let theirs = jsonwebtoken::decode::<serde_json::Value>(&token, &key, &rules).unwrap();
    assert_eq!(theirs.claims, verified.claims);
}

#[test]
fn every_trap_of_claims_is_closed() {
    let cases = [
        ("aud", json!("(absent)"), "claims_malformed"),
        ("aud", json!(5), "claims_malformed"),
        ("aud", json!([]), "claims_malformed"),
        ("aud", json!(["https://secrets.example.org", 5]), "claims_malformed"),
        ("aud", json!(["other", "https://secrets.example.org"]), "good"),
        ("aud", json!("https://sts.googleapis.com"), "audience_not_accepted"),
        ("aud", json!("https://secrets.example.org/"), "audience_not_accepted"),
        ("iss", json!("(absent)"), "claims_malformed"),
        ("iss", json!([ISSUER]), "claims_malformed"),
        ("iss", json!(7), "claims_malformed"),
        ("iss", json!(format!("{ISSUER}/")), "issuer_not_accepted"),
        ("sub", json!("(absent)"), "claims_malformed"),
        ("exp", json!("(absent)"), "claims_malformed"),
        ("exp", json!("1790003600"), "claims_malformed"),
        ("exp", json!(-1), "claims_malformed"),
        ("exp", json!(1e30), "claims_malformed"),
        ("exp", json!(1_790_003_600.5), "claims_malformed"),
        ("exp", json!(NOW - 40), "token_expired"),
        ("exp", json!(NOW - 10), "claims_malformed"),
        ("exp", json!(NOW + 315_360_000), "lifetime_not_accepted"),
        ("nbf", json!("(absent)"), "claims_malformed"),
        ("nbf", json!(NOW + 3600), "token_not_yet_valid"),
        ("nbf", json!(NOW + 20), "good"),
        ("iat", json!("(absent)"), "claims_malformed"),
        ("iat", json!(NOW + 86_400), "token_not_yet_valid"),
    ];
    for (name, value, expected) in cases {
        let token = KEY.token(&claims(SPACE, NOW, json!({ name: value.clone() })));
        assert_eq!(code(check(&token, &policy(""), NOW)), expected, "{name} = {value}");
    }
    let old = KEY.token(&claims(SPACE, NOW, json!({})));
    assert_eq!(code(check(&old, &policy("max_age_seconds: 300"), NOW + 400)), "token_too_old");
    assert_eq!(code(check(&old, &policy(""), NOW + 3629)), "good");
    assert_eq!(code(check(&old, &policy(""), NOW + 3630)), "token_expired");
}

#[test]
fn every_trap_of_headers_and_encoding_is_closed() {
    let body = claims(SPACE, NOW, json!({})).to_string();
    let header = |text: &str| KEY.token_of(text, &body);
    let kid = &KEY.kid;
    let good = header(&format!(r#"{{"alg":"RS256","typ":"JWT","kid":"{kid}"}}"#));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let cases = [
        (good.clone(), "good"),
        (String::new(), "token_missing"),
        ("x".repeat(40_000), "token_too_large"),
        ("a.b".into(), "token_malformed"),
        (format!("{good}.x"), "token_malformed"),
        (format!("{good}="), "token_malformed"),
        (format!("{good}\n"), "token_malformed"),
        (format!("{signed}."), "token_malformed"),
        (format!("{signed}.{}", base64url([1, 2, 3])), "signature_invalid"),
        (format!("{signed}.{}", base64url(KEY.sign(b"other"))), "signature_invalid"),
        (format!("{signed}.{}", &signature[..signature.len() - 2]), "signature_invalid"),
        (header(&format!(r#"{{"alg":"none","kid":"{kid}"}}"#)), "algorithm_not_accepted"),
        (header(&format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#)), "algorithm_not_accepted"),
        (header(&format!(r#"{{"alg":"PS256","kid":"{kid}"}}"#)), "algorithm_not_accepted"),
        (header(&format!(r#"{{"alg":"RS512","kid":"{kid}"}}"#)), "algorithm_not_accepted"),
        (header(&format!(r#"{{"alg":"rs256","kid":"{kid}"}}"#)), "algorithm_not_accepted"),
        (header(&format!(r#"{{"alg":["RS256"],"kid":"{kid}"}}"#)), "token_malformed"),
        (header(&format!(r#"{{"alg":"RS256","alg":"none","kid":"{kid}"}}"#)), "token_malformed"),
        (header(&format!(r#"{{"alg":"RS256","kid":"{kid}","crit":["exp"]}}"#)), "header_not_understood"),
        (header(&format!(r#"{{"alg":"RS256","kid":"{kid}","b64":false}}"#)), "header_not_understood"),
        (header(&format!(r#"{{"alg":"RS256","kid":"{kid}","typ":"JOSE"}}"#)), "token_malformed"),
        (header(&format!(r#"{{"alg":"RS256","kid":"{kid}","jku":"https://evil.example","jwk":{{}}}}"#)), "good"),
        (header(r#"{"alg":"RS256","kid":5}"#), "token_malformed"),
        (header(r#"{"alg":"RS256"}"#), "key_missing"),
        (header(r#"{"alg":"RS256","kid":"unknown"}"#), "key_unknown"),
        (header(r#"["RS256"]"#), "token_malformed"),
        (header(&format!(r#"{{"alg":"RS256","kid":"{kid}","x5c":["AA==","AA=="]}}"#)), "kind_not_accepted"),
        (KEY.token_of(&format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#), r#"{"iss":"a","iss":"b"}"#), "claims_malformed"),
        (
            KEY.token_of(
                &format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#),
                &format!("{}{}", "[".repeat(9000), "]".repeat(9000)),
            ),
            "claims_malformed",
        ),
        (KEY.token_of(&format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#), "[]"), "claims_malformed"),
    ];
    for (token, expected) in cases {
        assert_eq!(code(check(&token, &policy(""), NOW)), expected, "{}", &token[..token.len().min(80)]);
    }
    let bytes = good.as_bytes();
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_ne!(code(check(&changed, &policy(""), NOW)), "good", "changed at {at}");
    }
}

#[test]
fn small_and_odd_keys_are_not_used() {
    let mut odd = KEY.jwk();
    odd["e"] = json!("Aw");
    let mut encryption = KEY.jwk();
    encryption["use"] = json!("enc");
    let mut other = KEY.jwk();
    other["alg"] = json!("RS512");
    let mut signing = KEY.jwk();
    signing["key_ops"] = json!(["sign"]);
    let mut misread = KEY.jwk();
    misread["key_ops"] = json!("verify");
    let mut short = KEY.jwk();
    let (n, _) = KEY.components();
    short["n"] = json!(base64url(&n[..128]));
    let hmac = json!({"kty": "oct", "kid": "a", "k": "AAAA"});
    let token = KEY.token(&claims(SPACE, NOW, json!({})));
    for key in [odd, encryption, other, signing, misread, short] {
        assert!(KeySet::read(json!({"keys": [key]}).to_string().as_bytes()).is_err(), "{key}");
        let beside = KeySet::read(json!({"keys": [key, NEXT.jwk()]}).to_string().as_bytes()).unwrap();
        let roots = Roots::default();
        let verified = verify(&token, &policy(""), Trust { keys: Some(&beside), roots: &roots }, NOW);
        assert_eq!(code(verified), "key_unsuitable", "published, and for something else: {key}");
    }
    assert!(KeySet::read(json!({"keys": [hmac]}).to_string().as_bytes()).is_err());
    let twice = KeySet::read(jwks(&[&KEY, &KEY]).as_bytes()).unwrap_err().to_string();
    assert_eq!(twice, format!("two keys of the key set have the same kid: {:?}", KEY.kid));
    let mut verifying = KEY.jwk();
    verifying["key_ops"] = json!(["sign", "verify"]);
    assert!(KeySet::read(json!({"keys": [verifying]}).to_string().as_bytes()).is_ok());
    assert_eq!(KeySet::read(json!({"keys": [{"kty": "XX"}, KEY.jwk()]}).to_string().as_bytes()).unwrap().len(), 1);
}

#[test]
fn a_chain_leads_to_the_pinned_root_or_nowhere() {
    let leaf = Signer::new(KeySize::Rsa2048, "leaf");
    let pki = policy("tokens: [pki]");
    let body = claims(SPACE, NOW, json!({}));
    let try_chain = |shape: &ChainShape, pin: Option<&str>, policy: &Policy| {
        let chain = Chain::new(&leaf, NOW, shape);
        let roots = Roots::fingerprint(pin.unwrap_or(&chain.root_hex())).unwrap();
        code(verify(&chain.token(&leaf, &body), policy, Trust { keys: None, roots: &roots }, NOW))
    };
    let shape = ChainShape::default();
    assert_eq!(try_chain(&shape, None, &pki), "good");
    assert_eq!(try_chain(&shape, None, &policy("")), "kind_not_accepted");
    assert_eq!(try_chain(&shape, Some(sysdig_scc::attest::chain::GOOGLE_ROOT), &pki), "chain_not_accepted");
    assert_eq!(try_chain(&ChainShape { leaf_days: (-60, -1), ..ChainShape::default() }, None, &pki), "chain_expired");
    assert_eq!(try_chain(&ChainShape { leaf_days: (2, 60), ..ChainShape::default() }, None, &pki), "chain_expired");
    assert_eq!(
        try_chain(&ChainShape { leaf_is_authority: true, ..ChainShape::default() }, None, &pki),
        "chain_not_accepted"
    );
    assert_eq!(
        try_chain(&ChainShape { wrong_intermediate: true, ..ChainShape::default() }, None, &pki),
        "chain_not_accepted"
    );
    // Name constraints, which are not looked at, and what nobody knows.
    for (number, critical, expected) in
        [(30, true, "chain_not_accepted"), (30, false, "good"), (99, true, "chain_not_accepted"), (99, false, "good")]
    {
        let extension = Some((number, critical));
        assert_eq!(
            try_chain(&ChainShape { extension, ..ChainShape::default() }, None, &pki),
            expected,
            "{extension:?}"
        );
    }
    // Whoever says what a key is for limits it to that.
    for (purposes, expected) in [
        ([None, None], "good"),
        ([Some(attesting()), Some(attesting())], "good"),
        ([None, Some(ExtendedKeyUsagePurpose::Any)], "good"),
        ([None, Some(ExtendedKeyUsagePurpose::ServerAuth)], "chain_not_accepted"),
        ([Some(ExtendedKeyUsagePurpose::CodeSigning), Some(attesting())], "chain_not_accepted"),
    ] {
        let shape = ChainShape { purposes, ..ChainShape::default() };
        assert_eq!(try_chain(&shape, None, &pki), expected, "{:?}", shape.purposes);
    }
    // Another key than the leaf's, under the leaf's chain.
    let chain = Chain::new(&leaf, NOW, &shape);
    let roots = Roots::fingerprint(&chain.root_hex()).unwrap();
    let trust = Trust { keys: None, roots: &roots };
    let stolen = NEXT.token_of(&json!({"alg": "RS256", "x5c": chain.x5c()}).to_string(), &body.to_string());
    assert_eq!(code(verify(&stolen, &pki, trust, NOW)), "signature_invalid");
    let renamed = leaf
        .token_of(&json!({"alg": "RS256", "kid": "x".repeat(43), "x5c": chain.x5c()}).to_string(), &body.to_string());
    assert_eq!(code(verify(&renamed, &pki, trust, NOW)), "chain_not_accepted");
    let cut = leaf
        .token_of(&json!({"alg": "RS256", "x5c": [&chain.x5c()[0], &chain.x5c()[2]]}).to_string(), &body.to_string());
    assert_eq!(code(verify(&cut, &pki, trust, NOW)), "chain_not_accepted");
    assert!(Roots::certificates(&chain.ders[2]).unwrap() == roots);
}

fn sample(name: &str) -> Policy {
    let path = format!("{}/policies/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    Policy::read(&std::fs::read_to_string(path).unwrap(), name).unwrap()
}

#[test]
fn the_samples_decide_as_they_say() {
    let cases = [
        ("production-confidential-space", SPACE, json!({}), "good"),
        (
            "production-confidential-space",
            SPACE,
            json!({"submods.container.cmd_override": ["--debug"]}),
            "policy_denied",
        ),
        ("production-confidential-space", SPACE, json!({"submods.container.cmd_override": []}), "good"),
        (
            "production-confidential-space",
            SPACE,
            json!({"dbgstat": "enabled", "submods.confidential_space.support_attributes": "(absent)"}),
            "policy_denied",
        ),
        ("production-confidential-space", VM, json!({}), "family_not_accepted"),
        ("confidential-vm", VM, json!({}), "good"),
        ("confidential-vm", VM, json!({"submods.gce.project_id": "other"}), "policy_denied"),
        ("confidential-vm", SPACE, json!({}), "family_not_accepted"),
        ("deny-all", SPACE, json!({}), "policy_denied"),
    ];
    for (name, fixture, changes, expected) in cases {
        let policy = sample(name);
        let verified = check(&KEY.token(&claims(fixture, NOW, changes.clone())), &policy, NOW).unwrap();
        let result = judge(&verified, &policy).map_or_else(|reason| reason.code(), |()| "good");
        assert_eq!(result, expected, "{name} {changes}");
        assert_eq!(explain(&verified, &policy).allowed, expected == "good", "{name} {changes}");
    }
}

#[test]
fn a_provider_that_lets_nothing_pass_is_called_what_it_is() {
    let verified = check(&KEY.token(&claims(SPACE, NOW, json!({}))), &policy(""), NOW).unwrap();
    for (state, is) in [
        (json!({"disabled": true}), "the provider is switched off, so nothing passes"),
        (json!({"state": "DELETED"}), "the provider is deleted, so nothing passes"),
        (json!({"state": "DELETED", "disabled": true}), "the provider is deleted, so nothing passes"),
    ] {
        let oidc = json!({"issuerUri": ISSUER, "allowedAudiences": ["a"]});
        let mut provider = json!({"attributeCondition": "assertion.secboot", "oidc": oidc});
        provider.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
        let policy = Policy::read(&provider.to_string(), "p").unwrap();
        let reason = judge(&verified, &policy).unwrap_err();
        assert_eq!((reason.to_string().as_str(), reason.code(), reason.status()), (is, "policy_off", 403));
        assert_eq!(explain(&verified, &policy).error.as_deref(), Some(is));
        let remarks = lint(&policy);
        assert!(remarks.iter().any(|remark| remark.rule == "provider-off" && remark.message == is), "{remarks:?}");
        let now = chrono::DateTime::from_timestamp(NOW, 0).unwrap();
        let (refused, explanation, released) = (Some(&reason), None, None);
        let events = opened(Decided {
            verified: &verified,
            policy: &policy,
            attests: true,
            asked: &[],
            refused,
            explanation,
            released,
            now,
        });
        let told = events.iter().find(|event| event.category == Category::AttestationPolicyError).unwrap();
        assert_eq!(told.description, format!("The policy p denied this machine's token: {is}."));
        assert!(told.next_steps().contains("switched off or deleted"), "{}", told.next_steps());
        assert!(!told.next_steps().contains("has()"), "{}", told.next_steps());
    }
}

#[test]
fn a_policy_explained_is_asked_for_its_family_and_says_what_it_was_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(place("claims.json"), SPACE).unwrap();
    let explained = |policy: &str, more: &[&str]| {
        std::fs::write(place("p.yaml"), format!("audiences: [a]\n{policy}\n")).unwrap();
        let output = std::process::Command::new(crate::recovery::program())
            .args(["attest", "explain", "--claims", &place("claims.json"), "--policy", &place("p.yaml")])
            .args(more)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (space, vm) = (
        "family: confidential_space\ncondition: assertion.secboot",
        "family: confidential_vm\ncondition: assertion.secboot",
    );
    let family = "denied: the token is of another family than the policy accepts: swname is \"CONFIDENTIAL_SPACE\", \
                  eat_profile is \"https://cloud.google.com/";
    let note =
        "note: not asked here: signature, tokens, issuer, audiences, times; attest verify asks them of a token\n";
    let mapped = ["--mapping", "google.subject=assertion.sub"].as_slice();
    for more in [[].as_slice(), mapped] {
        let (code, text) = explained(space, more);
        assert!(code == Some(0) && text.starts_with("allowed\n") && text.ends_with(note), "{text}");
        let (code, text) = explained(vm, more);
        assert!(code == Some(1) && text.starts_with(family) && text.ends_with(note), "{text}");
    }
    let json = explained(vm, &["--format", "json"]).1;
    let begins = "{\"allowed\":false,\"error\":\"the token is of another family than the policy accepts: swname is ";
    let ends = ",\"not_asked\":[\"signature\",\"tokens\",\"issuer\",\"audiences\",\"times\"]}\n";
    assert!(json.starts_with(begins) && json.ends_with(ends), "{json}");
    let (code, text) = explained("condition: ''", &[]);
    assert!(code == Some(2) && !text.contains("note:"), "{text}");
}

fn told(verified: &Verified, policy: &Policy) -> Vec<(Category, bool)> {
    let reason = judge(verified, policy).err();
    let explanation = explain(verified, policy);
    let now = chrono::DateTime::from_timestamp(NOW, 0).unwrap();
    let refused = reason.as_ref();
    let all = events(Decided {
        verified,
        policy,
        attests: true,
        asked: &[],
        refused,
        explanation: Some(&explanation),
        released: None,
        now,
    });
    for event in &all {
        let text = serde_json::to_string(event).unwrap();
        assert!(
            !text.contains("Zm9vYmFyLW5vbmNl") && !text.contains("/usr/bin"),
            "neither nonce nor environment: {text}"
        );
    }
    all.into_iter().map(|event| (event.category, event.open)).collect()
}

#[test]
fn verdicts_open_and_close_findings_of_the_machine() {
    let production = sample("production-confidential-space");
    let verified = |changes| check(&KEY.token(&claims(SPACE, NOW, changes)), &production, NOW).unwrap();
    let good = told(&verified(json!({})), &production);
    assert!(good.iter().all(|(category, open)| !open && category.closes_itself()), "{good:?}");
    let debug = told(&verified(json!({"dbgstat": "enabled"})), &production);
    assert!(debug.contains(&(Category::AttestationDebugImage, true)));
    assert!(debug.contains(&(Category::AttestationPolicyDenied, true)));
    let cases = [
        (json!({"submods.container.image_digest": "sha256:22"}), Category::AttestationImageMismatch),
        (json!({"submods.confidential_space.support_attributes": ["USABLE"]}), Category::AttestationUnsupportedImage),
        (json!({"hwmodel": "GCP_SHIELDED_VM"}), Category::AttestationWeakHardware),
        (json!({"tdx": {"gcp_attester_tcb_status": "OutOfDate"}}), Category::AttestationTcbOutOfDate),
        (
            json!({"tdx": [{"gcp_attester_tcb_status": "UpToDate", "gcp_attester_tcb_date": "2020-01-01T00:00:00Z"}]}),
            Category::AttestationTcbOutOfDate,
        ),
        (
            json!({"tdx": {"gcp_attester_tcb_status": "UpToDate", "gcp_attester_tcb_date": "yesterday"}}),
            Category::AttestationTcbOutOfDate,
        ),
        (
            json!({"tdx": [
                {"gcp_attester_tcb_status": "UpToDate", "gcp_attester_tcb_date": "2026-09-01T00:00:00Z"},
                {"gcp_attester_tcb_status": "Revoked"},
            ]}),
            Category::AttestationTcbOutOfDate,
        ),
        (json!({"hwmodel": "GCP_INTEL_TDX"}), Category::AttestationTcbOutOfDate),
        (
            json!({"hwmodel": "GCP_INTEL_TDX", "tdx": {"gcp_attester_tcb_status": "UpToDate"}}),
            Category::AttestationTcbOutOfDate,
        ),
        (
            json!({"hwmodel": "GCP_INTEL_TDX", "tdx":
                {"gcp_attester_tcb_status": null, "gcp_attester_tcb_date": "2026-09-01T00:00:00Z"}}),
            Category::AttestationTcbOutOfDate,
        ),
        (json!({"dbgstat": "enable"}), Category::AttestationDebugImage),
        (json!({"submods.confidential_space.monitoring_enabled": true}), Category::AttestationWorkloadOverridden),
        (
            json!({"submods.confidential_space.monitoring_enabled": {"memory": true}}),
            Category::AttestationWorkloadOverridden,
        ),
        (json!({"submods.confidential_space.support_attributes": []}), Category::AttestationUnsupportedImage),
        (json!({"submods.confidential_space.support_attributes": "(absent)"}), Category::AttestationUnsupportedImage),
        (json!({"submods.confidential_space": "(absent)"}), Category::AttestationUnsupportedImage),
        (json!({"submods.container.env_override": {"MODE": "x"}}), Category::AttestationWorkloadOverridden),
        (json!({"submods.gce.instance_name": "other"}), Category::AttestationClaimsInconsistent),
        (json!({"google_service_accounts": "(absent)"}), Category::AttestationPolicyError),
    ];
    for (changes, category) in cases {
        assert!(told(&verified(changes.clone()), &production).contains(&(category, true)), "{changes}");
    }
    let current = json!({"gcp_attester_tcb_status": "UpToDate", "gcp_attester_tcb_date": "2026-09-01T00:00:00Z"});
    let current = json!({"hwmodel": "GCP_INTEL_TDX", "attester_tcb": ["INTEL"], "tdx": current});
    assert!(!told(&verified(current), &production).contains(&(Category::AttestationTcbOutOfDate, true)));
    let unsupported = (Category::AttestationUnsupportedImage, true);
    let debug = json!({"dbgstat": "enabled", "submods.confidential_space.support_attributes": "(absent)"});
    assert!(!told(&verified(debug), &production).contains(&unsupported), "debug images have no attributes");
    let vm = check(&KEY.token(&claims(VM, NOW, json!({}))), &production, NOW).unwrap();
    assert!(!told(&vm, &production).contains(&unsupported));
    let intel = |issuer: &str, status: &str, google: Json| {
        let policy =
            format!("audiences: [a]\nissuer: {issuer}\nfamily: confidential_space\ncondition: assertion.secboot");
        let policy = Policy::read(&policy, "intel").unwrap();
        let mut tdx = json!({"attester_tcb_status": status, "attester_tcb_date": "2026-09-01T00:00:00Z"});
        tdx.as_object_mut().unwrap().extend(google.as_object().unwrap().clone());
        let token = claims(
            SPACE,
            NOW,
            json!({
                "iss": issuer, "aud": "a", "hwmodel": "INTEL_TDX", "attester_tcb": ["INTEL"], "tdx": tdx,
                "eat_profile": "https://portal.trustauthority.intel.com/eat_profile.html",
            }),
        );
        let verified = check(&KEY.token(&token), &policy, NOW).unwrap();
        assert_eq!(judge(&verified, &policy), Ok(()), "its profile names no family");
        let found = told(&verified, &policy);
        found.into_iter().filter_map(|(category, open)| open.then_some(category)).collect::<Vec<_>>()
    };
    for issuer in ["https://portal.trustauthority.intel.com", "https://portal.eu.trustauthority.intel.com"] {
        assert_eq!(intel(issuer, "UpToDate", json!({})), []);
        let outdated = [Category::AttestationTcbOutOfDate];
        assert_eq!(intel(issuer, "OutOfDate", json!({})), outdated);
        assert_eq!(intel(issuer, "OutOfDate", json!({"gcp_attester_tcb_status": "UpToDate"})), outdated);
        assert_eq!(intel(issuer, "UpToDate", json!({"gcp_attester_tcb_status": "OutOfDate"})), outdated);
    }
}

#[test]
fn a_date_alone_tells_of_no_good_tcb() {
    let production = sample("production-confidential-space");
    let changes = json!({"tdx": {"gcp_attester_tcb_date": "2020-01-01T00:00:00Z"}});
    let verified = check(&KEY.token(&claims(SPACE, NOW, changes)), &production, NOW).unwrap();
    let now = chrono::DateTime::from_timestamp(NOW, 0).unwrap();
    let (refused, explanation, released) = (None, None, None);
    let told = |policy: &Policy| {
        let decided =
            Decided { verified: &verified, policy, attests: true, asked: &[], refused, explanation, released, now };
        opened(decided).into_iter().find(|event| event.category == Category::AttestationTcbOutOfDate)
    };
    let limited = told(&production).unwrap();
    assert_eq!(limited.description, "The TCB status is not told, its date older than the policy allows.");
    assert!(limited.evidence.by_limit && told(&policy("")).is_none());
}

#[test]
fn a_token_of_no_machine_opens_nothing_about_one_unless_its_issuer_attests() {
    let partner = policy("");
    let ordinary = json!({"iss": ISSUER, "sub": "repo:acme/x:ref:refs/heads/main", "aud": "https://secrets.example.org",
        "iat": NOW, "nbf": NOW, "exp": NOW + 600});
    let of_a_machine = |name: &str, value: Json| {
        let mut claims = ordinary.clone();
        claims[name] = value;
        claims
    };
    let doubts = |claims: &Json, attests: bool| {
        let mut verified =
            check(&KEY.token(&crate::attest_issuer::claims(SPACE, NOW, json!({}))), &partner, NOW).unwrap();
        verified.claims = claims.clone();
        let now = chrono::DateTime::from_timestamp(NOW, 0).unwrap();
        let (refused, explanation, released) = (None, None, None);
        let decided =
            Decided { verified: &verified, policy: &partner, attests, asked: &[], refused, explanation, released, now };
        opened(decided).len()
    };
    assert_eq!((doubts(&ordinary, false), doubts(&ordinary, true)), (0, 2));
    for (name, value) in [("hwmodel", json!("GCP_SHIELDED_VM")), ("submods", json!({})), ("secboot", json!(false))] {
        assert!(doubts(&of_a_machine(name, value), false) > 0, "{name}");
    }
}

#[test]
fn a_token_of_ours_that_is_only_stale_is_no_forgery() {
    for stale in [
        Reason::Expired,
        Reason::NotYetValid,
        Reason::TooOld,
        Reason::Lifetime,
        Reason::Claims("sub is not a text"),
        Reason::NonceMissing,
    ] {
        assert!(stale.is_of_signed() && !stale.is_of_forgery(), "{stale}");
    }
    for forged in [Reason::Signature, Reason::KeyUnknown, Reason::Malformed("it"), Reason::Issuer, Reason::Audience] {
        assert!(forged.is_of_forgery(), "{forged}");
    }
}

#[test]
fn what_is_mapped_from_a_secret_claim_is_shown_nowhere() {
    let text = "audiences: ['https://secrets.example.org']\nmapping:\n  google.subject: assertion.eat_nonce\n  \
        attribute.path: assertion.submods.container.env.PATH\n  attribute.zone: assertion.submods.gce.zone\n\
        condition: google.subject == 'x' && attribute.path == 'p' && attribute.zone == 'z'\n";
    let policy = Policy::read(text, "p").unwrap();
    let verified = check(&KEY.token(&claims(SPACE, NOW, json!({}))), &policy, NOW).unwrap();
    // That looks into the events as the outbox would keep them.
    assert!(told(&verified, &policy).contains(&(Category::AttestationPolicyDenied, true)));
    let terms = explain(&verified, &policy).terms;
    let shown: Vec<Option<&str>> = terms.iter().map(|term| term.values.values().next()?.as_str()).collect();
    assert_eq!(shown, [Some("***"), Some("***"), verified.claims["submods"]["gce"]["zone"].as_str()]);
}

#[test]
fn secrets_among_the_workloads_arguments_are_shown_nowhere() {
    let text = "audiences: ['https://secrets.example.org']\nmapping:\n  google.subject: assertion.submods.container.args[4]\n\
        condition: >-\n  !('--debug' in assertion.submods.container.args) && assertion.submods.container.args[4] == 'x' &&\n  \
        google.subject == 'y' && size(assertion.submods.container.cmd_override) == 0\n";
    let policy = Policy::read(text, "p").unwrap();
    let args = json!(["/app", "--password=pw777", "--debug", "--token", "tok888"]);
    let changes = json!({"submods.container.args": args, "submods.container.cmd_override": args});
    let verified = check(&KEY.token(&claims(SPACE, NOW, changes)), &policy, NOW).unwrap();
    let explained = explain(&verified, &policy);
    let shown = json!(["/app", "--password=[redacted]", "--debug", "--token", "[redacted]"]);
    assert_eq!(explained.terms[0].values["assertion.submods.container.args"], shown);
    assert_eq!(explained.terms[3].values["assertion.submods.container.cmd_override"], shown);
    let alone: Vec<_> = explained.terms[1..3].iter().flat_map(|term| term.values.values()).collect();
    assert_eq!(alone, ["[redacted]", "***"]);
    let events = opened(Decided {
        verified: &verified,
        policy: &policy,
        attests: true,
        asked: &[],
        refused: Some(&Reason::PolicyDenied),
        explanation: Some(&explained),
        released: None,
        now: chrono::DateTime::from_timestamp(NOW, 0).unwrap(),
    });
    assert!(events.iter().any(|event| event.category == Category::AttestationWorkloadOverridden));
    let told = format!("{events:?} {}", serde_json::to_string(&explained).unwrap());
    assert!(told.contains("--debug") && !told.contains("pw777") && !told.contains("tok888"), "{told}");
}

#[test]
fn a_flood_is_one_finding_and_a_state_is_told_once() {
    let at = |seconds: i64| chrono::DateTime::from_timestamp(NOW + seconds, 0).unwrap();
    let period = chrono::TimeDelta::minutes(10);
    let mut flood = Flood::default();
    let events: Vec<_> = (0..1000).filter_map(|second| flood.note(&Reason::Signature, at(second), period)).collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].properties["count"], 601);
    assert_eq!(events[0].finding_id(), events[1].finding_id());
    assert!(events[0].resource.is_none());
    assert!(flood.due(at(1199), period).is_none(), "the ten minutes are not over");
    let last = flood.due(at(1200), period).unwrap();
    assert_eq!((&last.properties["count"], last.time), (&json!(1000), at(999)));
    assert_ne!(last.key(), events[1].key());
    assert!(flood.due(at(9999), period).is_none(), "nothing came since");
    flood.put_back(&last);
    assert!(flood.note(&Reason::Signature, at(1259), period).is_none());
    assert_eq!(flood.due(at(1260), period).unwrap().properties["count"], 1001);
    let mut forged = Forged::default();
    for number in 1..=3 {
        forged.note(&mut Attestation { occurrence: "7".into(), time: at(number), ..last.clone() });
    }
    assert!(forged.due(at(600), period).is_none());
    let end = forged.due(at(603), period).unwrap();
    assert_eq!((&end.properties["count_since_start"], end.time), (&json!(3), at(3)));
    assert!(end.occurrence != "7" && forged.due(at(9999), period).is_none());
    forged.put_back(&end);
    assert_eq!(forged.due(at(700), period), Some(end.clone()), "it could not be taken in");
    forged.note(&mut Attestation { occurrence: "8".into(), time: at(710), ..last.clone() });
    forged.put_back(&end);
    assert!(forged.due(at(9999), period).is_none(), "a later stretch tells more");
    let production = sample("production-confidential-space");
    let verified =
        check(&KEY.token(&claims(SPACE, NOW, json!({"hwmodel": "GCP_SHIELDED_VM"}))), &production, NOW).unwrap();
    let mut told = Told::new(10);
    let decided = Decided {
        verified: &verified,
        policy: &production,
        attests: true,
        asked: &[],
        refused: None,
        explanation: None,
        released: None,
        now: at(0),
    };
    assert!(!told.news(all(decided), chrono::TimeDelta::hours(1), &|_| true).is_empty());
    assert!(told.news(all(decided), chrono::TimeDelta::hours(1), &|_| true).is_empty());
    let later = Decided { now: at(3601), ..decided };
    assert_eq!(told.news(all(later), chrono::TimeDelta::hours(1), &|_| true).len(), 1);
}

fn all(decided: Decided<'_>) -> Vec<sysdig_scc::event::Attestation> {
    events(decided)
}

#[test]
fn a_refused_token_is_identified_as_a_good_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let token = KEY.token(&claims(SPACE, NOW, json!({})));
    let text = "audiences: ['https://secrets.example.org']\ncondition: assertion.secboot\n";
    for (name, text) in [("token", token.as_str()), ("jwks", &jwks(&[&KEY])), ("p.yaml", text)] {
        std::fs::write(place(name), text).unwrap();
    }
    let verified = |now: i64| {
        let output = std::process::Command::new(crate::recovery::program())
            .args(["attest", "verify", "--offline", "--format", "json", "--now", &now.to_string()])
            .args(["--token", &place("token"), "--jwks", &place("jwks"), "--policy", &place("p.yaml")])
            .output()
            .unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    // As docs/attestation.md says: over the decoded parts, each after its length.
    let mut hashed = Sha256::new();
    for part in token.split('.') {
        let part = URL_SAFE_NO_PAD.decode(part).unwrap();
        hashed.update((part.len() as u64).to_be_bytes());
        hashed.update(part);
    }
    let hash = json!(hex::encode(hashed.finalize()));
    for (now, reason) in [(NOW, json!(null)), (NOW + 9000, json!("token_expired"))] {
        let told = verified(now);
        assert_eq!((&told["reason"], &told["token_sha256"]), (&reason, &hash), "{told}");
    }
}
