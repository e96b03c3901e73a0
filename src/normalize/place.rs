//! Where it happened, read out of fields and labels: the same facts under the names of every generation and of Falco.

use std::borrow::Cow;

use super::names;
use crate::event::api_path::ApiPath;
use crate::event::facts::Facts;
use crate::event::runtime::{Cloud, Container, Host, Kubernetes};

/// What the kubelet calls the sandbox that holds a pod's namespaces: no container of the pod has this name.
const NO_CONTAINER: &str = "POD";

/// What a sensor says in place of a host's name that it does not know.
const NO_HOST: &str = "host";

/// What Falco says of a container until it was told about it (falcosecurity/falco#716).
const NOT_YET: &str = "incomplete";

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
    let other = other_cloud(labels);
    let mut place = Place {
        container: container(&pick, container_id),
        host: host(&pick, hints),
        kubernetes: kubernetes(&pick),
        cloud: cloud(&pick, other.is_some()),
    };
    if place.cloud.provider.is_none() {
        place.cloud.provider = other.map(str::to_owned);
    }
    let docker = hints.iter().map(|hint| &**hint).chain(place.container.name.as_deref()).find_map(names::docker_name);
    if let Some(name) = docker {
        let (pod, namespace, container) = (name.pod.to_owned(), name.namespace.to_owned(), name.container.to_owned());
        place.kubernetes.pod.get_or_insert(pod);
        place.kubernetes.namespace.get_or_insert(namespace);
        place.container.name = Some(container).filter(|name| name != NO_CONTAINER);
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
    let says_so = fields.holds(NOT_YET) && fields.iter().any(|(name, value)| is_nothing(name, value));
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
    let repository = pick(&["container.image.repo", "container.image.repository"]);
    let tag = pick(&["container.image.tag"]);
    let image = match (repository, tag) {
        (Some(repository), Some(tag)) => Some(format!("{repository}:{tag}")),
        (repository, _) => pick(&["container.image", "container.image.name"])
            .or(repository)
            .or_else(|| pick(&["jevt.value[/requestObject/ephemeralContainers/0/image]"]))
            .or_else(|| pick(&["ka.req.pod.containers.image"]).as_deref().and_then(only_of_list)),
    };
    let (image, image_id) = named_or_id(image, pick);
    let in_image = image.as_deref().and_then(|image| image.split_once('@')).map(|(_, digest)| digest.to_owned());
    Container {
        id,
        name: pick(&[
            "container.label.io.kubernetes.container.name",
            "container.name",
            "k8s.container.name",
            "jevt.value[/requestObject/ephemeralContainers/0/name]",
        ])
        .filter(|name| name != "host" && name != NO_CONTAINER),
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

fn kubernetes(pick: &impl Fn(&[&str]) -> Option<String>) -> Kubernetes {
    const KINDS: [(&str, &str, &str); 6] = [
        ("deployment", "kubernetes.deployment.name", "k8s.deployment.name"),
        ("statefulset", "kubernetes.statefulSet.name", "k8s.statefulset.name"),
        ("daemonset", "kubernetes.daemonSet.name", "k8s.daemonset.name"),
        ("cronjob", "kubernetes.cronJob.name", "k8s.cronjob.name"),
        ("job", "kubernetes.job.name", "k8s.job.name"),
        ("replicaset", "kubernetes.replicaSet.name", "k8s.rs.name"),
    ];
    let deployment = pick(&["kubernetes.deployment.name", "k8s.deployment.name", "k8smeta.deployment.name"]);
    let mut kind = pick(&["kubernetes.workload.type"]).map(|kind| kind.to_ascii_lowercase());
    let mut workload = pick(&["kubernetes.workload.name"]);
    if workload.is_none() {
        // The kind without the name: the member of that kind, else whatever workload is named.
        let named = |name: &str| kind.as_deref() == Some(name);
        let named = KINDS.iter().filter(|(name, ..)| named(name)).chain(&KINDS);
        if let Some((name, found)) = named.into_iter().find_map(|(name, a, b)| Some((*name, pick(&[a, b])?))) {
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
        namespace: pick(&[
            "kubernetes.namespace.name",
            "container.label.io.kubernetes.pod.namespace",
            "k8s.ns.name",
            "k8smeta.ns.name",
            "ka.target.namespace",
        ])
        .or_else(|| ApiPath::read(&pick(&["ka.uri"])?)?.namespace.map(str::to_owned)),
        pod: pick(&[
            "kubernetes.pod.name",
            "container.label.io.kubernetes.pod.name",
            "k8s.pod.name",
            "k8smeta.pod.name",
        ])
        .or_else(|| reviewed_pod(pick)),
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

/// The pod that a record of the Kubernetes audit log is about. A rule may print only what came back (`ka.resp.name`:
/// the whole name of a pod made with `generateName`), and not that it was a pod, which other fields tell.
fn reviewed_pod(pick: &impl Fn(&[&str]) -> Option<String>) -> Option<String> {
    const OF_PODS: &[&str] = &[
        "ka.req.pod.containers.image",
        "ka.req.pod.containers.image.repository",
        "ka.req.pod.containers.privileged",
        "ka.req.pod.host_network",
        "ka.req.pod.host_pid",
        "ka.req.pod.host_ipc",
        "ka.req.pod.volumes.hostpath",
        "ka.req.container.image",
        "ka.req.container.image.repository",
    ];
    let uri = pick(&["ka.uri"]);
    let path = uri.as_deref().and_then(ApiPath::read).unwrap_or_default();
    let in_path = path.name.filter(|_| path.resource == Some("pods")).map(str::to_owned);
    let name = pick(&["ka.target.name", "ka.resp.name"]).or(in_path)?;
    let resource = pick(&["ka.target.resource"]);
    let is_pod = resource.as_deref().or(path.resource).map_or_else(
        || {
            let part = pick(&["ka.target.subresource"]);
            let of_pods = ["exec", "attach", "portforward", "ephemeralcontainers", "eviction"];
            part.is_some_and(|part| of_pods.contains(&part.as_str())) || pick(OF_PODS).is_some()
        },
        |resource| resource == "pods",
    );
    is_pod.then_some(name)
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
