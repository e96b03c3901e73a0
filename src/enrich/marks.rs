//! Whether the pod or node that the API server knows by a name is the event's. A pod that moved keeps its name, and so does
//! one of another cluster; what the event says of itself tells them apart.

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::subject::{is_gke_node, is_number, is_of_another_cloud, machine_name};
use super::{Enriched, FoundBy, Gap, Instance, Node, Subject, Workload};
use crate::event::location::is_within;

/// How far the clocks of a sensor and of Google may be apart: what was made later than an event by less may be the event's.
pub(super) const SKEW: TimeDelta = TimeDelta::minutes(3);

/// How much later than the container's first sign of life its start may be written down.
const START_TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// How long a container that has just started may be unknown to the API server.
const SETTLED: TimeDelta = TimeDelta::seconds(30);

/// So many digits of a container's id are its own.
const SHORTEST_ID: usize = 12;

/// What tells one pod of a name from another.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    created: Option<DateTime<Utc>>,
    containers: Vec<Lives>,
}

/// A container of a pod: what runs, and what ran before.
#[derive(Debug, Clone, Default)]
struct Lives {
    name: String,
    restarted: bool,
    known: Vec<Life>,
}

#[derive(Debug, Clone, Default)]
struct Life {
    id: String,
    started: Option<DateTime<Utc>>,
}

impl Marks {
    pub(super) fn new(created: Option<&Time>, statuses: &[ContainerStatus]) -> Self {
        Self { created: created.and_then(time), containers: statuses.iter().map(lives).collect() }
    }

    /// Why this pod, found as `workload` when it was `read`, cannot be the event's: the end of a sentence about it.
    pub(super) fn contradiction(&self, workload: &Workload, subject: &Subject, read: DateTime<Utc>) -> Option<String> {
        if subject.at.zip(self.created).is_some_and(|(at, created)| created > at + SKEW) {
            return Some("was created after the event".into());
        }
        // A pod never changes its node.
        let node = |node: &&String| !workload.node.is_empty() && **node != workload.node;
        if let Some(node) = subject.node.as_ref().filter(node) {
            return Some(format!("is on {}, and the event's was on {node}", workload.node));
        }
        if subject.elsewhere && is_gke_node(&workload.node) {
            return Some(format!("is on {}, a node of GKE, and the event's cloud is another", workload.node));
        }
        self.lacks_container(subject, read).then(|| "has no container with the event's container id".into())
    }

    /// Whether the container of the event is one of the pod's, or was.
    pub(super) fn has_container(&self, subject: &Subject) -> bool {
        let id = subject.container_id.as_deref().filter(|id| is_id(id));
        id.is_some_and(|id| self.containers.iter().flat_map(|container| &container.known).any(|life| life.is(id)))
    }

    /// Whether the container of the event was none of the pod's at that time.
    fn lacks_container(&self, subject: &Subject, read: DateTime<Utc>) -> bool {
        let Some((_, at)) = subject.container_id.as_deref().filter(|id| is_id(id)).zip(subject.at) else {
            return false;
        };
        if read < at + SETTLED {
            return false;
        }
        if self.has_container(subject) {
            return false;
        }
        // One that is named and not listed may be an ephemeral one.
        let named = |container: &&Lives| subject.container.as_ref().is_none_or(|name| *name == container.name);
        let mut may_be = self.containers.iter().filter(named).peekable();
        may_be.peek().is_some() && may_be.all(|container| container.is_known_at(at))
    }
}

impl Lives {
    /// Whether it is known which container this was at a time: what ran before the last one is not.
    fn is_known_at(&self, at: DateTime<Utc>) -> bool {
        match self.restarted {
            false => !self.known.is_empty(),
            true => self.known.iter().any(|life| life.started.is_some_and(|started| started + START_TOLERANCE <= at)),
        }
    }
}

impl Life {
    fn is(&self, id: &str) -> bool {
        let (short, long) = if id.len() < self.id.len() { (id, self.id.as_str()) } else { (self.id.as_str(), id) };
        short.len() >= SHORTEST_ID && long.get(..short.len()).is_some_and(|long| long.eq_ignore_ascii_case(short))
    }
}

fn is_id(text: &str) -> bool {
    text.len() >= SHORTEST_ID && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn lives(status: &ContainerStatus) -> Lives {
    let started = |state: &Option<ContainerState>| {
        let state = state.as_ref()?;
        let running = state.running.as_ref().and_then(|running| running.started_at.as_ref());
        running.or_else(|| state.terminated.as_ref().and_then(|ended| ended.started_at.as_ref())).and_then(time)
    };
    let before = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let now = (status.container_id.as_deref(), started(&status.state));
    let before = (before.and_then(|ended| ended.container_id.as_deref()), started(&status.last_state));
    let known = [now, before].into_iter().filter_map(|(id, started)| {
        let id = id?.rsplit('/').next().filter(|id| !id.is_empty())?.to_owned();
        Some(Life { id, started })
    });
    Lives { name: status.name.clone(), restarted: status.restart_count > 0, known: known.collect() }
}

fn time(time: &Time) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.0.as_second(), 0)
}

