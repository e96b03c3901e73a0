//! The set-up at Sysdig: found, else made; run twice, done once.

use serde_json::json;
use sysdig_scc::sysdig::channels::{Change, ChannelSpec};
use sysdig_scc::sysdig::forwarders::ForwarderSpec;

use crate::fakes::sysdig::FakeSysdig;

fn channel() -> ChannelSpec {
    ChannelSpec {
        name: "Google Security Command Center".into(),
        url: "https://connector.example.com/events".into(),
        token: "secret-1".to_owned().into(),
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
        let planned = client.ensure_channel(&channel(), false).await.unwrap();
        assert_eq!((planned.id, planned.change), (None, Change::Created));
        let made = client.ensure_channel(&channel(), true).await.unwrap();
        assert_eq!((made.id, made.change), (Some(101), Change::Created));
        let again = client.ensure_channel(&channel(), true).await.unwrap();
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
        let changed = sysdig.client(1).ensure_channel(&channel(), true).await.unwrap();
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
async fn without_an_administrators_rights_the_channel_is_the_teams() {
    let sysdig = FakeSysdig::start();
    sysdig.state().admin = false;
    let made = sysdig.client(1).ensure_channel(&channel(), true).await.unwrap();
    assert_eq!(made.team, Some(77));
}

#[tokio::test]
async fn a_name_taken_by_another_kind_of_channel_is_said() {
    let sysdig = FakeSysdig::start();
    sysdig.state().channels =
        vec![json!({"id": 1, "type": "EMAIL", "name": "Google Security Command Center", "version": 1})];
    let error = sysdig.client(1).ensure_channel(&channel(), true).await.unwrap_err();
    assert!(error.to_string().contains("is taken by a channel"), "{error}");
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
}
