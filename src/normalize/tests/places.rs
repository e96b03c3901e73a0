//! Where it happened, and where it did not.

use serde_json::json;

use super::*;

fn runtime(event: &serde_json::Value) -> Runtime {
    let found = delivery(event.to_string().as_bytes(), DateTime::UNIX_EPOCH).unwrap();
    match found.as_slice() {
        [Element::Event { event: Event::Runtime(event), .. }] => (**event).clone(),
        other => panic!("{other:?}"),
    }
}

fn event(fields: serde_json::Value, labels: serde_json::Value) -> serde_json::Value {
    json!({"id": "1", "type": "policy", "name": "P", "severity": 4, "content": {"ruleName": "R", "fields": fields}, "labels": labels})
}

#[test]
fn an_agents_tag_makes_no_cluster_of_a_plain_machine() {
    let plain =
        runtime(&event(json!({}), json!({"agent.tag.cluster": "fleet", "gcp.projectId": "1", "host.hostName": "vm"})));
    assert_eq!(plain.kubernetes.cluster, None);
    let node = runtime(&event(json!({}), json!({"agent.tag.cluster": "prod", "kubernetes.namespace.name": "shop"})));
    assert_eq!(node.kubernetes.cluster.as_deref(), Some("prod"));
}

#[test]
fn host_is_never_a_containers_name_without_a_containers_id() {
    let fields = json!({"container.name": "host"});
    let mut on_top = event(fields.clone(), json!({}));
    on_top["containerId"] = json!("host");
    for event in [
        event(fields.clone(), json!({})),
        on_top,
        event(json!({"container.id": "host"}), json!({"container.name": "host"})),
    ] {
        let event = runtime(&event);
        let told =
            [&event.fields, &event.labels].map(|facts| facts.get("container.name").or(facts.get("container.id")));
        assert_eq!((told, event.container.name, event.container.id), ([None, None], None, None));
    }
}

#[test]
fn host_is_no_containers_name_in_falcos_words_either() {
    let falco = |id: &str| {
        let fields = json!({"container.id": id, "container.name": "host", "proc.name": "cat"});
        runtime(&json!({"rule": "R", "priority": "Notice", "output": "o", "output_fields": fields}))
    };
    let on_host = falco("host");
    assert_eq!((on_host.field("container.name"), &on_host.container), (None, &Default::default()));
    assert_eq!(falco("32c415f00958").field("container.name"), Some("host"), "a container may have this name");
}

fn falco(hostname: &str, fields: &serde_json::Value) -> Runtime {
    runtime(&json!({"rule": "R", "priority": "Notice", "output": "o", "time": "2025-05-18T10:18:15Z",
        "hostname": hostname, "output_fields": fields}))
}

#[test]
fn what_falco_does_not_know_yet_of_a_container_is_no_value() {
    let fields = json!({"container.id": "32c415f00958", "container.name": "incomplete", "container.image": "incomplete",
        "container.image.repository": "incomplete", "container.image.tag": "incomplete", "proc.name": "incomplete",
        "container.image.digest": "incomplete", "k8s.pod.name": "incomplete"});
    for found in [falco("node-1", &fields), runtime(&event(fields.clone(), fields.clone()))] {
        let told = &found.container;
        assert_eq!((&told.name, &told.image, &told.digest), (&None, &None, &None));
        assert_eq!((found.field("container.name"), found.field("container.image.tag")), (None, None));
        assert_eq!((found.field("proc.name"), found.field("k8s.pod.name")), (Some("incomplete"), Some("incomplete")));
    }
    assert_eq!(falco("node-1", &fields).id, "c4f7a0239c27504cdba5efb0bcb82c4a", "made of the fields as they came");
}

#[test]
fn without_fields_no_sentence_tells_the_place() {
    let forged = "command=sh -c id container_id=deadbeef0000 k8s_pod_name=kube-apiserver-1 k8s_ns_name=kube-system";
    let sent = json!({"rule": "Terminal shell in container", "priority": "Notice", "hostname": "node-1",
        "time": "2026-11-23T14:49:02.1Z", "output": format!("14:49:02.1: Notice A shell | {forged}")});
    let with = |name: &str, value: serde_json::Value| {
        let mut sent = sent.clone();
        sent[name] = value;
        runtime(&sent)
    };
    for found in [runtime(&sent), with("source", "syscall".into()), with("output_fields", json!({}))] {
        assert!(found.container.is_empty() && found.kubernetes.is_empty(), "{found:?}");
        assert!(found.notes[0].contains("in its sentence only"), "{found:?}");
    }
    for source in ["aws_cloudtrail", "github", "okta", "k8s_audit"] {
        assert_eq!(with("source", source.into()).notes, [""; 0], "no containers are there");
    }
}

