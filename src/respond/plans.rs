//! The plans in the state store, and the caps. Every write is a compare-and-set.
//!
//! A plan that is open has a second, small document, so that open ones are found without reading all there ever were.
//! It is written first and removed last: a crash between leaves a pointer too many, never one too few.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::caps::Caps;
use super::why_not::WhyNot;
use crate::config::acting::Limits;
use crate::plan::Plan;
use crate::state::{self, Expected, Skipped, StateError, Store, Version, body_of};

/// The kind of the plans.
pub const KIND: &str = "response";
/// The kind of the pointers to open plans.
pub const OPEN: &str = "response_open";
/// The kind of the caps.
pub const CAPS: &str = "response_caps";

/// The plans that were ever written down, and the caps.
#[derive(Debug, Clone)]
pub struct Plans {
    store: Arc<dyn Store>,
    skipped: Arc<Skipped>,
}

/// A pointer to an open plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Which VM: one is worked on at a time.
    pub vm: String,
    /// Not before.
    pub due: DateTime<Utc>,
    /// Since when it is open.
    pub since: DateTime<Utc>,
}

/// A plan with its revision.
#[derive(Debug, Clone)]
pub struct Held {
    /// The plan.
    pub plan: Plan,
    version: Version,
}

impl Plans {
    /// The plans in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, skipped: Arc::default() }
    }

    /// The store beneath, for leases.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Writes a new plan down. One that stands there stays as it is, and is handed back: the same report never makes a
    /// second one.
    pub async fn record(&self, plan: &Plan) -> Result<Option<Plan>, StateError> {
        let key = plan.key();
        let mut standing = self.read(&key).await?;
        if standing.is_none() {
            // What ended in planning still has to be told to nobody: the finding is raised with it.
            if plan.answer.is_none() {
                self.point(&key, plan).await?;
            }
            match self.store.write(KIND, &key, &body_of(KIND, &key, plan)?, Expected::Absent).await {
                Err(error) if error.is_conflict() => standing = self.read(&key).await?,
                written => drop(written?),
            }
        }
        // The pointer that stood there may have been taken for one without a plan, and removed meanwhile.
        if standing.as_ref().map_or(plan, |standing| &standing.plan).answer.is_none() {
            self.point(&key, plan).await?;
        }
        Ok(standing.map(|standing| standing.plan))
    }

    /// Writes the pointer to an open plan, unless it stands there as fresh as this. One that is older is renewed, so
    /// that whoever saw it without its plan does not remove it.
    async fn point(&self, key: &str, plan: &Plan) -> Result<(), StateError> {
        let (vm, now) = (plan.report.vm.key(), plan.planned);
        let standing = self.store.read(OPEN, key).await?;
        // One that cannot be read points at nothing, and is replaced.
        let known: Option<Open> = standing.as_ref().and_then(|standing| standing.parse(OPEN).ok());
        let open = match known {
            Some(known) if known.since >= now => return Ok(()),
            known => Open { vm, due: known.map_or(now, |known| known.due), since: now },
        };
        let expected = standing.map_or(Expected::Absent, |standing| Expected::Version(standing.version));
        match self.store.write(OPEN, key, &body_of(OPEN, key, &open)?, expected).await {
            Err(error) if error.is_conflict() => {
                there(self.store.write(OPEN, key, &body_of(OPEN, key, &open)?, Expected::Absent).await)
            }
            written => written.map(drop),
        }
    }

    /// The open plans, by key. One that cannot be read keeps none of the others waiting.
    pub async fn open(&self, now: DateTime<Utc>) -> Result<Vec<(String, Open)>, StateError> {
        Ok(self.skipped.parsed(OPEN, state::all(&*self.store, OPEN).await?, now))
    }

    /// Tells of a plan that cannot be read.
    pub fn skipped(&self, error: &StateError, now: DateTime<Utc>) {
        self.skipped.tell(KIND, error, now);
    }

    /// A plan.
    pub async fn read(&self, key: &str) -> Result<Option<Held>, StateError> {
        let Some(document) = self.store.read(KIND, key).await? else { return Ok(None) };
        Ok(Some(Held { plan: document.parse(KIND)?, version: document.version }))
    }

    /// Every plan, in the order of the reports; and why the others cannot be read.
    pub async fn all(&self) -> Result<(Vec<Plan>, Vec<StateError>), StateError> {
        let (mut plans, mut unreadable) = (Vec::new(), Vec::new());
        for document in state::all(&*self.store, KIND).await? {
            match document.parse(KIND) {
                Ok(plan) => plans.push(plan),
                Err(error) => unreadable.push(error),
            }
        }
        Ok((plans, unreadable))
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
        let later = |stored: Option<Open>| (stored.map(|open| Open { due, ..open }), ());
        state::update(&*self.store, OPEN, key, later).await
    }

    /// Removes a pointer whose plan was never written, if it is older than `before`. Answers whether it is gone. The
    /// plan is looked for after the pointer was read, and the pointer is removed only as it was then: who writes a plan
    /// renews its pointer afterwards.
    pub async fn close_orphan(&self, key: &str, before: DateTime<Utc>) -> Result<bool, StateError> {
        let Some(document) = self.store.read(OPEN, key).await? else { return Ok(true) };
        let open: Open = document.parse(OPEN)?;
        if open.since >= before || self.store.read(KIND, key).await?.is_some() {
            return Ok(false);
        }
        match self.store.remove(OPEN, key, Expected::Version(document.version)).await {
            Err(error) if error.is_conflict() => Ok(false),
            removed => removed.map(|_| true),
        }
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
    ) -> Result<Result<(), WhyNot>, StateError> {
        let taken = |stored: Option<Caps>| {
            let mut caps = stored.clone().unwrap_or_default();
            match caps.take(limits, &plan.report.vm.project, &plan.key(), now) {
                Ok(()) => (Some(caps), Ok(())),
                Err(full) => (stored, Err(full)),
            }
        };
        state::update(&*self.store, CAPS, caps_key(plan.dry_run), taken).await
    }

    /// Gives back a plan's share of the caps: nothing was changed for it. A dry run keeps the share of its own counts; one
    /// that became a dry run only since was counted among the real ones.
    pub async fn give_back(&self, plan: &Plan, now: DateTime<Utc>) -> Result<(), StateError> {
        let given_back = |mut stored: Option<Caps>| {
            if let Some(caps) = &mut stored {
                caps.give_back(&plan.key(), now);
            }
            (stored, ())
        };
        state::update(&*self.store, CAPS, caps_key(false), given_back).await
    }

    /// What was taken of the caps.
    pub async fn caps(&self, dry_run: bool) -> Result<Caps, StateError> {
        let stored = self.store.read(CAPS, caps_key(dry_run)).await?;
        Ok(stored.map(|stored| stored.parse(CAPS)).transpose()?.unwrap_or_default())
    }

    /// Sets the counts back.
    pub async fn reset_caps(&self, dry_run: bool, who: &str, now: DateTime<Utc>) -> Result<Caps, StateError> {
        let reset = |stored: Option<Caps>| {
            let mut caps = stored.unwrap_or_default();
            caps.reset(who, now);
            (Some(caps.clone()), caps)
        };
        state::update(&*self.store, CAPS, caps_key(dry_run), reset).await
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
