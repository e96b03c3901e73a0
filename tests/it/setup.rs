//! The set-up at Sysdig: found, else made; run twice, done once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sysdig_scc::outbox::Sqlite;
use sysdig_scc::outbox::sqlite::Keep;
use sysdig_scc::sysdig::channels::{Change, ChannelSpec, May};
use sysdig_scc::sysdig::forwarders::ForwarderSpec;

use crate::fakes::loopback::{Answer, Loopback};
use crate::fakes::sysdig::{FakeSysdig, TOKEN};
use crate::program::program;

fn channel() -> ChannelSpec {
    ChannelSpec {
        name: "Google Security Command Center".into(),
        url: "https://connector.example.com/events".into(),
        token: "secret-1".to_owned().into(),
        older: vec!["secret-0".to_owned().into()],
        allow_insecure: false,
    }
}

#[tokio::test]
async fn a_channel_is_made_once_in_either_api() {
    for public_api in [true, false] {
        let sysdig = FakeSysdig::start();
        sysdig.state().public_api = public_api;
        for n in 0..60 {
            sysdig.state().channels.push(json!({"id": n, "type": "EMAIL", "name": format!("mail {n}"), "version": 1}));
        }
        let client = sysdig.client(1);
        let planned = client.ensure_channel(&channel(), May::Look).await.unwrap();
        assert_eq!((planned.id, planned.change), (None, Change::Created));
        let made = client.ensure_channel(&channel(), May::CreateAndUpdate).await.unwrap();
        assert_eq!((made.id, made.change), (Some(101), Change::Created));
        let again = client.ensure_channel(&channel(), May::CreateAndUpdate).await.unwrap();
        assert_eq!((again.id, again.change, again.enabled), (Some(101), Change::Unchanged, true));
        assert_eq!(sysdig.state().channels.len(), 61);
        assert_eq!(
            sysdig.state().channels[60]["options"]["additionalHeaders"],
            json!({"Authorization": "Bearer secret-1"})
        );
    }
}

#[tokio::test]
async fn an_existing_channel_gets_url_and_headers_and_keeps_the_rest() {
    for public_api in [true, false] {
        let sysdig = FakeSysdig::start();
        sysdig.state().public_api = public_api;
        sysdig.state().channels = vec![json!({
            "id": 9, "version": 4, "type": "WEBHOOK", "name": "Google Security Command Center", "isEnabled": false, "teamId": 3,
            "options": {"url": "https://old.example.com/events", "customData": {"environment": "prod"},
                        "additionalHeaders": {"authorization": "old", "X-Other": "kept"}}
        })];
        // Somebody else writes between our reading and our writing, once.
        sysdig.state().conflicts = 1;
        let changed = sysdig.client(1).ensure_channel(&channel(), May::CreateAndUpdate).await.unwrap();
        assert_eq!(changed.change, Change::Updated(vec!["url", "headers"]));
        assert_eq!((changed.id, changed.enabled, changed.team), (Some(9), false, Some(3)));
        let stands = sysdig.state().channels[0].clone();
        assert_eq!(stands["options"]["url"], "https://connector.example.com/events");
        assert_eq!(
            stands["options"]["additionalHeaders"],
            json!({"Authorization": "Bearer secret-1", "X-Other": "kept"})
        );
        assert_eq!(stands["options"]["customData"], json!({"environment": "prod"}));
    }
}

