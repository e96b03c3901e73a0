//! A Kubernetes object of a finding: group, kind and name as its API spells them.

use super::kinds;
use crate::finding::Object;
use crate::text::cut;

/// The object of a kind in any case.
pub(super) fn object(kind: &str, name: &str, namespace: Option<&str>) -> Object {
    let known = kinds::of_name(kind);
    Object {
        group: known.map(|known| known.group.to_owned()),
        kind: Some(known.map_or_else(|| bounded(&capitalised(kind)), |known| known.name.to_owned())),
        ns: namespace.map(bounded),
        name: Some(bounded(name)),
        containers: Vec::new(),
    }
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
