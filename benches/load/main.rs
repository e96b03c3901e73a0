//! How fast the connector is, seen from outside: the real program as a child process, a load generator, and a receiver
//! that stands where Security Command Center would. Everything is on loopback, bounded in count, and ends by itself.
//!
//! Run it with `scripts/bench.sh`, which says what the figures mean. Nothing is asserted: figures depend on the
//! machine, and on what else it does. Compare CPU time an event, and ratios within one run.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]

mod attest;
mod bare;
mod child;
mod generator;
mod nothing;
mod parse_only;
mod receiver;

use std::time::{Duration, Instant};

use child::Child;
use generator::{Answers, Load};
use receiver::{Manner, Receiver};

const USAGE: &str = "usage: sysdig-scc-load [ready] [door] [journey] [slow] [backlog] [attest] | all   [--events N]";
const TOKEN: &str = "a-token-for-measuring";
/// What is measured: the setting "as fast as it can", and nothing else changed.
const LIFTED: &[(&str, &str)] = &[("SCC_WRITES_PER_MINUTE", "0"), ("SCC_BYTES_PER_DAY", "0")];

/// One kind of measuring, with so many events, into the table.
type Scenario = fn(u64, &mut Table);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [nothing::WORD, port] => return nothing::serve(port.parse().unwrap(), TOKEN),
        [parse_only::WORD, port] => return parse_only::serve(port.parse().unwrap(), TOKEN),
        [bare::WORD, port] => return bare::serve(port.parse().unwrap(), None),
        [bare::WORD, port, receiver] => return bare::serve(port.parse().unwrap(), Some(receiver.parse().unwrap())),
        _ => {}
    }
    let events = arguments.iter().position(|argument| argument == "--events").map_or(100_000, |at| {
        arguments
            .get(at + 1)
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("--events needs a number"))
    });
    let wanted = |name: &str| arguments.iter().any(|argument| argument == name || argument == "all");
    let scenarios: [(&str, Scenario); 6] = [
        ("ready", ready),
        ("door", door),
        ("journey", journey),
        ("slow", slow),
        ("backlog", backlog),
        ("attest", attest::attest),
    ];
    if !scenarios.iter().any(|(name, _)| wanted(name)) {
        return println!("{USAGE}");
    }
    let mut table = Table::new();
    for (name, scenario) in scenarios.iter().filter(|(name, _)| wanted(name)) {
        eprintln!("{name} …");
        scenario(events, &mut table);
    }
    println!("{}\n\n{}", machine(), table.text());
}

/// From the start of the process to the first 200 of `/readyz`.
fn ready(_events: u64, table: &mut Table) {
    let receiver = Receiver::start(Manner::Create(Duration::ZERO));
    let mut times: Vec<Duration> = (0..5).map(|_| Child::connector(receiver.address, LIFTED).ready_after).collect();
    times.sort();
    table.row(&[
        "start to /readyz".into(),
        format!("{} ms (slowest of 5: {} ms)", times[2].as_millis(), times[4].as_millis()),
    ]);
}

/// `POST /events` up to the durable answer, beside the same server and parser before a store that keeps nothing.
/// Deliveries are held, so that only the door is measured.
fn door(events: u64, table: &mut Table) {
    for (connections, requests) in [(1, events / 20), (16, events / 2), (64, events)] {
        let (least, least_cpu) = measured(&Child::parse_only(), connections, requests);
        let (free, free_cpu) = measured(&Child::nothing_stored(), connections, requests);
        let receiver = Receiver::start(Manner::Refuse);
        let with = Child::connector(receiver.address, LIFTED);
        let (durable, durable_cpu) = measured(&with, connections, requests);
        drop(with);
        let (bare, bare_cpu) = measured(&Child::bare(None), connections, requests);
        let name = |what: &str| format!("door, {connections} connections, {what}");
        let ratio = |of: &Answers, to: &Answers| format!("{:.0} %", 100.0 * of.per_second() / to.per_second());
        table.row(&[name("least server, our parser"), said(&least, least_cpu)]);
        table.row(&[name("nothing stored"), said(&free, free_cpu)]);
        table.row(&[name("durable"), said(&durable, durable_cpu)]);
        table.row(&[name("yardstick"), said(&bare, bare_cpu)]);
        table.row(&[
            name("durable, of nothing stored"),
            format!(
                "{}; of the least server {}, the yardstick {}",
                ratio(&durable, &free),
                ratio(&durable, &least),
                ratio(&bare, &least)
            ),
        ]);
    }
}

