//! `integrity explain`: one entry for people and for programs.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::diff::{Change, Difference};
use super::entry::{Check, Entry, Vm};
use super::words::{boot_report, headline, notes, summary};
use crate::text::escaped;

/// One entry, explained.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// What happened, in a few words.
    pub headline: String,
    /// Whether it is bad news; absent for starting and stopping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<bool>,
    /// Which check it bears on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// Which VM.
    pub vm: Vm,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// How often the VM had been restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_counter: Option<u64>,
    /// Which registers differ, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Every register, equal ones too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub registers: Vec<Register>,
    /// What else a reader should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One register, explained.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Register {
    /// Which: `PCR_4`.
    pub pcr: String,
    /// Its bank.
    pub algorithm: &'static str,
    /// How its values relate.
    pub change: Change,
    /// What it covers.
    pub covers: &'static str,
    /// What happened to it.
    pub sentence: String,
    /// What usually changes it without harm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usual_harmless_cause: Option<&'static str>,
    /// The policy's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Value>,
    /// The measured value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<Value>,
}

/// A register's value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    /// As the log has it.
    pub base64: String,
    /// As TPM tools print it.
    pub hex: String,
    /// What it says, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub means: Option<String>,
}

/// Explains an entry.
pub fn explain(entry: &Entry) -> Explanation {
    let report = boot_report(entry);
    let differences = report.map(|report| report.differences()).unwrap_or_default();
    Explanation {
        headline: headline(entry),
        failed: entry.failed(),
        check: entry.check(),
        vm: entry.vm.clone(),
        time: entry.time,
        boot_counter: entry.boot,
        summary: report.map(|report| summary(report, &differences)),
        registers: differences.iter().map(register).collect(),
        notes: notes(entry),
    }
}

fn register(difference: &Difference) -> Register {
    let means = |known: Option<super::known::Known>| known.map(|known| known.to_string());
    let value =
        |digest: &super::measurement::Digest, means| Value { base64: digest.base64(), hex: digest.hex(), means };
    Register {
        pcr: difference.slot.pcr.to_string(),
        algorithm: difference.slot.algorithm.name(),
        change: difference.change,
        covers: difference.meaning().covers,
        sentence: difference.sentence(),
        usual_harmless_cause: difference.harmless(),
        policy: difference.policy.as_ref().map(|digest| value(digest, means(difference.policy_known()))),
        actual: difference.actual.as_ref().map(|digest| value(digest, means(difference.actual_known()))),
    }
}

/// Colours of a terminal, or none.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Red.
    pub fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// Green.
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Yellow.
    pub fn odd(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Dim.
    pub fn quiet(self, text: &str) -> String {
        self.with("2", text)
    }
}

impl Explanation {
    /// The explanation as lines for people, in which no name or sentence of others steers the terminal.
    pub fn text(&self, paint: Paint) -> String {
        let mut out = String::new();
        let headline = escaped(&self.headline);
        let headline = match self.failed {
            Some(true) => paint.bad(&headline),
            Some(false) => paint.good(&headline),
            None => headline.into_owned(),
        };
        let boot = self.boot_counter.map(|boot| format!(", boot {boot}")).unwrap_or_default();
        let name = self.vm.name.as_ref().map(|name| format!("{name}, ")).unwrap_or_default();
        let place = format!("{name}instance {} in {} ({}){boot}", self.vm.id, self.vm.project, self.vm.zone);
        line(&mut out, &headline);
        let place = escaped(&place);
        line(&mut out, &format!("  {place}, {}", self.time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)));
        if let Some(summary) = &self.summary {
            line(&mut out, &format!("  {}", escaped(summary)));
        }
        for register in &self.registers {
            register.lines(paint, &mut out);
        }
        for note in &self.notes {
            line(&mut out, &format!("  {} {}", paint.odd("Note:"), escaped(note)));
        }
        out
    }
}