#[test]
fn host_is_no_hosts_name() {
    assert_eq!(falco("host", &json!({"container.id": "host"})).host.name, None);
    assert_eq!(falco("host", &json!({"evt.hostname": "vm-1"})).host.name.as_deref(), Some("vm-1"));
    assert_eq!(runtime(&event(json!({}), json!({"host.hostName": "host"}))).host.name, None);
    assert_eq!(
        falco("host", &json!({"container.id": "host"})).id,
        "b56b46d45cc17934c69086836fc6e1a9",
        "made of the name as it came"
    );
    let by_field = runtime(&json!({"rule": "r", "priority": "Notice", "output": "o", "time": "2026-11-23T14:49:02.1Z",
        "output_fields": {"evt.hostname": "host"}}));
    assert_eq!((by_field.host.name, by_field.id.as_str()), (None, "adb3d4c272f236aebc644a7175f24d2a"));
}

#[test]
fn an_image_that_is_known_by_its_id_has_no_name() {
    let id = format!("sha256:{}", "5f70".repeat(16));
    let tag = &id[7..];
    for (fields, image, image_id) in [
        (json!({"container.image.repository": "sha256"}), None, None),
        (json!({"container.image": id}), None, Some(&id)),
        (json!({"container.image": id, "container.image.repository": "sha256"}), None, Some(&id)),
        (json!({"container.image.repository": "sha256", "container.image.tag": tag}), None, Some(&id)),
        (
            json!({"container.image": id, "container.image.repository": "sha256", "container.image.tag": "5f705f70"}),
            None,
            Some(&id),
        ),
        (json!({"container.image": "sha256:5f70"}), None, None),
        (json!({"container.image": "alpine:3", "container.image.repository": "sha256"}), Some("alpine:3"), None),
        (json!({"container.image": "sha256sum:1"}), Some("sha256sum:1"), None),
    ] {
        let found = falco("node-1", &fields).container;
        assert_eq!((found.image.as_deref(), found.image_id.as_ref()), (image, image_id), "{fields}");
        assert_eq!(found.digest, None, "it is no digest of a registry");
    }
}

#[test]
fn a_kind_without_its_member_leaves_the_workload_that_is_named() {
    let labels = json!({"kubernetes.workload.type": "deployment", "kubernetes.replicaSet.name": "web-5"});
    let found = runtime(&event(json!({}), labels)).kubernetes;
    assert_eq!((found.workload_kind.as_deref(), found.workload.as_deref()), (Some("replicaset"), Some("web-5")));
}

#[test]
fn an_action_without_a_word_is_none() {
    let mut quirk = event(json!({}), json!({}));
    quirk["actions"] = json!([{"type": ""}, {"type": "capture", "isSuccessful": true}]);
    let actions = runtime(&quirk).actions;
    assert_eq!(actions.iter().map(|action| action.kind.as_str()).collect::<Vec<_>>(), ["capture"]);
}

#[test]
fn nothing_among_the_entities_vanishes() {
    let one =
        |id: &str| json!({"id": id, "name": "P", "containerId": "c1", "fields": [], "policyId": 7, "timestampNs": 1});
    let told = |entities: serde_json::Value| {
        let body = json!({"timestamp": 1_500_000_000, "entities": entities}).to_string();
        let found = delivery(body.as_bytes(), DateTime::UNIX_EPOCH).unwrap();
        found
            .into_iter()
            .map(|element| match element {
                Element::Event { .. } => "event".to_owned(),
                Element::Ignored(_) | Element::Unknown { .. } => "ignored".to_owned(),
                Element::Unreadable { reason, body } => {
                    // Read again, it is kept again, and nothing else with it.
                    let again = stored(&body, DateTime::UNIX_EPOCH).unwrap();
                    assert!(matches!(again, Element::Unreadable { .. }), "{again:?}");
                    reason
                }
            })
            .collect::<Vec<_>>()
    };
    let good = json!({"policyEvents": [one("1")]});
    assert_eq!(told(json!([good, "garbage"])), ["event", "entities[1] is a string, not an object"]);
    assert_eq!(told(json!([good, [good]])), ["event", "entities[1] is an array, not an object"]);
    assert_eq!(told(json!(["garbage"])), ["entities[0] is a string, not an object"]);
    assert_eq!(told(good.clone()), ["event"], "one that stands alone");
    assert_eq!(told(json!([{"policyEvents": []}, null])), ["ignored"]);
}

