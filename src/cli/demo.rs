//! `demo`: the whole journey on this machine: a sandbox and the connector on loopback, deliveries of every shape
//! through the public door, and the findings that came out.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use chrono::Utc;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::demo_samples::{SAMPLES, Sample};
use super::out::{self, say};
use super::stage::Stage;
use crate::app::App;
use crate::config::{Config, Env};
use crate::normalize::{self, Element};
use crate::receive::Receipt;
use crate::telemetry;

/// See it work: no account, no set-up, nothing left behind.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// End when all is delivered (status 0) instead of staying until Ctrl-C.
    #[arg(long)]
    once: bool,
}

/// How long everything may take before the demo admits that something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs it.
///
/// # Errors
/// When a part cannot start, or not everything was delivered in time.
pub(super) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    super::block_on(demo(args.once))
}

/// As a shell shows a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

async fn demo(once: bool) -> anyhow::Result<ExitCode> {
    // Before the folder is made: whatever ends the demo from here on, it is removed.
    let mut stop_signal = std::pin::pin!(super::serve::stop_signal()?);
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    let token = hex::encode(rand::random::<[u8; 20]>());
    let file = folder.path().join("outbox.db");
    let mut env = Env::from_pairs([
        ("PORT", "0"),
        ("WEBHOOK_AUTHENTICATION_TOKEN", &token),
        ("OUTBOX_URL", &format!("sqlite:{}", file.display())),
        ("STATE_URL", "sqlite::memory:"),
        ("SCC_WRITES_PER_MINUTE", "6000"),
        ("RUST_LOG", "warn"),
    ]);
    let stage = Stage::start(&mut env).await?;
    let config = Config::read(env)?;
    telemetry::logs::start(&config.telemetry);
    let app = App::build(&config).await?;
    let door = format!("http://{}/events", app.address());
    say!("This is a rehearsal: the Security Command Center below is a SANDBOX on this machine, not Google.\n");
    say!("connector  http://{}\nsandbox    {}\n", app.address(), stage.url());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(app.run(async { drop(stopped.await) }));
    let url = stage.url();
    let played = tokio::select! {
        played = play(&door, &token, &url) => played.map(|()| ExitCode::SUCCESS),
        () = &mut stop_signal => Ok(ExitCode::from(INTERRUPTED)),
    };
    // Who reads nothing of it waits for nothing either.
    if played.as_ref().is_ok_and(|code| *code == ExitCode::SUCCESS) && !once && !out::is_lost() {
        say!(
            "\nLook at the findings:  {}\nand at the metrics:    {}",
            stage.url(),
            door.replace("/events", "/metrics")
        );
        say!(
            "\nSend your own (the token is this run's only):\n  curl -H 'Authorization: Bearer {token}' --data-binary @FILE {door}"
        );
        say!("\nCtrl-C ends the demo; nothing is left behind.");
        stop_signal.await;
    }
    drop(stop);
    running.await.context("the connector ended badly")??;
    stage.stop().await;
    played
}

async fn play(door: &str, token: &str, sandbox: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let bar = ProgressBar::new(SAMPLES.len() as u64);
    bar.set_style(ProgressStyle::with_template("{msg:32} [{bar:30}] {pos}/{len}")?.progress_chars("=> "));
    let mut receipts = Vec::new();
    for sample in SAMPLES {
        bar.set_message(sample.title);
        receipts.push((sample, send(&client, door, token, sample).await?));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let expected: u64 = receipts.iter().map(|(_, receipt)| receipt.accepted).sum();
    let findings = wait_for(&client, sandbox, expected).await?;
    deliveries(&receipts);
    show(&findings);
    say!("\n{} of {expected} events stand as findings.", findings.len());
    Ok(())
}

async fn send(client: &reqwest::Client, door: &str, token: &str, sample: &Sample) -> anyhow::Result<Receipt> {
    let answer = client.post(door).bearer_auth(token).body(sample.body).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "{}: the connector answered {status}: {text}", sample.title);
    Ok(serde_json::from_str(&text)?)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Page {
    list_findings_results: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    finding: Found,
}

/// The members of a finding that the table shows.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Found {
    category: String,
    severity: String,
    resource_name: String,
    event_time: String,
    kubernetes: Kubernetes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kubernetes {
    pods: Vec<Pod>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    ns: String,
    name: String,
}

async fn wait_for(client: &reqwest::Client, sandbox: &str, expected: u64) -> anyhow::Result<Vec<Found>> {
    use crate::sandbox::{DEFAULT_ORGANIZATION, DEFAULT_SOURCE};
    let url = format!(
        "{sandbox}/v2/organizations/{DEFAULT_ORGANIZATION}/sources/{DEFAULT_SOURCE}/locations/global/findings?pageSize=1000&orderBy=event_time"
    );
    let bar = ProgressBar::new(expected);
    bar.set_style(
        ProgressStyle::with_template("findings in Security Command Center  [{bar:30}] {pos}/{len}")?
            .progress_chars("=> "),
    );
    let began = Utc::now();
    loop {
        let page: Page = client.get(&url).send().await?.error_for_status()?.json().await?;
        let there = page.list_findings_results.len() as u64;
        bar.set_position(there);
        if there >= expected {
            bar.finish_and_clear();
            return Ok(page.list_findings_results.into_iter().map(|row| row.finding).collect());
        }
        if (Utc::now() - began).to_std().unwrap_or_default() > PATIENCE {
            bar.abandon();
            bail!("only {there} of {expected} findings came out within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn deliveries(receipts: &[(&Sample, Receipt)]) {
    say!("What was sent to POST /events:");
    let mut table = super::table(["delivery", "accepted", "duplicate", "ignored", "why"]);
    for (sample, receipt) in receipts {
        let count = |n: u64| if n == 0 { String::new() } else { n.to_string() };
        let parked = if receipt.parked > 0 { format!("{} parked", receipt.parked) } else { String::new() };
        let why =
            [why_ignored(sample), parked].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        table.add_row([
            sample.title.to_owned(),
            count(receipt.accepted),
            count(receipt.duplicates),
            count(receipt.ignored),
            why,
        ]);
    }
    say!("{table}\n");
}

fn why_ignored(sample: &Sample) -> String {
    let elements = normalize::delivery(sample.body.as_bytes(), Utc::now()).unwrap_or_default();
    let mut reasons: Vec<&str> = elements
        .iter()
        .filter_map(|element| match element {
            Element::Ignored(kind) | Element::Unknown { kind, .. } => Some(kind.reason()),
            _ => None,
        })
        .collect();
    reasons.dedup();
    reasons.join("; ")
}

fn show(findings: &[Found]) {
    say!("The findings that came out:");
    let mut table = super::table(["category", "severity", "resource", "pod", "time"]);
    for finding in findings {
        let pod = finding.kubernetes.pods.first().map(|pod| format!("{}/{}", pod.ns, pod.name)).unwrap_or_default();
        let time = finding.event_time.get(..19).unwrap_or(&finding.event_time).replace('T', " ");
        let resource = finding.resource_name.trim_start_matches("//");
        table.add_row([&finding.category, &finding.severity, resource, &pod, &time]);
    }
    say!("{table}");
}
