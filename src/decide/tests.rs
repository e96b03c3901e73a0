//! Whole findings of the main shapes, and what hostile events cannot do.

mod audited;
mod clouds;
mod elsewhere;
mod stock;
mod systems;
mod untold;

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};

use super::{Decision, KnownSecrets, Rules, decide, unwanted};
use crate::enrich::{Enriched, Instance};
use crate::event::Event;
use crate::finding::FindingChange;
use crate::finding::{Finding, FindingClass, FindingSeverity, Operation, Protocol, RoleKind, State, SubjectKind};
use crate::normalize::{Element, delivery};

fn now() -> DateTime<Utc> {
    "2026-11-22T04:00:00Z".parse().unwrap()
}

fn events(body: &str) -> Vec<Event> {
    let event = |element| match element {
        Element::Event { event, .. } => Some(event),
        _ => None,
    };
    delivery(body.as_bytes(), now()).unwrap().into_iter().filter_map(event).collect()
}

fn decided(event: &Event, enriched: &Enriched, rules: &Rules) -> Finding {
    assert_eq!(unwanted(event, rules), None);
    match decide(event, enriched, rules, now()) {
        Decision::Deliver(FindingChange::Create { id, finding }) => {
            assert_eq!(id, event.finding_id());
            *finding
        }
        other => panic!("{other:?}"),
    }
}

fn findings(body: &str) -> Vec<Finding> {
    events(body).iter().map(|event| decided(event, &Enriched::default(), &Rules::new("123"))).collect()
}

fn finding(body: &Value) -> Finding {
    findings(&body.to_string()).remove(0)
}

fn forwarder() -> Value {
    serde_json::from_str(include_str!("../../tests/data/sysdig/forwarder_single.json")).unwrap()
}

#[test]
fn the_finding_of_a_notification_is_complete() {
    let found = findings(include_str!("../../tests/data/sysdig/notification_2018.json")).remove(0);
    let mut json = serde_json::to_value(&found).unwrap();
    json["nextSteps"].take();
    let properties = json!({
                "summary": "A shell was spawned in a container with an attached terminal (user=root shell=bash parent=runc cmdline=bash \
                            terminal=34816)",
                "severity": "5", "rule_type": "RULE_TYPE_FALCO", "container_id": "60a3478041e2", "container_name": "web",
                "kubernetes_pod_name": "web-7984c4d898-rfrwl", "kubernetes_namespace_name": "shop",
                "Pod_Namespace": "shop", "Pod_Name": "web-7984c4d898-rfrwl", "Container_Name": "web",
                "VM_Instance_Name": "gke-demo-default-pool-1af4d30b-716h",
                "sysdig_event_id": "534900000000000001", "sysdig_severity": 5, "received_as": "notification",
                "resource_resolution": "organization", "rule": "Terminal shell in container",
                "sysdig_policy": "Terminal shell in container", "sysdig_policy_id": "4711", "sysdig_policy_version": "2",
                "host_name": "gke-demo-default-pool-1af4d30b-716h", "host_mac": "42:01:0a:9c:00:04",
                "actions": ["capture: done"], "capture_ids": ["c272c8ab-b2ca-4be5-a30c-f1115211f1c6"],
                "falco_rule": "Terminal shell in container", "proc_name": "bash", "user_name": "root"
    });
    assert_eq!(
        json,
        json!({
            "state": "ACTIVE",
            "resourceName": "//cloudresourcemanager.googleapis.com/organizations/123",
            "category": "Terminal shell in container",
            "severity": "MEDIUM",
            "findingClass": "THREAT",
            "eventTime": "2018-04-18T15:41:36.644551Z",
            "externalUri": "https://secure.sysdig.com/#/events/f:1524066060,t:1524066120",
            "description": "A shell was spawned in a container with an attached terminal (user=root shell=bash parent=runc cmdline=bash \
                            terminal=34816)\nPolicy \"Terminal shell in container\": shell attached to a container\nAction taken: capture.",
            "nextSteps": null,
            "moduleName": "sysdig/Terminal shell in container/Terminal shell in container",
            "kubernetes": {"pods": [{"ns": "shop", "name": "web-7984c4d898-rfrwl", "containers": [{"name": "web"}]}]},
            "containers": [{"name": "web"}],
            "processes": [{"name": "bash"}],
            "access": {"userName": "root"},
            "sourceProperties": properties
        })
    );
}

