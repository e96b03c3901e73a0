//! The kinds of the Kubernetes API: those that version 1.33 has built in, and the few others that workloads are of.

/// One kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// The API group with its version: `apps/v1`, and `v1` of the core.
    pub(super) group: &'static str,
    /// As the API's paths name it.
    pub(super) plural: &'static str,
    /// As manifests spell it.
    pub(super) name: &'static str,
    /// Whether its objects live in namespaces.
    pub(super) namespaced: bool,
}

/// The kind that a path names. Two groups may use the same word: when the group is known, it must be this one's.
pub(super) fn of_resource(plural: &str, group: Option<&str>) -> Option<&'static Kind> {
    let same_group = |kind: &&Kind| group.is_none_or(|group| unversioned(group) == unversioned(kind.group));
    KINDS.iter().filter(|kind| kind.plural == plural).find(same_group)
}

/// The kind of this name in any case.
pub(super) fn of_name(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name.eq_ignore_ascii_case(name))
}

fn unversioned(group: &str) -> &str {
    group.rsplit_once('/').map_or("", |(group, _)| group)
}

const fn namespaced(group: &'static str, plural: &'static str, name: &'static str) -> Kind {
    Kind { group, plural, name, namespaced: true }
}

const fn of_cluster(group: &'static str, plural: &'static str, name: &'static str) -> Kind {
    Kind { group, plural, name, namespaced: false }
}

