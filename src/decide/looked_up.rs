//! What the look-ups add to a finding beyond its resource: the workload, the node pool, digests, and properties.

use std::borrow::Cow;

use super::workload::has_own_place;
use crate::enrich::{Enriched, FoundBy, Instance, PodContainer, Workload, images};
use crate::event::runtime::{Cloud, Runtime};
use crate::finding::{Finding, Label, NodePool, Object};
use crate::text::cut;

/// Labels of one pod or instance that are repeated.
const MOST_LABELS: usize = 32;

/// The event with what it left open: node, workload, image, machine. What it says is never changed.
pub(super) fn filled<'e>(event: Cow<'e, Runtime>, enriched: &Enriched) -> Cow<'e, Runtime> {
    if enriched.workload.is_none() && enriched.node.is_none() && enriched.instance.is_none() {
        return event;
    }
    let mut event = event.into_owned();
    if let Some(workload) = &enriched.workload {
        let running = running(&event, workload).cloned().unwrap_or_default();
        let (place, container) = (&mut event.kubernetes, &mut event.container);
        if place.workload.is_none() && place.deployment.is_none() && !workload.kind.is_empty() {
            fill(&mut place.workload, &workload.name);
            fill(&mut place.workload_kind, &workload.kind.to_ascii_lowercase());
        }
        fill(&mut place.node, &workload.node);
        fill(&mut container.name, &running.name);
        fill(&mut container.image, &running.image);
        fill(&mut container.digest, &running.digest);
    }
    if let Some(node) = &enriched.node {
        fill(&mut event.kubernetes.node, &node.name);
        if let Some([project, zone, name]) = node.machine() {
            of_machine(&mut event.cloud, project, zone, name);
        }
    }
    if let Some(instance) = &enriched.instance {
        of_machine(&mut event.cloud, &instance.project, &instance.zone, &instance.name);
        if let Some(cluster) = &instance.cluster {
            fill(&mut event.kubernetes.node, &instance.name);
            fill(&mut event.kubernetes.cluster, &cluster.name);
            fill(&mut event.cloud.location, &cluster.location);
        }
    }
    Cow::Owned(event)
}

fn of_machine(cloud: &mut Cloud, project: &str, zone: &str, name: &str) {
    fill(&mut cloud.provider, "gcp");
    if cloud.project().is_none() {
        fill(&mut cloud.project_id, project);
    }
    fill(&mut cloud.zone, zone);
    fill(&mut cloud.instance_name, name);
}

fn fill(place: &mut Option<String>, value: &str) {
    if place.is_none() {
        *place = bounded(value);
    }
}

/// What no event has a place for: labels, API groups, node pools.
pub(super) fn complete(finding: &mut Finding, enriched: &Enriched) {
    if let Some(workload) = &enriched.workload {
        let kubernetes = finding.kubernetes.get_or_insert_default();
        for pod in kubernetes.pods.iter_mut().filter(|pod| pod.name.as_deref() == Some(&workload.pod)) {
            if pod.labels.is_empty() {
                let label = |(name, value): (&String, &String)| Label { name: bounded(name), value: bounded(value) };
                pod.labels = workload.labels.iter().take(MOST_LABELS).map(label).collect();
            }
        }
        let known = |object: &&mut Object| {
            let same_kind = object.kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case(&workload.kind));
            same_kind && object.name.as_deref() == Some(&workload.name)
        };
        if let Some(object) = kubernetes.objects.iter_mut().find(known) {
            object.kind = bounded(&workload.kind);
            object.group = bounded(&workload.api_version);
        } else if !workload.name.is_empty() && !has_own_place(&workload.kind) {
            kubernetes.objects.push(Object {
                group: bounded(&workload.api_version),
                kind: bounded(&workload.kind),
                ns: bounded(&workload.namespace),
                name: bounded(&workload.name),
                containers: Vec::new(),
            });
        }
    }
    let by_node = || enriched.node.as_ref().map(|node| node.node_pool.as_str());
    let pool = enriched.instance.as_ref().and_then(|instance| instance.node_pool.as_deref()).or_else(by_node);
    let pool = pool.filter(|pool| !pool.is_empty());
    if let (Some(kubernetes), Some(pool)) = (&mut finding.kubernetes, pool)
        && kubernetes.node_pools.is_empty()
    {
        kubernetes.node_pools.push(NodePool { name: bounded(pool), nodes: kubernetes.nodes.clone() });
    }
}

