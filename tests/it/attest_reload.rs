//! Policies that change under the door: what is whole and good is taken, all else leaves what was good in use.

use aws_lc_rs::rsa::KeySize;
use chrono::Utc;
use serde_json::json;
use sysdig_scc::attest::policies::FolderError;
use sysdig_scc::event::attestation::Category;
use sysdig_scc::receive::attestation::Parts;

use crate::attest_door::{Door, Issuer, POLICY, token};
use crate::attest_issuer::{ISSUER, KEY, NEXT, SPACE, Signer, claims, jwks};

impl Door {
    /// What becomes of changed policies once they have settled.
    fn reload(&self) -> Result<(), FolderError> {
        let policies = self.attestor.policies();
        assert!(policies.look_again().is_none(), "they may still be being written");
        policies.look_again().unwrap()
    }
}

#[tokio::test]
async fn changed_policies_are_taken_and_broken_ones_are_not() {
    let door = Door::open(&[]);
    let file = door.folder.path().join("policies/ours.yaml");
    std::fs::write(&file, "condition: '(('").unwrap();
    assert!(door.reload().is_err());
    assert_eq!(door.get("/attestation/secrets/db", &token(json!({}))).await.0, 200);
    std::fs::write(&file, "audiences: ['https://secrets.example.org']\ncondition: 'false'\n").unwrap();
    door.reload().unwrap();
    assert_eq!(door.get("/attestation/secrets/db", &token(json!({"oemid": 2}))).await.0, 403);
}

#[tokio::test]
async fn half_a_policy_releases_nothing() {
    let door = Door::open(&[]);
    let file = door.folder.path().join("policies/ours.yaml");
    let stranger = |n: u32| token(json!({"submods.gce.project_id": "stranger", "oemid": n}));
    let (half, rest) = POLICY.split_once("assertion.submods").unwrap();
    let half = format!("{half}assertion.hwmodel == 'GCP_AMD_SEV'");
    for n in 0..3 {
        std::fs::write(&file, &half).unwrap();
        assert!(door.attestor.policies().look_again().is_none());
        assert_eq!(door.get("/attestation/secrets/db", &stranger(n)).await.0, 403);
        std::fs::write(&file, format!("{half} && assertion.submods{rest}# {n}\n")).unwrap();
        door.reload().unwrap();
        assert_eq!(door.get("/attestation/secrets/db", &stranger(n)).await.0, 403);
    }
}

#[tokio::test]
async fn a_reload_asks_for_all_that_the_start_asks_for() {
    let settings = [("ATTESTATION_POLICY", "asked"), ("ATTESTATION_LOG_POLICY", "asked")];
    let door = Door::beside(&settings, Parts::default(), &[("asked.yaml", POLICY)]);
    let folder = door.folder.path().join("policies");
    let refused = || {
        let error = door.reload().unwrap_err();
        (door.attestor.policies().all().len(), format!("{:#}", anyhow::Error::from(error)))
    };
    for (file, text, told) in [
        ("ours.yaml", format!("name: renamed\n{POLICY}"), "ATTESTATION_SECRETS names the policy ours"),
        ("asked.yaml", format!("name: renamed\n{POLICY}"), "ATTESTATION_POLICY names the policy asked"),
        ("ours.yaml", format!("name: asked\n{POLICY}"), "called asked: FOLDER/asked.yaml and FOLDER/ours.yaml"),
        ("ours.yaml", format!("issuer: http://keys.example.org\n{POLICY}"), "issuer of the policy ours: "),
    ] {
        std::fs::write(folder.join(file), text).unwrap();
        let (left, error) = refused();
        let error = error.replace(folder.to_str().unwrap(), "FOLDER");
        assert_eq!((left, error.contains(told)), (2, true), "{error}");
        std::fs::write(folder.join(file), POLICY).unwrap();
        door.reload().unwrap();
    }
    std::fs::remove_file(folder.join("ours.yaml")).unwrap();
    assert_eq!(refused().0, 2);
    assert_eq!(door.get("/attestation/secrets/db", &token(json!({}))).await.0, 200);
}

