//! Pulling a Pub/Sub subscription: pull, write down, acknowledge. What is in hand is bounded by one pull's size.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::attestation::Later;
use super::entries::Entries;
use super::{Door, Intake, IntakeError};
use crate::calls::pause;
use crate::causes::chain;
use crate::google::ApiError;
use crate::google::pubsub::{Client, Received};
use crate::integrity::envelope;
use crate::normalize::Element;
use crate::telemetry::metrics as names;

/// While messages are being written down, their deadline is pushed on this often, to this many seconds.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
const EXTEND_TO: u32 = 60;
/// A message whose token cannot be verified yet comes again after so many seconds.
const PUT_OFF: u32 = 10;
/// How long after a failure, doubling up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(60);
/// Messages that were too much together come again when their deadline has passed, which is 10 minutes at most. By then
/// they must not come together.
const ONE_BY_ONE: Duration = Duration::from_secs(660);

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Pub/Sub did not give messages.
    #[error("Pub/Sub could not be asked for messages")]
    Pull(#[source] ApiError),
    /// They could not be written down; Pub/Sub delivers them again.
    #[error("messages could not be written down")]
    Intake(#[source] IntakeError),
    /// They are written down but could not be acknowledged; they come again as duplicates.
    #[error("messages could not be acknowledged")]
    Acknowledge(#[source] ApiError),
}

impl PullError {
    /// All labels of the metric, beside those of what was not lost, only put off: [`Later::LABELS`].
    pub const LABELS: [&str; 3] = ["pull", "intake", "acknowledge"];

    /// The metric label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Pull(_) => "pull",
            Self::Intake(_) => "intake",
            Self::Acknowledge(_) => "acknowledge",
        }
    }
}

/// Pulls one subscription.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// The client.
    pub client: Client,
    /// `projects/P/subscriptions/S`.
    pub subscription: String,
    /// The most messages in hand.
    pub most: u32,
    /// Where entries go.
    pub intake: Intake,
    /// Reads entries.
    pub entries: Entries,
}

/// What was read of one pull, and by which ids.
#[derive(Debug, Default)]
struct Read<'r> {
    elements: Vec<Element>,
    ids: Vec<&'r str>,
    put_off: Vec<&'r str>,
    /// Why the first of these was put off.
    later: Option<Later>,
    /// What no other token could have now either.
    lacking: Option<Later>,
}

impl Subscriber {
    /// Pulls until `stop` is cancelled. What was pulled by then is still written down and acknowledged.
    pub async fn run(self, stop: CancellationToken) {
        let (mut failures, mut one_by_one) = (0_u32, None);
        while !stop.is_cancelled() {
            let most = if one_by_one.is_some_and(|until| Instant::now() < until) { 1 } else { self.most };
            // Given up in mid-wait, messages on their way come again after their deadline.
            let pulled = tokio::select! {
                pulled = self.client.pull(&self.subscription, most) => pulled,
                () = stop.cancelled() => continue,
            };
            let done = match pulled {
                Ok(messages) => self.take(&messages).await,
                Err(error) => Err(PullError::Pull(error)),
            };
            let Err(error) = done else {
                failures = 0;
                continue;
            };
            failures = failures.saturating_add(1);
            if matches!(error, PullError::Pull(ApiError::TooLarge { .. })) {
                // A single message always fits.
                one_by_one = Some(Instant::now() + ONE_BY_ONE);
            }
            metrics::counter!(names::PULL_ERRORS.name, "error" => error.label()).increment(1);
            tracing::warn!(
                subscription = self.subscription,
                error = chain(&error),
                "pulling failed and is tried again"
            );
            tokio::select! {
                () = tokio::time::sleep(pause(failures, FIRST_WAIT, LAST_WAIT, rand::random())) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn take(&self, messages: &[Received]) -> Result<(), PullError> {
        if messages.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = messages.iter().map(|received| received.ack_id.as_str()).collect();
        let taking = async {
            let read = self.read(messages, Utc::now()).await;
            self.intake.take(Door::Pubsub, read.elements).await.map(|_| (read.ids, read.put_off, read.later))
        };
        let taken = tokio::select! {
            taken = taking => taken,
            never = self.extend_for_ever(&ids) => match never {},
        };
        let (ids, put_off, later) = taken.map_err(PullError::Intake)?;
        if let Some(later) = later {
            self.put_off(&put_off, later).await;
        }
        if ids.is_empty() {
            return Ok(());
        }
        self.client.acknowledge(&self.subscription, &ids).await.map_err(PullError::Acknowledge)
    }

    /// Reads each message. Once one with a token is put off for what others need too, those are put off without
    /// asking again.
    async fn read<'r>(&self, messages: &'r [Received], now: DateTime<Utc>) -> Read<'r> {
        let mut read = Read::default();
        for received in messages {
            let item = envelope::message(&received.message);
            let elements = match read.lacking {
                Some(later) if self.entries.holds_token(&item, later == Later::Keys) => Err(later),
                _ => self.entries.elements(item, now).await,
            };
            match elements {
                Ok(elements) => {
                    read.elements.extend(elements);
                    read.ids.push(&received.ack_id);
                }
                Err(later) => {
                    read.later.get_or_insert(later);
                    // What else goes wrong is this token's alone: a key id that is not known says nothing of other keys.
                    if matches!(later, Later::Keys | Later::State) {
                        read.lacking.get_or_insert(later);
                    }
                    read.put_off.push(&received.ack_id);
                }
            }
        }
        read
    }

    async fn put_off(&self, ids: &[&str], later: Later) {
        metrics::counter!(names::PULL_ERRORS.name, "error" => later.label()).increment(1);
        tracing::warn!(messages = ids.len(), "tokens in the log cannot be verified yet: {later}");
        if let Err(error) = self.client.extend(&self.subscription, ids, PUT_OFF).await {
            tracing::warn!(error = chain(&error), "messages that were put off come again at their deadline");
        }
    }

    async fn extend_for_ever(&self, ids: &[&str]) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(EXTEND_EVERY).await;
            if let Err(error) = self.client.extend(&self.subscription, ids, EXTEND_TO).await {
                tracing::warn!(error = chain(&error), "the deadline of messages in hand could not be extended");
            }
        }
    }
}
