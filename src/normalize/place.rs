//! Where it happened, read out of fields and labels: the same facts under the names of every generation and of Falco.

use std::borrow::Cow;

use super::{images, pods};
use crate::event::facts::Facts;
use crate::event::runtime::{Cloud, Container, Host, Kubernetes};
use crate::text::names;

/// What the kubelet calls the sandbox that holds a pod's namespaces: no container of the pod has this name.
const NO_CONTAINER: &str = "POD";

/// What a sensor says in place of a host's name that it does not know.
const NO_HOST: &str = "host";

/// What Falco says of a container until it was told about it (falcosecurity/falco#716).
const NOT_YET: &str = "incomplete";

/// Under which names a container's name is told.
const CONTAINER_NAMES: [&str; 4] = [
    "container.label.io.kubernetes.container.name",
    "container.name",
    "k8s.container.name",
    "jevt.value[/requestObject/ephemeralContainers/0/name]",
];

/// Where it happened.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) container: Container,
    pub(super) host: Host,
    pub(super) kubernetes: Kubernetes,
    pub(super) cloud: Cloud,
}

/// Labels win over fields; `hints` are bare words (legacy `metrics`) in which only names are looked for.
pub(super) fn read(fields: &Facts, labels: &Facts, hints: &[Cow<'_, str>], container_id: Option<String>) -> Place {
    let pick =
        |names: &[&str]| names.iter().find_map(|name| labels.get(name).or_else(|| fields.get(name))).map(str::to_owned);
    let told = CONTAINER_NAMES.iter().find_map(|name| labels.get(name).or_else(|| fields.get(name)));
    let docker = hints.iter().map(|hint| &**hint).chain(told).find_map(names::docker_name);
    let pod = pods::read(fields, labels, docker);
    // What is told of another pod is not told of this one's container and workload.
    let in_labels = |name: &str| labels.get(name).filter(|_| !pod.is_strange(name, true));
    let in_fields = |name: &str| fields.get(name).filter(|_| !pod.is_strange(name, false));
    let image_in_fields = match pod.is_in_fields() {
        true => images::speaks_second(in_fields, in_labels).map(|second| !second),
        false => images::speaks_second(in_labels, in_fields),
    };
    // Of two images, one is told of.
    let is_outvoted = |name: &str, is_fields: bool| images::is_part(name) && image_in_fields == Some(!is_fields);
    let in_labels = |name: &str| in_labels(name).filter(|_| !is_outvoted(name, false));
    let in_fields = |name: &str| in_fields(name).filter(|_| !is_outvoted(name, true));
    let of_pod = |names: &[&str]| {
        let found = names.iter().find_map(|name| match pod.is_in_fields() {
            true => in_fields(name).or_else(|| in_labels(name)),
            false => in_labels(name).or_else(|| in_fields(name)),
        });
        found.map(str::to_owned)
    };
    let other = other_cloud(labels);
    let mut place = Place {
        container: container(&of_pod, container_id.filter(|_| !pod.is_of_another())),
        host: host(&pick, hints),
        kubernetes: kubernetes(&pick, &of_pod, &pod),
        cloud: cloud(&pick, other.is_some()),
    };
    if place.cloud.provider.is_none() {
        place.cloud.provider = other.map(str::to_owned);
    }
    if let Some(name) = docker.filter(|_| !pod.is_of_another()) {
        place.container.name = Some(name.container.to_owned()).filter(|name| name != NO_CONTAINER);
    }
    if place.host.name.is_none() {
        place.host.name = place.cloud.instance_name.clone().or_else(|| place.kubernetes.node.clone());
    }
    place
}

/// The fields without what only says that nothing is known of a container yet, when they say so.
pub(super) fn complete(fields: &Facts) -> Option<Facts> {
    let is_nothing =
        |name: &str, value: &str| value == NOT_YET && (name == "container.name" || name.starts_with("container.image"));
    let says_so =
        fields.holds(|text| text.contains(NOT_YET)) && fields.iter().any(|(name, value)| is_nothing(name, value));
    says_so.then(|| fields.iter().filter(|(name, value)| !is_nothing(name, value)).collect())
}

/// The name of a host, when it is one.
pub(super) fn host_name(name: String) -> Option<String> {
    Some(name).filter(|name| name != NO_HOST)
}

/// Whether `host` as the container's name is the sensor's way of saying that it was none: no container's id is told.
pub(super) fn is_on_host(fields: &Facts, labels: &Facts, id: Option<&str>) -> bool {
    let told = |name: &str| [labels.get(name), fields.get(name)];
    let named = told("container.name").into_iter().flatten().any(|name| name == "host");
    let mut ids = ["container.id", "containerd.id"].into_iter().flat_map(told).chain([id]).flatten();
    named && ids.all(|id| id == "host")
}

fn container(pick: &impl Fn(&[&str]) -> Option<String>, id: Option<String>) -> Container {
    let id = id.or_else(|| pick(&["container.id", "containerd.id"])).filter(|id| id != "host");
    let named = |names: &[&str]| pick(names).filter(|name| name != images::UNNAMED);
    let (repository, tag) = (named(&images::REPOSITORY), named(&[images::TAG]));
    let image = match (repository, tag) {
        (Some(repository), Some(tag)) => Some(images::named(repository, &tag)),
        (repository, _) => pick(&["container.image", "container.image.name"])
            .or(repository)
            .or_else(|| pick(&["jevt.value[/requestObject/ephemeralContainers/0/image]"]))
            .or_else(|| pick(&["ka.req.pod.containers.image"]).as_deref().and_then(only_of_list)),
    };
    let (image, image_id) = named_or_id(image, pick);
    let in_image = image.as_deref().and_then(|image| image.split_once('@')).map(|(_, digest)| digest.to_owned());
    Container {
        id,
        name: pick(&CONTAINER_NAMES).filter(|name| name != "host" && name != NO_CONTAINER),
        image,
        digest: pick(&["container.image.digest"])
            .as_deref()
            .and_then(digest)
            .or(in_image.filter(|digest| digest.starts_with("sha256:"))),
        image_id,
    }
}

/// An image that is known by its id only has `sha256:…` in place of its name, and Falco takes that apart as a name and a tag.
fn named_or_id(image: Option<String>, pick: &impl Fn(&[&str]) -> Option<String>) -> (Option<String>, Option<String>) {
    let id = |text: &str| text == "sha256" || text.starts_with("sha256:");
    if !image.as_deref().is_some_and(id) {
        return (image, None);
    }
    let is_whole = |text: &String| text.len() == 71 && text.bytes().skip(7).all(|b| b.is_ascii_hexdigit());
    let told = [image, pick(&["container.image"]), pick(&["container.image.name"])].into_iter().flatten();
    let (ids, names): (Vec<_>, Vec<_>) = told.partition(|text| id(text));
    (names.into_iter().next(), ids.into_iter().find(is_whole))
}

/// The digest, also as the one of a list, behind its repository or not.
fn digest(text: &str) -> Option<String> {
    let only = if text.starts_with(['[', '(']) { only_of_list(text)? } else { text.to_owned() };
    let bare = only.split_once('@').map(|(_, digest)| digest.to_owned());
    Some(bare.unwrap_or(only))
}

/// The one image of a new pod. Of several, none is the image that the event is about.
fn only_of_list(text: &str) -> Option<String> {
    let mut items = names::listed(text);
    let first = items.next().filter(|_| items.next().is_none())?;
    Some(first.to_owned())
}

fn host(pick: &impl Fn(&[&str]) -> Option<String>, hints: &[Cow<'_, str>]) -> Host {
    Host {
        name: pick(&["host.hostName", "host.hostname", "evt.hostname"])
            .and_then(host_name)
            .or_else(|| hints.iter().find(|hint| names::looks_like_host(hint)).map(|hint| hint.clone().into_owned())),
        mac: pick(&["host.mac"])
            .as_deref()
            .and_then(names::mac)
            .or_else(|| hints.iter().find_map(|hint| names::mac(hint))),
    }
}

/// `of_pod` leaves out what is told of another pod; the cluster and the node are the sensor's own.
fn kubernetes(
    pick: &impl Fn(&[&str]) -> Option<String>,
    of_pod: &impl Fn(&[&str]) -> Option<String>,
    pod: &pods::Found<'_>,
) -> Kubernetes {
    const KINDS: [(&str, &str, &str); 6] = [
        ("deployment", "kubernetes.deployment.name", "k8s.deployment.name"),
        ("statefulset", "kubernetes.statefulSet.name", "k8s.statefulset.name"),
        ("daemonset", "kubernetes.daemonSet.name", "k8s.daemonset.name"),
        ("cronjob", "kubernetes.cronJob.name", "k8s.cronjob.name"),
        ("job", "kubernetes.job.name", "k8s.job.name"),
        ("replicaset", "kubernetes.replicaSet.name", "k8s.rs.name"),
    ];
    let deployment = of_pod(&["kubernetes.deployment.name", "k8s.deployment.name", "k8smeta.deployment.name"]);
    let mut kind = of_pod(&["kubernetes.workload.type"]).map(|kind| kind.to_ascii_lowercase());
    let mut workload = of_pod(&["kubernetes.workload.name"]);
    if workload.is_none() {
        // The kind without the name: the member of that kind, else whatever workload is named.
        let named = |name: &str| kind.as_deref() == Some(name);
        let named = KINDS.iter().filter(|(name, ..)| named(name)).chain(&KINDS);
        if let Some((name, found)) = named.into_iter().find_map(|(name, a, b)| Some((*name, of_pod(&[a, b])?))) {
            kind = Some(name.to_owned());
            workload = Some(found);
        }
    }
    let mut found = Kubernetes {
        cluster: pick(&[
            "kubernetes.cluster.name",
            "k8s.cluster.name",
            "jevt.value[/annotations/cluster_name]",
            "json.value[/resource/labels/cluster_name]",
        ]),
        namespace: pod.namespace.map(str::to_owned),
        pod: pod.pod.map(str::to_owned),
        node: pick(&["kubernetes.node.name", "k8s.node.name", "k8smeta.node.name"]),
        workload_kind: workload.is_some().then_some(kind).flatten(),
        workload,
        deployment,
    };
    // The agent's tag is free text; a fleet of plain machines has one too.
    if found != Kubernetes::default() {
        found.cluster = found.cluster.or_else(|| pick(&["agent.tag.cluster"]));
    }
    found
}

/// Google's labels are a trap: `gcp.projectId` holds the project's *number* and `gcp.projectName` its id. So that a
/// corrected sender does not break us, digits decide, not the label's name. Falco's plugins for Google's logs repeat
/// the labels of the log entry's resource: as `jevt.value[/annotations/…]` for GKE, as `json.value[…]` for audit logs.
/// Where nobody names the cloud, a place of Google's is enough, unless other labels are another cloud's.
fn cloud(pick: &impl Fn(&[&str]) -> Option<String>, has_others: bool) -> Cloud {
    let account = pick(&["cloudProvider.account.id"]);
    let entry = pick(&["jevt.value[/annotations/project_id]", "json.value[/resource/labels/project_id]"]);
    let candidates = [pick(&["gcp.projectId"]), pick(&["gcp.projectName"]), pick(&["gcp.projectNumber"]), entry];
    let provider = pick(&["cloudProvider.name"]).map(|name| name.to_ascii_lowercase());
    let instance_id = pick(&["gcp.instanceId", "gcp.compute.instanceId", "json.value[/resource/labels/instance_id]"]);
    let instance_id = instance_id.filter(|id| is_number(id));
    let instance_name = pick(&["gcp.instanceName"]);
    let placed = !has_others && pick(&["gcp.availabilityZone", "gcp.location"]).is_some();
    let is_google = provider.as_deref().map_or_else(
        || candidates.iter().any(Option::is_some) || instance_id.is_some() || instance_name.is_some() || placed,
        |name| matches!(name, "gcp" | "google" | "gce"),
    );
    if !is_google {
        return Cloud { provider, account, region: pick(&["cloudProvider.region"]), ..Cloud::default() };
    }
    let mut candidates: Vec<String> = candidates.into_iter().flatten().collect();
    candidates.extend(account.clone());
    Cloud {
        provider: Some("gcp".to_owned()),
        project_number: candidates.iter().find(|text| is_number(text)).cloned(),
        project_id: candidates.iter().find(|text| is_project_id(text)).cloned(),
        account,
        region: pick(&["cloudProvider.region"]),
        zone: pick(&["gcp.availabilityZone", "json.value[/resource/labels/zone]"])
            .map(|zone| zone.rsplit('/').next().unwrap_or_default().to_owned()),
        location: pick(&["gcp.location", "jevt.value[/annotations/location]", "json.value[/resource/labels/location]"]),
        instance_id,
        instance_name,
    }
}

/// The cloud that the agent's labels are about where none of them names it: an agent on AWS or Azure sends theirs.
fn other_cloud(labels: &Facts) -> Option<&'static str> {
    let of = |prefix: &str| labels.iter().any(|(name, _)| name.starts_with(prefix));
    match () {
        () if of("aws.") => Some("aws"),
        () if of("azure.") => Some("azure"),
        () => None,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit())
}

/// `my-project`, also `example.com:my-project`.
fn is_project_id(text: &str) -> bool {
    text.len() <= 100
        && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b':'))
}
