//! Kubernetes: the workload a pod belongs to, its node and what runs in it, as the cluster's API server says it.
//!
//! Reads only: `get` on pods, nodes, replica sets and jobs. A part that cannot be read is a gap of its own: what failed for
//! the moment is not kept, what may not be read is kept as long as a miss. Either is said once in the log, until the part
//! is read again. A server that does not answer at all is left alone for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use futures_util::future::BoxFuture;
use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{self as core, ContainerStatus, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PostParams;
use kube::config::KubeConfigOptions;
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;

use super::cache::{Keep, Lookups};
use super::marks::{Marks, another_node};
use super::pauses::Pauses;
use super::{Enriched, Enricher, Gap, Node, PodContainer, Subject, Workload};
use crate::config::enrich::{KubernetesConfig, KubernetesSource};
use crate::telemetry::chain;

/// For one call to the API server.
const CALL: Duration = Duration::from_secs(5);

/// How long the server is left alone when it did not answer. Whoever asks meanwhile would wait for nothing.
const AFTER_SILENCE: Duration = Duration::from_secs(15);

/// The label of what has the name, and is not the event's.
const ANOTHER: &str = "another";

/// How long what contradicts an event is taken to be new.
const STALE: Duration = Duration::from_secs(2);

/// Owners of owners are followed this far.
const DEEPEST_CHAIN: usize = 4;

/// What is read: group, resource.
pub const READS: [(&str, &str); 4] = [("", "pods"), ("", "nodes"), ("apps", "replicasets"), ("batch", "jobs")];

/// Why the API server cannot be asked at all.
#[derive(Debug, thiserror::Error)]
#[error("the Kubernetes API server cannot be asked as configured (KUBERNETES_ENRICH)")]
pub struct ConnectError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The look-up.
#[derive(Clone)]
pub struct KubernetesEnricher(Arc<Inner>);

struct Inner {
    client: Client,
    cluster: Option<String>,
    pods: Lookups<(String, String), Read<Found>>,
    nodes: Lookups<String, Read<Node>>,
    /// By resource; the server's own is without one.
    pauses: Pauses<Option<&'static str>>,
    /// What is older than this and contradicts an event is read again: the pod may be a new one, or its container.
    stale: Duration,
}

/// A pod, and what tells it from another of its name.
#[derive(Debug, Clone)]
struct Found {
    workload: Workload,
    marks: Marks,
}

impl std::fmt::Debug for KubernetesEnricher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesEnricher").field("cluster", &self.0.cluster).finish_non_exhaustive()
    }
}

/// A client of the API server that the settings name. Nothing is asked yet.
///
/// # Errors
/// When there is no kubeconfig, no such context, or no service account.
pub async fn connect(source: &KubernetesSource) -> Result<Client, ConnectError> {
    let mut config = settings(source).await?;
    // We have a deadline of our own, and the next event asks again.
    config.default_retry = false;
    config.connect_timeout = Some(CALL);
    config.read_timeout = Some(CALL);
    config.write_timeout = Some(CALL);
    Client::try_from(config).map_err(|error| ConnectError(error.into()))
}

/// Where the API server is and who we are there, as the files on this machine say.
///
/// # Errors
/// When there is no kubeconfig, no such context, or no service account.
pub(crate) async fn settings(source: &KubernetesSource) -> Result<Config, ConnectError> {
    match source {
        KubernetesSource::InCluster => Config::incluster().map_err(|error| ConnectError(error.into())),
        KubernetesSource::Auto => Config::infer().await.map_err(|error| ConnectError(error.into())),
        KubernetesSource::Kubeconfig(context) => {
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            Config::from_kubeconfig(&options).await.map_err(|error| ConnectError(error.into()))
        }
    }
}

impl KubernetesEnricher {
    /// Asks `client` about pods of the cluster named in `config`.
    pub fn new(client: Client, config: &KubernetesConfig, keep: Keep) -> Self {
        let cluster = config.cluster.clone();
        let pods = Lookups::judged(keep, Read::is_whole);
        let nodes = Lookups::judged(keep, Read::is_whole);
        let stale = keep.missed.min(STALE);
        Self(Arc::new(Inner { client, cluster, pods, nodes, pauses: Pauses::default(), stale }))
    }

