//! Compute Engine: which instance it was, and what is known of it.
//!
//! Asked by the event's numeric id, else by the node that Kubernetes named, else by the node's name, the host's name, and
//! the internal address; what no filter finds, addresses and full host names, in an inventory. Which of those that
//! answer it was is decided in `judge`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::Semaphore;

use super::cache::Lookups;
use super::instance::facts;
use super::inventory::Inventory;
use super::judge::{Answer, Judged, judge};
use super::marks::{ANOTHER, is_its_node, leave_node, leave_pod, not_in, not_on, other_host};
use super::pauses::{Pauses, wait_after};
use super::projects::{Matching, Projects, passes, switched_off, unnumbered};
use super::questions::{Question, for_host, not_found, questions};
use super::sightings::Sightings;
use super::subject::is_number;
use super::{Enriched, Enricher, FoundBy, Gap, Instance, Subject};
use crate::causes::chain;
use crate::config::enrich::Keep;
use crate::event::location::is_zone;
use crate::google::ApiError;
use crate::google::compute::{self, Compute, Project, Scope};
use crate::google::resource_manager::ResourceManager;

/// Calls to Compute at once.
const CALLS_AT_ONCE: usize = 8;

/// What contradicts an event and is older than this is asked for again: the machine may have been made again.
const STALE: Duration = Duration::from_secs(2);

/// How long a finding whose instance is known waits for its project's number: who asks next has it.
const NUMBER_WAIT: Duration = Duration::from_secs(1);

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
    projects: Projects,
    place: Where,
    instances: Lookups<Question, Answer>,
    sightings: Sightings,
    inventories: Lookups<String, Inventory>,
    pauses: Arc<Pauses<String>>,
    /// Project and zone, where the project has no such zone.
    unknown_zones: Mutex<BTreeSet<(String, String)>>,
    calls: Semaphore,
}

/// Instances, and the zones that did not answer.
type Listed<T> = (Vec<T>, Vec<String>);

impl ComputeEnricher {
    /// Looks in `place`. `names` is asked for a project's number where Compute does not say it.
    pub fn new(compute: Compute, names: Option<ResourceManager>, place: Where) -> Self {
        let pauses = Arc::<Pauses<String>>::default();
        let projects = place.projects.clone();
        Self(Arc::new(Inner {
            projects: Projects::new(projects, compute.clone(), Arc::clone(&pauses), names, place.keep),
            compute,
            instances: Lookups::judged(place.keep, Answer::is_whole),
            sightings: Sightings::new(place.keep),
            inventories: Lookups::judged(
                Keep { entries: place.projects.len().max(1) as u64, ..place.keep },
                |inventory: &Inventory| inventory.unreachable.is_empty(),
            ),
            place,
            pauses,
            unknown_zones: Mutex::default(),
            calls: Semaphore::new(CALLS_AT_ONCE),
        }))
    }
}

impl Enricher for ComputeEnricher {
    fn name(&self) -> &'static str {
        "compute"
    }

    fn names_machines(&self) -> bool {
        true
    }

    fn enrich<'a>(&'a self, subject: &'a Subject, found: &'a mut Enriched) -> BoxFuture<'a, Result<bool, Gap>> {
        Box::pin(async move {
            if subject.elsewhere {
                return Ok(false);
            }
            let answer = Inner::find(&self.0, subject, found).await;
            if found.instance.is_none()
                && let Some(gap) = Inner::number(&self.0, subject, found).await
            {
                super::note(found, gap);
            }
            answer
        })
    }
}

