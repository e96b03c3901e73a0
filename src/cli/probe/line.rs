//! One line of what `check` found.

use serde::Serialize;

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// What was looked at.
    pub(crate) what: String,
    /// How it stands.
    pub(crate) state: State,
    /// What was found.
    pub(crate) found: String,
    /// The command, role or setting that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

/// How a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// All is well.
    Ok,
    /// The connector works, but not as it could.
    Warning,
    /// The connector, or a part of it that was asked for, will not work.
    Failed,
}
