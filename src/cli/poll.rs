//! `poll --from T --to T`: backfill from Sysdig's events feed.
//!
//! Beside a running connector the events go in by its own door, as its outbox belongs to it; else straight into the
//! outbox, from where the next start delivers them.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clap::Args;
use futures_util::future::BoxFuture;
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;

use super::out::{self, note, say};
use crate::app::ground;
use crate::causes::chain;
use crate::config::attestation::ATTESTATION_NONCE_KEY;
use crate::config::finding::FindingConfig;
use crate::config::outbox::{OUTBOX_URL, OutboxConfig};
use crate::config::secrets::resolve_some;
use crate::config::server::{PORT, ServerConfig, WEBHOOK_AUTHENTICATION_TOKEN, reachable};
use crate::config::sysdig::{SYSDIG_TOKEN, SysdigConfig};
use crate::config::{Env, Problem, scc};
use crate::decide::{Decision, KnownSecrets, Rules, decide, unwanted};
use crate::enrich::Enriched;
use crate::finding::FindingChange;
use crate::google::secret_manager::is_place;
use crate::normalize::Element;
use crate::outbox::{Sqlite, StoreError};
use crate::receive::poller::error::PollError;
use crate::receive::poller::reader::{Destination, Progress, Reader};
use crate::receive::poller::window::{REACH, chunks};
use crate::receive::{Intake, IntakeError, Receipt};
use crate::sysdig::{Client, Patience, Window};

