//! Tokens that machines wrote to the log `gotpm`, on their way through Pub/Sub, outbox and findings.

use std::sync::{Arc, Mutex};

use chrono::Utc;
use serde_json::{Value as Json, json};
use sysdig_scc::google::TokenSource;
use sysdig_scc::google::pubsub::{Client, Subscription};
use sysdig_scc::outbox::sqlite::Admin;
use tracing_subscriber::prelude::*;

use crate::attest_door::{Issuer, Mood, POLICY};
use crate::attest_issuer::{Chain, ChainShape, ISSUER, KEY, NEXT, VM, base64url, claims, jwks};
use crate::fakes::emulator::Emulator;
use crate::fakes::subscription::FakeSubscription;
use crate::pubsub::{push, sample, wrapped};
use crate::world::World;

const MACHINE: &str = "5566778899001122334";
const TOPIC: &str = "projects/demo-int/topics/integrity-monitoring";
const PULL: &str = "projects/demo-int/subscriptions/pull1";

/// The connector with attestation, beside an issuer.
struct Scene {
    world: World,
    issuer: Issuer,
    settings: Vec<(&'static str, String)>,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new(mood: Option<Mood>, extra: &[(&'static str, String)]) -> Self {
        let issuer = Issuer::start();
        mood.into_iter().for_each(|mood| issuer.now(mood));
        let folder = tempfile::tempdir().unwrap();
        let policies = folder.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        std::fs::write(policies.join("ours.yaml"), POLICY).unwrap();
        let mut settings = vec![
            ("ATTESTATION_POLICIES", policies.display().to_string()),
            ("ATTESTATION_ENDPOINT", issuer.url.clone()),
            ("ATTESTATION_JOURNAL", folder.path().join("journal.jsonl").display().to_string()),
            ("PUBSUB_PUSH_UNVERIFIED", "true".to_owned()),
        ];
        settings.extend(extra.iter().cloned());
        let world = World::with(&pairs(&settings)).await;
        Self { world, issuer, settings, folder }
    }

    async fn restart(&mut self) {
        self.world.stop().await;
        self.world.start(&pairs(&self.settings)).await;
    }

    async fn push(&self, entry: &Json) -> u16 {
        push(&self.world, wrapped(entry.to_string().as_bytes())).await
    }

    /// The journal, once it has so many lines.
    async fn journal(&self, lines: usize) -> Vec<Json> {
        let path = self.folder.path().join("journal.jsonl");
        let began = std::time::Instant::now();
        loop {
            let text = std::fs::read_to_string(&path).unwrap();
            if text.matches('\n').count() >= lines {
                return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            }
            assert!(began.elapsed() < std::time::Duration::from_secs(10), "{text}");
            tokio::task::yield_now().await;
        }
    }

    /// Categories, sorted.
    async fn categories(&self) -> Vec<String> {
        self.world.settle().await;
        let mut found: Vec<String> = self
            .world
            .findings()
            .await
            .iter()
            .map(|finding| finding["category"].as_str().unwrap().to_owned())
            .collect();
        found.sort();
        found
    }

    /// Everything that is stored or shown.
    async fn everything(&self) -> String {
        let mut all = json!(self.world.findings().await).to_string();
        all += &self.world.get("/metrics").await.1;
        for folder in [self.world.outbox.parent().unwrap(), self.folder.path()] {
            for file in
                std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file())
            {
                all += &String::from_utf8_lossy(&std::fs::read(file).unwrap());
            }
        }
        all
    }
}