impl Inner {
    /// The event's instance.
    async fn find(this: &Arc<Self>, subject: &Subject, found: &mut Enriched) -> Result<bool, Gap> {
        if let Some(node) = &found.node
            && !found.pod_is_sure
            && !is_its_node(node, subject)
            && let Some(gap) = this.projects.contradict(node, subject).await
        {
            if gap.label == ANOTHER {
                (found.node, found.workload) = (None, None);
            }
            super::note(found, gap);
        }
        let Matching { projects, named, doubt } = this.projects.matching(subject).await?;
        found.project = named.as_deref().map(both);
        if doubt.is_none() && Self::on_host(this, subject, found, &projects).await {
            return Ok(true);
        }
        let mut questions = questions(subject, found, &projects);
        // A name or an address may be a machine's of another project, which the event's may be. A number is nobody else's.
        questions.retain(|question| doubt.is_none() || matches!(question.by, FoundBy::Id | FoundBy::Node));
        if questions.is_empty() {
            return doubt.map_or(Ok(false), Err);
        }
        let (mut others, mut gone, mut unanswered, mut asked_for) = (Vec::new(), false, None, Vec::new());
        for question in &questions {
            // An id that is gone is gone: an instance that took over its name is another one.
            if (gone || unanswered.is_some()) && question.by != FoundBy::Node {
                break;
            }
            // The pod whose node it was is not the event's.
            if question.by == FoundBy::NodeName && subject.node.is_none() && found.workload.is_none() {
                continue;
            }
            asked_for.push(question);
            let asked = match Self::ask(this, question, subject).await {
                // The node's own place is asked all the same; it has to have that id.
                Err(gap) if question.by == FoundBy::Id => {
                    unanswered = Some(gap);
                    continue;
                }
                asked => asked?,
            };
            match asked {
                Judged::It(instance, doubt) => match not_in(&instance, question.by, subject, found) {
                    Some(gap) => {
                        asked_for.pop();
                        super::note(found, gap);
                    }
                    None => {
                        if let Some(gap) = doubt {
                            super::note(found, gap);
                        }
                        this.take(*instance, question.by, found).await;
                        return Ok(true);
                    }
                },
                // The node of that name is another machine by now, or of another cluster.
                Judged::Another(sentence) if question.by == FoundBy::Node => {
                    asked_for.pop();
                    leave_node(found, subject);
                    super::note(found, Gap { text: sentence, label: "another", transient: false, pause: None });
                }
                Judged::Another(sentence) => others.push(sentence),
                Judged::Nobody => gone |= matches!(question.by, FoundBy::Id | FoundBy::Node),
            }
        }
        if let Some(gap) = unanswered.or(doubt) {
            return Err(gap);
        }
        let not_found = || {
            let rest = if asked_for.len() < questions.len() && gone {
                "; whoever has its name now is another one"
            } else {
                ""
            };
            format!("{}{}{rest}", not_found(&asked_for), this.unknown_zones())
        };
        // That a pod's machine is not the event's is told already.
        if asked_for.is_empty() {
            return Ok(false);
        }
        let text = if others.is_empty() { not_found() } else { others.join("; ") };
        Err(Gap { text, label: "not_found", transient: false, pause: None })
    }

    /// Whether the event's host is another machine than that of the node which its pod is on now: the pod has moved since,
    /// or is another cluster's. What the host is called goes first then, unless the event names its instance.
    async fn on_host(this: &Arc<Self>, subject: &Subject, found: &mut Enriched, projects: &[String]) -> bool {
        let named = found.pod_is_sure || subject.instance_id.is_some() || subject.instance_name.is_some();
        let host = found.workload.as_ref().filter(|_| !named).and_then(|workload| other_host(workload, subject));
        // Whose full name is in another domain calls itself anything: that is not worth an inventory.
        let Some(host) = host.filter(|host| !host.contains('.')) else { return false };
        match Self::ask(this, &for_host(host, subject, projects), subject).await {
            Ok(Judged::It(instance, doubt)) => {
                for gap in leave_pod(found, host).into_iter().chain(doubt) {
                    super::note(found, gap);
                }
                this.take(*instance, FoundBy::Name, found).await;
                true
            }
            // It may be another machine: worth another try before it is taken to be the node.
            Err(gap) if gap.transient => {
                super::note(found, gap);
                false
            }
            _ => false,
        }
    }

