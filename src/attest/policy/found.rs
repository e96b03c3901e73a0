//! Remarks about a policy, as they are found.

use std::collections::HashSet;

use serde::Serialize;

use crate::attest::cel::node::ClaimPath;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Note,
    /// It lets in, or shuts out, what is probably not meant.
    Warning,
    /// It can never do what it says.
    Error,
}

/// One remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// How bad.
    pub level: Level,
    /// The rule's name.
    pub rule: &'static str,
    /// What is wrong, with the place.
    pub message: String,
    /// Why it matters, and what to write instead.
    pub why: &'static str,
}

/// What was found so far, and what that is found in.
pub(super) struct Found {
    pub(super) remarks: Vec<Remark>,
    pub(super) claims: Vec<ClaimPath>,
    /// Whether it is about Google's tokens, whose claims are known.
    pub(super) google: bool,
    /// Those of which it was told already that they never have the value that they are compared with.
    pub(super) compared: HashSet<ClaimPath>,
}

impl Found {
    pub(super) fn add(&mut self, level: Level, rule: &'static str, message: impl Into<String>, why: &'static str) {
        self.remarks.push(Remark { level, rule, message: message.into(), why });
    }
}
