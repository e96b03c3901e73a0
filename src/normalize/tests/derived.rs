//! Ids that are made, where a sender brings none.

use serde_json::{Value, json};

use super::*;

fn id(event: &Value) -> String {
    only(&event.to_string()).id
}

fn forwarder() -> Value {
    json!({"type": "policy", "timestamp": 1_720_031_001, "originator": "policy", "source": "syscall", "name": "P",
        "severity": 3, "labels": {"kubernetes.pod.name": "a"},
        "content": {"ruleName": "Terminal shell in container", "output": "shell", "policyId": 1}})
}

fn legacy() -> Value {
    json!({"policyId": 1, "timestamp": 1_524_066_096_000_000_u64, "severity": 3, "output": "shell", "fields": [],
        "ruleType": "RULE_TYPE_FALCO", "name": "P", "metrics": ["h1", "k8s_c_pa_ns_uid_0"],
        "eventLabels": [{"key": "kubernetes.pod.name", "value": "a"}]})
}

#[test]
fn whatever_an_event_says_tells_it_from_others() {
    let learned = {
        let mut event = forwarder();
        event["content"] = json!({"type": "workloadMLRuntimeDetection", "command": "xmrig", "policyId": 1});
        event
    };
    for (event, path, value) in [
        (forwarder(), "/labels", json!({"kubernetes.pod.name": "b"})),
        (forwarder(), "/labels", json!({"kubernetes.pod.name": "a", "kubernetes.namespace.name": "n"})),
        (forwarder(), "/labels", json!({"kubernetes.pod.name": "a", "kubernetes.cluster.name": "c"})),
        (forwarder(), "/labels", json!({"host.hostName": "a"})),
        (forwarder(), "/content/fields", json!({"proc.pid": "1"})),
        (forwarder(), "/content/policyId", json!(2)),
        (forwarder(), "/content/output", json!("another shell")),
        (forwarder(), "/name", json!("Q")),
        (forwarder(), "/severity", json!(2)),
        (forwarder(), "/machineId", json!("42:01:0a:80:00:05")),
        (forwarder(), "/agentId", json!(1)),
        (forwarder(), "/containerId", json!("6949e5f10829")),
        (forwarder(), "/timestamp", json!(1_720_031_002)),
        (forwarder(), "/timestamp", json!("<NA>")),
        (forwarder(), "/timestamp", json!("garbage")),
        (forwarder(), "/actions", json!([{"type": "capture", "token": "c1"}])),
        (learned, "/labels", json!({"container.name": "b"})),
        (legacy(), "/metrics", json!(["h2", "k8s_c_pb_ns_uid_0"])),
        (legacy(), "/eventLabels", json!([{"key": "kubernetes.pod.name", "value": "b"}])),
        (legacy(), "/version", json!(2)),
    ] {
        let mut other = event.clone();
        let (parent, member) = path.rsplit_once('/').unwrap();
        other.pointer_mut(parent).unwrap()[member] = value.clone();
        assert_ne!(id(&event), id(&other), "{path}: {value}");
        other["id"] = json!("17dec715376910362c8c3f62a4ced001");
        assert_eq!(id(&other), "17dec715376910362c8c3f62a4ced001");
    }
}

#[test]
fn however_it_is_sent_the_same_event_is_the_same() {
    let sent = id(&forwarder());
    assert_eq!(sent.len(), 32);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut event = forwarder();
        change(&mut event);
        event
    };
    for same in [
        with(&|event| event["id"] = json!("")),
        with(&|event| event["id"] = json!(0)),
        with(&|event| event["id"] = json!("0")),
        with(&|event| event["id"] = Value::Null),
        with(&|event| event["cursor"] = json!("LTltNGUybXIwdWkzZThhMjE1bjRn")),
        with(&|event| event["timestamp"] = json!("2024-07-03T18:23:21Z")),
        with(&|event| event["timestampNs"] = json!(1_720_031_001_000_000_000_u64)),
        with(&|event| event["severity"] = json!("3")),
        with(&|event| event["containerId"] = json!("")),
        with(&|event| event["actions"] = json!([])),
        json!({"event": forwarder()}),
        json!({"timestamp": 1_720_031_060, "entities": [{"policies": [{"id": 1, "name": "P"}], "policyEvents": [forwarder()]}]}),
    ] {
        assert_eq!(sent, id(&same), "{same}");
    }
    let spaced = serde_json::to_string_pretty(&forwarder()).unwrap();
    assert_eq!(sent, only(&spaced).id);
    let reversed = r#"{"labels":{"kubernetes.pod.name":"a"},"severity":3,"name":"P","source":"syscall","originator":"policy",
        "content":{"policyId":1,"output":"shell","ruleName":"Terminal shell in container"},"timestamp":1720031001,"type":"policy"}"#;
    assert_eq!(sent, only(reversed).id);
}

#[test]
fn integers_beyond_64_bits_are_ids_as_they_were_written() {
    let event = |id: &str| format!(r#"{{"id":{id},"type":"policy","name":"x","content":{{"ruleName":"R"}}}}"#);
    let ids = ["123456789012345678901", "123456789012345678902"];
    let found = events(&format!("[{}]", ids.map(event).join(",")));
    assert_eq!(found.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ids);
    assert_ne!(only(&event("1.5")).id, only(&event("2.5")).id);
}