fn pairs<'s>(settings: &'s [(&'static str, String)]) -> Vec<(&'s str, &'s str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn token(changes: Json) -> String {
    KEY.token(&claims(VM, Utc::now().timestamp() - 60, changes))
}

fn entry(payload: &Json, instance: &str) -> Json {
    json!({"logName": "projects/acme-data/logs/gotpm", "insertId": "a1", "jsonPayload": payload,
        "timestamp": "2026-11-20T10:11:12.902113871Z",
        "resource": {"type": "gce_instance", "labels": {"project_id": "acme-data", "instance_id": instance, "zone": "us-central1-c"}}})
}

/// No piece of the token that could be used, nor its nonces.
fn assert_hidden(all: &str, token: &str) {
    let signature = token.rsplit('.').next().unwrap();
    for secret in [token, &signature[..60], "bm9uY2UtQUFBQUFBQUE"] {
        assert!(!all.contains(secret), "{secret} is kept or shown");
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_pushed_token_is_told_under_its_machine_and_kept_nowhere() {
    let lines = Lines::default();
    let writer = lines.clone();
    let printed = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    // Of the whole process, as the server has threads of its own.
    let ours = tracing_subscriber::filter::Targets::new().with_target("sysdig_scc", tracing::Level::TRACE);
    tracing_subscriber::registry().with(ours).with(printed).try_init().unwrap();

    let scene = Scene::new(None, &[]).await;
    let token = token(json!({}));
    let logged = entry(&json!({"token": token}), MACHINE);
    assert_eq!(scene.push(&logged).await, 204);
    assert_eq!(scene.push(&logged).await, 204, "delivered again");
    for other in [
        json!({"Name": "projects/p/locations/l/challenges/c", "Nonce": "bm9uY2UtQUFBQUFBQUE", "ConnID": ""}),
        json!({"ak_pub": "AAEACwAF", "quotes": []}),
        claims(VM, Utc::now().timestamp(), json!({})),
        json!({"something": "new"}),
    ] {
        assert_eq!(scene.push(&entry(&other, MACHINE)).await, 204);
    }
    let stats = scene.world.settle().await;
    assert_eq!((stats.closed["delivered"], stats.closed["duplicate"], stats.closed["ignored"]), (1, 1, 4), "{stats:?}");
    let findings = scene.world.findings().await;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0]["category"], "ATTESTATION_TOKEN_EXPOSED");
    assert_eq!(
        findings[0]["resourceName"],
        format!("//compute.googleapis.com/projects/acme-data/zones/us-central1-c/instances/{MACHINE}")
    );
    let told = &findings[0]["sourceProperties"];
    assert_eq!(told["insertId"], "a1");
    assert!(told["kid"].is_string() && told["iat"].is_i64() && told["exp"].is_i64(), "{told}");
    let kept = Admin::open(&scene.world.outbox).unwrap().show("1").unwrap().unwrap().delivered;
    assert!(kept.contains("(token, sha256 ") && kept.contains(MACHINE), "{kept}");
    let all = scene.everything().await + &kept;
    assert!(all.contains("sysdig_scc_ignored_total{kind=\"gotpm\"}"));
    let logs = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!logs.is_empty());
    assert_hidden(&(all + &logs), &token);
}

#[tokio::test]
async fn labels_that_differ_and_tokens_nobody_vouches_for_are_told_apart() {
    let scene = Scene::new(None, &[]).await;
    let real = token(json!({}));
    assert_eq!(scene.push(&entry(&json!({"token": real}), "666")).await, 204);
    assert_eq!(scene.categories().await, ["ATTESTATION_CLAIMS_INCONSISTENT", "ATTESTATION_TOKEN_EXPOSED"]);
    let header = json!({"alg": "RS256", "kid": KEY.kid}).to_string();
    let forged =
        |number: u32| NEXT.token_of(&header, &claims(VM, Utc::now().timestamp(), json!({"oemid": number})).to_string());
    let odd = format!("Bearer {real}");
    for text in [forged(1), forged(2), "eyJ.broken".to_owned(), odd.clone(), format!("{}.x.y", base64url("{}"))] {
        assert_eq!(scene.push(&entry(&json!({"token": text}), "77")).await, 204);
    }
    let invalid: Vec<Json> = {
        scene.world.settle().await;
        let findings = scene.world.findings().await;
        findings.into_iter().filter(|finding| finding["category"] == "ATTESTATION_TOKEN_INVALID").collect()
    };
    assert_eq!(invalid.len(), 1, "however many there are");
    assert!(!invalid[0]["resourceName"].as_str().unwrap().contains("instances"), "the labels choose no machine");
    let expired = KEY.token(&claims(VM, Utc::now().timestamp() - 7200, json!({})));
    let unknown = NEXT.token(&claims(VM, Utc::now().timestamp() - 7200, json!({"oemid": 5})));
    let before = scene.world.ledger().closed["ignored"];
    for old in [expired, unknown] {
        assert_eq!(scene.push(&entry(&json!({"token": old}), MACHINE)).await, 204);
    }
    assert_eq!(scene.world.settle().await.closed["ignored"], before + 2, "what nobody can use any more");
    let all = scene.everything().await;
    assert_hidden(&all, &real);
    assert_hidden(&all, &forged(1));
}

/// Category and state of every finding of the machine.
async fn states(scene: &Scene) -> Vec<(String, String)> {
    scene.world.settle().await;
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    let findings = scene.world.findings().await;
    let mut found: Vec<_> = findings.iter().map(|one| (text(&one["category"]), text(&one["state"]))).collect();
    found.sort();
    found
}