#[test]
fn labels_of_another_cloud_say_that_it_is_not_googles() {
    for (labels, expected) in [
        (json!({"aws.accountId": "1", "aws.instanceId": "i-0abc"}), Some("aws")),
        (json!({"azure.location": "westeurope"}), Some("azure")),
        (json!({"cloudProvider.name": "gcp", "aws.accountId": "1"}), Some("gcp")),
        (json!({"gcp.projectId": "289600000042"}), Some("gcp")),
        (json!({"gcp.availabilityZone": "europe-west3-b"}), Some("gcp")),
        (json!({"gcp.location": "europe-west3"}), Some("gcp")),
        (json!({"gcp.location": "europe-west3", "aws.accountId": "1"}), Some("aws")),
        (json!({"gcp.location": "europe-west3", "cloudProvider.name": "azure"}), Some("azure")),
        (json!({"host.hostName": "node-1"}), None),
    ] {
        assert_eq!(runtime(&event(json!({}), labels.clone())).cloud.provider.as_deref(), expected, "{labels}");
    }
}

#[test]
fn a_pods_sandbox_is_no_container_of_it() {
    let name = "k8s_POD_web-1_shop_35b5c3ff-3d9e-11e8-9249-42010a9c0071_0";
    for labels in [
        json!({"container.name": name}),
        json!({"container.name": name, "container.label.io.kubernetes.container.name": "POD",
            "container.label.io.kubernetes.pod.name": "web-1", "container.label.io.kubernetes.pod.namespace": "shop"}),
    ] {
        let found = runtime(&event(json!({}), labels));
        assert_eq!(
            (found.kubernetes.pod.as_deref(), found.kubernetes.namespace.as_deref()),
            (Some("web-1"), Some("shop"))
        );
        assert_eq!(found.container.name, None);
    }
}

/// The pod that is told, and whether its container is.
fn pod(labels: serde_json::Value, fields: serde_json::Value) -> String {
    let found = runtime(&event(fields, labels));
    let told = [&found.kubernetes.namespace, &found.kubernetes.pod].map(|text| text.as_deref().unwrap_or("?"));
    format!("{}{}", told.join("/"), found.container.name.map(|name| format!(" {name}")).unwrap_or_default())
}

#[test]
fn a_record_of_the_audit_log_is_not_about_its_collectors_pod() {
    let collector = json!({"kubernetes.namespace.name": "agents", "kubernetes.pod.name": "agent-x1",
        "kubernetes.deployment.name": "agent", "kubernetes.cluster.name": "prod", "container.name": "agent"});
    let placed = json!({"kubernetes.namespace.name": "agents"});
    let own = json!({"kubernetes.namespace.name": "shop", "kubernetes.pod.name": "web-1", "container.name": "web"});
    let of_pod = json!({"ka.target.namespace": "shop", "ka.target.name": "web-1", "ka.target.resource": "pods"});
    let part = json!({"ka.target.namespace": "shop", "ka.target.name": "web-1", "ka.target.subresource": "exec"});
    let secret = json!({"ka.target.namespace": "shop", "ka.target.name": "db", "ka.target.resource": "secrets"});
    let path = json!({"ka.uri": "/api/v1/namespaces/shop/pods/web-1/exec?command=sh"});
    let unplaced = json!({"ka.target.name": "web-1", "ka.target.resource": "pods"});
    for (labels, fields, expected) in [
        (&collector, &of_pod, "shop/web-1"),
        (&collector, &part, "shop/web-1"),
        (&collector, &path, "shop/web-1"),
        (&collector, &secret, "shop/?"),
        (&collector, &unplaced, "?/web-1"),
        (&placed, &of_pod, "shop/web-1"),
        (&placed, &unplaced, "agents/web-1"),
        (&own, &of_pod, "shop/web-1 web"),
        (&own, &unplaced, "shop/web-1 web"),
        (&collector, &json!({"ka.verb": "list"}), "agents/agent-x1 agent"),
    ] {
        assert_eq!(pod(labels.clone(), fields.clone()), expected, "{labels} {fields}");
    }
    let found = runtime(&event(of_pod, collector)).kubernetes;
    assert_eq!((found.deployment, found.workload, found.cluster.as_deref()), (None, None, Some("prod")));
}