/// Door → outbox → finding → receiver, as fast as it goes.
fn journey(events: u64, table: &mut Table) {
    for connections in [16, 64] {
        let name = format!("door to receiver, {connections} connections");
        let receiver = Receiver::start(Manner::Create(Duration::ZERO));
        let connector = Child::connector(receiver.address, LIFTED);
        travelled(&name, &connector, &receiver, connections, events, table);
        drop(connector);
        let receiver = Receiver::start(Manner::Create(Duration::ZERO));
        let bare = Child::bare(Some(receiver.address));
        travelled(&format!("{name}, yardstick"), &bare, &receiver, connections, events, table);
    }
}

/// The same when every call takes 100 ms.
fn slow(events: u64, table: &mut Table) {
    let receiver = Receiver::start(Manner::Create(Duration::from_millis(100)));
    let connector = Child::connector(receiver.address, LIFTED);
    travelled("every call takes 100 ms", &connector, &receiver, 16, (events / 10).min(10_000), table);
}

fn travelled(name: &str, child: &Child, receiver: &Receiver, connections: usize, events: u64, table: &mut Table) {
    let (idle, began) = (child.cpu(), Instant::now());
    let answers = Load { address: child.address, token: TOKEN, connections, requests: events }.run();
    let ended = receiver.wait_for(events, Duration::from_secs(180));
    let cpu = (child.cpu() - idle).as_micros() as u64 / events;
    let (created, bytes) = receiver.seen();
    let rate = created as f64 / (ended - began).as_secs_f64();
    table.row(&[
        format!("{name}: findings"),
        format!("{rate:.0} findings/s · {created} of {events} events · {cpu} µs CPU an event"),
    ]);
    table.row(&[format!("{name}: answers"), said(&answers, None)]);
    let (now, peak) = child.memory();
    table.row(&[
        format!("{name}: memory"),
        format!(
            "{now} MB, peak {peak} MB · largest log {} MB · a finding {} bytes",
            child.largest_log(),
            bytes / created.max(1)
        ),
    ]);
}

/// What undelivered events cost: memory, and the write-ahead log.
fn backlog(events: u64, table: &mut Table) {
    let receiver = Receiver::start(Manner::Refuse);
    let connector = Child::connector(receiver.address, LIFTED);
    let (answers, cpu) = measured(&connector, 64, events);
    let (now, peak) = connector.memory();
    table.row(&[format!("backlog of {events}: answers"), said(&answers, cpu)]);
    table.row(&[
        format!("backlog of {events}: memory"),
        format!("{now} MB, peak {peak} MB · largest log {} MB", connector.largest_log()),
    ]);
}

fn measured(child: &Child, connections: usize, requests: u64) -> (Answers, Option<u64>) {
    let before = child.cpu();
    let answers = Load { address: child.address, token: TOKEN, connections, requests }.run();
    (answers, Some((child.cpu() - before).as_micros() as u64 / requests))
}

fn said(answers: &Answers, cpu: Option<u64>) -> String {
    let cpu = cpu.map(|cpu| format!(" · {cpu} µs CPU")).unwrap_or_default();
    let [p50, p99, most] = [0.5, 0.99, 1.0].map(|part| answers.quantile(part).as_secs_f64() * 1e3);
    let refused = if answers.refused > 0 { format!(" · {} REFUSED", answers.refused) } else { String::new() };
    format!("{:.0}/s · p50 {p50:.2} ms · p99 {p99:.2} ms · max {most:.1} ms{cpu}{refused}", answers.per_second())
}

fn machine() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{cores} cores shared by connector, generator and receiver; load average {}", load.join(" "))
}

struct Table(comfy_table::Table);

impl Table {
    fn new() -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
        table.set_header(["what", "measured"]);
        Self(table)
    }

    fn row(&mut self, cells: &[String; 2]) {
        eprintln!("  {}: {}", cells[0], cells[1]);
        self.0.add_row(cells);
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}