    /// What is told of the event's instance. It is the event's also when its project's number is not known in time.
    async fn take(&self, instance: Instance, by: FoundBy, found: &mut Enriched) {
        if let Some(gap) = not_on(&instance, by, found) {
            super::note(found, gap);
        }
        found.found_by = Some(by);
        let instance = found.instance.insert(instance);
        let identity = tokio::time::timeout(NUMBER_WAIT, self.projects.identity(&instance.project)).await;
        if let Ok(Ok(Some(project))) = identity {
            instance.project_number = project.number.0.clone();
            found.project = Some(both(&project));
        }
    }

    /// Adds the number of the event's project, which the finding is on where no instance is known: else why not.
    async fn number(this: &Arc<Self>, subject: &Subject, found: &mut Enriched) -> Option<Gap> {
        // What names an instance completely needs none.
        let complete = subject.instance_id.is_some() && subject.location.as_deref().is_some_and(is_zone);
        let named = subject.project.as_ref().filter(|_| found.project.is_none() && !complete)?;
        if !this.projects.has(named) {
            return None;
        }
        match this.projects.identity(named).await {
            Ok(Some(project)) => {
                found.project = Some(both(&project));
                None
            }
            _ if is_number(named) => None,
            Ok(None) => Some(unnumbered(named, None)),
            Err(gap) => Some(unnumbered(named, Some(&gap))),
        }
    }

    /// The event's instance among those that answer.
    async fn ask(this: &Arc<Self>, question: &Question, subject: &Subject) -> Result<Judged, Gap> {
        let mut answer = Self::answer(this, question).await;
        let stale = this.place.keep.missed.min(STALE);
        if let Some(known) = &answer
            && ((known.is_another(question.by, subject) && known.made.elapsed() >= stale)
                || this.sightings.outdate(known, question).await)
        {
            this.instances.forget(question).await;
            answer = Self::answer(this, question).await;
        }
        answer.map_or(Ok(Judged::Nobody), |answer| judge(&answer, question.asked(), subject))
    }

    async fn answer(this: &Arc<Self>, question: &Question) -> Option<Arc<Answer>> {
        let look_up = |asked| {
            let inner = Arc::clone(this);
            async move { Self::look_up(&inner, &asked).await }
        };
        this.instances.find(question, look_up).await.unwrap_or_else(Some)
    }

    /// Those that answer, in all projects. What a project that fails for the moment may change is not kept.
    async fn look_up(this: &Arc<Self>, question: &Question) -> Result<Option<Answer>, Answer> {
        let mut answer = Answer::nobody(Instant::now());
        let all = join_all(question.projects.iter().map(|project| Self::in_project(this, project, question))).await;
        for one in all {
            match one {
                Ok((instances, partial)) => {
                    answer.instances.extend(instances);
                    answer.partial = answer.partial.or(partial);
                }
                // What may change soon is worth waiting for.
                Err(gap) if gap.transient || answer.open.is_none() => answer.open = Some(gap),
                Err(_) => {}
            }
        }
        answer.instances.dedup_by(|a, b| a.id == b.id && a.project == b.project);
        match &answer.open {
            Some(gap) if gap.transient => Err(answer),
            None if answer.instances.is_empty() => Ok(None),
            _ => Ok(Some(answer)),
        }
    }

    /// Those in one project, and why there may be more of them there.
    async fn in_project(
        this: &Arc<Self>,
        project: &str,
        question: &Question,
    ) -> Result<(Vec<Instance>, Option<Gap>), Gap> {
        if let Some(gap) = this.pauses.of(project) {
            return Err(gap);
        }
        let asked = Instant::now();
        let (found, mut unreachable) = match question.by {
            FoundBy::Address => Self::by_inventory(this, project, question).await?,
            _ if question.is_for_host() => Self::by_inventory(this, project, question).await?,
            _ => this.by_id_or_name(project, question).await?,
        };
        this.pauses.end(project);
        this.sightings.add(project, &found, asked).await;
        // Who is elsewhere than the event was is not its instance anyway.
        unreachable.retain(|zone| question.asked().may_be_in(zone));
        let partial = (!unreachable.is_empty()).then(|| Gap {
            text: format!("Compute Engine did not answer for {} of project {project}", unreachable.join(", ")),
            label: "partial",
            transient: true,
            pause: None,
        });
        match partial {
            Some(gap) if found.is_empty() => Err(gap),
            partial => Ok((found, partial)),
        }
    }

