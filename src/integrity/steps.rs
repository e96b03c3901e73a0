//! What a person should do next: commands that run as printed. They depend on what was done already.

use chrono::{DateTime, TimeDelta, Utc};

use super::answer::{Action, Answer, Ended};
use super::context::{Context, shown};
use super::entry::{Check, Entry, Fact, INTEGRITY_LOG};
use crate::text::shell;

/// Commands about one VM. gcloud takes the numeric id in a VM's place.
struct Commands {
    vm: String,
    place: String,
    /// Reads the entry itself.
    read: String,
    /// Reads this and every later report.
    later_reports: String,
    /// Reads the late report of the same boot.
    late_report: String,
    stop: String,
    relearn: String,
    evidence: String,
    describe: String,
}

/// The steps, numbered.
pub(super) fn next_steps(entry: &Entry, check: Check, context: &Context) -> String {
    let Some(commands) = Commands::new(entry, context) else {
        return "1. Look at the log entry that this finding points at.".to_owned();
    };
    let mut steps = commands.steps(entry, check, context);
    if let Some(answer) = context.answer.as_ref().filter(|_| check != Check::NotApproved) {
        steps.splice(0..0, commands.other_vm(answer));
    }
    steps.iter().enumerate().map(|(n, step)| format!("{}. {step}", n + 1)).collect::<Vec<_>>().join("\n")
}

/// What was done about it, and seen to be done.
fn done(context: &Context) -> Option<(Action, &Answer)> {
    let answer = context.answer.as_ref().filter(|answer| answer.result == Ended::Done)?;
    Some((answer.action?, answer))
}

impl Commands {
    /// `None`: what the entry says of the VM cannot stand in a command.
    fn new(entry: &Entry, context: &Context) -> Option<Self> {
        let (vm, project) = (shell::word(&shown(entry, context))?, shell::word(&entry.vm.project)?);
        let place = format!("--project={project} --zone={}", shell::word(&entry.vm.zone)?);
        let id = entry.vm.id;
        let read_entries = |which: &str| {
            format!(
                "gcloud logging read 'resource.type=\"gce_instance\" AND resource.labels.instance_id=\"{id}\" AND log_id(\"{INTEGRITY_LOG}\") AND {which}' --project={project} --format=json"
            )
        };
        let time = stamp(entry.logged());
        let boot = entry.boot.map(|boot| format!(" AND jsonPayload.bootCounter=\"{boot}\"")).unwrap_or_default();
        // Clocks may put the late report before the early one. With a time, gcloud looks back further than a day.
        let around = stamp(entry.logged() - TimeDelta::minutes(10));
        let disks =
            format!("gcloud compute instances describe {vm} {place} --format='value(disks[].source.basename())'");
        Some(Self {
            read: read_entries(&format!("timestamp=\"{time}\"")),
            later_reports: read_entries(&format!(
                "timestamp>=\"{time}\" AND (jsonPayload.earlyBootReportEvent:* OR jsonPayload.lateBootReportEvent:*)"
            )),
            late_report: read_entries(&format!("timestamp>=\"{around}\"{boot} AND jsonPayload.lateBootReportEvent:*")),
            stop: format!("gcloud compute instances stop {vm} {place}"),
            relearn: format!("gcloud compute instances update {vm} {place} --shielded-learn-integrity-policy"),
            evidence: format!(
                "Keep evidence: list its disks with `{disks}`, then `gcloud compute disks snapshot DISK {place}` for each."
            ),
            describe: format!(
                "gcloud compute instances describe {vm} {place} --format='yaml(status,lastStartTimestamp,shieldedInstanceConfig)'"
            ),
            vm,
            place,
        })
    }

