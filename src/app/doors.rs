//! The routes' parts, wired: who calls, the webhook, health and numbers.

use std::sync::Arc;

use super::destination::Destination;
use crate::config::Config;
use crate::config::pubsub::Push;
use crate::config::state::StateUrl;
use crate::config::telemetry::LogFormat;
use crate::outbox::Store;
use crate::outbox::worker::Worker;
use crate::receive::poller::Poller;
use crate::receive::room::Rooms;
use crate::receive::sender::Senders;
use crate::receive::strangers::Strangers;
use crate::receive::webhook::Webhook;
use crate::receive::{Door, Intake};
use crate::server::health::{Health, StateHealth};
use crate::server::numbers::Numbers;
use crate::state;
use crate::telemetry::trace::Traces;

/// What is kept of those who call, for all doors.
pub(super) struct Callers {
    pub(super) senders: Arc<Senders>,
    pub(super) strangers: Arc<Strangers>,
    pub(super) rooms: Arc<Rooms>,
}

impl Callers {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            senders: Arc::new(Senders::new(&config.server.tokens, config.server.auth_failures_per_minute)),
            strangers: Arc::new(Strangers::new(config.server.trusted_hops)),
            rooms: Arc::new(Rooms::new(config.server.body_limit)),
        }
    }
}

/// The doors that events come in by.
pub(super) fn open(config: &Config, attests: bool, polls: bool, pulls: bool) -> impl Iterator<Item = Door> {
    let pubsub = pulls || config.pubsub.push != Push::Closed;
    let doors = [
        Some(Door::Webhook),
        polls.then_some(Door::Poller),
        pubsub.then_some(Door::Pubsub),
        pubsub.then_some(Door::Own),
        attests.then_some(Door::Attestation),
    ];
    doors.into_iter().flatten()
}

pub(super) fn webhook(config: &Config, intake: Intake, callers: &Callers) -> Webhook {
    Webhook {
        intake,
        senders: Arc::clone(&callers.senders),
        strangers: Arc::clone(&callers.strangers),
        trusted_hops: config.server.trusted_hops,
        body_limit: config.server.body_limit,
        rooms: Arc::clone(&callers.rooms),
    }
}

/// The codelab's path, when it is served.
pub(super) fn codelab(config: &Config) -> Option<String> {
    config.attestation.codelab.as_ref().map(|(path, _)| path.clone())
}

pub(super) fn numbers(
    store: &Arc<dyn Store>,
    worker: &Worker,
    destination: &Destination,
    poller: Option<&Poller>,
) -> Numbers {
    Numbers {
        store: Arc::clone(store),
        heartbeat: worker.heartbeat(),
        pace: Arc::clone(&destination.pace),
        read_to: poller.map(Poller::read_to),
    }
}

pub(super) fn health(
    config: &Config,
    store: &Arc<dyn Store>,
    state: Arc<dyn state::Store>,
    worker: &Worker,
    destination: Destination,
) -> Health {
    Health {
        store: Arc::clone(store),
        state: matches!(config.state.url, StateUrl::Sqlite(_)).then(|| StateHealth::new(state)),
        heartbeat: worker.heartbeat(),
        delivery: Arc::new(destination),
    }
}

/// Only in Cloud Logging's form do lines say which trace they belong to.
pub(super) fn traces(config: &Config) -> Traces {
    match config.telemetry.format {
        LogFormat::Json => Traces::of(config.scc.project.as_deref()),
        LogFormat::Text => Traces::default(),
    }
}