/// Why a node cannot be the event's: the end of a sentence about it.
pub(super) fn another_node(node: &Node, subject: &Subject) -> Option<String> {
    let differs = |ours: &Option<String>, its: &str| !its.is_empty() && ours.as_deref().is_some_and(|ours| ours != its);
    if differs(&subject.instance_id, &node.instance_id) {
        return Some(format!("is the instance {}, and the event's is another", node.instance_id));
    }
    if subject.instance_id.as_ref().is_some_and(|id| *id == node.instance_id) {
        return None;
    }
    if let Some(how) = misplaced(node, subject) {
        return Some(how);
    }
    if let Some([_, _, name]) = node.machine()
        && differs(&subject.instance_name, name)
    {
        return Some(format!("is the instance {name}, and the event's is another"));
    }
    if let Some(mac) =
        subject.foreign_mac.as_ref().filter(|_| node.machine().is_some() && subject.instance_name.is_none())
    {
        return Some(format!("is a machine of Compute Engine, which the event's MAC {mac} is not of"));
    }
    let address = subject.address?.to_string();
    (!node.addresses.is_empty() && !node.addresses.contains(&address))
        .then(|| format!("does not have the internal address {address} of the event's MAC"))
}

/// Why a node that is a machine of Compute Engine is not where the event was: the end of a sentence about it. Networks have
/// the same addresses, and projects the same names. Whose number a project's is has to be looked up.
fn misplaced(node: &Node, subject: &Subject) -> Option<String> {
    let [project, zone, _] = node.machine()?;
    if subject.elsewhere {
        return Some("is a machine of Compute Engine, and the event's cloud is another".into());
    }
    if let Some(its) = subject.project.as_ref().filter(|its| !is_number(its) && **its != project) {
        return Some(in_project(project, its));
    }
    if let Some(location) = subject.location.as_ref().filter(|location| !is_within(zone, location)) {
        return Some(format!("is in {zone}, and the event's was in {location}"));
    }
    let host = foreign_host(subject).filter(|_| subject.instance_name.is_none())?;
    let own = subject.address.is_some_and(|address| node.addresses.contains(&address.to_string()));
    (!own).then(|| format!("is a machine of Compute Engine, and the event's host {host} is another cloud's"))
}

/// The end of a sentence about a node in another project than the event's.
pub(super) fn in_project(project: &str, named: &str) -> String {
    format!("is in the project {project}, and the event's was in {named}")
}

/// What the event's host calls itself, when another cloud calls its machines so.
fn foreign_host(subject: &Subject) -> Option<&str> {
    subject.host_name.as_deref().filter(|host| is_of_another_cloud(host))
}

/// Whether the event itself says that it was on this node, whatever its host calls itself.
pub(super) fn is_its_node(node: &Node, subject: &Subject) -> bool {
    let is = |ours: &Option<String>, its: Option<&str>| ours.is_some() && ours.as_deref() == its;
    is(&subject.instance_id, Some(&node.instance_id))
        || is(&subject.instance_name, node.machine().map(|[_, _, name]| name))
        || subject.address.is_some_and(|address| node.addresses.contains(&address.to_string()))
}

/// What the event's host calls itself, when it is not called as the node that the pod is on now. Whether that is another
/// machine is to be looked up.
pub(super) fn other_host<'a>(workload: &Workload, subject: &'a Subject) -> Option<&'a str> {
    let named_otherwise = |host: &&String| machine_name(&workload.node).is_some_and(|node| node != **host);
    let host = subject.host_name.as_ref().filter(named_otherwise)?;
    (subject.node.is_none() && !subject.remote).then_some(host)
}

/// The end of a sentence about a pod that is on another node than the event's host.
pub(super) fn is_elsewhere(workload: &Workload, host: &str) -> String {
    format!("is on {}, and the event's host is {host}", workload.node)
}

/// Takes back the pod that is not on the event's host, and its node.
pub(super) fn leave_pod(found: &mut Enriched, host: &str) -> Option<Gap> {
    let workload = found.workload.take()?;
    found.node = None;
    Some(another(format!("pod {}/{}", workload.namespace, workload.pod), &is_elsewhere(&workload, host)))
}

/// The label of what has the name, and is not the event's.
pub(super) const ANOTHER: &str = "another";

/// Told of what has the name, and is not the event's.
pub(super) fn another(what: String, how: &str) -> Gap {
    let text = format!("the {what} that the Kubernetes API server knows is not the event's: it {how}");
    Gap { text, label: ANOTHER, transient: false, pause: None }
}

