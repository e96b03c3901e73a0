//! What Compute Engine is asked for an event's instance, the surest first.

use super::judge::Asked;
use super::subject::{is_gke_node, machine_name};
use super::{Enriched, FoundBy, Node, Subject};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) by: FoundBy,
    pub(super) text: String,
    /// A zone or region that the instance must be in.
    pub(super) location: Option<String>,
    pub(super) projects: Vec<String>,
}

impl Question {
    /// As those that answer are judged by.
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked { by: self.by, text: &self.text, location: self.location.as_deref() }
    }

    /// Whether a full host name is asked for: an instance may have been given one, which no filter finds.
    pub(super) fn is_for_host(&self) -> bool {
        matches!(self.by, FoundBy::Name | FoundBy::NodeName) && self.text.contains('.')
    }
}

/// What to ask, the surest first.
pub(super) fn questions(subject: &Subject, found: &Enriched, projects: &[String]) -> Vec<Question> {
    let ask = |by, text: String| Question { by, text, location: subject.location.clone(), projects: projects.to_vec() };
    let mut all = Vec::new();
    if !projects.is_empty() {
        all.extend(subject.instance_id.clone().map(|id| ask(FoundBy::Id, id)));
    }
    if let Some([project, zone, name]) = found.node.as_ref().and_then(Node::machine) {
        let (projects, location) = (vec![project.to_owned()], Some(zone.to_owned()));
        all.push(Question { by: FoundBy::Node, text: name.to_owned(), location, projects });
    }
    if !projects.is_empty() {
        all.extend(names(subject, found).into_iter().map(|(by, name)| ask(by, name)));
        all.extend(lone_address(subject).map(|address| ask(FoundBy::Address, address)));
    }
    all
}

/// The question for the instance that the event's host calls itself.
pub(super) fn for_host(host: &str, subject: &Subject, projects: &[String]) -> Question {
    let (location, projects) = (subject.location.clone(), projects.to_vec());
    Question { by: FoundBy::Name, text: host.to_owned(), location, projects }
}

/// The address, where the event has no name that is its instance's: that one would be found by it, and whoever has the
/// address under another name is another machine, of a network with the same addresses. A host may call itself anything,
/// but only a node of GKE is called as one.
fn lone_address(subject: &Subject) -> Option<String> {
    let named = subject.instance_name.is_some() || subject.node.is_some();
    let named = named || subject.host_name.as_deref().is_some_and(is_gke_node);
    subject.address.filter(|_| !named).map(|address| address.to_string())
}

/// What the instance may be called, the surest first: a host may call itself anything, a node is called as its instance.
fn names(subject: &Subject, found: &Enriched) -> Vec<(FoundBy, String)> {
    // Where the pod is now is not where it was, if the event says that.
    let now = || found.workload.as_ref().map(|workload| workload.node.as_str()).filter(|_| !subject.remote);
    let node = subject.node.as_deref().or_else(now).and_then(machine_name);
    let mut names: Vec<(FoundBy, String)> = Vec::new();
    for (by, name) in [
        (FoundBy::Name, subject.instance_name.clone()),
        (FoundBy::NodeName, node),
        (FoundBy::Name, subject.host_name.clone()),
    ] {
        let name = name.filter(|name| names.iter().all(|(_, known)| known != name));
        names.extend(name.map(|name| (by, name)));
    }
    names
}

/// A sentence about what was asked for in vain.
pub(super) fn not_found(questions: &[&Question]) -> String {
    let tried: Vec<String> = questions
        .iter()
        .map(|question| {
            let by = match question.by {
                FoundBy::Id => "the id",
                _ if question.is_for_host() => "the host name",
                FoundBy::Node | FoundBy::NodeName | FoundBy::Name => "the name",
                FoundBy::Address => "the address",
            };
            format!("{by} {}", question.text)
        })
        .collect();
    let projects = questions.first().map(|question| question.projects.join(", ")).unwrap_or_default();
    format!("Compute Engine has no instance with {} in {projects}", tried.join(" or "))
}
