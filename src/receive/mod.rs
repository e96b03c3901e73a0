//! The doors. All of them end in one function, [`Intake::take`].

pub mod poller;

use crate::normalize::Element;

/// Which door a delivery came in by: the metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// `POST /events`.
    Webhook,
    /// The Sysdig events API.
    Poller,
    /// Pub/Sub push or pull.
    Pubsub,
    /// An attestation request.
    Attestation,
}

/// What became of the elements of one delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Receipt {
    /// Events that are now ours to deliver.
    pub accepted: u64,
    /// Events that had been taken before.
    pub duplicates: u64,
    /// Elements that open no finding.
    pub ignored: u64,
    /// Elements that could not be read and are kept with their reason.
    pub parked: u64,
}

/// Why nothing of a delivery could be taken. The sender is told 503 and tries again.
#[derive(Debug, thiserror::Error)]
#[error("the outbox cannot take events now")]
pub struct IntakeError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The one function every door ends in: elements → durable rows. (Skeleton.)
#[derive(Debug, Clone)]
pub struct Intake {}

impl Intake {
    /// Takes every element of one delivery in one transaction; when it returns `Ok`, all of them are durable.
    pub async fn take(&self, _door: Door, _elements: Vec<Element>) -> Result<Receipt, IntakeError> {
        Ok(Receipt::default())
    }
}
