//! `check`, the real program as a process between fakes: all well, and every failing line with what mends it.
//! Whatever happens, no secret is printed and nothing is changed anywhere.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sysdig_scc::sandbox::{self, DEFAULT_ORGANIZATION, DEFAULT_SOURCE, Quotas, Running, Settings};
use sysdig_scc::state::sqlite::SqliteStore;

use crate::attest_issuer::{ISSUER, KEY, jwks};
use crate::disk::spoil;
use crate::fakes::compute::{FakeCompute, instance, refused};
use crate::fakes::kubernetes::FakeKubernetes;
use crate::fakes::loopback::{Answer, Asked, Loopback};
use crate::fakes::sysdig::{self, FakeSysdig};
use crate::google_auth::key;
use crate::world::{TOKEN, World, event};

const ACCESS_TOKEN: &str = "ya29.this-must-not-be-told";
const HOOK: &str = "https://connector.example.com/events";
const CHANNEL: &str = "Google Security Command Center";
const ALL: &[&str] =
    &["securitycenter.findings.update", "securitycenter.findings.list", "securitycenter.findings.setState"];

/// What `check` is run with.
struct Ground {
    folder: tempfile::TempDir,
    settings: Vec<(String, String)>,
}

impl Ground {
    fn new(scc: &str) -> Self {
        let ground = Self { folder: tempfile::tempdir().unwrap(), settings: Vec::new() };
        ground
            .with("WEBHOOK_AUTHENTICATION_TOKEN", TOKEN)
            .with("ORG_ID", DEFAULT_ORGANIZATION)
            .with("SOURCE_ID", DEFAULT_SOURCE)
            .with("SCC_ENDPOINT", scc)
            .with("OUTBOX_URL", "sqlite:data/outbox.db")
            .with("STATE_URL", "sqlite:data/state.db")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    fn sysdig(self, sysdig: &FakeSysdig) -> Self {
        self.with("SYSDIG_URL", &sysdig.server.url).with("SYSDIG_TOKEN", sysdig::TOKEN)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn check(&self) -> Checked {
        self.check_with(&[]).await
    }

    /// Runs the program. Later settings win over earlier ones.
    async fn check_with(&self, args: &[&str]) -> Checked {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sysdig-scc"));
        command.args(["check", "--format", "json"]).args(args).env_clear();
        command.envs(self.settings.iter().cloned()).current_dir(self.path());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        for secret in [TOKEN, ACCESS_TOKEN, sysdig::TOKEN, "PRIVATE KEY", "another-token"] {
            assert!(!told.contains(secret), "{secret} was told:\n{told}");
        }
        let lines: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON:\n{told}"));
        let failed = lines.as_array().unwrap().iter().any(|line| line["state"] == "failed");
        assert_eq!(output.status.code(), Some(i32::from(failed)), "{lines:#}");
        Checked(lines)
    }
}

#[derive(Debug)]
struct Checked(Value);

impl Checked {
    fn lines(&self) -> &Vec<Value> {
        self.0.as_array().unwrap()
    }

    fn names(&self) -> Vec<&str> {
        self.lines().iter().map(|line| line["what"].as_str().unwrap()).collect()
    }

    fn line(&self, what: &str) -> &Value {
        self.lines().iter().find(|line| line["what"] == what).unwrap_or_else(|| panic!("no {what} in {:#}", self.0))
    }

    /// The line stands so, and says both.
    fn says(&self, what: &str, state: &str, found: &str, remedy: &str) {
        let line = self.line(what);
        let text = |member: &str| line[member].as_str().unwrap_or_default();
        let holds = line["state"] == state && text("found").contains(found) && text("remedy").contains(remedy);
        assert!(holds, "expected {what} {state}: {found:?}, {remedy:?}\nin {:#}", self.0);
    }
}

/// A Security Command Center that grants these permissions.
fn scc(granted: &'static [&'static str]) -> Loopback {
    Loopback::start(move |asked| match asked.path.as_str() {
        path if path.ends_with(":testIamPermissions") => Answer::Json(200, json!({ "permissions": granted })),
        path if path.ends_with("/sources") || path.ends_with("/findings") => Answer::Json(200, json!({})),
        _ => Answer::Json(404, json!({})),
    })
}

/// One that says this to everything.
fn scc_saying(status: u16, body: Value) -> Loopback {
    Loopback::start(move |_| Answer::Json(status, body.clone()))
}

/// A token endpoint.
fn tokens() -> Loopback {
    Loopback::start(|_| {
        Answer::Json(200, json!({"access_token": ACCESS_TOKEN, "expires_in": 3600, "token_type": "Bearer"}))
    })
}

fn error(status: u16, canonical: &str, reason: &str) -> Value {
    json!({"error": {"code": status, "message": "refused", "status": canonical, "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com",
         "metadata": {"consumer": "projects/4711", "service": "an.googleapis.com"}}]}})
}

