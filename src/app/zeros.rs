//! Counters that alerts compare exist from the start, at 0. One that appears with its first event shows no increase, so
//! that the first failure alarms nobody; and an alert on silence has nothing to compare while there is silence.

use crate::outbox::StoreError;
use crate::receive::{Door, sender};
use crate::telemetry::metrics as names;

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
    metrics::counter!(names::SCC_BYTES.name).increment(0);
    metrics::gauge!(names::PACE_WAITING.name).set(0.0);
}
