//! The Kubernetes objects and containers of a runtime event.

use super::object::{bounded, object};
use super::resource::Resource;
use super::{audited, pod_labels};
use crate::enrich::Enriched;
use crate::event::runtime::{Runtime, Shape};
use crate::event::scene::{self, Scene};
use crate::finding::{Container, Kubernetes, Node, Object, Pod};
use crate::text::names;

/// Most containers of one new pod.
const MOST_CONTAINERS: usize = 20;

/// The container, when the event happened in one; of a new pod, all of them.
pub(super) fn containers(event: &Runtime) -> Vec<Container> {
    let known = &event.container;
    let container = Container {
        name: known.name.as_deref().map(bounded),
        uri: known.image.as_deref().map(bounded),
        image_id: known.digest.as_deref().or(known.image_id.as_deref()).map(bounded),
        labels: Vec::new(),
    };
    let mut found = if container == Container::default() { Vec::new() } else { vec![container] };
    // A new pod's images: none of several is the one that the event is about.
    if known.image.is_none()
        && let Some(images) = event.field("ka.req.pod.containers.image")
    {
        found.extend(names::listed(images).take(MOST_CONTAINERS).map(of_image));
    }
    found
}

fn of_image(image: &str) -> Container {
    let digest = image.split_once('@').map(|(_, digest)| digest).filter(|digest| digest.starts_with("sha256:"));
    Container { uri: Some(bounded(image)), image_id: digest.map(bounded), ..Container::default() }
}

/// Pod, node and workload.
pub(super) fn kubernetes(event: &Runtime, resource: &Resource, containers: &[Container]) -> Option<Kubernetes> {
    let known = &event.kubernetes;
    let pod = known.pod.as_deref().or_else(|| reviewed_pod(event)).map(|name| Pod {
        ns: known.namespace.as_deref().map(bounded),
        name: Some(bounded(name)),
        labels: pod_labels::of(event),
        containers: containers.to_vec(),
    });
    let is_node = known.node.is_some() || on_cluster(event);
    let node = (is_node && resource.is_instance).then(|| Node { name: Some(resource.name.clone()) });
    let mut kubernetes = Kubernetes {
        pods: pod.into_iter().collect(),
        nodes: node.into_iter().collect(),
        objects: workload(event).into_iter().chain(reviewed(event)).collect(),
        ..Kubernetes::default()
    };
    audited::add(event, &mut kubernetes);
    (kubernetes != Kubernetes::default()).then_some(kubernetes)
}

/// The node's name, when it is a node.
pub(super) fn node_name(event: &Runtime) -> Option<&str> {
    let known = event.kubernetes.node.as_deref();
    known.or_else(|| event.machine().filter(|_| on_cluster(event) && sensors_own(event).is_none()))
}

/// The name of the virtual machine that the node is: the instance's where it is known, as its node may be called
/// otherwise.
pub(super) fn machine_name<'a>(event: &'a Runtime, enriched: &'a Enriched) -> Option<&'a str> {
    let node = node_name(event)?;
    let found = enriched.instance.as_ref().map(|instance| instance.name.as_str()).filter(|name| !name.is_empty());
    Some(found.or(event.cloud.instance_name.as_deref()).unwrap_or(node))
}

/// What Falco may have told of itself in place of its host's name, as it does without `FALCO_HOSTNAME`: its pod, or its
/// container. The name that a daemon set or a deployment made for a pod ends in five of the characters below, and
/// Docker calls the host of a container by its id; where a look-up found the machine, its name is known.
pub(super) fn sensors_own(event: &Runtime) -> Option<&'static str> {
    let made = |c: char| "bcdfghjklmnpqrstvwxz2456789".contains(c);
    let of_pod = |name: &str| name.rsplit_once('-').is_some_and(|(_, end)| end.len() == 5 && end.chars().all(made));
    let name = event.host.name.as_deref().filter(|_| event.cloud.instance_name.is_none())?;
    match event.shape {
        Shape::Falco if of_pod(name) => Some("pod"),
        Shape::Falco if names::is_container_id(name) => Some("container"),
        _ => None,
    }
}

/// Whether it happened on a machine of a cluster.
fn on_cluster(event: &Runtime) -> bool {
    let known = &event.kubernetes;
    (known.pod.is_some() || known.cluster.is_some()) && scene::of(event) == Scene::Machine
}

fn workload(event: &Runtime) -> Option<Object> {
    let known = &event.kubernetes;
    let name = known.workload.as_deref().or(known.deployment.as_deref())?;
    let kind = if known.workload.is_some() { known.workload_kind.as_deref() } else { Some("deployment") };
    let kind = kind.filter(|kind| !has_own_place(kind))?;
    Some(object(kind, name, known.namespace.as_deref()))
}

/// Whether a finding has another place than `objects` for this kind, in any case of letters.
pub(super) fn has_own_place(kind: &str) -> bool {
    ["pod", "node"].iter().any(|own| own.eq_ignore_ascii_case(kind))
}

fn reviewed_pod(event: &Runtime) -> Option<&str> {
    let review = event.admission.as_ref()?;
    review.kind.as_deref().filter(|kind| kind.eq_ignore_ascii_case("pod")).and(review.name.as_deref())
}

fn reviewed(event: &Runtime) -> Option<Object> {
    let review = event.admission.as_ref()?;
    let kind = review.kind.as_deref().filter(|kind| !has_own_place(kind))?;
    Some(object(kind, review.name.as_deref()?, event.kubernetes.namespace.as_deref()))
}
