//! The set-up of the log sink and what belongs to it: made once, mended where it differs, nothing touched by a dry run.

use serde_json::json;

use crate::fakes::emulator::Emulator;
use crate::fakes::logging::FakeCloud;
use crate::program::program;

const TOPIC: &str = "projects/acme/topics/integrity-monitoring";
const DEAD_TOPIC: &str = "projects/acme/topics/integrity-monitoring-dead-letter";
const SUBSCRIPTION: &str = "projects/acme/subscriptions/sysdig-scc";
const WRITER: &str = "serviceAccount:o17-4711@gcp-sa-logging.iam.gserviceaccount.com";
const AGENT: &str = "serviceAccount:service-123456@gcp-sa-pubsub.iam.gserviceaccount.com";

/// `setup sink` with `arguments`, and nothing in its environment but the fake's addresses.
async fn setup(cloud: &FakeCloud, arguments: &[&str]) -> (bool, String) {
    let url = cloud.server.url.as_str();
    let emulator = ("PUBSUB_EMULATOR_HOST", url.trim_start_matches("http://"));
    sink(&[emulator, ("LOGGING_ENDPOINT", url), ("RESOURCE_MANAGER_ENDPOINT", url)], arguments).await
}

async fn sink(settings: &[(&str, &str)], arguments: &[&str]) -> (bool, String) {
    program(&[&["setup", "sink"], arguments].concat(), settings).await
}

