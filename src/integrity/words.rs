//! A report in sentences: shared by `integrity explain` and the finding.

use super::diff::{Change, Difference};
use super::entry::{BootReport, Check, Entry, Fact, LaunchReport};
use super::known::{Known, Technology};

/// The roll-over that makes many honest fleets fail with PCR_7 alone.
pub const CERTIFICATE_ROLLOVER: &str = "Only PCR_7 moved. In 2026 Microsoft's Secure Boot certificates of 2011 expire \
(KEK on 24 June, UEFI CA on 27 June, Windows production PCA on 19 October). Renewing db or KEK, recreating the VM or \
switching Secure Boot changes PCR_7 and nothing else, across whole fleets, GKE Shielded Nodes included. If such a \
renewal was under way this is expected; if not, somebody changed the Secure Boot keys or switched it off.";

/// What happened, in a few words.
pub fn headline(entry: &Entry) -> String {
    let passed = |what: &str, passed: bool| format!("{what} {}", if passed { "passed" } else { "failed" });
    match &entry.fact {
        Fact::Startup => "The VM started".to_owned(),
        Fact::Shutdown => "The VM stopped".to_owned(),
        Fact::VtpmCleared => "The virtual TPM was cleared".to_owned(),
        Fact::EarlyBoot(report) => passed("Early boot integrity check", report.passed()),
        Fact::LateBoot(report) => passed("Late boot integrity check", report.passed()),
        Fact::BootIncomplete { .. } => "The boot did not complete".to_owned(),
        Fact::Launch(LaunchReport { passed: None, .. }) => "Launch attestation report without a result".to_owned(),
        Fact::Launch(report) if report.passed == Some(true) && report.alarming() => {
            "Launch attestation passed with a policy that allows debugging".to_owned()
        }
        Fact::Launch(report) => passed("Launch attestation", report.passed == Some(true)),
        Fact::Answered(answered) => headline(&answered.report),
        Fact::BaselineRelearned(by) => format!("The integrity policy baseline was relearned by {}", by.principal),
        Fact::OptionsChanged { by, secure_boot, vtpm, monitoring } => {
            let word = |name: &str, value: &Option<bool>| {
                value.map(|on| format!("{name} switched {}", if on { "on" } else { "off" }))
            };
            let changed =
                [word("Secure Boot", secure_boot), word("vTPM", vtpm), word("integrity monitoring", monitoring)];
            let changed: Vec<_> = changed.into_iter().flatten().collect();
            format!("Shielded VM options were changed by {}: {}", by.principal, changed.join(", "))
        }
        Fact::ChangeFailed { by, check: Check::Relearned } => {
            format!("Relearning the integrity policy baseline, which {} asked for, failed", by.principal)
        }
        Fact::ChangeFailed { by, .. } => {
            format!("A change of Shielded VM options that {} asked for failed", by.principal)
        }
    }
}

/// The category of a check's finding: what people group and mute by.
pub fn category(check: Check) -> &'static str {
    match check {
        Check::EarlyBoot => "Shielded VM: Early Boot Integrity Failure",
        Check::LateBoot => "Shielded VM: Late Boot Integrity Failure",
        Check::BootIncomplete => "Shielded VM: Boot Did Not Complete",
        Check::Launch => "Shielded VM: Launch Attestation Failure",
        Check::VtpmCleared => "Shielded VM: vTPM Cleared",
        Check::Options => "Shielded VM: Secure Boot or Monitoring Switched Off",
        Check::Relearned => "Shielded VM: Integrity Baseline Relearned",
        Check::NotApproved => "Shielded VM: Relearned Baseline Was Not Approved",
    }
}

/// The boot report an entry carries.
pub fn boot_report(entry: &Entry) -> Option<&BootReport> {
    match &entry.fact {
        Fact::EarlyBoot(report) | Fact::LateBoot(report) | Fact::BootIncomplete { early: report, .. } => Some(report),
        _ => None,
    }
}

