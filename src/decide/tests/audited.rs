//! Findings of Falco's stock rules for audit logs: Kubernetes, GKE, Google Cloud, AWS.

use super::*;

fn falco(rule: &str, source: &str, fields: Value) -> Finding {
    finding(&json!({"rule": rule, "priority": "Warning", "output": "x", "source": source, "hostname": "falco-0",
        "time": "2025-05-18T10:18:15.901045861Z", "output_fields": fields}))
}

fn kubernetes(rule: &str, mut fields: Value) -> Finding {
    fields["ka.user.name"] = json!("dev@acme.com");
    falco(rule, "k8s_audit", fields)
}

fn json_of(found: &Finding) -> Value {
    serde_json::to_value(found.kubernetes.as_ref().expect("something of Kubernetes")).unwrap()
}

#[test]
fn a_new_pod_is_found_by_the_name_that_came_back() {
    let found = findings(include_str!("../../../tests/data/falco/k8s_audit_pods.ndjson"));
    let expected = [
        ("evil-7d4b9c-x2x4z", "shop", "must be privileged"),
        ("evil", "shop", "the host path it mounts"),
        ("evil", "kube-system", "runs in kube-system"),
        ("evil", "shop", "was expected"),
        ("evil", "shop", "was expected"),
    ];
    assert_eq!(found.len(), expected.len());
    for (found, (pod, ns, question)) in found.iter().zip(expected) {
        let told = &found.kubernetes.as_ref().unwrap().pods[0];
        assert_eq!((told.name.as_deref(), told.ns.as_deref()), (Some(pod), Some(ns)), "{}", found.category);
        assert_eq!(found.source_properties["Pod_Name"], pod);
        let steps = found.next_steps.as_ref().unwrap();
        assert!(steps.contains(question), "{}: {steps}", found.category);
        assert!(steps.contains(&format!("kubectl -n {ns} delete pod {pod}")), "{steps}");
        assert!(steps.contains("why kubernetes-admin made this request"), "{steps}");
    }
}

#[test]
fn all_containers_of_a_new_pod_are_told_and_none_is_picked() {
    let found = findings(include_str!("../../../tests/data/falco/k8s_audit_pods.ndjson")).remove(0);
    let images = |containers: &[crate::finding::Container]| {
        containers.iter().map(|container| container.uri.clone().unwrap()).collect::<Vec<_>>()
    };
    let both = ["docker.io/istio/proxyv2:1.20", "gcr.io/acme/evil:1"];
    assert_eq!(images(&found.containers), both);
    assert_eq!(images(&found.kubernetes.unwrap().pods[0].containers), both);
    assert_eq!(found.source_properties["Container_Image_Uri"], Value::Null);

    let many = (0..50).map(|n| format!("i{n}")).collect::<Vec<_>>().join(",");
    let fields =
        json!({"ka.resp.name": "p", "ka.target.namespace": "shop", "ka.req.pod.containers.image": format!("({many})")});
    assert_eq!(kubernetes("Create Disallowed Pod", fields).containers.len(), 20);
}

#[test]
fn a_name_that_is_no_pods_makes_no_pod() {
    for fields in [
        json!({"ka.target.resource": "services", "ka.resp.name": "n", "ka.target.namespace": "shop"}),
        json!({"ka.target.resource": "secrets", "ka.target.name": "n", "ka.target.subresource": "exec"}),
        json!({"ka.target.name": "n", "ka.target.namespace": "shop"}),
    ] {
        let found = kubernetes("R", fields);
        assert!(found.kubernetes.is_none_or(|kubernetes| kubernetes.pods.is_empty()));
    }
}