#[tokio::test]
async fn a_header_that_shows_the_first_token_is_left_in_the_form_that_the_original_takes() {
    let basic = "Basic c3lzZGlnOnNlY3JldC0x";
    let headers = |value: &str| json!({"authorization": value, "X-Other": "kept"});
    let both = json!({"authorization": "secret-1", "Authorization": "old"});
    for public_api in [true, false] {
        for (stands, done) in [
            (headers("secret-1"), Change::Unchanged),
            (headers("CSCC secret-1"), Change::Unchanged),
            (headers(basic), Change::Unchanged),
            (headers("bearer secret-1"), Change::Unchanged),
            // An older token is what a rotation replaces; of two headers nobody knows which is sent.
            (headers("CSCC secret-0"), Change::Updated(vec!["headers"])),
            (headers("CSCC secret-10"), Change::Updated(vec!["headers"])),
            (both.clone(), Change::Updated(vec!["headers"])),
        ] {
            let sysdig = FakeSysdig::start();
            sysdig.state().public_api = public_api;
            sysdig.state().channels = vec![json!({
                "id": 9, "version": 4, "type": "WEBHOOK", "name": "Google Security Command Center", "isEnabled": true,
                "options": {"url": "https://Connector.example.com:443/events", "additionalHeaders": stands}
            })];
            let channel = sysdig.client(1).ensure_channel(&channel(), May::CreateAndUpdate).await.unwrap();
            assert_eq!(channel.change, done, "{stands}");
            let left = sysdig.state().channels[0]["options"]["additionalHeaders"] == stands;
            assert_eq!(left, done == Change::Unchanged, "{stands}");
        }
    }
}

#[tokio::test]
async fn without_an_administrators_rights_the_channel_is_the_teams() {
    let sysdig = FakeSysdig::start();
    sysdig.state().admin = false;
    let made = sysdig.client(1).ensure_channel(&channel(), May::CreateAndUpdate).await.unwrap();
    assert_eq!(made.team, Some(77));
}

#[tokio::test]
async fn a_name_taken_by_another_kind_of_channel_is_said() {
    let sysdig = FakeSysdig::start();
    sysdig.state().channels =
        vec![json!({"id": 1, "type": "EMAIL", "name": "Google Security Command Center", "version": 1})];
    for may in [May::CreateAndUpdate, May::Create, May::Look] {
        let error = sysdig.client(1).ensure_channel(&channel(), may).await.unwrap_err();
        assert!(error.to_string().contains("is taken by a channel of the type EMAIL"), "{error}");
        assert!(error.remedy().contains("SYSDIG_CHANNEL_NAME"));
    }
}

#[tokio::test]
async fn a_policy_gets_the_channel_once() {
    let sysdig = FakeSysdig::start();
    sysdig.state().policies = vec![
        json!({"id": 4, "name": "Shells", "enabled": true, "version": 2, "notificationChannelIds": [1], "scope": "all"}),
        json!({"id": 5, "name": "Files", "enabled": true, "version": 2, "notificationChannelIds": []}),
    ];
    sysdig.state().conflicts = 1;
    let client = sysdig.client(1);
    assert!(client.add_channel_to_policy(4, 101).await.unwrap());
    assert!(!client.add_channel_to_policy(4, 101).await.unwrap());
    let policies = client.policies().await.unwrap();
    assert_eq!(policies[0].channels, [1, 101]);
    assert_eq!(policies[1].channels, Vec::<i64>::new());
    assert_eq!(sysdig.state().policies[0]["scope"], "all");
}

#[tokio::test]
async fn a_forwarder_is_made_once_and_gets_the_token_again() {
    let sysdig = FakeSysdig::start();
    let client = sysdig.client(1);
    let spec = ForwarderSpec {
        name: "Google Security Command Center".into(),
        url: "https://connector.example.com/events".into(),
        token: "secret-1".to_owned().into(),
        allow_insecure: false,
    };
    assert_eq!(client.ensure_forwarder(&spec, true).await.unwrap().change, Change::Created);
    let again = client.ensure_forwarder(&spec, true).await.unwrap();
    assert_eq!((again.id.as_deref(), again.change), (Some("101"), Change::Updated(vec!["token"])));
    let stands = sysdig.state().forwarders.clone();
    assert_eq!(stands.len(), 1);
    assert_eq!(stands[0]["channels"], json!(["SECURE_EVENTS_POLICIES"]));
    assert_eq!(stands[0]["connectionInfo"]["output"], "json");
    // Somebody else writes between our reading and our writing, once.
    sysdig.state().conflicts = 1;
    assert_eq!(client.ensure_forwarder(&spec, true).await.unwrap().change, Change::Updated(vec!["token"]));
    sysdig.state().forwarders[0]["type"] = json!("SPLUNK");
    let taken = client.ensure_forwarder(&spec, true).await.unwrap_err();
    assert!(taken.to_string().contains("is taken by an integration that is no webhook"), "{taken}");
}

