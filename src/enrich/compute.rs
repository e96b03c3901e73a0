//! Compute Engine: which instance it was, and what is known of it.
//!
//! Asked by the node that Kubernetes named, else by the numeric id, else by the host's name, else by the internal
//! address, which also tells apart several of one name. Two instances that fit are none: a finding on the wrong machine is
//! worse than one on its project.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::Semaphore;

use super::cache::{Keep, Lookups};
use super::{Cluster, Enriched, Enricher, FoundBy, Gap, Instance, Node, Shielded, Subject};
use crate::google::ApiError;
use crate::google::compute::{self, Compute, Place, Project, Scope, last_part, project_in};
use crate::google::resource_manager::ResourceManager;
use crate::telemetry::chain;

/// Calls to Compute at once.
const CALLS_AT_ONCE: usize = 8;

/// How long a project is left alone after it was refused, and after any other failure.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);
const AFTER_FAILURE: Duration = Duration::from_secs(5);
const AFTER_QUOTA: Duration = Duration::from_secs(30);

/// A project's names do not change.
const PROJECT_AGE: Duration = Duration::from_secs(24 * 3600);

/// Where instances are looked for, and how long is remembered what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Where {
    /// The projects, by id or number.
    pub projects: Vec<String>,
    /// The zones; empty means all.
    pub zones: Vec<String>,
    /// What is kept.
    pub keep: Keep,
}

/// The look-up.
#[derive(Debug, Clone)]
pub struct ComputeEnricher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    compute: Compute,
    names: Option<ResourceManager>,
    place: Where,
    instances: Lookups<Question, Answer>,
    inventories: Lookups<String, Inventory>,
    projects: Lookups<String, Project>,
    pauses: Mutex<HashMap<String, (Instant, Gap)>>,
    calls: Semaphore,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    by: FoundBy,
    text: String,
    /// A zone or region that the instance must be in.
    location: Option<String>,
    projects: Vec<String>,
}

/// What was found.
#[derive(Debug)]
enum Answer {
    One(Box<Instance>),
    Several(Vec<Instance>),
}

/// Instances, and the zones that did not answer.
type Listed<T> = (Vec<T>, Vec<String>);

/// Instances by internal address.
type Inventory = HashMap<String, Vec<Place>>;

impl ComputeEnricher {
    /// Looks in `place`. `names` is asked for a project's number where Compute does not say it.
    pub fn new(compute: Compute, names: Option<ResourceManager>, place: Where) -> Self {
        let forever = Keep { found: PROJECT_AGE, entries: 1000, ..place.keep };
        Self(Arc::new(Inner {
            compute,
            names,
            instances: Lookups::new(place.keep),
            inventories: Lookups::new(Keep { entries: place.projects.len().max(1) as u64, ..place.keep }),
            projects: Lookups::new(forever),
            place,
            pauses: Mutex::default(),
            calls: Semaphore::new(CALLS_AT_ONCE),
        }))
    }
}

impl Enricher for ComputeEnricher {
    fn name(&self) -> &'static str {
        "compute"
    }

    fn enrich<'a>(&'a self, subject: &'a Subject, found: &'a mut Enriched) -> BoxFuture<'a, Result<bool, Gap>> {
        Box::pin(async move {
            if subject.elsewhere {
                return Ok(false);
            }
            let projects = Inner::matching(&self.0, subject, found).await?;
            let questions = questions(subject, found, &projects);
            if questions.is_empty() {
                return Ok(false);
            }
            for question in &questions {
                if let Some(mut instance) = Inner::ask(&self.0, question, subject.address).await? {
                    if let Some(project) = Inner::identity(&self.0, &instance.project).await {
                        instance.project_number = project.number.0.clone();
                        found.project = Some(both(&project));
                    }
                    found.found_by = Some(question.by);
                    found.instance = Some(instance);
                    return Ok(true);
                }
                // An id that is gone is gone: an instance that took over its name is another one.
                if matches!(question.by, FoundBy::Id | FoundBy::Node) {
                    break;
                }
            }
            Err(Gap { text: not_found(&questions), label: "not_found", transient: false, pause: None })
        })
    }
}