#[tokio::test]
async fn a_file_of_keys_verifies_one_issuers_tokens_only() {
    let other = Issuer::with(None, jwks(&[&NEXT]));
    let theirs = format!("issuer: {}\n{POLICY}", other.url);
    let kept = tempfile::tempdir().unwrap();
    let file = kept.path().join("jwks.json");
    std::fs::write(&file, jwks(&[&KEY])).unwrap();
    let settings = [("ATTESTATION_JWKS_FILE", file.to_str().unwrap())];
    let door = Door::beside(&settings, Parts::default(), &[("theirs.yaml", &theirs)]);
    let of = |issuer: &str| claims(SPACE, Utc::now().timestamp(), json!({ "iss": issuer }));
    let asked = async |token: String| door.post("/attestation/verify", json!({ "token": token })).await.0;
    assert_eq!(asked(KEY.token(&of(ISSUER))).await, 200, "of several it is Google's");
    assert_eq!(asked(NEXT.token(&of(&other.url))).await, 200, "the others' are fetched");
    assert_eq!(asked(KEY.token(&of(&other.url))).await, 401);
    assert_eq!(asked(NEXT.token(&of(ISSUER))).await, 401);

    let keys = door.attestor.keys_file().unwrap();
    let look = || {
        assert!(keys.look_again().is_none(), "it may still be being written");
        keys.look_again().unwrap()
    };
    let rotated = Signer::new(KeySize::Rsa2048, "rotated");
    std::fs::write(&file, jwks(&[&rotated])).unwrap();
    assert_eq!(look().unwrap(), 1);
    assert_eq!(asked(rotated.token(&of(ISSUER))).await, 200);
    assert_eq!(asked(KEY.token(&of(ISSUER))).await, 401, "it was removed");
    std::fs::write(&file, "{\"keys\": []}").unwrap();
    assert!(look().is_err());
    std::fs::remove_file(&file).unwrap();
    assert!(look().is_err());
    assert!(keys.look_again().is_none(), "told once");
    std::fs::create_dir(&file).unwrap();
    std::fs::write(file.join("other.json"), jwks(&[&NEXT])).unwrap();
    assert!(look().is_err(), "a folder in its place holds no keys");
    std::fs::remove_dir_all(&file).unwrap();
    assert!(look().is_err());
    assert_eq!(asked(rotated.token(&of(ISSUER))).await, 200, "the last good keys stay");
    std::fs::write(&file, jwks(&[&KEY])).unwrap();
    assert_eq!(look().unwrap(), 1);

    let ours = door.folder.path().join("policies/ours.yaml");
    std::fs::write(&ours, format!("issuer: http://127.0.0.1:1\n{POLICY}")).unwrap();
    let refused = anyhow::Error::from(door.reload().unwrap_err()).to_string();
    assert!(refused.contains("ATTESTATION_JWKS_FILE") && refused.contains(&other.url), "{refused}");
    assert_eq!(asked(KEY.token(&of(ISSUER))).await, 200, "the last good policies stay, and their keys");
    std::fs::write(&ours, &theirs).unwrap();
    door.reload().unwrap();
    assert_eq!(
        asked(KEY.token(&of(&other.url))).await,
        401,
        "a reload does not make it the only issuer's that is left"
    );
    assert_eq!(asked(NEXT.token(&of(&other.url))).await, 200, "whose keys are fetched as before");
    std::fs::write(&ours, POLICY).unwrap();
    door.reload().unwrap();
    assert_eq!(asked(KEY.token(&of(ISSUER))).await, 200, "it is Google's all the time");
}

#[tokio::test]
async fn an_issuer_that_is_switched_off_owns_no_file_of_keys() {
    let other = Issuer::with(None, jwks(&[&NEXT]));
    let theirs = format!("issuer: {}\n{POLICY}", other.url);
    let oidc = json!({"issuerUri": "http://127.0.0.1:1", "allowedAudiences": ["a"]});
    let off = json!({"attributeCondition": "assertion.secboot", "oidc": oidc, "disabled": true}).to_string();
    let kept = tempfile::tempdir().unwrap();
    let file = kept.path().join("jwks.json");
    std::fs::write(&file, jwks(&[&KEY])).unwrap();
    let settings = [("ATTESTATION_JWKS_FILE", file.to_str().unwrap())];
    let door = Door::beside(&settings, Parts::default(), &[("ours.yaml", &theirs), ("off.json", &off)]);
    let token = KEY.token(&claims(SPACE, Utc::now().timestamp(), json!({ "iss": other.url })));
    let asked = door.post("/attestation/verify", json!({ "token": token })).await;
    assert_eq!(asked.0, 200, "the file is the other issuer's: {}", asked.1);
}

#[tokio::test]
async fn a_file_beside_policies_with_keys_of_their_own_is_googles() {
    let provider = |issuer: &str, keys: Option<String>| {
        let oidc = json!({"issuerUri": issuer, "allowedAudiences": ["https://secrets.example.org"], "jwksJson": keys});
        let disabled = keys.is_none();
        json!({"attributeCondition": "assertion.secboot", "oidc": oidc, "disabled": disabled}).to_string()
    };
    let kept = tempfile::tempdir().unwrap();
    let file = kept.path().join("jwks.json");
    std::fs::write(&file, jwks(&[&KEY])).unwrap();
    let settings = [("ATTESTATION_JWKS_FILE", file.to_str().unwrap())];
    let own = provider("https://own.example.org", Some(jwks(&[&NEXT]).to_string()));
    let [one, two] = ["http://127.0.0.1:1", "http://127.0.0.1:2"].map(|issuer| provider(issuer, None));
    let further = [("ours.yaml", own.as_str()), ("one.json", one.as_str()), ("two.json", two.as_str())];
    // Those that are switched off are no issuers whose keys the file could hold, or the start would be refused.
    let door = Door::beside(&settings, Parts::default(), &further);
    let entry = json!({"logName": "projects/acme-data/logs/gotpm", "jsonPayload": {"token": token(json!({}))}});
    let told = door.attestor.logged(&entry, Utc::now()).await.unwrap();
    assert_eq!(told[0].category, Category::AttestationTokenExposed, "Google's key is in the file");
}