    fn steps(&self, entry: &Entry, check: Check, context: &Context) -> Vec<String> {
        let Self { vm, place, read, later_reports, stop, relearn, evidence, describe, .. } = self;
        if context.over.is_some() && !matches!(check, Check::VtpmCleared | Check::Relearned) {
            return self.over(check);
        }
        let (project, id) = (shell::word(&entry.vm.project).unwrap_or_default(), entry.vm.id);
        match check {
            Check::EarlyBoot | Check::LateBoot => self.failed_boot(check, context),
            Check::BootIncomplete => self.incomplete_boot(context),
            Check::Launch => vec![format!("See the report: `{read}`"), self.launch(entry)],
            Check::VtpmCleared => vec![
                "Ask whoever maintains the VM whether the vTPM was cleared on purpose (a firmware menu, a guest's TPM tools).".to_owned(),
                "Have recovery keys at hand for disks sealed to the vTPM.".to_owned(),
                format!("Compare the next boot's reports: `{later_reports} | sysdig-scc integrity explain -`"),
            ],
            Check::Options => vec![
                format!("See what is on: `{describe}`"),
                format!("Switch protection on again; the VM must be stopped for it: `{stop}` then `gcloud compute instances update {vm} {place} --shielded-secure-boot --shielded-vtpm --shielded-integrity-monitoring`"),
                format!("Start it: `gcloud compute instances start {vm} {place}`"),
            ],
            Check::NotApproved => vec![
                format!("See what the policy is now: `{read} | sysdig-scc integrity explain -`"),
                format!("Compare it with the known-good baselines: `{read} | sysdig-scc baseline diff --from-entry -`"),
                format!("If the boot that was learned is not known to be good: {evidence}"),
                format!("Stop the VM: `{stop}`"),
                format!("If this boot is as it should be, approve it (`{read} | sysdig-scc baseline import NAME --from-entry -`) and let the VM learn it: `{relearn}`"),
                "Set this finding inactive when that is done; it also closes when a later report shows the approved policy.".to_owned(),
            ],
            Check::Relearned => vec![
                "If an update was being rolled out, nothing is to be done.".to_owned(),
                format!("Else find out why: `gcloud logging read 'protoPayload.methodName:\"setShieldedInstanceIntegrityPolicy\" AND resource.labels.instance_id=\"{id}\" AND timestamp>=\"{}\"' --project={project} --format=json`", stamp(context.record.relearned.as_ref().map_or(entry.time, |(_, time)| *time))),
                "Compare the next late boot report's policy with an approved baseline: the relearned values are now what the VM is measured against.".to_owned(),
            ],
        }
    }

    /// What is over needs nothing to be stopped or learned, only somebody who knows why it was.
    fn over(&self, check: Check) -> Vec<String> {
        let Self { read, later_reports, describe, .. } = self;
        if check == Check::Options {
            return vec![
                format!("See that all is on: `{describe}`"),
                "Ask who switched it off why: the VM may have booted without it meanwhile.".to_owned(),
            ];
        }
        let mut steps = vec![format!("See what was reported: `{read}`")];
        if check != Check::Launch {
            steps
                .push(format!("Compare it with the reports since: `{later_reports} | sysdig-scc integrity explain -`"));
        }
        steps.push("Ask whoever maintains the VM what explains it.".to_owned());
        steps
    }

    fn failed_boot(&self, check: Check, context: &Context) -> Vec<String> {
        let Self { read, later_reports, late_report, stop, relearn, evidence, .. } = self;
        let mut steps = vec![
            format!("See which registers changed and what they mean: `{read} | sysdig-scc integrity explain -`"),
            format!("Compare with the known-good baselines: `{read} | sysdig-scc baseline diff --from-entry -`"),
        ];
        if let Some((Action::Relearn, answer)) = done(context) {
            steps.push(format!("The VM was told to learn these measurements. See that its next boot passes: `{later_reports} | sysdig-scc integrity explain -`"));
            if let Some(baseline) = answer.baseline.as_deref().and_then(shell::word) {
                steps.push(format!("If the baseline that approves them should not: `sysdig-scc baseline expire {baseline}`, and stop the VM: `{stop}`"));
            }
            return steps;
        }
        steps.push(
            "Ask whoever maintains the VM whether an update, a new image or a change of Secure Boot explains it."
                .to_owned(),
        );
        let approve = format!("`{read} | sysdig-scc baseline import NAME --from-entry -`");
        if let Some((action, answer)) = done(context) {
            if check == Check::LateBoot {
                steps.push(format!("If it is expected, approve these measurements: {approve}"));
            }
            steps.push(format!("If it is not expected, leave the VM {}.{}", action.done(), self.unless_kept(answer)));
            steps.extend(self.back_again(action, context));
            return steps;
        }
        if check == Check::EarlyBoot {
            steps.extend([
                format!("If it is expected, look at the late report of the same boot, which has what was loaded after it; if there is none yet, wait for it: `{late_report} | sysdig-scc integrity explain -`"),
                format!("If that is expected too, approve its measurements: `{late_report} | sysdig-scc baseline import NAME --from-entry -`"),
            ]);
        } else {
            steps.push(format!("If it is expected, approve these measurements: {approve}"));
        }
        steps.extend([
            format!("Then let the VM learn them (on the running VM; the next boot passes): `{relearn}`"),
            format!("If it is not expected: {evidence}"),
            format!("Stop the VM: `{stop}`"),
        ]);
        steps
    }