#[test]
fn the_resource_is_the_best_known_one() {
    let event = forwarder();
    assert_eq!(
        finding(&event).resource_name,
        "//compute.googleapis.com/projects/acme-prod/zones/us-central1-c/instances/648229130641697001"
    );
    let mut cluster = event.clone();
    cluster["labels"].as_object_mut().unwrap().remove("gcp.instanceId");
    cluster["labels"]["gcp.location"] = json!("us-central1");
    assert_eq!(
        finding(&cluster).resource_name,
        "//container.googleapis.com/projects/acme-prod/locations/us-central1/clusters/prod"
    );
    let instance = Instance {
        id: "42".into(),
        name: "n".into(),
        zone: "us-central1-c".into(),
        project: "acme-prod".into(),
        ..Instance::default()
    };
    let enriched = Enriched { instance: Some(instance), ..Enriched::default() };
    let found = decided(&events(&cluster.to_string())[0], &enriched, &Rules::new("123"));
    assert_eq!(found.resource_name, "//compute.googleapis.com/projects/acme-prod/zones/us-central1-c/instances/42");
    assert_eq!(found.source_properties["resource_resolution"], "instance_from_compute");
    let mut project = cluster.clone();
    project["labels"].as_object_mut().unwrap().remove("kubernetes.cluster.name");
    assert_eq!(finding(&project).resource_name, "//cloudresourcemanager.googleapis.com/projects/289600000042");
}

#[test]
fn a_project_s_number_is_not_the_whole_name_where_somebody_knows_its_id() {
    let (by_id, mut by_number) = (forwarder(), forwarder());
    by_number["labels"].as_object_mut().unwrap().remove("gcp.projectName");
    by_number["labels"]["gcp.projectId"] = json!("289600000042");
    let placed = |event: &Value, by_id| super::is_placed(&events(&event.to_string())[0], by_id);
    assert!(placed(&by_id, true) && placed(&by_id, false));
    assert!(placed(&by_number, false) && !placed(&by_number, true));
}

#[test]
fn severity_and_class_follow_the_scale_and_the_overrides() {
    for (level, severity) in ["CRITICAL", "HIGH", "HIGH", "HIGH", "MEDIUM", "MEDIUM", "LOW", "LOW"].iter().enumerate() {
        let mut event = forwarder();
        event["severity"] = json!(level);
        let found = finding(&event);
        assert_eq!(found.severity.name(), *severity);
        let class = if level == 7 { FindingClass::Observation } else { FindingClass::Threat };
        assert_eq!(found.finding_class, class);
    }
    let mut rules = Rules::new("organizations/123");
    rules.finding.severities[5] = FindingSeverity::Critical;
    let event = &events(&forwarder().to_string())[0];
    assert_eq!(decided(event, &Enriched::default(), &rules).severity, FindingSeverity::Critical);
    rules.finding.least_severe = 4;
    assert!(unwanted(event, &rules).unwrap().contains("FINDING_MIN_SEVERITY=4"));
    rules.finding.least_severe = 7;
    rules.finding.exclude_rules = vec!["redirect stdout*".into()];
    assert!(unwanted(event, &rules).unwrap().contains("FINDING_EXCLUDE_RULES"));
}

#[test]
fn a_time_in_the_future_is_pulled_back_and_kept() {
    let mut event = forwarder();
    event["timestampRFC3339Nano"] = json!("2030-01-01T00:00:00Z");
    let found = finding(&event);
    assert_eq!(found.event_time, now() - Duration::seconds(1));
    assert_eq!(found.source_properties["original_event_time"], "2030-01-01T00:00:00Z");
}

