//! Kubernetes: the workload a pod belongs to, its node and what runs in it, as the cluster's API server says it.
//!
//! Reads only: `get` on pods, nodes, replica sets and jobs. A part that cannot be read is a gap of its own: what failed for
//! the moment is not kept, what may not be read is kept as long as a miss. Either is said once in the log, until the part
//! is read again. A server that does not answer at all is left alone for a while; so is one that we cannot log in to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use futures_util::future::BoxFuture;
use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{self as core, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::de::DeserializeOwned;

use super::cache::Lookups;
pub use super::failure::AskError;
use super::failure::{Failure, told};
use super::login::{Access, LoginError};
use super::marks::{ANOTHER, Marks, another, another_node, is_elsewhere, is_its_node, other_host};
use super::pauses::Pauses;
use super::pod::facts;
use super::subject::is_gke_node;
use super::{Enriched, Enricher, Gap, Node, Subject, Workload};
use crate::causes::chain;
use crate::config::enrich::Keep;
use crate::config::enrich::KubernetesConfig;

/// How long the server is left alone when it did not answer. Whoever asks meanwhile would wait for nothing.
const AFTER_SILENCE: Duration = Duration::from_secs(15);

/// The same while a login goes on.
const AFTER_SLOW_LOGIN: Duration = Duration::from_secs(5);

/// How long what contradicts an event is taken to be new.
const STALE: Duration = Duration::from_secs(2);

/// Owners of owners are followed this far.
const DEEPEST_CHAIN: usize = 4;

/// What is read: group, resource.
pub const READS: [(&str, &str); 4] = [("", "pods"), ("", "nodes"), ("apps", "replicasets"), ("batch", "jobs")];

/// The look-up.
#[derive(Clone)]
pub struct KubernetesEnricher(Arc<Inner>);

struct Inner {
    access: Access,
    cluster: Option<String>,
    pods: Lookups<(String, String), Read<Found>>,
    nodes: Lookups<String, Read<Node>>,
    /// By resource; the server's own is without one.
    pauses: Pauses<Option<&'static str>>,
    /// What is older than this and contradicts an event is read again: the pod may be a new one, or its container.
    stale: Duration,
    /// How long is remembered what was missed.
    missed: Duration,
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

impl KubernetesEnricher {
    /// Asks about pods of the cluster named in `config`.
    pub fn new(access: impl Into<Access>, config: &KubernetesConfig, keep: Keep) -> Self {
        let cluster = config.cluster.clone();
        let pods = Lookups::judged(keep, Read::is_whole);
        let nodes = Lookups::judged(keep, Read::is_whole);
        let stale = keep.missed.min(STALE);
        let missed = keep.missed;
        let access = access.into();
        Self(Arc::new(Inner { access, cluster, pods, nodes, pauses: Pauses::default(), stale, missed }))
    }

    /// Logs in, where that is needed, beside what else is done: what is wrong with it is told before it is missed.
    pub fn log_in(&self) {
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            if let Err(error) = inner.access.log_in().await {
                inner.unknown(&error);
            }
        });
    }

    /// Which of [`READS`] we may do, for `check`.
    ///
    /// # Errors
    /// When it is not known who we are, or the API server does not answer.
    pub async fn permitted(&self) -> Result<Vec<(&'static str, bool)>, AskError> {
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.0.access.log_in().await?);
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
            let node = subject.node.as_deref().filter(|node| ours && is_name(node));
            if pod.is_none() && node.is_none() {
                return Ok(false);
            }
            let (mut gaps, mut of_node) = (Vec::new(), None);
            if let Some((namespace, pod)) = pod {
                let (read, its_node) = Inner::placed(&self.0, namespace, pod, subject).await;
                gaps.extend(read.gaps);
                found.pod_is_sure = read.found.as_ref().is_some_and(|found| found.marks.has_container(subject));
                found.workload = read.found.map(|found| found.workload);
                of_node = its_node;
            }
            if let Some(node) = node {
                let read = Inner::node_of(&self.0, node, subject).await;
                // The event's node is another cluster's, and so is its pod, or it was made again, which no pod survives.
                if !found.pod_is_sure && read.gaps.iter().any(|gap| gap.label == ANOTHER) {
                    found.workload = None;
                }
                of_node = Some(read);
            }
            if let Some(read) = of_node {
                gaps.extend(read.gaps);
                found.node = read.found;
            }
            // What is said of several parts is told once: that the server does not answer, or where the pod is now.
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
        let look_up = |(namespace, name): (String, String)| {
            let inner = Arc::clone(this);
            async move { inner.read_pod(&namespace, &name).await.kept() }
        };
        out(this.pods.find(&(namespace.to_owned(), name.to_owned()), look_up).await)
    }

    /// The pod, if it is the event's, and the node that the event was on where it does not say so itself.
    async fn placed(
        this: &Arc<Self>,
        namespace: &str,
        name: &str,
        subject: &Subject,
    ) -> (Read<Found>, Option<Read<Node>>) {
        let mut pod = Self::pod_of(this, namespace, name, subject).await;
        let (mut gap, mut node) = Self::place(this, &pod, subject).await;
        // That the host is called otherwise may mean nothing, and then lasts.
        let otherwise = pod.found.as_ref().is_some_and(|found| other_host(&found.workload, subject).is_some());
        let age = pod.made.elapsed();
        let again = match &gap {
            Some(gap) => !gap.transient && age >= this.stale,
            None => otherwise && age >= this.missed,
        };
        if again {
            this.pods.forget(&(namespace.to_owned(), name.to_owned())).await;
            pod = Self::pod_of(this, namespace, name, subject).await;
            (gap, node) = Self::place(this, &pod, subject).await;
        }
        (gap.map_or(pod, Read::failed), node)
    }

    /// Why a pod, where it is now, is not the event's, or may not be; and the node that the event was on, if that is
    /// known.
    async fn place(this: &Arc<Self>, pod: &Read<Found>, subject: &Subject) -> (Option<Gap>, Option<Read<Node>>) {
        let Some(Found { workload, marks }) = &pod.found else { return (None, None) };
        let now = subject.node.is_none() && !subject.remote && is_name(&workload.node);
        if !now {
            return (None, None);
        }
        let node = Self::node_of(this, &workload.node, subject).await;
        // A pod on another machine is another pod, unless its container is the event's: then that of the machine is all that
        // is not believed.
        if let Some(gap) = node.gaps.iter().find(|gap| gap.label == ANOTHER) {
            return if marks.has_container(subject) { (None, Some(node)) } else { (Some(gap.clone()), None) };
        }
        // Its address may be another network's node's: one of GKE is called as nothing else.
        let own = node.found.as_ref().is_some_and(|node| is_its_node(node, subject));
        let sure = |host: &str| marks.has_container(subject) || (own && !is_gke_node(host));
        let host = other_host(workload, subject).filter(|host| !sure(host) && is_name(host));
        let Some(host) = host else { return (None, Some(node)) };
        let of_host = Self::node_of(this, host, subject).await;
        let pod = format!("pod {}/{}", workload.namespace, workload.pod);
        // The host may be another node: worth another try before the pod and its node are taken to be the event's.
        if let Some(gap) = of_host.gaps.iter().find(|gap| gap.transient) {
            let text = format!("{}; whether the {pod} is the event's is not known", gap.text);
            return (Some(Gap { text, ..gap.clone() }), None);
        }
        // A host may call itself anything: where no node is called so, that says nothing, but of a node of GKE.
        if of_host.found.is_none() && !is_gke_node(host) {
            return (None, Some(node));
        }
        let of_host = Some(of_host).filter(|node| node.found.is_some());
        (Some(another(pod, &is_elsewhere(workload, host))), of_host)
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
        let look_up = |name: String| {
            let inner = Arc::clone(this);
            async move { inner.read_node(&name).await.kept() }
        };
        out(this.nodes.find(name, look_up).await)
    }

    async fn read_pod(&self, namespace: &str, name: &str) -> Read<Found> {
        let get = |client| async move { Api::<Pod>::namespaced(client, namespace).get_opt(name).await };
        let pod = match self.ask("pods", get).await {
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
        let get = |client| async move { Api::<core::Node>::all(client).get_opt(name).await };
        let node = match self.ask("nodes", get).await {
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
        let get = |client| async move { Api::<K>::namespaced(client, namespace).get_opt(&owner.name).await };
        let object = self.ask(resource, get).await?;
        // A later object of the same name is not the owner.
        let same = |object: &K| Metadata::metadata(object).uid.as_ref().is_none_or(|uid| *uid == owner.uid);
        match object.filter(same) {
            Some(object) => Ok(controller(Metadata::metadata(&object))),
            None => Err(gone(format!("{} {namespace}/{}", owner.kind, owner.name))),
        }
    }

    /// What the server answers about a resource, unless it is left alone.
    async fn ask<T, F>(&self, resource: &'static str, call: impl FnOnce(Client) -> F) -> Result<T, Gap>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        if let Some(gap) = self.pauses.of(&None) {
            return Err(gap);
        }
        let client = self.access.client().await.map_err(|error| self.unknown(&error))?;
        let answer = match call(client).await {
            Ok(answer) => answer,
            Err(error) => {
                if matches!(&error, kube::Error::Api(status) if status.code == 401) {
                    self.access.renew().await;
                }
                return Err(self.failed(resource, &error));
            }
        };
        self.pauses.end(&None);
        self.pauses.end(&Some(resource));
        Ok(answer)
    }

    /// What a failed call means. A refusal lasts until somebody changes something.
    fn failed(&self, resource: &'static str, error: &kube::Error) -> Gap {
        let failure = Failure::of(error, resource, matches!(self.access, Access::Login(_)));
        let wait = failure.of_all.then_some(AFTER_SILENCE);
        let gap = Gap { text: failure.text, label: failure.label, transient: failure.passing, pause: wait };
        let about = (!failure.of_all).then_some(resource);
        if self.pauses.begin(about, wait.unwrap_or_default(), &gap) {
            let (error, remedy) = (told(error), failure.remedy);
            tracing::warn!(resource, %error, remedy, "The Kubernetes API server did not give what was asked for.");
        }
        gap
    }

    /// What it means that nobody knows who we are.
    fn unknown(&self, error: &LoginError) -> Gap {
        use LoginError::{Broken, Endless, Failed, Provider, Slow};
        let wait = if matches!(error, Slow) { AFTER_SLOW_LOGIN } else { AFTER_SILENCE };
        let transient = matches!(error, Slow | Broken | Endless { .. } | Failed { .. } | Provider);
        let gap = Gap { text: error.to_string(), label: "login", transient, pause: Some(wait) };
        if self.pauses.begin(None, wait, &gap) {
            let remedy = "the login is tried again after a pause; correct the user of the kubeconfig";
            tracing::warn!(error = %chain(error), remedy, "Kubernetes cannot be asked: it is not known who we are there.");
        }
        gap
    }
}

fn gone(what: String) -> Gap {
    let text = format!("the Kubernetes API server knows no {what}; it may be gone already");
    Gap { text, label: "not_found", transient: false, pause: None }
}

fn controller(metadata: &ObjectMeta) -> Option<OwnerReference> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).or_else(|| owners.first()).cloned()
}

/// Whether a foreign text can be an object's name, and nothing else in a path.
fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (1..=253).contains(&text.len()) && text.as_bytes()[0].is_ascii_alphanumeric() && text.bytes().all(fits)
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
