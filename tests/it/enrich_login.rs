//! Who we are at the Kubernetes API server: a login program or a token's file may say it, late, wrongly or not at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sysdig_scc::causes::chain;
use sysdig_scc::config::enrich::Keep;
use sysdig_scc::config::enrich::{KubernetesConfig, KubernetesSource};
use sysdig_scc::enrich::kubernetes::KubernetesEnricher;
use sysdig_scc::enrich::login::access;
use sysdig_scc::enrich::{Enriched, Enrichment};

use crate::enrich::event;
use crate::fakes::kubernetes::FakeKubernetes;
use crate::recovery::Process;
use crate::world::World;

const TOKEN: &str = "very-secret-token";

fn cluster() -> FakeKubernetes {
    let cluster = FakeKubernetes::start();
    for number in 0..3 {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("web-{number}")},
                         "spec": {"containers": []}});
        cluster.state().objects.insert(format!("/api/v1/namespaces/shop/pods/web-{number}"), pod);
    }
    cluster
}

/// A program, as the shell says it.
fn program(script: &str) -> Value {
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh", "args": ["-c", script],
                      "interactiveMode": "Never"});
    json!({ "exec": exec })
}

fn credential(rest: &Value) -> String {
    let mut status = rest.clone();
    status["token"] = json!(TOKEN);
    json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}).to_string()
}

fn enricher(cluster: &FakeKubernetes, user: &Value) -> KubernetesEnricher {
    let mut config = kube::Config::new(cluster.server.url.parse().unwrap());
    config.auth_info = serde_json::from_value(user.clone()).unwrap();
    let settings = KubernetesConfig { source: KubernetesSource::InCluster, cluster: None };
    let keep = Keep { found: Duration::from_secs(600), missed: Duration::from_secs(30), entries: 100 };
    KubernetesEnricher::new(access(config).unwrap(), &settings, keep)
}

fn enrichment(cluster: &FakeKubernetes, user: &Value) -> Enrichment {
    Enrichment::new(vec![Arc::new(enricher(cluster, user))], Duration::from_secs(5))
}

async fn look(enrichment: &Enrichment, number: usize) -> Enriched {
    let labels = json!({"kubernetes.namespace.name": "shop", "kubernetes.pod.name": format!("web-{number}")});
    enrichment.enrich(&event(labels, "")).await
}

#[tokio::test]
async fn a_token_is_shown_until_it_ends() {
    for (rest, runs) in [
        (json!({}), 1),
        (json!({"expirationTimestamp": "2999-01-01T00:00:00Z"}), 1),
        (json!({"expirationTimestamp": "2001-01-01T00:00:00Z"}), 2),
    ] {
        let (cluster, folder) = (cluster(), tempfile::tempdir().unwrap());
        let count = folder.path().join("count");
        let script = format!("echo x >>{}; echo '{}'", count.display(), credential(&rest));
        let enrichment = enrichment(&cluster, &program(&script));
        for number in 0..2 {
            let found = look(&enrichment, number).await;
            assert_eq!((found.workload.is_some(), found.gaps), (true, vec![]));
        }
        let shown = |asked: &crate::fakes::loopback::Asked| asked.header("authorization") == format!("Bearer {TOKEN}");
        assert!(cluster.server.asked().iter().all(shown));
        assert_eq!(std::fs::read_to_string(count).unwrap().lines().count(), runs, "{rest}");
    }
}

#[tokio::test]
async fn nothing_that_a_login_program_prints_is_repeated() {
    let said = credential(&json!({}));
    for (script, gap, unsettled) in [
        (
            format!("echo '{said}'; exit 1"),
            "the login program /bin/sh of the kubeconfig failed (exit status: 1); run it by hand to see why",
            true,
        ),
        (
            format!("echo '{{\"status\": {{\"token\": [\"{TOKEN}\"]}}}}'"),
            "the login program /bin/sh of the kubeconfig printed no ExecCredential with a token or a certificate",
            false,
        ),
    ] {
        let cluster = cluster();
        let user = program(&script);
        let told = chain(&enricher(&cluster, &user).permitted().await.unwrap_err());
        assert_eq!(told, gap);
        let enrichment = enrichment(&cluster, &user);
        for number in 0..3 {
            let found = look(&enrichment, number).await;
            assert_eq!((found.gaps, found.unsettled), (vec![gap.to_owned()], unsettled));
        }
        assert!(cluster.server.asked().is_empty());
    }
    // The library's own login repeats it, too.
    let config = json!({"cmd-path": "/bin/sh", "cmd-args": "/nowhere", "token-key": "{.token}"});
    let user = json!({"auth-provider": {"name": "gcp", "config": config}});
    let told = chain(&enricher(&cluster(), &user).permitted().await.unwrap_err());
    assert_eq!(told, "the auth-provider of the kubeconfig gave no token");
}

