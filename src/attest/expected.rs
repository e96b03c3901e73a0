//! Which machines attested, and which of them are missed.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::event::attestation::{Attestation, Category, Evidence};
use crate::finding::Properties;

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
            properties: self.properties(resource, last),
        }
    }

    /// What the resource's name says, in words of their own to search by, as in a machine's other findings.
    fn properties(&self, resource: &str, last: DateTime<Utc>) -> Properties {
        let mut found = Properties::new();
        let parts: Vec<&str> = resource.split('/').collect();
        if let [.., "projects", project, "zones", zone, "instances", id] = parts.as_slice() {
            found.insert("project_id", *project);
            found.insert("zone", *zone);
            found.insert("instance_id", *id);
        }
        found.insert("last_attested", last.to_rfc3339());
        found.insert("expected_every_hours", self.hours);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_missed_until_that_is_told_and_those_without_room_are_counted() {
        let at = |hours: i64| DateTime::<Utc>::UNIX_EPOCH + chrono::TimeDelta::hours(hours);
        let named =
            Expected::every(2, 2).event("//compute.googleapis.com/projects/p/zones/z/instances/7", at(0), at(2));
        assert_eq!(["project_id", "zone", "instance_id"].map(|name| &named.properties[name]), ["p", "z", "7"]);
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
