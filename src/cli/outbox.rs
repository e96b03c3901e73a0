//! `outbox list · show · retry · discard · stats`: the ledger. Works beside a running connector.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use chrono::Utc;
use clap::{Args, Subcommand};

use super::Format;
use super::out::{note, say};
use crate::config::outbox::OutboxConfig;
use crate::config::{Env, Problems};
use crate::normalize::{self, Element};
use crate::outbox::sqlite::{Admin, Listed, Selection};
use crate::receive;

/// A longer reason is cut in the list; `show` has the whole.
const LONGEST_REASON: usize = 300;

/// Look at the ledger, and decide about parked events.
#[derive(Debug, Args)]
pub(super) struct OutboxArgs {
    #[command(subcommand)]
    command: Command,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Rows, the newest first.
    List {
        /// Only rows in this state. Those that are leased wait, too.
        #[arg(long, value_parser = ["waiting", "leased", "closed", "parked"])]
        state: Option<String>,
        /// Only rows whose reason holds this text.
        #[arg(long)]
        reason: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One row whole: what was delivered, what it became, what happened to it.
    Show {
        /// The row's number, or the event's key (the finding's id); a number is a row's, if there is such a row.
        row: String,
    },
    /// Put parked rows back to be delivered. What could not be read is read again.
    Retry(Which),
    /// Close parked rows for good.
    Discard(Which),
    /// The sums: accepted = waiting + closed.
    Stats,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Rows by number or key.
    rows: Vec<String>,
    /// Every parked row.
    #[arg(long)]
    all: bool,
    /// Every parked row whose reason holds this text.
    #[arg(long, value_parser = part_of_a_reason)]
    reason: Option<String>,
}

/// An empty text is in every reason: who means every row is to say so.
fn part_of_a_reason(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() {
        return Err("every reason holds an empty text; write a part of the reason, or --all for every parked row");
    }
    Ok(text.to_owned())
}

/// Runs the command.
///
/// # Errors
/// When there is no ledger where `OUTBOX_URL` says, or a row is not there.
pub(super) fn run(args: OutboxArgs) -> anyhow::Result<ExitCode> {
    let path = path()?;
    if !path.exists() {
        bail!("there is no outbox at {}; it is made by `sysdig-scc serve` (OUTBOX_URL says where)", path.display());
    }
    let mut admin = Admin::open(&path).with_context(|| format!("the outbox at {} cannot be opened", path.display()))?;
    match args.command {
        Command::List { state, reason, limit } => list(&admin, &Selection { state, reason, limit }, args.format),
        Command::Show { row } => show(&admin, &row, args.format),
        Command::Retry(which) => each(&mut admin, &which, "put back", retry),
        Command::Discard(which) => {
            each(&mut admin, &which, "discarded", |admin, row| Ok(admin.discard(row, Utc::now())?))
        }
        Command::Stats => stats(&mut admin, args.format),
    }
}

fn path() -> Result<PathBuf, Problems> {
    let mut env = Env::from_process();
    let path = OutboxConfig::read_path(&mut env);
    match (path, env.finish()) {
        (Some(path), _) => Ok(path),
        (None, Err(problems)) => Err(problems),
        (None, Ok(())) => Err(Problems(Vec::new())),
    }
}

fn list(admin: &Admin, selection: &Selection, format: Format) -> anyhow::Result<ExitCode> {
    let rows = admin.list(selection)?;
    if format == Format::Json {
        say!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        say!("There are no such rows.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = super::table(["row", "event", "kind", "state", "attempts", "accepted", "next", "reason"]);
    for row in &rows {
        let time =
            |time: Option<chrono::DateTime<Utc>>| time.map(|t| t.format("%F %T").to_string()).unwrap_or_default();
        let state = row.outcome.as_deref().unwrap_or(row.state);
        let next = if row.state == "waiting" { time(row.next) } else { String::new() };
        table.add_row([
            row.id.to_string(),
            row.key.clone(),
            row.kind.clone(),
            state.to_owned(),
            row.attempts.to_string(),
            time(row.accepted),
            next,
            row.reason.as_deref().map(brief).unwrap_or_default(),
        ]);
    }
    say!("{table}");
    Ok(ExitCode::SUCCESS)
}

/// A reason as the list has it: addresses are left out, as what was said stands behind them.
fn brief(reason: &str) -> String {
    let words = reason.split_whitespace().map(|word| match word.find("://") {
        Some(_) => word.strip_suffix(':').map_or("…", |_| "…:"),
        None => word,
    });
    let mut brief = words.collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = brief.char_indices().nth(LONGEST_REASON) {
        brief.truncate(end);
        brief.push('…');
    }
    brief
}

fn show(admin: &Admin, row: &str, format: Format) -> anyhow::Result<ExitCode> {
    let Some(shown) = admin.show(row)? else {
        bail!("there is no row {row} (rows are pruned some time after they are closed; see `outbox list`)");
    };
    if format == Format::Json {
        say!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(ExitCode::SUCCESS);
    }
    let Listed { id, key, kind, door, state, attempts, accepted, next, failing_since, closed, outcome, reason } =
        &shown.listed;
    let time = |time: &Option<chrono::DateTime<Utc>>| time.map_or_else(|| "-".into(), |t| t.to_rfc3339());
    say!("row           {id}\nevent         {key}\nkind          {kind}\ndoor          {door}\nstate         {state}");
    say!(
        "outcome       {}\nattempts      {attempts}\naccepted      {}",
        outcome.as_deref().unwrap_or("-"),
        time(accepted)
    );
    say!("next          {}\nfailing since {}\nclosed        {}", time(next), time(failing_since), time(closed));
    say!("reason        {}", reason.as_deref().unwrap_or("-"));
    say!("\ndelivered:\n{}", pretty(&shown.delivered));
    if let Some(event) = &shown.event {
        say!("\nevent:\n{}", pretty(event));
    }
    Ok(ExitCode::SUCCESS)
}

fn stats(admin: &mut Admin, format: Format) -> anyhow::Result<ExitCode> {
    let stats = admin.stats(Utc::now())?;
    if format == Format::Json {
        let mut value = serde_json::to_value(&stats)?;
        value["balances"] = stats.balances().into();
        say!("{}", serde_json::to_string_pretty(&value)?);
    } else {
        say!(
            "accepted    {:>12}\nwaiting     {:>12}   (of these leased: {})",
            stats.accepted,
            stats.waiting,
            stats.leased
        );
        for (outcome, count) in &stats.closed {
            say!("{outcome:<11} {count:>12}");
        }
        let verdict = if stats.balances() {
            "accepted = waiting + closed"
        } else {
            "THE LEDGER DOES NOT BALANCE; please report it"
        };
        say!("{verdict}");
        if let Some(secs) = stats.oldest_waiting_secs {
            say!("oldest waiting event: {secs} s");
        }
        say!("{} rows, {} KB", stats.rows, stats.bytes / 1024);
    }
    Ok(if stats.balances() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn each(
    admin: &mut Admin,
    which: &Which,
    done: &str,
    act: impl Fn(&mut Admin, i64) -> anyhow::Result<bool>,
) -> anyhow::Result<ExitCode> {
    let (mut changed, mut left) = (0, 0);
    for row in chosen(admin, which)? {
        match act(admin, row) {
            Ok(true) => changed += 1,
            Ok(false) => {
                left += 1;
                note!("row {row} is not parked; left as it is");
            }
            Err(error) => {
                left += 1;
                note!("row {row}: {error:#}");
            }
        }
    }
    say!("{changed} {done}, {left} left as they are");
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(admin: &Admin, which: &Which) -> anyhow::Result<Vec<i64>> {
    if which.rows.is_empty() {
        let parked = Selection { state: Some("parked".into()), reason: which.reason.clone(), limit: u32::MAX };
        return Ok(admin.list(&parked)?.into_iter().map(|row| row.id).collect());
    }
    let find =
        |name: &String| admin.show(name)?.map(|row| row.listed.id).with_context(|| format!("there is no row {name}"));
    which.rows.iter().map(find).collect()
}

fn retry(admin: &mut Admin, row: i64) -> anyhow::Result<bool> {
    let shown = admin.show(&row.to_string())?.context("the row is gone")?;
    if shown.listed.state != "parked" {
        return Ok(false);
    }
    if shown.event.is_some() {
        return Ok(admin.retry(row, None)?);
    }
    match normalize::stored(&shown.delivered, shown.listed.accepted.unwrap_or_default())? {
        Element::Event { event, .. } => {
            let content = receive::content(event).map_err(anyhow::Error::msg)?;
            Ok(admin.retry(row, Some(&content))?)
        }
        Element::Unreadable { reason, .. } => bail!("it still cannot be read: {reason}"),
        Element::Ignored(kind) | Element::Unknown { kind, .. } => {
            bail!("read again, it opens no finding ({}); discard it", kind.label())
        }
    }
}

fn pretty(text: &str) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_str(text);
    value.ok().and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_what_the_service_said() {
        let reason = "Security Command Center refuses the finding as it is: POST http://127.0.0.1:2880/v2/organizations/1\
            /sources/2/locations/global/findings was answered 400 INVALID_ARGUMENT Invalid finding: bad thing";
        assert!(brief(reason).ends_with("POST … was answered 400 INVALID_ARGUMENT Invalid finding: bad thing"));
        assert_eq!(brief("GET https://a.example/b: no route"), "GET …: no route");
        assert_eq!(brief(&"ä".repeat(1000)).chars().count(), LONGEST_REASON + 1);
    }
}
