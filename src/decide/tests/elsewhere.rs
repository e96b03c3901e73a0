//! Findings of what did not happen on the sensor's machine: no word of that machine is in them, but who told.

use super::*;

const ORGANIZATION: &str = "//cloudresourcemanager.googleapis.com/organizations/123";

fn falco(source: &str, fields: Value) -> Finding {
    finding(&json!({"rule": "R", "priority": "Warning", "output": "x", "source": source, "hostname": "node-1",
        "time": "2025-05-18T10:18:15Z", "output_fields": fields}))
}

fn agent(source: &str, fields: Value, labels: Value) -> Finding {
    finding(&json!([{
        "id": "17dec715376910362c8c3f62a4ced001", "type": "policy", "timestamp": 1_720_031_001_639_981_110_i64, "name": "P",
        "severity": 4, "source": source, "content": {"ruleName": "R", "output": "x", "fields": fields}, "labels": labels,
    }]))
}

/// Only the property that says who told may name the sensor's machine.
fn says_nothing_of(found: &Finding, machine: &str) {
    let mut json = serde_json::to_value(found).unwrap();
    for key in ["host_name", "host_hostName", "gcp_instanceName"] {
        json["sourceProperties"].as_object_mut().unwrap().remove(key);
    }
    let text = json.to_string();
    assert!(!text.contains(machine), "{text}");
}

#[test]
fn what_a_plugin_read_did_not_happen_on_falcos_machine() {
    for (source, fields) in [
        (
            "k8s_audit",
            json!({"ka.user.name": "eve", "ka.target.name": "web-1", "ka.target.namespace": "shop",
            "ka.target.resource": "pods", "ka.verb": "create"}),
        ),
        ("okta", json!({"okta.actor.name": "Eve"})),
        ("aws_cloudtrail", json!({"ct.user": "eve"})),
        ("github", json!({"github.user": "eve"})),
        ("gitlab", json!({"gitlab.author_name": "eve"})),
        ("keycloak", json!({"keycloak.realmID": "master"})),
        ("nginx", json!({"nginx.path": "/"})),
        ("dummy", json!({"dummy.value": 5})),
    ] {
        let found = falco(source, fields);
        assert_eq!(found.resource_name, ORGANIZATION, "{source}");
        assert_eq!(found.source_properties["host_name"], "node-1", "{source}");
        says_nothing_of(&found, "node-1");
    }
    let here = falco("docker", json!({"docker.action": "exec_start"}));
    assert!(here.next_steps.unwrap().contains("of the host node-1"), "the daemon is beside its reader");
}

#[test]
fn an_agents_machine_is_not_where_its_cluster_was_called() {
    let labels = json!({"host.hostName": "agent-7", "host.mac": "42:01:0a:80:00:05", "gcp.projectId": "289600000042",
        "gcp.location": "us-central1", "gcp.availabilityZone": "us-central1-c", "gcp.instanceId": "648229130641697001",
        "gcp.instanceName": "agent-7", "cloudProvider.name": "gcp", "kubernetes.cluster.name": "prod"});
    let fields = json!({"ka.user.name": "eve", "ka.target.name": "web-1", "ka.target.namespace": "shop",
        "ka.target.resource": "pods", "ka.verb": "create"});
    let found = agent("k8s_audit", fields, labels.clone());
    let cluster = "//container.googleapis.com/projects/289600000042/locations/us-central1/clusters/prod";
    assert_eq!(found.resource_name, cluster);
    let steps = found.next_steps.as_ref().unwrap();
    assert!(steps.contains("get-credentials prod --location us-central1 --project 289600000042"), "{steps}");
    assert!(!steps.contains("cordon") && !steps.contains("snapshot"), "{steps}");
    says_nothing_of(&found, "agent-7");

    // Whoever signed in at Okta did nothing in the collector's project.
    let found = agent("okta", json!({"okta.actor.alternateid": "eve@corp.com"}), labels);
    assert_eq!(found.resource_name, ORGANIZATION);
    let steps = found.next_steps.as_ref().unwrap();
    assert!(steps.contains("eve@corp.com") && !steps.contains("gcloud"), "{steps}");
    says_nothing_of(&found, "agent-7");
}

#[test]
fn a_cluster_of_openshift_is_none_of_gke_s() {
    for (namespace, is_gke) in [("openshift-etcd", false), ("openshift", false), ("openshiftly", true)] {
        let labels = json!({"host.hostName": "ocp-w", "gcp.projectId": "289600000042", "gcp.location": "us-central1",
            "cloudProvider.name": "gcp", "kubernetes.cluster.name": "ocp-prod", "kubernetes.pod.name": "etcd-0",
            "kubernetes.namespace.name": namespace});
        let found = agent("syscall", json!({"proc.name": "sh"}), labels);
        let steps = found.next_steps.unwrap();
        let resource = &found.resource_name;
        assert_eq!(resource.starts_with("//container.googleapis.com/"), is_gke, "{namespace}: {resource}");
        assert_eq!(steps.contains("gcloud container clusters"), is_gke, "{namespace}: {steps}");
        assert!(steps.contains("get pod etcd-0"), "{steps}");
    }
}