fn told(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(category, state)| ((*category).to_owned(), (*state).to_owned())).collect()
}

#[tokio::test]
async fn logged_tokens_are_judged_by_the_policies_configured_for_them() {
    let scene = Scene::new(None, &[("ATTESTATION_LOG_POLICY", "ours".to_owned())]).await;
    let pushed = |changes: Json| entry(&json!({"token": token(changes)}), MACHINE);
    // Made for another service: its audience is not looked at.
    let elsewhere = "https://api.cvm-attestation-codelab.com";
    let denied = pushed(json!({"hwmodel": "GCP_SHIELDED_VM", "aud": elsewhere}));
    assert_eq!(scene.push(&denied).await, 204);
    assert_eq!(
        states(&scene).await,
        told(&[
            ("ATTESTATION_POLICY_DENIED", "ACTIVE"),
            ("ATTESTATION_TOKEN_EXPOSED", "ACTIVE"),
            ("ATTESTATION_WEAK_HARDWARE", "ACTIVE")
        ])
    );
    assert_eq!(scene.push(&denied).await, 204, "delivered again, which the journal does not tell again");
    assert_eq!(scene.push(&pushed(json!({"hwmodel": "(absent)", "aud": elsewhere}))).await, 204);
    assert!(states(&scene).await.contains(&("ATTESTATION_POLICY_ERROR".to_owned(), "ACTIVE".to_owned())));
    assert_eq!(scene.push(&pushed(json!({"aud": elsewhere}))).await, 204);
    assert_eq!(
        states(&scene).await,
        told(&[
            ("ATTESTATION_POLICY_DENIED", "INACTIVE"),
            ("ATTESTATION_POLICY_ERROR", "INACTIVE"),
            ("ATTESTATION_TOKEN_EXPOSED", "ACTIVE"),
            ("ATTESTATION_WEAK_HARDWARE", "INACTIVE")
        ]),
        "a good attestation closes what described a state"
    );
    let lines: Vec<Json> = scene.journal(3).await;
    let told: Vec<_> = lines.iter().map(|line| (line["asked"].as_str(), line["reason"].as_str())).collect();
    assert_eq!(told, [(Some("log"), Some("policy_denied")), (Some("log"), Some("policy_error")), (Some("log"), None)]);
    for line in &lines {
        assert!(line["instance"].as_str().is_some_and(|name| name.ends_with(MACHINE)) && line["policy"] == "ours");
        assert!(line["token_sha256"].is_string() && line["policy_sha256"].is_string() && line["address"].is_null());
    }
    let metrics = scene.world.get("/metrics").await.1;
    let mut counted = metrics.lines().filter(|line| line.starts_with("sysdig_scc_attestation_decisions_total{"));
    assert!(counted.any(|line| line.contains("policy_error")), "{metrics}");
    let over = KEY.token(&claims(VM, Utc::now().timestamp() - 7200, json!({"hwmodel": "GCP_SHIELDED_VM"})));
    assert_eq!(scene.push(&entry(&json!({"token": over}), MACHINE)).await, 204);
    assert!(states(&scene).await.contains(&("ATTESTATION_WEAK_HARDWARE".to_owned(), "INACTIVE".to_owned())));
}

/// A token issued so many seconds ago.
fn issued(ago: i64, changes: Json) -> String {
    KEY.token(&claims(VM, Utc::now().timestamp() - ago, changes))
}

async fn state_of(scene: &Scene, category: &str) -> Option<String> {
    states(scene).await.into_iter().find(|(known, _)| known == category).map(|(_, state)| state)
}

const DENIED: &str = "ATTESTATION_POLICY_DENIED";

#[tokio::test]
async fn entries_that_come_late_or_twice_close_and_open_nothing_newer() {
    let scene = Scene::new(None, &[("ATTESTATION_LOG_POLICY", "ours".to_owned())]).await;
    let bad = |ago| entry(&json!({"token": issued(ago, json!({"hwmodel": "GCP_SHIELDED_VM"}))}), MACHINE);
    let good = |ago| entry(&json!({"token": issued(ago, json!({"oemid": ago}))}), MACHINE);
    let (first, between) = (bad(300), good(250));
    for (entry, state, why) in [
        (&first, "ACTIVE", "denied"),
        (&between, "INACTIVE", "good since"),
        (&first, "INACTIVE", "delivered again"),
        (&bad(200), "ACTIVE", "denied again"),
        (&between, "ACTIVE", "delivered again, older than the denial"),
        (&good(240), "ACTIVE", "late, older than the denial"),
        (&good(-600), "ACTIVE", "not valid yet"),
        (&good(100), "INACTIVE", "good since"),
        (&bad(50), "ACTIVE", "and again"),
        (&good(40), "INACTIVE", "and again"),
    ] {
        assert_eq!(scene.push(entry).await, 204);
        assert_eq!(state_of(&scene, DENIED).await.as_deref(), Some(state), "{why}");
    }
}

