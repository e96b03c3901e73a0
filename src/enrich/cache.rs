//! A cache for look-ups: bounded in size and age, misses kept for less long, one look-up at a time for one key.

use std::borrow::Borrow;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;

use crate::config::enrich::Keep;

/// A cache of `V` by `K`. Failures are not kept.
#[derive(Clone)]
pub struct Lookups<K, V> {
    cache: Cache<K, Option<Arc<V>>>,
}

impl<K, V> Debug for Lookups<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lookups")
    }
}

struct ByResult<V> {
    keep: Keep,
    whole: fn(&V) -> bool,
}

impl<K, V> Expiry<K, Option<Arc<V>>> for ByResult<V> {
    fn expire_after_create(&self, _: &K, value: &Option<Arc<V>>, _: Instant) -> Option<Duration> {
        let whole = value.as_ref().is_some_and(|value| (self.whole)(value));
        Some(if whole { self.keep.found } else { self.keep.missed })
    }
}

impl<K, V> Lookups<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// An empty cache.
    pub fn new(keep: Keep) -> Self {
        Self::judged(keep, |_| true)
    }

    /// An empty cache that keeps what is not `whole`, though found, no longer than a miss.
    pub fn judged(keep: Keep, whole: fn(&V) -> bool) -> Self {
        let expiry = ByResult { keep, whole };
        Self { cache: Cache::builder().max_capacity(keep.entries).expire_after(expiry).build() }
    }

    /// Whoever asks next looks up.
    pub async fn forget<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.cache.invalidate(key).await;
    }

    /// What is known of `key`, else what `look_up` finds. Those who ask while a look-up runs wait for it. It goes on
    /// when nobody waits any more, so that the next to ask has the answer.
    pub async fn find<Q, E, F>(&self, key: &Q, look_up: impl FnOnce(K) -> F) -> Result<Option<Arc<V>>, Arc<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Debug + Send + Sync + 'static,
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        if let Some(known) = self.cache.get(key).await {
            return Ok(known);
        }
        let (cache, key) = (self.cache.clone(), key.to_owned());
        let look_up = look_up(key.clone());
        let task = tokio::spawn(async move {
            cache.try_get_with(key, async move { Ok::<_, E>(look_up.await?.map(Arc::new)) }).await
        });
        match task.await {
            Ok(answer) => answer,
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The program is ending.
                Err(_) => Ok(None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn lookups(missed: Duration) -> Lookups<u32, String> {
        Lookups::new(Keep { found: Duration::from_secs(600), missed, entries: 10 })
    }

    async fn find(
        cache: &Lookups<u32, String>,
        calls: &Arc<AtomicU32>,
        answer: Result<Option<String>, String>,
    ) -> Result<Option<Arc<String>>, Arc<String>> {
        let calls = Arc::clone(calls);
        let look_up = |_| async move {
            calls.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            answer
        };
        cache.find(&7, look_up).await
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cause_one_look_up() {
        let (cache, calls) = (lookups(Duration::from_secs(60)), Arc::default());
        let all = futures_util::future::join_all((0..50).map(|_| find(&cache, &calls, Ok(Some("x".into()))))).await;
        assert!(all.iter().all(|one| one.as_ref().unwrap().as_ref().unwrap().as_str() == "x"));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_miss_is_kept_for_less_long_and_a_failure_not_at_all() {
        let calls = Arc::default();
        let cache = lookups(Duration::ZERO);
        for _ in 0..2 {
            assert_eq!(find(&cache, &calls, Ok(None)).await, Ok(None));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        let cache = lookups(Duration::from_secs(60));
        assert!(find(&cache, &calls, Err("no".into())).await.is_err());
        assert_eq!(find(&cache, &calls, Ok(None)).await, Ok(None));
        assert_eq!(find(&cache, &calls, Ok(None)).await, Ok(None));
        assert_eq!(calls.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn what_is_not_whole_is_kept_like_a_miss() {
        let keep = Keep { found: Duration::from_secs(600), missed: Duration::ZERO, entries: 10 };
        let (cache, calls) = (Lookups::judged(keep, |text: &String| text != "half"), Arc::default());
        for answer in ["half", "half", "whole", "never asked for"] {
            assert!(find(&cache, &calls, Ok(Some(answer.into()))).await.unwrap().is_some());
        }
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }
}