#[test]
fn what_a_rule_leaves_out_is_told_by_the_fields_of_the_request() {
    let rule = "Create/Modify Configmap With Private Credentials";
    let fields = json!({"ka.verb": "create", "ka.target.resource": "configmaps", "ka.req.configmap.name": "app",
        "ka.req.configmap.obj": "{\"password\":\"x\"}"});
    let found = kubernetes(rule, fields.clone());
    assert_eq!(json_of(&found), json!({"objects": [{"group": "v1", "kind": "ConfigMap", "name": "app"}]}));
    let steps = found.next_steps.unwrap();
    assert!(steps.contains("kubectl get configmaps -A --field-selector metadata.name=app\n"), "{steps}");
    let mut placed = fields;
    placed["ka.target.namespace"] = json!("shop");
    let steps = kubernetes(rule, placed).next_steps.unwrap();
    assert!(steps.contains("kubectl -n shop get configmaps app -o 'go-template={{range"), "{steps}");
    assert!(!steps.contains("-o yaml"), "{steps}");

    for list in [
        r#"[{"kind":"ServiceAccount","name":"default","namespace":"kube-system"},{"kind":"Group","name":"dev"}]"#,
        r#"({"kind":"ServiceAccount","name":"default","namespace":"kube-system"},{"apiGroup":"","kind":"Group","name":"dev"})"#,
    ] {
        let found = kubernetes("Attach to cluster-admin Role", json!({"ka.req.binding.subjects": list}));
        let subjects = json!([{"kind": "SERVICEACCOUNT", "ns": "kube-system", "name": "default"}, {"kind": "GROUP", "name": "dev"}]);
        let role = json!({"kind": "CLUSTER_ROLE", "name": "cluster-admin"});
        assert_eq!(json_of(&found), json!({"bindings": [{"role": role, "subjects": subjects}]}));
        let steps = found.next_steps.unwrap();
        assert!(steps.contains("kubectl get clusterrolebindings -o wide"), "{steps}");
        assert!(steps.contains("--as system:serviceaccount:kube-system:default"), "{steps}");
    }
    let broken = kubernetes("Attach to cluster-admin Role", json!({"ka.req.binding.subjects": "[{\"kind\":"}));
    assert_eq!(json_of(&broken)["bindings"][0]["subjects"], Value::Null);
}

#[test]
fn kinds_are_those_of_the_api_and_never_made_up() {
    for (resource, uri, expected) in [
        (
            "volumeattachments",
            "/apis/storage.k8s.io/v1/volumeattachments/n/status",
            json!({"group": "storage.k8s.io/v1", "kind": "VolumeAttachment", "name": "n"}),
        ),
        (
            "mutatingwebhookconfigurations",
            "",
            json!({"group": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "name": "n"}),
        ),
        ("widgets", "/apis/example.com/v1/widgets/n", json!({"group": "example.com/v1", "name": "n"})),
        (
            "services",
            "/apis/serving.knative.dev/v1/services/n",
            json!({"group": "serving.knative.dev/v1", "name": "n"}),
        ),
    ] {
        let fields = json!({"ka.target.resource": resource, "ka.target.name": "n", "ka.uri": uri, "ka.verb": "patch"});
        let found = kubernetes("Disallowed K8s User", fields);
        assert_eq!(json_of(&found), json!({"objects": [expected]}), "{resource}");
        let steps = found.next_steps.unwrap();
        assert!(steps.contains(&format!("kubectl get {resource} n -o yaml")), "{steps}");
    }
    let of_namespace = json!({"ka.target.resource": "namespaces", "ka.target.name": "n", "ka.target.namespace": "n"});
    let found = kubernetes("K8s Namespace Created", of_namespace);
    assert_eq!(json_of(&found), json!({"objects": [{"group": "v1", "kind": "Namespace", "name": "n"}]}));
}

#[test]
fn what_was_deleted_is_not_looked_at() {
    let fields = json!({"ka.target.name": "web", "ka.target.namespace": "shop", "ka.target.resource": "deployments",
        "ka.response.code": "200"});
    let with = |rule: &str, more: Value| {
        let mut fields = fields.clone();
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        kubernetes(rule, fields).next_steps.unwrap()
    };
    for (rule, more) in [("K8s Deployment Deleted", json!({})), ("Disallowed K8s User", json!({"ka.verb": "delete"}))] {
        let steps = with(rule, more);
        assert!(!steps.contains("get deployments web") && !steps.contains("-o yaml"), "{steps}");
        assert!(steps.contains("kubectl -n shop get deployments\n"), "{steps}");
        assert!(steps.contains("get events --field-selector involvedObject.name=web"), "{steps}");
        assert!(steps.contains("why dev@acme.com"), "{steps}");
    }
    for (rule, more) in [
        ("K8s Deployment Created", json!({})),
        ("System ClusterRole Modified/Deleted", json!({"ka.verb": "update"})),
        ("K8s Deployment Deleted", json!({"ka.verb": "patch"})),
    ] {
        let steps = with(rule, more);
        assert!(steps.contains("kubectl -n shop get deployments web -o yaml"), "{rule}: {steps}");
    }
    let pod = json!({"ka.target.resource": "pods", "ka.verb": "delete"});
    let steps = with("Disallowed K8s User", pod);
    assert!(!steps.contains("logs") && !steps.contains("delete pod") && steps.contains("get pods\n"), "{steps}");
}

