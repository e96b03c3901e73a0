//! Shielded VM integrity, wired: what was seen of every VM, the push door, the pull subscriber, the timers.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::StartError;
use super::doors::Callers;
use crate::config::Config;
use crate::config::google::Account;
use crate::google::TokenSource;
use crate::google::compute::Compute;
use crate::google::compute_acts::ComputeActs;
use crate::google::http::{self, HttpSettings};
use crate::google::pubsub::Client;
use crate::receive::Intake;
use crate::receive::entries::Entries;
use crate::receive::pubsub::{Guard, PushDoor};
use crate::receive::pubsub_pull::Subscriber;
use crate::respond::hands::Hands;
use crate::respond::plans::Plans;
use crate::respond::responder::{Planner, Responder};
use crate::state::Store;
use crate::track::Tracker;
use crate::track::baselines::Baselines;

/// How long a look at an instance may take.
const READ: Duration = Duration::from_secs(30);
/// Waiting for an operation takes up to two minutes of the service's own.
const WAIT: Duration = Duration::from_secs(150);
/// The first pause between two looks at an operation.
const PAUSE: Duration = Duration::from_millis(250);

/// What was seen of every Shielded VM, with baselines that may be so old.
pub(super) fn tracker(config: &Config, state: &Arc<dyn Store>, fresh_for: TimeDelta) -> Tracker {
    let baselines = Baselines::new(Arc::clone(state), fresh_for);
    let tracker = Tracker::new(Arc::clone(state), baselines, config.integrity.late_report_within);
    tracker.acting(Arc::new(config.acting.clone()))
}

/// What writes down plans.
pub(super) fn planner(config: &Config, state: &Arc<dyn Store>) -> Planner {
    let rules = Arc::new(config.acting.clone());
    Planner { plans: Plans::new(Arc::clone(state)), rules, bell: Arc::default() }
}

/// What carries plans out.
pub(super) fn responder(
    config: &Config,
    state: &Arc<dyn Store>,
    planner: &Planner,
    intake: &Intake,
) -> Result<Responder, StartError> {
    let url = &config.enrich.compute_endpoint;
    let tokens = match config.google.token_source(Account::Compute, url) {
        // It only puts away what is left from when acting was on.
        Err(_) if !planner.acts() => TokenSource::none(),
        tokens => tokens?,
    };
    let client = |timeout| {
        let settings = HttpSettings { timeout, ..HttpSettings::new(url.clone()) };
        http::Client::new(settings, tokens.clone()).map_err(StartError::Compute)
    };
    let hands = Hands::new(Compute::new(client(READ)?), ComputeActs::new(client(WAIT)?));
    Ok(Responder {
        plans: planner.plans.clone(),
        // What approves a relearn is read when it is done, never remembered.
        tracker: tracker(config, state, TimeDelta::zero()),
        hands,
        rules: Arc::clone(&planner.rules),
        intake: intake.clone(),
        clock: Arc::new(Utc::now),
        pause: PAUSE,
        holder: hex::encode(rand::random::<[u8; 8]>()),
        bell: Arc::clone(&planner.bell),
    })
}

/// `POST /pubsub/push`.
pub(super) fn push(
    config: &Config,
    intake: &Intake,
    entries: Entries,
    callers: &Callers,
) -> Result<PushDoor, StartError> {
    let guard = Guard::new(&config.pubsub.push)?;
    let (strangers, rooms) = (Arc::clone(&callers.strangers), Arc::clone(&callers.rooms));
    Ok(PushDoor { intake: intake.clone(), entries, guard, strangers, rooms })
}

/// The pull subscriber, when there is something to pull.
pub(super) fn subscriber(config: &Config, intake: &Intake, entries: Entries) -> Result<Option<Subscriber>, StartError> {
    let Some(subscription) = config.pubsub.subscription.clone() else { return Ok(None) };
    let base = config.pubsub.base();
    let tokens = config.google.token_source(Account::Security, &base)?;
    let client = Client::new(&base, &config.pubsub.tokens(&tokens)).map_err(StartError::Pubsub)?;
    Ok(Some(Subscriber { client, subscription, most: config.pubsub.max_messages, intake: intake.clone(), entries }))
}