#[tokio::test]
async fn a_token_shown_twice_changes_what_it_says_each_time() {
    let strict = POLICY.replace("== 'GCP_AMD_SEV'", "== 'GCP_AMD_SEV' && assertion.oemid == 7");
    let mut scene = Scene::new(None, &[]).await;
    std::fs::write(scene.folder.path().join("policies/strict.yaml"), strict).unwrap();
    scene.restart().await;
    let (bad, good) = (issued(100, json!({"hwmodel": "GCP_SHIELDED_VM"})), issued(90, json!({})));
    let denied_by_strict = issued(80, json!({}));
    for (token, policy, state, why) in [
        (&bad, "ours", "ACTIVE", "denied"),
        (&good, "ours", "INACTIVE", "good since"),
        (&bad, "ours", "ACTIVE", "shown again, it is denied again"),
        (&good, "ours", "INACTIVE", "shown again, newer than what was denied"),
        (&denied_by_strict, "strict", "ACTIVE", "another policy"),
        (&issued(70, json!({})), "ours", "ACTIVE", "what allows is not what denied"),
        (&issued(60, json!({"oemid": 7})), "strict", "INACTIVE", "what denied allows"),
    ] {
        let url = format!("{}/attestation/verify", scene.world.url);
        let asked = scene.world.http.post(url).json(&json!({"token": token, "policy": policy})).send().await.unwrap();
        assert!(asked.status().is_success() || asked.status() == 403, "{why}: {}", asked.status());
        assert_eq!(state_of(&scene, DENIED).await.as_deref(), Some(state), "{why}");
    }
}

#[tokio::test]
async fn labels_that_agree_again_close_what_labels_that_differed_opened() {
    for policy in [None, Some(("ATTESTATION_LOG_POLICY", "ours".to_owned()))] {
        let scene = Scene::new(None, policy.as_slice()).await;
        let inconsistent = |state: &str| ("ATTESTATION_CLAIMS_INCONSISTENT".to_owned(), state.to_owned());
        assert_eq!(scene.push(&entry(&json!({"token": token(json!({}))}), "666")).await, 204);
        assert!(states(&scene).await.contains(&inconsistent("ACTIVE")));
        assert_eq!(scene.push(&entry(&json!({"token": token(json!({"oemid": 1}))}), MACHINE)).await, 204);
        assert!(states(&scene).await.contains(&inconsistent("INACTIVE")), "{policy:?}");
    }
}

#[tokio::test]
async fn an_entry_that_does_not_name_the_machine_closes_no_contradiction() {
    let scene = Scene::new(None, &[("ATTESTATION_LOG_POLICY", "ours".to_owned())]).await;
    let state = async || state_of(&scene, "ATTESTATION_CLAIMS_INCONSISTENT").await;
    let mut foreign = entry(&json!({"token": issued(90, json!({}))}), MACHINE);
    foreign["logName"] = json!("projects/evil/logs/gotpm");
    assert_eq!(scene.push(&foreign).await, 204);
    assert_eq!(state().await.as_deref(), Some("ACTIVE"), "written into the log of another project");
    let good = |ago: i64| entry(&json!({"token": issued(ago, json!({"oemid": ago}))}), MACHINE);
    for (ago, labels) in [(80, json!({})), (70, json!({"project_id": "acme-data"})), (60, json!({"instance_id": ""}))] {
        let mut silent = good(ago);
        silent["resource"]["labels"] = labels;
        assert_eq!(scene.push(&silent).await, 204);
        assert_eq!(state().await.as_deref(), Some("ACTIVE"), "the guest left them out: {silent}");
    }
    assert_eq!(scene.push(&good(50)).await, 204);
    assert_eq!(state().await.as_deref(), Some("INACTIVE"));
}