/// Which registers differ, in one line: "PCR_4 changed; PCR_14 only in actual". Values that cannot be read, as those of a
/// register that stands there twice, agree with nothing.
pub fn summary(report: &BootReport, differences: &[Difference]) -> String {
    let word = |difference: &Difference| {
        let pcr = difference.slot.pcr;
        Some(match difference.change {
            Change::Equal => return None,
            Change::Changed => format!("{pcr} changed"),
            Change::OnlyInPolicy => format!("{pcr} only in policy"),
            Change::OnlyInActual => format!("{pcr} only in actual"),
            Change::NotReadable => format!("{pcr} not readable"),
        })
    };
    let mut words: Vec<String> = differences.iter().filter_map(word).collect();
    words.dedup();
    let named = words.iter().filter(|word| word.ends_with("not readable")).count();
    match (words.as_slice(), report.unreadable.len().saturating_sub(named)) {
        ([], 0) if differences.is_empty() => words.push("no registers were reported".to_owned()),
        ([], 0) => words.push("all registers as the policy has them".to_owned()),
        (_, 0) => {}
        (_, 1) => words.push("1 value not readable".to_owned()),
        (_, many) => words.push(format!("{many} values not readable")),
    }
    words.join("; ")
}

/// What a reader should know beside the registers.
pub fn notes(entry: &Entry) -> Vec<String> {
    match &entry.fact {
        Fact::Launch(report) => launch_notes(report),
        Fact::VtpmCleared => {
            vec![
                "Secrets sealed to the virtual TPM are gone; disk encryption that relies on it needs its recovery key."
                    .to_owned(),
            ]
        }
        Fact::BootIncomplete { minutes, .. } => vec![format!(
            "The early report failed and no late report followed within {}. Secure Boot may have refused the boot loader or kernel: look at the serial console for \"Security Violation\", \"Failed to load image\" or \"Binary is blacklisted\".",
            minutes_long(*minutes)
        )],
        _ => boot_report(entry).map(boot_notes).unwrap_or_default(),
    }
}

fn minutes_long(minutes: u32) -> String {
    if minutes == 1 { "a minute".to_owned() } else { format!("{minutes} minutes") }
}

fn boot_notes(report: &BootReport) -> Vec<String> {
    let differences = report.differences();
    let changed: Vec<&Difference> = differences.iter().filter(|d| d.change.differs()).collect();
    let mut notes = Vec::new();
    if report.stated.is_none() {
        notes.push(
            "The entry does not say whether the check passed; this was concluded from the measurements.".to_owned(),
        );
    }
    if report.stated == Some(false) && changed.is_empty() && report.unreadable.is_empty() {
        notes.push("The check failed although all values that were reported agree: something that is not in the report was judged.".to_owned());
    }
    if report.stated == Some(true) && !changed.is_empty() {
        let beyond = changed.iter().all(|difference| difference.change == Change::OnlyInActual);
        let which = if beyond {
            "values differ: the policy does not cover the differing registers"
        } else {
            "values differ, also of registers that the policy in the report covers: the report does not say why"
        };
        notes.push(format!("The check passed although {which}."));
    }
    let only_7 = changed.iter().all(|d| d.slot.pcr.number() == 7 && d.change == Change::Changed);
    // What cannot be read may have moved too.
    if !changed.is_empty() && only_7 && report.unreadable.is_empty() {
        notes.push(CERTIFICATE_ROLLOVER.to_owned());
    }
    notes.extend(changed.iter().filter_map(|difference| confidentiality(difference)));
    notes.extend(report.not_readable().map(|reason| format!("Not readable: {reason}.")));
    notes
}

/// What PCR_0 says about confidential computing.
fn confidentiality(difference: &Difference) -> Option<String> {
    if difference.slot.pcr.number() != 0 {
        return None;
    }
    match (difference.policy_known(), difference.actual_known()) {
        (Some(Known::Firmware(from)), Some(Known::Firmware(to))) if from.technology != to.technology => {
            let lost = if to.technology == Technology::None { " The VM's memory is no longer encrypted." } else { "" };
            Some(format!("The VM ran with {} and now runs with {}.{lost}", from.technology.name(), to.technology.name()))
        }
        (_, None) if difference.actual.is_some() => Some(
            "The measured PCR_0 is of no firmware known here: it is newer than this program, the VM is not an x86 one, or the entry is forged.".to_owned(),
        ),
        _ => None,
    }
}

fn launch_notes(report: &LaunchReport) -> Vec<String> {
    let mut notes = Vec::new();
    if report.debug_enabled == Some(true) {
        notes.push(
            "The launch policy allows debugging: the host can read the memory of this Confidential VM.".to_owned(),
        );
    }
    if report.passed.is_none() {
        notes.push(
            "The entry does not say whether the attestation passed; a writer that leaves out false says no more when it failed."
                .to_owned(),
        );
    }
    if report.passed == Some(false) {
        notes.push(
            "The processor's report did not agree with what Google expected of the VM's first memory.".to_owned(),
        );
    }
    notes
}
