//! `integrity actions`: what was done about failed boots, and how much of the caps is used.

use std::process::ExitCode;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use serde_json::json;

use super::baseline::{By, store, who};
use super::out::{note, say};
use super::{Format, table};
use crate::causes::chain;
use crate::config::acting::{ActingConfig, Limits};
use crate::config::secrets::environment;
use crate::plan::Plan;
use crate::respond::caps::Caps;
use crate::respond::plans::Plans;
use crate::text::{printable, stamp};

/// What was done about failed boots, and what was not and why. Read from where STATE_URL says.
#[derive(Debug, Args)]
pub(super) struct ActionsArgs {
    /// Only of this VM: its numeric id or its name.
    #[arg(long)]
    vm: Option<String>,
    /// Only what has not ended.
    #[arg(long)]
    open: bool,
    /// Every line of the journal, with the ids of the requests.
    #[arg(long)]
    journal: bool,
    /// Set the counts of the caps back, those of the dry run too; who did it is remembered.
    #[arg(long)]
    reset_caps: bool,
    #[command(flatten)]
    by: By,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the settings, or what the store says.
pub(super) fn run(args: ActionsArgs) -> anyhow::Result<ExitCode> {
    super::block_on(async move {
        let mut env = environment().await;
        let plans = Plans::new(store(&mut env).await?);
        let limits = ActingConfig::read(&mut env).unwrap_or_default().limits;
        if args.reset_caps {
            return reset(&plans, args.by).await;
        }
        let wanted = |plan: &Plan| {
            let named = |vm: &String| plan.report.vm.id.to_string() == *vm || plan.name.as_ref() == Some(vm);
            args.vm.as_ref().is_none_or(named) && (!args.open || plan.answer.is_none())
        };
        let (mut found, unreadable) = plans.all().await?;
        found.retain(wanted);
        match args.format {
            Format::Json => {
                for plan in &found {
                    say!("{}", serde_json::to_string(&shown(plan))?);
                }
                let now = Utc::now();
                let (real, dry_run) = (plans.caps(false).await?, plans.caps(true).await?);
                say!(
                    "{}",
                    json!({"caps": counted(&real, &limits, now), "caps_of_the_dry_run": counted(&dry_run, &limits, now)})
                );
            }
            Format::Text => {
                if !found.is_empty() || unreadable.is_empty() {
                    print(&found, args.journal);
                }
                for (name, dry_run) in [("Caps", false), ("Caps of the dry run", true)] {
                    say!("{name}: {}", used(&plans.caps(dry_run).await?, &limits, Utc::now()));
                }
            }
        }
        for error in &unreadable {
            note!("Left out: {}", chain(error));
        }
        Ok(if unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

async fn reset(plans: &Plans, by: By) -> anyhow::Result<ExitCode> {
    let (by, now) = (who(by)?, Utc::now());
    for dry_run in [false, true] {
        plans.reset_caps(dry_run, &by, now).await?;
    }
    say!("The counts were set back by {by}.");
    Ok(ExitCode::SUCCESS)
}

fn shown(plan: &Plan) -> serde_json::Value {
    let answer = plan.answer_now();
    json!({
        "event": plan.event, "project": plan.report.vm.project, "zone": plan.report.vm.zone,
        "instance_id": plan.report.vm.id.to_string(), "name": plan.name, "check": plan.report.check(),
        "boot_counter": plan.report.boot, "report_time": plan.report.time, "planned": plan.planned,
        "dry_run": plan.dry_run, "open": plan.answer.is_none(), "answer": answer, "calls": plan.calls,
        "journal": plan.journal,
    })
}

fn print(plans: &[Plan], journal: bool) {
    if plans.is_empty() {
        say!("Nothing is recorded; with INTEGRITY_ACTION=report nothing ever is.");
        return;
    }
    let mut rows = table(["report", "VM", "check", "action", "result", "what happened"]);
    for plan in plans {
        let answer = plan.answer_now();
        let name = plan.name.clone().unwrap_or_else(|| plan.report.vm.id.to_string());
        let mut told = printable(&answer.told).into_owned();
        for line in plan.journal.iter().filter(|_| journal) {
            let request = line.request_id.as_ref().map(|id| format!(" [{id}]")).unwrap_or_default();
            let line_told = printable(&line.told).into_owned();
            told.push_str(&format!("\n{} {}{request}: {line_told}", stamp(line.time), line.what.label()));
        }
        rows.add_row([
            stamp(plan.report.time),
            format!("{name}\n{}", plan.report.vm.project),
            plan.report.check().map(|check| check.label()).unwrap_or_default().to_owned(),
            answer.action.map_or("none", crate::integrity::answer::Action::label).to_owned(),
            format!("{}\n{}", answer.result.label(), answer.reason.label()),
            told,
        ]);
    }
    say!("{rows}");
}

/// How many were taken within the last hour.
fn recent(caps: &Caps, now: DateTime<Utc>) -> usize {
    caps.recent.iter().filter(|taken| taken.time > now - TimeDelta::hours(1)).count()
}

fn counted(caps: &Caps, limits: &Limits, now: DateTime<Utc>) -> serde_json::Value {
    let reset = caps.resets.last().map(|reset| json!({"by": reset.who, "time": reset.time}));
    json!({
        "hour": recent(caps, now), "hour_limit": limits.hour,
        "overall": caps.overall, "overall_limit": limits.overall, "reset": reset,
    })
}

fn used(caps: &Caps, limits: &Limits, now: DateTime<Utc>) -> String {
    let recent = recent(caps, now);
    let reset = caps.resets.last().map(|reset| format!(", reset by {} on {}", reset.who, stamp(reset.time)));
    format!(
        "{recent} of {} within the last hour, {} of {} overall{}",
        limits.hour,
        caps.overall,
        limits.overall,
        reset.unwrap_or_default()
    )
}
