use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;

use super::marks::KIND;
use super::*;
use crate::state::{Body, Document, Expected, Listing, Page, Version, sqlite::SqliteStore};

/// A store that does what it is asked and, while it is deaf, does not say so; while it is slow, it says so in a minute.
#[derive(Debug)]
struct Mute {
    inner: SqliteStore,
    deaf: AtomicBool,
    slow: AtomicBool,
    /// Deaf when it writes over what is there.
    deaf_over: AtomicBool,
}

impl Mute {
    async fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: SqliteStore::in_memory().unwrap(),
            deaf: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            deaf_over: AtomicBool::new(false),
        })
    }

    async fn said<T>(&self, result: Result<T, StateError>) -> Result<T, StateError> {
        if self.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        self.heard(result)
    }

    fn deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    fn heard<T>(&self, result: Result<T, StateError>) -> Result<T, StateError> {
        if self.deaf.load(Ordering::SeqCst) { Err(Self::lost()) } else { result }
    }

    fn lost() -> StateError {
        StateError::Unavailable { place: "here".into(), after: None, source: "no answer".into() }
    }
}

impl Store for Mute {
    fn read<'a>(&'a self, kind: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Document>, StateError>> {
        Box::pin(async move { self.heard(self.inner.read(kind, key).await) })
    }

    fn write<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        body: &'a Body,
        expected: Expected,
    ) -> BoxFuture<'a, Result<Version, StateError>> {
        Box::pin(async move {
            let over = expected == Expected::Any;
            let written = self.said(self.inner.write(kind, key, body, expected).await).await;
            if over && self.deaf_over.load(Ordering::SeqCst) { Err(Self::lost()) } else { written }
        })
    }

    fn remove<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        expected: Expected,
    ) -> BoxFuture<'a, Result<bool, StateError>> {
        Box::pin(async move { self.heard(self.inner.remove(kind, key, expected).await) })
    }

    fn list<'a>(&'a self, kind: &'a str, page: Page) -> BoxFuture<'a, Result<Listing, StateError>> {
        self.inner.list(kind, page)
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StateError>> {
        self.inner.ping()
    }
}

fn replicas(store: &Arc<Mute>) -> [Arc<Used>; 2] {
    [(); 2].map(|()| Arc::new(Used::new(2000, Some(Arc::clone(store) as Arc<dyn Store>))))
}

fn thing(what: u8) -> Thing {
    Thing { what: [what; 32], until: 100 }
}

fn wanted(what: &[u8]) -> Wanted {
    Wanted { unused: what.iter().copied().map(thing).collect(), also: None }
}

/// A nonce of the token.
fn by_nonce(nonce: u8, token: u8) -> Wanted {
    Wanted { also: Some(thing(token)), ..wanted(&[nonce]) }
}

async fn held(used: &Arc<Used>, wanted: Wanted) -> Held {
    let Taken::First(held) = used.take(wanted, 10).await.unwrap() else { panic!("it is the first") };
    held
}

/// Takes it, and uses it up when it is the first.
async fn released(used: &Arc<Used>, wanted: Wanted) -> bool {
    match used.take(wanted, 10).await.unwrap() {
        Taken::First(held) => {
            held.use_up();
            true
        }
        Taken::Again => false,
        Taken::Full => panic!("there is room"),
        Taken::Busy => panic!("nobody has it"),
    }
}

async fn first(used: &Arc<Used>, what: u8) -> bool {
    released(used, wanted(&[what])).await
}

#[tokio::test]
async fn two_replicas_share_what_was_used() {
    let [one, two] = replicas(&Mute::new().await);
    assert!(first(&one, 1).await);
    assert!(!first(&two, 1).await);
    let held = held(&two, wanted(&[2])).await;
    held.give_back().await;
    assert!(first(&one, 2).await);
    one.tidy(100).await.unwrap();
    assert!(first(&two, 2).await);
}

