//! Tokens that nobody vouched for, or that are for others: counted, and told as one finding.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::outcome::SERVICE;
use super::reason::Reason;
use crate::event::attestation::{Attestation, Category, Evidence};

/// Tokens that nobody vouched for, counted by reason; told at once and then at most once a period. When a flood stops, its
/// last count is told once the period is over.
#[derive(Debug, Default)]
pub struct Flood {
    counts: BTreeMap<&'static str, u64>,
    total: u64,
    told: Option<DateTime<Utc>>,
    /// Not before this is anything told again.
    next: Option<DateTime<Utc>>,
    /// When the last one came, if it was not told.
    untold: Option<DateTime<Utc>>,
}

impl Flood {
    /// Counts one; the answer is the event to tell, if it is time.
    pub fn note(&mut self, reason: &Reason, now: DateTime<Utc>, period: chrono::TimeDelta) -> Option<Attestation> {
        *self.counts.entry(reason.code()).or_default() += 1;
        self.total += 1;
        self.untold = Some(now);
        self.due(now, period)
    }

    /// The event to tell, if some are counted that were not told, and it is time.
    pub fn due(&mut self, now: DateTime<Utc>, period: chrono::TimeDelta) -> Option<Attestation> {
        let last = self.untold?;
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        // A finding is only changed by what is later than what it says.
        let time = self.told.map_or(last, |told| last.max(told + chrono::TimeDelta::milliseconds(1)));
        (self.told, self.next, self.untold) = (Some(now), Some(now + period), None);
        Some(self.event(time, now))
    }

    /// What was to be told could not be: it is tried again in a minute.
    pub fn put_back(&mut self, event: &Attestation) {
        self.next = self.told.map(|told| told + chrono::TimeDelta::minutes(1));
        self.untold = self.untold.max(Some(event.time));
    }

    fn event(&self, time: DateTime<Utc>, now: DateTime<Utc>) -> Attestation {
        let properties = [("reasons".into(), json!(self.counts)), ("count".into(), json!(self.total))];
        Attestation {
            category: Category::AttestationTokenInvalid,
            open: true,
            resource: None,
            subject: SERVICE.to_owned(),
            time,
            description: match self.total {
                1 => "A token was refused that no accepted issuer vouched for, or that is not for this service.".into(),
                more => format!(
                    "{more} tokens were refused that no accepted issuer vouched for, or that are not for this service."
                ),
            },
            occurrence: now.timestamp().to_string(),
            evidence: Evidence::default(),
            properties: properties.into_iter().collect(),
        }
    }
}

/// Tokens in logs that nobody vouched for. Each says how many there were; of a stretch of time only the first is kept, so
/// the last of it is told once more when the stretch is over.
#[derive(Debug, Default)]
pub struct Forged {
    count: u64,
    stretch: String,
    last: Option<Attestation>,
}

/// What tells the last of a stretch from its first.
const LAST: &str = "-last";

impl Forged {
    /// Counts one, and writes the count into it.
    pub fn note(&mut self, event: &mut Attestation) {
        self.count += 1;
        event.properties.insert("count_since_start", self.count);
        if self.stretch == event.occurrence {
            self.last = Some(event.clone());
        } else {
            self.stretch.clone_from(&event.occurrence);
            self.last = None;
        }
    }

    /// The last one of a stretch that is over, if it was not the first.
    pub fn due(&mut self, now: DateTime<Utc>, stretch: chrono::TimeDelta) -> Option<Attestation> {
        let last = self.last.take_if(|last| now - last.time >= stretch)?;
        Some(Attestation { occurrence: format!("{}{LAST}", last.occurrence), ..last })
    }

    /// What was to be told could not be. A stretch that began meanwhile tells more.
    pub fn put_back(&mut self, event: &Attestation) {
        let stretch = event.occurrence.strip_suffix(LAST).unwrap_or(&event.occurrence);
        if self.stretch == stretch && self.last.is_none() {
            self.last = Some(Attestation { occurrence: stretch.to_owned(), ..event.clone() });
        }
    }
}