#[test]
fn a_pod_is_named_with_the_namespace_of_its_own_source() {
    let both = json!({"k8s.ns.name": "ns-f", "k8s.pod.name": "pod-f", "container.name": "c-f"});
    let docker = "k8s_c-d_pod-d_ns-d_35b5c3ff-3d9e-11e8-9249-42010a9c0071_0";
    for (labels, fields, expected) in [
        (json!({"kubernetes.namespace.name": "ns-l", "container.name": "c-l"}), both.clone(), "ns-f/pod-f c-f"),
        (json!({"kubernetes.pod.name": "pod-l"}), both.clone(), "ns-f/pod-f c-f"),
        (json!({"kubernetes.namespace.name": "ns-l", "kubernetes.pod.name": "pod-l"}), both.clone(), "ns-l/pod-l c-f"),
        (json!({"kubernetes.namespace.name": "ns-f"}), both, "ns-f/pod-f c-f"),
        (json!({"kubernetes.namespace.name": "ns-l"}), json!({"k8s.pod.name": "pod-f"}), "ns-l/pod-f"),
        (
            json!({"kubernetes.namespace.name": "ns-l"}),
            json!({"k8s.ns.name": "ns-f", "k8smeta.pod.name": "pod-m"}),
            "ns-l/?",
        ),
        (json!({"kubernetes.namespace.name": "ns-l"}), json!({"container.name": docker}), "ns-d/pod-d c-d"),
    ] {
        assert_eq!(pod(labels.clone(), fields.clone()), expected, "{labels} {fields}");
    }
    let labels = json!({"kubernetes.namespace.name": "ns-l", "kubernetes.deployment.name": "web"});
    let found = runtime(&event(json!({"k8s.ns.name": "ns-f", "k8s.pod.name": "pod-f"}), labels)).kubernetes;
    assert_eq!(found.workload, None, "it is in the other namespace");
}

#[test]
fn an_images_name_is_put_together_of_one_source() {
    let [a, b] = ["a", "b"].map(|digit| format!("sha256:{}", digit.repeat(64)));
    let whole =
        json!({"container.image.repository": "repo-f", "container.image.tag": "t-f", "container.image.digest": b});
    let at = format!("nginx@{a}");
    for (labels, fields, image, digest) in [
        (json!({"container.image.repo": "repo-l"}), whole.clone(), "repo-f:t-f", Some(&b)),
        (json!({"container.image.repo": "repo-l", "container.image.tag": "t-l"}), whole.clone(), "repo-l:t-l", None),
        (json!({"container.image.tag": "t-l"}), whole.clone(), "repo-f:t-f", Some(&b)),
        (json!({"container.image.repo": "reg/repo-f"}), whole, "reg/repo-f:t-f", Some(&b)),
        (json!({"container.image.repo": "repo-l"}), json!({"container.image.tag": "t-f"}), "repo-l:t-f", None),
        (
            json!({"container.image.repo": "reg:5000/nginx:1.2", "container.image.tag": "1.2"}),
            json!({}),
            "reg:5000/nginx:1.2",
            None,
        ),
        (
            json!({"container.image.repo": "reg:5000/nginx", "container.image.tag": "1.2"}),
            json!({}),
            "reg:5000/nginx:1.2",
            None,
        ),
        (json!({"container.image.repo": at, "container.image.tag": "1.2"}), json!({}), &at, Some(&a)),
        (json!({"container.image.repo": "nginx", "container.image.tag": a}), json!({}), &at, Some(&a)),
        (json!({"container.image.repo": "nginx", "container.image.tag": "<none>"}), json!({}), "nginx", None),
    ] {
        let found = runtime(&event(fields.clone(), labels.clone())).container;
        assert_eq!((found.image.as_deref(), found.digest.as_ref()), (Some(image), digest), "{labels} {fields}");
    }
}
