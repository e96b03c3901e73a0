//! Deliveries at a store that holds or refuses them.

use std::io::Write;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, web};
use chrono::DateTime;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::sync::Semaphore;

use super::room::{LARGE, Rooms};
use super::sender::Senders;
use super::strangers::Strangers;
use super::webhook::{Webhook, events};
use super::*;
use crate::normalize;
use crate::outbox::{Accepted, Desk, Settlement, Stats};

const TOKEN: &str = "0b54b2b5f0a94d0fa2c1";

/// A store in which every batch waits until it is let out, or which takes none.
#[derive(Debug)]
struct Held {
    /// How many batches have come in.
    came: AtomicUsize,
    coming: Notify,
    out: Semaphore,
    refuses: AtomicBool,
}

impl Default for Held {
    fn default() -> Self {
        let (came, coming) = (AtomicUsize::new(0), Notify::new());
        Self { came, coming, out: Semaphore::new(0), refuses: AtomicBool::new(false) }
    }
}

impl Held {
    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    async fn has(&self, batches: usize) {
        while self.came() < batches {
            self.coming.notified().await;
        }
    }
}

impl Store for Held {
    fn accept(&self, batch: Vec<NewEntry>, _: u64, _: DateTime<Utc>) -> BoxFuture<'_, Result<Accepted, StoreError>> {
        async move {
            self.came.fetch_add(1, Ordering::SeqCst);
            self.coming.notify_one();
            if self.refuses.load(Ordering::SeqCst) {
                return Err(StoreError::Closed);
            }
            self.out.acquire().await.map_err(|_| StoreError::Closed)?.forget();
            Ok(Accepted { waiting: batch.len() as u64, ..Accepted::default() })
        }
        .boxed()
    }

    fn fill(&self, _: &Arc<Desk>, _: DateTime<Utc>, _: Duration) -> BoxFuture<'_, Result<bool, StoreError>> {
        async { Ok(false) }.boxed()
    }

    fn settle(&self, _: Vec<Settlement>, _: DateTime<Utc>) -> BoxFuture<'_, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }

    fn stats(&self, _: DateTime<Utc>) -> BoxFuture<'_, Result<Stats, StoreError>> {
        async { Ok(Stats::default()) }.boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}

/// A delivery of one event, of so many bytes or some more.
fn delivery(bytes: usize) -> String {
    format!(r#"{{"id":"a{bytes}","type":"policy","content":{{"ruleName":"r","output":"{}"}}}}"#, "x".repeat(bytes))
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(start_paused = true)]
async fn while_a_large_delivery_is_written_the_next_one_waits_and_small_ones_do_not() {
    const LIMIT: usize = 2 * LARGE;
    let store = Arc::new(Held::default());
    let app = App::new().app_data(web::Data::new(Webhook {
        intake: Intake::new(Arc::clone(&store) as Arc<dyn Store>, Arc::default()),
        senders: Arc::new(Senders::new(&[TOKEN.into()], 10)),
        strangers: Arc::new(Strangers::new(0)),
        trusted_hops: 0,
        body_limit: LIMIT,
        rooms: Arc::new(Rooms::new(LIMIT)),
    }));
    let app = init_service(app.route("/events", web::post().to(events))).await;
    let sent = async |body: Vec<u8>, encoding: &str| {
        let request = TestRequest::post().uri("/events").peer_addr(SocketAddr::from(([127, 0, 0, 1], 9)));
        let request = request.insert_header(("authorization", TOKEN)).insert_header(("content-encoding", encoding));
        let answer = call_service(&app, request.set_payload(body).to_request()).await;
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    };
    let send = async |bytes: usize| sent(delivery(bytes).into_bytes(), "identity").await;
    let large = LIMIT / 2 + 1024;
    let mut first = pin!(send(large));
    tokio::select! { answer = &mut first => panic!("{answer:?}"), () = store.has(1) => {} }
    let mut small = pin!(send(10));
    tokio::select! { answer = &mut small => panic!("{answer:?}"), () = store.has(2) => {} }
    // Nothing moves but the clock, which goes on to the end of the second one's patience, not of this test's.
    let second = tokio::time::timeout(Duration::from_secs(60), send(large)).await;
    assert_eq!((second, store.came()), (Ok((503, true)), 2), "it never reached the store");
    let mut third = pin!(sent(deflate(delivery(large).as_bytes()), "deflate"));
    assert!(third.as_mut().now_or_never().is_none());
    store.out.add_permits(3);
    let answers = tokio::join!(first, small, third);
    assert_eq!(answers, ((200, false), (200, false), (200, false)));
    assert_eq!(store.came(), 3);
}

#[tokio::test]
async fn what_opens_no_finding_is_counted_when_it_is_durable_not_whenever_it_is_sent() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let store = Arc::new(Held::default());
    let intake = Intake::new(Arc::clone(&store) as Arc<dyn Store>, Arc::default());
    let sent = || normalize::delivery(br#"[{"type":"audittrail"},{"hello":"world"}]"#, Utc::now()).unwrap();
    store.refuses.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(intake.take(Door::Webhook, sent()).await.is_err());
    }
    store.refuses.store(false, Ordering::SeqCst);
    store.out.add_permits(1);
    assert_eq!(intake.take(Door::Webhook, sent()).await.unwrap().ignored, 2);
    let told = recorder.handle().render();
    let counted: Vec<&str> = told.lines().filter(|line| line.starts_with("sysdig_scc_ignored_total")).collect();
    assert_eq!(counted.len(), 2, "{told}");
    assert!(counted.iter().all(|line| line.ends_with("} 1")), "{told}");
}
