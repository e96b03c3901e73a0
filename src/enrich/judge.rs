//! Which of the instances that answer to a question is the event's. A finding on the wrong machine is worse than one on
//! its project, so what is not certain is nobody.

use std::net::Ipv4Addr;
use std::time::Instant;

use super::marks::SKEW;
use super::{FoundBy, Gap, Instance, Subject};
use crate::event::location::is_within;

/// What was found.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The instances that answer to the question.
    pub(super) instances: Vec<Instance>,
    /// Why there may be more of them: a project could not be asked.
    pub(super) open: Option<Gap>,
    /// Why there may be more of them in a project that has one: zones that did not answer.
    pub(super) partial: Option<Gap>,
    /// When it was asked for.
    pub(super) made: Instant,
}

impl Answer {
    /// Nobody, asked for at this time.
    pub(super) fn nobody(made: Instant) -> Self {
        Self { instances: Vec::new(), open: None, partial: None, made }
    }

    /// Whether everybody was asked, and answered.
    pub(super) fn is_whole(&self) -> bool {
        self.open.is_none() && self.partial.is_none()
    }

    /// Whether there is somebody, and nobody of them has the event's own address, or id in the place of its node. A
    /// machine that was made again has the name of the one before.
    pub(super) fn is_another(&self, by: FoundBy, subject: &Subject) -> bool {
        let another = |instance: &Instance| {
            let id = subject.instance_id.as_ref().filter(|_| by == FoundBy::Node);
            id.is_some_and(|id| *id != instance.id) || contradicts(instance, subject.address)
        };
        by != FoundBy::Id && !self.instances.is_empty() && self.instances.iter().all(another)
    }
}

/// What an answer means for one event.
#[derive(Debug, PartialEq)]
pub(super) enum Judged {
    /// It was this one. Name and address, or the cluster, say so, but a project that could not be asked may have another one
    /// of which they say the same: why that is not known.
    It(Box<Instance>, Option<Gap>),
    /// The one of that name is another machine: a sentence about it.
    Another(String),
    /// There is none.
    Nobody,
}

/// What was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) by: FoundBy,
    pub(super) text: &'a str,
    /// A zone or region that the instance must be in.
    pub(super) location: Option<&'a str>,
}

impl Asked<'_> {
    /// Whether an instance in this zone may be the one. Only an id is believed wherever it is found.
    pub(super) fn may_be_in(&self, zone: &str) -> bool {
        self.by == FoundBy::Id || self.location.is_none_or(|location| is_within(zone, location))
    }
}

/// Which one it was.
///
/// # Errors
/// When nobody can tell: of several none is certain, or a project that could not be asked may have the right one.
pub(super) fn judge(answer: &Answer, asked: Asked<'_>, subject: &Subject) -> Result<Judged, Gap> {
    let by = asked.by;
    let (open, address) = (answer.open.as_ref().or(answer.partial.as_ref()), subject.address);
    // Projects that were made alike have names and addresses in common; zones of one project hardly ever do.
    let twins = answer.open.as_ref();
    let it = |instance: &Instance, unasked: Option<&Gap>| {
        let doubt = unasked.map(|gap| Gap { text: unsure(gap, instance), ..gap.clone() });
        Ok(Judged::It(Box::new(instance.clone()), doubt))
    };
    // Nobody else has an event's own id.
    if let ([one], FoundBy::Id) = (answer.instances.as_slice(), by) {
        return it(one, None);
    }
    // One that may be it goes before any that is not.
    let (mut possible, mut others) = (Vec::new(), Vec::new());
    for instance in &answer.instances {
        match never(instance, asked, subject) {
            Some(sentence) => others.push(sentence),
            None => possible.push(instance),
        }
    }
    match (possible.as_slice(), open) {
        ([], Some(gap)) => Err(gap.clone()),
        ([], None) => Ok(others.into_iter().next().map_or(Judged::Nobody, Judged::Another)),
        // Nobody else is in the place of a node.
        ([one], _) if by == FoundBy::Node => match another_node(one, subject) {
            Some(sentence) => Ok(Judged::Another(sentence)),
            None => it(one, None),
        },
        ([one], None) if contradicts(one, address) => Ok(Judged::Another(another(one, address))),
        ([one], Some(gap)) if contradicts(one, address) => Err(gap.clone()),
        ([one], None) => it(one, None),
        ([one], Some(gap)) => match is_confirmed(one, by, subject) {
            true => it(one, twins),
            false => Err(Gap { text: doubt(gap, one), ..gap.clone() }),
        },
        (several, _) => match (with_address(several, address), open.filter(|gap| gap.transient)) {
            (Some(one), _) => it(one, twins),
            // The one with the address may be in the project that did not answer.
            (None, Some(gap)) if address.is_some() => Err(gap.clone()),
            (None, _) => Err(ambiguous(several.len(), asked.text)),
        },
    }
}

