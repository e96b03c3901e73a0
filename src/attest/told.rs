//! What is counted instead of told, and which machines are missed.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde_json::json;

use super::outcome::SERVICE;
use super::reason::Reason;
use crate::event::Properties;
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
            description: format!(
                "{} tokens were refused that no accepted issuer vouched for, or that are not for this service.",
                self.total
            ),
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
        Some(Attestation { occurrence: format!("{}-last", last.occurrence), ..last })
    }
}

/// The machines that attested, and when they are missed.
#[derive(Debug)]
pub struct Expected {
    hours: u32,
    most: usize,
    machines: HashMap<String, DateTime<Utc>>,
    /// How many attestations were of machines that there was no room for.
    unwatched: u64,
}

/// What an attestation is for the missing of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// No machine is missed.
    Off,
    /// This one will be missed.
    On,
    /// There is no room for more machines: this one will not be missed. Whether it is the first such.
    Full(bool),
}

impl Expected {
    /// Misses a machine after so many hours; 0 never. Of so many machines at most.
    pub fn every(hours: u32, most: usize) -> Self {
        Self { hours, most, machines: HashMap::new(), unwatched: 0 }
    }

    /// A machine attested.
    pub fn seen(&mut self, resource: &str, now: DateTime<Utc>) -> Watch {
        if self.hours == 0 {
            return Watch::Off;
        }
        if self.machines.len() >= self.most && !self.machines.contains_key(resource) {
            self.unwatched += 1;
            return Watch::Full(self.unwatched == 1);
        }
        self.machines.insert(resource.to_owned(), now);
        Watch::On
    }

    /// The machines that are missed now. Each is told until [`Expected::told`] says that it was.
    pub fn missed(&self, now: DateTime<Utc>) -> Vec<Attestation> {
        let bound = chrono::TimeDelta::hours(i64::from(self.hours));
        let late = self.machines.iter().filter(|(_, last)| self.hours > 0 && now - **last >= bound);
        late.map(|(resource, last)| self.event(resource, *last, now)).collect()
    }

    /// That a machine is missed was told: it is not told again until it attests again.
    pub fn told(&mut self, event: &Attestation) {
        let last = self.machines.get(&event.subject);
        // One that attested meanwhile is not missed any more.
        if last.is_some_and(|last| last.timestamp().to_string() == event.occurrence) {
            self.machines.remove(&event.subject);
        }
    }

    fn event(&self, resource: &str, last: DateTime<Utc>, now: DateTime<Utc>) -> Attestation {
        Attestation {
            category: Category::AttestationMissing,
            open: true,
            resource: Some(resource.to_owned()),
            subject: resource.to_owned(),
            time: now,
            description: format!(
                "The last good attestation was at {}; one is expected every {} hours.",
                last.to_rfc3339(),
                self.hours
            ),
            occurrence: last.timestamp().to_string(),
            evidence: Evidence::default(),
            properties: Properties::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_missed_until_that_is_told_and_those_without_room_are_counted() {
        let at = |hours: i64| DateTime::<Utc>::UNIX_EPOCH + chrono::TimeDelta::hours(hours);
        let mut expected = Expected::every(2, 2);
        assert_eq!([expected.seen("a", at(0)), expected.seen("b", at(1))], [Watch::On; 2]);
        assert_eq!([expected.seen("c", at(1)), expected.seen("d", at(1))], [Watch::Full(true), Watch::Full(false)]);
        let subjects = |missed: &[Attestation]| missed.iter().map(|event| event.subject.clone()).collect::<Vec<_>>();
        let missed = expected.missed(at(2));
        assert_eq!(subjects(&missed), ["a"]);
        assert_eq!(expected.missed(at(2)), missed, "it could not be written down");
        expected.told(&missed[0]);
        assert!(expected.missed(at(2)).is_empty());
        let missed = expected.missed(at(3));
        assert_eq!(subjects(&missed), ["b"]);
        assert_eq!(expected.seen("b", at(4)), Watch::On, "while it was being told");
        expected.told(&missed[0]);
        assert_eq!(subjects(&expected.missed(at(6))), ["b"]);
        assert_eq!(expected.seen("c", at(6)), Watch::On, "there is room again");
        assert_eq!(Expected::every(0, 2).seen("a", at(0)), Watch::Off);
    }
}