fn channel(url: &str, headers: Value) -> Value {
    json!({"id": 9, "version": 1, "type": "WEBHOOK", "name": CHANNEL, "isEnabled": true,
           "options": {"url": url, "additionalHeaders": headers}})
}

fn good_channel() -> Value {
    channel(HOOK, json!({"Authorization": format!("Bearer {TOKEN}")}))
}

fn policy(name: &str, enabled: bool, channels: &[i64]) -> Value {
    json!({"id": 4, "name": name, "enabled": enabled, "notificationChannelIds": channels})
}

async fn started_sandbox() -> Running {
    let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), quotas: Quotas::LIFTED, ..Settings::default() };
    sandbox::start(settings).await.unwrap()
}

/// An issuer of attestation tokens on this machine.
fn issuer() -> Loopback {
    Loopback::start(|asked| match asked.path.as_str() {
        "/.well-known/openid-configuration" => {
            let keys = format!("http://{}/keys", asked.header("host"));
            Answer::Json(200, json!({"issuer": ISSUER, "jwks_uri": keys}))
        }
        "/keys" => Answer::Json(200, serde_json::from_str(&jwks(&[&KEY])).unwrap()),
        _ => Answer::Json(404, json!({})),
    })
}

fn kubeconfig(ground: &Ground, server: &str) -> String {
    let path = ground.path().join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&path, text.to_string()).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn when_all_is_well_every_line_says_so_in_a_fixed_order_and_nothing_is_changed() {
    let (scc, google, sysdig, compute, issuer) =
        (started_sandbox().await, tokens(), FakeSysdig::start(), FakeCompute::start(), issuer());
    let kubernetes = FakeKubernetes::start();
    sysdig.state().channels = vec![good_channel()];
    sysdig.state().policies = vec![policy("Shells", true, &[9]), policy("Files", true, &[])];
    let vms = vec![instance("acme", "europe-west3-a", "vm-1", 1, "10.0.0.1")];
    compute.state().projects = vec![("acme".into(), "1".into(), vms)];
    compute.state().zones = vec!["europe-west3-a".into()];
    let ground = Ground::new(&scc.url()).sysdig(&sysdig);
    let policies = ground.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/confidential-vm.yaml");
    std::fs::copy(kept, policies.join("confidential-vm.yaml")).unwrap();
    let kubeconfig = kubeconfig(&ground, &kubernetes.server.url);
    let ground = ground
        .with("SECURITY_SERVICE_ACCOUNT_INFO", &key(&format!("{}/token", google.url)).to_string())
        .with("SYSDIG_POLL", "true")
        .with("WEBHOOK_URL", HOOK)
        .with("COMPUTE_PROJECT_ID", "acme")
        .with("COMPUTE_ENDPOINT", &compute.server.url)
        .with("KUBERNETES_ENRICH", "kubeconfig")
        .with("KUBECONFIG", &kubeconfig)
        .with("PUBSUB_PUSH_AUDIENCE", "https://connector.example.com/pubsub/push")
        .with("PUBSUB_PUSH_ACCOUNTS", "push@acme.iam.gserviceaccount.com")
        .with("PUBSUB_PUSH_JWKS_URL", &format!("{}/keys", issuer.url))
        .with("ATTESTATION_POLICIES", "policies")
        .with("ATTESTATION_ENDPOINT", &issuer.url);
    let checked = ground.check().await;
    let expected = [
        "settings",
        "outbox",
        "state",
        "token",
        "Security Command Center",
        "location",
        "clock",
        "clock (Sysdig)",
        "Sysdig token",
        "Sysdig events",
        "Sysdig channel",
        "Sysdig policies",
        "Compute Engine acme",
        "Kubernetes",
        "Pub/Sub push",
        "attestation policies",
        "attestation issuer",
    ];
    assert_eq!(checked.names(), expected, "{checked:#?}");
    for line in checked.lines() {
        assert!(line["state"] == "ok" && line.get("remedy").is_none(), "{line:#}");
    }
    checked.says("token", "ok", "service_account for scc@p.iam.gserviceaccount.com", "");
    checked.says("Sysdig token", "ok", "robot@example.com of team 77", "");
    checked.says("Sysdig policies", "ok", "\"Shells\"", "");
    checked.says("Pub/Sub push", "ok", "never expires and writes no metadata", "");
    assert!(!ground.path().join("data").exists(), "no store was made");
    let wrote = |asked: &Asked| asked.method != "GET";
    assert!(!sysdig.server.asked().iter().chain(&compute.server.asked()).any(wrote));
}