#[test]
fn hostile_names_never_reach_a_shell_alive() {
    let mut event = forwarder();
    event["labels"]["kubernetes.pod.name"] = json!("$(touch /tmp/owned)");
    event["labels"]["kubernetes.namespace.name"] = json!("a'; touch /tmp/owned; '");
    event["labels"]["kubernetes.cluster.name"] = json!("--flag");
    event["labels"]["kubernetes.node.name"] = json!("--all");
    event["labels"]["gcp.instanceName"] = json!("x`id`");
    let steps = finding(&event).next_steps.unwrap();
    assert!(steps.contains("get pod '$(touch /tmp/owned)'"), "{steps}");
    assert!(steps.contains(r"-n 'a'\''; touch /tmp/owned; '\'''"), "{steps}");
    assert!(!steps.contains("--all") && !steps.contains("--flag"), "{steps}");
    // Run by a real shell in which every program is replaced by one that prints its words.
    let commands: Vec<&str> = steps.lines().filter_map(|line| line.strip_prefix("   ")).collect();
    for command in commands {
        let command = command.split(" > ").next().unwrap();
        let script = format!(
            "kubectl() {{ :; }}\ngcloud() {{ :; }}\nsudo() {{ :; }}\ntouch() {{ echo OWNED; }}\nid() {{ echo OWNED; }}\n{command}\n"
        );
        let output = std::process::Command::new("sh").arg("-c").arg(&script).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{command}");
    }
}

#[test]
fn our_own_secrets_are_left_out_wherever_they_stand() {
    let (secret, short) = ("0b54b2b5f0a94d0fa2c1", "bash");
    let mut event = forwarder();
    for (member, name) in [("fields", "proc.cmdline"), ("fields", "proc.pcmdline"), ("fields", "evt.args")] {
        event["content"][member][name] = json!(format!("echo {secret}x"));
    }
    event["content"]["output"] = json!(format!("bash ran (command=echo {secret})"));
    event["labels"]["agent.tag.note"] = json!(secret);
    let secrets = [secret, short, &secret[..10]].map(|text| secrecy::SecretString::from(text.to_owned()));
    let rules = Rules { secrets: KnownSecrets::new(&secrets), ..Rules::new("123") };
    let found = decided(&events(&event.to_string())[0], &Enriched::default(), &rules);
    let text = serde_json::to_string(&found).unwrap();
    assert!(!text.contains(&secret[..10]), "{text}");
    assert_eq!(found.processes[0].args, ["[redacted]x"]);
    assert_eq!(
        found.description.as_deref().map(|text| text.contains("bash ran (command=echo [redacted])")),
        Some(true)
    );
    assert_eq!(found.resource_name, finding(&event).resource_name);
    for (place, value) in [
        ("/content/type", json!("workloadMLRuntimeDetection")),
        ("/content/exe", json!(format!("/tmp/{secret}"))),
        ("/content/ruleName", json!(format!("Rule {secret}"))),
        ("/content/ruleTags", json!([format!("t-{secret}")])),
        ("/content/runBook", json!(format!("https://x/{secret}"))),
        ("/content/fields/proc.exepath", json!(format!("/x/{secret}"))),
        ("/content/fields/container.image.repository", json!(format!("x/{secret}"))),
        ("/labels/host.hostName", json!(format!("vm-{secret}"))),
        ("/labels/container.name", json!(secret)),
        ("/labels/kubernetes.workload.name", json!(secret)),
        ("/actions", json!([{"type": "capture", "errMsg": format!("no {secret}"), "isSuccessful": false}])),
        ("/description", json!(format!("d {secret}"))),
        ("/url", json!(format!("https://secure.sysdig.com/#/{secret}"))),
    ] {
        let (parent, name) = place.rsplit_once('/').unwrap();
        event.pointer_mut(parent).unwrap()[name] = value;
        let found = decided(&events(&event.to_string())[0], &Enriched::default(), &rules);
        let text = serde_json::to_string(&found).unwrap();
        assert!(!text.contains(&secret[..10]), "{place}: {text}");
        assert!(found.external_uri.is_none_or(|address| !address.contains("redacted")), "{place}");
    }
}

#[test]
fn steps_without_their_facts_are_left_out() {
    let body = json!({"id": "a1", "name": "p", "severity": 3, "content": {"ruleName": "Something"}});
    let steps = finding(&body).next_steps.unwrap();
    assert!(!steps.contains("kubectl") && !steps.contains("gcloud"), "{steps}");
    for placeholder in ["<", "{", "None", "unknown"] {
        assert!(!steps.contains(placeholder), "{steps}");
    }
}

