//! Who was seen last under a name or an address of a project. Machines are made again under both, and what is remembered
//! of the one before was not found by the same question as the one that is there now.

use std::sync::Arc;
use std::time::Instant;

use moka::future::Cache;

use super::judge::{Answer, lies_in};
use super::questions::Question;
use super::{FoundBy, Instance};
use crate::config::enrich::Keep;

/// Sightings by project, and by name or address.
#[derive(Debug)]
pub(super) struct Sightings(Cache<(String, String), Arc<Sighting>>);

/// An instance, and when it was asked for.
#[derive(Debug)]
struct Sighting {
    instance: Instance,
    asked: Instant,
}

impl Sightings {
    /// None yet. They are remembered as long as what they make obsolete.
    pub(super) fn new(keep: Keep) -> Self {
        Self(Cache::builder().max_capacity(keep.entries.saturating_mul(2)).time_to_live(keep.found).build())
    }

    /// What a project answered when it was `asked`, by the name that it was asked by and by its own.
    pub(super) async fn add(&self, project: &str, instances: &[Instance], asked: Instant) {
        for instance in instances {
            let sighting = Arc::new(Sighting { instance: instance.clone(), asked });
            let another = Some(instance.project.as_str()).filter(|its| *its != project);
            for project in std::iter::once(project).chain(another) {
                for text in std::iter::once(&instance.name).chain(&instance.addresses) {
                    self.0.insert((project.to_owned(), text.clone()), Arc::clone(&sighting)).await;
                }
            }
        }
    }

    /// Whether somebody answers to `question` who was seen after `answer` was made, and is not in it.
    pub(super) async fn outdate(&self, answer: &Answer, question: &Question) -> bool {
        if question.by == FoundBy::Id || answer.instances.is_empty() {
            return false;
        }
        for project in &question.projects {
            let Some(seen) = self.since(project, &question.text, answer.made).await else { continue };
            let fits = question.location.as_deref().is_none_or(|location| lies_in(&seen, location));
            if fits && answer.instances.iter().all(|known| known.id != seen.id) {
                return true;
            }
        }
        false
    }

    /// Who was seen in a project under a name or an address after `then`.
    pub(super) async fn since(&self, project: &str, text: &str, then: Instant) -> Option<Instance> {
        let seen = self.0.get(&(project.to_owned(), text.to_owned())).await?;
        (seen.asked > then).then(|| seen.instance.clone())
    }
}
