//! The plans in the state store, and the caps. Every write is a compare-and-set.
//!
//! A plan that is open has a second, small document, so that open ones are found without reading all there ever were.
//! It is written first and removed last: a crash between leaves a pointer too many, never one too few.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::caps::Caps;
use super::plan::Plan;
use crate::config::acting::Limits;
use crate::integrity::answer::Reason;
use crate::state::{self, Expected, StateError, Store, Version, body_of};

/// The kind of the plans.
pub const KIND: &str = "response";
/// The kind of the pointers to open plans.
pub const OPEN: &str = "response_open";
/// The kind of the caps.
pub const CAPS: &str = "response_caps";
/// How often a write is tried anew when somebody else was faster.
const TRIES: usize = 20;

/// The plans.
#[derive(Debug, Clone)]
pub struct Desk {
    store: Arc<dyn Store>,
}

/// A pointer to an open plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Which VM: one is worked on at a time.
    pub vm: String,
    /// Not before.
    pub due: DateTime<Utc>,
    /// Since when it is open. The version before did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
}

/// A plan with its revision.
#[derive(Debug, Clone)]
pub struct Held {
    /// The plan.
    pub plan: Plan,
    version: Version,
}

impl Desk {
    /// The plans in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The store beneath, for leases.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Writes a new plan down. One that stands there stays as it is, and is handed back: the same report never makes a
    /// second one.
    pub async fn record(&self, plan: &Plan) -> Result<Option<Plan>, StateError> {
        let key = plan.key();
        if let Some(standing) = self.read(&key).await? {
            return Ok(Some(standing.plan));
        }
        // What ended in planning still has to be told to nobody: the finding is raised with it.
        if plan.answer.is_none() {
            let open = Open { vm: plan.report.vm.key(), due: plan.planned, since: Some(plan.planned) };
            there(self.store.write(OPEN, &key, &body_of(OPEN, &key, &open)?, Expected::Absent).await)?;
        }
        match self.store.write(KIND, &key, &body_of(KIND, &key, plan)?, Expected::Absent).await {
            Err(error) if error.is_conflict() => Ok(self.read(&key).await?.map(|standing| standing.plan)),
            written => written.map(|_| None),
        }
    }

    /// The open plans, by key. One that cannot be read keeps none of the others waiting.
    pub async fn open(&self) -> Result<Vec<(String, Open)>, StateError> {
        Ok(state::parsed(OPEN, state::all(&*self.store, OPEN).await?))
    }

    /// A plan.
    pub async fn read(&self, key: &str) -> Result<Option<Held>, StateError> {
        let Some(document) = self.store.read(KIND, key).await? else { return Ok(None) };
        Ok(Some(Held { plan: document.parse(KIND)?, version: document.version }))
    }

    /// Every plan that can be read, in the order of the reports.
    pub async fn all(&self) -> Result<Vec<Plan>, StateError> {
        let plans = state::parsed(KIND, state::all(&*self.store, KIND).await?);
        Ok(plans.into_iter().map(|(_, plan)| plan).collect())
    }

    /// Writes a plan that was read here.
    ///
    /// # Errors
    /// [`StateError::Conflict`] when somebody else wrote it since: then it is theirs.
    pub async fn save(&self, held: &mut Held) -> Result<(), StateError> {
        let key = held.plan.key();
        let expected = Expected::Version(held.version.clone());
        held.version = self.store.write(KIND, &key, &body_of(KIND, &key, &held.plan)?, expected).await?;
        Ok(())
    }

    /// Leaves an open plan alone until `due`.
    pub async fn later(&self, key: &str, due: DateTime<Utc>) -> Result<(), StateError> {
        let Some(document) = self.store.read(OPEN, key).await? else { return Ok(()) };
        let open: Open = document.parse(OPEN)?;
        let open = Open { due, since: open.since.or(Some(open.due)), ..open };
        there(self.store.write(OPEN, key, &body_of(OPEN, key, &open)?, Expected::Version(document.version)).await)
    }

    /// A plan that ended, and was told, is open no more.
    pub async fn close(&self, key: &str) -> Result<(), StateError> {
        self.store.remove(OPEN, key, Expected::Any).await.map(drop)
    }

    /// Takes a share of the caps for a plan. A dry run has counts of its own.
    pub async fn take(
        &self,
        plan: &Plan,
        limits: &Limits,
        now: DateTime<Utc>,
    ) -> Result<Result<(), (Reason, String)>, StateError> {
        let key = caps_key(plan.dry_run);
        for _ in 0..TRIES {
            let (mut caps, expected) = self.caps_at(key).await?;
            if let Err(full) = caps.take(limits, &plan.report.vm.project, &plan.key(), now) {
                return Ok(Err(full));
            }
            match self.store.write(CAPS, key, &body_of(CAPS, key, &caps)?, expected).await {
                Err(error) if error.is_conflict() => {}
                result => return result.map(|_| Ok(())),
            }
        }
        Err(StateError::Conflict { kind: CAPS.to_owned(), key: key.to_owned() })
    }

    /// What was taken of the caps.
    pub async fn caps(&self, dry_run: bool) -> Result<Caps, StateError> {
        Ok(self.caps_at(caps_key(dry_run)).await?.0)
    }

    /// Sets the counts back.
    pub async fn reset_caps(&self, dry_run: bool, who: &str, now: DateTime<Utc>) -> Result<Caps, StateError> {
        let key = caps_key(dry_run);
        let (mut caps, expected) = self.caps_at(key).await?;
        caps.reset(who, now);
        self.store.write(CAPS, key, &body_of(CAPS, key, &caps)?, expected).await?;
        Ok(caps)
    }

    async fn caps_at(&self, key: &str) -> Result<(Caps, Expected), StateError> {
        Ok(match self.store.read(CAPS, key).await? {
            None => (Caps::default(), Expected::Absent),
            Some(document) => (document.parse(CAPS)?, Expected::Version(document.version)),
        })
    }
}

fn caps_key(dry_run: bool) -> &'static str {
    if dry_run { "dry_run" } else { "acting" }
}

/// Somebody else who was faster wrote the same.
fn there(written: Result<Version, StateError>) -> Result<(), StateError> {
    match written {
        Err(error) if error.is_conflict() => Ok(()),
        written => written.map(drop),
    }
}