    /// Which of [`READS`] we may do, for `check`.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn permitted(&self) -> Result<Vec<(&'static str, bool)>, kube::Error> {
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.0.client.clone());
        let mut answers = Vec::new();
        for (group, resource) in READS {
            let attributes = ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                verb: Some("get".to_owned()),
                ..ResourceAttributes::default()
            };
            let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
            let answer = reviews.create(&PostParams::default(), &review).await?;
            answers.push((resource, answer.status.is_some_and(|status| status.allowed)));
        }
        Ok(answers)
    }
}

impl Enricher for KubernetesEnricher {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn enrich<'a>(&'a self, subject: &'a Subject, found: &'a mut Enriched) -> BoxFuture<'a, Result<bool, Gap>> {
        Box::pin(async move {
            let ours = self.0.cluster.as_ref().is_none_or(|ours| subject.cluster.as_ref().is_none_or(|c| c == ours));
            let pod = subject.namespace.as_deref().zip(subject.pod.as_deref());
            let pod = pod.filter(|(namespace, pod)| ours && is_name(namespace) && is_name(pod));
            let mut node = subject.node.clone().filter(|node| ours && is_name(node));
            if pod.is_none() && node.is_none() {
                return Ok(false);
            }
            let said = node.is_some();
            let mut gaps = Vec::new();
            if let Some((namespace, pod)) = pod {
                let read = Inner::pod_of(&self.0, namespace, pod, subject).await;
                gaps.extend(read.gaps);
                found.workload = read.found.map(|found| found.workload);
                // The event's own word for its node goes first. Where the pod is now is not where the event was, if the
                // event says that it was elsewhere.
                let now = || found.workload.as_ref().map(|workload| workload.node.clone()).filter(|_| !subject.remote);
                node = node.or_else(now).filter(|node| is_name(node));
            }
            if let Some(node) = node {
                let read = Inner::node_of(&self.0, &node, subject).await;
                // A pod on another machine is another pod.
                if !said && read.gaps.iter().any(|gap| gap.label == ANOTHER) {
                    found.workload = None;
                }
                gaps.extend(read.gaps);
                found.node = read.found;
            }
            // A server that does not answer is told once, not for each part.
            gaps.dedup_by(|next, one| next.text == one.text);
            let last = gaps.pop();
            for gap in gaps {
                super::note(found, gap);
            }
            last.map_or(Ok(true), Err)
        })
    }
}

/// What was read of one thing, and which parts of it could not be.
#[derive(Debug, Clone)]
struct Read<T> {
    found: Option<T>,
    gaps: Vec<Gap>,
    made: Instant,
}

impl<T> Read<T> {
    fn new(found: Option<T>, gaps: Vec<Gap>) -> Self {
        Self { found, gaps, made: Instant::now() }
    }

    fn failed(gap: Gap) -> Self {
        Self::new(None, vec![gap])
    }

    fn is_whole(&self) -> bool {
        self.gaps.is_empty()
    }

    /// As a cache takes it: what may be whole when it is asked for again is not kept.
    fn kept(self) -> Result<Option<Self>, Self> {
        if self.gaps.iter().any(|gap| gap.transient) { Err(self) } else { Ok(Some(self)) }
    }
}

/// What a cache of them answers.
fn out<T: Clone>(answer: Result<Option<Arc<Read<T>>>, Arc<Read<T>>>) -> Read<T> {
    match answer {
        Ok(Some(read)) | Err(read) => read.as_ref().clone(),
        Ok(None) => Read::new(None, Vec::new()),
    }
}

impl Inner {
    async fn pod(this: &Arc<Self>, namespace: &str, name: &str) -> Read<Found> {
        let key = (namespace.to_owned(), name.to_owned());
        let (inner, asked) = (Arc::clone(this), key.clone());
        out(this.pods.find(key, async move { inner.read_pod(&asked.0, &asked.1).await.kept() }).await)
    }