#[test]
fn what_a_service_told_is_looked_for_in_that_service() {
    let steps = falco("hashicorp_vault", json!({"vault.request.path": "sys/audit"})).next_steps.unwrap();
    assert!(steps.contains("(source hashicorp_vault)") && steps.contains("revoke its tokens"), "{steps}");
    for wrong in ["log-ins", "node-1", "gcloud", "Ask whether", "the address"] {
        assert!(!steps.contains(wrong), "{wrong}: {steps}");
    }
}

#[test]
fn services_name_their_callers_under_the_names_of_their_plugins() {
    for (source, fields, expected) in [
        (
            "gitlab",
            json!({"gitlab.author_name": "Eve", "gitlab.author_email": "eve@corp.com", "gitlab.ip_address": "203.0.113.9",
                "gitlab.event_type": "project_visibility_level_updated"}),
            json!({"principalEmail": "eve@corp.com", "callerIp": "203.0.113.9",
                "methodName": "project_visibility_level_updated"}),
        ),
        (
            "keycloak",
            json!({"keycloak.user.userID": "7c1f", "keycloak.user.ipAddress": "203.0.113.9",
                "keycloak.user.eventType": "LOGIN_ERROR"}),
            json!({"principalSubject": "7c1f", "callerIp": "203.0.113.9", "methodName": "LOGIN_ERROR"}),
        ),
        (
            "salesforce",
            json!({"salesforce.username": "eve@corp.com", "salesforce.sourceip": "203.0.113.9"}),
            json!({"principalEmail": "eve@corp.com", "callerIp": "203.0.113.9"}),
        ),
        (
            "nginx",
            json!({"nginx.remote_addr": "203.0.113.9", "nginx.user_agent": "sqlmap"}),
            json!({"callerIp": "203.0.113.9", "userAgent": "sqlmap"}),
        ),
        ("awselb", json!({"awselb.client_ip": "203.0.113.9"}), json!({"callerIp": "203.0.113.9"})),
    ] {
        let found = falco(source, fields);
        assert_eq!(serde_json::to_value(found.access).unwrap(), expected, "{source}");
        let steps = found.next_steps.unwrap();
        assert!(steps.contains("the address 203.0.113.9 belongs to you"), "{source}: {steps}");
        let who = expected["principalEmail"].as_str().or(expected["principalSubject"].as_str());
        assert!(who.is_none_or(|who| steps.contains(&format!("Ask whether {who} meant"))), "{source}: {steps}");
    }
}

#[test]
fn a_machine_of_another_cloud_is_no_machine_of_ours() {
    for labels in [json!({"aws.accountId": "1", "aws.region": "us-east-1"}), json!({"azure.subscriptionId": "s"})] {
        let mut labels = labels;
        let pod = json!({"host.hostName": "node-1", "kubernetes.cluster.name": "prod", "kubernetes.namespace.name": "shop",
            "kubernetes.pod.name": "web-1"});
        labels.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
        let steps = agent("syscall", json!({}), labels).next_steps.unwrap();
        assert!(steps.contains("kubectl -n shop") && !steps.contains("gcloud"), "{steps}");
    }
}

#[test]
fn a_name_that_may_be_falcos_own_pods_is_no_nodes() {
    let found = |host: &str, enriched: &Enriched| {
        let body = json!({"rule": "R", "priority": "Warning", "output": "x", "source": "syscall", "hostname": host,
            "time": "2025-05-18T10:18:15Z", "output_fields": {"k8s.ns.name": "shop", "k8s.pod.name": "web-1"}});
        decided(&events(&body.to_string())[0], enriched, &Rules::new("123"))
    };
    for (host, is_node) in
        [("falco-x7k2p", false), ("d53a40db2ded", false), ("gke-prod-pool-1af4d30b-716h", true), ("node-1", true)]
    {
        let found = found(host, &Enriched::default());
        let told = found.source_properties.get("VM_Instance_Name").and_then(Value::as_str);
        assert_eq!(told, is_node.then_some(host));
        assert_eq!(found.source_properties["host_name"], host);
        assert_eq!(found.next_steps.unwrap().contains(&format!("kubectl cordon {host}")), is_node, "{host}");
    }
    let no_host = found("host", &Enriched::default());
    let named = ["VM_Instance_Name", "host_name"].map(|name| no_host.source_properties.get(name).is_some());
    assert_eq!((named, no_host.next_steps.unwrap().contains("cordon")), ([false; 2], false));
    for told in [
        "falco-x7k2p; if that is Falco's own pod, of the node",
        "d53a40db2ded; if that is Falco's own container, of the machine",
    ] {
        let host = told.split(';').next().unwrap();
        let on_host = finding(&json!({"rule": "R", "priority": "Warning", "output": "x", "source": "syscall",
            "time": "2025-05-18T10:18:15Z", "hostname": host, "output_fields": {"proc.name": "sh"}}));
        assert!(on_host.next_steps.unwrap().contains(told));
    }
    let instance = Instance { name: "falco-x7k2p".into(), ..Instance::default() };
    let found = found("falco-x7k2p", &Enriched { instance: Some(instance), ..Enriched::default() });
    assert_eq!(found.source_properties["VM_Instance_Name"], "falco-x7k2p", "there is a machine of this name");
}
