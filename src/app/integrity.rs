//! Shielded VM integrity, wired: what was seen of every VM, the push door, the pull subscriber, the timers.

use std::sync::Arc;

use super::StartError;
use crate::config::Config;
use crate::config::google::Account;
use crate::google::pubsub::Client;
use crate::integrity::baselines::Baselines;
use crate::integrity::tracker::Tracker;
use crate::receive::Intake;
use crate::receive::entries::Entries;
use crate::receive::pubsub::{Guard, PushDoor};
use crate::receive::pubsub_pull::Subscriber;
use crate::state::Store;

/// What was seen of every Shielded VM.
pub(super) fn tracker(config: &Config, state: &Arc<dyn Store>) -> Tracker {
    let baselines = Baselines::new(Arc::clone(state), config.integrity.baselines_fresh_for);
    Tracker::new(Arc::clone(state), baselines, config.integrity.late_report_within)
}

/// `POST /pubsub/push`.
pub(super) fn push(config: &Config, intake: &Intake, entries: Entries) -> PushDoor {
    PushDoor { intake: intake.clone(), entries, guard: Guard::new(&config.pubsub.push, reqwest::Client::new()) }
}

/// The pull subscriber, when there is something to pull.
pub(super) fn subscriber(config: &Config, intake: &Intake, entries: Entries) -> Result<Option<Subscriber>, StartError> {
    let Some(subscription) = config.pubsub.subscription.clone() else { return Ok(None) };
    let base = config.pubsub.base();
    let tokens = config.google.token_source(Account::Security, &base)?;
    let client = Client::new(&base, &config.pubsub.tokens(&tokens)).map_err(StartError::Pubsub)?;
    Ok(Some(Subscriber { client, subscription, most: config.pubsub.max_messages, intake: intake.clone(), entries }))
}
