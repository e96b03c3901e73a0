//! What a finding is made of beside its entry.

use chrono::{DateTime, Utc};

use super::answer::Answer;
use super::entry::Entry;
use super::judgement::Judgement;
use super::record::Record;

/// What is known beside the entry.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// What the baselines say.
    pub judgement: Option<Judgement>,
    /// What was seen of the VM.
    pub record: Record,
    /// The VM's name, when a look-up found it.
    pub name: Option<String>,
    /// What was done about it, or is going to be.
    pub answer: Option<Answer>,
    /// When what it tells of was over, if that was before it could be told.
    pub over: Option<DateTime<Utc>>,
    /// The label that exempts a VM from being acted on, `KEY=VALUE`.
    pub exempt: Option<String>,
}

/// What the VM is called.
pub(super) fn shown(entry: &Entry, context: &Context) -> String {
    context.name.clone().unwrap_or_else(|| entry.vm.shown())
}
