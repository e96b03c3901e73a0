//! The connector's own server, parser and intake before a store that keeps nothing and answers at once: what durability
//! itself costs is measured against it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, FutureExt, ready};
use sysdig_scc::config::server::ServerConfig;
use sysdig_scc::deliver::pace::{Pace, PaceSettings};
use sysdig_scc::outbox::worker::Heartbeat;
use sysdig_scc::outbox::{Accepted, Desk, NewEntry, Settlement, Stats, Store, StoreError};
use sysdig_scc::receive::Intake;
use sysdig_scc::receive::entries::Entries;
use sysdig_scc::receive::pubsub::{Guard, PushDoor};
use sysdig_scc::receive::room::Rooms;
use sysdig_scc::receive::sender::Senders;
use sysdig_scc::receive::strangers::Strangers;
use sysdig_scc::receive::webhook::Webhook;
use sysdig_scc::server::health::{Delivery, DeliveryState, Health};
use sysdig_scc::server::numbers::Numbers;
use sysdig_scc::server::{self, Doors};
use sysdig_scc::telemetry::trace::Traces;

/// The argument by which the program calls itself.
pub(crate) const WORD: &str = "nothing-stored";
const BODY_LIMIT: usize = 8 << 20;
const FAILURES_A_MINUTE: u32 = 60;
const FOLDING: Duration = Duration::from_secs(3);

pub(crate) fn serve(port: u16, token: &str) {
    let store: Arc<dyn Store> = Arc::new(Nothing);
    let intake = Intake::new(Arc::clone(&store), Arc::default());
    let strangers = Arc::new(Strangers::new(0));
    let (tokens, heartbeat) = (vec![token.into()], Arc::new(Heartbeat::default()));
    let rooms = Arc::new(Rooms::new(BODY_LIMIT));
    let doors = Doors {
        webhook: Webhook {
            intake: intake.clone(),
            senders: Arc::new(Senders::new(&tokens, FAILURES_A_MINUTE)),
            strangers: Arc::clone(&strangers),
            trusted_hops: 0,
            body_limit: BODY_LIMIT,
            rooms: Arc::clone(&rooms),
        },
        push: PushDoor { intake, entries: Entries::default(), guard: Guard::Closed, strangers, rooms },
        traces: Traces::default(),
        health: Health {
            store: Arc::clone(&store),
            state: None,
            heartbeat: Arc::clone(&heartbeat),
            delivery: Arc::new(Nothing),
        },
        attestation: None,
        numbers: Numbers { store, heartbeat, read_to: None, pace: Arc::new(Pace::new(PaceSettings::default())) },
    };
    let config = ServerConfig {
        listen: (Ipv4Addr::LOCALHOST, port).into(),
        tokens,
        body_limit: BODY_LIMIT,
        trusted_hops: 0,
        auth_failures_per_minute: FAILURES_A_MINUTE,
        keep_alive: Duration::from_secs(75),
        workers: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        sysdig_scc::telemetry::metrics::start();
        let (server, _) = server::start(&config, doors).unwrap();
        tokio::spawn(async {
            loop {
                tokio::time::sleep(FOLDING).await;
                sysdig_scc::telemetry::metrics::fold();
            }
        });
        server.await.unwrap();
    });
}

/// Keeps nothing; always well.
#[derive(Debug)]
struct Nothing;

impl Store for Nothing {
    fn accept(&self, batch: Vec<NewEntry>, _: u64, _: DateTime<Utc>) -> BoxFuture<'_, Result<Accepted, StoreError>> {
        // All of them handed over: nobody is to be woken for them.
        let taken = batch.len() as u64;
        ready(Ok(Accepted { waiting: taken, handed: taken, ..Accepted::default() })).boxed()
    }

    fn fill(&self, _: &Arc<Desk>, _: DateTime<Utc>, _: Duration) -> BoxFuture<'_, Result<bool, StoreError>> {
        ready(Ok(false)).boxed()
    }

    fn settle(&self, _: Vec<Settlement>, _: DateTime<Utc>) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }

    fn stats(&self, _: DateTime<Utc>) -> BoxFuture<'_, Result<Stats, StoreError>> {
        ready(Ok(Stats::default())).boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }
}

impl Delivery for Nothing {
    fn state(&self) -> BoxFuture<'_, DeliveryState> {
        ready(DeliveryState { credentials_usable: true, ..DeliveryState::default() }).boxed()
    }
}
