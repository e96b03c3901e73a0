//! Stories against the real program between small fakes and, where present, Google's emulators. One binary, so that
//! it links once.

#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]
#![allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]
#![allow(missing_docs, reason = "tests")]
#![allow(unreachable_pub, reason = "the fakes are a small library inside one binary")]

mod acting;
mod acting_crash;
mod acting_doubt;
mod acting_gates;
mod acting_told;
mod attest;
mod attest_cel;
mod attest_door;
mod attest_hostile;
mod attest_issuer;
mod attest_journal;
mod attest_keys;
mod attest_logs;
mod attest_once;
mod attest_reload;
mod check;
mod command_line;
mod deliver;
mod delivery;
mod disk;
mod documents;
mod ending;
mod enrich;
mod enrich_foreign;
mod enrich_kubernetes;
mod enrich_login;
mod enrich_moved;
mod fakes;
mod google_auth;
mod google_http;
mod integrity;
mod integrity_baselines;
mod integrity_doors;
mod log_lines;
mod metrics;
mod outbox;
mod poller;
mod program;
mod pubsub;
mod pubsub_token;
mod recovery;
mod sandbox;
mod sandbox_clients;
mod sandbox_strict;
mod setup;
mod setup_sink;
mod state_stores;
mod sysdig_feed;
mod webhook;
mod world;
