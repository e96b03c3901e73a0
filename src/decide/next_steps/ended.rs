//! Whether the container that the event is about is gone, because the sensor ended it.

use crate::event::Runtime;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Killed,
    Stopped,
}

/// `None` when nothing ended it, the attempt failed, or nobody said whether it worked.
pub(super) fn of(event: &Runtime) -> Option<End> {
    with_result(event, Some(true))
}

/// What the reader has to know of a container that was ended, or may have been.
pub(super) fn warning(event: &Runtime) -> Option<String> {
    let certain = of(event).map(End::warning);
    certain.or_else(|| with_result(event, None).map(End::doubt))
}

fn with_result(event: &Runtime, successful: Option<bool>) -> Option<End> {
    event.actions.iter().filter(|action| action.successful == successful).find_map(|action| {
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

    fn doubt(self) -> String {
        format!(
            "The container was to be {}; whether it was is not told: what runs now may be another one, whose log begins later.",
            self.word()
        )
    }

    fn warning(self) -> String {
        format!(
            "Sysdig {} the container: what was in its memory and its file system may be gone; what runs now, if anything, is another one.",
            self.word()
        )
    }
}