#[test]
fn each_common_case_has_its_own_question() {
    let mut first = std::collections::BTreeSet::new();
    for rule in [
        "Terminal shell in container",
        "Unexpected spawned process",
        "Launch Sensitive Mount Container",
        "Detect crypto miners",
        "Container Drift Detected",
        "Launch Privileged Container",
        "Malware detected",
        "Read something",
    ] {
        let mut event = forwarder();
        event["content"]["ruleName"] = json!(rule);
        let steps = finding(&event).next_steps.unwrap();
        assert!(steps.contains("kubectl -n shop label pod web-c65cf6446-5s8kk quarantine=true"), "{steps}");
        assert!(steps.contains("--zone us-central1-c --project acme-prod"), "{steps}");
        first.insert(steps.lines().nth(1).unwrap().to_owned());
    }
    assert_eq!(first.len(), 8);
}

#[test]
fn in_kube_system_a_rule_keeps_its_own_steps() {
    let steps = |rule: &str, namespace: &str| {
        let mut event = forwarder();
        event["content"]["ruleName"] = json!(rule);
        event["labels"]["kubernetes.namespace.name"] = json!(namespace);
        finding(&event).next_steps.unwrap()
    };
    let compare =
        "Compare it with what else runs in kube-system, by owner and image:\n   kubectl -n kube-system get pods -o";
    for (rule, own) in [
        ("Terminal shell in container", true),
        ("Launch Privileged Container", true),
        ("Launch Sensitive Mount Container", true),
        ("Unexpected spawned process", true),
        ("Launch Suspicious Network Tool in Container", true),
        ("Detect crypto miners", true),
        ("Unexpected container in kube-system", false),
        ("Read something", false),
    ] {
        let (there, here) = (steps(rule, "shop"), steps(rule, "kube-system"));
        let question = there.lines().nth(1).unwrap();
        assert_eq!(here.lines().any(|line| line == question), own, "{rule}: {here}");
        assert_eq!(here.contains("nor your operators put there is an intrusion"), !own, "{rule}: {here}");
        assert!(here.contains(compare) && !there.contains("Compare it"), "{rule}: {here}");
        let inspected = here.split("Inspect what it is allowed to do:\n   ").nth(1).unwrap();
        assert!(
            inspected.starts_with("kubectl -n kube-system get pod web-") || inspected.contains("describe pod web-")
        );
    }
}

#[test]
fn rules_in_another_script_keep_categories_of_their_own() {
    let category = |rule: &str| {
        let mut event = forwarder();
        event["content"]["ruleName"] = rule.into();
        finding(&event).category
    };
    let [one, other] = ["シェル", "終端"].map(category);
    assert!(one.starts_with("Runtime event ") && one.is_ascii() && one != other, "{one} {other}");
    assert_eq!(category("Écriture → /etc"), "Ecriture -> /etc");
}

#[test]
fn a_huge_event_stays_within_every_limit() {
    let mut event = forwarder();
    let fields: serde_json::Map<String, Value> =
        (0..400).map(|n| (format!("field.{n}"), json!("\"\\ä\u{1}".repeat(2_000)))).collect();
    event["content"]["fields"] = Value::Object(fields);
    event["content"]["output"] = json!("\u{2}\"".repeat(50_000));
    event["content"]["ruleName"] = json!("ü".repeat(5_000));
    event["description"] = json!("x".repeat(100_000));
    let found = finding(&event);
    let text = serde_json::to_string(&found).unwrap();
    assert!(text.len() <= 64 * 1024, "{}", text.len());
    assert_eq!(found.source_properties["truncated"], true);
    assert_eq!(found.source_properties["summary_truncated"], true);
    assert!(found.source_properties.len() <= 100 && found.category.len() <= 255);
    assert!(serde_json::to_string(&found.source_properties).unwrap().len() <= 32 * 1024);
}

