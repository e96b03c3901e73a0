//! What an address beyond its share of refusals leaves in the journal.

use chrono::Utc;
use serde_json::{Value as Json, json};
use sysdig_scc::receive::attestation::Parts;

use crate::attest_door::{Door, POLICY, token};
use crate::attest_issuer::{KEY, SPACE, claims};

#[tokio::test]
async fn beyond_its_share_an_address_does_not_fill_the_journal_and_what_is_signed_stays_in_it() {
    let door = Door::open(&[("ATTESTATION_FAILURES_PER_MINUTE", "2")]);
    let secret = "/attestation/secrets/db";
    let used = token(json!({}));
    assert_eq!(door.get(secret, &used).await.0, 200);
    let mut statuses = Vec::new();
    for number in 0..6 {
        statuses.push(door.get(secret, &format!("a.b.c{number}")).await.0);
    }
    assert_eq!(statuses, [401, 401, 429, 429, 429, 429]);
    let elsewhere = token(json!({"aud": "https://other.example.org"}));
    for refused in [&used, &elsewhere, &token(json!({"hwmodel": "x"}))] {
        for _ in 0..4 {
            assert_eq!(door.get(secret, refused).await.0, 429);
        }
    }
    assert_eq!(door.get("/attestation/secrets/api", &used).await.0, 429);
    // One more that is waited for: all before it are on the disk.
    assert_eq!(door.get(secret, &token(json!({"oemid": 1}))).await.0, 200);
    let journal = door.journal(8).await;
    let lines = journal.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let reasons: Vec<_> = lines.map(|line| line["reason"].as_str().unwrap_or("allowed").to_owned()).collect();
    assert_eq!(
        reasons,
        [
            "allowed",
            "token_malformed",
            "token_malformed",
            "replayed",
            "audience_not_accepted",
            "policy_denied",
            "replayed",
            "allowed"
        ]
    );
}

#[tokio::test]
async fn verdicts_of_one_token_do_not_fill_the_journal_and_a_signed_one_stays_in_it() {
    let (head, rest) = POLICY.split_once("tokens: [oidc, pki]").unwrap();
    let first = format!("{head}tokens: [pki]{rest}");
    let door = Door::beside(
        &[("ATTESTATION_FAILURES_PER_MINUTE", "2")],
        Parts::default(),
        &[("another.yaml", first.as_str())],
    );
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let asked = json!({"token": token(json!({"hwmodel": "x"})), "policy": "ours"});
        statuses.push(door.post("/attestation/verify", asked).await.0);
    }
    assert_eq!(statuses, [200; 6]);
    // Its signature is found good by the second of two policies only.
    let expired = KEY.token(&claims(SPACE, Utc::now().timestamp() - 5000, json!({})));
    for status in [401, 401, 429, 429] {
        assert_eq!(door.post("/attestation/verify", json!({"token": expired})).await.0, status);
    }
    for _ in 0..2 {
        assert_eq!(door.post("/attestation/verify", json!({"token": token(json!({}))})).await.0, 200);
    }
    let journal = door.journal(8).await;
    let lines = journal.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let reasons: Vec<_> = lines.map(|line| line["reason"].as_str().unwrap_or("allowed").to_owned()).collect();
    assert_eq!(
        reasons,
        [["policy_denied"; 3].as_slice(), &["token_expired"; 3], &["allowed"; 2]].concat(),
        "beyond the share once a minute"
    );
}