#[test]
fn a_refused_request_left_nothing_to_look_at() {
    let fields = json!({"ka.target.name": "db", "ka.target.namespace": "shop", "ka.target.resource": "secrets",
        "ka.response.code": "403"});
    let steps = kubernetes("K8s Secret Get Unsuccessfully Tried", fields).next_steps.unwrap();
    assert!(steps.contains("answered 403") && steps.contains("auth can-i --list --as dev@acme.com"), "{steps}");
    assert!(!steps.contains("secrets db"), "{steps}");
    for code in ["408", "500", "504"] {
        let fields = json!({"ka.target.name": "db", "ka.target.namespace": "shop", "ka.target.resource": "secrets",
            "ka.response.code": code});
        let steps = kubernetes("K8s Secret Created", fields).next_steps.unwrap();
        assert!(steps.contains(&format!("answered {code}: the request may have been carried out")), "{steps}");
        assert!(steps.contains("describe secrets db") && !steps.contains("changed nothing"), "{steps}");
    }
    let fields = json!({"ka.target.name": "p", "ka.target.namespace": "shop", "ka.target.resource": "pods",
        "ka.response.code": "101", "ka.target.subresource": "exec", "ka.verb": "create"});
    let steps = kubernetes("Attach/Exec Pod", fields).next_steps.unwrap();
    assert!(steps.contains("who ran a command") && steps.contains("kubectl -n shop logs p"), "{steps}");
}

#[test]
fn a_part_of_an_object_is_told_and_is_not_the_object() {
    let found = |verb: &str, resource: &str, part: &str, name: &str| {
        let fields = json!({"ka.verb": verb, "ka.target.resource": resource, "ka.target.subresource": part,
            "ka.target.name": name, "ka.target.namespace": "shop", "ka.response.code": "201"});
        let found = kubernetes("Disallowed K8s User", fields);
        (found.access.unwrap().method_name.unwrap(), found.next_steps.unwrap())
    };
    for (verb, resource, part, name, step) in [
        ("create", "pods", "exec", "web-1", "who ran a command"),
        ("create", "pods", "portforward", "web-1", "kubectl -n shop describe pod web-1"),
        (
            "create",
            "pods",
            "eviction",
            "web-1",
            "evicted; see what runs in its place, and where:\n   kubectl -n shop get pods\n",
        ),
        ("delete", "pods", "ephemeralcontainers", "web-1", "kubectl -n shop describe pod web-1"),
        (
            "update",
            "certificatesigningrequests",
            "approval",
            "csr-1",
            "kubectl get certificatesigningrequests csr-1 -o yaml",
        ),
        ("get", "nodes", "proxy", "gke-n1", "kubectl get nodes gke-n1 -o yaml"),
    ] {
        let (method, steps) = found(verb, resource, part, name);
        assert_eq!(method, format!("{verb} {resource}/{part}"));
        assert!(steps.contains(step), "{method}: {steps}");
        assert!(!steps.contains("was deleted") && !steps.contains("Restore"), "{method}: {steps}");
    }
    let (_, steps) = found("create", "serviceaccounts", "token", "ci");
    for step in [
        "act as that account until it expires",
        "kubectl auth can-i --list --as system:serviceaccount:shop:ci\n",
        "kubectl -n shop get pods --field-selector spec.serviceAccountName=ci\n",
        "kubectl -n shop delete serviceaccounts ci\n",
        "why dev@acme.com made this request",
    ] {
        assert!(steps.contains(step), "{step}: {steps}");
    }
    let shell = json!({"ka.verb": "create", "ka.target.resource": "pods", "ka.target.subresource": "exec",
        "ka.target.name": "web-1", "ka.target.namespace": "shop", "ka.uri.param[command]": "/bin/sh"});
    assert!(kubernetes("Attach/Exec Pod", shell).next_steps.unwrap().contains("who opened the shell"));
}

