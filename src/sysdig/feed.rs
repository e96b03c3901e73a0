//! Which of the two events feeds an installation has: the public one, or, on premises before it came, the older one.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// After so many walks through the older feed the public one is asked for again: the installation may have been upgraded,
/// or a gateway may have answered in its place.
const ASK_AGAIN: u32 = 60;

/// A feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feed {
    /// `/secure/events/v1/events`, followed along `next`.
    Public,
    /// `/api/v1/secureEvents`, followed along `prev`.
    Older,
}

impl Feed {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Public => "/secure/events/v1/events",
            Self::Older => "/api/v1/secureEvents",
        }
    }
}

/// What is known of it, for all walks of a client.
#[derive(Debug, Default)]
pub(super) struct KnownFeed {
    known: AtomicU8,
    walks: AtomicU32,
}

impl KnownFeed {
    /// The feed that a new walk begins with; `None`: the public one, and the older one where that is not there.
    pub(super) fn for_a_walk(&self) -> Option<Feed> {
        match self.known.load(Ordering::Relaxed) {
            1 => Some(Feed::Public),
            2 if self.walks.fetch_add(1, Ordering::Relaxed) < ASK_AGAIN => Some(Feed::Older),
            _ => {
                self.walks.store(0, Ordering::Relaxed);
                None
            }
        }
    }

    /// This one answered. Whether that is news.
    pub(super) fn answered(&self, feed: Feed) -> bool {
        let new = if feed == Feed::Public { 1 } else { 2 };
        self.known.swap(new, Ordering::Relaxed) != new
    }

    /// The older one is not there either.
    pub(super) fn forget(&self) {
        self.known.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_one_is_used_until_it_is_gone_or_old_news() {
        let known = KnownFeed::default();
        assert_eq!(known.for_a_walk(), None);
        assert!(known.answered(Feed::Older) && !known.answered(Feed::Older));
        for _ in 0..ASK_AGAIN {
            assert_eq!(known.for_a_walk(), Some(Feed::Older));
        }
        assert_eq!(known.for_a_walk(), None, "asked for again");
        assert!(!known.answered(Feed::Older));
        assert_eq!(known.for_a_walk(), Some(Feed::Older));
        known.forget();
        assert_eq!(known.for_a_walk(), None);
        assert!(known.answered(Feed::Public));
        assert_eq!(known.for_a_walk(), Some(Feed::Public));
    }
}
