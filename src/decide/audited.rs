//! The object that a record of the Kubernetes audit log is about, under Falco's field names (`ka.*`).

use serde::Deserialize;

use super::kinds::{self, Kind};
use super::object::bounded;
use crate::event::api_path::ApiPath;
use crate::event::runtime::Runtime;
use crate::finding::{Binding, Kubernetes, Object, Role, RoleKind, Subject, SubjectKind};

/// Most subjects of one binding.
const MOST_SUBJECTS: usize = 20;

/// What the record is about. A rule prints what its author wanted to read: what it leaves out is told by other fields.
pub(super) struct Target<'e> {
    /// As the API's paths name it, or as other fields imply.
    pub(super) resource: &'e str,
    pub(super) name: Option<&'e str>,
    /// The part of the object that the request was about: `exec`, `token`.
    pub(super) subresource: Option<&'e str>,
    /// Where it lives; nothing that belongs to the whole cluster has one.
    pub(super) namespace: Option<&'e str>,
    /// `None` of what Kubernetes does not bring with it.
    pub(super) kind: Option<&'static Kind>,
    group: Option<&'e str>,
}

impl<'e> Target<'e> {
    /// `None` when the event names nothing of an API.
    pub(super) fn of(event: &'e Runtime) -> Option<Self> {
        let path = event.field("ka.uri").and_then(ApiPath::read).unwrap_or_default();
        let resource = event.field("ka.target.resource").or(path.resource).or_else(|| implied(event))?;
        // The path of a request that names another resource says nothing of this one.
        let path =
            if path.resource == Some(resource) { path } else { ApiPath { group: path.group, ..ApiPath::default() } };
        let group = Some(path.group).filter(|group| !group.is_empty());
        let kind = kinds::of_resource(resource, group);
        let config_map = || event.field("ka.req.configmap.name").filter(|_| resource == "configmaps");
        Some(Self {
            resource,
            name: event
                .field("ka.target.name")
                .or_else(|| event.field("ka.resp.name"))
                .or_else(config_map)
                .or(path.name),
            subresource: event.field("ka.target.subresource").or(path.subresource),
            namespace: event
                .field("ka.target.namespace")
                .or(path.namespace)
                .filter(|_| kind.is_none_or(|kind| kind.namespaced)),
            kind,
            group,
        })
    }
}

/// The resource, when the fields of its request tell it.
fn implied(event: &Runtime) -> Option<&'static str> {
    let told = |names: &[&str]| names.iter().any(|name| event.field(name).is_some());
    if told(&["ka.req.configmap.name", "ka.req.configmap.obj"]) {
        return Some("configmaps");
    }
    if told(&["ka.req.binding.subjects", "ka.req.binding.role"]) {
        return Some(if told(&["ka.target.namespace"]) { "rolebindings" } else { "clusterrolebindings" });
    }
    if told(&["ka.req.service.type", "ka.req.service.ports"]) {
        return Some("services");
    }
    event.kubernetes.pod.is_some().then_some("pods")
}

/// Adds the object to what is known of the event's Kubernetes; its pod stands there already.
pub(super) fn add(event: &Runtime, kubernetes: &mut Kubernetes) {
    let Some(target) = Target::of(event) else { return };
    let ns = target.namespace.map(bounded);
    let name = target.name.map(bounded);
    match (target.resource, name) {
        ("pods" | "nodes", _) => {}
        ("roles", Some(name)) => kubernetes.roles.push(Role { kind: Some(RoleKind::Role), ns, name: Some(name) }),
        ("clusterroles", Some(name)) => {
            kubernetes.roles.push(Role { kind: Some(RoleKind::ClusterRole), ns: None, name: Some(name) });
        }
        ("rolebindings" | "clusterrolebindings", name) => {
            let binding = Binding { ns, name, role: bound(event), subjects: subjects(event) };
            let known = Binding { ns: None, ..binding.clone() } != Binding::default();
            kubernetes.bindings.extend(known.then_some(binding));
        }
        (_, Some(name)) => kubernetes.objects.push(Object {
            group: target.group.or(target.kind.map(|kind| kind.group)).map(bounded),
            kind: target.kind.map(|kind| kind.name.to_owned()),
            ns,
            name: Some(name),
            containers: Vec::new(),
        }),
        (_, None) => {}
    }
}

/// The role that is bound: of the field, or the one that the rule is about.
fn bound(event: &Runtime) -> Option<Role> {
    let built_in = "cluster-admin";
    let of_rule = || event.title().filter(|title| title.contains(built_in)).map(|_| built_in);
    let name = event.field("ka.req.binding.role").or_else(of_rule)?;
    // A RoleBinding may name a ClusterRole too: then which of the two it is, the record does not say.
    let for_cluster = event.field("ka.target.resource") == Some("clusterrolebindings") || name == built_in;
    Some(Role { kind: for_cluster.then_some(RoleKind::ClusterRole), ns: None, name: Some(bounded(name)) })
}

/// A subject as the API writes it.
#[derive(Deserialize)]
struct Sent {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    namespace: Option<String>,
}

/// Who is bound: a JSON list, or the list of JSON objects that Falco writes in parentheses.
pub(super) fn subjects(event: &Runtime) -> Vec<Subject> {
    let Some(text) = event.field("ka.req.binding.subjects") else { return Vec::new() };
    let inner = text.trim().trim_start_matches(['(', '[']).trim_end_matches([')', ']']);
    let sent: Vec<Sent> = serde_json::from_str(&format!("[{inner}]")).unwrap_or_default();
    let subject = |sent: Sent| Subject {
        kind: SubjectKind::from_name(&sent.kind),
        ns: sent.namespace.as_deref().map(bounded),
        name: Some(bounded(&sent.name)),
    };
    sent.into_iter().filter(|sent| !sent.name.is_empty()).take(MOST_SUBJECTS).map(subject).collect()
}
