//! A Kubernetes object of a finding: group, kind and name as its API spells them.

use super::text::cut;
use crate::event::finding::Object;

/// The object of a kind in any case.
pub(super) fn object(kind: &str, name: &str, namespace: Option<&str>) -> Object {
    let (group, kind) = group_and_kind(kind);
    Object {
        group: group.map(str::to_owned),
        kind: Some(bounded(&kind)),
        ns: namespace.map(bounded),
        name: Some(bounded(name)),
        containers: Vec::new(),
    }
}

/// The API group and the spelling of a kind that came in any case.
fn group_and_kind(kind: &str) -> (Option<&'static str>, String) {
    const KINDS: [(&str, &str); 14] = [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("batch/v1", "CronJob"),
        ("batch/v1", "Job"),
        ("v1", "ReplicationController"),
        ("v1", "Service"),
        ("v1", "Pod"),
        ("v1", "Namespace"),
        ("v1", "ConfigMap"),
        ("v1", "Secret"),
        ("v1", "ServiceAccount"),
        ("argoproj.io/v1alpha1", "Rollout"),
    ];
    let known = KINDS.iter().find(|(_, name)| name.eq_ignore_ascii_case(kind));
    known.map_or_else(|| (None, capitalised(kind)), |(group, name)| (Some(*group), (*name).to_owned()))
}

/// Kinds begin with a capital; labels say them in lower case.
fn capitalised(kind: &str) -> String {
    let mut letters = kind.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// At most as long as a name may be.
pub(super) fn bounded(text: &str) -> String {
    cut(text, 1024).to_owned()
}
