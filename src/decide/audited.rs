//! The object that a record of the Kubernetes audit log is about, under Falco's field names (`ka.*`).

use super::object::{bounded, object};
use crate::event::finding::{Binding, Kubernetes, Role, RoleKind};
use crate::event::runtime::Runtime;

/// Adds the object to what is known of the event's Kubernetes; its pod stands there already.
pub(super) fn add(event: &Runtime, kubernetes: &mut Kubernetes) {
    let (Some(resource), Some(name)) = (event.field("ka.target.resource"), event.field("ka.target.name")) else {
        return;
    };
    let bounded = |text: &str| Some(bounded(text));
    let ns = event.field("ka.target.namespace").and_then(bounded);
    match resource {
        "pods" | "nodes" => {}
        "roles" => kubernetes.roles.push(Role { kind: Some(RoleKind::Role), ns, name: bounded(name) }),
        "clusterroles" => {
            kubernetes.roles.push(Role { kind: Some(RoleKind::ClusterRole), ns: None, name: bounded(name) });
        }
        "rolebindings" | "clusterrolebindings" => {
            // A RoleBinding may name a ClusterRole too: then which of the two it is, the record does not say.
            let kind = (resource == "clusterrolebindings").then_some(RoleKind::ClusterRole);
            let role = event.field("ka.req.binding.role").map(|role| Role { kind, ns: None, name: bounded(role) });
            kubernetes.bindings.push(Binding { ns, name: bounded(name), role });
        }
        other => kubernetes.objects.push(object(kind(other), name, ns.as_deref())),
    }
}

/// The kind of a resource, which the API's paths name in the plural.
fn kind(resource: &str) -> &str {
    const KINDS: [(&str, &str); 18] = [
        ("deployments", "Deployment"),
        ("statefulsets", "StatefulSet"),
        ("daemonsets", "DaemonSet"),
        ("replicasets", "ReplicaSet"),
        ("replicationcontrollers", "ReplicationController"),
        ("cronjobs", "CronJob"),
        ("jobs", "Job"),
        ("services", "Service"),
        ("namespaces", "Namespace"),
        ("configmaps", "ConfigMap"),
        ("secrets", "Secret"),
        ("serviceaccounts", "ServiceAccount"),
        ("ingresses", "Ingress"),
        ("networkpolicies", "NetworkPolicy"),
        ("persistentvolumes", "PersistentVolume"),
        ("persistentvolumeclaims", "PersistentVolumeClaim"),
        ("customresourcedefinitions", "CustomResourceDefinition"),
        ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
    ];
    KINDS.iter().find(|(plural, _)| *plural == resource).map_or(resource, |(_, kind)| kind)
}
