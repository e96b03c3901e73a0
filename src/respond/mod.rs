//! Acting on a failed boot of a Shielded VM, behind gates.
//!
//! A report never acts. The journey writes down a plan ([`plan`](crate::plan), [`plans`]); the responder ([`responder`],
//! `rounds`) takes plans one VM at a time, decides again with what is known then, confirms with Compute Engine that the VM is still
//! the one of the report ([`confirm`]), asks the caps ([`caps`]), writes into the journal what it is about to do, does it
//! ([`drive`], snapshots first if that is set), waits for the operation, looks at the VM, and takes the answer in like any
//! other entry, so that the finding says it. Requests have ids made of the event ([`names`](crate::plan::names)), so that
//! doing it twice does it once. What the VM then looks like does not prove that it was done by us (`doubt`).

pub mod caps;
pub mod confirm;
mod doubt;
pub mod drive;
pub mod hands;
mod noted;
pub mod plans;
pub mod responder;
mod rounds;
mod snapshots;
mod watch;
pub mod why_not;