/// Read a stretch of time from Sysdig's events feed.
#[derive(Debug, Args)]
pub(super) struct PollArgs {
    /// The first moment: 2026-11-01T12:00:00Z, 2026-11-01, or how long ago: 90m, 6h, 3d.
    #[arg(long)]
    from: String,
    /// The first moment after it, in the same forms, or `now`.
    #[arg(long, default_value = "now")]
    to: String,
    /// Only print what would be sent; nothing is written down or sent.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the settings or the times, or what stopped the reading and where.
pub(super) fn run(args: &PollArgs) -> anyhow::Result<ExitCode> {
    super::block_on(backfill(args))
}

async fn backfill(args: &PollArgs) -> anyhow::Result<ExitCode> {
    let now = Utc::now();
    let window = window(args, now)?;
    let (sysdig, target) = settings(args.dry_run).await?;
    let access = sysdig.access.clone().context("SYSDIG_TOKEN is required")?;
    let client = Client::new(access, Patience { timeout: sysdig.timeout, ..Patience::default() })?;
    let at_door = matches!(target, Target::Door(_));
    let mut reader = Reader::new(client, target.destination()?, sysdig.reading.filter.clone());
    let length = TimeDelta::from_std(sysdig.reading.window).unwrap_or(REACH);
    let mut bar = Bar::new(window);
    let mut total = Receipt::default();
    for part in chunks(window, length) {
        let receipt = match reader.read(part, now, &mut bar).await {
            Ok(receipt) => receipt,
            // What cannot be printed is told in the end; a reader that has seen enough is no failure.
            Err(_) if out::is_lost() => {
                bar.0.finish_and_clear();
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => {
                bar.0.abandon();
                let remedy = match error {
                    PollError::Intake(_) if at_door => {
                        "check that PORT and WEBHOOK_AUTHENTICATION_TOKEN are the running connector's, and see its log"
                    }
                    _ => error.remedy(),
                };
                let (from, to) = (bar.1.to_rfc3339(), window.to.to_rfc3339());
                let text = format!("reading stopped; go on with --from {from} --to {to} ({remedy})");
                return Err(anyhow::Error::new(error).context(text));
            }
        };
        total += receipt;
    }
    bar.0.finish_and_clear();
    let Receipt { accepted, duplicates, ignored, parked } = total;
    let verb = if args.dry_run { "would be accepted" } else { "accepted" };
    if args.dry_run {
        note!(
            "Nothing was looked up in Compute Engine and Kubernetes; a connector that does that may name the place better."
        );
    }
    note!("{window}: {accepted} {verb}, {duplicates} duplicates, {ignored} ignored, {parked} parked.");
    Ok(ExitCode::SUCCESS)
}

/// Where the events go.
enum Target {
    Print(Print),
    /// An outbox that is not there yet.
    New(OutboxConfig),
    Outbox(Sqlite),
    Door(Door),
}

/// Reads what this command uses, and nothing else. What is wrong on this machine is in the same list.
async fn settings(dry_run: bool) -> anyhow::Result<(SysdigConfig, Target)> {
    let mut env = Env::from_process();
    resolve_some(&mut env, [&SYSDIG_TOKEN]).await;
    let sysdig = SysdigConfig::read(&mut env);
    if env.given(&SYSDIG_TOKEN).is_none() && !env.is_told(&SYSDIG_TOKEN) {
        env.problem(SYSDIG_TOKEN.name, "is required", "set it to a token that may read events (policy-events.read)");
    }
    let target = match dry_run {
        true => printer(&mut env, sysdig.as_ref()),
        false => outbox(&mut env).await,
    };
    env.finish()?;
    sysdig.zip(target).context("the settings cannot be read")
}

fn printer(env: &mut Env, sysdig: Option<&SysdigConfig>) -> Option<Target> {
    let (organization, finding) = (scc::read_organization(env), FindingConfig::read(env));
    let secrets = secrets(env);
    Some(Target::Print(Print(crate::app::rules(organization.as_deref(), sysdig?, &finding?, secrets))))
}

/// The secrets of the settings as they stand there, which are not shown. Nobody is asked for those that stand
/// elsewhere.
fn secrets(env: &mut Env) -> KnownSecrets {
    let mut known = Vec::new();
    for setting in [&SYSDIG_TOKEN, &WEBHOOK_AUTHENTICATION_TOKEN, &ATTESTATION_NONCE_KEY] {
        let given = env.given(setting).unwrap_or_default();
        let each = given.split(',').map(str::trim).filter(|secret| !is_place(secret));
        known.extend(each.map(SecretString::from));
    }
    KnownSecrets::new(&known)
}

/// The outbox, or the door of the connector that runs on it.
async fn outbox(env: &mut Env) -> Option<Target> {
    let settings = OutboxConfig::read(env)?;
    let wrong = match settings.path.exists() {
        // Nothing is made as long as anything is wrong.
        false => ground::store(&OUTBOX_URL, &settings.path),
        true => match Sqlite::open(&settings.path, settings.keep) {
            Ok(store) => return Some(Target::Outbox(store)),
            Err(StoreError::InUse { .. }) => return door(env).await,
            Err(error) => Some(Problem {
                setting: OUTBOX_URL.name.into(),
                wrong: format!("cannot be opened: {}", chain(&error)),
                remedy: "correct it, or make the file and its folder writable for the user this runs as".into(),
            }),
        },
    };
    match wrong {
        None => Some(Target::New(settings)),
        Some(Problem { setting, wrong, remedy }) => {
            env.problem(&setting, &wrong, &remedy);
            None
        }
    }
}

async fn door(env: &mut Env) -> Option<Target> {
    resolve_some(env, [&WEBHOOK_AUTHENTICATION_TOKEN]).await;
    let listen = ServerConfig::read_listen(env);
    if listen.is_some_and(|address| address.port() == 0) {
        let remedy = "set it to the port that the connector listens on, or stop the connector";
        env.problem(PORT.name, "is 0, and a connector runs on this outbox", remedy);
    }
    let tokens = match env.given(&WEBHOOK_AUTHENTICATION_TOKEN) {
        Some(_) => ServerConfig::read_tokens(env),
        None => {
            let wrong = "is required, as a connector runs on this outbox and takes the events at its door";
            env.problem(WEBHOOK_AUTHENTICATION_TOKEN.name, wrong, "set it as for the connector, or stop the connector");
            None
        }
    };
    let mut address = listen?;
    address.set_ip(reachable(address.ip()));
    let (url, token) = (format!("http://{address}/events"), tokens?.into_iter().next()?);
    Some(Target::Door(Door { url, token }))
}

impl Target {
    fn destination(self) -> anyhow::Result<Arc<dyn Destination>> {
        let store = match self {
            Self::Print(print) => return Ok(Arc::new(print)),
            Self::Door(door) => {
                note!("A connector runs on this outbox; the events go in at {}.", door.url);
                return Ok(Arc::new(OpenDoor::new(door)?));
            }
            Self::Outbox(store) => store,
            Self::New(settings) => {
                Sqlite::open(&settings.path, settings.keep).context("the outbox cannot be opened")?
            }
        };
        note!("The events are written into the outbox; they are delivered when the connector runs.");
        Ok(Arc::new(Intake::new(Arc::new(store), Arc::new(Notify::new()))))
    }
}

fn window(args: &PollArgs, now: DateTime<Utc>) -> anyhow::Result<Window> {
    let moment = |option: &str, text: &str| {
        moment(text, now)
            .with_context(|| format!("--{option} {text:?} is no time; write 2026-11-01T12:00:00Z, 2026-11-01 or 6h"))
    };
    let (mut from, to) = (moment("from", &args.from)?, moment("to", &args.to)?.min(now));
    if from >= to {
        bail!("--from must lie before --to, and before now");
    }
    if to <= now - REACH {
        bail!("this stretch is older than what is asked for: 14 days back at most, to {}", (now - REACH).to_rfc3339());
    }
    if from < now - REACH {
        note!("14 days back are asked for at most: what lies before {} is not read.", (now - REACH).to_rfc3339());
        from = now - REACH;
    }
    Ok(Window { from, to })
}

fn moment(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if text == "now" {
        return Some(now);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.with_timezone(&Utc));
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Some(day.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok().filter(|number| (0..1_000_000).contains(number))?;
    let ago = match unit {
        "s" => TimeDelta::seconds(number),
        "m" => TimeDelta::minutes(number),
        "h" => TimeDelta::hours(number),
        "d" => TimeDelta::days(number),
        _ => return None,
    };
    now.checked_sub_signed(ago)
}

/// The progress, and up to where all has gone through.
struct Bar(ProgressBar, DateTime<Utc>, DateTime<Utc>);

impl Bar {
    fn new(window: Window) -> Self {
        let bar = ProgressBar::new(u64::try_from(window.length().num_seconds()).unwrap_or_default());
        let style = ProgressStyle::with_template("{bar:40} {percent}% {msg} {elapsed_precise}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar, window.from, window.from)
    }
}

impl Progress for Bar {
    fn done(&mut self, part: Window) -> BoxFuture<'_, Result<(), PollError>> {
        self.1 = part.to;
        self.0.set_position(u64::try_from((part.to - self.2).num_seconds()).unwrap_or_default());
        self.0.set_message(part.to.format("%F %T").to_string());
        Box::pin(async { Ok(()) })
    }
}

/// A dry run: a line for each finding.
struct Print(Rules);

impl Destination for Print {
    fn take(&self, elements: Vec<Element>) -> BoxFuture<'_, Result<Receipt, IntakeError>> {
        let mut receipt = Receipt::default();
        for element in elements {
            match element {
                Element::Event { event, .. } => {
                    receipt.accepted += 1;
                    if let Some(why) = unwanted(&event, &self.0) {
                        say!("{} filtered: {why}", event.finding_id());
                        continue;
                    }
                    match decide(&event, &Enriched::default(), &self.0, Utc::now()) {
                        Decision::Deliver(change) => print(&change),
                        Decision::Follow(_) => {
                            say!("{} depends on what was seen of the VM before", event.finding_id())
                        }
                    }
                }
                Element::Ignored(_) | Element::Unknown { .. } => receipt.ignored += 1,
                Element::Unreadable { reason, .. } => {
                    receipt.parked += 1;
                    say!("cannot be read: {reason}");
                }
            }
        }
        let lost = out::is_lost().then(|| IntakeError(StoreError::Batch("nothing more can be printed".into())));
        Box::pin(async move { lost.map_or(Ok(receipt), Err) })
    }
}

fn print(change: &FindingChange) {
    match change {
        FindingChange::Create { id, finding }
        | FindingChange::Raise { id, finding }
        | FindingChange::Amend { id, finding, .. } => {
            let time = finding.event_time.format("%FT%TZ");
            say!("{time} {id} {:?} {} {}", finding.severity, finding.category, finding.resource_name);
        }
        FindingChange::Close { id, time, .. } => say!("{} {id} closed", time.format("%FT%TZ")),
    }
}

/// The door of the connector that runs on this machine.
struct Door {
    url: String,
    token: SecretString,
}

/// The same with what it takes to post there.
struct OpenDoor {
    http: reqwest::Client,
    door: Door,
}

impl OpenDoor {
    fn new(door: Door) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, door })
    }

    async fn post(&self, bodies: Vec<String>, ignored: u64) -> Result<Receipt, String> {
        if bodies.is_empty() {
            return Ok(Receipt { ignored, ..Receipt::default() });
        }
        let request = self.http.post(&self.door.url).bearer_auth(self.door.token.expose_secret());
        let request = request.header("Content-Type", "application/json").body(format!("[{}]", bodies.join(",")));
        let answer = request
            .send()
            .await
            .map_err(|error| format!("the running connector does not answer: {}", error.without_url()))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("the running connector answered {status}"));
        }
        let mut receipt: Receipt = answer.json().await.map_err(|_| "the answer is not the connector's".to_owned())?;
        receipt.ignored += ignored;
        Ok(receipt)
    }
}

impl Destination for OpenDoor {
    fn take(&self, elements: Vec<Element>) -> BoxFuture<'_, Result<Receipt, IntakeError>> {
        let (mut bodies, mut ignored) = (Vec::new(), 0);
        for element in elements {
            match element {
                Element::Event { body, .. } | Element::Unreadable { body, .. } => bodies.push(body),
                Element::Ignored(_) | Element::Unknown { .. } => ignored += 1,
            }
        }
        Box::pin(async move { self.post(bodies, ignored).await.map_err(|error| IntakeError(StoreError::Batch(error))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_every_form() {
        let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("now", Some("2026-11-22T12:00:00Z")),
            ("2026-11-01T12:00:00+01:00", Some("2026-11-01T11:00:00Z")),
            ("2026-11-01", Some("2026-11-01T00:00:00Z")),
            ("90m", Some("2026-11-22T10:30:00Z")),
            ("2d", Some("2026-11-20T12:00:00Z")),
            ("-2d", None),
            ("2w", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(moment(text, now), expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }
}
