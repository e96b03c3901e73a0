//! What is left alone for a while after it failed: an outage costs a call and a line in the log now and then, and not one
//! for each event.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Gap;
use crate::google::ApiError;

/// How long nothing is asked after a refusal, after a quota was used up, and after any other failure.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);
const AFTER_QUOTA: Duration = Duration::from_secs(30);
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// How long nothing is asked after this failure; one that lasts is mended by somebody.
pub(super) fn wait_after(error: &ApiError, lasts: bool) -> Duration {
    match error.retry_after() {
        // Not at once, whatever is asked.
        Some(asked) => asked.max(AFTER_FAILURE),
        None if error.is_quota() => AFTER_QUOTA,
        None if lasts => AFTER_REFUSAL,
        None => AFTER_FAILURE,
    }
}

/// Failures by what they are about: how long nothing is asked, and what stands in the findings meanwhile.
#[derive(Debug)]
pub(super) struct Pauses<K>(Mutex<HashMap<K, (Instant, Gap)>>);

impl<K> Default for Pauses<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq> Pauses<K> {
    /// Why `key` is left alone now, and how long it is still.
    pub(super) fn of<Q>(&self, key: &Q) -> Option<Gap>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, gap) = pauses.get(key)?;
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(Gap { pause: Some(left), ..gap.clone() })
    }

    /// Leaves `key` alone for a while; whether this was not told of it before.
    pub(super) fn begin(&self, key: K, wait: Duration, gap: &Gap) -> bool {
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pauses.insert(key, (Instant::now() + wait, gap.clone()));
        before.is_none_or(|(_, old)| old.text != gap.text)
    }

    /// `key` answered: what happens to it next is told again. A pause that has begun meanwhile stays.
    pub(super) fn end<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pauses.get(key).is_some_and(|(until, _)| *until <= Instant::now()) {
            pauses.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_until_it_is_over() {
        let gap = |text: &str| Gap { text: text.into(), label: "unavailable", transient: true, pause: None };
        let pauses = Pauses::<String>::default();
        assert_eq!(pauses.of("a"), None);
        assert!(pauses.begin("a".into(), Duration::from_secs(600), &gap("down")));
        assert!(!pauses.begin("a".into(), Duration::from_secs(600), &gap("down")));
        assert!(pauses.begin("a".into(), Duration::from_secs(600), &gap("refused")), "that is something else");
        let told = pauses.of("a").unwrap();
        assert!(told.text == "refused" && told.pause.is_some_and(|left| left > Duration::from_secs(500)), "{told:?}");
        assert_eq!(pauses.of("b"), None);
        pauses.end("a");
        assert!(pauses.of("a").is_some(), "who answered was asked before");
        assert!(!pauses.begin("a".into(), Duration::ZERO, &gap("refused")));
        assert_eq!(pauses.of("a"), None, "it is asked again at once");
        pauses.end("a");
        assert!(pauses.begin("a".into(), Duration::ZERO, &gap("refused")), "it is over, and begins again");
    }
}