/// The container of the pod that the event is about.
fn running<'a>(event: &Runtime, workload: &'a Workload) -> Option<&'a PodContainer> {
    let (name, id) = (event.container.name.as_deref(), event.container.id.as_deref());
    let by_id = |c: &&PodContainer| id.is_some_and(|id| id.len() >= 12 && c.id.starts_with(id));
    let by_name = |c: &&PodContainer| name == Some(c.name.as_str());
    let all = &workload.containers;
    all.iter().find(by_id).or_else(|| all.iter().find(by_name)).or_else(|| all.first().filter(|_| all.len() == 1))
}

/// Tells the properties, the most telling first; a value that is not known is empty.
pub(super) fn properties(event: &Runtime, enriched: &Enriched, put: &mut impl FnMut(&str, &str)) {
    if let Some(instance) = &enriched.instance {
        machine(instance, put);
    }
    if let Some(by) = enriched.found_by {
        let word = match by {
            FoundBy::Id => "instance_id",
            FoundBy::Node => "kubernetes_node",
            FoundBy::NodeName => "kubernetes_node_name",
            FoundBy::Name => "host_name",
            FoundBy::Address => "internal_address",
        };
        put("compute_instance_found_by", word);
    }
    if let Some(workload) = &enriched.workload {
        pod(event, workload, put);
    }
    if let Some(node) = &enriched.node {
        put("kubernetes_node_provider_id", &node.provider_id);
    }
    if let Some(image) = event.container.image.as_deref().and_then(images::recognise) {
        put("container_image_link", &image.link());
        put("container_image_project", &image.project);
        put("container_image_repository", &image.repository);
    }
}

fn machine(instance: &Instance, put: &mut impl FnMut(&str, &str)) {
    put("compute_instance_name", &instance.name);
    put("compute_instance_id", &instance.id);
    put("compute_zone", &instance.zone);
    put("compute_project_id", &instance.project);
    put("compute_project_number", &instance.project_number);
    put("compute_machine_type", &instance.machine_type);
    put("compute_service_account", &instance.service_account);
    if let Some(cluster) = &instance.cluster {
        put("gke_cluster", &cluster.resource_name());
    }
    put("gke_node_pool", instance.node_pool.as_deref().unwrap_or_default());
    put("confidential_vm_type", instance.confidential.as_deref().unwrap_or_default());
    if let Some(shielded) = instance.shielded {
        put("shielded_vm_secure_boot", yes_or_no(shielded.secure_boot));
        put("shielded_vm_vtpm", yes_or_no(shielded.vtpm));
        put("shielded_vm_integrity_monitoring", yes_or_no(shielded.integrity_monitoring));
    }
    for (name, value) in instance.labels.iter().take(MOST_LABELS) {
        put(&format!("compute_label_{name}"), value);
    }
}

fn pod(event: &Runtime, workload: &Workload, put: &mut impl FnMut(&str, &str)) {
    if !workload.name.is_empty() {
        put("kubernetes_workload", &format!("{}/{}", workload.kind, workload.name));
    }
    put("kubernetes_service_account", &workload.service_account);
    put("kubernetes_node_name", &workload.node);
    put("kubernetes_pod_uid", &workload.uid);
    put("host_namespaces", &workload.host_namespaces.join(", "));
    if let Some(container) = running(event, workload) {
        put("container_privileged", yes_or_no(container.privileged));
        put("container_image_digest", &container.digest);
    }
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}