#[tokio::test]
async fn keys_that_one_policy_holds_verify_nothing_for_another() {
    let mut scene = Scene::new(None, &[]).await;
    let oidc = json!({"issuerUri": ISSUER, "allowedAudiences": ["https://staging"], "jwksJson": jwks(&[&NEXT])});
    let rehearsal = json!({"attributeCondition": "assertion.secboot", "oidc": oidc}).to_string();
    std::fs::write(scene.folder.path().join("policies/rehearsal.json"), rehearsal).unwrap();
    scene.settings.push(("ATTESTATION_LOG_POLICY", "ours".to_owned()));
    scene.restart().await;
    let weak = issued(90, json!({"hwmodel": "GCP_SHIELDED_VM"}));
    assert_eq!(scene.push(&entry(&json!({ "token": weak }), MACHINE)).await, 204);
    let doubted =
        told(&[(DENIED, "ACTIVE"), ("ATTESTATION_TOKEN_EXPOSED", "ACTIVE"), ("ATTESTATION_WEAK_HARDWARE", "ACTIVE")]);
    assert_eq!(states(&scene).await, doubted, "the issuer's own keys are asked beside the policy's");
    let rehearsed = NEXT.token(&claims(VM, Utc::now().timestamp() - 60, json!({})));
    assert_eq!(scene.push(&entry(&json!({ "token": rehearsed }), MACHINE)).await, 204);
    assert_eq!(states(&scene).await, doubted, "it is none of those that the policy for logs believes");
    assert_eq!(scene.journal(1).await.len(), 1);
    scene.settings.last_mut().unwrap().1 = "ours,rehearsal".to_owned();
    scene.restart().await;
    let rehearsed = NEXT.token(&claims(VM, Utc::now().timestamp() - 50, json!({})));
    assert_eq!(scene.push(&entry(&json!({ "token": rehearsed }), MACHINE)).await, 204);
    assert_eq!(scene.journal(2).await[1]["policy"], "rehearsal", "{:?}", states(&scene).await);
}

#[tokio::test]
async fn without_keys_the_push_is_refused_until_there_are_some() {
    let mut scene = Scene::new(Some(Mood::Broken), &[]).await;
    let token = token(json!({}));
    let logged = entry(&json!({"token": token}), MACHINE);
    assert_eq!(scene.push(&logged).await, 503);
    assert_eq!(scene.world.ledger().accepted, 0);
    let url = format!("{}/attestation/verify", scene.world.url);
    assert_eq!(scene.world.http.post(url).json(&json!({ "token": token })).send().await.unwrap().status(), 503);
    let metrics = scene.world.get("/metrics").await.1;
    let mut counted = metrics.lines().filter(|line| line.starts_with("sysdig_scc_attestation_decisions_total{"));
    assert!(counted.any(|line| line.contains("keys_unavailable") && !line.ends_with(" 0")), "{metrics}");
    assert_eq!(scene.push(&sample("late_failed_pcr4_changed_pcr14_new")).await, 204, "everything else is taken");
    scene.issuer.now(Mood::Keys(jwks(&[&KEY])));
    scene.restart().await;
    assert_eq!(scene.push(&logged).await, 204);
    assert!(scene.categories().await.contains(&"ATTESTATION_TOKEN_EXPOSED".to_owned()));
    assert_hidden(&scene.everything().await, &token);
}

#[tokio::test]
async fn a_token_whose_key_was_not_asked_for_is_put_off_and_not_called_forged() {
    let scene = Scene::new(None, &[]).await;
    let signed = |kid: &str| {
        let header = json!({"alg": "RS256", "kid": kid}).to_string();
        let payload = claims(VM, Utc::now().timestamp() - 60, json!({}));
        entry(&json!({"token": NEXT.token_of(&header, &payload.to_string())}), MACHINE)
    };
    assert_eq!(scene.push(&entry(&json!({"token": token(json!({}))}), MACHINE)).await, 204);
    scene.issuer.now(Mood::Keys(jwks(&[&KEY, &NEXT])));
    assert_eq!(scene.push(&signed(&NEXT.kid)).await, 204);
    assert_eq!(scene.categories().await, ["ATTESTATION_TOKEN_EXPOSED"], "a rotated key is asked for at once");
    let accepted = scene.world.ledger().accepted;
    let mut other = signed("not-asked-for");
    assert_eq!(scene.push(&other).await, 503, "the floor holds, so that nothing can be said");
    assert_eq!(scene.world.ledger().accepted, accepted);
    other["receiveTimestamp"] = json!((Utc::now() - chrono::TimeDelta::minutes(5)).to_rfc3339());
    assert_eq!(scene.push(&other).await, 204, "the keys were fetched after it was written");
    assert_eq!(scene.categories().await, ["ATTESTATION_TOKEN_EXPOSED", "ATTESTATION_TOKEN_INVALID"]);
}