const KINDS: &[Kind] = &[
    namespaced("v1", "events", "Event"),
    namespaced("v1", "bindings", "Binding"),
    of_cluster("v1", "componentstatuses", "ComponentStatus"),
    namespaced("v1", "configmaps", "ConfigMap"),
    namespaced("v1", "endpoints", "Endpoints"),
    namespaced("v1", "limitranges", "LimitRange"),
    of_cluster("v1", "namespaces", "Namespace"),
    of_cluster("v1", "nodes", "Node"),
    namespaced("v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    of_cluster("v1", "persistentvolumes", "PersistentVolume"),
    namespaced("v1", "pods", "Pod"),
    namespaced("v1", "podtemplates", "PodTemplate"),
    namespaced("v1", "replicationcontrollers", "ReplicationController"),
    namespaced("v1", "resourcequotas", "ResourceQuota"),
    namespaced("v1", "secrets", "Secret"),
    namespaced("v1", "serviceaccounts", "ServiceAccount"),
    namespaced("v1", "services", "Service"),
    of_cluster("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
    of_cluster("admissionregistration.k8s.io/v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy"),
    of_cluster(
        "admissionregistration.k8s.io/v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
    ),
    of_cluster("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
    of_cluster("admissionregistration.k8s.io/v1alpha1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
    of_cluster(
        "admissionregistration.k8s.io/v1alpha1",
        "mutatingadmissionpolicybindings",
        "MutatingAdmissionPolicyBinding",
    ),
    of_cluster("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition"),
    of_cluster("apiregistration.k8s.io/v1", "apiservices", "APIService"),
    namespaced("apps/v1", "controllerrevisions", "ControllerRevision"),
    namespaced("apps/v1", "daemonsets", "DaemonSet"),
    namespaced("apps/v1", "deployments", "Deployment"),
    namespaced("apps/v1", "replicasets", "ReplicaSet"),
    namespaced("apps/v1", "statefulsets", "StatefulSet"),
    namespaced("argoproj.io/v1alpha1", "rollouts", "Rollout"),
    of_cluster("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview"),
    of_cluster("authentication.k8s.io/v1", "tokenreviews", "TokenReview"),
    namespaced("authorization.k8s.io/v1", "localsubjectaccessreviews", "LocalSubjectAccessReview"),
    of_cluster("authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    of_cluster("authorization.k8s.io/v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    of_cluster("authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview"),
    namespaced("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    namespaced("batch/v1", "cronjobs", "CronJob"),
    namespaced("batch/v1", "jobs", "Job"),
    of_cluster("certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest"),
    of_cluster("certificates.k8s.io/v1beta1", "clustertrustbundles", "ClusterTrustBundle"),
    namespaced("coordination.k8s.io/v1", "leases", "Lease"),
    namespaced("coordination.k8s.io/v1beta1", "leasecandidates", "LeaseCandidate"),
    namespaced("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
    namespaced("events.k8s.io/v1", "events", "Event"),
    of_cluster("flowcontrol.apiserver.k8s.io/v1", "flowschemas", "FlowSchema"),
    of_cluster("flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations", "PriorityLevelConfiguration"),
    of_cluster("internal.apiserver.k8s.io/v1alpha1", "storageversions", "StorageVersion"),
    of_cluster("networking.k8s.io/v1", "ingressclasses", "IngressClass"),
    namespaced("networking.k8s.io/v1", "ingresses", "Ingress"),
    of_cluster("networking.k8s.io/v1", "ipaddresses", "IPAddress"),
    namespaced("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    of_cluster("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR"),
    of_cluster("node.k8s.io/v1", "runtimeclasses", "RuntimeClass"),
    namespaced("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    of_cluster("policy/v1beta1", "podsecuritypolicies", "PodSecurityPolicy"),
    of_cluster("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding"),
    of_cluster("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole"),
    namespaced("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"),
    namespaced("rbac.authorization.k8s.io/v1", "roles", "Role"),
    of_cluster("resource.k8s.io/v1alpha3", "devicetaintrules", "DeviceTaintRule"),
    of_cluster("resource.k8s.io/v1beta1", "deviceclasses", "DeviceClass"),
    namespaced("resource.k8s.io/v1beta1", "resourceclaims", "ResourceClaim"),
    namespaced("resource.k8s.io/v1beta1", "resourceclaimtemplates", "ResourceClaimTemplate"),
    of_cluster("resource.k8s.io/v1beta1", "resourceslices", "ResourceSlice"),
    of_cluster("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass"),
    of_cluster("storage.k8s.io/v1", "csidrivers", "CSIDriver"),
    of_cluster("storage.k8s.io/v1", "csinodes", "CSINode"),
    namespaced("storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity"),
    of_cluster("storage.k8s.io/v1", "storageclasses", "StorageClass"),
    of_cluster("storage.k8s.io/v1", "volumeattachments", "VolumeAttachment"),
    of_cluster("storage.k8s.io/v1beta1", "volumeattributesclasses", "VolumeAttributesClass"),
    of_cluster("storagemigration.k8s.io/v1alpha1", "storageversionmigrations", "StorageVersionMigration"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_told_by_its_plural_and_its_group() {
        for (plural, group, expected) in [
            ("volumeattachments", None, Some("VolumeAttachment")),
            ("mutatingwebhookconfigurations", None, Some("MutatingWebhookConfiguration")),
            ("ingresses", Some("networking.k8s.io/v1"), Some("Ingress")),
            ("horizontalpodautoscalers", Some("autoscaling/v1"), Some("HorizontalPodAutoscaler")),
            ("events", Some("events.k8s.io/v1"), Some("Event")),
            ("services", Some("serving.knative.dev/v1"), None),
            ("services", Some("v1"), Some("Service")),
            ("widgets", None, None),
        ] {
            assert_eq!(of_resource(plural, group).map(|kind| kind.name), expected, "{plural} {group:?}");
        }
        assert_eq!(of_name("statefulset").map(|kind| kind.group), Some("apps/v1"));
    }

    #[test]
    fn no_kind_is_there_twice_and_each_is_spelt_like_its_plural() {
        for (at, kind) in KINDS.iter().enumerate() {
            let again = KINDS[at + 1..].iter().any(|other| (other.plural, other.group) == (kind.plural, kind.group));
            assert!(!again, "{kind:?}");
            let stem = kind.name.trim_end_matches(['y', 's']).to_ascii_lowercase();
            assert!(kind.plural.starts_with(&stem), "{kind:?}");
        }
    }
}
