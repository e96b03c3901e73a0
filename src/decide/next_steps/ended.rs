//! Whether the container that the event is about is gone, because the sensor ended it.

use crate::event::Runtime;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Killed,
    Stopped,
}

/// `None` when nothing ended it, or the attempt failed.
pub(super) fn of(event: &Runtime) -> Option<End> {
    event.actions.iter().filter(|action| action.successful != Some(false)).find_map(|action| {
        let about = |word: &str| action.kind.contains("container") && action.kind.contains(word);
        match () {
            () if about("kill") => Some(End::Killed),
            () if about("stop") => Some(End::Stopped),
            () => None,
        }
    })
}

impl End {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Stopped => "stopped",
        }
    }

    pub(super) fn warning(self) -> String {
        format!(
            "Sysdig {} the container: what was in its memory and its file system may be gone; what runs now, if anything, is another one.",
            self.word()
        )
    }
}
