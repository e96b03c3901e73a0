//! The poller: reads Sysdig's events feed, window by window, and hands what it finds to the intake.
//!
//! The watermark says up to where everything has been taken. It lives in the state store and moves only when a window
//! has gone through the intake whole; a process that dies in between reads the window again, and what came twice is a
//! duplicate to the outbox. Of several replicas the one with the lease polls.

pub mod error;
pub mod reader;
pub mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::error::PollError;
use self::reader::{Destination, Progress, Reader};
use self::window::{Layout, Reading};
use super::Receipt;
use crate::calls::pause_or_asked;
use crate::causes::chain;
use crate::config::sysdig::PollConfig;
use crate::state::lease::{self, Claim};
use crate::state::{Expected, Store, Version, body_of};
use crate::sysdig::{Client, SysdigError, Window};
use crate::telemetry::metrics::{POLL_LOST, POLL_WINDOWS};

/// The kind of the watermark's document, and the lease's name.
const KIND: &str = "poll";

/// Between two windows while catching up.
const CATCH_UP_PACE: Duration = Duration::from_secs(1);

/// The first and the longest pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// While a poll fails again and again, windows are halved so often, and not made shorter than this.
const HALVINGS: u32 = 6;
const SHORTEST_CHUNK: TimeDelta = TimeDelta::seconds(60);

/// A clock that is ahead is told again after an hour, or when it is so much further ahead or less.
const SAY_AGAIN: TimeDelta = TimeDelta::hours(1);
const NEWS: TimeDelta = TimeDelta::seconds(30);

/// So long another process polls before it is said.
const SAY_NOT_OURS: TimeDelta = TimeDelta::minutes(10);

/// What the poller is made of.
#[derive(Clone)]
pub struct Parts {
    /// Sysdig.
    pub client: Client,
    /// Where events go: the intake.
    pub destination: Arc<dyn Destination>,
    /// Where the watermark and the lease live.
    pub state: Arc<dyn Store>,
    /// This replica's name, unique among them.
    pub replica: String,
}

/// The poller.
#[derive(Debug)]
pub struct Poller {
    reader: Reader,
    bookmark: Bookmark,
    settings: PollConfig,
    failures: u32,
    /// Whether its lease was lost in its last window.
    lost: bool,
    read_to: Arc<ReadTo>,
    /// When it was last said how far our clock is ahead, and how far that was.
    said_ahead: Option<(DateTime<Utc>, TimeDelta)>,
    others: Others,
}

/// Since when another process polls, and whether that was said.
#[derive(Debug, Default)]
struct Others {
    since: Option<DateTime<Utc>>,
    said: bool,
}

/// Up to where everything has been taken, as last seen: whoever shows the lag asks, so that it grows by itself.
#[derive(Debug, Default)]
pub struct ReadTo(AtomicI64);

impl ReadTo {
    /// How far that is behind, in seconds; `None` while it is not known.
    pub fn lag_secs(&self, now: DateTime<Utc>) -> Option<u64> {
        let mark = self.0.load(Ordering::Relaxed);
        (mark != 0).then(|| u64::try_from(now.timestamp() - mark).unwrap_or_default())
    }

    fn is(&self, mark: DateTime<Utc>) {
        self.0.store(mark.timestamp(), Ordering::Relaxed);
    }
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Another replica polls.
    NotOurs,
    /// Nothing is old enough yet.
    Waited,
    /// A window has gone through.
    Read {
        /// Which.
        window: Window,
        /// What became of its events.
        receipt: Receipt,
        /// Whether there is more to read at once.
        more: bool,
    },
}

/// The watermark as the store has it.
#[derive(Debug, Serialize, Deserialize)]
struct Watermark {
    read_to: DateTime<Utc>,
}

/// Moves the watermark and keeps the lease while a window goes through.
struct Advance<'a> {
    bookmark: &'a Bookmark,
    read_to: &'a ReadTo,
    mark: DateTime<Utc>,
    version: Version,
    began: DateTime<Utc>,
    started: Instant,
    /// When the lease was renewed last.
    held: DateTime<Utc>,
}

