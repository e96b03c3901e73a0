//! Delivery → event → finding → JSON, per event; and what it takes to make a batch durable. Run with
//! `cargo bench --bench pipeline`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use chrono::{DateTime, Utc};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sysdig_scc::decide::{Decision, Rules, decide};
use sysdig_scc::enrich::Enriched;
use sysdig_scc::event::Event;
use sysdig_scc::finding::FindingChange;
use sysdig_scc::normalize::{Element, delivery};
use sysdig_scc::outbox::sqlite::Keep;
use sysdig_scc::outbox::{NewEntry, Sqlite, Store};
use sysdig_scc::receive::content;

const SINGLE: &str = include_str!("../tests/data/sysdig/forwarder_single.json");
const NOTIFICATION: &str = include_str!("../tests/data/sysdig/notification_2018.json");

fn now() -> DateTime<Utc> {
    "2026-11-22T04:00:00Z".parse().unwrap()
}

fn compact(body: &str) -> String {
    serde_json::from_str::<serde_json::Value>(body).unwrap().to_string()
}

fn first_event(body: &str) -> Event {
    match delivery(body.as_bytes(), now()).unwrap().remove(0) {
        Element::Event { event, .. } => event,
        other => panic!("{other:?}"),
    }
}

fn finding_json(event: &Event, rules: &Rules) -> String {
    let Decision::Deliver(FindingChange::Create { finding, .. }) = decide(event, &Enriched::default(), rules, now())
    else {
        panic!("no create")
    };
    serde_json::to_string(&finding).unwrap()
}

fn pipeline(c: &mut Criterion) {
    let rules = Rules::new("123");
    for (name, body) in [("forwarder", compact(SINGLE)), ("notification", compact(NOTIFICATION))] {
        let event = first_event(&body);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("normalise", |b| b.iter(|| delivery(black_box(body.as_bytes()), now()).unwrap()));
        group.bench_function("store", |b| b.iter(|| serde_json::to_string(black_box(&event)).unwrap()));
        group.bench_function("decide", |b| b.iter(|| decide(black_box(&event), &Enriched::default(), &rules, now())));
        group.bench_function("whole", |b| b.iter(|| finding_json(&first_event(black_box(&body)), &rules)));
        group.finish();
    }
    let batch = format!("[{}]", vec![compact(SINGLE); 1_000].join(","));
    c.bench_function("batch of 1,000", |b| b.iter(|| delivery(black_box(batch.as_bytes()), now()).unwrap()));
}

/// 64 events in one transaction and one sync, on the disk that the target folder is on.
fn outbox(c: &mut Criterion) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let keep = Keep { closed_for: Duration::from_secs(3_600), bytes: u64::MAX };
    let store = Sqlite::open(&folder.path().join("outbox.db"), keep).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let body = compact(SINGLE);
    let content = content(first_event(&body)).unwrap();
    let mut number = 0_u64;
    let mut batch = || -> Vec<NewEntry> {
        let entry = |key| NewEntry { key, body: body.clone(), content: Ok(content.clone()), door: "webhook" };
        number += 64;
        // Keys as random as the senders' ids are: the index pays for that.
        (number - 64..number).map(|n| entry(format!("{:032x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))).collect()
    };
    let mut group = c.benchmark_group("outbox");
    group.throughput(Throughput::Elements(64));
    group.bench_function("accept a batch of 64", |b| {
        b.iter_batched(
            &mut batch,
            |batch| runtime.block_on(store.accept(batch, 0, now())).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, pipeline, outbox);
criterion_main!(benches);