/// What to ask, the surest first.
fn questions(subject: &Subject, found: &Enriched, projects: &[String]) -> Vec<Question> {
    let ask = |by, text: String| Question { by, text, location: subject.location.clone(), projects: projects.to_vec() };
    if let Some([project, zone, name]) = found.node.as_ref().and_then(Node::machine) {
        let (projects, location) = (vec![project.to_owned()], Some(zone.to_owned()));
        return vec![Question { by: FoundBy::Node, text: name.to_owned(), location, projects }];
    }
    let mut all = Vec::new();
    if !projects.is_empty() {
        all.extend(subject.instance_id.clone().map(|id| ask(FoundBy::Id, id)));
        all.extend(subject.instance_name.clone().map(|name| ask(FoundBy::Name, name)));
        all.extend(subject.address.map(|address| ask(FoundBy::Address, address.to_string())));
    }
    all
}

fn not_found(questions: &[Question]) -> String {
    let tried: Vec<String> = questions
        .iter()
        .map(|question| {
            let by = match question.by {
                FoundBy::Id => "the id",
                FoundBy::Node | FoundBy::Name => "the name",
                FoundBy::Address => "the address",
            };
            format!("{by} {}", question.text)
        })
        .collect();
    let projects = questions.first().map(|question| question.projects.join(", ")).unwrap_or_default();
    format!("Compute Engine has no instance with {} in {projects}", tried.join(" or "))
}

impl Inner {
    /// The projects to look in: the event's own where it says one and it is among ours, else all of ours.
    async fn matching(this: &Arc<Self>, subject: &Subject, found: &mut Enriched) -> Result<Vec<String>, Gap> {
        let ours = &this.place.projects;
        let Some(named) = &subject.project else {
            return Ok(ours.clone());
        };
        if ours.contains(named) {
            return Ok(vec![named.clone()]);
        }
        let identities = join_all(ours.iter().map(|project| Self::identity(this, project))).await;
        let mut unknown = Vec::new();
        for (project, identity) in ours.iter().zip(identities) {
            match identity {
                Some(identity) if identity.id == *named || identity.number.0 == *named => {
                    found.project = Some(both(&identity));
                    return Ok(vec![project.clone()]);
                }
                Some(_) => {}
                None => unknown.push(project.clone()),
            }
        }
        match unknown.is_empty() {
            // Our projects' other names could not be had: it may be one of those.
            false => Ok(unknown),
            true => Err(Gap {
                text: format!("the project {named} is not among those of COMPUTE_PROJECT_ID"),
                label: "other_project",
                transient: false,
                pause: None,
            }),
        }
    }

    /// A project's id and number.
    async fn identity(this: &Arc<Self>, project: &str) -> Option<Arc<Project>> {
        let (inner, name) = (Arc::clone(this), project.to_owned());
        let look_up = async move {
            let first = inner.compute.project(&name).await;
            let answer = match (&first, &inner.names) {
                (Err(_), Some(names)) => names.project(&name).await,
                _ => first,
            };
            // Kept shortly as a miss: whatever is wrong is told by the look-up of the instance.
            Ok::<_, ApiError>(answer.ok().filter(|project| !project.number.0.is_empty()))
        };
        this.projects.find(project.to_owned(), look_up).await.ok().flatten()
    }