/// The watermark and the lease, in the state store.
#[derive(Debug)]
struct Bookmark {
    state: Arc<dyn Store>,
    key: String,
    replica: String,
    /// How long the lease lasts.
    lasting: TimeDelta,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("client", &self.client).field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl Poller {
    /// A poller; it does nothing until it is stepped or run.
    pub fn new(parts: Parts, settings: PollConfig) -> Self {
        let host = host_of(&parts.client);
        let key = parts.client.tenant().map_or_else(|| host.clone(), |tenant| key_of(&host, tenant));
        let reader = Reader::new(parts.client, parts.destination, settings.filter.clone());
        let lasting = TimeDelta::from_std(settings.interval * 3).unwrap_or(TimeDelta::hours(1));
        let lasting = lasting.max(TimeDelta::minutes(3));
        Self {
            reader,
            bookmark: Bookmark { state: parts.state, key, replica: parts.replica, lasting },
            settings,
            failures: 0,
            lost: false,
            read_to: Arc::default(),
            said_ahead: None,
            others: Others::default(),
        }
    }

    /// Up to where it has read.
    pub fn read_to(&self) -> Arc<ReadTo> {
        Arc::clone(&self.read_to)
    }

    /// Polls until `stop`. Failures are told and tried again; nothing ends it.
    pub async fn run(mut self, stop: CancellationToken) {
        let asked = tokio::select! {
            () = stop.cancelled() => Ok(()),
            asked = self.reader.client().may_read_events(Utc::now()) => asked.map(drop),
        };
        if let Err(error) = asked {
            let remedy = error.remedy();
            tracing::warn!(error = %chain(&error), remedy, "Sysdig's events feed cannot be read now; polling goes on trying.");
        }
        loop {
            let outcome = tokio::select! {
                () = stop.cancelled() => break,
                outcome = self.step(Utc::now()) => outcome,
            };
            let pause = self.pause(&outcome, rand::random());
            if let Err(error) = &outcome {
                tell(error, pause);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.give_up_lease().await;
    }

    /// Lets another replica, or our own next start, poll at once.
    async fn give_up_lease(&self) {
        if let Err(error) = self.bookmark.release(Utc::now()).await {
            tracing::debug!(error = %chain(&error), "the poller's lease was not given back; it runs out by itself");
        }
    }

    /// One window, if one is due and ours.
    pub async fn step(&mut self, now: DateTime<Utc>) -> Result<Step, PollError> {
        let outcome = self.try_step(now).await;
        self.failures = match &outcome {
            // A lease that was lost in a long window counts until a window goes through.
            Ok(Step::NotOurs) if self.lost => self.failures,
            Ok(_) => 0,
            Err(_) => self.failures.saturating_add(1),
        };
        if !matches!(outcome, Ok(Step::NotOurs)) {
            self.lost = matches!(outcome, Err(PollError::TakenOver));
        }
        let result = match &outcome {
            Ok(Step::NotOurs) => "not_ours",
            Ok(_) => "ok",
            Err(error) => error.label(),
        };
        metrics::counter!(POLL_WINDOWS.name, "result" => result).increment(1);
        outcome
    }

    /// How long to leave Sysdig alone after a step; `jitter` (0 to 1) spreads what follows a failure.
    pub fn pause(&self, outcome: &Result<Step, PollError>, jitter: f64) -> Duration {
        match outcome {
            Ok(Step::Read { more: true, .. }) => CATCH_UP_PACE,
            Ok(_) => self.settings.interval,
            Err(error) => {
                // A cursor that is gone is nobody's trouble: the window is read anew, and shorter, so that it has fewer pages.
                // Where that has not helped, it is like any other failure.
                let gone = matches!(error, PollError::Sysdig(SysdigError::CursorGone { .. }));
                let failures = self.failures.saturating_sub(if gone { HALVINGS - 1 } else { 0 });
                // Never at once, whatever is asked.
                pause_or_asked(failures, FIRST_PAUSE, LONGEST_PAUSE, error.retry_after(), jitter)
            }
        }
    }

    async fn try_step(&mut self, now: DateTime<Utc>) -> Result<Step, PollError> {
        let started = Instant::now();
        if !self.bookmark.hold(now).await? {
            // Whoever polls moves the watermark.
            if let Some((mark, _)) = self.bookmark.known().await? {
                self.read_to.is(mark);
            }
            self.say_not_ours(now);
            return Ok(Step::NotOurs);
        }
        self.others = Others::default();
        let layout = self.layout();
        let theirs = self.sysdigs_time(now);
        let (mark, version) = self.bookmark.watermark(window::first(theirs, &layout)).await?;
        self.read_to.is(mark);
        let Some(reading) = window::next(mark, theirs, &layout) else { return Ok(Step::Waited) };
        let version = self.bookmark.begin(&reading, mark, version).await?;
        self.read_to.is(reading.new_from);
        let mut advance = Advance {
            bookmark: &self.bookmark,
            read_to: &self.read_to,
            mark: reading.new_from,
            version,
            began: now,
            started,
            held: now,
        };
        let receipt = self.reader.read(reading.window, theirs, &mut advance).await?;
        tracing::debug!(window = %reading.window, accepted = receipt.accepted, "A window of Sysdig's events was read.");
        Ok(Step::Read { window: reading.window, receipt, more: reading.more })
    }

    /// Of several replicas that is as it should be; a connector of its own would wait for ever.
    fn say_not_ours(&mut self, now: DateTime<Utc>) {
        let since = *self.others.since.get_or_insert(now);
        if !self.others.said && now - since >= SAY_NOT_OURS {
            self.others.said = true;
            tracing::info!(
                feed = self.bookmark.key,
                "Another process polls this feed, which is right for a replica; a connector with another team's token or another filter needs a STATE_URL of its own."
            );
        }
    }

    /// What Sysdig's clock says, when ours is ahead: what has not happened there yet cannot be read.
    fn sysdigs_time(&mut self, now: DateTime<Utc>) -> DateTime<Utc> {
        let ahead = self.reader.client().clock_ahead();
        let said = |(when, what): (DateTime<Utc>, TimeDelta)| now - when < SAY_AGAIN && (ahead - what).abs() < NEWS;
        if !ahead.is_zero() && !self.said_ahead.is_some_and(said) {
            self.said_ahead = Some((now, ahead));
            let (ahead_secs, remedy) = (ahead.num_seconds(), "let this machine keep its time by NTP");
            tracing::warn!(
                ahead_secs,
                remedy,
                "This machine's clock is ahead of Sysdig's; events are read up to Sysdig's time."
            );
        }
        now - ahead
    }

    fn layout(&self) -> Layout {
        let delta = |duration| TimeDelta::from_std(duration).unwrap_or(window::REACH);
        let chunk = delta(self.settings.window) / (1 << self.failures.min(HALVINGS));
        Layout {
            settle: delta(self.settings.settle),
            overlap: delta(self.settings.overlap),
            chunk: chunk.max(SHORTEST_CHUNK),
            lookback: delta(self.settings.lookback),
        }
    }
}

impl Bookmark {
    /// Takes or renews the lease.
    async fn hold(&self, now: DateTime<Utc>) -> Result<bool, PollError> {
        let claim = Claim { name: &self.lease(), holder: &self.replica, ttl: self.lasting };
        Ok(lease::take(self.state.as_ref(), &claim, now).await?.is_some())
    }

    /// The lease's name.
    fn lease(&self) -> String {
        format!("{KIND}-{}", self.key)
    }

    /// Gives the lease back, if it is ours. What was broken off while it took the lease comes too late after this.
    async fn release(&self, now: DateTime<Utc>) -> Result<(), PollError> {
        self.hold(now).await?;
        Ok(lease::release(self.state.as_ref(), &self.lease(), &self.replica, now).await?)
    }

    /// The watermark; a first one is written at `first`, so that a first window that fails begins there again.
    async fn watermark(&self, first: DateTime<Utc>) -> Result<(DateTime<Utc>, Version), PollError> {
        match self.known().await? {
            Some(known) => Ok(known),
            None => Ok((first, self.write(first, Expected::Absent).await?)),
        }
    }

    /// The watermark, if there is one.
    async fn known(&self) -> Result<Option<(DateTime<Utc>, Version)>, PollError> {
        let Some(document) = self.state.read(KIND, &self.key).await? else { return Ok(None) };
        Ok(Some((document.parse::<Watermark>(KIND)?.read_to, document.version)))
    }

    /// Tells what a reading gives up, and writes that down before it is read.
    async fn begin(&self, reading: &Reading, mark: DateTime<Utc>, version: Version) -> Result<Version, PollError> {
        if let Some(lost) = reading.lost {
            let seconds = lost.length().num_seconds();
            tracing::warn!(%lost, seconds, "The poller asks 14 days back at most; events before that were not read and are lost to it.");
            metrics::counter!(POLL_LOST.name).increment(u64::try_from(seconds).unwrap_or_default());
        }
        if reading.clock_was_ahead {
            tracing::warn!(watermark = %mark, "The poll's watermark lies in the future: the clock was ahead. The last day is read again; what came before that while the clock was ahead may be missing, and `sysdig-scc poll --from` reads it.");
        }
        match reading.new_from == mark {
            true => Ok(version),
            false => self.write(reading.new_from, Expected::Version(version)).await,
        }
    }

    async fn write(&self, read_to: DateTime<Utc>, expected: Expected) -> Result<Version, PollError> {
        let body = body_of(KIND, &self.key, &Watermark { read_to })?;
        match self.state.write(KIND, &self.key, &body, expected).await {
            Err(error) if error.is_conflict() => Err(PollError::TakenOver),
            answer => Ok(answer?),
        }
    }
}

impl Advance<'_> {
    fn now(&self) -> DateTime<Utc> {
        self.began + TimeDelta::from_std(self.started.elapsed()).unwrap_or_default()
    }

    async fn renew(&mut self, now: DateTime<Utc>) -> Result<(), PollError> {
        if !self.bookmark.hold(now).await? {
            return Err(PollError::TakenOver);
        }
        self.held = now;
        Ok(())
    }
}

impl Progress for Advance<'_> {
    fn goes_on(&mut self) -> BoxFuture<'_, Result<(), PollError>> {
        Box::pin(async move {
            let (now, lasting) = (self.now(), self.bookmark.lasting);
            if now < self.held + lasting / 3 {
                return Ok(());
            }
            match self.renew(now).await {
                Err(PollError::State(error)) if error.is_transient() && now < self.held + lasting => {
                    tracing::debug!(error = %chain(&error), "the poller's lease was not renewed; there is time to try again");
                    Ok(())
                }
                renewed => renewed,
            }
        })
    }