    async fn by_id_or_name(&self, project: &str, question: &Question) -> Result<Listed<Instance>, Gap> {
        let _permit = self.calls.acquire().await;
        let outcome = self.direct_or_listed(project, question).await;
        let (instances, unreachable) = outcome.map_err(|error| self.failed(project, &error))?;
        let fits = |instance: &compute::Instance| match question.by {
            FoundBy::Id => instance.id.0 == question.text,
            _ => instance.name == question.text,
        };
        let found: Vec<Instance> =
            instances.into_iter().filter(fits).map(|instance| facts(project, instance)).collect();
        Ok((found, unreachable))
    }

    /// By its path where the zone is known, else, or when it is not there, by a list with a filter.
    async fn direct_or_listed(
        &self,
        project: &str,
        question: &Question,
    ) -> Result<Listed<compute::Instance>, ApiError> {
        if let Some(zone) = question.location.as_ref().filter(|location| is_zone(location)) {
            match self.compute.instance(project, zone, &question.text).await {
                Ok(Some(instance)) => return Ok((vec![instance], Vec::new())),
                Ok(None) => {}
                // The event's zone may be none of Google's.
                Err(error) if is_nowhere(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let member = if question.by == FoundBy::Id { "id" } else { "name" };
        self.list(project, Some(&format!("{member} eq {}", question.text))).await
    }

    /// Lists in the zones we are told, or in all. A zone that the project does not have is left out, unless all are.
    async fn list<T: serde::de::DeserializeOwned>(
        &self,
        project: &str,
        filter: Option<&str>,
    ) -> Result<Listed<T>, ApiError> {
        if self.place.zones.is_empty() {
            let listing = self.compute.instances(project, Scope::All, filter).await?;
            return Ok((listing.instances, listing.unreachable));
        }
        let (mut instances, mut unreachable, mut answered) = (Vec::new(), Vec::new(), false);
        let (mut silent, mut nowhere) = (None, Vec::new());
        for zone in &self.place.zones {
            match self.compute.instances(project, Scope::Zone(zone), filter).await {
                Ok(listing) => {
                    answered = true;
                    instances.extend(listing.instances);
                }
                Err(error) if error.is_transient() && !error.is_quota() => {
                    unreachable.push(zone.clone());
                    silent = Some(error);
                }
                Err(error) if is_nowhere(&error) => nowhere.push((zone, error)),
                Err(error) => return Err(error),
            }
        }
        if answered {
            nowhere.into_iter().for_each(|(zone, error)| self.no_such_zone(project, zone, &error));
            return Ok((instances, unreachable));
        }
        match silent.or_else(|| nowhere.pop().map(|(_, error)| error)) {
            Some(error) => Err(error),
            None => Ok((instances, unreachable)),
        }
    }

    fn no_such_zone(&self, project: &str, zone: &str, error: &ApiError) {
        let mut known = self.unknown_zones.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert((project.to_owned(), zone.to_owned())) {
            let remedy = "correct COMPUTE_ZONE, or leave it empty for all zones";
            tracing::warn!(project, zone, error = %chain(error), remedy, "Compute Engine knows no such zone.");
        }
    }

    /// The end of a sentence about what was not found: a wrong zone may be why.
    fn unknown_zones(&self) -> String {
        let known = self.unknown_zones.lock().unwrap_or_else(PoisonError::into_inner);
        let zones: BTreeSet<&str> = known.iter().map(|(_, zone)| zone.as_str()).collect();
        match zones.is_empty() {
            true => String::new(),
            false => format!(", and knows no zone {} (COMPUTE_ZONE)", zones.into_iter().collect::<Vec<_>>().join(", ")),
        }
    }

    async fn inventory(this: &Arc<Self>, project: &str) -> Result<Option<Arc<Inventory>>, Gap> {
        let look_up = |name: String| {
            let inner = Arc::clone(this);
            async move {
                let _permit = inner.calls.acquire().await;
                let listed = inner.list(&name, None).await.map_err(|error| inner.failed(&name, &error));
                let (places, unreachable) = listed?;
                Ok(Some(Inventory::new(places, unreachable, Instant::now())))
            }
        };
        this.inventories.find(project, look_up).await.map_err(|gap| Gap::clone(&gap))
    }

    async fn by_inventory(this: &Arc<Self>, project: &str, question: &Question) -> Result<Listed<Instance>, Gap> {
        let asked = Instant::now();
        let mut known = Self::inventory(this, project).await?;
        // What is not in it may have been made since: an inventory knows of what is missing no longer than a miss is kept.
        // Host names of other places are missing for good, and not worth all instances every time.
        let by_address = question.by == FoundBy::Address;
        let lacks = |inventory: &Arc<Inventory>| by_address && !inventory.has(&question.text);
        if known.as_ref().is_some_and(|known| lacks(known) && known.made + this.place.keep.missed < asked) {
            this.inventories.forget(project).await;
            known = Self::inventory(this, project).await?;
        }
        let Some(inventory) = known else { return Ok((Vec::new(), Vec::new())) };
        let mut places = inventory.of(&question.text);
        // The address may be another machine's by now.
        let seen = this.sightings.since(project, &question.text, inventory.made).await;
        let seen = seen.as_ref().map(|seen| (seen.zone.as_str(), seen.name.as_str()));
        places.extend(seen.filter(|seen| !places.contains(seen)));
        let mut found = Vec::new();
        for (zone, name) in places {
            let _permit = this.calls.acquire().await;
            let instance = this.compute.instance(project, zone, name).await;
            let instance = instance.map_err(|error| this.failed(project, &error))?;
            found.extend(instance.map(|instance| facts(project, instance)));
        }
        Ok((found, inventory.unreachable.clone()))
    }

    /// What a failed call means; the project is left alone for a while.
    fn failed(&self, project: &str, error: &ApiError) -> Gap {
        let refused = error.status() == Some(403) && !error.is_quota();
        let zones = &self.place.zones;
        let absent = error.status() == Some(404) || (is_nowhere(error) && !zones.is_empty());
        let wait = wait_after(error, refused || absent);
        let text = match () {
            () if refused => switched_off(project, error).unwrap_or_else(|| {
                format!(
                    "Compute Engine refuses to list the instances of project {project} \
                     (roles/compute.viewer is needed there)"
                )
            }),
            () if error.status() == Some(401) => {
                format!("Compute Engine does not accept our token for project {project}")
            }
            () if absent && zones.is_empty() => {
                format!("Compute Engine knows no project {project} (COMPUTE_PROJECT_ID)")
            }
            () if absent => format!(
                "Compute Engine knows no project {project}, or none of the zones {} (COMPUTE_PROJECT_ID, COMPUTE_ZONE)",
                zones.join(", ")
            ),
            () if error.is_quota() => format!("Compute Engine's quota for reading project {project} is used up"),
            () => format!("Compute Engine could not be asked about project {project}"),
        };
        let gap = Gap { text, label: error.label(), transient: passes(error), pause: Some(wait) };
        if self.pauses.begin(project.to_owned(), wait, &gap) {
            tracing::warn!(project, error = %chain(error), wait_secs = wait.as_secs(), "{}", gap.text);
        }
        gap
    }
}

/// Whether the project or the zone is not there: a zone is called invalid, too.
fn is_nowhere(error: &ApiError) -> bool {
    matches!(error.status(), Some(400 | 404))
}

fn both(project: &Project) -> super::Project {
    super::Project { id: project.id.clone(), number: project.number.0.clone() }
}
