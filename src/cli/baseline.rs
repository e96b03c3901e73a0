//! `baseline import · list · diff · expire · rm · journal`: the known-good measurements.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::baseline_report::{Asked, logged, newest_late, problems, told};
use super::log_file::known_entries;
use super::out::{note, say};
use super::{Format, table};
use crate::causes::chain;
use crate::config::google::{Account, GoogleConfig};
use crate::config::secrets::environment;
use crate::config::state::{StateConfig, StateUrl};
use crate::config::{Env, Problems};
use crate::google::TokenSource;
use crate::integrity::baseline::{Baseline, Scope, Subject};
use crate::integrity::entry::BootReport;
use crate::integrity::matching::judge;
use crate::integrity::words::boot_report;
use crate::state;
use crate::track::baselines::{Baselines, approved_by};

/// The known-good baselines that failed boots are compared with. They live where STATE_URL says.
#[derive(Debug, Args)]
pub(super) struct BaselineArgs {
    #[command(subcommand)]
    command: Command,
}

/// Which of a report's two lists becomes the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum List {
    /// What the boot measured.
    Actual,
    /// What the VM is measured against.
    Policy,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Approve the measurements of a late boot report.
    ///
    /// By default what the boot measured (`actual`) is approved: on a VM that was just updated, its policy still has the
    /// values from before the update, and approving those would make every updated VM look bad.
    Import(Box<Import>),
    /// Every baseline.
    List {
        /// How to print.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Compare a report with the baselines, or two baselines with each other.
    Diff {
        /// A file with a boot report, or - for standard input.
        #[arg(long, conflicts_with = "baselines", required_unless_present = "baselines")]
        from_entry: Option<String>,
        /// Two baselines by name.
        #[arg(num_args = 2, value_names = ["ONE", "OTHER"])]
        baselines: Vec<String>,
    },
    /// Let a baseline end.
    Expire {
        /// Its name.
        name: String,
        /// When: a time such as 2027-01-31T00:00:00Z. Without it, now.
        #[arg(long)]
        at: Option<DateTime<Utc>>,
        #[command(flatten)]
        by: By,
    },
    /// Remove a baseline; the journal keeps what it was.
    #[command(alias = "remove")]
    Rm {
        /// Its name.
        name: String,
        #[command(flatten)]
        by: By,
    },
    /// Every change: who, when, what.
    Journal {
        /// How to print.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

#[derive(Debug, Args)]
pub(super) struct By {
    /// Who is responsible, for the journal. Without it, the user's name on this machine.
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
}

#[derive(Debug, Args)]
struct Import {
    /// The baseline's name. Without it, one is made of the VM and the boot.
    name: Option<String>,
    /// A file with a late boot report, or - for standard input. Of several, the newest is taken.
    #[arg(long, required_unless_present = "instance", conflicts_with = "instance")]
    from_entry: Option<String>,
    /// A VM, by name or numeric id: its newest late boot report is read from Cloud Logging.
    #[arg(long)]
    instance: Option<String>,
    /// The VM's project. Without it, it is looked for in those of COMPUTE_PROJECT_ID.
    #[arg(long)]
    project: Option<String>,
    /// The VM's zone. Without it, it is looked for in all.
    #[arg(long)]
    zone: Option<String>,
    /// Which list is approved. `policy` of a VM that was updated and not relearned holds the old values.
    #[arg(long, value_enum, default_value_t = List::Actual)]
    from: List,
    /// Only for VMs of these projects (`*` stands for any text); may be given several times.
    #[arg(long = "for-project", value_parser = one)]
    projects: Vec<String>,
    /// Only for VMs in these zones.
    #[arg(long = "for-zone", value_parser = one)]
    zones: Vec<String>,
    /// Only for VMs with these names.
    #[arg(long = "for-name", value_parser = one)]
    names: Vec<String>,
    /// Only for VMs with this label, NAME=VALUE.
    #[arg(long = "for-label", value_parser = label)]
    labels: Vec<(String, String)>,
    /// End after so many days.
    #[arg(long)]
    days: Option<u32>,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// Replace a baseline of the same name.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    by: By,
}

fn given(text: &str) -> Result<String, String> {
    let empty = "it is empty: is a variable not set? Leave it out where the baseline is for every VM";
    if text.trim().is_empty() { Err(empty.to_owned()) } else { Ok(text.to_owned()) }
}

/// One name or pattern: a list would be a pattern that fits nothing, and the baseline valid for no VM.
fn one(text: &str) -> Result<String, String> {
    let several = || "it is a list: give the option once for each".to_owned();
    if text.contains([',', ' ']) { Err(several()) } else { given(text) }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    given(name)?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the settings or the report, or what the store says.
pub(super) fn run(args: BaselineArgs) -> anyhow::Result<ExitCode> {
    super::block_on(async move {
        let mut env = environment().await;
        let starts = matches!(args.command, Command::Import(_));
        let store = if starts { store_or_new(&mut env).await? } else { store(&mut env).await? };
        let baselines = Baselines::new(store, TimeDelta::zero());
        match args.command {
            Command::Import(args) => import(*args, &mut env, &baselines).await,
            Command::List { format } => list(&baselines, format).await,
            Command::Diff { from_entry: Some(file), .. } => compare(&file, &baselines).await,
            Command::Diff { baselines: names, .. } => compare_two(&names, &baselines).await,
            Command::Expire { name, at, by } => {
                let now = Utc::now();
                let at = at.unwrap_or(now);
                found(baselines.expire(&name, at, &who(by)?, now).await?, &name)?;
                say!("{name} ends on {}.", at.format("%Y-%m-%d %H:%M UTC"));
                Ok(ExitCode::SUCCESS)
            }
            Command::Rm { name, by } => {
                found(baselines.remove(&name, &who(by)?, Utc::now()).await?, &name)?;
                say!("{name} was removed; `sysdig-scc baseline journal --format json` still has what it was.");
                Ok(ExitCode::SUCCESS)
            }
            Command::Journal { format } => journal(&baselines, format).await,
        }
    })
}

/// The state store of the settings, which must be there: who reads a wrong one would take it for empty.
///
/// # Errors
/// What is wrong with the settings, that there is no store, or what it says.
pub(super) async fn store(env: &mut Env) -> anyhow::Result<Arc<dyn state::Store>> {
    let (config, google) = settings(env)?;
    if let Some(path) = missing(&config) {
        bail!(
            "there is no state store at {}; `sysdig-scc serve` or `sysdig-scc baseline import` makes it (STATE_URL says where)",
            path.display()
        );
    }
    open(&config, &google).await
}

/// The state store of the settings; one that is made is told.
async fn store_or_new(env: &mut Env) -> anyhow::Result<Arc<dyn state::Store>> {
    let (config, google) = settings(env)?;
    let made = missing(&config);
    let store = open(&config, &google).await?;
    if let Some(path) = made {
        note!("There was no state store at {}; a new one was made (STATE_URL says where).", path.display());
    }
    Ok(store)
}

fn settings(env: &mut Env) -> Result<(StateConfig, GoogleConfig), Problems> {
    let (config, google) = (StateConfig::read(env), GoogleConfig::read(env));
    config.zip(google).ok_or_else(|| problems(env))
}

/// The file where a store should be and is none.
fn missing(config: &StateConfig) -> Option<&Path> {
    match &config.url {
        StateUrl::Sqlite(path) if !path.exists() => Some(path),
        StateUrl::Sqlite(_) | StateUrl::Memory | StateUrl::Firestore { .. } => None,
    }
}

async fn open(config: &StateConfig, google: &GoogleConfig) -> anyhow::Result<Arc<dyn state::Store>> {
    let tokens = match config.url {
        StateUrl::Firestore { .. } => google.token_source(Account::Security, &config.firestore_base())?,
        StateUrl::Sqlite(_) | StateUrl::Memory => TokenSource::none(),
    };
    Ok(state::open(config, &tokens)?)
}

async fn import(args: Import, env: &mut Env, baselines: &Baselines) -> anyhow::Result<ExitCode> {
    let now = Utc::now();
    if args.name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        bail!(
            "the name is empty: is a variable not set? Give a name, or leave it out and one is made of the VM and the boot"
        )
    }
    let expires = args.days.map(|days| end(days, now)).transpose()?;
    let entry = match (&args.from_entry, &args.instance) {
        (Some(file), _) => newest_late(known_entries(file)?)?,
        (None, Some(instance)) => {
            logged(Asked { instance, project: args.project.as_deref(), zone: args.zone.as_deref() }, env).await?
        }
        (None, None) => bail!("give --from-entry or --instance"),
    };
    let report = boot_report(&entry).context("the entry is no boot report")?;
    let measurements = usable(report, args.from)?;
    let name =
        args.name.clone().unwrap_or_else(|| format!("{}-boot-{}", entry.vm.shown(), entry.boot.unwrap_or_default()));
    let by = who(args.by)?;
    let mut baseline = Baseline {
        name: name.clone(),
        measurements,
        scope: Scope {
            projects: args.projects,
            zones: args.zones,
            names: args.names,
            labels: args.labels.into_iter().collect::<BTreeMap<_, _>>(),
        },
        expires,
        approved_by: None,
        description: args.description,
        broken: Vec::new(),
    };
    // A field beside the registers makes the tutorial's function stop the VM; the journal has it in any case.
    baseline.approved_by = (!baseline.is_plain()).then(|| by.clone());
    match baselines.import(&baseline, args.replace, &by, now).await {
        Err(error) if error.is_conflict() => {
            bail!("there is a baseline {name} already; choose another name, or --replace it")
        }
        result => result?,
    }
    let list: Vec<String> = baseline.measurements.0.keys().map(ToString::to_string).collect();
    say!("{name} is known to be good now: {}.", list.join(", "));
    say!("It is of {}.", told(&entry, args.instance.as_deref()));
    Ok(ExitCode::SUCCESS)
}

/// When a baseline ends that is good for so many days.
fn end(days: u32, now: DateTime<Utc>) -> anyhow::Result<DateTime<Utc>> {
    if days == 0 {
        bail!("with --days 0 the baseline would have ended already; give 1 or more, or leave it out for no end")
    }
    now.checked_add_signed(TimeDelta::days(i64::from(days))).context("--days leads beyond the calendar; give fewer")
}

fn usable(report: &BootReport, from: List) -> anyhow::Result<crate::integrity::measurement::Measurements> {
    if let Some(reason) = report.not_readable().next() {
        bail!("the report cannot be approved: {reason}");
    }
    let measurements = match from {
        List::Actual => report.actual.clone(),
        List::Policy => report.policy.clone(),
    };
    if measurements.is_empty() {
        bail!("the report has no such measurements");
    }
    if from == List::Policy && !report.passed() {
        note!(
            "Note: this boot failed; its policy has the values from before whatever changed. --from actual approves what it measured."
        );
    }
    Ok(measurements)
}

async fn list(baselines: &Baselines, format: Format) -> anyhow::Result<ExitCode> {
    let all = baselines.all(Utc::now()).await?;
    // Which baselines there are does not depend on it.
    let journal = baselines.journal().await.unwrap_or_else(|error| {
        note!("The journal cannot be read, so who approved some of them is not told: {}", chain(&error));
        Vec::new()
    });
    if format == Format::Json {
        for baseline in all.iter() {
            let by = approved_by(baseline, &journal);
            say!(
                "{}",
                json!({"name": baseline.name, "document": baseline.body(), "approved_by": by, "broken": baseline.broken})
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    if all.is_empty() {
        say!("No baselines are recorded. `sysdig-scc baseline import` approves the measurements of a boot.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = table(["baseline", "registers", "for", "until", "approved by", "remarks"]);
    for baseline in all.iter() {
        let registers: Vec<String> = baseline.measurements.0.keys().map(|slot| slot.pcr.to_string()).collect();
        let until = baseline.expires.map_or_else(
            || "no end".to_owned(),
            |time| {
                let ended = if time <= Utc::now() { " (ended)" } else { "" };
                format!("{}{ended}", time.format("%Y-%m-%d"))
            },
        );
        let remarks = baseline.broken.iter().chain(&baseline.description).cloned().collect::<Vec<_>>().join("; ");
        let approved = approved_by(baseline, &journal).unwrap_or_default();
        let of = if baseline.broken.is_empty() { scope(&baseline.scope) } else { "no VM".to_owned() };
        rows.add_row([baseline.name.clone(), registers.join(" "), of, until, approved, remarks]);
    }
    say!("{rows}");
    Ok(ExitCode::SUCCESS)
}

fn scope(scope: &Scope) -> String {
    if scope.is_any() {
        return "every VM".to_owned();
    }
    let labels = scope.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let kinds = [("projects", &scope.projects), ("zones", &scope.zones), ("names", &scope.names), ("labels", &labels)];
    let words =
        kinds.iter().filter(|(_, list)| !list.is_empty()).map(|(kind, list)| format!("{kind} {}", list.join(", ")));
    words.collect::<Vec<_>>().join("; ")
}

async fn compare(file: &str, baselines: &Baselines) -> anyhow::Result<ExitCode> {
    let now = Utc::now();
    let all = baselines.all(now).await?;
    let mut reports = 0;
    for entry in known_entries(file)? {
        let Some(report) = boot_report(&entry) else { continue };
        reports += 1;
        let subject = Subject { vm: &entry.vm, name: entry.vm.name.as_deref(), labels: None };
        let boot = entry.boot.map(|boot| format!(", boot {boot}")).unwrap_or_default();
        say!("{}{boot}: {}", entry.vm.shown(), judge(report, subject, &all, now).sentence());
    }
    if reports == 0 {
        bail!("there is no boot report in it");
    }
    Ok(ExitCode::SUCCESS)
}

async fn compare_two(names: &[String], baselines: &Baselines) -> anyhow::Result<ExitCode> {
    let all = baselines.all(Utc::now()).await?;
    let find = |name: &String| {
        all.iter().find(|baseline| baseline.name == *name).with_context(|| format!("there is no baseline {name}"))
    };
    let [one, other] = names else { bail!("give two baselines") };
    let (first, second) = (find(one)?, find(other)?);
    let differences = crate::integrity::diff::compare(&first.measurements, &second.measurements);
    let mut rows = table(["register", one, other, "covers"]);
    for difference in &differences {
        let value = |digest: &Option<crate::integrity::measurement::Digest>| {
            digest.as_ref().map_or_else(|| "none".to_owned(), crate::integrity::measurement::Digest::base64)
        };
        let (left, right) = (value(&difference.policy), value(&difference.actual));
        let right = if left == right { "the same".to_owned() } else { right };
        rows.add_row([difference.slot.to_string(), left, right, difference.meaning().covers.to_owned()]);
    }
    say!("{rows}");
    Ok(ExitCode::SUCCESS)
}

async fn journal(baselines: &Baselines, format: Format) -> anyhow::Result<ExitCode> {
    let changes = baselines.journal().await?;
    if format == Format::Json {
        for change in &changes {
            say!("{}", serde_json::to_string(change)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = table(["when", "who", "what", "baseline"]);
    for change in &changes {
        let what = serde_json::to_value(change.what)?.as_str().unwrap_or_default().to_owned();
        rows.add_row([change.time.to_rfc3339(), change.who.clone(), what, change.baseline.clone()]);
    }
    say!("{rows}");
    Ok(ExitCode::SUCCESS)
}

fn found(was_there: bool, name: &str) -> anyhow::Result<()> {
    if !was_there {
        bail!("there is no baseline {name}; `sysdig-scc baseline list` shows all");
    }
    Ok(())
}

pub(super) fn who(by: By) -> anyhow::Result<String> {
    let user = || std::env::var_os("USER").or_else(|| std::env::var_os("LOGNAME"));
    let who = by.by.or_else(|| user()?.into_string().ok()).filter(|who| !who.trim().is_empty());
    who.context("the journal needs to know who is responsible; say so with --by")
}