#[test]
fn secrets_in_command_lines_are_left_out() {
    let found = findings(include_str!("../../tests/data/falco/drop_and_execute.json")).remove(0);
    assert!(!serde_json::to_string(&found).unwrap().contains("hunter2"));
    assert_eq!(found.severity, FindingSeverity::High);
    assert_eq!(found.containers[0].uri.as_deref(), Some("docker.io/library/redis:7"));

    let mut event = forwarder();
    event["content"]["fields"]["proc.cmdline"] = "curl -u me:hunter2 https://a:hunter2@h/x --token hunter2".into();
    event["content"]["fields"]["proc.args"] = "-u me:hunter2 https://a:hunter2@h/x --token hunter2".into();
    let found = finding(&event);
    assert!(!serde_json::to_string(&found).unwrap().contains("hunter2"), "{found:?}");
    assert_eq!(found.processes[0].args.len(), 5);
}

#[test]
fn the_json_of_a_finding_tells_each_member_once_and_none_that_is_absent() {
    for found in findings(include_str!("../../tests/data/sysdig/api_page.json")) {
        let text = serde_json::to_string(&found).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["sourceProperties"].as_object().map(serde_json::Map::len), Some(found.source_properties.len()));
        assert!(!text.contains("null") && !text.contains("[]") && !text.contains("{}"), "{text}");
    }
}

#[test]
fn rules_of_other_scripts_have_categories_of_their_own() {
    let category = |rule: &str| {
        let mut event = forwarder();
        event["content"]["ruleName"] = json!(rule);
        finding(&event).category
    };
    for (one, other) in
        [("監視ルール A", "検知ルール A"), ("규칙 1", "规则 1"), ("Shell (容器)", "Shell (主机)"), ("シェル", "監視")]
    {
        let (one, other) = (category(one), category(other));
        assert_ne!(one, other);
        assert!(one.is_ascii() && one.len() <= 255);
    }
    assert_eq!(category("Écriture → /etc…"), "Ecriture -> /etc...");
    assert!(category("Shell (容器)").starts_with("Shell (??) "));
    assert!(category(&"容a".repeat(300)).len() <= 255);
}

#[test]
fn a_record_of_the_audit_log_names_its_object() {
    let audited = |fields: Value| {
        finding(&json!([{
            "id": "17dec715376910362c8c3f62a4ced001", "type": "policy", "timestamp": 1_720_031_001_639_981_110_i64, "name": "P",
            "severity": 4, "source": "k8s_audit", "content": {"ruleName": "R", "output": "x", "fields": fields},
            "labels": {"kubernetes.cluster.name": "prod", "host.hostName": "agent-node"},
        }]))
    };
    let found = audited(json!({"ka.target.resource": "pods", "ka.target.name": "evil", "ka.target.namespace": "shop",
        "ka.req.pod.containers.image": "(gcr.io/p/x:1)"}));
    let pod = &found.kubernetes.as_ref().unwrap().pods[0];
    assert_eq!((pod.name.as_deref(), pod.ns.as_deref()), (Some("evil"), Some("shop")));
    assert_eq!(found.containers[0].uri.as_deref(), Some("gcr.io/p/x:1"));
    assert_eq!(found.source_properties["Pod_Name"], "evil");
    assert_eq!(found.source_properties["VM_Instance_Name"], Value::Null, "the agent's machine is not the pod's");
    for (resource, expected) in [
        ("deployments", json!({"objects": [{"group": "apps/v1", "kind": "Deployment", "ns": "shop", "name": "n"}]})),
        ("widgets", json!({"objects": [{"ns": "shop", "name": "n"}]})),
        ("roles", json!({"roles": [{"kind": "ROLE", "ns": "shop", "name": "n"}]})),
        (
            "clusterrolebindings",
            json!({"bindings": [{"name": "n", "role": {"kind": "CLUSTER_ROLE", "name": "cluster-admin"}}]}),
        ),
    ] {
        let fields = json!({"ka.target.resource": resource, "ka.target.name": "n", "ka.target.namespace": "shop",
            "ka.req.binding.role": "cluster-admin"});
        assert_eq!(serde_json::to_value(audited(fields).kubernetes.unwrap()).unwrap(), expected, "{resource}");
    }
}

