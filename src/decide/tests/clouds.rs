//! Findings of clouds and identity providers: who called, whatever names the rule printed, and steps that fit.

use super::*;

fn audited(source: &str, fields: Value) -> Finding {
    sent(source, fields, json!({}), json!({}))
}

/// An event with what else is told at its top.
fn sent(source: &str, fields: Value, labels: Value, more: Value) -> Finding {
    let mut event = json!({
        "id": "17dec715376910362c8c3f62a4ced001", "type": "policy", "timestamp": 1_720_031_001_639_981_110_i64, "name": "P",
        "severity": 4, "source": source, "content": {"ruleName": "R", "output": "x", "fields": fields}, "labels": labels,
    });
    let more = more.as_object().unwrap().clone();
    event.as_object_mut().unwrap().extend(more);
    finding(&json!([event]))
}

const CLAIM: &str = "jevt.value[/identity/claims/http:~1~1schemas.xmlsoap.org~1ws~12005~105~1identity~1claims~1";

#[test]
fn the_caller_is_read_under_every_name_that_rules_print() {
    let old = json!({"aws.user": "root", "aws.sourceIP": "203.0.113.4", "aws.eventName": "ConsoleLogin",
        "aws.eventSource": "signin.amazonaws.com", "jevt.value[/userAgent]": "Mozilla/5.0",
        "jevt.value[/userIdentity/arn]": "arn:aws:iam::059797578166:root"});
    let pointed = json!({"jevt.value[/userIdentity/arn]": "arn:aws:iam::1:user/bob", "jevt.value[/sourceIPAddress]": "203.0.113.4",
        "jevt.value[/eventName]": "PutBucketAcl", "jevt.value[/eventSource]": "s3.amazonaws.com"});
    let google = |reader: &str| {
        let field = |path: &str| format!("{reader}[/protoPayload/{path}]");
        json!({field("authenticationInfo/principalEmail"): "dev@acme.com", field("requestMetadata/callerIp"): "203.0.113.5",
            field("methodName"): "storage.setIamPermissions", field("serviceName"): "storage.googleapis.com",
            field("requestMetadata/callerSuppliedUserAgent"): "gcloud/1"})
    };
    let bucket = json!({"principalEmail": "dev@acme.com", "callerIp": "203.0.113.5", "methodName": "storage.setIamPermissions",
        "serviceName": "storage.googleapis.com", "userAgent": "gcloud/1"});
    let okta = json!({"okta.actor.alternateid": "eve@corp.com", "okta.actor.name": "Eve Ex", "okta.client.ip": "203.0.113.7",
        "okta.evt.type": "user.mfa.factor.deactivate", "okta.useragent.raw": "Mozilla/5.0 (X11)"});
    let azure = json!({"jevt.value[/operationName]": "MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/DELETE",
        "jevt.value[/callerIpAddress]": "203.0.113.77:4434", format!("{CLAIM}upn]"): "eve@contoso.com", format!("{CLAIM}name]"): "Eve"});
    let entra = json!({"entra.user": "eve@contoso.com", "entra.srcip": "203.0.113.7", "entra.operation": "Add member to role",
        "entra.userAgent": "Mozilla/5.0"});
    for (source, fields, expected) in [
        (
            "aws_cloudtrail",
            old,
            json!({"principalSubject": "root", "callerIp": "203.0.113.4", "userAgent": "Mozilla/5.0",
                "serviceName": "signin.amazonaws.com", "methodName": "ConsoleLogin"}),
        ),
        (
            "k8s_audit",
            pointed,
            json!({"principalSubject": "arn:aws:iam::1:user/bob", "callerIp": "203.0.113.4", "serviceName": "s3.amazonaws.com",
                "methodName": "PutBucketAcl"}),
        ),
        ("gcp_auditlog", google("json.value"), bucket.clone()),
        ("gcp_auditlog", google("jevt.value"), bucket),
        (
            "okta",
            okta,
            json!({"principalEmail": "eve@corp.com", "callerIp": "203.0.113.7", "userAgent": "Mozilla/5.0 (X11)",
                "methodName": "user.mfa.factor.deactivate"}),
        ),
        (
            "okta",
            json!({"okta.actor.alternateid": "system", "okta.actor.name": "Okta System"}),
            json!({"principalSubject": "Okta System"}),
        ),
        (
            "azure_platformlogs",
            azure,
            json!({"principalEmail": "eve@contoso.com", "callerIp": "203.0.113.77",
                "methodName": "MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/DELETE"}),
        ),
        (
            "azure_entra",
            entra,
            json!({"principalEmail": "eve@contoso.com", "callerIp": "203.0.113.7", "userAgent": "Mozilla/5.0",
                "methodName": "Add member to role"}),
        ),
        (
            "aws_cloudtrail",
            json!({"ct.user.arn": "arn:aws:sts::1:assumed-role/Admin/bob@corp.com"}),
            json!({"principalSubject": "arn:aws:sts::1:assumed-role/Admin/bob@corp.com"}),
        ),
    ] {
        let access = audited(source, fields.clone()).access.unwrap_or_else(|| panic!("{fields}"));
        assert_eq!(serde_json::to_value(access).unwrap(), expected, "{fields}");
    }
}

#[test]
fn a_field_names_the_caller_rather_than_a_label() {
    let labels = json!({"aws.user": "bob", "cloudProvider.user": "bob"});
    let found = sent("aws_cloudtrail", json!({"aws.user": "root"}), labels, json!({}));
    assert_eq!(found.access.unwrap().principal_subject.as_deref(), Some("root"));
}

#[test]
fn what_a_kernel_tells_is_no_record_of_a_cloud() {
    let found = audited("syscall", json!({"jevt.value[/userAgent]": "x", "user.name": "root"}));
    assert_eq!(serde_json::to_value(found.access).unwrap(), json!({"userName": "root"}));
}