    fn incomplete_boot(&self, context: &Context) -> Vec<String> {
        let Self { vm, place, read, stop, evidence, .. } = self;
        let mut steps = vec![
            format!("Look at the serial console: `gcloud compute instances get-serial-port-output {vm} {place}`"),
            format!("See what the early report says: `{read} | sysdig-scc integrity explain -`"),
            "\"Security Violation\" or \"Binary is blacklisted\" means that Secure Boot refused what should be started; boot a signed, current kernel or image.".to_owned(),
        ];
        match done(context) {
            Some((action, answer)) => {
                steps.push(format!("Leave the VM {} until that is known.{}", action.done(), self.unless_kept(answer)));
                steps.extend(self.back_again(action, context));
            }
            None => steps.extend([evidence.clone(), format!("Stop the VM: `{stop}`")]),
        }
        steps
    }

    /// What was done to a VM that nobody meant comes before everything else.
    fn other_vm(&self, answer: &Answer) -> Option<String> {
        let (action, place) = (answer.action?, &self.place);
        let other = shell::word(answer.hit_vm()?)?;
        let describe = format!("gcloud compute instances describe {other} {place}");
        Some(match action.undo(&other, place) {
            Some(undo) => format!(
                "First see to the VM with the id {other}, which nobody meant: `{describe}`. If it should run, let it run again: `{undo}`"
            ),
            None => format!(
                "First see to the VM with the id {other}, which nobody meant: `{describe}`. What its most recent boot measured may be its standard now, so that reports that pass prove nothing: compare those measurements with an approved baseline, and stop it if they are not known to be good: `gcloud compute instances stop {other} {place}`"
            ),
        })
    }

    fn unless_kept(&self, answer: &Answer) -> String {
        if answer.snapshots.is_empty() { format!(" {}", self.evidence) } else { String::new() }
    }

    /// How a VM that was stopped or suspended comes back, and is not stopped once more before somebody has looked.
    fn back_again(&self, action: Action, context: &Context) -> Vec<String> {
        let Self { vm, place, relearn, .. } = self;
        let Some(undo) = action.undo(vm, place) else { return Vec::new() };
        let label = context.exempt.as_deref().and_then(|label| label.split_once('='));
        let label = label.and_then(|(key, value)| Some((shell::word(key)?, shell::word(value)?)));
        let again = format!("Let it run again: `{undo}`");
        let learn = format!("When its late report shows what is expected, let it learn that: `{relearn}`");
        let reboot = format!(
            "Resuming is no boot, and no new report comes of it: reboot it from within, or with `gcloud compute instances reset {vm} {place}`"
        );
        let looked_at: Vec<String> = (action == Action::Suspend).then_some(reboot).into_iter().chain([learn]).collect();
        let Some((key, value)) = label else {
            return [vec![again], looked_at].concat();
        };
        let labels = |verb: &str, which: &str| format!("gcloud compute instances {verb} {vm} {place} --labels={which}");
        let exempt = format!(
            "Before it runs again, exempt it, or its next failed boot is answered in the same way: `{}`",
            labels("add-labels", &format!("{key}={value}"))
        );
        let answer = format!("Then let it be answered for again: `{}`", labels("remove-labels", &key));
        [vec![exempt, again], looked_at, vec![answer]].concat()
    }

    fn launch(&self, entry: &Entry) -> String {
        let debug = matches!(&entry.fact, Fact::Launch(report) if report.debug_enabled == Some(true));
        let anew = if debug { "create it anew without debugging allowed" } else { "create it anew" };
        let more = if debug { "" } else { "; when a new one fails too, ask Google's support" };
        format!("Stop the VM and {anew}{more}: `{}`", self.stop)
    }
}

fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
}