#[tokio::test]
async fn offline_nobody_is_asked() {
    let (scc, sysdig) = (scc(ALL), FakeSysdig::start());
    let ground = Ground::new(&scc.url).sysdig(&sysdig).with("WEBHOOK_URL", HOOK);
    let checked = ground.check_with(&["--offline"]).await;
    assert_eq!(checked.names(), ["settings", "outbox", "state"]);
    assert!(scc.asked().is_empty() && sysdig.server.asked().is_empty());
}

#[tokio::test]
async fn every_problem_of_the_settings_is_a_failed_line() {
    let checked = Ground::new("http://127.0.0.1:9").with("PORT", "http").with("SCC_LOCATION", "Mars").check().await;
    checked.says("PORT", "failed", "whole number", "for example");
    checked.says("SCC_LOCATION", "failed", "Mars", "global");
}

#[tokio::test]
async fn a_refused_key_is_told_without_it() {
    let (scc, google) = (scc(ALL), Loopback::start(|_| Answer::Json(400, json!({"error": "invalid_grant"}))));
    let key = key(&format!("{}/token", google.url)).to_string();
    let checked = Ground::new(&scc.url).with("SECURITY_SERVICE_ACCOUNT_INFO", &key).check().await;
    assert_eq!(checked.line("token")["state"], "failed");
    assert!(!checked.names().contains(&"Security Command Center"), "{checked:?}");
}

#[tokio::test]
async fn security_command_center_names_what_mends_each_refusal() {
    let disabled = scc_saying(403, error(403, "PERMISSION_DENIED", "SERVICE_DISABLED"));
    let checked = Ground::new(&disabled.url).check().await;
    let enable = "gcloud services enable securitycenter.googleapis.com --project 4711";
    checked.says("Security Command Center", "failed", "SERVICE_DISABLED", enable);

    let (none, google) = (scc(&[]), tokens());
    let key = key(&format!("{}/token", google.url)).to_string();
    let checked = Ground::new(&none.url).with("SECURITY_SERVICE_ACCOUNT_INFO", &key).check().await;
    let grant = format!(
        "gcloud organizations add-iam-policy-binding {DEFAULT_ORGANIZATION} --member serviceAccount:scc@p.iam.gserviceaccount.com --role roles/securitycenter.findingsEditor"
    );
    checked.says("Security Command Center", "failed", "not granted", &grant);
    checked.says("Security Command Center", "failed", "", "scripts/generate_gcloud_keys, or without a key");
    let keyless = Ground::new(&none.url).check().await;
    keyless.says("Security Command Center", "failed", "", "scripts/setup_workload_identity, or for a key file");

    let away = scc_saying(404, json!({"error": {"code": 404, "status": "NOT_FOUND", "message": "no such source"}}));
    Ground::new(&away.url).check().await.says(
        "Security Command Center",
        "failed",
        "NOT_FOUND",
        "sysdig-scc setup source",
    );

    let legacy = json!({"error": {"code": 400, "status": "FAILED_PRECONDITION",
        "message": "Security Command Center Legacy has been disabled"}});
    let checked = Ground::new(&scc_saying(400, legacy).url).check().await;
    checked.says(
        "Security Command Center",
        "failed",
        "Legacy",
        "activate Security Command Center for the organization",
    );

    let nowhere = Ground::new("http://127.0.0.1:1").check().await;
    nowhere.says("Security Command Center", "failed", "on the way", "egress");
    nowhere.says("clock", "warning", "could not be compared", "reached");
}

