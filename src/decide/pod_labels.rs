//! The labels of a pod that a sensor tells in one field.

use super::object::bounded;
use crate::event::runtime::Runtime;
use crate::finding::Label;
use crate::text::names;
use crate::text::secrets::{HIDDEN, is_secret};
use crate::text::shown;

/// Most labels of one pod.
const MOST: usize = 32;

/// The labels in `k8s.pod.labels`: `app:web,tier:fe`, or a list of such.
pub(super) fn of(event: &Runtime) -> Vec<Label> {
    let told = event.field("k8s.pod.labels").or_else(|| event.field("k8smeta.pod.labels")).unwrap_or_default();
    names::listed(told).filter_map(label).take(MOST).collect()
}

fn label(item: &str) -> Option<Label> {
    let around = |c: char| matches!(c, '{' | '}' | '"' | ' ');
    let (name, value) = item.split_once([':', '='])?;
    let (name, value) = (name.trim_matches(around), value.trim_matches(around));
    let value = if is_secret(name) { HIDDEN.into() } else { shown(value) };
    (!name.is_empty()).then(|| Label { name: Some(bounded(name)), value: Some(bounded(&value)) })
}