    /// The instance. Of several, it is the only one that has `address`.
    async fn ask(this: &Arc<Self>, question: &Question, address: Option<Ipv4Addr>) -> Result<Option<Instance>, Gap> {
        let (inner, asked) = (Arc::clone(this), question.clone());
        let answer = this.instances.find(question.clone(), async move { Self::look_up(&inner, &asked).await }).await;
        match answer.map_err(|gap| gap.as_ref().clone())?.as_deref() {
            None => Ok(None),
            Some(Answer::One(instance)) => Ok(Some(instance.as_ref().clone())),
            Some(Answer::Several(instances)) => match with_address(instances, address) {
                Some(instance) => Ok(Some(instance.clone())),
                None => Err(Gap {
                    text: format!(
                        "{} instances answer to {}; which one it was is not known",
                        instances.len(),
                        question.text
                    ),
                    label: "ambiguous",
                    transient: false,
                    pause: None,
                }),
            },
        }
    }

    async fn look_up(this: &Arc<Self>, question: &Question) -> Result<Option<Answer>, Gap> {
        let all = join_all(question.projects.iter().map(|project| Self::in_project(this, project, question))).await;
        let mut found: Vec<Instance> = Vec::new();
        let mut gap = None;
        for one in all {
            match one {
                Ok(instances) => found.extend(instances),
                Err(failed) => gap = Some(failed),
            }
        }
        found.dedup_by(|a, b| a.id == b.id && a.project == b.project);
        match (found.len(), gap) {
            (0, Some(gap)) => Err(gap),
            (0, None) => Ok(None),
            (1, _) => Ok(found.pop().map(|instance| Answer::One(Box::new(instance)))),
            _ => Ok(Some(Answer::Several(found))),
        }
    }

    async fn in_project(this: &Arc<Self>, project: &str, question: &Question) -> Result<Vec<Instance>, Gap> {
        if let Some(gap) = this.pause(project) {
            return Err(gap);
        }
        if question.by == FoundBy::Address {
            return Self::by_address(this, project, question).await;
        }
        let _permit = this.calls.acquire().await;
        let outcome = this.direct_or_listed(project, question).await;
        let (instances, unreachable) = outcome.map_err(|error| this.failed(project, &error))?;
        let fits = |instance: &compute::Instance| match question.by {
            FoundBy::Id => instance.id.0 == question.text,
            _ => instance.name == question.text,
        };
        let found: Vec<Instance> = instances
            .into_iter()
            .filter(fits)
            .map(|instance| facts(project, instance))
            .filter(|instance| question.by == FoundBy::Id || lies_in(instance, question.location.as_deref()))
            .collect();
        if found.is_empty() && !unreachable.is_empty() {
            return Err(Gap {
                text: format!("Compute Engine did not answer for {} of project {project}", unreachable.join(", ")),
                label: "partial",
                transient: true,
                pause: None,
            });
        }
        Ok(found)
    }

    /// By its path where the zone is known, else, or when it is not there, by a list with a filter.
    async fn direct_or_listed(
        &self,
        project: &str,
        question: &Question,
    ) -> Result<Listed<compute::Instance>, ApiError> {
        if let Some(zone) = question.location.as_ref().filter(|location| super::is_zone(location))
            && let Some(instance) = self.compute.instance(project, zone, &question.text).await?
        {
            return Ok((vec![instance], Vec::new()));
        }
        let member = if question.by == FoundBy::Id { "id" } else { "name" };
        self.list(project, Some(&format!("{member} eq {}", question.text))).await
    }

