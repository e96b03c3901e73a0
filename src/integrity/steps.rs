//! What a person should do next: commands that run as printed. They depend on what was done already.

use chrono::{DateTime, TimeDelta, Utc};

use super::aftermath::Aftermath;
use super::answer::{Action, Answer};
use super::context::Context;
use super::entry::{Check, Entry, Fact, INTEGRITY_LOG, finding_id};
use super::judgement::Judgement;
use super::words::category;
use crate::text::{self, shell};

/// Of a VM that is in another place than its report says: the commands, which name that place, would miss it.
const ELSEWHERE: &str = "The VM is not where the report says; the answer tells where it is. Look at it there, and set this finding inactive when it is dealt with.";

/// Commands about one VM. gcloud takes the numeric id in a VM's place, which no other VM has: a name may be given anew
/// before somebody reads this.
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
    let Some(commands) = Commands::new(entry) else {
        return "1. Look at the log entry that this finding points at.".to_owned();
    };
    let mut steps = commands.steps(entry, check, context);
    if let Some(answer) = context.answer.as_ref().filter(|_| check != Check::NotApproved) {
        steps.splice(0..0, commands.other_vm(answer));
    }
    steps.iter().enumerate().map(|(n, step)| format!("{}. {step}", n + 1)).collect::<Vec<_>>().join("\n")
}

