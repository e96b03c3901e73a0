//! A project's two names: whether the event's project is one of ours, and its number.
//!
//! Compute Engine is asked first, and Resource Manager where it does not say. Who failed for the moment is left alone for
//! a while.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::cache::Lookups;
use super::marks::{another, in_project};
use super::pauses::{Pauses, wait_after};
use super::subject::is_number;
use super::{Gap, Node, Subject};
use crate::causes::chain;
use crate::config::enrich::Keep;
use crate::google::ApiError;
use crate::google::compute::{Compute, Project};
use crate::google::resource_manager::ResourceManager;

/// A project's names do not change.
const PROJECT_AGE: Duration = Duration::from_secs(24 * 3600);

/// Our projects, and who is asked for their names.
#[derive(Debug, Clone)]
pub(super) struct Projects(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ours: Vec<String>,
    compute: Compute,
    /// Which projects Compute Engine is not asked about now.
    paused: Arc<Pauses<String>>,
    names: Option<ResourceManager>,
    known: Lookups<String, Project>,
    unnamed: Pauses<String>,
}

/// Where to look for an event's instance.
#[derive(Debug)]
pub(super) struct Matching {
    /// The projects, as the settings call them.
    pub(super) projects: Vec<String>,
    /// The event's project by both names, when it was looked up.
    pub(super) named: Option<Arc<Project>>,
    /// Why it is not known whether one of them is the event's: whose name or address is the event's is then not.
    pub(super) doubt: Option<Gap>,
}

impl Projects {
    pub(super) fn new(
        ours: Vec<String>,
        compute: Compute,
        paused: Arc<Pauses<String>>,
        names: Option<ResourceManager>,
        keep: Keep,
    ) -> Self {
        let known = Lookups::new(Keep { found: PROJECT_AGE, entries: 1000, ..keep });
        Self(Arc::new(Inner { ours, compute, paused, names, known, unnamed: Pauses::default() }))
    }

    /// Whether the settings call one of our projects so.
    pub(super) fn has(&self, named: &str) -> bool {
        self.0.ours.iter().any(|ours| ours == named)
    }

    /// The projects to look in: the event's own where it says one and it is among ours, else all of ours.
    pub(super) async fn matching(&self, subject: &Subject) -> Result<Matching, Gap> {
        let ours = &self.0.ours;
        let these = |projects| Ok(Matching { projects, named: None, doubt: None });
        let Some(named) = &subject.project else {
            return these(ours.clone());
        };
        if self.has(named) {
            return these(vec![named.clone()]);
        }
        // Two ids that differ are two projects.
        let other_kind = |project: &&String| is_number(project) != is_number(named);
        let maybe: Vec<&String> = ours.iter().filter(other_kind).collect();
        let identities = join_all(maybe.iter().map(|project| self.identity(project))).await;
        let (mut unknown, mut why) = (Vec::new(), Vec::new());
        for (project, identity) in maybe.into_iter().zip(identities) {
            match identity {
                Ok(Some(identity)) if identity.id == *named || identity.number.0 == *named => {
                    return Ok(Matching { projects: vec![project.clone()], named: Some(identity), doubt: None });
                }
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(gap) => why.push(gap),
            }
            unknown.push(project.clone());
        }
        if unknown.is_empty() {
            return Err(Gap {
                text: format!("the project {named} is not among those of COMPUTE_PROJECT_ID"),
                label: "other_project",
                transient: false,
                pause: None,
            });
        }
        let causes: Vec<&str> = why.iter().map(|gap| gap.text.as_str()).collect();
        let because = if causes.is_empty() { String::new() } else { format!(": {}", causes.join("; ")) };
        let doubt = Gap {
            text: format!("whether the project {named} is {} could not be looked up{because}", unknown.join(" or ")),
            label: "unnumbered",
            transient: why.iter().any(|gap| gap.transient),
            pause: why.iter().filter(|gap| gap.transient).filter_map(|gap| gap.pause).max(),
        };
        Ok(Matching { projects: unknown, named: None, doubt: Some(doubt) })
    }