    /// Lists in the zones we are told, or in all.
    async fn list<T: serde::de::DeserializeOwned>(
        &self,
        project: &str,
        filter: Option<&str>,
    ) -> Result<Listed<T>, ApiError> {
        if self.place.zones.is_empty() {
            let listing = self.compute.instances(project, Scope::All, filter).await?;
            return Ok((listing.instances, listing.unreachable));
        }
        let (mut instances, mut unreachable, mut last) = (Vec::new(), Vec::new(), None);
        for zone in &self.place.zones {
            match self.compute.instances(project, Scope::Zone(zone), filter).await {
                Ok(listing) => instances.extend(listing.instances),
                Err(error) if error.is_retryable() && !error.is_quota() => {
                    unreachable.push(zone.clone());
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match last {
            Some(error) if unreachable.len() == self.place.zones.len() => Err(error),
            _ => Ok((instances, unreachable)),
        }
    }

    async fn by_address(this: &Arc<Self>, project: &str, question: &Question) -> Result<Vec<Instance>, Gap> {
        let (inner, name) = (Arc::clone(this), project.to_owned());
        let look_up = async move {
            let _permit = inner.calls.acquire().await;
            let (places, unreachable) = inner.list(&name, None).await.map_err(|error| inner.failed(&name, &error))?;
            if !unreachable.is_empty() {
                tracing::debug!(project = name, ?unreachable, "the inventory of instances lacks some zones");
            }
            Ok(Some(inventory(places)))
        };
        let known = this.inventories.find(project.to_owned(), look_up).await.map_err(|gap| Gap::clone(&gap))?;
        let places = known.as_deref().and_then(|inventory| inventory.get(&question.text)).cloned().unwrap_or_default();
        let mut found = Vec::new();
        for place in places {
            let _permit = this.calls.acquire().await;
            let instance = this.compute.instance(project, last_part(&place.zone), &place.name).await;
            let instance = instance.map_err(|error| this.failed(project, &error))?;
            found.extend(instance.map(|instance| facts(project, instance)));
        }
        found.retain(|instance| lies_in(instance, question.location.as_deref()));
        Ok(found)
    }

    fn pause(&self, project: &str) -> Option<Gap> {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, gap) = pauses.get(project)?;
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(Gap { pause: Some(left), ..gap.clone() })
    }

    /// What a failed call means; the project is left alone for a while.
    fn failed(&self, project: &str, error: &ApiError) -> Gap {
        let refused = matches!(error.status(), Some(401 | 403 | 404)) && !error.is_quota();
        let wait = match error.retry_after() {
            Some(asked) => asked,
            None if error.is_quota() => AFTER_QUOTA,
            None if refused => AFTER_REFUSAL,
            None => AFTER_FAILURE,
        };
        let text = match refused {
            true => format!(
                "Compute Engine refuses to list the instances of project {project} (roles/compute.viewer is needed there)"
            ),
            false if error.is_quota() => format!("Compute Engine's quota for reading project {project} is used up"),
            false => format!("Compute Engine could not be asked about project {project}"),
        };
        let gap = Gap { text, label: error.label(), transient: !refused && error.is_retryable(), pause: Some(wait) };
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        if pauses
            .insert(project.to_owned(), (Instant::now() + wait, gap.clone()))
            .is_none_or(|(_, old)| old.text != gap.text)
        {
            tracing::warn!(project, error = %chain(error), wait_secs = wait.as_secs(), "{}", gap.text);
        }
        gap
    }
}

fn both(project: &Project) -> super::Project {
    super::Project { id: project.id.clone(), number: project.number.0.clone() }
}

fn inventory(places: Vec<Place>) -> Inventory {
    let mut inventory = Inventory::new();
    for place in places {
        for interface in &place.network_interfaces {
            inventory.entry(interface.network_ip.clone()).or_default().push(place.clone());
        }
    }
    inventory
}

/// The only one of them that has this internal address.
fn with_address(instances: &[Instance], address: Option<Ipv4Addr>) -> Option<&Instance> {
    let address = address?.to_string();
    let mut fitting = instances.iter().filter(|instance| instance.addresses.contains(&address));
    fitting.next().filter(|_| fitting.next().is_none())
}

/// Whether the instance is where the event says; a place that is neither zone nor region says nothing.
fn lies_in(instance: &Instance, location: Option<&str>) -> bool {
    let Some(location) = location.filter(|location| location.contains('-')) else {
        return true;
    };
    instance.zone == location || instance.zone.rsplit_once('-').is_some_and(|(region, _)| region == location)
}

/// The API's words as ours.
fn facts(asked: &str, instance: compute::Instance) -> Instance {
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