#[tokio::test]
async fn what_sysdig_echoes_is_told_without_the_token() {
    let sysdig = Loopback::start(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/api/users/me") => Answer::Json(200, json!({"user": {"username": "robot", "currentTeam": 7}})),
        ("GET", _) => Answer::Json(200, json!({"data": [], "integrations": []})),
        // The token at the edge of what is repeated, and written as JSON in JSON.
        _ => {
            let (sent, filler) = (asked.json().to_string(), "x".repeat(190));
            Answer::Json(422, json!({"message": format!("invalid value {filler}: {sent}")}))
        }
    });
    let fake = FakeSysdig::start();
    let base = sysdig_scc::sysdig::region::base_url(&sysdig.url).unwrap();
    let access = sysdig_scc::sysdig::Access { base, ..fake.access() };
    let client = sysdig_scc::sysdig::Client::new(access, sysdig_scc::sysdig::Patience::default()).unwrap();
    let long = "secret-hook-token-of-some-length-that-may-be-cut";
    let channel = ChannelSpec { token: long.to_owned().into(), ..channel() };
    let forwarder = ForwarderSpec {
        name: channel.name.clone(),
        url: channel.url.clone(),
        token: long.to_owned().into(),
        allow_insecure: false,
    };
    let of_channel = client.ensure_channel(&channel, May::CreateAndUpdate).await.unwrap_err();
    let of_forwarder = client.ensure_forwarder(&forwarder, true).await.unwrap_err();
    for error in [of_channel, of_forwarder] {
        let text = format!("{error} {error:?}");
        assert!(text.contains("422") && text.contains("invalid value") && !text.contains("secret-"), "{text}");
    }
}

