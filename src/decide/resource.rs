//! What is affected, by its full resource name: instance, else cluster, else project, else organization.

use crate::enrich::{Enriched, Instance, cluster_name};
use crate::event::Runtime;
use crate::event::location::{is_region, is_zone};
use crate::event::scene::{self, Scene};

/// What is affected, and how that was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    /// The full resource name.
    pub(super) name: String,
    /// How it was resolved: the value of the property `resource_resolution`.
    pub(super) how: &'static str,
    /// Whether it is a virtual machine.
    pub(super) is_instance: bool,
}

/// The ladder of the design, top down.
pub(super) fn resolve(event: &Runtime, enriched: &Enriched, organization: &str) -> Resource {
    let project = project(event, enriched);
    let looked_up = enriched.instance.as_ref().filter(|i| !i.id.is_empty() && !i.project.is_empty());
    // Whose number the event has stands where Compute Engine says, whatever the event calls its zone and project.
    let same = looked_up.filter(|i| event.cloud.instance_id.as_ref() == Some(&i.id));
    let looked_up = || looked_up.map(|i| (instance(&i.project, &i.zone, &i.id), "instance_from_compute"));
    let found = labelled_instance(event, project)
        .map(|name| match same.and_then(|_| looked_up()).filter(|(known, _)| *known != name) {
            Some(corrected) => corrected,
            None => (name, "instance_from_labels"),
        })
        .or_else(looked_up)
        .or_else(|| instance_from_node(enriched).map(|name| (name, "instance_from_kubernetes")));
    if let Some((name, how)) = found {
        return Resource { name, how, is_instance: true };
    }
    let (name, how) = cluster_from_labels(event, project)
        .filter(|_| !is_not_gke(event, enriched))
        .map(|name| (name, "cluster_from_labels"))
        .or_else(|| project_number(event).map(|name| (name, "project_from_labels")))
        .or_else(|| looked_up_project(enriched).map(|name| (name, "project_from_compute")))
        .unwrap_or_else(|| (format!("//cloudresourcemanager.googleapis.com/{organization}"), "organization"));
    Resource { name, how, is_instance: false }
}

/// The event's project, by its id where the event or a look-up tells it: one thing has one name.
fn project<'a>(event: &'a Runtime, enriched: &'a Enriched) -> Option<&'a str> {
    let named = event.cloud.project()?;
    let known = enriched.project.as_ref().filter(|project| project.number == named && !project.id.is_empty());
    Some(known.map_or(named, |project| &project.id))
}

fn instance(project: &str, zone: &str, id: &str) -> String {
    format!("//compute.googleapis.com/projects/{project}/zones/{zone}/instances/{id}")
}

/// The full set of Compute Engine labels names the instance without any look-up.
pub(super) fn instance_from_labels(event: &Runtime) -> Option<String> {
    labelled_instance(event, event.cloud.project())
}

fn labelled_instance(event: &Runtime, project: Option<&str>) -> Option<String> {
    let cloud = &event.cloud;
    let zone = cloud.zone.as_deref().or(cloud.location.as_deref()).filter(|zone| is_zone(zone))?;
    // Zero is nobody's number.
    let id = cloud.instance_id.as_deref().filter(|id| id.bytes().any(|b| b != b'0'))?;
    Some(instance(project?, zone, id))
}

/// GKE writes on every node which instance it is.
fn instance_from_node(enriched: &Enriched) -> Option<String> {
    let node = enriched.node.as_ref()?;
    let [project, zone, _] = node.machine()?;
    let id = Some(node.instance_id.as_str()).filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))?;
    is_zone(zone).then(|| instance(project, zone, id))
}

/// Whether something tells that the event's cluster is none of GKE's, but run by its operators on machines of Compute
/// Engine: a namespace of OpenShift's own, or a machine without the marks that GKE puts on its nodes.
pub(super) fn is_not_gke(event: &Runtime, enriched: &Enriched) -> bool {
    let of_openshift = |namespace: &str| namespace == "openshift" || namespace.starts_with("openshift-");
    let unmarked = |machine: &Instance| machine.cluster.is_none() && !machine.labels.contains_key("goog-gke-node");
    event.kubernetes.namespace.as_deref().is_some_and(of_openshift)
        || (scene::of(event) == Scene::Machine && enriched.instance.as_ref().is_some_and(unmarked))
}

fn cluster_from_labels(event: &Runtime, project: Option<&str>) -> Option<String> {
    let cluster = event.kubernetes.cluster.as_deref().filter(|name| is_cluster_name(name))?;
    Some(cluster_name(project?, location(event)?, cluster))
}

/// Where the cluster is, as far as the labels tell: the label is of the node, so a region may stand for a zonal cluster.
pub(super) fn location(event: &Runtime) -> Option<&str> {
    let cloud = &event.cloud;
    if cloud.provider.as_deref() != Some("gcp") {
        return None;
    }
    let known = [cloud.location.as_deref(), cloud.region.as_deref(), cloud.zone.as_deref()];
    known.into_iter().flatten().find(|name| is_zone(name) || is_region(name))
}

fn project_number(event: &Runtime) -> Option<String> {
    let number = event.cloud.project_number.as_deref()?;
    Some(format!("//cloudresourcemanager.googleapis.com/projects/{number}"))
}

fn looked_up_project(enriched: &Enriched) -> Option<String> {
    let number =
        enriched.project.as_ref().map(|project| project.number.as_str()).filter(|number| !number.is_empty())?;
    Some(format!("//cloudresourcemanager.googleapis.com/projects/{number}"))
}

/// GKE's rule for the name of a cluster.
pub(super) fn is_cluster_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=40).contains(&name.len())
        && name.bytes().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
}
