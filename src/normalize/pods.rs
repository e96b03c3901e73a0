//! The pod that an event is about. Several sources may tell of one: the agent's labels, a container's labels, the fields of
//! a rule, a container's name, a record of the Kubernetes audit log. Where they contradict, what is told comes from one.

use crate::event::api_path::ApiPath;
use crate::event::facts::Facts;
use crate::text::names::DockerName;

/// How a source calls what it tells of a pod: what its names begin with, and those of the namespace and of the pod.
type Family = (&'static str, &'static str, &'static str);

const FAMILIES: [Family; 4] = [
    ("kubernetes.", "kubernetes.namespace.name", "kubernetes.pod.name"),
    ("container.label.", "container.label.io.kubernetes.pod.namespace", "container.label.io.kubernetes.pod.name"),
    ("k8s.", "k8s.ns.name", "k8s.pod.name"),
    ("k8smeta.", "k8smeta.ns.name", "k8smeta.pod.name"),
];

/// What one source tells.
#[derive(Debug, Clone, Copy)]
struct Told<'f> {
    prefix: &'static str,
    in_labels: bool,
    namespace: Option<&'f str>,
    pod: Option<&'f str>,
}

impl Told<'_> {
    /// Whether it tells of another pod than this.
    fn differs(&self, namespace: Option<&str>, pod: Option<&str>) -> bool {
        let other = |told: Option<&str>, known| told.is_some() && told != known;
        other(self.namespace, namespace) || other(self.pod, pod)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found<'f> {
    pub(super) namespace: Option<&'f str>,
    pub(super) pod: Option<&'f str>,
    /// The sources that tell of another pod.
    strangers: Vec<Told<'f>>,
    /// Whether a record of the audit log is about another pod than the labels: that of its collector.
    is_of_another: bool,
}

impl Found<'_> {
    /// Whether what stands under this name, in the labels or in the fields, is told of another pod.
    pub(super) fn is_strange(&self, name: &str, in_labels: bool) -> bool {
        self.strangers.iter().any(|told| told.in_labels == in_labels && name.starts_with(told.prefix))
            || self.is_of_another && name.starts_with("container")
    }

    /// Whether the fields tell of the pod and the labels of another.
    pub(super) fn is_in_fields(&self) -> bool {
        let strange = |in_labels| self.strangers.iter().any(|told| told.in_labels == in_labels);
        strange(true) && !strange(false)
    }

    /// Whether the container that is told is another pod's.
    pub(super) fn is_of_another(&self) -> bool {
        self.is_of_another
    }
}

/// What labels and fields tell; labels first.
pub(super) fn read<'f>(fields: &'f Facts, labels: &'f Facts, docker: Option<DockerName<'f>>) -> Found<'f> {
    let told = |(prefix, namespace, pod): Family| {
        [(labels, true), (fields, false)].map(|(facts, in_labels)| Told {
            prefix,
            in_labels,
            namespace: facts.get(namespace),
            pod: facts.get(pod),
        })
    };
    let by_docker = docker.map(|name| Told {
        prefix: "k8s_",
        in_labels: false,
        namespace: Some(name.namespace),
        pod: Some(name.pod),
    });
    let told: Vec<Told<'f>> = FAMILIES
        .into_iter()
        .flat_map(told)
        .filter(|told| told.namespace.is_some() || told.pod.is_some())
        .chain(by_docker)
        .collect();
    let record = Record::read(labels, fields);
    let is_of_another = record.is_some_and(|record| told.iter().any(|told| record.differs(told)));
    let (namespace, pod) = match record {
        Some(record) if is_of_another => (record.namespace, record.pod()),
        _ => {
            let (namespace, pod) = settled(&told);
            let record = record.unwrap_or_default();
            (namespace.or(record.namespace), pod.or_else(|| record.pod()))
        }
    };
    let strangers = told.into_iter().filter(|told| told.differs(namespace, pod)).collect();
    Found { namespace, pod, strangers, is_of_another }
}

/// Namespace and pod: of each what is told first, and where several differ, those of one source.
fn settled<'f>(told: &[Told<'f>]) -> (Option<&'f str>, Option<&'f str>) {
    let namespace = told.iter().find_map(|told| told.namespace);
    let pod = told.iter().find_map(|told| told.pod);
    if !told.iter().any(|told| told.differs(namespace, pod)) {
        return (namespace, pod);
    }
    if let Some(whole) = told.iter().find(|told| told.namespace.is_some() && told.pod.is_some()) {
        return (whole.namespace, whole.pod);
    }
    // Which of the namespaces the pod is in, nobody says.
    let is_one = told.iter().all(|told| told.namespace.is_none() || told.namespace == namespace);
    (namespace, pod.filter(|_| is_one))
}

/// What a record of the Kubernetes audit log is about.
#[derive(Debug, Clone, Copy, Default)]
struct Record<'f> {
    namespace: Option<&'f str>,
    name: Option<&'f str>,
    /// Whether it is a pod, where that is told.
    is_pod: Option<bool>,
}

impl<'f> Record<'f> {
    /// `None` when there is none, or it names nothing. A rule may print only what came back (`ka.resp.name`: the whole name
    /// of a pod made with `generateName`), and not that it was a pod, which other fields tell.
    fn read(labels: &'f Facts, fields: &'f Facts) -> Option<Self> {
        const OF_PODS: [&str; 9] = [
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
        const PARTS: [&str; 5] = ["exec", "attach", "portforward", "ephemeralcontainers", "eviction"];
        let get = |name: &str| labels.get(name).or_else(|| fields.get(name));
        let path = get("ka.uri").and_then(ApiPath::read).unwrap_or_default();
        let namespace = get("ka.target.namespace").or(path.namespace);
        let in_path = path.name.filter(|_| path.resource == Some("pods"));
        let name = get("ka.target.name").or_else(|| get("ka.resp.name")).or(in_path);
        if namespace.is_none() && name.is_none() {
            return None;
        }
        let is_pod = get("ka.target.resource").or(path.resource).map(|resource| resource == "pods").or_else(|| {
            let of_pod = get("ka.target.subresource").is_some_and(|part| PARTS.contains(&part));
            (of_pod || OF_PODS.iter().any(|name| get(name).is_some())).then_some(true)
        });
        Some(Self { namespace, name, is_pod })
    }

    fn pod(&self) -> Option<&'f str> {
        self.name.filter(|_| self.is_pod == Some(true))
    }

    /// Whether it is about something else than this pod.
    fn differs(&self, told: &Told<'_>) -> bool {
        let other = |one: Option<&str>, other: Option<&str>| one.zip(other).is_some_and(|(one, other)| one != other);
        let is_no_pod = self.is_pod == Some(false) && self.name.is_some() && told.pod.is_some();
        is_no_pod || other(self.namespace, told.namespace) || other(self.name, told.pod)
    }
}