fn settings(sysdig: &FakeSysdig) -> Vec<(&str, &str)> {
    vec![
        ("SYSDIG_URL", &sysdig.server.url),
        ("SYSDIG_TOKEN", TOKEN),
        ("WEBHOOK_URL", "https://connector.example.com/events"),
        ("WEBHOOK_AUTHENTICATION_TOKEN", "secret-hook-token-1"),
        ("ORG_ID", "534901558763"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_it_did_and_shows_no_token() {
    let sysdig = FakeSysdig::start();
    sysdig.state().policies =
        vec![json!({"id": 4, "name": "Shells", "enabled": true, "version": 2, "notificationChannelIds": []})];
    let settings = settings(&sysdig);
    let (fine, text) = program(&["setup", "channel", "--dry-run", "--policy", "Shells"], &settings).await;
    let said = ["would be created", "The policy \"Shells\" would be made to send to it."];
    assert!(fine && said.iter().all(|said| text.contains(said)), "{text}");
    let (fine, text) = program(&["setup", "channel", "--dry-run"], &settings).await;
    assert!(fine && text.contains("would be created") && text.contains("No policy sends to it yet"), "{text}");
    assert!(sysdig.state().channels.is_empty());
    let (fine, text) = program(&["setup", "channel"], &settings).await;
    assert!(fine && text.contains("is created") && text.contains("No policy sends to it yet"), "{text}");
    let (fine, again) = program(&["setup", "channel", "--policy", "Shells"], &settings).await;
    assert!(
        fine && again.contains("is unchanged") && again.contains("The policy \"Shells\" sends to it now."),
        "{again}"
    );
    let (fine, forwarder) = program(&["setup", "forwarder"], &settings).await;
    assert!(fine && forwarder.contains("is created"), "{forwarder}");
    let (fine, wrong) = program(&["setup", "channel", "--policy", "Nothing"], &settings).await;
    assert!(!fine && wrong.contains("0 policies are called \"Nothing\""), "{wrong}");
    let policy = |id: i64, name: &str, enabled: bool| json!({"id": id, "name": name, "enabled": enabled, "version": 1});
    sysdig.state().policies.extend([policy(5, "Twin", true), policy(6, "Twin", true), policy(7, "Asleep", false)]);
    let (fine, twins) = program(&["setup", "channel", "--policy", "Twin"], &settings).await;
    assert!(!fine && twins.contains("2 policies are called \"Twin\"; give the id of one: 5, 6"), "{twins}");
    let (fine, one) = program(&["setup", "channel", "--policy", "6", "--policy", "Asleep"], &settings).await;
    assert!(fine && one.contains("The policy \"Twin\" sends to it now."), "{one}");
    assert!(one.contains("The policy \"Asleep\" sends to it now, but is switched off"), "{one}");
    assert!(sysdig.state().policies[1]["notificationChannelIds"].is_null());
    // A wrong name is noticed before anything is changed.
    sysdig.state().channels.clear();
    for more in [&["--dry-run"][..], &[]] {
        let wanted = [&["setup", "channel", "--policy", "Shells", "--policy", "Nothing"], more].concat();
        let (fine, wrong) = program(&wanted, &settings).await;
        assert!(!fine && wrong.contains("0 policies are called \"Nothing\"") && !wrong.contains("create"), "{wrong}");
        assert!(sysdig.state().channels.is_empty());
    }
    for text in [text, again, forwarder, wrong] {
        assert!(!text.contains(TOKEN) && !text.contains("secret-hook"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_can_be_made_without_changing_one_that_stands() {
    let sysdig = FakeSysdig::start();
    let made = sysdig.client(1).ensure_channel(&channel(), May::Create).await.unwrap();
    assert_eq!(made.change.to_string(), "created");
    let of_production = json!({
        "id": 9, "version": 4, "type": "WEBHOOK", "name": channel().name, "isEnabled": true,
        "options": {"url": "https://production.example.com/events", "additionalHeaders": {"Authorization": "CSCC other"}}
    });
    sysdig.state().channels = vec![of_production.clone()];
    let left = sysdig.client(1).ensure_channel(&channel(), May::Create).await.unwrap();
    assert_eq!((left.id, left.change.to_string()), (Some(9), "updated (url, headers)".to_owned()));
    assert_eq!(sysdig.state().channels[0], of_production);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_at_once() {
    let (fine, text) = program::<&str, &str>(&["setup", "channel"], &[]).await;
    assert!(!fine);
    for name in ["SYSDIG_TOKEN", "WEBHOOK_URL", "WEBHOOK_AUTHENTICATION_TOKEN"] {
        assert!(text.contains(name), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_is_found_over_all_pages_else_made() {
    let made = Arc::<Mutex<Vec<Value>>>::default();
    let shared = Arc::clone(&made);
    let scc = Loopback::start(move |asked| {
        let mut made = shared.lock().unwrap();
        match (asked.method.as_str(), asked.query.get("pageToken")) {
            ("POST", _) => {
                let mut source = asked.json();
                source["name"] = json!("organizations/534901558763/sources/77");
                made.push(source.clone());
                Answer::Json(200, source)
            }
            (_, None) => {
                let other = json!({"name": "organizations/534901558763/sources/1", "displayName": "Other"});
                Answer::Json(200, json!({"sources": [other], "nextPageToken": "2"}))
            }
            (_, Some(_)) => Answer::Json(200, json!({ "sources": *made })),
        }
    });
    let settings = [("ORG_ID", "534901558763"), ("SCC_ENDPOINT", scc.url.as_str())];
    let (fine, text) = program(&["setup", "source", "--dry-run"], &settings).await;
    assert!(fine && text.contains("would be made"), "{text}");
    for _ in 0..2 {
        let (fine, text) = program(&["setup", "source"], &settings).await;
        assert!(fine && text.contains("SOURCE_ID=77"), "{text}");
    }
    assert_eq!(made.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_source_cannot_be_had_is_told_with_what_mends_it() {
    let disabled = json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "not been used", "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED",
         "metadata": {"consumer": "projects/289600000042"}}]}});
    let refused = json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "no"}});
    let of_us = ("PROJECT_ID", "our-own-project");
    let grant = "organizations add-iam-policy-binding 534901558763 --member serviceAccount:ACCOUNT --role roles/securitycenter.sourcesEditor";
    for (method, answer, expected) in [
        (
            "GET",
            Answer::Json(403, disabled),
            "gcloud services enable securitycenter.googleapis.com --project 289600000042",
        ),
        ("GET", Answer::Json(403, refused.clone()), grant),
        ("POST", Answer::Json(403, refused), grant),
    ] {
        let scc = Loopback::start(move |asked| match asked.method == method {
            true => answer.clone(),
            false => Answer::Json(200, json!({})),
        });
        let settings = [("ORG_ID", "534901558763"), ("SCC_ENDPOINT", scc.url.as_str()), of_us];
        let (fine, text) = program(&["setup", "source"], &settings).await;
        assert!(!fine && text.contains(expected), "{method}: {text}");
        assert_eq!(text.contains("sourcesEditor"), expected == grant, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_source_may_have_is_refused_before_anybody_is_asked() {
    let scc = Loopback::start(|_| Answer::Json(200, json!({})));
    let settings = [("ORG_ID", "534901558763"), ("SCC_ENDPOINT", scc.url.as_str())];
    for name in ["", &"x".repeat(40), "-x!"] {
        let (fine, text) = program(&["setup", "source", &format!("--name={name}")], &settings).await;
        assert!(!fine && text.contains("--name") && text.contains("1 to 32 letters"), "{text}");
    }
    assert!(scc.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_the_running_connector_refuses_says_how_to_go_on() {
    let sysdig = FakeSysdig::start();
    sysdig.state().add("1", (chrono::Utc::now().timestamp() - 3600) * 1_000_000_000, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let keep = Keep { closed_for: Duration::from_secs(3600), bytes: u64::MAX };
    let running = Sqlite::open(&path, keep).unwrap();
    let door = Loopback::start(|_| Answer::Json(401, json!({"error": "unauthorized"})));
    let (outbox, port) = (format!("sqlite:{}", path.display()), door.url.rsplit(':').next().unwrap().to_owned());
    let mut settings = settings(&sysdig);
    settings.extend([("OUTBOX_URL", outbox.as_str()), ("PORT", port.as_str())]);
    let (fine, text) = program(&["poll", "--from", "2h", "--to", "30m"], &settings).await;
    assert!(!fine && text.contains("PORT and WEBHOOK_AUTHENTICATION_TOKEN are the running connector's"), "{text}");
    let (_, to) = text.split_once("go on with --from ").and_then(|(_, rest)| rest.split_once(" --to ")).expect(&text);
    assert!(to.starts_with("20") && !text.contains("OUTBOX_URL and its storage"), "{text}");
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_prints_what_it_would_send_and_then_takes_it_once() {
    let sysdig = FakeSysdig::start();
    let now = chrono::Utc::now().timestamp();
    for n in 0..300 {
        sysdig.state().add(&format!("{n:032x}"), (now - 7200 + n * 10) * 1_000_000_000, 0);
    }
    let folder = tempfile::tempdir().unwrap();
    let outbox = format!("sqlite:{}/outbox.db", folder.path().display());
    let mut settings = settings(&sysdig);
    settings.extend([("SOURCE_ID", "77"), ("SCC_ENDPOINT", "http://127.0.0.1:1"), ("OUTBOX_URL", outbox.as_str())]);
    let (fine, text) = program(&["poll", "--from", "3h", "--dry-run"], &settings).await;
    assert!(fine && text.contains("300 would be accepted") && text.contains("Nothing was looked up"), "{text}");
    assert!(
        text.contains("0000000000000000000000000000012b") && text.contains("Terminal shell in container"),
        "{text}"
    );
    let hidden = [&settings[..], &[("WEBHOOK_AUTHENTICATION_TOKEN", "sm://a/b,Terminal")]].concat();
    let (fine, text) = program(&["poll", "--from", "3h", "--dry-run"], &hidden).await;
    assert!(fine && text.contains("[redacted] shell in container") && !text.contains("Terminal"), "{text}");
    for expected in ["300 accepted, 0 duplicates", "0 accepted, 300 duplicates"] {
        let (fine, text) = program(&["poll", "--from", "3h"], &settings).await;
        assert!(fine && text.contains(expected), "{text}");
    }
    for (from, to, expected) in [
        ("yesterday", "now", "is no time"),
        ("1h", "2h", "--from must lie before --to"),
        ("22d", "15d", "older than what is asked for"),
    ] {
        let (fine, text) = program(&["poll", "--from", from, "--to", to], &settings).await;
        assert!(!fine && text.contains(expected), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_may_be_given_by_its_place() {
    let sysdig = FakeSysdig::start();
    let secrets = Loopback::start(|asked| {
        use base64::Engine;
        let data = |text: &str| json!({"payload": {"data": base64::engine::general_purpose::STANDARD.encode(text)}});
        match asked.path.as_str() {
            "/v1/projects/acme/secrets/sysdig/versions/latest:access" => Answer::Json(200, data(&format!("{TOKEN}\n"))),
            "/v1/projects/acme/secrets/hook/versions/3:access" => {
                let mut answer = data("from-the-manager");
                answer["payload"]["dataCrc32c"] = json!(crc32c("from-the-manager").to_string());
                Answer::Json(200, answer)
            }
            "/v1/projects/acme/secrets/damaged/versions/latest:access" => {
                let mut answer = data("x");
                answer["payload"]["dataCrc32c"] = json!("1");
                Answer::Json(200, answer)
            }
            _ => Answer::Json(404, json!({"error": {"code": 404, "status": "NOT_FOUND", "message": "no such secret"}})),
        }
    });
    let mut settings = settings(&sysdig);
    settings.extend([
        ("SECRET_MANAGER_ENDPOINT", secrets.url.as_str()),
        ("SYSDIG_TOKEN", "sm://acme/sysdig"),
        ("WEBHOOK_AUTHENTICATION_TOKEN", "sm://acme/hook/3"),
    ]);
    let (fine, text) = program(&["setup", "channel"], &settings).await;
    assert!(fine, "{text}");
    let header = sysdig.state().channels[0]["options"]["additionalHeaders"]["Authorization"].clone();
    assert_eq!(header, "Bearer from-the-manager");
    settings.push(("WEBHOOK_AUTHENTICATION_TOKEN", "spoken, sm://acme/hook/3"));
    let (fine, text) = program(&["setup", "channel"], &settings).await;
    assert!(fine, "{text}");
    let header = sysdig.state().channels[0]["options"]["additionalHeaders"]["Authorization"].clone();
    assert_eq!(header, "Bearer spoken", "while tokens change, one may be a name and the other the token");
    settings.push(("WEBHOOK_AUTHENTICATION_TOKEN", "spoken, sm://acme/absent"));
    let (fine, text) = program(&["setup", "channel"], &settings).await;
    assert!(!fine && text.contains("WEBHOOK_AUTHENTICATION_TOKEN"), "a name is no token: {text}");
    settings.push(("WEBHOOK_AUTHENTICATION_TOKEN", "sm://acme/hook/3"));
    settings.push(("SYSDIG_TOKEN", "sm://acme/damaged"));
    let (fine, text) = program(&["setup", "channel"], &settings).await;
    assert!(!fine && text.contains("arrived damaged"), "{text}");
    settings.push(("SYSDIG_TOKEN", "sm://acme/absent"));
    let (fine, text) = program(&["setup", "channel"], &settings).await;
    assert!(!fine && text.contains("SYSDIG_TOKEN") && text.contains("projects/acme/secrets/absent"), "{text}");
}

/// CRC-32C by its definition.
fn crc32c(text: &str) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
    !text.bytes().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(byte), step))
}