#[tokio::test]
async fn a_login_that_goes_on_holds_nobody_up_for_long() {
    let cluster = cluster();
    let slow = Arc::new(enricher(&cluster, &program(&format!("sleep 1; echo '{}'", credential(&json!({}))))));
    let began = Instant::now();
    let hurried = Enrichment::new(vec![Arc::clone(&slow) as _], Duration::from_millis(50));
    let found = look(&hurried, 0).await;
    assert!(found.unsettled && began.elapsed() < Duration::from_millis(900), "{:?}", found.gaps);
    // It went on, for whoever asks next.
    let patient = Enrichment::new(vec![slow as _], Duration::from_secs(10));
    let found = look(&patient, 1).await;
    assert_eq!((found.workload.is_some(), found.gaps), (true, vec![]));
}

#[tokio::test]
async fn a_token_s_file_may_end_in_a_line_and_has_to_hold_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let user = json!({ "tokenFile": path });
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    let cluster = cluster();
    assert!(look(&enrichment(&cluster, &user), 0).await.workload.is_some());
    assert_eq!(cluster.server.asked()[0].header("authorization"), format!("Bearer {TOKEN}"));
    std::fs::write(&path, "two words\n").unwrap();
    let found = look(&enrichment(&cluster, &user), 1).await;
    let place = path.display();
    let gap = format!(
        "the token file {place} of the kubeconfig is no token: it is empty, or has blanks or control characters within"
    );
    assert_eq!(found.gaps, [gap]);
    std::fs::remove_file(&path).unwrap();
    let found = look(&enrichment(&cluster, &user), 2).await;
    assert_eq!(found.gaps, [format!("the token file {place} of the kubeconfig cannot be read")]);
}

#[tokio::test]
async fn what_a_server_did_answer_is_told_as_that() {
    let cluster = cluster();
    cluster.state().objects.insert("/api/v1/namespaces/shop/pods/web-0".into(), json!(["no pod"]));
    let found = enrichment(&cluster, &json!({}));
    let odd = look(&found, 0).await;
    assert_eq!(odd.gaps, ["the Kubernetes API server's answer for pods could not be read"]);
    assert!(look(&found, 1).await.workload.is_some(), "the server is not left alone for it");
    // A login may be renewed, and what stands in the settings stays.
    for (user, unsettled) in
        [(json!({"token": "x"}), false), (program(&format!("echo '{}'", credential(&json!({})))), true)]
    {
        cluster.state().trouble = [("pods", 401)].into();
        let found = look(&enrichment(&cluster, &user), 2).await;
        assert_eq!(found.gaps, ["the Kubernetes API server does not accept our credentials"]);
        assert_eq!(found.unsettled, unsettled);
    }
}

/// The whole program: it listens, delivers, and says what is missing.
#[tokio::test]
async fn a_login_program_that_is_missing_costs_no_more_than_what_it_would_have_added() {
    let cluster = cluster();
    let mut world = World::new().await;
    world.stop().await;
    let kubeconfig = world.outbox.with_file_name("kubeconfig");
    let user = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/gke-plugin"}});
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": cluster.server.url}}], "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let settings = [("KUBERNETES_ENRICH", "kubeconfig"), ("KUBECONFIG", kubeconfig.to_str().unwrap())];
    let process = Process::with(&world, &settings);
    world.url = process.url.clone();
    let mut one = crate::world::event(1);
    one["labels"]["kubernetes.namespace.name"] = json!("shop");
    one["labels"]["kubernetes.pod.name"] = json!("web-0");
    assert_eq!(world.sends(one.to_string()).await.0, 200);
    world.settle().await;
    let findings = world.findings().await;
    let gaps = findings[0]["sourceProperties"]["enrichment_gaps"].to_string();
    assert!(gaps.contains("the login program /nowhere/gke-plugin of the kubeconfig cannot be started"), "{gaps}");
}