#[test]
fn identity_providers_and_detectors_of_clouds_are_no_hosts() {
    let user = json!({"entra.user": "eve@contoso.com", "entra.srcip": "203.0.113.7"});
    for (source, more) in [
        ("azure_entra", json!({})),
        ("guardduty", json!({"originator": "falcocloud"})),
        ("duo", json!({"sourceDetails": {"type": "iam", "subType": "workforce"}})),
        ("gitlab", json!({"sourceDetails": {"type": "git", "subType": "auditWebhooks"}})),
        ("aws_something_new", json!({"originator": "falcocloud"})),
    ] {
        let steps = sent(source, user.clone(), json!({"host.hostName": "h-1"}), more).next_steps.unwrap();
        assert!(steps.contains("disable the caller") && steps.contains("eve@contoso.com"), "{source}: {steps}");
        assert!(steps.contains("203.0.113.7") && !steps.contains("h-1"), "{source}: {steps}");
    }
    let record = sent("k8s_audit", json!({"ka.verb": "create"}), json!({}), json!({"originator": "falcocloud"}));
    assert!(!record.next_steps.unwrap().contains("disable the caller, change"), "it is a record of Kubernetes");
}

fn in_pod(actions: Value, more: Value) -> String {
    let mut labels = json!({"kubernetes.pod.name": "web-1", "kubernetes.namespace.name": "shop"});
    labels.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    sent("syscall", json!({"proc.name": "bash"}), labels, json!({"actions": actions})).next_steps.unwrap()
}

#[test]
fn the_log_of_a_container_that_was_ended_is_the_one_before() {
    let named = json!({"container.name": "web"});
    for actions in [
        json!([{"type": "container_killed", "isSuccessful": true}]),
        json!([{"type": "POLICY_ACTION_KILL", "successful": true, "errMsg": ""}]),
        json!([{"type": "capture"}, {"type": "container_stopped", "isSuccessful": true}]),
    ] {
        let steps = in_pod(actions.clone(), named.clone());
        assert!(steps.contains("logs web-1 -c web --previous --timestamps"), "{actions}: {steps}");
        assert!(steps.contains("in its memory and its file system may be gone"), "{actions}: {steps}");
        let all = in_pod(actions, json!({}));
        assert!(all.contains("--all-containers --previous --ignore-errors"), "{all}");
    }
    for actions in [
        json!([{"type": "container_killed", "isSuccessful": false}]),
        json!([{"type": "POLICY_ACTION_KILL", "errMsg": "container not found"}]),
        json!([{"type": "container_paused", "isSuccessful": true}, {"type": "process_killed", "isSuccessful": true}]),
    ] {
        let steps = in_pod(actions.clone(), named.clone());
        assert!(!steps.contains("--previous") && !steps.contains("may be gone"), "{actions}: {steps}");
    }
    let steps = in_pod(json!([{"type": "POLICY_ACTION_KILL", "successful": null}]), named);
    assert!(steps.contains("was to be killed; whether it was is not told"), "{steps}");
    assert!(steps.contains("logs web-1 -c web --timestamps") && !steps.contains("may be gone"), "{steps}");
}

#[test]
fn a_container_that_was_ended_on_a_node_is_not_stopped_again() {
    let steps = |actions: Value| {
        let labels = json!({"kubernetes.node.name": "n"});
        sent("syscall", json!({"container.id": "6949e5f10829"}), labels, json!({"actions": actions}))
            .next_steps
            .unwrap()
    };
    let ended = steps(json!([{"type": "container_killed", "isSuccessful": true}]));
    assert!(ended.contains("Sysdig killed the container") && !ended.contains("crictl stop"), "{ended}");
    assert!(steps(json!([])).contains("crictl stop"));
}

#[test]
fn a_serverless_container_has_no_host_to_log_in_to() {
    let serverless = |labels: Value, more: Value| {
        let fields = json!({"proc.name": "bash", "user.name": "bob", "container.id": "5a3c4e"});
        let steps = sent("syscall", fields, labels, more).next_steps.unwrap();
        for untrue in ["log-ins", "localhost", "last -w", "crictl", "tools of what runs it"] {
            assert!(!steps.contains(untrue), "{untrue}: {steps}");
        }
        assert!(steps.contains("no host to log in to"), "{steps}");
        steps
    };
    let by_agent = json!({"rawEventOriginator": "serverlessAgent"});
    let task = "arn:aws:ecs:us-east-1:059797578166:task/shop/abc";
    let steps = serverless(
        json!({"host.hostName": "localhost", "container.name": "app", "aws.fargate.taskArn": task,
            "container.image.repo": "acme/app", "container.image.tag": "1"}),
        by_agent.clone(),
    );
    assert!(steps.contains(&format!("--region us-east-1 --cluster shop --tasks {task}")), "{steps}");
    assert!(steps.contains("the container app") && steps.contains("the image acme/app:1"), "{steps}");
    let steps = serverless(
        json!({"host.hostName": "localhost", "gcp.cloudRun.serviceName": "svc", "gcp.location": "europe-west1",
            "gcp.projectName": "acme-prod"}),
        json!({"sourceDetails": {"sourceType": "workload", "sourceSubType": "caas"}}),
    );
    assert!(steps.contains("run services describe svc --region europe-west1 --project acme-prod"), "{steps}");
    // Only what is told is named.
    let steps = serverless(json!({"host.hostName": "ip-10-0-1-2.ec2.internal"}), by_agent);
    for untold in ["aws ecs", "gcloud run", "Check the image", "of the container"] {
        assert!(!steps.contains(untold), "{untold}: {steps}");
    }
}