fn bounded(text: &str) -> Option<String> {
    Some(cut(text, 1024).to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::decide::{Decision, Rules, decide};
    use crate::enrich::{Cluster, Node};
    use crate::finding::FindingChange;
    use crate::normalize::{self, Element};

    fn finding(enriched: &Enriched) -> Finding {
        finding_in(None, enriched)
    }

    fn finding_in(cluster: Option<&str>, enriched: &Enriched) -> Finding {
        let body = serde_json::json!([{
            "id": "17dec715376910362c8c3f62a4ced001", "type": "policy", "timestamp": 1_720_031_001_639_981_110_i64, "name": "P",
            "severity": 4, "containerId": "6949e5f10829", "content": {"ruleName": "R", "output": "x", "fields": {}},
            "labels": {"kubernetes.namespace.name": "shop", "kubernetes.pod.name": "web-1", "container.name": "web",
                       "kubernetes.cluster.name": cluster},
        }]);
        let now = chrono::Utc::now();
        let Element::Event { event, .. } = normalize::delivery(body.to_string().as_bytes(), now).unwrap().remove(0)
        else {
            panic!("not an event")
        };
        match decide(&event, enriched, &Rules::new("123"), now) {
            Decision::Deliver(FindingChange::Create { finding, .. }) => *finding,
            other => panic!("{other:?}"),
        }
    }

    fn enriched() -> Enriched {
        let container = |name: &str, id: &str, digest: &str| PodContainer {
            name: name.into(),
            id: id.into(),
            digest: digest.into(),
            privileged: true,
            ..PodContainer::default()
        };
        let workload = Workload {
            namespace: "shop".into(),
            pod: "web-1".into(),
            kind: "Deployment".into(),
            name: "web".into(),
            api_version: "apps/v1".into(),
            labels: BTreeMap::from([("app".into(), "web".into())]),
            containers: vec![container("side", "aaa", "sha256:no"), container("web", "6949e5f10829ff", "sha256:yes")],
            ..Workload::default()
        };
        let instance = Instance {
            id: "42".into(),
            name: "n".into(),
            zone: "us-central1-c".into(),
            project: "acme".into(),
            node_pool: Some("pool".into()),
            cluster: Some(Cluster { project: "acme".into(), location: "us-central1".into(), name: "prod".into() }),
            ..Instance::default()
        };
        Enriched { instance: Some(instance), workload: Some(workload), ..Enriched::default() }
    }

    #[test]
    fn what_was_looked_up_fills_what_the_event_left_open() {
        let finding = finding(&enriched());
        assert_eq!(finding.containers[0].image_id.as_deref(), Some("sha256:yes"));
        let kubernetes = finding.kubernetes.unwrap();
        assert_eq!(kubernetes.objects[0].name.as_deref(), Some("web"));
        assert_eq!(kubernetes.objects[0].group.as_deref(), Some("apps/v1"));
        assert_eq!(kubernetes.pods[0].labels[0].name.as_deref(), Some("app"));
        assert_eq!(kubernetes.node_pools[0].name.as_deref(), Some("pool"));
        let properties = finding.source_properties;
        assert_eq!(properties["kubernetes_workload"], "Deployment/web");
        assert_eq!(properties["container_privileged"], "true");
        assert_eq!(
            properties["gke_cluster"],
            "//container.googleapis.com/projects/acme/locations/us-central1/clusters/prod"
        );
        assert!(properties.get("compute_project_number").is_none(), "what is not known is left out");
    }

    // Compute Engine allows international letters in a label's key; Security Command Center takes none in a property's.
    #[test]
    fn labels_of_the_instance_get_keys_that_are_legal_and_all_of_them_stay() {
        let labels = [("größe", "klein"), ("cost-centre", "1"), ("cost_centre", "2")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let instance = Instance { labels, ..Instance::default() };
        let properties = finding(&Enriched { instance: Some(instance), ..Enriched::default() }).source_properties;
        assert_eq!(properties["compute_label_gr__e"], "klein");
        assert_eq!(properties["compute_label_cost_centre"], "1");
        assert_eq!(properties["compute_label_cost_centre_2"], "2");
    }

    #[test]
    fn what_kubernetes_knows_reaches_the_resource_the_usual_keys_and_the_steps() {
        let mut workload = enriched().workload.unwrap();
        workload.node = "gke-prod-1".into();
        workload.containers[1].image = "gcr.io/acme/web:1".into();
        let mut node = Node {
            name: "gke-prod-1".into(),
            provider_id: "gce://acme/us-central1-c/gke-prod-1".into(),
            instance_id: "648229130641697001".into(),
            node_pool: "default-pool".into(),
            ..Node::default()
        };
        let with = |node: &Node| {
            let (workload, node) = (Some(workload.clone()), Some(node.clone()));
            finding(&Enriched { workload, node, ..Enriched::default() })
        };
        let found = with(&node);
        let name = "//compute.googleapis.com/projects/acme/zones/us-central1-c/instances/648229130641697001";
        assert_eq!(found.resource_name, name);
        let properties = &found.source_properties;
        for (key, value) in [
            ("resource_resolution", "instance_from_kubernetes"),
            ("Container_Image_Uri", "gcr.io/acme/web:1"),
            ("container_image", "gcr.io/acme/web:1"),
            ("VM_Instance_Name", "gke-prod-1"),
            ("container_image_link", "https://gcr.io/acme/web"),
            ("container_image_project", "acme"),
            ("kubernetes_node_provider_id", "gce://acme/us-central1-c/gke-prod-1"),
            ("kubernetes_deployment_name", "web"),
        ] {
            assert_eq!(properties[key], value, "{key}");
        }
        let kubernetes = found.kubernetes.unwrap();
        assert_eq!(kubernetes.nodes[0].name.as_deref(), Some(name));
        assert_eq!(kubernetes.node_pools[0].name.as_deref(), Some("default-pool"));
        assert_eq!(kubernetes.objects.len(), 1);
        let steps = found.next_steps.unwrap();
        for command in [
            "kubectl cordon gke-prod-1",
            "get deployment web",
            "describe gke-prod-1 --zone us-central1-c --project acme",
        ] {
            assert!(steps.contains(command), "{command}: {steps}");
        }
        for not_a_number in ["", "7x", "../1"] {
            node.instance_id = not_a_number.into();
            let found = with(&node);
            assert_eq!(found.resource_name, "//cloudresourcemanager.googleapis.com/organizations/123");
        }
    }

    #[test]
    fn a_node_that_is_not_called_as_its_instance_keeps_both_names() {
        let provider_id = "gce://acme/us-central1-c/gke-prod-pool-11234abc-abcd".to_owned();
        let node = Node { name: "gke-n1".into(), provider_id, ..Node::default() };
        let instance = Instance { name: "gke-prod-pool-11234abc-abcd".into(), ..Instance::default() };
        for instance in [Some(instance), None] {
            let found = finding(&Enriched { node: Some(node.clone()), instance, ..Enriched::default() });
            assert_eq!(found.source_properties["VM_Instance_Name"], "gke-prod-pool-11234abc-abcd");
            assert!(found.next_steps.unwrap().contains("kubectl cordon gke-n1"));
        }
    }

    #[test]
    fn a_machine_of_a_cluster_is_its_node() {
        let found = finding(&Enriched { workload: None, ..enriched() });
        assert_eq!(found.source_properties["VM_Instance_Name"], "n");
        assert_eq!(found.source_properties["kubernetes_cluster_name"], "prod");
        let kubernetes = found.kubernetes.unwrap();
        assert_eq!(kubernetes.nodes[0].name.as_deref(), Some(&*found.resource_name));
        assert_eq!(kubernetes.node_pools[0].name.as_deref(), Some("pool"));
        assert!(found.next_steps.unwrap().contains("get-credentials prod --location us-central1 --project acme"));
    }

    // The label may be any text of the agent's settings.
    #[test]
    fn commands_name_the_cluster_that_was_looked_up_and_properties_what_the_event_said() {
        for said in ["fleet", "Prod_EU"] {
            let found = finding_in(Some(said), &Enriched { workload: None, ..enriched() });
            assert_eq!(found.source_properties["kubernetes_cluster_name"], said);
            let steps = found.next_steps.unwrap();
            let command = "get-credentials prod --location us-central1 --project acme";
            assert!(steps.contains(command) && !steps.contains("clusters list"), "{steps}");
        }
    }

    // Whoever runs Kubernetes on virtual machines gets access to it otherwise.
    #[test]
    fn a_cluster_on_machines_without_gke_s_marks_is_none_of_gke_s() {
        let mut found = Enriched { workload: None, ..enriched() };
        let machine = found.instance.as_mut().unwrap();
        (machine.cluster, machine.node_pool) = (None, None);
        let steps = |found: &Enriched| finding_in(Some("ocp-prod"), found).next_steps.unwrap();
        let own = steps(&found);
        assert!(own.contains("kubectl -n shop get pod web-1") && !own.contains("gcloud container clusters"), "{own}");
        found.instance.as_mut().unwrap().labels = BTreeMap::from([("goog-gke-node".into(), String::new())]);
        assert!(steps(&found).contains("gcloud container clusters"));
    }

    // The kubelet owns its static pods by the node: that is no object in a namespace.
    #[test]
    fn the_node_that_owns_a_static_pod_is_no_object() {
        let mut found = enriched();
        let workload = found.workload.as_mut().unwrap();
        (workload.kind, workload.name, workload.api_version) = ("Node".into(), "gke-prod-1".into(), "v1".into());
        let finding = finding(&found);
        assert_eq!(finding.kubernetes.unwrap().objects, []);
        assert_eq!(finding.source_properties["kubernetes_workload"], "Node/gke-prod-1");
    }

    #[test]
    fn a_known_project_number_is_better_than_the_organization() {
        let project = crate::enrich::Project { id: "acme".into(), number: "289600000042".into() };
        let found = finding(&Enriched { project: Some(project), ..Enriched::default() });
        assert_eq!(found.resource_name, "//cloudresourcemanager.googleapis.com/projects/289600000042");
        assert_eq!(found.source_properties["resource_resolution"], "project_from_compute");
    }
}
