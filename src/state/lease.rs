//! A lease: one holder among replicas for work that must be done by one at a time. Time is an argument.
//!
//! A replica that stops without releasing keeps the others out until the lease has run out; clocks that disagree by
//! less than the lease's length do no harm beyond a second of work done twice, which all users of leases must stand
//! anyway.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Expected, StateError, Store, Version, body_of, update};

/// The kind of the documents that leases live in.
pub const KIND: &str = "lease";

/// A lease that is ours until `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is about.
    pub name: String,
    /// Who we are.
    pub holder: String,
    /// When it runs out unless renewed.
    pub until: DateTime<Utc>,
    version: Version,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    holder: String,
    until: DateTime<Utc>,
}

/// Who asks for which lease.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// What it is about.
    pub name: &'a str,
    /// Who asks; unique among replicas.
    pub holder: &'a str,
    /// How long it should last.
    pub ttl: TimeDelta,
}

/// Takes the lease if it is free, has run out, or is ours already (then it is renewed). `None`: another holds it.
pub async fn take(store: &dyn Store, claim: &Claim<'_>, now: DateTime<Utc>) -> Result<Option<Lease>, StateError> {
    let found = store.read(KIND, claim.name).await?;
    let expected = match &found {
        None => Expected::Absent,
        Some(document) => {
            let record: Record = document.parse(KIND)?;
            if record.holder != claim.holder && record.until > now {
                return Ok(None);
            }
            Expected::Version(document.version.clone())
        }
    };
    write(store, claim, now, expected).await
}

/// Makes the lease last `ttl` from now. `None`: it was lost, another holds it.
pub async fn renew(
    store: &dyn Store,
    lease: &Lease,
    ttl: TimeDelta,
    now: DateTime<Utc>,
) -> Result<Option<Lease>, StateError> {
    let claim = Claim { name: &lease.name, holder: &lease.holder, ttl };
    write(store, &claim, now, Expected::Version(lease.version.clone())).await
}

/// Gives a lease back, so that others need not wait for it to run out. Which holder it has is read anew: of a renewal that
/// was broken off nobody knows whether it arrived, and one that arrives later finds another revision. Having lost it
/// meanwhile is no error.
pub async fn release(store: &dyn Store, name: &str, holder: &str, now: DateTime<Utc>) -> Result<(), StateError> {
    let released = |stored: Option<Record>| match stored {
        Some(record) if record.holder == holder && record.until > now => (Some(Record { until: now, ..record }), ()),
        stored => (stored, ()),
    };
    update(store, KIND, name, released).await
}

async fn write(
    store: &dyn Store,
    claim: &Claim<'_>,
    now: DateTime<Utc>,
    expected: Expected,
) -> Result<Option<Lease>, StateError> {
    let record = Record { holder: claim.holder.to_owned(), until: now + claim.ttl };
    let body = body_of(KIND, claim.name, &record)?;
    match store.write(KIND, claim.name, &body, expected).await {
        Ok(version) => {
            Ok(Some(Lease { name: claim.name.to_owned(), holder: record.holder, until: record.until, version }))
        }
        Err(error) if error.is_conflict() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::sqlite::SqliteStore;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn claim<'a>(holder: &'a str) -> Claim<'a> {
        Claim { name: "poller", holder, ttl: TimeDelta::seconds(30) }
    }

    #[tokio::test]
    async fn one_holder_at_a_time_and_the_next_one_after_it_ran_out() {
        let store = SqliteStore::in_memory().unwrap();
        let first = take(&store, &claim("a"), at(0)).await.unwrap().unwrap();
        assert_eq!(take(&store, &claim("b"), at(29)).await.unwrap(), None);
        assert!(take(&store, &claim("b"), at(30)).await.unwrap().is_some());
        assert_eq!(renew(&store, &first, TimeDelta::seconds(30), at(31)).await.unwrap(), None, "a has lost it");
    }

    #[tokio::test]
    async fn its_holder_renews_it_and_gives_it_back() {
        let store = SqliteStore::in_memory().unwrap();
        let lease = take(&store, &claim("a"), at(0)).await.unwrap().unwrap();
        let lease = renew(&store, &lease, TimeDelta::seconds(30), at(20)).await.unwrap().unwrap();
        assert_eq!(lease.until, at(50));
        assert_eq!(take(&store, &claim("b"), at(40)).await.unwrap(), None);
        release(&store, "poller", "b", at(41)).await.unwrap();
        assert_eq!(take(&store, &claim("b"), at(41)).await.unwrap(), None, "nobody gives back what is another's");
        release(&store, "poller", "a", at(41)).await.unwrap();
        assert!(take(&store, &claim("b"), at(41)).await.unwrap().is_some());
        assert_eq!(renew(&store, &lease, TimeDelta::seconds(30), at(42)).await.unwrap(), None, "what comes too late");
    }

    #[tokio::test]
    async fn what_was_renewed_without_an_answer_is_given_back_too() {
        let store = SqliteStore::in_memory().unwrap();
        let known = take(&store, &claim("a"), at(0)).await.unwrap().unwrap();
        renew(&store, &known, TimeDelta::seconds(30), at(20)).await.unwrap();
        release(&store, &known.name, &known.holder, at(21)).await.unwrap();
        assert!(take(&store, &claim("b"), at(21)).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_was_written_down_with_a_term_is_read() {
        let store = SqliteStore::in_memory().unwrap();
        let stored = serde_json::json!({"holder": "a", "until": at(30), "term": 7});
        store.write(KIND, "poller", stored.as_object().unwrap(), Expected::Any).await.unwrap();
        assert_eq!(take(&store, &claim("b"), at(29)).await.unwrap(), None);
        assert!(take(&store, &claim("b"), at(30)).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn of_many_claims_at_once_one_wins() {
        let store = SqliteStore::in_memory().unwrap();
        let holders: Vec<String> = (0..8).map(|n| format!("r{n}")).collect();
        let claims: Vec<_> = holders.iter().map(|holder| claim(holder)).collect();
        let taken = futures_util::future::join_all(claims.iter().map(|claim| take(&store, claim, at(0)))).await;
        assert_eq!(taken.into_iter().filter(|lease| lease.as_ref().unwrap().is_some()).count(), 1);
    }
}
