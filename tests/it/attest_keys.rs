//! An issuer that never answers: who has a key that may still be used does not wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sysdig_scc::attest::key_source::{FetchRules, KeySource};
use tokio::net::TcpListener;

use crate::attest_door::{Issuer, Mood};
use crate::attest_issuer::{ISSUER, KEY, NEXT, jwks};

/// Keys kept on disk, which are stale from the start.
fn kept(base: &str, rules: FetchRules) -> (KeySource, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), jwks(&[&KEY])).unwrap();
    (KeySource::issuer(ISSUER, base, rules, Some(file.path().to_owned())).unwrap(), file)
}

/// Takes connections and says nothing; its address, and how many came.
async fn silent() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let came = Arc::new(AtomicUsize::new(0));
    let counting = came.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
            counting.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, came)
}

/// As a while after the start.
fn settled() -> FetchRules {
    FetchRules { recalled: Duration::ZERO, ..FetchRules::default() }
}

#[tokio::test]
async fn after_a_start_a_key_that_the_issuer_withdrew_is_not_used() {
    let issuer = Issuer::start();
    issuer.now(Mood::Keys(jwks(&[&NEXT])));
    let (source, _file) = kept(&issuer.url, FetchRules::default());
    assert!(source.look_up(&KEY.kid).await.unwrap().keys.find(&KEY.kid).is_none());
}

#[tokio::test]
async fn a_stale_key_is_used_at_once_while_the_issuer_does_not_answer() {
    let (url, came) = silent().await;
    let (source, _file) = kept(&url, settled());
    let renewing = tokio::spawn({
        let source = source.clone();
        async move { source.keep_fresh(tokio_util::sync::CancellationToken::new()).await }
    });
    let began = Instant::now();
    for _ in 0..100 {
        assert!(source.look_up(&KEY.kid).await.unwrap().keys.find(&KEY.kid).is_some());
        tokio::task::yield_now().await;
    }
    // Also beside somebody who needs what is not held, and waits.
    let mut unknown = std::pin::pin!(source.look_up("unknown"));
    assert!(futures_util::poll!(&mut unknown).is_pending());
    assert!(source.look_up(&KEY.kid).await.is_ok());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(came.load(Ordering::SeqCst) <= 1, "one fetch at a time");
    renewing.abort();
}

#[tokio::test]
async fn stale_keys_are_renewed_beside_those_who_use_them_and_used_for_a_bounded_time() {
    let issuer = Issuer::start();
    issuer.now(Mood::Keys(jwks(&[&KEY, &NEXT])));
    let (source, _file) = kept(&issuer.url, settled());
    let began = Instant::now();
    while source.look_up(&KEY.kid).await.unwrap().keys.find(&NEXT.kid).is_none() {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    assert_eq!(issuer.asked(), 1, "those who came meanwhile did not ask too");

    let (url, _) = silent().await;
    let rules = FetchRules { timeout: Duration::from_millis(50), ..settled() };
    let (source, _file) = kept(&url, rules);
    let in_hours = |hours: u64| Instant::now() + Duration::from_secs(hours * 3600);
    assert!(source.look_up_at(&KEY.kid, in_hours(23)).await.is_ok());
    assert!(source.look_up_at(&KEY.kid, in_hours(25)).await.is_err());
}