#[test]
fn what_fields_leave_out_is_read_from_the_path_of_the_request() {
    let with = |fields: Value| kubernetes("Disallowed K8s User", fields);
    let uri = "/apis/apps/v1/namespaces/shop/deployments/web";
    let object = json!({"objects": [{"group": "apps/v1", "kind": "Deployment", "ns": "shop", "name": "web"}]});
    for fields in [
        json!({"ka.verb": "patch", "ka.uri": uri, "ka.target.name": "web", "ka.target.resource": "deployments"}),
        json!({"ka.verb": "patch", "ka.uri": uri}),
    ] {
        let found = with(fields);
        assert_eq!(json_of(&found), object);
        assert_eq!(found.access.unwrap().method_name.as_deref(), Some("patch deployments"));
        let steps = found.next_steps.unwrap();
        assert!(steps.contains("kubectl -n shop get deployments web -o yaml"), "{steps}");
    }
    let uri = "/api/v1/namespaces/shop/pods/web-1/exec?command=id";
    for fields in [
        json!({"ka.verb": "create", "ka.uri": uri, "ka.target.name": "web-1", "ka.target.resource": "pods"}),
        json!({"ka.verb": "create", "ka.uri": uri}),
    ] {
        let found = with(fields);
        assert_eq!(json_of(&found), json!({"pods": [{"ns": "shop", "name": "web-1"}]}));
        assert_eq!(found.access.unwrap().method_name.as_deref(), Some("create pods/exec"));
        assert!(found.next_steps.unwrap().contains("kubectl -n shop get pod web-1 -o wide"));
    }
    let told = json!({"ka.uri": "/api/v1/namespaces/other/secrets/db", "ka.target.resource": "secrets", "ka.target.name": "db",
        "ka.target.namespace": "shop"});
    assert_eq!(json_of(&with(told))["objects"][0]["ns"], "shop", "what a field tells stands");
    assert!(with(json!({"ka.verb": "get", "ka.uri": "/readyz"})).kubernetes.is_none());
}

#[test]
fn no_step_shows_what_a_secret_holds() {
    let fields = |more: Value| {
        let mut fields = json!({"ka.target.resource": "secrets", "ka.target.namespace": "shop"});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    let one = kubernetes("K8s Secret Get Successfully", fields(json!({"ka.target.name": "db"}))).next_steps.unwrap();
    assert!(one.contains("kubectl -n shop describe secrets db\n") && one.contains("change what it holds"), "{one}");
    let all = kubernetes("Cluster Secret Accessed", fields(json!({"ka.verb": "list"}))).next_steps.unwrap();
    assert!(all.contains("kubectl -n shop get secrets\n"), "{all}");
    for steps in [one, all] {
        assert!(!steps.contains("yaml") && !steps.contains("json"), "{steps}");
    }
}

#[test]
fn the_place_of_a_gke_cluster_is_read_from_its_log_entry() {
    let found = kubernetes(
        "Create Privileged Pod",
        json!({"ka.target.name": "evil", "ka.target.resource": "pods", "ka.target.namespace": "shop",
            "jevt.value[/annotations/cluster_name]": "prod", "jevt.value[/annotations/location]": "europe-west3",
            "jevt.value[/annotations/project_id]": "acme-prod"}),
    );
    assert_eq!(
        found.resource_name,
        "//container.googleapis.com/projects/acme-prod/locations/europe-west3/clusters/prod"
    );
    let steps = found.next_steps.unwrap();
    assert!(steps.contains("get-credentials prod --location europe-west3 --project acme-prod"), "{steps}");
    assert!(steps.contains("principalEmail=\"dev@acme.com\""), "{steps}");
    assert_eq!(found.source_properties["VM_Instance_Name"], Value::Null, "falco-0 is not where the pod is");
}

#[test]
fn the_project_of_an_audit_log_is_read_from_its_entry() {
    let waf = json!({"gcp.user": "ops@acme.com", "json.value[/resource/labels/project_id]": "acme-prod"});
    let steps = falco("GCP WAF rule modified or deleted", "gcp_auditlog", waf).next_steps.unwrap();
    assert!(steps.contains("gcloud logging read") && steps.contains("--project acme-prod"), "{steps}");
    let machine = json!({"gcp.user": "ops@acme.com", "gcp.projectId": "acme-prod", "gcp.compute.instanceId": "648229130641697246",
        "json.value[/resource/labels/zone]": "us-central1-c"});
    let found = falco("GCP VM stopped", "gcp_auditlog", machine);
    let expected = "//compute.googleapis.com/projects/acme-prod/zones/us-central1-c/instances/648229130641697246";
    assert_eq!(found.resource_name, expected);
    assert_eq!(found.source_properties["VM_Instance_Name"], Value::Null, "falco-0 is another machine");
}

#[test]
fn an_assumed_role_is_a_caller() {
    let arn = "arn:aws:sts::230446364776:assumed-role/Admin/bob";
    let fields = json!({"ct.user.principalid": "AROA:bob", "ct.user.arn": arn, "ct.srcip": "203.0.113.4"});
    let found = falco("Console Login Through Assume Role", "aws_cloudtrail", fields);
    assert_eq!(found.access.unwrap().principal_subject.as_deref(), Some(arn));
    let found = falco("R", "aws_cloudtrail", json!({"ct.user": "bob", "ct.user.arn": arn}));
    assert_eq!(found.access.unwrap().principal_subject.as_deref(), Some("bob"));
}