#[tokio::test]
async fn findings_that_are_closed_again_need_more_rights() {
    let scc = scc(&["securitycenter.findings.update"]);
    let checked = Ground::new(&scc.url).check().await;
    checked.says("Security Command Center", "ok", "may be written", "");
    checked.says("location", "ok", "not asked", "");
    let checked = Ground::new(&scc.url).with("PUBSUB_PUSH_UNVERIFIED", "true").check().await;
    checked.says("Security Command Center", "failed", "securitycenter.findings.setState", "findingsEditor");
    checked.says("Pub/Sub push", "warning", "anybody", "PUBSUB_PUSH_AUDIENCE");
}

#[tokio::test]
async fn a_location_that_the_organization_does_not_have_is_told() {
    let scc = Loopback::start(|asked| match asked.path.as_str() {
        path if path.ends_with(":testIamPermissions") => Answer::Json(200, json!({ "permissions": ALL })),
        _ => Answer::Json(400, json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "location"}})),
    });
    Ground::new(&scc.url).check().await.says("location", "failed", "global at 127.0.0.1", "SCC_LOCATION");
}

#[tokio::test]
async fn the_source_is_found_by_its_name() {
    for (names, state, found, remedy) in [
        (vec!["Other", "Sysdig Secure"], "ok", "SOURCE_ID=1 ", ""),
        (vec!["Other"], "failed", "none of the 1 sources", "sysdig-scc setup source"),
        (vec!["Sysdig Secure", "Sysdig Secure"], "failed", "2 sources are called", "set SOURCE_ID"),
    ] {
        let name =
            |(n, name): (usize, &&str)| json!({"name": format!("organizations/1/sources/{n}"), "displayName": name});
        let all: Vec<Value> = names.iter().enumerate().map(name).collect();
        let scc = Loopback::start(move |asked| match asked.path.as_str() {
            path if path.ends_with("/sources") => Answer::Json(200, json!({ "sources": all })),
            _ => Answer::Json(200, json!({ "permissions": ALL })),
        });
        Ground::new(&scc.url).with("SOURCE_ID", "").check().await.says("source", state, found, remedy);
    }
    let refuses = scc_saying(403, error(403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED"));
    let checked = Ground::new(&refuses.url).with("SOURCE_ID", "").check().await;
    checked.says("source", "failed", "PERMISSION_DENIED", "--role roles/securitycenter.sourcesViewer");
}

#[tokio::test]
async fn a_clock_that_is_off_is_told() {
    for (minutes, state) in [(1, "warning"), (-1, "warning"), (10, "failed")] {
        let scc = Loopback::start(move |asked| {
            let date = chrono::Utc::now() + chrono::TimeDelta::minutes(minutes);
            let date = ("Date", date.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
            match asked.path.ends_with(":testIamPermissions") {
                true => Answer::With(200, vec![date], json!({ "permissions": ALL })),
                false => Answer::With(200, vec![date], json!({})),
            }
        });
        let side = if minutes > 0 { "behind 127.0.0.1" } else { "ahead of 127.0.0.1" };
        Ground::new(&scc.url).check().await.says("clock", state, side, "timedatectl set-ntp true");
    }
}

#[tokio::test]
async fn a_service_that_hangs_is_a_failed_line_and_the_others_are_told() {
    let scc = Loopback::start(|_| Answer::Hang);
    let checked = Ground::new(&scc.url).check_with(&["--timeout", "1"]).await;
    checked.says("Security Command Center", "failed", "within 1 s", "--timeout");
    checked.says("token", "ok", "sandbox", "");
    checked.says("state", "ok", "will be made", "");
}

#[tokio::test]
async fn sysdig_names_what_mends_each_refusal() {
    let (scc, sysdig) = (scc(ALL), FakeSysdig::start());
    let ground = || Ground::new(&scc.url).sysdig(&sysdig);
    let forbidden = || Some(Answer::Json(403, json!({"message": "no permission policy-events.read"})));

    let checked = ground().with("SYSDIG_TOKEN", "another-token").check().await;
    checked.says("Sysdig token", "failed", "401", "SYSDIG_TOKEN");
    sysdig.state().trouble.push_back(forbidden());
    ground().check().await.says("Sysdig events", "warning", "only the poller", "policy-events.read");
    sysdig.state().trouble.push_back(forbidden());
    ground().with("SYSDIG_POLL", "true").check().await.says("Sysdig events", "failed", "403", "policy-events.read");
    // Whose token it is may be nobody's business; what it may do is asked all the same.
    sysdig.state().nameless = true;
    let checked = ground().with("WEBHOOK_URL", HOOK).with("SYSDIG_POLL", "true").check().await;
    checked.says("Sysdig token", "warning", "403", "policy-events.read");
    checked.says("Sysdig events", "ok", "may be read", "");
    checked.says("Sysdig channel", "warning", "made at start", "");
}

#[tokio::test]
async fn a_channel_that_delivers_nothing_is_told() {
    let (scc, sysdig) = (scc(ALL), FakeSysdig::start());
    let bearer = json!({"authorization": format!("Bearer {TOKEN}")});
    let stands = |channels: Vec<Value>, policies: Vec<Value>| {
        sysdig.state().channels = channels;
        sysdig.state().policies = policies;
    };
    let check = async |auto: &str| {
        let ground = Ground::new(&scc.url).sysdig(&sysdig).with("WEBHOOK_URL", HOOK);
        ground.with("SYSDIG_AUTO_CHANNEL", auto).check().await
    };
    let carry = "sysdig-scc setup channel --policy NAME";

    check("true").await.says("Sysdig channel", "warning", "made at start", carry);
    check("false").await.says("Sysdig channel", "warning", "nothing arrives", "setup forwarder");
    stands(vec![json!({"id": 9, "name": CHANNEL, "type": "SLACK", "version": 1, "options": {}})], vec![]);
    check("true").await.says("Sysdig channel", "failed", "taken by a channel of the type SLACK", "SYSDIG_CHANNEL_NAME");
    stands(vec![channel("https://old.example.com/events", bearer.clone())], vec![]);
    let checked = check("false").await;
    checked.says("Sysdig channel", "failed", "old.example.com", "sysdig-scc setup channel");
    checked.says("Sysdig policies", "warning", "none sends to the channel", carry);
    check("true").await.says("Sysdig channel", "warning", "put right at start", "sysdig-scc setup channel");
    stands(vec![channel(HOOK, json!({"X-Token": TOKEN}))], vec![policy("Shells", false, &[9])]);
    let checked = check("false").await;
    checked.says("Sysdig channel", "failed", "no header Authorization", "sysdig-scc setup channel");
    checked.says("Sysdig policies", "warning", "switched off", carry);
    stands(vec![channel(HOOK, json!({"Authorization": "Bearer another-token"}))], vec![]);
    check("false").await.says("Sysdig channel", "failed", "is not WEBHOOK_AUTHENTICATION_TOKEN", "setup channel");
    // What our door takes is right in any form, and an older token works as long as it is set.
    stands(vec![channel(HOOK, json!({"authorization": format!("CSCC {TOKEN}")}))], vec![]);
    check("false").await.says("Sysdig channel", "ok", HOOK, "");
    let ground = || Ground::new(&scc.url).sysdig(&sysdig).with("WEBHOOK_URL", HOOK);
    let rotating = || ground().with("WEBHOOK_AUTHENTICATION_TOKEN", &format!("a-newer-token-of-ours,{TOKEN}"));
    let older = |then: &str| format!("it works as long as that is there{then}");
    for (auto, then) in [("true", "; this is put right at start"), ("false", "")] {
        let checked = rotating().with("SYSDIG_AUTO_CHANNEL", auto).check().await;
        checked.says("Sysdig channel", "warning", &older(then), "setup channel");
    }
    let ground = ground().with("SYSDIG_AUTO_CHANNEL", "false");
    stands(vec![channel(HOOK, bearer)], vec![]);
    let checked = ground.with("WEBHOOK_ALLOW_INSECURE", "true").check().await;
    checked.says("Sysdig channel", "failed", "verifies the certificate", "setup channel");
    // A value that Sysdig masks is not a wrong one, and the older API answers as well.
    sysdig.state().public_api = false;
    stands(vec![channel(HOOK, json!({"Authorization": "********"}))], vec![policy("Shells", true, &[9])]);
    let checked = check("false").await;
    checked.says("Sysdig channel", "ok", HOOK, "");
    checked.says("Sysdig policies", "ok", "Shells", "");
}

#[tokio::test]
async fn each_project_of_compute_engine_has_its_line() {
    let (scc, compute) = (scc(ALL), FakeCompute::start());
    compute.state().projects = vec![("acme".into(), "1".into(), vec![])];
    let ground = Ground::new(&scc.url).with("COMPUTE_ENDPOINT", &compute.server.url);
    let both = ground.with("COMPUTE_PROJECT_ID", "acme,other");
    let checked = both.check().await;
    checked.says("Compute Engine acme", "ok", "may be listed", "");
    let grant =
        "gcloud projects add-iam-policy-binding other --member serviceAccount:ACCOUNT --role roles/compute.viewer";
    checked.says("Compute Engine other", "failed", "compute.instances.list", grant);

    let one = both.with("COMPUTE_PROJECT_ID", "acme");
    compute.state().trouble.push_back(refused(403, "accessNotConfigured", "not enabled"));
    let enable = "gcloud services enable compute.googleapis.com --project acme";
    one.check().await.says("Compute Engine acme", "failed", "accessNotConfigured", enable);
    // The project that Google names, which need not be the one that is asked about.
    compute.state().trouble.push_back(Answer::Json(403, error(403, "PERMISSION_DENIED", "SERVICE_DISABLED")));
    let enable = "gcloud services enable compute.googleapis.com --project 4711";
    one.check().await.says("Compute Engine acme", "failed", "SERVICE_DISABLED", enable);
    compute.state().trouble.push_back(refused(403, "rateLimitExceeded", "slow down"));
    one.check().await.says("Compute Engine acme", "warning", "slow down", "try again");

    compute.state().zones = vec!["us-central1-a".into()];
    let zones = one.with("COMPUTE_ZONE", "us-central1-a,us-central1-z");
    zones.check().await.says("Compute Engine acme", "failed", "was not found", "us-central1-z in COMPUTE_ZONE");
}

#[tokio::test]
async fn what_kubernetes_does_not_let_us_read_is_told_once() {
    let (scc, kubernetes) = (scc(ALL), FakeKubernetes::start());
    kubernetes.state().refused = vec!["nodes", "jobs"];
    let ground = Ground::new(&scc.url).with("KUBERNETES_ENRICH", "kubeconfig");
    let path = kubeconfig(&ground, &kubernetes.server.url);
    let ground = ground.with("KUBECONFIG", &path);
    ground.check().await.says("Kubernetes", "warning", "may not be read: nodes, jobs", "rbac.yaml");
    let ground = ground.with("KUBECONFIG", "/nowhere");
    ground.check().await.says("Kubernetes", "failed", "KUBERNETES_ENRICH", "in-cluster");
}

#[tokio::test]
async fn a_subscription_that_cannot_be_pulled_or_will_vanish_is_told() {
    let scc = scc(ALL);
    let never = json!({});
    for (status, subscription, state, found, remedy) in [
        (200, json!({"expirationPolicy": never}), "ok", "may be pulled", ""),
        (
            200,
            json!({"expirationPolicy": {"ttl": "2678400s"}}),
            "warning",
            "is deleted",
            "update scc --project acme --expiration-period never",
        ),
        (
            200,
            json!({"pushConfig": {"pushEndpoint": "https://x"}, "expirationPolicy": never}),
            "failed",
            "pushes",
            "modify-push-config scc",
        ),
        (
            200,
            json!({"pushConfig": {"pushEndpoint": "https://x"}, "expirationPolicy": {"ttl": "2678400s"}}),
            "warning",
            "is deleted",
            "--expiration-period never",
        ),
        (
            200,
            json!({"pushConfig": {"noWrapper": {"writeMetadata": true}}}),
            "warning",
            "headers",
            "--clear-push-no-wrapper-config",
        ),
        (404, json!({}), "failed", "is not there", "gcloud pubsub subscriptions create scc --project acme"),
        (403, json!({}), "ok", "may not be seen", ""),
    ] {
        let pubsub = Loopback::start(move |_| Answer::Json(status, subscription.clone()));
        let ground = Ground::new(&scc.url).with("PUBSUB_SUBSCRIPTION", "projects/acme/subscriptions/scc");
        let checked = ground.with("PUBSUB_EMULATOR_HOST", &pubsub.url).check().await;
        checked.says("Pub/Sub subscription", state, found, remedy);
        assert!(pubsub.asked().iter().all(|asked| asked.method == "GET"), "nothing was pulled");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_told() {
    let scc = scc(ALL);
    let ground =
        Ground::new(&scc.url).with("OUTBOX_URL", "sqlite:file/outbox.db").with("STATE_URL", "sqlite:file/state.db");
    std::fs::write(ground.path().join("file"), "not a folder").unwrap();
    let checked = ground.check().await;
    checked.says("outbox", "failed", "cannot be made", "OUTBOX_URL");
    checked.says("state", "failed", "cannot be made", "STATE_URL");
    let checked = ground.with("STATE_URL", "sqlite::memory:").check().await;
    checked.says("state", "warning", "in memory", "STATE_URL");

    let ground = Ground::new(&scc.url);
    std::fs::create_dir(ground.path().join("data")).unwrap();
    let state = ground.path().join("data/state.db");
    std::fs::write(&state, "this is no database ".repeat(500)).unwrap();
    ground.check_with(&["--offline"]).await.says("state", "failed", "no SQLite database", "move that one away");
    std::fs::remove_file(&state).unwrap();
    drop(SqliteStore::open(&state).unwrap());
    ground.check_with(&["--offline"]).await.says("state", "ok", "is sound and can be written", "");
    spoil(&state);
    ground.check_with(&["--offline"]).await.says("state", "failed", "is damaged", "A damaged state store");

    let ground = Ground::new(&scc.url);
    let one = ground.path().join("s.db").display().to_string();
    let ground = ground.with("OUTBOX_URL", "sqlite:./s.db").with("STATE_URL", &format!("sqlite:{one}"));
    let checked = ground.check_with(&["--offline"]).await;
    checked.says("STATE_URL", "failed", "names the file of OUTBOX_URL", "a file of its own");
    let checked = ground.with("OUTBOX_URL", "sqlite::memory:").check_with(&["--offline"]).await;
    checked.says("OUTBOX_URL", "failed", "gone with the process", "outlives the process");

    let refuses = scc_saying(403, error(403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED"));
    let ground = Ground::new(&scc.url).with("STATE_URL", "firestore://acme/(default)");
    let checked = ground.with("FIRESTORE_EMULATOR_HOST", &refuses.url).check().await;
    checked.says(
        "state",
        "failed",
        "PERMISSION_DENIED",
        "gcloud projects add-iam-policy-binding acme --member serviceAccount:ACCOUNT --role roles/datastore.user",
    );
}

#[tokio::test]
async fn the_outbox_of_a_running_connector_is_read_and_the_connector_is_asked() {
    let world = World::new().await;
    assert_eq!(world.sends(event(1).to_string()).await.0, 200);
    world.settle().await;
    let scc = scc(ALL);
    let outbox = format!("sqlite:{}", world.outbox.display());
    let ground = Ground::new(&scc.url).with("OUTBOX_URL", &outbox);
    let elsewhere = ground.with("PORT", "1");
    let checked = elsewhere.check_with(&["--offline"]).await;
    checked.says("outbox", "warning", "it is sound. Whether it can be written is not known", "PORT");
    let ground = elsewhere.with("PORT", world.url.rsplit(':').next().unwrap());
    ground.check_with(&["--offline"]).await.says("outbox", "ok", "which writes it; it is sound", "");

    let state = world.outbox.with_file_name("state.db");
    let ground = ground.with("STATE_URL", &format!("sqlite:{}", state.display()));
    ground.check_with(&["--offline"]).await.says("state", "ok", "sound", "");
    std::fs::remove_file(&state).unwrap();
    let checked = ground.check_with(&["--offline"]).await;
    checked.says("state", "failed", "removed or replaced while in use", "A damaged state store");

    let lock = rusqlite::Connection::open(&world.outbox).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let checked = ground.check_with(&["--offline"]).await;
    checked.says(
        "outbox",
        "failed",
        "which says: the outbox cannot write now: the outbox's file is locked",
        "Senders get 503",
    );
    lock.execute_batch("ROLLBACK").unwrap();
    drop(lock);

    let kept = world.outbox.with_extension("copy");
    std::fs::copy(&world.outbox, &kept).unwrap();
    std::fs::rename(&kept, &world.outbox).unwrap();
    let checked = ground.check_with(&["--offline"]).await;
    checked.says("outbox", "failed", "replaced by another file", "Senders get 503");
    std::fs::write(&world.outbox, "this is no database ".repeat(500)).unwrap();
    ground.check_with(&["--offline"]).await.says("outbox", "failed", "damaged", "under `damaged`");
}

#[tokio::test]
async fn a_secret_is_read_by_its_name_and_never_told() {
    use base64::Engine;
    let (scc, sysdig) = (scc(ALL), FakeSysdig::start());
    let data = base64::engine::general_purpose::STANDARD.encode(sysdig::TOKEN);
    let manager = Loopback::start(move |asked| match asked.path.contains("/secrets/sysdig/") {
        true => Answer::Json(200, json!({"payload": {"data": data}})),
        false => Answer::Json(403, error(403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED")),
    });
    let ground = Ground::new(&scc.url).sysdig(&sysdig).with("SECRET_MANAGER_ENDPOINT", &manager.url);
    let ground = ground.with("SYSDIG_TOKEN", "sm://acme/sysdig");
    let checked = ground.check().await;
    checked.says("Secret Manager", "ok", "SYSDIG_TOKEN can be read", "");
    checked.says("Sysdig token", "ok", "robot@example.com", "");
    let checked = ground.with("SYSDIG_TOKEN", "sm://acme/other").check().await;
    checked.says("SYSDIG_TOKEN", "failed", "PERMISSION_DENIED", "roles/secretmanager.secretAccessor");
}

#[tokio::test]
async fn attestation_that_could_not_work_is_told_without_asking_anybody() {
    let ground = Ground::new("http://127.0.0.1:1").with("ATTESTATION_POLICIES", "policies");
    let ground = ground.with("ATTESTATION_ENDPOINT", "http://example.com");
    let ground = ground.with("ATTESTATION_SECRETS", "db=codelab:file:/nonexist");
    let checked = ground.with("ATTESTATION_CODELAB_PATH", "/metrics").check_with(&["--offline"]).await;
    checked.says("ATTESTATION_ENDPOINT", "failed", "neither https nor http on this machine", "https://");
    checked.says("ATTESTATION_SECRETS", "failed", "/nonexist", "put the file there");
    checked.says("ATTESTATION_CODELAB_PATH", "failed", "/metrics is answered by the connector", "use /");
}

#[tokio::test]
async fn attestation_that_would_not_start_is_told() {
    let scc = scc(ALL);
    let ground = Ground::new(&scc.url).with("ATTESTATION_POLICIES", "policies");
    ground.check().await.says("attestation policies", "failed", "cannot be read", "ATTESTATION_POLICIES");
    let policies = ground.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    ground.check().await.says("attestation policies", "failed", "holds none", "put policies there");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/confidential-vm.yaml");
    std::fs::copy(kept, policies.join("confidential-vm.yaml")).unwrap();
    let away = Loopback::start(|_| Answer::Json(503, json!({})));
    let ground = ground.with("ATTESTATION_ENDPOINT", &away.url);
    let checked = ground.check().await;
    checked.says("attestation policies", "ok", "loaded", "");
    checked.says("attestation issuer", "failed", "503", "ATTESTATION_JWKS_FILE");
    let checked = ground.with("ATTESTATION_POLICY", "unheard-of").check().await;
    checked.says("attestation policies", "failed", "unheard-of, which is not among", "ATTESTATION_POLICY");
}

#[tokio::test]
async fn one_file_of_keys_beside_several_issuers_is_told() {
    let ground = Ground::new("http://127.0.0.1:1").with("ATTESTATION_POLICIES", "policies");
    let policies = ground.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    std::fs::write(ground.path().join("jwks.json"), jwks(&[&KEY])).unwrap();
    let named = |name: &str, issuer: &str| {
        let text = format!("issuer: {issuer}\naudiences: [a]\ncondition: assertion.secboot\n");
        std::fs::write(policies.join(name), text).unwrap();
    };
    let ground = ground.with("ATTESTATION_JWKS_FILE", "jwks.json");
    named("google.yaml", ISSUER);
    named("one.yaml", "https://one.example");
    ground.check_with(&["--offline"]).await.says("attestation keys", "warning", ISSUER, "jwksJson");
    named("google.yaml", "https://two.example");
    let told = "not Google's: https://one.example, https://two.example";
    ground.check_with(&["--offline"]).await.says("attestation policies", "failed", told, "jwksJson");
}