    /// The pod, if it is the event's.
    async fn pod_of(this: &Arc<Self>, namespace: &str, name: &str, subject: &Subject) -> Read<Found> {
        let other = |read: &Read<Found>| {
            let found = read.found.as_ref()?;
            let read_at = Utc::now() - TimeDelta::from_std(read.made.elapsed()).unwrap_or_default();
            found.marks.contradiction(&found.workload, subject, read_at)
        };
        let mut read = Self::pod(this, namespace, name).await;
        if other(&read).is_some() && read.made.elapsed() >= this.stale {
            this.pods.forget(&(namespace.to_owned(), name.to_owned())).await;
            read = Self::pod(this, namespace, name).await;
        }
        match other(&read) {
            Some(how) => Read::failed(another(format!("pod {namespace}/{name}"), &how)),
            None => read,
        }
    }

    /// The node, if it is the event's.
    async fn node_of(this: &Arc<Self>, name: &str, subject: &Subject) -> Read<Node> {
        let other = |read: &Read<Node>| another_node(read.found.as_ref()?, subject);
        let mut read = Self::node(this, name).await;
        if other(&read).is_some() && read.made.elapsed() >= this.stale {
            this.nodes.forget(name).await;
            read = Self::node(this, name).await;
        }
        match other(&read) {
            Some(how) => Read::failed(another(format!("node {name}"), &how)),
            None => read,
        }
    }

    async fn node(this: &Arc<Self>, name: &str) -> Read<Node> {
        let (inner, asked) = (Arc::clone(this), name.to_owned());
        out(this.nodes.find(name.to_owned(), async move { inner.read_node(&asked).await.kept() }).await)
    }

