//! Where it happened: what Compute Engine and Kubernetes add to an event. A gap is noted, never fatal.
//!
//! The look-ups run one after the other, because the node that Kubernetes names tells Compute where to look; all of
//! them share one deadline. What they found so far counts, also when one of them did not come to an end.

pub mod cache;
pub mod compute;
mod failure;
pub mod images;
mod instance;
mod inventory;
mod judge;
pub mod kubernetes;
pub mod login;
mod marks;
mod pauses;
mod pod;
mod projects;
mod questions;
mod sightings;
pub mod subject;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::event::Event;
use crate::event::location::is_zone;
use crate::telemetry::metrics::{ENRICH_LOOKUPS, ENRICH_SECONDS};
pub use subject::Subject;

/// What the look-ups found. Empty when no look-up is configured or none was needed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Enriched {
    /// The Compute Engine instance, when one was found.
    pub instance: Option<Instance>,
    /// The Kubernetes workload, when the cluster's API server was asked and knows it.
    pub workload: Option<Workload>,
    /// Whether the pod has the event's container, and so is the event's, whatever its host calls itself.
    pub pod_is_sure: bool,
    /// The Kubernetes node, when the API server knows it.
    pub node: Option<Node>,
    /// The project's id and number, when both are known.
    pub project: Option<Project>,
    /// How the instance was found.
    pub found_by: Option<FoundBy>,
    /// Which look-ups failed or found nothing, one short sentence each.
    pub gaps: Vec<String>,
    /// Whether a gap may close by itself: something did not answer in time. Worth another try before a finding is
    /// written, because its resource cannot be changed later.
    pub unsettled: bool,
    /// How long until it can: earlier, nothing is asked.
    pub again_after: Option<Duration>,
}

/// A project's two names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// Its number, as text.
    pub number: String,
}

/// How an instance was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FoundBy {
    /// By its numeric id.
    Id,
    /// By the provider's id of the Kubernetes node.
    Node,
    /// By the name of the Kubernetes node.
    NodeName,
    /// By the host's name, or by the instance's in the cloud's labels.
    Name,
    /// By the internal address, derived from the host's hardware address.
    Address,
}

/// Facts about a Compute Engine instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instance {
    /// The numeric id, as text.
    pub id: String,
    /// The instance's name.
    pub name: String,
    /// The zone's short name.
    pub zone: String,
    /// The project's id.
    pub project: String,
    /// The project's number, as text; empty when it is not known.
    pub project_number: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: Option<DateTime<Utc>>,
    /// The machine type's short name.
    pub machine_type: String,
    /// The service account's address; empty when it has none.
    pub service_account: String,
    /// Its internal IPv4 addresses.
    pub addresses: Vec<String>,
    /// The GKE cluster whose node it is.
    pub cluster: Option<Cluster>,
    /// The GKE node pool it belongs to.
    pub node_pool: Option<String>,
    /// Its Shielded VM settings, when it has them.
    pub shielded: Option<Shielded>,
    /// The Confidential VM technology: `SEV`, `SEV_SNP`, `TDX`; `CONFIDENTIAL` when only that is said.
    pub confidential: Option<String>,
}

/// A GKE cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The project's id or number.
    pub project: String,
    /// A region or a zone.
    pub location: String,
    /// Its name.
    pub name: String,
}

impl Cluster {
    /// The full resource name in Security Command Center.
    pub fn resource_name(&self) -> String {
        cluster_name(&self.project, &self.location, &self.name)
    }
}

/// The full resource name of a GKE cluster. Zonal and regional clusters are written differently.
pub(crate) fn cluster_name(project: &str, location: &str, name: &str) -> String {
    let kind = if is_zone(location) { "zones" } else { "locations" };
    format!("//container.googleapis.com/projects/{project}/{kind}/{location}/clusters/{name}")
}

/// Shielded VM settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shielded {
    /// Secure Boot.
    pub secure_boot: bool,
    /// The virtual TPM.
    pub vtpm: bool,
    /// Integrity monitoring.
    pub integrity_monitoring: bool,
}

/// What the Kubernetes API server says about a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// The namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// The owner at the end of the chain: `Deployment`, `CronJob` …; empty for a bare pod.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its API group and version: `apps/v1`.
    pub api_version: String,
    /// The node it runs on.
    pub node: String,
    /// The service account it runs as.
    pub service_account: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// Its containers.
    pub containers: Vec<PodContainer>,
    /// Whether it shares the node's network, process or IPC namespace; which, in that order.
    pub host_namespaces: Vec<String>,
}

/// What the Kubernetes API server says about a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its provider id: `gce://PROJECT/ZONE/INSTANCE`.
    pub provider_id: String,
    /// The numeric id of its instance, when its annotation says it.
    pub instance_id: String,
    /// Its GKE node pool, when its label says it.
    pub node_pool: String,
    /// Its internal addresses.
    pub addresses: Vec<String>,
}

impl Node {
    /// Project, zone and name of the virtual machine that it is.
    pub fn machine(&self) -> Option<[&str; 3]> {
        let parts: Vec<&str> = self.provider_id.strip_prefix("gce://")?.split('/').collect();
        <[&str; 3]>::try_from(parts).ok().filter(|parts| parts.iter().all(|part| !part.is_empty()))
    }
}