    /// Why a node cannot be the event's, or may not be: its project is not the one whose number the event has.
    pub(super) async fn contradict(&self, node: &Node, subject: &Subject) -> Option<Gap> {
        let named = subject.project.as_ref().filter(|named| is_number(named))?;
        let [project, ..] = node.machine().filter(|_| subject.instance_id.as_ref() != Some(&node.instance_id))?;
        let what = format!("node {}", node.name);
        match self.identity(project).await {
            Ok(Some(identity)) if identity.number.0 != *named => Some(another(what, &in_project(project, named))),
            Err(gap) if gap.transient => {
                let text = format!("{}; whether the {what} is the event's is not known", gap.text);
                Some(Gap { text, ..Gap::clone(&gap) })
            }
            _ => None,
        }
    }

    /// A project's id and number.
    ///
    /// # Errors
    /// Why nobody said them.
    pub(super) async fn identity(&self, project: &str) -> Result<Option<Arc<Project>>, Arc<Gap>> {
        let look_up = |name: String| {
            let inner = Arc::clone(&self.0);
            async move { inner.look_up(&name).await }
        };
        self.0.known.find(project, look_up).await
    }
}

impl Inner {
    async fn look_up(&self, name: &str) -> Result<Option<Project>, Gap> {
        if let Some(gap) = self.unnamed.of(name) {
            return Err(gap);
        }
        // Whoever lists the instances has told of it.
        let paused = self.paused.of(name);
        let told = paused.is_some();
        let first = match paused {
            Some(gap) => Err(gap),
            None => self.compute.project(name).await.map_err(|error| failed(name, &error)),
        };
        let answer = match (first, &self.names) {
            (Err(first), Some(names)) => {
                names.project(name).await.map_err(|error| either(first, &failed(name, &error)))
            }
            (first, _) => first,
        };
        match answer {
            Err(gap) => {
                let wait = gap.pause.unwrap_or_default();
                if self.unnamed.begin(name.to_owned(), wait, &gap) && !gap.transient && !told {
                    tracing::warn!(project = name, wait_secs = wait.as_secs(), "{}", gap.text);
                }
                Err(gap)
            }
            Ok(project) => {
                self.unnamed.end(name);
                Ok(Some(project).filter(|project| !project.number.0.is_empty()))
            }
        }
    }
}

/// What two have not said. It is worth another try when one of them may say it. Compute Engine's role is enough for both.
fn either(first: Gap, second: &Gap) -> Gap {
    if first.transient == second.transient {
        return Gap { pause: first.pause.max(second.pause), ..first };
    }
    let pause = if first.transient { first.pause } else { second.pause };
    Gap { transient: true, pause, ..first }
}

/// What a failed call means: the cause, which the log and the gap tell.
fn failed(project: &str, error: &ApiError) -> Gap {
    tracing::debug!(project, error = %chain(error), "a project's names could not be looked up");
    let lasts = !passes(error) && !error.is_quota();
    let text = match error.status() {
        Some(403) if lasts => switched_off(project, error).unwrap_or_else(|| {
            format!("Compute Engine refuses to show the project {project} (roles/compute.viewer is needed there)")
        }),
        Some(404) => format!("Compute Engine knows no project {project} (COMPUTE_PROJECT_ID)"),
        Some(401) => format!("Compute Engine does not accept our token for project {project}"),
        _ if error.is_quota() => format!("Compute Engine's quota for reading project {project} is used up"),
        _ => format!("Compute Engine could not be asked about project {project}"),
    };
    Gap { text, label: "unnumbered", transient: passes(error), pause: Some(wait_after(error, lasts)) }
}

/// The gap where a project's number is missing, and why.
pub(super) fn unnumbered(project: &str, why: Option<&Gap>) -> Gap {
    let because = why.map(|gap| format!(": {}", gap.text)).unwrap_or_default();
    Gap {
        text: format!("the number of project {project} could not be looked up{because}"),
        label: "unnumbered",
        transient: why.is_some_and(|gap| gap.transient),
        pause: why.and_then(|gap| gap.pause),
    }
}

/// What is said of a project where Compute Engine's API is switched off, be it in the project that the call is counted
/// for: no role helps there.
pub(super) fn switched_off(project: &str, error: &ApiError) -> Option<String> {
    let command = error.enabling("compute.googleapis.com", Some(project))?;
    Some(format!("Compute Engine cannot be asked about project {project}: its API is switched off ({command})"))
}

/// Whether a call may succeed soon. A token that is not accepted says nothing about the project: the next one may be.
pub(super) fn passes(error: &ApiError) -> bool {
    error.is_transient() || error.status() == Some(401)
}
