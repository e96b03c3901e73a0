//! # The path of an event
//!
//! A sender posts a delivery to `POST /events` ([`receive`]). The door checks who is speaking and hands the bytes
//! on. [`normalize`] finds out which of the known shapes they have and turns every element into our own words
//! ([`event`]), without touching network, clock or store. [`outbox`] writes all of it down; only then is the sender
//! answered. Behind the outbox a worker leases what is due, [`enrich`] adds where it happened, [`decide`] says what
//! the [`finding`] should say, and [`deliver`] brings it to Security Command Center at the pace its quota allows. The
//! row is closed with exactly one outcome.
//!
//! Beside the path: [`state`] keeps small durable facts, [`integrity`] reads Shielded VM reports, [`track`] remembers what
//! was seen of each VM, [`plan`] says what a failed boot calls for and [`respond`] does it behind gates, [`attest`] verifies
//! attestation tokens, [`sandbox`] is a small Security Command Center for rehearsals, [`google`] and [`sysdig`] speak
//! to the outside services, by the rules of [`calls`], [`text`] is what is done to foreign text before anybody sees it,
//! and [`app`] is the only place where the parts meet.

pub mod app;
pub mod attest;
pub mod calls;
pub mod causes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decide;
pub mod deliver;
pub mod enrich;
pub mod event;
pub(crate) mod files;
pub mod finding;
pub mod google;
pub mod integrity;
pub mod journey;
pub mod normalize;
pub mod outbox;
pub mod plan;
pub mod receive;
pub mod respond;
pub mod sandbox;
pub mod server;
pub mod state;
pub mod sysdig;
pub mod telemetry;
pub mod text;
pub mod track;
mod words;
