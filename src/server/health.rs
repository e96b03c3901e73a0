//! Alive, and able to do the job.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::{HttpResponse, web};
use chrono::Utc;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use serde::Serialize;

use crate::causes::chain;
use crate::outbox::Store;
use crate::outbox::worker::Heartbeat;
use crate::receive::attestation::Attestor;
use crate::state;

/// A worker that has not looked for due events for this long is stuck.
const STUCK_AFTER_SECS: u64 = 30;
/// The state store waits longer than that for another process's write; who asks here does not.
const STATE_PATIENCE: Duration = Duration::from_secs(2);

/// What delivery has to say of itself.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DeliveryState {
    /// Whether a token could be had at least once, or none is needed.
    pub credentials_usable: bool,
    /// Why the whole queue is held, when it is.
    pub held: Option<String>,
    /// How much longer the service asked everybody to wait, when it did.
    pub wait: Option<Duration>,
}

/// Asks delivery how it is.
pub trait Delivery: Send + Sync + std::fmt::Debug {
    /// The present state; quick, and without side effects on the queue.
    fn state(&self) -> BoxFuture<'_, DeliveryState>;
}

/// What readiness asks.
#[derive(Debug, Clone)]
pub struct Health {
    /// Is the store writable?
    pub store: Arc<dyn Store>,
    /// Is the state's file usable? A service that keeps it is not asked: it is somebody else's.
    pub state: Option<Arc<StateHealth>>,
    /// Does the worker move?
    pub heartbeat: Arc<Heartbeat>,
    /// Are the credentials usable?
    pub delivery: Arc<dyn Delivery>,
}

#[derive(Debug, Serialize)]
struct Report {
    ready: bool,
    store: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    worker: String,
    credentials: &'static str,
    delivery: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation_journal: Option<&'static str>,
}

/// `GET /healthz`: the process answers. Nothing outside it is asked: restarting mends nobody else.
pub async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

/// `GET /health`: the original connector's body, for its monitors.
pub async fn original() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({"message": "Application is running", "success": true}))
}

/// `GET /readyz`: 200 when events can be made durable and taken further. An outage of Security Command Center, or a
/// missing permission, leaves it ready: events are still safe here, and turning senders away would lose them. So does a
/// journal that cannot be written: it keeps nobody's events away, and who attests is told 503. And so does a state store
/// that cannot be used: runtime events need none, and integrity reports wait in the outbox.
pub async fn ready(health: web::Data<Health>, attestor: Option<web::Data<Attestor>>) -> HttpResponse {
    let (store, state) = tokio::join!(health.store.probe(), state_of(health.state.as_deref()));
    let idle = health.heartbeat.idle_secs(Utc::now());
    let moves = idle.is_some_and(|secs| secs < STUCK_AFTER_SECS);
    let delivery = health.delivery.state().await;
    let report = Report {
        ready: store.is_ok() && moves && delivery.credentials_usable,
        store: store.map_or_else(|error| error.to_string(), |()| "writable".into()),
        state,
        worker: match idle {
            None => "not started".into(),
            Some(_) if moves => "moving".into(),
            Some(secs) => format!("has not moved for {secs} s"),
        },
        credentials: match (delivery.credentials_usable, &delivery.held) {
            (true, None) => "usable",
            (true, Some(_)) => "a token can be had; whether it is accepted, delivery says",
            (false, _) => "no token could be obtained yet; run `sysdig-scc check`",
        },
        attestation_journal: attestor.map(|attestor| match attestor.journal_takes_lines() {
            true => "writable",
            false => "the last line could not be written, or not in time; no token is allowed until one can",
        }),
        delivery: match (delivery.held, delivery.wait) {
            (Some(reason), _) => format!("held: {reason}"),
            (None, Some(wait)) => {
                format!("waiting: the service asked for patience, for another {} s", wait.as_secs() + 1)
            }
            (None, None) => "flowing".into(),
        },
    };
    let mut answer = if report.ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.json(report)
}

async fn state_of(state: Option<&StateHealth>) -> Option<String> {
    Some(state?.told().await)
}

/// How the state's file is. It is asked one question at a time, however many want to know: each keeps a thread for as long as
/// another process holds the file.
#[derive(Debug)]
pub struct StateHealth {
    store: Arc<dyn state::Store>,
    asking: Mutex<Option<Shared<BoxFuture<'static, String>>>>,
}

impl StateHealth {
    /// How this store is; nobody has asked yet.
    pub fn new(store: Arc<dyn state::Store>) -> Arc<Self> {
        Arc::new(Self { store, asking: Mutex::default() })
    }

    async fn told(&self) -> String {
        let silent = || format!("no answer within {} s", STATE_PATIENCE.as_secs());
        let answer = {
            let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            match &*asking {
                Some(asked) if asked.peek().is_none() => asked.clone(),
                _ => asking.insert(self.ask()).clone(),
            }
        };
        tokio::time::timeout(STATE_PATIENCE, answer).await.unwrap_or_else(|_| silent())
    }

    /// One question, which goes on whoever still waits for its answer.
    fn ask(&self) -> Shared<BoxFuture<'static, String>> {
        let store = Arc::clone(&self.store);
        let asked = tokio::spawn(async move { store.ping().await });
        let told = asked.map(|answer| match answer {
            Ok(Ok(())) => "writable".to_owned(),
            Ok(Err(error)) => chain(&error),
            Err(broken) => chain(&broken),
        });
        told.boxed().shared()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::state::{Body, Document, Expected, Listing, Page, StateError, Version};

    /// A store that does not answer, and counts the questions.
    #[derive(Debug, Default)]
    struct Silent(AtomicUsize);

    impl state::Store for Silent {
        fn read<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Document>, StateError>> {
            Box::pin(std::future::pending())
        }
        fn write<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: &'a Body,
            _: Expected,
        ) -> BoxFuture<'a, Result<Version, StateError>> {
            Box::pin(std::future::pending())
        }
        fn remove<'a>(&'a self, _: &'a str, _: &'a str, _: Expected) -> BoxFuture<'a, Result<bool, StateError>> {
            Box::pin(std::future::pending())
        }
        fn list<'a>(&'a self, _: &'a str, _: Page) -> BoxFuture<'a, Result<Listing, StateError>> {
            Box::pin(std::future::pending())
        }
        fn ping(&self) -> BoxFuture<'_, Result<(), StateError>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_asked_once_however_many_want_to_know() {
        let silent = Arc::new(Silent::default());
        let state = StateHealth::new(Arc::<Silent>::clone(&silent));
        for _ in 0..50 {
            assert_eq!(state.told().await, "no answer within 2 s");
        }
        assert_eq!(silent.0.load(Ordering::Relaxed), 1);
    }
}
