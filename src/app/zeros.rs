//! Counters that alerts compare exist from the start, at 0. One that appears with its first event shows no increase, so
//! that the first failure alarms nobody; and an alert on silence has nothing to compare while there is silence.

use crate::integrity::answer::{Action, Ended, Reason};
use crate::outbox::StoreError;
use crate::receive::attestation::Later;
use crate::receive::pubsub_pull::PullError;
use crate::receive::{Door, pubsub_token, sender};
use crate::state::StateError;
use crate::telemetry::metrics as names;

/// How the fetches of an issuer's keys go that attestation knows.
const KEY_FETCHES: [&str; 4] = ["good", "unreachable", "status", "garbage"];

/// Why an answer to a failed boot fails, once it was tried.
const FAILURES: [Reason; 7] = [
    Reason::Gone,
    Reason::Forbidden,
    Reason::Rejected,
    Reason::OperationFailed,
    Reason::OperationSlow,
    Reason::NotConfirmed,
    Reason::Interrupted,
];

/// Shows them, for the doors that are open.
pub(super) fn show(doors: impl IntoIterator<Item = Door>) {
    for door in doors {
        for result in Door::RESULTS {
            metrics::counter!(names::RECEIVED.name, "door" => door.label(), "result" => result).increment(0);
        }
    }
    for reason in sender::Refused::LABELS {
        metrics::counter!(names::UNAUTHENTICATED.name, "reason" => reason).increment(0);
    }
    for error in StoreError::LABELS {
        metrics::counter!(names::STORE_ERRORS.name, "error" => error).increment(0);
    }
    for error in StateError::LABELS {
        metrics::counter!(names::STATE_ERRORS.name, "error" => error).increment(0);
    }
    for reason in pubsub_token::Refused::LABELS {
        metrics::counter!(names::PUSH_REFUSED.name, "reason" => reason).increment(0);
    }
    for error in PullError::LABELS.into_iter().chain(Later::LABELS) {
        metrics::counter!(names::PULL_ERRORS.name, "error" => error).increment(0);
    }
    for result in KEY_FETCHES {
        metrics::counter!(names::ATTESTATION_KEY_FETCHES.name, "result" => result).increment(0);
    }
    failed_answers();
    metrics::counter!(names::POLL_LOST.name).increment(0);
    metrics::counter!(names::SCC_BYTES.name).increment(0);
}

fn failed_answers() {
    let result = Ended::Failed.label();
    for action in Action::ALL.map(Action::label) {
        for reason in FAILURES.map(Reason::label) {
            metrics::counter!(names::INTEGRITY_ACTIONS.name, "action" => action, "result" => result, "reason" => reason)
                .increment(0);
        }
    }
}