#[tokio::test]
async fn a_mark_that_released_nothing_accuses_nobody() {
    let store = Mute::new().await;
    let [one, two] = replicas(&store);
    store.deaf(true);
    one.take(wanted(&[1]), 10).await.unwrap_err();
    one.take(wanted(&[1]), 10).await.unwrap_err();
    store.deaf(false);
    assert!(first(&one, 1).await, "its own mark, for which nothing was released");
    assert!(!first(&one, 1).await && !first(&two, 1).await, "now it was used");
    one.settle(10).await;
    assert!(!first(&two, 1).await, "what was used is not removed");

    store.deaf(true);
    one.take(wanted(&[2]), 10).await.unwrap_err();
    store.deaf(false);
    one.settle(10).await;
    assert!(first(&two, 2).await, "told to the other replica");
    assert!(!first(&one, 2).await, "the other's mark is not taken over");
}

#[tokio::test]
async fn a_slow_store_is_not_waited_for_until_nobody_is_there_any_more() {
    let store = Mute::new().await;
    let [one, two] = replicas(&store);
    store.slow.store(true, Ordering::SeqCst);
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    one.take(wanted(&[1]), 10).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(9));
    store.slow.store(false, Ordering::SeqCst);
    one.settle(10).await;
    assert!(first(&two, 1).await);
}

#[tokio::test]
async fn what_could_not_be_given_back_is_taken_again_here_and_given_back_later() {
    let store = Mute::new().await;
    let [one, two] = replicas(&store);
    for what in [3, 4] {
        let held = held(&one, wanted(&[what])).await;
        store.deaf(true);
        if what == 3 {
            held.give_back().await
        } else {
            drop(held)
        }
        store.deaf(false);
    }
    assert!(first(&one, 3).await);
    one.settle(10).await;
    assert!(first(&two, 4).await, "its request was dropped");
    assert!(!first(&two, 3).await);
}

