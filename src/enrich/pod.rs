//! A pod in the words of the Kubernetes API, as ours: what runs in it, and what it shares with its node.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec};

use super::marks::Marks;
use super::{PodContainer, Workload};

/// The API's words as ours. Whose workload it is stands elsewhere.
pub(super) fn facts(namespace: &str, name: &str, pod: Pod) -> (Workload, Marks) {
    let spec = pod.spec.unwrap_or_default();
    let status = pod.status.unwrap_or_default();
    let statuses: Vec<ContainerStatus> =
        [status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses]
            .into_iter()
            .flatten()
            .flatten()
            .collect();
    let marks = Marks::new(pod.metadata.creation_timestamp.as_ref(), &statuses);
    let workload = Workload {
        namespace: namespace.to_owned(),
        pod: name.to_owned(),
        uid: pod.metadata.uid.unwrap_or_default(),
        node: spec.node_name.clone().unwrap_or_default(),
        service_account: spec.service_account_name.clone().unwrap_or_default(),
        labels: pod.metadata.labels.unwrap_or_default(),
        host_namespaces: host_namespaces(&spec),
        containers: containers(&spec, &statuses),
        ..Workload::default()
    };
    (workload, marks)
}

fn host_namespaces(spec: &PodSpec) -> Vec<String> {
    [("network", spec.host_network), ("process", spec.host_pid), ("ipc", spec.host_ipc)]
        .into_iter()
        .filter(|(_, shared)| *shared == Some(true))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn containers(spec: &PodSpec, statuses: &[ContainerStatus]) -> Vec<PodContainer> {
    let declared = spec.init_containers.iter().flatten().chain(&spec.containers);
    let declared =
        declared.map(|c| (c.name.clone(), c.image.clone(), c.security_context.as_ref().and_then(|s| s.privileged)));
    let attached = spec.ephemeral_containers.iter().flatten();
    let attached =
        attached.map(|c| (c.name.clone(), c.image.clone(), c.security_context.as_ref().and_then(|s| s.privileged)));
    declared
        .chain(attached)
        .map(|(name, image, privileged)| {
            let status = statuses.iter().find(|status| status.name == name);
            let digest = status.and_then(|s| s.image_id.rsplit_once('@')).map(|(_, digest)| digest.to_owned());
            let id = status
                .and_then(|s| s.container_id.as_deref())
                .map(|id| id.rsplit('/').next().unwrap_or_default().to_owned());
            PodContainer {
                name,
                image: image.unwrap_or_default(),
                digest: digest.unwrap_or_default(),
                id: id.unwrap_or_default(),
                privileged: privileged == Some(true),
            }
        })
        .collect()
}