    async fn read_pod(&self, namespace: &str, name: &str) -> Read<Found> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pod = match self.ask("pods", pods.get_opt(name)).await {
            Ok(Some(pod)) => pod,
            Ok(None) => return Read::failed(gone(format!("pod {namespace}/{name}"))),
            Err(gap) => return Read::failed(gap),
        };
        let mut gaps = Vec::new();
        let owner = self.owner(namespace, &pod.metadata, &mut gaps).await;
        let (mut workload, marks) = facts(namespace, name, pod);
        if let Some(owner) = owner {
            (workload.kind, workload.name, workload.api_version) = (owner.kind, owner.name, owner.api_version);
        }
        Read::new(Some(Found { workload, marks }), gaps)
    }

    async fn read_node(&self, name: &str) -> Read<Node> {
        let nodes: Api<core::Node> = Api::all(self.client.clone());
        let node = match self.ask("nodes", nodes.get_opt(name)).await {
            Ok(Some(node)) => node,
            Ok(None) => return Read::failed(gone(format!("node {name}"))),
            Err(gap) => return Read::failed(gap),
        };
        let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
        let addresses = addresses.into_iter().filter(|address| address.type_ == "InternalIP");
        let said = |map: Option<BTreeMap<String, String>>, key: &str| map.and_then(|mut map| map.remove(key));
        let (labels, annotations) = (node.metadata.labels, node.metadata.annotations);
        let found = Node {
            name: name.to_owned(),
            provider_id: node.spec.and_then(|spec| spec.provider_id).unwrap_or_default(),
            instance_id: said(annotations, "container.googleapis.com/instance_id").unwrap_or_default(),
            node_pool: said(labels, "cloud.google.com/gke-nodepool").unwrap_or_default(),
            addresses: addresses.map(|address| address.address).collect(),
        };
        Read::new(Some(found), Vec::new())
    }

    /// The owner at the end of the chain, as far as it can be read.
    async fn owner(&self, namespace: &str, metadata: &ObjectMeta, gaps: &mut Vec<Gap>) -> Option<OwnerReference> {
        let mut owner = controller(metadata)?;
        for _ in 0..DEEPEST_CHAIN {
            let above = match (owner.kind.as_str(), owner.api_version.split('/').next()) {
                ("ReplicaSet", Some("apps")) => self.above::<ReplicaSet>("replicasets", namespace, &owner).await,
                ("Job", Some("batch")) => self.above::<Job>("jobs", namespace, &owner).await,
                _ => Ok(None),
            };
            match above {
                Ok(Some(above)) => owner = above,
                Ok(None) => break,
                Err(gap) => {
                    gaps.push(gap);
                    break;
                }
            }
        }
        Some(owner)
    }

    async fn above<K>(
        &self,
        resource: &'static str,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Result<Option<OwnerReference>, Gap>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
        K: Metadata<Ty = ObjectMeta> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        if !is_name(&owner.name) {
            return Ok(None);
        }
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let object = self.ask(resource, api.get_opt(&owner.name)).await?;
        // A later object of the same name is not the owner.
        let same = |object: &K| Metadata::metadata(object).uid.as_ref().is_none_or(|uid| *uid == owner.uid);
        match object.filter(same) {
            Some(object) => Ok(controller(Metadata::metadata(&object))),
            None => Err(gone(format!("{} {namespace}/{}", owner.kind, owner.name))),
        }
    }

    /// What the server answers about a resource, unless it is left alone.
    async fn ask<T>(
        &self,
        resource: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Gap> {
        if let Some(gap) = self.pauses.of(&None) {
            return Err(gap);
        }
        let answer = call.await.map_err(|error| self.failed(resource, &error))?;
        self.pauses.end(&None);
        self.pauses.end(&Some(resource));
        Ok(answer)
    }

    /// What a failed call means. A refusal lasts until somebody changes something.
    fn failed(&self, resource: &'static str, error: &kube::Error) -> Gap {
        let status = match error {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        };
        let refused = matches!(status, Some(401 | 403));
        let passing = !matches!(status, Some(400..=499)) || matches!(status, Some(408 | 409 | 425 | 429));
        let (text, label) = match (status, refused, passing) {
            (None, ..) => ("the Kubernetes API server did not answer".to_owned(), "unavailable"),
            (_, true, _) => (format!("the Kubernetes API server refuses to show {resource}"), "forbidden"),
            (_, _, true) => (format!("the Kubernetes API server did not answer for {resource}"), "unavailable"),
            (_, _, false) => (format!("the Kubernetes API server could not be asked for {resource}"), "client_error"),
        };
        let wait = status.is_none().then_some(AFTER_SILENCE);
        let gap = Gap { text, label, transient: passing, pause: wait };
        let about = status.map(|_| resource);
        if self.pauses.begin(about, wait.unwrap_or_default(), &gap) {
            let remedy = match status {
                None => "it is asked again after a pause; look at the server and at the way to it",
                Some(_) => "the look-up needs the verb get on pods, nodes, replicasets and jobs",
            };
            tracing::warn!(resource, error = %chain(error), remedy, "The Kubernetes API server did not give what was asked for.");
        }
        gap
    }
}

fn gone(what: String) -> Gap {
    let text = format!("the Kubernetes API server knows no {what}; it may be gone already");
    Gap { text, label: "not_found", transient: false, pause: None }
}

fn another(what: String, how: &str) -> Gap {
    let text = format!("the {what} that the Kubernetes API server knows is not the event's: it {how}");
    Gap { text, label: ANOTHER, transient: false, pause: None }
}

/// Whether a foreign text can be an object's name, and nothing else in a path.
fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (1..=253).contains(&text.len()) && text.as_bytes()[0].is_ascii_alphanumeric() && text.bytes().all(fits)
}

fn controller(metadata: &ObjectMeta) -> Option<OwnerReference> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).or_else(|| owners.first()).cloned()
}

fn facts(namespace: &str, name: &str, pod: Pod) -> (Workload, Marks) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_get_into_a_path() {
        for (text, expected) in [
            ("web-1", true),
            ("a.b", true),
            ("../nodes", false),
            ("..", false),
            ("a/b", false),
            ("", false),
            ("A", false),
            ("a?x", false),
        ] {
            assert_eq!(is_name(text), expected, "{text}");
        }
    }
}