impl Commands {
    /// `None`: what the entry says of the VM cannot stand in a command.
    fn new(entry: &Entry) -> Option<Self> {
        let (id, project) = (entry.vm.id, shell::word(&entry.vm.project)?);
        let vm = id.to_string();
        let place = format!("--project={project} --zone={}", shell::word(&entry.vm.zone)?);
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
            read: read_entries(&format!("timestamp=\"{time}\"{}", alone(&entry.log.insert_id))),
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
            Check::EarlyBoot | Check::LateBoot => self.failed_boot(entry, check, context),
            Check::BootIncomplete => self.incomplete_boot(entry, context),
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

    fn failed_boot(&self, entry: &Entry, check: Check, context: &Context) -> Vec<String> {
        let Self { read, later_reports, stop, relearn, evidence, describe, .. } = self;
        let answer = context.answer.as_ref();
        let left = Aftermath::of(entry, context);
        if left == Aftermath::Passed {
            return self.over(check);
        }
        let mut steps = vec![
            format!("See which registers changed and what they mean: `{read} | sysdig-scc integrity explain -`"),
            format!("Compare with the known-good baselines: `{read} | sysdig-scc baseline diff --from-entry -`"),
        ];
        if left == Aftermath::Done(Action::Relearn) {
            steps.push(format!("The VM was told to learn these measurements. See that its next boot passes: `{later_reports} | sysdig-scc integrity explain -`"));
            if let Some(baseline) = answer.and_then(|answer| answer.baseline.as_deref()).and_then(shell::word) {
                steps.push(format!("If the baseline that approves them should not: `sysdig-scc baseline expire {baseline}`, and stop the VM: `{stop}`"));
            }
            return steps;
        }
        if left == Aftermath::ToldElsewhere {
            steps.push(self.told_elsewhere(entry));
            return steps;
        }
        if left == Aftermath::Unknown {
            steps.push(format!("See how the VM is by now, before you do anything to it: `{describe}`"));
        }
        steps.push(
            "Ask whoever maintains the VM whether an update, a new image or a change of Secure Boot explains it."
                .to_owned(),
        );
        let unexpected = format!("If it is not expected: {evidence}");
        match left {
            Aftermath::Gone => steps.push(gone(entry)),
            Aftermath::Elsewhere => steps.push(ELSEWHERE.to_owned()),
            Aftermath::BootedSince => steps.extend([self.decide_on_the_last_boot(), unexpected, self.stop(left)]),
            Aftermath::Relearned => steps.extend([
                format!("The baseline was relearned since, so leave that as it is. See what the VM learned, and that its next boot passes: `{later_reports} | sysdig-scc integrity explain -`"),
                unexpected,
                self.stop(left),
            ]),
            Aftermath::Done(_) | Aftermath::NotRunning => {
                steps.extend((check == Check::LateBoot).then(|| self.approve(context)));
                steps.push(format!("If it is not expected, {}.{}", self.leave(left), self.unless_kept(answer)));
                steps.extend(self.back_again(left, context));
            }
            _ => {
                steps.extend(if check == Check::EarlyBoot { self.approve_late_report() } else { vec![self.approve(context)] });
                steps.push(format!("Then let the VM learn them (on the running VM; the next boot passes): `{relearn}`"));
                steps.extend([unexpected, self.stop(left)]);
            }
        }
        steps
    }

    fn incomplete_boot(&self, entry: &Entry, context: &Context) -> Vec<String> {
        let Self { vm, place, read, evidence, describe, .. } = self;
        let left = Aftermath::of(entry, context);
        let early = format!("See what the early report says: `{read} | sysdig-scc integrity explain -`");
        match left {
            Aftermath::Passed => return self.over(Check::BootIncomplete),
            Aftermath::Gone => return vec![early, gone(entry)],
            Aftermath::Elsewhere => return vec![early, ELSEWHERE.to_owned()],
            _ => {}
        }
        let mut steps = vec![
            format!("Look at the serial console: `gcloud compute instances get-serial-port-output {vm} {place}`"),
            early,
            "\"Security Violation\" or \"Binary is blacklisted\" means that Secure Boot refused what should be started; boot a signed, current kernel or image.".to_owned(),
        ];
        match left {
            Aftermath::Done(_) | Aftermath::NotRunning => {
                let unless_kept = self.unless_kept(context.answer.as_ref());
                steps.push(format!("Until that is known, {}.{unless_kept}", self.leave(left)));
                steps.extend(self.back_again(left, context));
            }
            Aftermath::BootedSince => {
                steps.extend([self.decide_on_the_last_boot(), evidence.clone(), self.stop(left)]);
            }
            Aftermath::Unknown => {
                let look = format!("See how the VM is by now, before you do anything to it: `{describe}`");
                steps.extend([look, evidence.clone(), self.stop(left)]);
            }
            _ => steps.extend([evidence.clone(), self.stop(left)]),
        }
        steps
    }

    /// Approves what a late report measured, unless that is approved.
    fn approve(&self, context: &Context) -> String {
        match &context.judgement {
            Some(Judgement::Known { baseline }) => {
                let baseline = text::ellipsis(&text::printable(baseline), 300);
                format!("Baseline {baseline} approves these measurements, so that nobody has to: see that it should.")
            }
            _ => format!(
                "If it is expected, approve these measurements: `{} | sysdig-scc baseline import NAME --from-entry -`",
                self.read
            ),
        }
    }

    /// An early report does not have what was loaded after it.
    fn approve_late_report(&self) -> Vec<String> {
        let Self { late_report, .. } = self;
        vec![
            format!(
                "If it is expected, look at the late report of the same boot, which has what was loaded after it; if there is none yet, wait for it: `{late_report} | sysdig-scc integrity explain -`"
            ),
            format!(
                "If that is expected too, approve its measurements: `{late_report} | sysdig-scc baseline import NAME --from-entry -`"
            ),
        ]
    }

    /// What is done about this boot is decided by its late report, or by its missing.
    fn told_elsewhere(&self, entry: &Entry) -> String {
        let of = |check: Check| format!("\"{}\" ({})", category(check), finding_id(&entry.vm, check));
        format!(
            "What was done about this boot, and what is left to do, is on the VM's finding {}, or, if no late report came, {}. If neither is there, see what the late report says: `{} | sysdig-scc integrity explain -`",
            of(Check::LateBoot),
            of(Check::BootIncomplete),
            self.late_report
        )
    }

    fn decide_on_the_last_boot(&self) -> String {
        format!(
            "See what the VM booted last, and decide on that; relearning now would learn that boot: `{} | sysdig-scc integrity explain -`",
            self.later_reports
        )
    }

    /// Of a VM that is down, or was on its way up.
    fn leave(&self, left: Aftermath) -> String {
        match left {
            Aftermath::Done(action) => format!("leave the VM {}", action.done()),
            _ => {
                format!("leave the VM as it is if it does not run (`{}`), else stop it: `{}`", self.describe, self.stop)
            }
        }
    }

    fn stop(&self, left: Aftermath) -> String {
        let stop = &self.stop;
        if left == Aftermath::LocalSsd {
            return format!(
                "Stop the VM; what is on its local SSDs is lost by that, and no snapshot has it: `{stop} --discard-local-ssd=true`"
            );
        }
        format!("Stop the VM: `{stop}`")
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

    fn unless_kept(&self, answer: Option<&Answer>) -> String {
        let kept = answer.is_some_and(|answer| !answer.snapshots.is_empty());
        if kept { String::new() } else { format!(" {}", self.evidence) }
    }

    /// How a VM that was stopped or suspended comes back, and is not stopped once more before somebody has looked.
    fn back_again(&self, left: Aftermath, context: &Context) -> Vec<String> {
        let Self { vm, place, relearn, .. } = self;
        let undo = |action: Action| action.undo(vm, place).map(|undo| format!("`{undo}`"));
        let undo = match left {
            Aftermath::Done(action) => undo(action),
            // Who stopped or suspended it is not known.
            _ => undo(Action::Stop)
                .zip(undo(Action::Suspend))
                .map(|(start, resume)| format!("{start}, or where it is suspended {resume}")),
        };
        let Some(undo) = undo else { return Vec::new() };
        let label = context.exempt.as_deref().and_then(|label| label.split_once('='));
        let label = label.and_then(|(key, value)| Some((shell::word(key)?, shell::word(value)?)));
        let again = format!("Let it run again: {undo}");
        let learn = format!("When its late report shows what is expected, let it learn that: `{relearn}`");
        let reboot = format!(
            "Resuming is no boot, and no new report comes of it: reboot it from within, or with `gcloud compute instances reset {vm} {place}`"
        );
        let looked_at: Vec<String> =
            (left == Aftermath::Done(Action::Suspend)).then_some(reboot).into_iter().chain([learn]).collect();
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

/// A VM that is not there needs nothing more.
fn gone(entry: &Entry) -> String {
    let vm = &entry.vm;
    format!(
        "There is no VM with the id {} in {}, {}, so that nothing is left to be learned, kept or stopped: set this finding inactive when it is dealt with.",
        vm.id, vm.project, vm.zone
    )
}

/// What tells an entry from others of its time, in a filter within single quotes. An id that would end them is left out.
fn alone(insert_id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'"' | b'\\' | b'`');
    let stands = !insert_id.is_empty() && insert_id.len() <= 512 && insert_id.bytes().all(plain);
    if stands { format!(" AND insertId=\"{insert_id}\"") } else { String::new() }
}

fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integrity::answer::{Ended, Reason};
    use crate::integrity::entry::{BootReport, LogLine, Vm};

    const LEARN: &str = "--shielded-learn-integrity-policy";
    const STOP: &str = "gcloud compute instances stop 7 --project=p --zone=z";
    const KEEP: &str = "gcloud compute disks snapshot";
    const APPROVE: &str = "baseline import NAME";
    const IMMEDIATELY: &str = "Then let the VM learn them (on the running VM";

    fn report(check: Check) -> Entry {
        let vm = Vm { project: "p".into(), zone: "z".into(), id: 7, name: Some("web".into()) };
        let boot = BootReport { stated: Some(false), ..BootReport::default() };
        let fact = match check {
            Check::EarlyBoot => Fact::EarlyBoot(boot),
            Check::BootIncomplete => Fact::BootIncomplete { early: boot, minutes: 10 },
            _ => Fact::LateBoot(boot),
        };
        let time = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        Entry { vm, time, boot: Some(3), fact, log: LogLine::default() }
    }

    fn after(action: Action, result: Ended, reason: Reason) -> Context {
        let answer = Answer {
            action: Some(action),
            result,
            reason,
            told: String::new(),
            time: report(Check::LateBoot).time,
            mode: "stop".into(),
            baseline: None,
            request_id: None,
            operation: None,
            other_vm: (reason == Reason::OtherVm).then(|| "8".into()),
            snapshots: Vec::new(),
        };
        Context { answer: Some(answer), name: Some("web".into()), ..Context::default() }
    }

    fn steps(check: Check, context: &Context) -> String {
        next_steps(&report(check), check, context)
    }

    fn says(steps: &str, wanted: &[&str], unwanted: &[&str], about: &str) {
        for text in wanted {
            assert!(steps.contains(text), "{about}: {text} is missing: {steps}");
        }
        for text in unwanted {
            assert!(!steps.contains(text), "{about}: {text} is there: {steps}");
        }
    }

    #[test]
    fn after_a_refusal_they_follow_its_reason() {
        let booted = "decide on that; relearning now would learn that boot";
        let unknown = "See how the VM is by now, before you do anything to it";
        let inactive = "set this finding inactive";
        let table: [(Reason, &[&str], &[&str]); 14] = [
            (Reason::Restarted, &[booted, STOP, KEEP], &[LEARN]),
            (Reason::NewerBoot, &[booted, STOP], &[LEARN]),
            (Reason::NewerReport, &[booted], &[LEARN]),
            (Reason::StartUnknown, &[booted], &[LEARN]),
            (Reason::Relearned, &["relearned since, so leave that", STOP], &[LEARN, APPROVE]),
            (Reason::PassedSince, &["Compare it with the reports since"], &[LEARN, STOP, KEEP]),
            (Reason::Gone, &[inactive], &[LEARN, STOP, KEEP, "instances describe"]),
            (Reason::PlaceDiffers, &["not where the report says"], &[LEARN, STOP, KEEP, "There is no VM"]),
            (
                Reason::NotRunning,
                &[
                    "leave the VM as it is if it does not run",
                    "else stop it",
                    STOP,
                    KEEP,
                    APPROVE,
                    "start 7 --",
                    "resume 7 --",
                ],
                &[IMMEDIATELY],
            ),
            (Reason::LocalSsd, &["local SSDs is lost by that", "--zone=z --discard-local-ssd=true`", LEARN], &[]),
            (Reason::Interrupted, &[unknown, STOP, IMMEDIATELY], &[]),
            (Reason::OperationSlow, &[unknown, STOP], &[]),
            (Reason::Forbidden, &[STOP, KEEP, APPROVE, IMMEDIATELY], &[unknown, "--discard-local-ssd"]),
            (Reason::CapHour, &[STOP, KEEP, APPROVE, IMMEDIATELY], &[unknown]),
        ];
        for (reason, wanted, unwanted) in table {
            let context = after(Action::Stop, Ended::Refused, reason);
            says(&steps(Check::LateBoot, &context), wanted, unwanted, reason.label());
            let unwanted: Vec<_> = unwanted.iter().copied().filter(|text| *text != unknown).collect();
            says(&steps(Check::BootIncomplete, &context), &[], &unwanted, reason.label());
        }
    }

    /// The VM of the report is no more, and its name is an innocent one's.
    #[test]
    fn after_another_vm_was_hit_they_touch_that_one_only() {
        for (check, action) in [
            (Check::LateBoot, Action::Stop),
            (Check::LateBoot, Action::Relearn),
            (Check::BootIncomplete, Action::Suspend),
        ] {
            let steps = steps(check, &after(action, Ended::Failed, Reason::OtherVm));
            assert!(steps.starts_with("1. First see to the VM with the id 8"), "{steps}");
            says(&steps, &["There is no VM with the id 7"], &[LEARN, KEEP, "web", " 7 --project"], action.label());
        }
    }

    #[test]
    fn commands_name_the_vm_by_its_id_which_no_other_gets() {
        for check in [
            Check::EarlyBoot,
            Check::LateBoot,
            Check::BootIncomplete,
            Check::Options,
            Check::NotApproved,
            Check::Launch,
        ] {
            says(&steps(check, &Context::default()), &[], &["web"], check.label());
        }
    }

    #[test]
    fn the_entry_is_read_by_its_own_id_where_that_cannot_end_the_filter() {
        let mut entry = report(Check::LateBoot);
        for (id, part) in
            [("-1a$b", "Z\" AND insertId=\"-1a$b\"'"), ("", "Z\"'"), ("'; id", "Z\"'"), ("a\"b", "Z\"'"), ("`", "Z\"'")]
        {
            id.clone_into(&mut entry.log.insert_id);
            let steps = next_steps(&entry, Check::LateBoot, &Context::default());
            says(&steps, &[&format!("timestamp=\"2027-01-15T08:00:00.000000000{part} --project")], &[], id);
        }
    }

    #[test]
    fn what_a_baseline_approves_needs_nobody_to_approve_it() {
        for result in [Ended::DryRun, Ended::Planned] {
            let judgement = Some(Judgement::Known { baseline: "nov".into() });
            let context = Context { judgement, ..after(Action::Relearn, result, Reason::Asked) };
            let steps = steps(Check::LateBoot, &context);
            says(&steps, &["Baseline nov approves these measurements", LEARN], &[APPROVE], result.label());
        }
    }

    #[test]
    fn an_early_report_that_the_late_one_decides_for_asks_for_no_act() {
        let context = after(Action::Stop, Ended::Reported, Reason::Early);
        let late = format!("({})", finding_id(&report(Check::LateBoot).vm, Check::LateBoot));
        let wanted = ["what is left to do, is on the VM's finding \"Shielded VM: Late Boot", &late];
        says(&steps(Check::EarlyBoot, &context), &wanted, &[LEARN, STOP, KEEP, APPROVE, "wait for it"], "early");
        let nobody_answers = steps(Check::EarlyBoot, &Context::default());
        says(&nobody_answers, &[LEARN, STOP, KEEP, APPROVE, "wait for it"], &[], "report");
    }

    #[test]
    fn what_was_relearned_after_the_report_is_not_to_be_relearned_whenever_word_of_it_came() {
        for (seconds, again) in [(1, false), (-1, true)] {
            let mut context = Context::default();
            let time = report(Check::LateBoot).time + TimeDelta::seconds(seconds);
            context.record.relearned = Some(("alice".into(), time));
            assert_eq!(steps(Check::LateBoot, &context).contains(LEARN), again, "{seconds}");
        }
    }
}