fn bindings(cloud: &FakeCloud, resource: &str) -> Vec<(String, String)> {
    let state = cloud.state();
    let all = state.policies.get(resource).and_then(|policy| policy["bindings"].as_array().cloned());
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    all.unwrap_or_default().iter().map(|b| (text(&b["role"]), text(&b["members"][0]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_run_makes_all_and_the_second_changes_nothing() {
    let cloud = FakeCloud::start();
    let (fine, plan) = setup(&cloud, &["--project", "acme", "--dry-run"]).await;
    assert!(fine && plan.contains("would be made"), "{plan}");
    assert_eq!(cloud.writes(), 0, "a dry run writes nothing");
    // Somebody else writes the policy between our reading and our writing.
    cloud.state().conflicts = 1;
    let (fine, text) = setup(&cloud, &["--project", "acme"]).await;
    assert!(fine && text.contains(&format!("PUBSUB_SUBSCRIPTION={SUBSCRIPTION}")), "{text}");
    assert_eq!(bindings(&cloud, TOPIC), [("roles/pubsub.publisher".into(), WRITER.into())]);
    assert_eq!(bindings(&cloud, DEAD_TOPIC), [("roles/pubsub.publisher".into(), AGENT.into())]);
    assert_eq!(bindings(&cloud, SUBSCRIPTION), [("roles/pubsub.subscriber".into(), AGENT.into())]);
    {
        let state = cloud.state();
        let made = &state.subscriptions[SUBSCRIPTION];
        assert_eq!(made["expirationPolicy"], json!({}));
        assert_eq!(made["retryPolicy"], json!({"minimumBackoff": "10s", "maximumBackoff": "600s"}));
        assert_eq!(made["deadLetterPolicy"], json!({"deadLetterTopic": DEAD_TOPIC, "maxDeliveryAttempts": 100}));
        let dead = &state.subscriptions["projects/acme/subscriptions/sysdig-scc-dead-letter"];
        assert_eq!((&dead["topic"], &dead["expirationPolicy"]), (&json!(DEAD_TOPIC), &json!({})));
        let sink = &state.sinks["projects/acme/sinks/integrity-monitoring"];
        assert_eq!(sink["destination"], format!("pubsub.googleapis.com/{TOPIC}"));
        let filter = sink["filter"].as_str().unwrap();
        assert!(filter.contains(r#"log_id("compute.googleapis.com/shielded_vm_integrity")"#), "{filter}");
        assert!(filter.contains("setShieldedInstanceIntegrityPolicy") && !filter.contains("gotpm"), "{filter}");
        assert!(sink.get("includeChildren").is_none());
    }
    let before = cloud.writes();
    let (fine, again) = setup(&cloud, &["--project", "acme"]).await;
    assert!(fine && again.contains("is there") && !again.contains("was made"), "{again}");
    assert!(again.contains(&format!("{WRITER} has roles/pubsub.publisher")), "{again}");
    assert_eq!(cloud.writes(), before, "a second run writes nothing: {again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_could_not_be_granted_anything_is_something_missing() {
    let refused = json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "no"}});
    for answer in [(403, refused), (200, json!("<html>")), (200, json!({"projectId": "acme"}))] {
        let cloud = FakeCloud::start();
        cloud.state().project = Some(answer);
        let (fine, text) = setup(&cloud, &["--project", "acme"]).await;
        assert!(!fine && text.contains("was granted nothing") && text.contains("something is missing"), "{text}");
        assert!(text.contains("service-PROJECT_NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com"), "{text}");
        assert_eq!(bindings(&cloud, TOPIC).len(), 1, "the rest is done");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_is_mended_and_said() {
    let cloud = FakeCloud::start();
    setup(&cloud, &["--project", "acme"]).await;
    {
        let mut state = cloud.state();
        let sink = state.sinks.get_mut("projects/acme/sinks/integrity-monitoring").unwrap();
        sink["filter"] = json!("severity=ERROR");
        sink["disabled"] = json!(true);
        let subscription = state.subscriptions.get_mut(SUBSCRIPTION).unwrap();
        subscription["expirationPolicy"] = json!({"ttl": "2678400s"});
        subscription["retryPolicy"]["minimumBackoff"] = json!("1s");
    }
    let before = cloud.writes();
    let (fine, plan) = setup(&cloud, &["--project", "acme", "--with-gotpm", "--dry-run"]).await;
    assert!(fine && plan.contains("would be mended: filter") && cloud.writes() == before, "{plan}");
    let (fine, text) = setup(&cloud, &["--project", "acme", "--with-gotpm"]).await;
    assert!(fine && text.contains("was mended: filter") && text.contains("its filter was severity=ERROR"), "{text}");
    assert!(text.contains("was mended: expirationPolicy") && text.contains("Its retryPolicy is another one"), "{text}");
    assert!(text.contains("gcloud logging sinks update integrity-monitoring --project=acme --no-disabled"), "{text}");
    let state = cloud.state();
    assert_eq!(state.subscriptions[SUBSCRIPTION]["expirationPolicy"], json!({}));
    assert_eq!(state.subscriptions[SUBSCRIPTION]["retryPolicy"]["minimumBackoff"], "1s");
    let sink = &state.sinks["projects/acme/sinks/integrity-monitoring"];
    assert!(sink["filter"].as_str().unwrap().contains("gotpm") && sink["disabled"] == true, "{sink}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organizations_sink_pushes_from_a_topic_elsewhere() {
    let cloud = FakeCloud::start();
    let (address, account) = ("https://c.example/pubsub/push", "pusher@acme.iam.gserviceaccount.com");
    let mut arguments = vec!["--organization", "534901558763", "--push-endpoint", address, "--push-account", account];
    let (fine, text) = setup(&cloud, &arguments).await;
    assert!(!fine && text.contains("--topic-project is required"), "{text}");
    arguments.extend(["--topic-project", "acme"]);
    let (fine, text) = setup(&cloud, &arguments).await;
    assert!(fine && text.contains(&format!("PUBSUB_PUSH_AUDIENCE={address}")), "{text}");
    assert!(text.contains(&format!("PUBSUB_PUSH_ACCOUNTS={account}")) && text.contains("TokenCreator"), "{text}");
    {
        let state = cloud.state();
        assert_eq!(state.sinks["organizations/534901558763/sinks/integrity-monitoring"]["includeChildren"], true);
        let push = &state.subscriptions[SUBSCRIPTION]["pushConfig"];
        let token = json!({"serviceAccountEmail": account, "audience": address});
        assert_eq!((&push["pushEndpoint"], &push["oidcToken"]), (&json!(address), &token));
    }
    // Run again without the push, it takes the pushes from nobody.
    let before = cloud.writes();
    let (fine, text) = setup(&cloud, &["--organization", "534901558763", "--topic-project", "acme"]).await;
    assert!(!fine && text.contains("nothing was changed") && text.contains(address), "{text}");
    assert_eq!(cloud.writes(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_access_control_that_is_said() {
    let cloud = FakeCloud::start();
    cloud.state().access = false;
    let (fine, text) = setup(&cloud, &["--project", "acme"]).await;
    assert!(fine && text.contains("is not possible here"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_arguments_are_refused_before_anybody_is_asked() {
    let cloud = FakeCloud::start();
    let cases: [(&[&str], &str); 6] = [
        (&[], "--project"),
        (&["--project", "acme", "--folder", "1"], "cannot be used with"),
        (&["--folder", "platform", "--topic-project", "acme"], "no number"),
        (&["--project", "acme", "--topic", "projects/acme/topics/t"], "--topic"),
        (&["--project", "acme", "--push-endpoint", "https://c.example/pubsub/push"], "--push-account"),
        (&["--project", "acme", "--push-endpoint", "http://c.example/", "--push-account", "a@b"], "not https"),
    ];
    for (arguments, expected) in cases {
        let (fine, text) = setup(&cloud, arguments).await;
        assert!(!fine && text.contains(expected), "{arguments:?}: {text}");
    }
    assert!(cloud.server.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_emulator_takes_it_and_the_second_run_finds_all() {
    let Some(emulator) = Emulator::pubsub().await else { return };
    let (fine, text) = sink(&[("PUBSUB_EMULATOR_HOST", &emulator.host())], &["--project", "acme"]).await;
    assert!(fine && text.contains("Cloud Logging cannot write to the emulator"), "{text}");
    assert_eq!(text.matches("was made").count(), 4, "{text}");
    let (fine, again) = sink(&[("PUBSUB_EMULATOR_HOST", &emulator.host())], &["--project", "acme"]).await;
    assert!(fine && !again.contains("was made") && !again.contains("was mended"), "{again}");
    // What the emulator can change of a subscription that somebody made is mended, once.
    by_hand(&emulator, "plain", json!({"topic": TOPIC, "expirationPolicy": {}, "ackDeadlineSeconds": 20})).await;
    let arguments = ["--project", "acme", "--subscription", "plain"];
    let (fine, text) = sink(&[("PUBSUB_EMULATOR_HOST", &emulator.host())], &arguments).await;
    assert!(fine && text.contains("plain was mended: ackDeadlineSeconds, retryPolicy, deadLetterPolicy"), "{text}");
    let (fine, again) = sink(&[("PUBSUB_EMULATOR_HOST", &emulator.host())], &arguments).await;
    assert!(fine && !again.contains("was mended"), "{again}");
    // It cannot change when one expires.
    by_hand(&emulator, "brief", json!({"topic": TOPIC, "expirationPolicy": {"ttl": "2678400s"}})).await;
    let (fine, text) =
        sink(&[("PUBSUB_EMULATOR_HOST", &emulator.host())], &["--project", "acme", "--subscription", "brief"]).await;
    assert!(!fine && text.contains("subscriptions/brief --expiration-period=never"), "{text}");
}

async fn by_hand(emulator: &Emulator, name: &str, subscription: serde_json::Value) {
    let url = format!("http://{}/v1/projects/acme/subscriptions/{name}", emulator.host());
    let made = reqwest::Client::new().put(&url).json(&subscription).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
}