/// Why an instance cannot be the event's, whatever its addresses are: a sentence about it.
fn never(instance: &Instance, asked: Asked<'_>, subject: &Subject) -> Option<String> {
    let Instance { name, project, zone, .. } = instance;
    if let Some(location) = asked.location.filter(|location| !lies_in(instance, location)) {
        return Some(format!(
            "the instance {name} of project {project} is in {zone}, and the event's was in {location}"
        ));
    }
    if is_later(instance, subject) {
        return Some(format!("the instance {name} of project {project} was made after the event"));
    }
    // Networks have the same addresses, most of all those that were made by default.
    let cluster = subject.cluster.as_ref().filter(|_| asked.by == FoundBy::Address);
    if let Some(cluster) = cluster.filter(|its| instance.cluster.as_ref().is_some_and(|cluster| cluster.name != **its))
    {
        let address = asked.text;
        return Some(format!(
            "the instance {name} of project {project} has the address {address}, but is a node of another cluster than {cluster}"
        ));
    }
    let named = subject.instance_name.as_ref() == Some(name);
    let mac = subject.foreign_mac.as_ref().filter(|_| !named)?;
    let how = format!("the event's MAC {mac} is none of Compute Engine's");
    Some(format!("the instance {name} of project {project} is not the event's: {how}"))
}

/// Whether the instance is where the event says.
pub(super) fn lies_in(instance: &Instance, location: &str) -> bool {
    is_within(&instance.zone, location)
}

/// Whether it was made after the event, as the clocks say it: its name or address was another's before.
fn is_later(instance: &Instance, subject: &Subject) -> bool {
    instance.created.zip(subject.at).is_some_and(|(created, at)| created > at + SKEW)
}

/// A sentence about the machine of a Kubernetes node that is not the event's.
fn another_node(instance: &Instance, subject: &Subject) -> Option<String> {
    let Instance { name, project, id, .. } = instance;
    if subject.instance_id.as_ref().is_some_and(|its| its != id) {
        return Some(format!("the instance {name} of project {project} is {id}, and the event's is another"));
    }
    contradicts(instance, subject.address).then(|| another(instance, subject.address))
}

/// Whether something besides what was asked for says that it is this one. The cluster says little of an address: networks
/// that were made alike have the same, and so have clusters.
fn is_confirmed(instance: &Instance, by: FoundBy, subject: &Subject) -> bool {
    if by == FoundBy::Address {
        return false;
    }
    let address = subject.address.map(|address| address.to_string());
    let cluster = instance.cluster.as_ref().map(|cluster| &cluster.name);
    address.is_some_and(|address| instance.addresses.contains(&address))
        || (cluster.is_some() && cluster == subject.cluster.as_ref())
}

/// Whether it has internal addresses, and none of them is the one that the event's hardware address was made from.
fn contradicts(instance: &Instance, address: Option<Ipv4Addr>) -> bool {
    let other = |address: Ipv4Addr| !instance.addresses.contains(&address.to_string());
    !instance.addresses.is_empty() && address.is_some_and(other)
}

/// The only one of them that has this internal address.
fn with_address<'a>(instances: &[&'a Instance], address: Option<Ipv4Addr>) -> Option<&'a Instance> {
    let address = address?.to_string();
    let mut fitting = instances.iter().copied().filter(|instance| instance.addresses.contains(&address));
    fitting.next().filter(|_| fitting.next().is_none())
}

fn another(instance: &Instance, address: Option<Ipv4Addr>) -> String {
    let Instance { name, project, .. } = instance;
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    format!("the instance {name} of project {project} does not have the internal address {address} of the event's MAC")
}

fn doubt(gap: &Gap, instance: &Instance) -> String {
    let Instance { name, project, .. } = instance;
    format!("{}; whether it was {name} of project {project} is not known", gap.text)
}

