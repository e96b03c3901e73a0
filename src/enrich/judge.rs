//! Which of the instances that answer to a question is the event's. A finding on the wrong machine is worse than one on
//! its project, so what is not certain is nobody.

use std::net::Ipv4Addr;

use super::{FoundBy, Gap, Instance, Subject};

/// What was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    /// The instances that answer to the question.
    pub(super) instances: Vec<Instance>,
    /// Why there may be more of them: a project could not be asked.
    pub(super) open: Option<Gap>,
    /// Zones that did not answer.
    pub(super) unreachable: Vec<String>,
}

impl Answer {
    /// Whether everybody was asked, and answered.
    pub(super) fn is_whole(&self) -> bool {
        self.open.is_none() && self.unreachable.is_empty()
    }
}

/// What an answer means for one event.
#[derive(Debug, PartialEq)]
pub(super) enum Judged {
    /// It was this one.
    It(Box<Instance>),
    /// The one of that name is another machine: a sentence about it.
    Another(String),
    /// There is none.
    Nobody,
}

/// Which one it was.
///
/// # Errors
/// When nobody can tell: of several none is certain, or a project that could not be asked may have the right one.
pub(super) fn judge(answer: &Answer, by: FoundBy, asked: &str, subject: &Subject) -> Result<Judged, Gap> {
    let (open, address) = (answer.open.as_ref(), subject.address);
    let it = |instance: &Instance| Ok(Judged::It(Box::new(instance.clone())));
    match (answer.instances.as_slice(), open) {
        ([], None) => Ok(Judged::Nobody),
        ([], Some(gap)) => Err(gap.clone()),
        // Nobody else has its id, or its place.
        ([one], _) if matches!(by, FoundBy::Id | FoundBy::Node) => it(one),
        ([one], None) if contradicts(one, address) => Ok(Judged::Another(another(one, address))),
        ([_], Some(gap)) if contradicts(&answer.instances[0], address) => Err(gap.clone()),
        ([one], None) => it(one),
        ([one], Some(gap)) => match is_confirmed(one, by, subject) {
            true => it(one),
            false => Err(Gap { text: doubt(gap, one), ..gap.clone() }),
        },
        (several, _) => match (with_address(several, address), open.filter(|gap| gap.transient)) {
            (Some(one), _) => it(one),
            // The one with the address may be in the project that did not answer.
            (None, Some(gap)) if address.is_some() => Err(gap.clone()),
            (None, _) => Err(ambiguous(several.len(), asked)),
        },
    }
}

/// Whether something besides what was asked for says that it is this one.
fn is_confirmed(instance: &Instance, by: FoundBy, subject: &Subject) -> bool {
    let address = subject.address.filter(|_| by != FoundBy::Address).map(|address| address.to_string());
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
fn with_address(instances: &[Instance], address: Option<Ipv4Addr>) -> Option<&Instance> {
    let address = address?.to_string();
    let mut fitting = instances.iter().filter(|instance| instance.addresses.contains(&address));
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
        let answer = Answer { instances: instances.to_vec(), open: open.map(gap), unreachable: Vec::new() };
        match judge(&answer, by, "db-1", subject) {
            Ok(Judged::It(instance)) => Ok(instance.id),
            Ok(Judged::Another(_)) => Ok("another".into()),
            Ok(Judged::Nobody) => Ok("nobody".into()),
            Err(gap) => Err(format!("{} {}", gap.text, gap.transient)),
        }
    }

    #[test]
    fn a_hit_is_taken_when_nothing_speaks_against_it_and_nobody_is_missing() {
        let (ours, unnumbered) = ([instance("1", &["10.0.0.1", "10.9.0.1"])], [instance("2", &[])]);
        let address = |text: &str| Subject { address: text.parse().ok(), ..Subject::default() };
        let cluster = |name: &str| Subject { cluster: Some(name.into()), ..Subject::default() };
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
            (&ours, Some(false), FoundBy::Name, address("10.0.0.1"), found("1")),
            (&ours, Some(true), FoundBy::Name, address("10.0.0.2"), lost(true)),
            (&ours, Some(false), FoundBy::Name, cluster("prod"), found("1")),
            (&ours, Some(false), FoundBy::Name, cluster("fleet"), doubt(false)),
            (&ours, Some(false), FoundBy::Address, address("10.0.0.1"), doubt(false)),
            (&ours, Some(true), FoundBy::Id, address(""), found("1")),
            (&[], None, FoundBy::Name, address(""), found("nobody")),
            (&[], Some(true), FoundBy::Name, address(""), lost(true)),
        ] {
            assert_eq!(judged(instances, open, by, &subject), expected, "{open:?} {by:?} {subject:?}");
        }
    }

    #[test]
    fn of_several_only_the_address_tells_which() {
        let several = [instance("1", &["10.0.0.1"]), instance("2", &["10.0.0.2"])];
        let address = |text: &str| Subject { address: text.parse().ok(), ..Subject::default() };
        let ambiguous = || Err("2 instances answer to db-1; which one it was is not known false".to_owned());
        for (open, mac, expected) in [
            (None, "10.0.0.2", Ok("2".to_owned())),
            (Some(true), "10.0.0.2", Ok("2".to_owned())),
            (None, "10.0.0.3", ambiguous()),
            (Some(false), "10.0.0.3", ambiguous()),
            (Some(true), "10.0.0.3", Err("acme2 was not asked true".to_owned())),
            (Some(true), "", ambiguous()),
        ] {
            assert_eq!(judged(&several, open, FoundBy::Name, &address(mac)), expected, "{open:?} {mac}");
        }
    }
}
