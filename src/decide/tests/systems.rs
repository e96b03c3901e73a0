//! Findings of machines that are no Linux node: Windows, plain hosts, and what detections over many calls tell.

use super::*;

fn with(fields: Value, labels: Value) -> Finding {
    finding(&json!([{
        "id": "17dec715376910362c8c3f62a4ced001", "type": "policy", "timestamp": 1_720_031_001_639_981_110_i64, "name": "P",
        "severity": 4, "source": "syscall", "content": {"ruleName": "R", "output": "x", "fields": fields}, "labels": labels,
    }]))
}

#[test]
fn windows_has_its_own_paths_and_no_commands_of_linux() {
    let found = with(
        json!({"proc.cmdline": "\"C:\\Program Files\\a b\\cmd.exe\" /c \"dir /s\"", "proc.exe": "C:\\Program Files\\a b\\cmd.exe",
            "fd.name": "C:\\Users\\x.txt", "user.name": "CORP\\bob"}),
        json!({"gcp.projectId": "1234567", "gcp.availabilityZone": "us-central1-c", "gcp.instanceId": "77",
            "gcp.instanceName": "win-1", "cloudProvider.name": "gcp"}),
    );
    let process = &found.processes[0];
    assert_eq!(
        (process.name.as_deref(), process.args.as_slice()),
        (Some("cmd.exe"), &["/c".into(), "dir /s".into()][..])
    );
    assert_eq!(process.binary.as_ref().unwrap().path.as_deref(), Some("C:\\Program Files\\a b\\cmd.exe"));
    assert_eq!(found.files[0].path.as_deref(), Some("C:\\Users\\x.txt"));
    let steps = found.next_steps.unwrap();
    assert!(!steps.contains("ps -eo") && !steps.contains("last -w") && steps.contains("win-1"), "{steps}");
}

#[test]
fn a_container_without_kubernetes_is_not_asked_of_crictl() {
    let id = json!({"container.id": "6949e5f10829", "container.name": "web"});
    let steps = with(id.clone(), json!({"host.hostName": "docker-1"})).next_steps.unwrap();
    assert!(!steps.contains("crictl") && steps.contains("6949e5f10829"), "{steps}");
    let steps = with(id, json!({"kubernetes.node.name": "n"})).next_steps.unwrap();
    assert!(steps.contains("sudo crictl inspect 6949e5f10829"), "{steps}");
}

#[test]
fn words_within_words_make_no_case() {
    let steps = |rule: &str| {
        let mut event = forwarder();
        event["content"]["ruleName"] = json!(rule);
        event["content"]["ruleTags"] = json!([]);
        finding(&event).next_steps.unwrap()
    };
    for rule in ["Determining the time", "Weak cryptographic algorithm"] {
        assert!(!steps(rule).contains("process mines"), "{rule}");
    }
    for rule in ["Detect crypto miners using the Stratum protocol", "Crypto Mining", "Cryptominer started", "XMRig"] {
        assert!(steps(rule).contains("process mines"), "{rule}");
    }
    assert!(!steps("Unprivileged user").contains("must be privileged"));
}

#[test]
fn an_audit_record_names_no_node_and_reads_lists_of_both_kinds() {
    let found = finding(&json!([{
        "id": "17dec715376910362c8c3f62a4ced001", "type": "policy", "timestamp": 1_720_031_001_639_981_110_i64, "name": "P",
        "severity": 4, "source": "k8s_audit",
        "content": {"ruleName": "R", "output": "x", "fields": {"ka.target.resource": "pods", "ka.target.name": "evil",
            "ka.target.namespace": "shop", "ka.sourceips": "(203.0.113.2)", "ka.req.pod.containers.image": "[\"nginx:1\",\"b:2\"]"}},
        "labels": {"gcp.projectId": "1234567", "gcp.availabilityZone": "us-central1-c", "gcp.instanceId": "77",
            "cloudProvider.name": "gcp", "kubernetes.cluster.name": "prod"},
    }]));
    assert!(found.kubernetes.unwrap().nodes.is_empty(), "the agent's machine is not the pod's");
    assert_eq!(found.access.unwrap().caller_ip.as_deref(), Some("203.0.113.2"));
    assert_eq!(found.containers[0].uri.as_deref(), Some("nginx:1"));
}