#[tokio::test]
async fn a_chain_needs_no_keys_of_the_issuer() {
    let now = Utc::now().timestamp();
    let chain = Chain::new(&KEY, now, &ChainShape::default());
    let scene = Scene::new(Some(Mood::Broken), &[("ATTESTATION_ROOT", chain.root_hex())]).await;
    let token = chain.token(&KEY, &claims(VM, now, json!({})));
    assert_eq!(scene.push(&entry(&json!({"token": token}), MACHINE)).await, 204);
    assert_eq!(scene.categories().await, ["ATTESTATION_TOKEN_EXPOSED"]);
    assert_hidden(&scene.everything().await, &token);
}

#[tokio::test]
async fn without_attestation_the_log_is_ignored() {
    let world = World::with(&[("PUBSUB_PUSH_UNVERIFIED", "true")]).await;
    let logged = entry(&json!({"token": token(json!({}))}), MACHINE);
    assert_eq!(push(&world, wrapped(logged.to_string().as_bytes())).await, 204);
    assert_eq!(world.settle().await.closed["ignored"], 1);
}

#[tokio::test]
async fn a_pulled_token_waits_for_its_keys_and_holds_nothing_else_up() {
    let Some(emulator) = Emulator::pubsub().await else { return };
    let host = emulator.host();
    let client = Client::new(&format!("http://{host}").parse().unwrap(), &TokenSource::none()).unwrap();
    client.create_topic(TOPIC).await.unwrap();
    let wanted = Subscription { topic: TOPIC.to_owned(), ack_deadline_seconds: Some(10), ..Subscription::default() };
    client.create_subscription(PULL, &wanted).await.unwrap();
    let token = token(json!({}));
    let message = |entry: &Json| {
        use base64::Engine;
        json!({"data": base64::engine::general_purpose::STANDARD.encode(entry.to_string())})
    };
    let entries = [entry(&json!({"token": token}), MACHINE), sample("late_failed_pcr4_changed_pcr14_new")];
    let messages: Vec<Json> = entries.iter().map(message).collect();
    client.publish(TOPIC, &messages).await.unwrap();
    let settings = [("PUBSUB_SUBSCRIPTION", PULL.to_owned()), ("PUBSUB_EMULATOR_HOST", host)];
    let mut scene = Scene::new(Some(Mood::Broken), &settings).await;
    scene.world.until(|stats| stats.accepted == 1 && stats.waiting == 0).await;
    scene.issuer.now(Mood::Keys(jwks(&[&KEY])));
    scene.restart().await;
    scene.world.until(|stats| stats.accepted == 2 && stats.waiting == 0).await;
    assert!(scene.categories().await.contains(&"ATTESTATION_TOKEN_EXPOSED".to_owned()));
    assert_hidden(&scene.everything().await, &token);
}

#[tokio::test]
async fn unknown_key_ids_hold_no_other_pulled_token_up() {
    let pubsub = FakeSubscription::start();
    let settings = [("PUBSUB_SUBSCRIPTION", PULL.to_owned()), ("PUBSUB_EMULATOR_HOST", pubsub.host())];
    let unknown = |kid: &str| {
        let header = json!({"alg": "RS256", "kid": kid}).to_string();
        let payload = claims(VM, Utc::now().timestamp() - 60, json!({}));
        entry(&json!({"token": NEXT.token_of(&header, &payload.to_string())}), "666")
    };
    ["one", "two", "three"].iter().for_each(|kid| pubsub.publish(&unknown(kid)));
    pubsub.publish(&entry(&json!({"token": token(json!({}))}), MACHINE));
    let scene = Scene::new(None, &settings).await;
    // One of the unknown is asked for, which tells it forged; nobody may ask for the others now.
    scene.world.until(|stats| stats.accepted == 2 && stats.waiting == 0).await;
    assert_eq!(scene.categories().await, ["ATTESTATION_TOKEN_EXPOSED", "ATTESTATION_TOKEN_INVALID"]);
    let began = std::time::Instant::now();
    while pubsub.state().done.len() < 2 {
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "what was taken is acknowledged");
        tokio::task::yield_now().await;
    }
    let state = pubsub.state();
    assert!(state.done.contains(&"ack-3".to_owned()) && state.out.len() == 2, "the others come again: {state:?}");
}