#[test]
fn kinds_digests_tags_and_severities_as_they_were_sent() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut event = forwarder();
        change(&mut event);
        finding(&event)
    };
    let objects = |kind: &str| {
        let found = with(&|event| {
            event["labels"]["kubernetes.workload.type"] = json!(kind);
            event["labels"]["kubernetes.workload.name"] = json!("w");
        });
        found.kubernetes.unwrap().objects.into_iter().map(|object| object.kind.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(objects("pod"), [""; 0]);
    assert_eq!(objects("rollout"), ["Rollout"]);
    assert_eq!(objects("widget"), ["Widget"]);
    let digest = format!("sha256:{}", "a".repeat(64));
    let found = with(&|event| {
        let content = event["content"].as_object_mut().unwrap();
        content["fields"]["container.image"] = json!(format!("gcr.io/p/x@{digest}"));
        ["container.image.repo", "container.image.tag", "container.image.digest"].iter().for_each(|name| {
            event["labels"].as_object_mut().unwrap().remove(*name);
        });
    });
    assert_eq!(found.containers[0].image_id.as_deref(), Some(&*digest));
    let found = with(&|event| {
        let tags: Vec<String> = (0..500).map(|n| format!("t{n}")).chain(["MITRE_T1059_x".to_owned()]).collect();
        event["content"]["ruleTags"] = json!(tags);
    });
    assert!(found.mitre_attack.is_some());
    for (sent, told) in
        [(json!(8), json!(8)), (json!(-1), json!(-1)), (json!("loud"), json!("loud")), (json!(3), json!(3))]
    {
        assert_eq!(with(&|event| event["severity"] = sent.clone()).source_properties["sysdig_severity"], told);
    }
}

/// The enum names of the API: copied facts, and the service's own description when it lies beside the project.
fn known_enums() -> Vec<Value> {
    let copied: Value = serde_json::from_str(include_str!("../../tests/data/scc/enums.json")).unwrap();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/reference/securitycenter-v2.json");
    let described = std::fs::read_to_string(root).ok().map(|text| {
        let document: Value = serde_json::from_str(&text).unwrap();
        let names = |message: &str, member: &str| {
            let member = &document["schemas"][format!("GoogleCloudSecuritycenterV2{message}")]["properties"][member];
            if member["enum"].is_array() { member["enum"].clone() } else { member["items"]["enum"].clone() }
        };
        json!({
            "finding.state": names("Finding", "state"), "finding.severity": names("Finding", "severity"),
            "finding.findingClass": names("Finding", "findingClass"), "connection.protocol": names("Connection", "protocol"),
            "fileOperation.type": names("FileOperation", "type"), "mitreAttack.tactic": names("MitreAttack", "primaryTactic"),
            "mitreAttack.technique": names("MitreAttack", "primaryTechniques"), "role.kind": names("Role", "kind"), "subject.kind": names("Subject", "kind"),
        })
    });
    std::iter::once(copied).chain(described).collect()
}

#[test]
fn every_enum_name_that_can_be_sent_is_known_to_the_api() {
    let (tactics, techniques) = super::mitre::names();
    let sent: [(&str, Vec<&str>); 9] = [
        ("finding.state", State::ALL.iter().map(|value| value.name()).collect()),
        ("finding.severity", FindingSeverity::ALL.iter().map(|value| value.name()).collect()),
        ("finding.findingClass", FindingClass::ALL.iter().map(|value| value.name()).collect()),
        ("connection.protocol", Protocol::ALL.iter().map(|value| value.name()).collect()),
        ("fileOperation.type", Operation::ALL.iter().map(|value| value.name()).collect()),
        ("subject.kind", SubjectKind::ALL.iter().map(|value| value.name()).collect()),
        ("role.kind", RoleKind::ALL.iter().map(|value| value.name()).collect()),
        ("mitreAttack.tactic", tactics.collect()),
        ("mitreAttack.technique", techniques.collect()),
    ];
    for known in known_enums() {
        for (place, names) in &sent {
            let list = known[*place].as_array().unwrap();
            for name in names {
                assert!(list.iter().any(|known| known == name), "{place}: {name}");
            }
        }
    }
}