#[test]
fn a_detection_over_several_calls_keeps_its_substance() {
    let found = finding(&json!([{
        "id": "17dec715376910362c8c3f62a4ced001", "type": "policy", "timestamp": 1_720_031_001_639_981_110_i64, "name": "P",
        "severity": 4, "source": "aws_cloudtrail", "labels": {"cloudProvider.user": "mallory", "cloudProvider.name": "aws"},
        "content": {"type": "statefulDetections", "ruleName": "R", "output": "x", "integrationType": "aws", "integrationId": "i-1",
            "stats": [{"api": "GetObject", "count": 41}],
            "sequence": [{"eventName": "ListBuckets", "region": "us-east-1", "source": "s3", "sourceIpAddress": "203.0.113.9",
                "eventTime": "2024-07-03T18:23:21Z"}]},
    }]));
    let access = found.access.unwrap();
    assert_eq!(
        (access.principal_subject.as_deref(), access.caller_ip.as_deref()),
        (Some("mallory"), Some("203.0.113.9"))
    );
    let properties = &found.source_properties;
    assert_eq!(properties["stats_GetObject"], "41");
    assert_eq!(properties["sequence_0"], "2024-07-03T18:23:21Z s3 ListBuckets us-east-1 203.0.113.9");
    assert_eq!((&properties["integrationType"], &properties["integrationId"]), (&json!("aws"), &json!("i-1")));
}

#[test]
fn what_is_told_beside_the_fields_is_kept() {
    let properties = |content: Value| {
        let mut whole = json!({"ruleName": "R", "output": "x", "fields": {"proc.name": "nc"}});
        whole.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
        let event = json!({"id": "1", "type": "policy", "name": "P", "severity": 4, "content": whole, "labels": {}});
        finding(&event).source_properties
    };
    let found =
        properties(json!({"ruleSubType": 1, "falsePositive": true, "matchedOnDefault": true, "baselineId": "b1"}));
    for (name, value) in
        [("ruleSubType", "1"), ("falsePositive", "true"), ("matchedOnDefault", "true"), ("baselineId", "b1")]
    {
        assert_eq!(found[name], value, "{name}");
    }
    assert_eq!(found["proc_name"], "nc");
    let found = properties(json!({"ruleSubtype": "NETWORK_INBOUND", "ruleSubType": null}));
    assert_eq!(found["ruleSubType"], "NETWORK_INBOUND");
    let found =
        properties(json!({"type": "agentlessRuntimeDetection", "integrationId": "9a0f", "integrationType": "okta"}));
    assert_eq!((&found["integrationId"], &found["integrationType"]), (&json!("9a0f"), &json!("okta")));
    let found =
        properties(json!({"ruleSubType": 0, "falsePositive": false, "matchedOnDefault": false, "baselineId": ""}));
    for name in ["ruleSubType", "falsePositive", "matchedOnDefault", "baselineId"] {
        assert!(found.get(name).is_none(), "{name}");
    }
}

