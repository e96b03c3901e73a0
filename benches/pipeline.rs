//! Delivery → event → finding → JSON, per event. Run with `cargo bench --bench pipeline`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use chrono::{DateTime, Utc};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sysdig_scc::decide::{Decision, Rules, decide};
use sysdig_scc::enrich::Enriched;
use sysdig_scc::event::{Event, FindingChange};
use sysdig_scc::normalize::{Element, delivery};

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
    let Decision::Deliver(changes) = decide(event, &Enriched::default(), rules, now()) else { panic!("filtered") };
    let FindingChange::Create { finding, .. } = &changes[0] else { panic!("no create") };
    serde_json::to_string(finding).unwrap()
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

criterion_group!(benches, pipeline);
criterion_main!(benches);