#[tokio::test]
async fn a_removal_that_arrives_late_removes_no_later_mark() {
    let store = Mute::new().await;
    let [one, two] = replicas(&store);
    drop(one.take(wanted(&[5]), 10).await.unwrap());
    let seen = store.read(KIND, &hex::encode([5; 32])).await.unwrap().unwrap();
    assert!(first(&one, 5).await);
    let late = store.remove(KIND, &seen.key, Expected::Version(seen.version)).await;
    assert!(matches!(late, Err(StateError::Conflict { .. })));
    let stale = Mark { what: [5; 32], until: 100, by: seen.body["by"].as_str().unwrap().to_owned(), tries: 0 };
    one.remove(&stale).await.unwrap();
    assert!(!first(&two, 5).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_come_together_each_is_the_first_once() {
    let replicas = replicas(&Mute::new().await);
    let takes = (0..1000u32).map(|number| {
        let mut what = [0; 32];
        what[..4].copy_from_slice(&(number / 2).to_be_bytes());
        let replica = replicas[number as usize % 2].clone();
        tokio::spawn(async move {
            let wanted = Wanted { unused: vec![Thing { what, until: 100 }], also: None };
            let taken = replica.take(wanted, 10).await.unwrap();
            if let Taken::First(held) = taken {
                held.use_up();
                return true;
            }
            false
        })
    });
    let first = futures_util::future::join_all(takes).await;
    assert_eq!(first.into_iter().filter(|joined| *joined.as_ref().unwrap()).count(), 500);
}

#[tokio::test]
async fn of_several_things_none_may_have_been_used() {
    let [one, two] = replicas(&Mute::new().await);
    assert!(first(&one, 1).await);
    for (replica, other) in [(&one, 2), (&two, 3)] {
        assert!(!released(replica, wanted(&[other, 1])).await, "partly used");
        assert!(first(&one, other).await && !first(&two, other).await, "what it did not get was given back");
    }
    assert!(released(&one, wanted(&[5, 4])).await);
    for used in [5, 4] {
        assert!(!first(&one, used).await && !first(&two, used).await, "every one was used");
    }
    for begin in (10..30).step_by(3) {
        let (either, or) = (wanted(&[begin, begin + 2]), wanted(&[begin + 1, begin + 2]));
        let both = futures_util::future::join(released(&one, either), released(&two, or)).await;
        assert!(both.0 != both.1, "of two that share one, exactly one gets it: {both:?}");
    }
}

#[tokio::test]
async fn a_token_that_was_good_for_its_nonce_is_no_bearers_any_more() {
    let [one, two] = replicas(&Mute::new().await);
    held(&one, by_nonce(1, 9)).await.give_back().await;
    assert!(released(&two, by_nonce(1, 9)).await, "nothing was released before");
    assert!(!first(&one, 9).await && !first(&two, 9).await);
    assert!(!released(&one, by_nonce(1, 9)).await, "the nonce was used");
    assert!(released(&one, by_nonce(2, 9)).await && released(&two, by_nonce(3, 9)).await, "each by its own nonce");
    held(&one, by_nonce(4, 9)).await.give_back().await;
    drop(held(&two, by_nonce(5, 9)).await);
    one.settle(10).await;
    two.settle(10).await;
    assert!(!first(&one, 9).await && !first(&two, 9).await, "what was released before is not forgotten");
    assert!(first(&two, 4).await && first(&one, 5).await, "nonces that released nothing are good");

    assert!(first(&one, 8).await);
    assert!(released(&two, by_nonce(6, 8)).await, "a bearer's token may have a nonce for another secret");
}

#[tokio::test]
async fn whoever_gives_a_token_back_does_not_forget_that_it_was_good_for_a_nonce_elsewhere() {
    let store = Mute::new().await;
    let [one, two] = replicas(&store);
    let bearer = held(&two, wanted(&[9])).await;
    assert!(released(&one, by_nonce(1, 9)).await);
    bearer.give_back().await;
    two.settle(10).await;
    assert!(!first(&two, 9).await && !first(&one, 9).await);

    assert!(first(&two, 8).await);
    store.deaf_over.store(true, Ordering::SeqCst);
    one.take(by_nonce(2, 8), 10).await.unwrap_err();
    store.deaf_over.store(false, Ordering::SeqCst);
    assert!(!first(&one, 8).await, "its mark stands where the other's was");
    one.settle(10).await;
    assert!(!first(&one, 8).await && !first(&two, 8).await);
    assert!(first(&one, 2).await, "nothing was released for the nonce");
}

#[tokio::test]
async fn who_wants_what_is_being_used_waits_for_what_becomes_of_it() {
    let store = Mute::new().await;
    let [one, _] = replicas(&store);
    for (what, outcome) in [(1, "used"), (2, "given back"), (3, "dropped")] {
        let holding = held(&one, wanted(&[what])).await;
        let mut other = std::pin::pin!(first(&one, what));
        assert!(futures_util::poll!(&mut other).is_pending(), "{outcome}");
        match outcome {
            "used" => holding.use_up(),
            "dropped" => drop(holding),
            _ => holding.give_back().await,
        }
        assert_eq!(other.await, outcome != "used", "{outcome}");
    }
    let _holding = held(&one, by_nonce(4, 9)).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert!(matches!(one.take(wanted(&[4]), 10).await, Ok(Taken::Busy)));
    assert!(began.elapsed() < Duration::from_secs(9));
    assert_eq!(one.hands().len(), 1, "of what is no longer waited for nothing is left");
}

#[tokio::test(start_paused = true)]
async fn a_token_in_another_hand_is_busy_and_two_of_its_nonces_do_not_wait_for_each_other() {
    let used = Arc::new(Used::new(2000, None));
    let slow = held(&used, by_nonce(1, 9)).await;
    let other = held(&used, by_nonce(2, 9)).await;
    assert!(matches!(used.take(wanted(&[1]), 10).await, Ok(Taken::Busy)), "the nonce is in use");
    slow.give_back().await;
    assert!(!first(&used, 9).await, "the token is no bearer's any more");
    assert!(first(&used, 1).await, "the nonce is free again");
    other.use_up();
    assert!(!first(&used, 2).await);
}