/// One container of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodContainer {
    /// Its name.
    pub name: String,
    /// The image as the pod asks for it.
    pub image: String,
    /// The digest of what runs: `sha256:…`; empty when the node has not said.
    pub digest: String,
    /// The runtime's id; empty when it does not run.
    pub id: String,
    /// Whether it is privileged.
    pub privileged: bool,
}

/// Something that was looked up in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// A sentence for people, without a full stop.
    pub text: String,
    /// The metric label: a closed set.
    pub label: &'static str,
    /// Whether it may close by itself soon.
    pub transient: bool,
    /// How long nothing is asked, so that it cannot close before.
    pub pause: Option<Duration>,
}

/// One source of facts.
pub trait Enricher: Send + Sync + fmt::Debug {
    /// Its name: the metric label.
    fn name(&self) -> &'static str;

    /// Whether it says what an instance's full name is, whatever the event calls its project and zone.
    fn names_machines(&self) -> bool {
        false
    }

    /// Adds what it knows about `subject` to `found`. `Ok(false)`: there was nothing to ask.
    fn enrich<'a>(&'a self, subject: &'a Subject, found: &'a mut Enriched) -> BoxFuture<'a, Result<bool, Gap>>;
}

/// All look-ups, in their order, under one deadline.
#[derive(Debug, Clone)]
pub struct Enrichment {
    enrichers: Vec<Arc<dyn Enricher>>,
    deadline: Duration,
}

impl Enrichment {
    /// These look-ups, which may take `deadline` together.
    pub fn new(enrichers: Vec<Arc<dyn Enricher>>, deadline: Duration) -> Self {
        Self { enrichers, deadline }
    }

    /// No look-ups at all.
    pub fn none() -> Self {
        Self::new(Vec::new(), Duration::ZERO)
    }

    /// Whether somebody is asked for the full names of instances.
    pub fn names_machines(&self) -> bool {
        self.enrichers.iter().any(|enricher| enricher.names_machines())
    }

    /// What can be found out about `event` in time.
    pub async fn enrich(&self, event: &Event) -> Enriched {
        let mut found = Enriched::default();
        if self.enrichers.is_empty() {
            return found;
        }
        let Some(subject) = subject::of(event) else { return found };
        let end = Instant::now() + self.deadline;
        for (index, enricher) in self.enrichers.iter().enumerate() {
            // Nobody may use up the time of those behind it.
            let left = end.saturating_duration_since(Instant::now());
            let others = self.enrichers.len() - index - 1;
            let share = if others == 0 { left } else { left / 2 };
            self.ask(enricher.as_ref(), &subject, &mut found, share).await;
        }
        found
    }

    async fn ask(&self, enricher: &dyn Enricher, subject: &Subject, found: &mut Enriched, share: Duration) {
        let began = Instant::now();
        let answer = tokio::time::timeout(share, enricher.enrich(subject, found)).await;
        let name = enricher.name();
        let result = match answer {
            Ok(Ok(true)) => "found",
            Ok(Ok(false)) => return,
            Ok(Err(gap)) => note(found, gap),
            Err(_) => {
                let text = format!("the {name} look-up did not end within {:.1} s", share.as_secs_f64());
                note(found, Gap { text, label: "timeout", transient: true, pause: None })
            }
        };
        metrics::counter!(ENRICH_LOOKUPS.name, "source" => name, "result" => result).increment(1);
        metrics::histogram!(ENRICH_SECONDS.name, "source" => name).record(began.elapsed().as_secs_f64());
    }
}

fn note(found: &mut Enriched, gap: Gap) -> &'static str {
    found.gaps.push(gap.text);
    found.unsettled |= gap.transient;
    found.again_after = found.again_after.max(gap.pause.filter(|_| gap.transient));
    gap.label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zonal_and_regional_clusters_have_different_names() {
        let name = |location: &str| {
            Cluster { project: "acme".into(), location: location.into(), name: "prod".into() }.resource_name()
        };
        assert_eq!(name("us-central1-c"), "//container.googleapis.com/projects/acme/zones/us-central1-c/clusters/prod");
        assert_eq!(name("us-central1"), "//container.googleapis.com/projects/acme/locations/us-central1/clusters/prod");
        assert!(name("us-central1-ai1a").contains("/zones/us-central1-ai1a/"));
    }

    #[derive(Debug)]
    struct Slow(Duration);

    impl Enricher for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        fn enrich<'a>(&'a self, _: &'a Subject, found: &'a mut Enriched) -> BoxFuture<'a, Result<bool, Gap>> {
            Box::pin(async move {
                found.instance = Some(Instance { id: "1".into(), ..Instance::default() });
                tokio::time::sleep(self.0).await;
                found.instance = None;
                Ok(true)
            })
        }
    }

    #[tokio::test]
    async fn what_was_found_before_the_deadline_counts_and_the_gap_is_told() {
        let event = subject::tests::event(&[]);
        let slow = |seconds| Arc::new(Slow(Duration::from_secs(seconds))) as Arc<dyn Enricher>;
        let enrichment = Enrichment::new(vec![slow(600), slow(600)], Duration::from_millis(20));
        let found = enrichment.enrich(&event).await;
        assert_eq!(found.instance.map(|i| i.id), Some("1".to_owned()));
        assert_eq!(found.gaps.len(), 2);
        assert!(found.unsettled);
    }
}
