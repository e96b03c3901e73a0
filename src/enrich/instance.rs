//! An instance in the words of Compute Engine's API, as ours: the cluster and the pool that its labels and metadata tell.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Cluster, Instance, Shielded};
use crate::google::compute::{self, last_part, project_in};

/// The API's words as ours.
pub(super) fn facts(asked: &str, instance: compute::Instance) -> Instance {
    let project = project_in(&instance.self_link).or_else(|| project_in(&instance.zone)).unwrap_or(asked).to_owned();
    let metadata: BTreeMap<&str, &str> =
        instance.metadata.items.iter().map(|item| (item.key.as_str(), item.value.as_str())).collect();
    let said = |label: &str, key: &str| {
        let label = instance.labels.get(label).map(String::as_str);
        label.or_else(|| metadata.get(key).copied()).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let zone = last_part(&instance.zone).to_owned();
    let cluster = said("goog-k8s-cluster-name", "cluster-name").map(|name| Cluster {
        project: project.clone(),
        location: said("goog-k8s-cluster-location", "cluster-location").unwrap_or_else(|| zone.clone()),
        name,
    });
    let kube_labels = metadata.get("kube-labels").copied().unwrap_or_default();
    let node_pool =
        said("goog-k8s-node-pool-name", "").or_else(|| kube_label(kube_labels, "cloud.google.com/gke-nodepool"));
    Instance {
        id: instance.id.0,
        name: instance.name,
        created: DateTime::parse_from_rfc3339(&instance.creation_timestamp).ok().map(|time| time.with_timezone(&Utc)),
        machine_type: last_part(&instance.machine_type).to_owned(),
        service_account: instance.service_accounts.into_iter().next().unwrap_or_default().email,
        addresses: instance.network_interfaces.into_iter().map(|i| i.network_ip).filter(|ip| !ip.is_empty()).collect(),
        shielded: instance.shielded_instance_config.map(|config| Shielded {
            secure_boot: config.enable_secure_boot,
            vtpm: config.enable_vtpm,
            integrity_monitoring: config.enable_integrity_monitoring,
        }),
        confidential: instance.confidential_instance_config.and_then(confidential),
        labels: instance.labels,
        project,
        project_number: String::new(),
        zone,
        cluster,
        node_pool,
    }
}

fn confidential(config: compute::ConfidentialConfig) -> Option<String> {
    match config.confidential_instance_type.as_str() {
        "" | "CONFIDENTIAL_INSTANCE_TYPE_UNSPECIFIED" => {
            config.enable_confidential_compute.then(|| "CONFIDENTIAL".into())
        }
        kind => Some(kind.to_owned()),
    }
}

/// A label in the form `a=1,b=2` that the kubelet is given.
fn kube_label(labels: &str, name: &str) -> Option<String> {
    let mut pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}