impl Register {
    fn lines(&self, paint: Paint, out: &mut String) {
        let name = format!("{} {}", self.pcr, self.algorithm);
        let (mark, name) = match self.change {
            Change::Equal => (paint.good("="), paint.quiet(&name)),
            Change::Changed => (paint.bad("≠"), paint.bad(&name)),
            Change::OnlyInPolicy => (paint.odd("-"), paint.odd(&name)),
            Change::OnlyInActual => (paint.odd("+"), paint.odd(&name)),
            Change::NotReadable => (paint.odd("?"), paint.odd(&name)),
        };
        line(out, "");
        line(out, &format!("  {mark} {name}  {}", paint.quiet(self.covers)));
        let value = |label: &str, value: &Value| {
            let means = value.means.as_ref().map(|means| format!("  {means}")).unwrap_or_default();
            format!("      {label} {}{means}", value.base64)
        };
        match (&self.policy, &self.actual) {
            (Some(same), Some(_)) if self.change == Change::Equal => line(out, &paint.quiet(&value("both  ", same))),
            (policy, actual) => {
                policy.iter().for_each(|policy| line(out, &value("policy", policy)));
                actual.iter().for_each(|actual| line(out, &value("actual", actual)));
                line(out, &format!("      {}.", escaped(&self.sentence)));
                match self.usual_harmless_cause {
                    Some(cause) => line(out, &format!("      Usual harmless cause: {cause}.")),
                    None if self.change.differs() => line(out, "      No harmless cause is known."),
                    None => {}
                }
            }
        }
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    writeln!(out, "{text}").ok();
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::integrity::entry::{Audit, BootReport, Fact};
    use crate::integrity::{Reading, read};

    const ZERO: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const OTHER: &str = "sqg7Dr8vg3Qpmlsr38MeqVWtcjY=";

    fn element(pcr: u8, value: &str) -> Json {
        json!({"hashAlgo": "SHA1", "pcrNum": format!("PCR_{pcr}"), "value": value})
    }

    fn late(boot: &Json, policy: &Json, actual: &Json) -> Entry {
        let entry = json!({
            "resource": {"labels": {"project_id": "p", "zone": "z", "instance_id": "7"}},
            "jsonPayload": {"@type": "type.googleapis.com/cloud_integrity.IntegrityEvent", "bootCounter": boot,
                "lateBootReportEvent": {
                    "policyEvaluationPassed": false, "policyMeasurements": policy, "actualMeasurements": actual}},
        });
        match read(&entry, Utc::now()) {
            Ok(Reading::Entry(entry)) => *entry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_register_that_cannot_be_read_is_not_said_to_be_missing() {
        let policy = json!([element(0, OTHER), element(4, OTHER), element(7, ZERO)]);
        let mut unknown = element(4, OTHER);
        unknown["hashAlgo"] = json!("SHA512");
        let entry = late(&json!("3"), &policy, &json!([element(0, "zz"), unknown, element(7, OTHER)]));
        let found = explain(&entry);
        assert_eq!(found.summary.as_deref(), Some("PCR_0 not readable; PCR_4 not readable; PCR_7 changed"));
        let text = found.text(Paint(false));
        assert!(!text.contains("did not report it") && !text.contains("all values that were reported agree"), "{text}");
        for wanted in [
            "? PCR_0 SHA1",
            "PCR_0 was reported, but its value cannot be read and compared with the policy's.",
            "Not readable: actualMeasurements[1]: hashAlgo \"SHA512\" of PCR_4 is not known.",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let entry = late(&json!("3"), &json!([element(0, "zz"), element(4, OTHER)]), &policy);
        let found = explain(&entry);
        assert_eq!(found.summary.as_deref(), Some("PCR_0 not readable; PCR_7 only in actual"));
        assert_eq!(found.registers[0].sentence, "PCR_0 was measured, but the policy's value for it cannot be read");
    }

    #[test]
    fn names_and_sentences_of_others_do_not_steer_the_terminal() {
        let lists = (json!([element(4, OTHER)]), json!([element(4, ZERO)]));
        let mut entry = late(&json!("\u{1b}[2J3"), &lists.0, &lists.1);
        entry.vm.name = Some("we\u{9b}31mb".to_owned());
        entry.vm.project = "p\u{202e}".to_owned();
        let text = explain(&entry).text(Paint(false));
        assert!(text.contains(r"we\u009b31mb") && text.contains(r"p\u202e"), "{text}");
        assert!(!text.contains(crate::text::steers), "{text:?}");
        let by = Audit { principal: "a\u{1b}[2Jb@x".to_owned(), ..Audit::default() };
        entry.fact = Fact::BaselineRelearned(by);
        let text = explain(&entry).text(Paint(true));
        assert!(text.contains(r"a\u001b[2Jb@x"), "{text:?}");
    }

    #[test]
    fn only_pcr_7_moved_is_not_said_while_another_register_cannot_be_read() {
        let policy = json!([element(4, OTHER), element(7, ZERO)]);
        for (four, expected) in [(OTHER, true), ("zz", false)] {
            let entry = late(&json!("3"), &policy, &json!([element(4, four), element(7, OTHER)]));
            let text = explain(&entry).text(Paint(false));
            assert_eq!(text.contains("Only PCR_7 moved"), expected, "{text}");
        }
    }

    #[test]
    fn a_pass_with_other_values_is_the_policys_doing_only_where_that_does_not_cover_them() {
        let policy = json!([element(4, OTHER)]);
        for (actual, covered) in [
            (json!([element(4, OTHER), element(9, OTHER)]), false),
            (json!([element(4, ZERO), element(9, OTHER)]), true),
            (json!([]), true),
        ] {
            let mut entry = late(&json!("3"), &policy, &actual);
            let Fact::LateBoot(report) = &mut entry.fact else { panic!("it is a late report") };
            report.stated = Some(true);
            let notes = explain(&entry).notes.join(" ");
            assert!(notes.contains("The check passed although values differ"), "{notes}");
            assert_eq!(notes.contains("the policy does not cover the differing registers"), !covered, "{notes}");
        }
    }

    #[test]
    fn a_boot_counter_is_no_value_of_a_register() {
        let list = json!([element(4, OTHER)]);
        let found = explain(&late(&json!("x"), &list, &list));
        assert_eq!(found.summary.as_deref(), Some("all registers as the policy has them"));
        assert!(found.notes.iter().any(|note| note.contains("all values that were reported agree")), "{found:?}");
        let text =
            explain(&late(&json!("x"), &json!([element(7, OTHER)]), &json!([element(7, ZERO)]))).text(Paint(false));
        assert!(text.contains("Only PCR_7 moved") && text.contains("Not readable: bootCounter"), "{text}");
    }

    #[test]
    fn what_was_never_extended_is_not_said_to_have_been_measured() {
        let entry = late(&json!("3"), &json!([element(4, OTHER)]), &json!([element(4, OTHER), element(12, ZERO)]));
        let text = explain(&entry).text(Paint(false));
        assert!(text.contains("PCR_12 was reported as never extended") && !text.contains("was measured ("), "{text}");
    }

    #[test]
    fn a_report_whose_boot_counter_cannot_be_read_is_told_without_it() {
        let lists = (json!([element(4, OTHER)]), json!([element(4, ZERO)]));
        for (counter, shown) in [
            (json!("-1"), "\"-1\""),
            (json!("x"), "\"x\""),
            (json!(""), "\"\""),
            (json!(null), "\"null\""),
            (json!(2.5), "\"2.5\""),
            (json!("99999999999999999999"), "\"99999999999999999999\""),
        ] {
            let entry = late(&counter, &lists.0, &lists.1);
            assert_eq!((entry.boot, entry.failed()), (None, Some(true)), "{counter}");
            let notes = explain(&entry).notes.join("\n");
            assert!(notes.contains(&format!("Not readable: bootCounter {shown} is no whole number.")), "{notes}");
        }
        for counter in [json!("2"), json!(2), json!(2.0), json!(" 2 ")] {
            let entry = late(&counter, &lists.0, &lists.1);
            let BootReport { unreadable, .. } = boot_report(&entry).unwrap();
            assert_eq!((entry.boot, unreadable.len()), (Some(2), 0), "{counter}");
        }
    }
}