/// When the machine that a pod of that name is on is another cloud's than the event's host: nothing is said of the pod, nor of
/// its node. What a sensor calls its cluster may be any word, and does not count: `KUBERNETES_CLUSTER` tells which events
/// are asked about.
pub(super) fn not_in(instance: &Instance, by: FoundBy, subject: &Subject, found: &mut Enriched) -> Option<Gap> {
    let of_pod = matches!(by, FoundBy::Node | FoundBy::NodeName) && subject.node.is_none() && !found.pod_is_sure;
    let workload = found.workload.as_ref().filter(|_| of_pod)?;
    let is = |ours: &Option<String>, its: &str| ours.as_deref() == Some(its);
    let (name, id) = (&instance.name, &instance.id);
    let addressed = subject.address.is_some_and(|address| instance.addresses.contains(&address.to_string()));
    if addressed || is(&subject.instance_id, id) || is(&subject.instance_name, name) || is(&subject.host_name, name) {
        return None;
    }
    let how = is_elsewhere(workload, foreign_host(subject)?);
    let gap = another(format!("pod {}/{}", workload.namespace, workload.pod), &how);
    (found.node, found.workload) = (None, None);
    Some(gap)
}

/// Takes back what a node says that is not the event's, and the pod on it.
pub(super) fn leave_node(found: &mut Enriched, subject: &Subject) {
    if let Some(node) = found.node.take()
        && subject.node.as_ref() != Some(&node.name)
    {
        found.workload = None;
    }
}

/// When the event's instance is not the node that Kubernetes named: nothing is said of that node, nor of the pod on it.
pub(super) fn not_on(instance: &Instance, by: FoundBy, found: &mut Enriched) -> Option<Gap> {
    let node = found.node.as_ref().filter(|_| by == FoundBy::Id)?;
    let [_, zone, name] = node.machine().filter(|[_, zone, name]| instance.zone != *zone || instance.name != *name)?;
    let text = format!("the node {name} in {zone} that Kubernetes names is not the event's instance {}", instance.id);
    (found.node, found.workload) = (None, None);
    Some(Gap { text, label: "another", transient: false, pause: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn container(name: &str, known: &[(&str, i64)], restarted: bool) -> Lives {
        let life = |(id, started): &(&str, i64)| Life { id: id.repeat(64), started: Some(at(*started)) };
        Lives { name: name.into(), restarted, known: known.iter().map(life).collect() }
    }

    fn subject(container: Option<&str>, id: &str) -> Subject {
        Subject {
            at: Some(at(0)),
            container: container.map(str::to_owned),
            container_id: Some(id.repeat(12)),
            ..Subject::default()
        }
    }

    #[test]
    fn a_container_that_the_pod_never_had_is_told_from_one_that_it_may_have_had() {
        let (web, proxy) = (|known: &[(&str, i64)]| container("web", known, true), || container("proxy", &[], false));
        for (containers, named, expected) in [
            (vec![container("web", &[("a", -60)], false)], Some("web"), false),
            (vec![container("web", &[("b", -60)], false)], Some("web"), true),
            (vec![container("web", &[("b", -60)], false)], None, true),
            // It began again since, and what ran at the time is the one before, or one that is not told any more.
            (vec![web(&[("b", 60), ("a", -60)])], Some("web"), false),
            (vec![web(&[("b", 60), ("c", -60)])], Some("web"), true),
            (vec![web(&[("b", 60), ("c", 30)])], Some("web"), false),
            (vec![web(&[("b", -2), ("c", 600)])], Some("web"), false),
            // Nothing is said of the container that it may have been.
            (vec![container("web", &[("b", -60)], false), proxy()], None, false),
            (vec![container("web", &[("b", -60)], false), proxy()], Some("web"), true),
            (vec![container("web", &[("b", -60)], false), proxy()], Some("proxy"), false),
            // An ephemeral one stands elsewhere.
            (vec![container("web", &[("b", -60)], false)], Some("debugger"), false),
            (vec![], None, false),
        ] {
            let marks = Marks { created: None, containers };
            assert_eq!(marks.lacks_container(&subject(named, "a"), at(3600)), expected, "{named:?} {marks:?}");
            assert!(!marks.lacks_container(&subject(named, "a"), at(5)), "it may have begun a moment ago");
        }
        let marks = Marks { created: None, containers: vec![container("web", &[("b", -60)], false)] };
        assert!(!marks.lacks_container(&Subject { container_id: Some("host".into()), ..subject(None, "a") }, at(3600)));
    }

    #[test]
    fn a_pod_made_after_the_event_or_on_another_node_is_another() {
        let workload = Workload { node: "n1".into(), ..Workload::default() };
        let marks = |second| Marks { created: Some(at(second)), containers: Vec::new() };
        let on = |node: &str| Subject { node: Some(node.into()), ..subject(None, "a") };
        for (created, node, expected) in [(-60, "n1", false), (60, "n1", false), (181, "n1", true), (-60, "n2", true)] {
            let told = marks(created).contradiction(&workload, &on(node), at(3600));
            assert_eq!(told.is_some(), expected, "{created} {node}");
        }
        assert_eq!(marks(600).contradiction(&workload, &Subject::default(), at(3600)), None, "an event without a time");
    }
}