fn unsure(gap: &Gap, instance: &Instance) -> String {
    let Instance { name, project, .. } = instance;
    format!("{}; whether there is another {name} like that of project {project} is not known", gap.text)
}

fn ambiguous(count: usize, asked: &str) -> Gap {
    let text = format!("{count} instances answer to {asked}; which one it was is not known");
    Gap { text, label: "ambiguous", transient: false, pause: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::Cluster;

    fn instance(id: &str, addresses: &[&str]) -> Instance {
        let cluster = Some(Cluster { name: "prod".into(), ..Cluster::default() });
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        Instance {
            id: id.into(),
            name: "db-1".into(),
            project: "acme".into(),
            addresses,
            cluster,
            ..Instance::default()
        }
    }

    fn gap(transient: bool) -> Gap {
        Gap { text: "acme2 was not asked".into(), label: "forbidden", transient, pause: None }
    }

    fn judged(instances: &[Instance], open: Option<bool>, by: FoundBy, subject: &Subject) -> Result<String, String> {
        let answer = Answer { instances: instances.to_vec(), open: open.map(gap), ..Answer::nobody(Instant::now()) };
        match judge(&answer, Asked { by, text: "db-1", location: None }, subject) {
            Ok(Judged::It(instance, doubt)) => {
                Ok(doubt.map_or(instance.id.clone(), |_| format!("{} likely", instance.id)))
            }
            Ok(Judged::Another(_)) => Ok("another".into()),
            Ok(Judged::Nobody) => Ok("nobody".into()),
            Err(gap) => Err(format!("{} {}", gap.text, gap.transient)),
        }
    }

    #[test]
    fn a_hit_is_taken_when_nothing_speaks_against_it_and_nobody_is_missing() {
        let (ours, unnumbered) = ([instance("1", &["10.0.0.1", "10.9.0.1"])], [instance("2", &[])]);
        let address = |text: &str| Subject { address: text.parse().ok(), ..Subject::default() };
        let plain = [Instance { cluster: None, ..instance("3", &["10.0.0.1"]) }];
        let cluster = |name: &str| Subject { cluster: Some(name.into()), ..Subject::default() };
        let in_cluster = |name: &str| Subject { cluster: Some(name.into()), ..address("10.0.0.1") };
        let doubt = |transient| {
            Err(format!("acme2 was not asked; whether it was db-1 of project acme is not known {transient}"))
        };
        let (found, lost) = (|id: &str| Ok(id.to_owned()), |transient| Err(format!("acme2 was not asked {transient}")));
        for (instances, open, by, subject, expected) in [
            (&ours[..], None, FoundBy::Name, address(""), found("1")),
            (&ours, None, FoundBy::Name, address("10.9.0.1"), found("1")),
            (&ours, None, FoundBy::Name, address("10.0.0.2"), found("another")),
            (&ours, None, FoundBy::Id, address("10.0.0.2"), found("1")),
            (&unnumbered, None, FoundBy::Name, address("10.0.0.2"), found("2")),
            (&ours, Some(true), FoundBy::Name, address(""), doubt(true)),
            (&ours, Some(false), FoundBy::Name, address(""), doubt(false)),
            (&ours, Some(false), FoundBy::Name, address("10.0.0.1"), found("1 likely")),
            (&ours, Some(true), FoundBy::Name, address("10.0.0.1"), found("1 likely")),
            (&ours, Some(true), FoundBy::Name, address("10.0.0.2"), lost(true)),
            (&ours, Some(false), FoundBy::Name, cluster("prod"), found("1 likely")),
            (&ours, Some(false), FoundBy::Name, cluster("fleet"), doubt(false)),
            (&ours, Some(false), FoundBy::Address, address("10.0.0.1"), doubt(false)),
            (&ours, Some(false), FoundBy::Address, in_cluster("prod"), doubt(false)),
            (&ours, Some(true), FoundBy::Node, address("10.0.0.1"), found("1")),
            (&ours, None, FoundBy::Address, address("10.0.0.1"), found("1")),
            (&ours, None, FoundBy::Address, in_cluster("prod"), found("1")),
            (&ours, None, FoundBy::Address, in_cluster("other"), found("another")),
            (&plain, None, FoundBy::Address, in_cluster("prod"), found("3")),
            (&plain, None, FoundBy::Name, in_cluster("prod"), found("3")),
            (&ours, Some(true), FoundBy::Id, address(""), found("1")),
            (&[], None, FoundBy::Name, address(""), found("nobody")),
            (&[], Some(true), FoundBy::Name, address(""), lost(true)),
        ] {
            assert_eq!(judged(instances, open, by, &subject), expected, "{open:?} {by:?} {subject:?}");
        }
    }

    #[test]
    fn a_zone_that_did_not_answer_may_have_another_one_of_that_name() {
        let partial = Some(Gap { label: "partial", ..gap(true) });
        let answer =
            Answer { instances: vec![instance("1", &["10.0.0.1"])], partial, ..Answer::nobody(Instant::now()) };
        assert!(!answer.is_whole());
        let asked = |by| Asked { by, text: "db-1", location: None };
        let judged = |by, subject: &Subject| judge(&answer, asked(by), subject).is_ok();
        let address = Subject { address: "10.0.0.1".parse().ok(), ..Subject::default() };
        assert!(!judged(FoundBy::Name, &Subject::default()) && !judged(FoundBy::Address, &address));
        assert!(judged(FoundBy::Id, &Subject::default()));
        // Not with the same address, too.
        let named = judge(&answer, asked(FoundBy::Name), &address);
        assert!(matches!(named, Ok(Judged::It(_, None))), "{named:?}");
    }

    #[test]
    fn of_several_only_the_address_tells_which() {
        let several = [instance("1", &["10.0.0.1"]), instance("2", &["10.0.0.2"])];
        let address = |text: &str| Subject { address: text.parse().ok(), ..Subject::default() };
        let ambiguous = || Err("2 instances answer to db-1; which one it was is not known false".to_owned());
        for (open, mac, expected) in [
            (None, "10.0.0.2", Ok("2".to_owned())),
            (Some(true), "10.0.0.2", Ok("2 likely".to_owned())),
            (Some(false), "10.0.0.2", Ok("2 likely".to_owned())),
            (None, "10.0.0.3", ambiguous()),
            (Some(false), "10.0.0.3", ambiguous()),
            (Some(true), "10.0.0.3", Err("acme2 was not asked true".to_owned())),
            (Some(true), "", ambiguous()),
        ] {
            assert_eq!(judged(&several, open, FoundBy::Name, &address(mac)), expected, "{open:?} {mac}");
        }
    }
    #[test]
    fn what_cannot_be_the_event_s_is_told_with_the_reason() {
        let placed = |id: &str, zone: &str| Instance { zone: zone.into(), ..instance(id, &[]) };
        let (here, there) = (placed("1", "us-central1-a"), placed("2", "europe-west1-b"));
        let mac = || Subject { foreign_mac: Some("00:50:56:04:07:c1".into()), ..Subject::default() };
        let labelled = || Subject { instance_name: Some("db-1".into()), ..mac() };
        let elsewhere = "the instance db-1 of project acme is in us-central1-a, and the event's was in europe-west4";
        let foreign = "the instance db-1 of project acme is not the event's: the event's MAC 00:50:56:04:07:c1 is none of Compute Engine's";
        for (instances, location, by, subject, expected) in [
            (vec![here.clone()], Some("us-central1"), FoundBy::Name, Subject::default(), "1"),
            (vec![here.clone()], Some("global"), FoundBy::Name, Subject::default(), "1"),
            (vec![here.clone(), there], Some("europe-west1"), FoundBy::Name, Subject::default(), "2"),
            (vec![here.clone()], Some("europe-west4"), FoundBy::Name, Subject::default(), elsewhere),
            (vec![here.clone()], Some("europe-west4"), FoundBy::Id, mac(), "1"),
            (vec![here.clone()], None, FoundBy::Name, mac(), foreign),
            (vec![here.clone()], None, FoundBy::NodeName, mac(), foreign),
            (vec![here], None, FoundBy::Name, labelled(), "1"),
        ] {
            let answer = Answer { instances, ..Answer::nobody(Instant::now()) };
            let told = match judge(&answer, Asked { by, text: "db-1", location }, &subject) {
                Ok(Judged::It(instance, _)) => instance.id,
                Ok(Judged::Another(sentence)) => sentence,
                other => panic!("{other:?}"),
            };
            assert_eq!(told, expected, "{location:?} {by:?} {subject:?}");
        }
    }
}
