//! Once: nonces and tokens that released a secret release no other, and what released nothing is no replay.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sysdig_scc::receive::attestation::{Parts, Resolver, Shown};
use sysdig_scc::state::Store;
use sysdig_scc::state::sqlite::SqliteStore;
use tokio::sync::Notify;

use crate::attest_door::{Door, SECRET, token};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn memory() -> Arc<dyn Store> {
    Arc::new(SqliteStore::in_memory().unwrap())
}

fn door(extra: &[(&str, &str)], state: &Arc<dyn Store>) -> Door {
    Door::with_parts(extra, Parts { state: Some(state.clone()), ..Parts::default() })
}

impl Door {
    fn nonce(&self, secret: &str, now: DateTime<Utc>) -> String {
        self.attestor.challenge(&format!("secret:{secret}"), &HERE, now).unwrap().0
    }

    /// The status of a release at a time.
    async fn released(&self, secret: &str, token: &str, now: DateTime<Utc>) -> u16 {
        let shown = Shown { token, public_key: None };
        self.attestor.release(secret, shown, &HERE, now).await.map_or_else(|refused| refused.status(), |_| 200)
    }
}

#[tokio::test]
async fn a_token_with_several_nonces_of_one_purpose_is_good_once() {
    for require in ["true", "false"] {
        let state = memory().await;
        let settings = [("ATTESTATION_CHALLENGE_SECS", "30"), ("ATTESTATION_REQUIRE_NONCE", require)];
        let doors = [(); 2].map(|()| {
            let key = ("ATTESTATION_NONCE_KEY", "of all replicas, of all replicas");
            door(&[settings[0], settings[1], key], &state)
        });
        let start = Utc::now();
        let at = |second| start + TimeDelta::seconds(second);
        let (first, second) = (doors[0].nonce("db", at(0)), doors[1].nonce("db", at(20)));
        let both = token(json!({"eat_nonce": [first, second, first]}));
        assert_eq!(doors[0].released("db", &both, at(25)).await, 200);
        for second in [25, 35] {
            for door in &doors {
                assert_eq!(door.released("db", &both, at(second)).await, 409, "after {second} s, required: {require}");
            }
        }
        assert_eq!(doors[1].released("db", &both, at(55)).await, 401, "both have expired");
        for spent in [&first, &second] {
            let alone = token(json!({"eat_nonce": spent, "oemid": 1}));
            assert_eq!(doors[1].released("db", &alone, at(26)).await, 409, "each was spent");
        }
        let fresh = doors[0].nonce("db", at(26));
        let partly = token(json!({"eat_nonce": [fresh, second]}));
        assert_eq!(doors[0].released("db", &partly, at(27)).await, 409);
        let alone = token(json!({"eat_nonce": fresh, "oemid": 2}));
        assert_eq!(doors[1].released("db", &alone, at(28)).await, 200, "nothing was released for it");
    }
}

#[tokio::test]
async fn a_token_that_got_a_secret_by_its_nonce_gets_no_other_without() {
    let state = memory().await;
    let doors = [(); 2].map(|()| door(&[("ATTESTATION_NONCE_KEY", "of all replicas, of all replicas")], &state));
    let now = Utc::now();
    let one = token(json!({"eat_nonce": doors[0].nonce("db", now)}));
    assert_eq!(doors[0].get("/attestation/secrets/db", &one).await, (200, SECRET.to_owned()));
    for door in &doors {
        assert_eq!(door.get("/attestation/secrets/api", &one).await.0, 401, "its nonce is for another");
    }
    let nonces = [doors[0].nonce("db", now), doors[0].nonce("api", now)];
    let each = token(json!({"eat_nonce": nonces}));
    for (door, secret) in [(0, "db"), (1, "api")] {
        let path = format!("/attestation/secrets/{secret}");
        assert_eq!(doors[door].get(&path, &each).await.0, 200, "{secret} has a nonce of its own");
        assert_eq!(doors[1 - door].get(&path, &each).await.0, 409);
    }
}

#[tokio::test]
async fn a_nonce_made_here_for_something_else_is_good_for_nothing_here() {
    let state = memory().await;
    let door = door(&[("ATTESTATION_CHALLENGE_SECS", "30")], &state);
    let start = Utc::now();
    let later = start + TimeDelta::seconds(40);
    let nonce = door.nonce("db", start);
    let with = |nonce: &str, oemid: u32| token(json!({"eat_nonce": nonce, "oemid": oemid}));
    let first = with(&nonce, 1);
    assert_eq!(door.released("api", &first, start).await, 401, "it is for another secret");
    assert_eq!(door.released("db", &first, start).await, 200, "nothing was released for it");
    assert_eq!(door.released("api", &with(&nonce, 2), start).await, 401, "used for another secret");
    assert_eq!(door.released("api", &with(&nonce, 3), later).await, 401, "expired, for another secret");
    let free = door.attestor.challenge("sign-in", &HERE, start).unwrap().0;
    assert_eq!(door.released("api", &with(&free, 4), start).await, 401, "for no secret at all");
    assert_eq!(door.released("api", &with("of-another-party-000001", 5), start).await, 200, "not ours");
}

#[tokio::test]
async fn of_two_at_once_only_a_release_makes_the_other_a_replay() {
    let door = door(&[("ATTESTATION_FAILURES_PER_MINUTE", "1000")], &memory().await);
    let path = "/attestation/secrets/db";
    for number in 0..20 {
        let denied = token(json!({"hwmodel": "GCP_INTEL_TDX", "oemid": number}));
        let pair = futures_util::future::join(door.get(path, &denied), door.get(path, &denied)).await;
        assert_eq!((pair.0.0, pair.1.0), (403, 403), "nothing was released");
        let good = token(json!({"oemid": number}));
        let pair = futures_util::future::join(door.get(path, &good), door.get(path, &good)).await;
        let mut statuses = [pair.0.0, pair.1.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
    }
    let journal = door.journal(80).await;
    assert_eq!(journal.matches("\"replayed\"").count(), 20, "{journal}");
}

#[tokio::test]
async fn who_came_beside_one_that_got_nothing_gets_the_secret() {
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asking, answering) = (asked.clone(), answer.clone());
    let failed = AtomicBool::new(false);
    let resolver: Resolver = Arc::new(move |_| {
        let (first, asking, answering) = (!failed.swap(true, Ordering::SeqCst), asking.clone(), answering.clone());
        Box::pin(async move {
            if first {
                asking.notify_one();
                answering.notified().await;
                return Err("not now".to_owned());
            }
            Ok(SECRET.as_bytes().to_vec().into())
        })
    });
    let parts = Parts { resolver: Some(resolver), state: Some(memory().await), ..Parts::default() };
    let door = Door::with_parts(&[("ATTESTATION_SECRETS", "db=ours:sm://acme-data/db")], parts);
    let good = token(json!({}));
    let other = async {
        asked.notified().await;
        let mut other = std::pin::pin!(door.released("db", &good, Utc::now()));
        assert!(futures_util::poll!(&mut other).is_pending(), "what becomes of the first is waited for");
        answer.notify_one();
        other.await
    };
    assert_eq!(futures_util::future::join(door.released("db", &good, Utc::now()), other).await, (503, 200));
}