#[test]
fn secrets_that_only_a_name_or_a_program_tells_are_left_out() {
    let found = with(
        json!({"proc.name": "mysql", "proc.args": "-u root -phunter2x shop", "app.db.password": "hunter3x", "api_token": "hunter4x",
            "proc.pname": "curl", "proc.pcmdline": "curl -ume:hunter5x https://h/", "evt.arg.env": "A=hunter6x",
            "evt.args": "res=0 exe=/bin/sh env=STRIPE_KEY=hunter7x.B=a tty=1 b. tty=34816 pgid=1", "x.secretName": "kept",
            "ka.uri": "/api/v1/namespaces/shop/pods/web/exec?command=mysql&command=-phunter9x&container=db",
            "ka.req.pod.containers.args": ["app", "--token", "hunter10x"],
            "evt.environment": [{"name": "DB_PASSWORD", "value": "hunter11x"}]}),
        json!({"label.of.glpat": "glpat-abcdefghijHUNTER8xyz"}),
    );
    let whole = serde_json::to_string(&found).unwrap();
    assert!(!whole.to_ascii_lowercase().contains("hunter"), "{whole}");
    let properties = &found.source_properties;
    assert_eq!(properties["proc_args"], "-u root -p[redacted] shop");
    assert_eq!(properties["evt_args"], "res=0 exe=/bin/sh env=[left out] tty=34816 pgid=1");
    assert_eq!(properties["x_secretName"], "kept");
    assert_eq!(
        properties["ka_uri"],
        "/api/v1/namespaces/shop/pods/web/exec?command=mysql&command=-p[redacted]&container=db"
    );
    assert_eq!(properties["ka_req_pod_containers_args"], r#"["app","--token","[redacted]"]"#);
    assert_eq!(properties["evt_environment"], r#"[{"name":"DB_PASSWORD","value":"[redacted]"}]"#);
}

#[test]
fn the_environment_is_left_out_under_every_name_and_in_the_sentence() {
    let fields = json!({"evt.info": "res=0 exe=sh env=DBX=hunterA.FOO=hunterB. tty=0", "evt.rawarg.env": "DBX=hunterC",
        "evt.arg[env]": "DBX=hunterD", "evt.rawarg[env]": "DBX=hunterE", "container.env": "DBX=hunterF",
        "proc_env": "DBX=hunterG", "proc.aenv_1_": "DBX=hunterH", "env": "production"});
    let said = "Unexpected (command=sh args=res=0 exe=sh env=DBX=hunterI.FOO=hunterJ. tty=0 user=root)";
    let falco = json!({"rule": "R", "priority": "Warning", "time": "2025-05-18T10:18:15Z", "output": said,
        "output_fields": fields});
    let sysdig = json!({"id": "1", "type": "policy", "name": "P", "severity": 4,
        "content": {"ruleName": "R", "output": said, "fields": fields}});
    for event in [falco, sysdig] {
        let found = finding(&event);
        let whole = serde_json::to_string(&found).unwrap();
        assert!(!whole.contains("hunter"), "{whole}");
        let properties = &found.source_properties;
        assert_eq!(properties["summary"], "Unexpected (command=sh args=res=0 exe=sh env=[left out] tty=0 user=root)");
        assert_eq!(properties["evt_info"], "res=0 exe=sh env=[left out] tty=0");
        assert_eq!(properties["env"], "production");
    }
}

#[test]
fn ports_of_both_ends_are_read_under_all_their_names() {
    let found =
        with(json!({"fd.lip": "10.0.0.1", "fd.lport": "4000", "fd.rip": "203.0.113.7", "fd.rport": "443"}), json!({}));
    let connection = &found.connections[0];
    assert_eq!((connection.source_port, connection.destination_port), (Some(4000), Some(443)));
}

#[test]
fn an_admission_review_of_a_pod_is_about_a_pod() {
    let reviewed = |kind: &str| {
        let content = json!({"type": "k8sAdmissionReview", "namespace": "shop", "resourceKind": kind, "resourceName": "n", "scanResult": {}});
        let event = json!({"id": "1", "type": "policy", "name": "P", "severity": 4, "content": content, "labels": {}});
        serde_json::to_value(finding(&event).kubernetes.unwrap()).unwrap()
    };
    assert_eq!(reviewed("Pod"), json!({"pods": [{"ns": "shop", "name": "n"}]}));
    let object = json!({"group": "apps/v1", "kind": "Deployment", "ns": "shop", "name": "n"});
    assert_eq!(reviewed("deployment"), json!({"objects": [object]}));
}

#[test]
fn the_sensors_pseudo_process_and_numbers_that_are_none_are_no_process() {
    let started = json!({"evt.type": "container", "proc.name": "container:3ad7b26ded6d", "proc.cmdline": "container:3ad7b26ded6d",
        "proc.pid": "-1", "proc.ppid": "-1", "user.uid": 4_294_967_295_i64});
    assert!(with(started, json!({})).processes.is_empty());
    let process =
        &with(json!({"proc.name": "sh", "proc.pid": -1, "proc.ppid": 7, "user.uid": 4_294_967_295_i64}), json!({}))
            .processes[0];
    assert_eq!(
        (process.pid.is_none(), process.parent_pid.map(|pid| pid.0), process.user_id.is_none()),
        (true, Some(7), true)
    );
}

#[test]
fn the_machines_own_address_indicates_nothing() {
    let indicated =
        |fields: Value| with(fields, json!({})).indicator.map(|found| found.ip_addresses).unwrap_or_default();
    let tuple = "34.70.1.2:51234->198.51.100.9:3333";
    for (fields, expected) in [
        (json!({"fd.name": tuple, "fd.lip": "34.70.1.2"}), vec!["198.51.100.9"]),
        (json!({"fd.name": tuple, "evt.type": "connect"}), vec!["198.51.100.9"]),
        (json!({"fd.name": tuple, "evt.type": "accept4"}), vec!["34.70.1.2"]),
        (json!({"fd.name": "34.70.1.2:1000->169.254.169.254:80", "evt.type": "connect"}), vec![]),
        (json!({"fd.name": tuple, "evt.type": "sendto"}), vec!["198.51.100.9", "34.70.1.2"]),
    ] {
        assert_eq!(indicated(fields.clone()), expected, "{fields}");
    }
}

#[test]
fn only_images_that_the_command_takes_are_looked_up() {
    let asks = |image: &str| {
        let digest = format!("sha256:{}", "a".repeat(64));
        let labels = json!({"container.image.digest": digest});
        with(json!({"container.image.repository": image}), labels)
            .next_steps
            .unwrap()
            .contains("docker images describe")
    };
    for image in ["gcr.io/p/web", "eu.gcr.io/p/web", "europe-docker.pkg.dev/p/r/web"] {
        assert!(asks(image), "{image}");
    }
    for image in ["gke.gcr.io/netd", "k8s.gcr.io/pause", "mirror.gcr.io/library/nginx", "evil.example/gcr.io/x"] {
        assert!(!asks(image), "{image}");
    }
}

#[test]
fn a_pod_without_a_known_workload_may_have_no_controller() {
    let steps = |labels: Value| with(json!({}), labels).next_steps.unwrap();
    let bare = json!({"kubernetes.namespace.name": "shop", "kubernetes.pod.name": "web"});
    assert!(steps(bare).contains("a controller, if it has one,"));
    let owned = json!({"kubernetes.namespace.name": "shop", "kubernetes.pod.name": "web-1", "kubernetes.deployment.name": "web"});
    assert!(steps(owned).contains("its controller starts a new one"));
}

#[test]
fn a_capture_that_failed_is_no_capture() {
    let mut event = forwarder();
    event["actions"] = json!([{"type": "capture", "successful": false, "token": "c-1", "errMsg": "full"}]);
    let found = finding(&event);
    assert!(found.source_properties.get("capture_ids").is_none());
    assert_eq!(found.source_properties["actions"], json!(["capture: failed (full)"]));
}

#[test]
fn what_the_sensor_tells_of_itself_asks_about_the_sensor() {
    let steps = finding(&json!({"rule": "Falco internal: syscall event drop", "priority": "Debug", "source": "internal",
        "output": "8 system calls dropped", "time": "2025-05-18T10:18:15Z", "hostname": "n1", "output_fields": {"n_drops": "8"}}))
    .next_steps
    .unwrap();
    assert!(steps.contains("could not see") && !steps.contains("log-ins"), "{steps}");
}

#[test]
fn a_files_digest_is_never_that_of_the_program_that_opened_it() {
    let (program, file) = ("7e".repeat(32), "27".repeat(32));
    let opened =
        with(json!({"fd.name": "/etc/shadow", "proc.exepath": "/bin/cat", "proc.hash.sha256": program}), json!({}));
    assert_eq!((opened.files[0].path.as_deref(), opened.files[0].sha256.as_deref()), (Some("/etc/shadow"), None));
    let malware = with(
        json!({"file.path": "/tmp/eicar", "file.hash.sha256": file, "proc.exepath": "/bin/bash", "proc.hash.sha256": program}),
        json!({}),
    );
    assert_eq!(malware.files[0].sha256.as_deref(), Some(&*file));
    let ran = with(json!({"fd.name": "/tmp/x", "proc.exepath": "/tmp/x", "proc.hash.sha256": program}), json!({}));
    assert_eq!(ran.files[0].sha256.as_deref(), Some(&*program));
}

#[test]
fn zones_for_accelerators_are_zones_and_zero_is_no_instance() {
    let place = |zone: &str, id: &str| {
        let labels = json!({"gcp.projectId": "1234567", "gcp.availabilityZone": zone, "gcp.instanceId": id, "cloudProvider.name": "gcp"});
        with(json!({}), labels).resource_name
    };
    assert!(place("us-central1-ai1a", "77").ends_with("/zones/us-central1-ai1a/instances/77"));
    for (zone, id) in
        [("us-central1-a", "0"), ("us-east-1a", "77"), ("us-west-2-lax-1a", "77"), ("us-central1-prod", "77")]
    {
        assert!(!place(zone, id).contains("/instances/"), "{zone} {id}");
    }
}

#[test]
fn an_action_with_an_error_was_not_taken() {
    for told in [json!({"errMsg": "container not found"}), json!({"errMsg": "container not found", "successful": 0})] {
        let mut event = forwarder();
        event["actions"] = json!({"type": "POLICY_ACTION_KILL"});
        event["actions"].as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
        let found = finding(&event);
        let description = found.description.unwrap();
        assert!(description.contains("Action \"container killed\" failed: container not found."), "{description}");
    }
}

#[test]
fn labels_of_a_pod_and_a_digest_are_read_from_lists_too() {
    let digest = format!("sha256:{}", "b".repeat(64));
    for (labels, told) in [
        (json!("api-token:hush,app:web, tier:fe"), json!(digest)),
        (json!(["api-token:hush", "app:web", "tier:fe"]), json!([digest])),
        (json!({"app": "web", "tier": "fe", "api-token": "hush"}), json!([format!("nginx@{digest}")])),
    ] {
        let fields = json!({"k8s.ns.name": "shop", "k8s.pod.name": "p", "k8s.pod.labels": labels,
            "container.image.repository": "nginx", "container.image.digest": told, "container.id": "aa"});
        let found = with(fields, json!({}));
        let labels = &found.kubernetes.unwrap().pods[0].labels;
        let labels: Vec<_> = labels.iter().map(|l| (l.name.as_deref().unwrap(), l.value.as_deref().unwrap())).collect();
        assert_eq!(labels, [("api-token", "[redacted]"), ("app", "web"), ("tier", "fe")]);
        assert_eq!(found.containers[0].image_id.as_deref(), Some(&*digest));
    }
}

#[test]
fn an_action_whose_result_nobody_told_is_not_told_as_done() {
    let told = |actions: Value| {
        let mut event = forwarder();
        event["actions"] = actions;
        let found = finding(&event);
        (found.description.unwrap(), found.source_properties.get("actions").cloned())
    };
    for (action, word) in [
        (json!({"type": "POLICY_ACTION_KILL", "successful": null, "errMsg": ""}), "container killed"),
        (json!({"type": "POLICY_ACTION_CAPTURE", "beforeEventNs": 1, "afterEventNs": 2}), "capture"),
    ] {
        let (description, listed) = told(json!([action]));
        assert!(description.contains(&format!("Action reported, result not told: {word}.")), "{description}");
        assert_eq!(listed, Some(json!([format!("{}: result not told", word.replace(' ', "_"))])));
    }
    let (description, listed) =
        told(json!([{"type": "", "successful": true, "errMsg": ""}, {"type": "", "successful": false}, {"type": ""}]));
    assert!(!description.contains("Action") && listed.is_none(), "{description}");
}

#[test]
fn a_path_with_blanks_is_one_program() {
    let found = with(
        json!({"proc.name": "node", "proc.exepath": "/opt/my app/node", "proc.cmdline": "/opt/my app/node x.js"}),
        json!({}),
    );
    assert_eq!(found.processes[0].args, ["x.js"]);
}

#[test]
fn modules_in_another_script_keep_apart_as_categories_do() {
    let module = |rule: &str| {
        let mut event = forwarder();
        event["content"]["ruleName"] = json!(rule);
        finding(&event).module_name.unwrap()
    };
    assert_ne!(module("監視ルール一"), module("監視ルール二"));
    assert!(!module("監視ルール一").contains("??"));
}

#[test]
fn the_image_is_looked_up_by_its_digest_alone() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let step = |image: &str| {
        let fields = json!({"container.image": image, "container.image.digest": digest});
        let steps = with(fields, json!({"kubernetes.node.name": "n"})).next_steps.unwrap();
        steps
            .lines()
            .find_map(|line| line.trim().strip_prefix("gcloud artifacts docker images describe ").map(str::to_owned))
    };
    for image in ["gcr.io/acme/web", "gcr.io/acme/web:1.2"] {
        let expected = Some(format!("gcr.io/acme/web@{digest}"));
        assert_eq!(step(image), expected, "{image}");
        assert_eq!(step(&format!("{image}@{digest}")), expected, "{image} with its digest");
    }
    for image in ["gke.gcr.io/acme/web", "nginx:1.2", "docker.io/library/nginx"] {
        assert_eq!(step(image), None, "{image}");
    }
}