    fn done(&mut self, part: Window) -> BoxFuture<'_, Result<(), PollError>> {
        Box::pin(async move {
            self.renew(self.now()).await?;
            if part.to > self.mark {
                let version = Expected::Version(self.version.clone());
                self.version = self.bookmark.write(part.to, version).await?;
                self.mark = part.to;
                self.read_to.is(part.to);
            }
            Ok(())
        })
    }
}

/// Of several instances or teams behind one address, each has a watermark of its own.
fn key_of(host: &str, (instance, team): (&str, Option<&str>)) -> String {
    plain(&team.map_or_else(|| format!("{host}-{instance}"), |team| format!("{host}-{instance}-{team}")))
}

/// The watermark belongs to an installation: a change of SYSDIG_URL begins a new one.
fn host_of(client: &Client) -> String {
    let base = client.base();
    let host = base.host_str().unwrap_or("sysdig");
    let text = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}-{port}"));
    plain(&text)
}

/// Without what a document's name cannot have.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '-' }).collect()
}

fn tell(error: &PollError, pause: Duration) {
    let (remedy, pause_secs) = (error.remedy(), pause.as_secs());
    if error.needs_somebody() {
        tracing::error!(error = %chain(error), remedy, pause_secs, "Polling Sysdig is held up until somebody acts; nothing is lost meanwhile.");
    } else {
        tracing::warn!(error = %chain(error), pause_secs, "A poll of Sysdig did not go through; the same window is read again.");
    }
}
