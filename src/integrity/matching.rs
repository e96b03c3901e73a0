//! Whether a boot is known to be good: one baseline must cover every register of policy and actual, in the same bank,
//! with the same bytes, be meant for this VM, and not have expired.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use chrono::{DateTime, Utc};

use super::baseline::{Baseline, Subject};
use super::entry::BootReport;
use super::judgement::{Judgement, Miss};
use super::measurement::{Measurements, Slot};

/// Judges a boot against all baselines.
pub fn judge(report: &BootReport, subject: Subject<'_>, baselines: &[Baseline], now: DateTime<Utc>) -> Judgement {
    if let Some(reason) = report.not_readable().next() {
        return Judgement::Unfit { reason: reason.clone() };
    }
    if report.actual.is_empty() {
        return Judgement::Unfit { reason: "it has no measurements".to_owned() };
    }
    let union = registers(report);
    let mut nearest: Option<Miss> = None;
    for baseline in baselines {
        let miss = compare(baseline, &union, &report.actual, bar(baseline, subject, now));
        if miss.distance() == 0 && miss.barred.is_none() {
            return Judgement::Known { baseline: miss.baseline };
        }
        let nearer =
            |other: &Miss| (miss.distance(), miss.barred.is_some()) < (other.distance(), other.barred.is_some());
        if nearest.as_ref().is_none_or(nearer) {
            nearest = Some(miss);
        }
    }
    Judgement::Unknown { nearest, looked_at: baselines.len() }
}

/// Whether a baseline has these very values, and is for this VM or may be, by a name or labels that are not known.
pub fn may_be_known(report: &BootReport, subject: Subject<'_>, baselines: &[Baseline], now: DateTime<Utc>) -> bool {
    let union = registers(report);
    let approves = |baseline: &Baseline| compare(baseline, &union, &report.actual, None).distance() == 0;
    let mut usable = baselines.iter().filter(|baseline| baseline.usable(now));
    usable.any(|baseline| baseline.scope.may_include(subject) && approves(baseline))
}

fn registers(report: &BootReport) -> Vec<Slot> {
    report.differences().iter().map(|difference| difference.slot).collect()
}

fn bar(baseline: &Baseline, subject: Subject<'_>, now: DateTime<Utc>) -> Option<String> {
    if let Some(reason) = baseline.broken.first() {
        return Some(format!("it cannot be used ({reason})"));
    }
    let expired = baseline.expires.filter(|expires| *expires <= now);
    expired
        .map(|expires| format!("it expired on {}", expires.format("%Y-%m-%d")))
        .or_else(|| baseline.scope.excludes(subject))
}

fn compare(baseline: &Baseline, union: &[Slot], actual: &Measurements, barred: Option<String>) -> Miss {
    let mut miss = Miss {
        baseline: baseline.name.clone(),
        differs: Vec::new(),
        uncovered: Vec::new(),
        unreported: Vec::new(),
        barred,
    };
    for slot in union {
        match (baseline.measurements.0.get(slot), actual.0.get(slot)) {
            (Some(good), Some(seen)) if verify_slices_are_equal(&good.0, &seen.0).is_ok() => {}
            (Some(_), Some(_)) => miss.differs.push(slot.to_string()),
            (None, Some(_)) => miss.uncovered.push(slot.to_string()),
            (_, None) => miss.unreported.push(slot.to_string()),
        }
    }
    miss
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::integrity::Vm;
    use crate::integrity::measurement::Garbled;
    use crate::state::Body;

    fn value(byte: u8) -> String {
        crate::integrity::measurement::Digest(vec![byte; 20]).base64()
    }

    fn report(policy: &[(u8, u8)], actual: &[(u8, u8)]) -> BootReport {
        let list = |values: &[(u8, u8)]| {
            let elements = values
                .iter()
                .map(|(pcr, byte)| json!({"hashAlgo": "SHA1", "pcrNum": format!("PCR_{pcr}"), "value": value(*byte)}));
            Measurements::parse("x", &elements.collect::<Value>())
        };
        BootReport {
            stated: Some(false),
            policy: list(policy).0,
            actual: list(actual).0,
            unreadable: vec![],
            garbled: Garbled::default(),
            counter: None,
        }
    }

    fn baseline(name: &str, json: Value) -> Baseline {
        let body: Body = serde_json::from_value(json).unwrap();
        Baseline::read(name, &body)
    }

    fn pcr(number: u8, byte: u8) -> Value {
        json!({"hashAlgo": "SHA1", "pcrNum": format!("PCR_{number}"), "value": value(byte)})
    }

    fn judged(report: &BootReport, baselines: &[Baseline]) -> String {
        let vm = Vm { project: "p".into(), zone: "z".into(), id: 1, name: None };
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        judge(report, Subject { vm: &vm, name: None, labels: None }, baselines, now).sentence()
    }

    const KNOWN: &str = "These measurements are known to be good: baseline b.";

    /// Every row of the table of situations that the tutorial's rule gets wrong.
    #[test]
    fn where_the_tutorial_is_wrong() {
        let old = [(0, 1), (4, 1), (7, 1)];
        let three = json!({"PCR_0": pcr(0, 1), "PCR_4": pcr(4, 2), "PCR_7": pcr(7, 1)});
        let windows = report(&old, &[(0, 1), (4, 2), (7, 1), (11, 5), (14, 5)]);
        let unknown = judged(&windows, &[baseline("b", three.clone())]);
        assert_eq!(
            unknown,
            "No baseline knows these measurements; the nearest: b has no value for PCR_11 (SHA1), PCR_14 (SHA1)."
        );

        let extra = report(&old, &[(0, 1), (4, 2), (7, 1), (14, 5)]);
        assert!(judged(&extra, &[baseline("b", three.clone())]).contains("has no value for PCR_14"));
        let four = json!({"PCR_0": pcr(0, 1), "PCR_4": pcr(4, 2), "PCR_7": pcr(7, 1), "PCR_14": pcr(14, 5)});
        assert_eq!(judged(&extra, &[baseline("b", four)]), KNOWN, "four registers on both sides");

        let linux = report(&old, &[(0, 1), (4, 2), (7, 1)]);
        let mut noted = three.clone();
        noted["note"] = json!("approved in March");
        assert_eq!(judged(&linux, &[baseline("b", noted)]), KNOWN, "another field");
        let mut odd = three.clone();
        odd["PCR_4"]["hashAlgo"] = json!("sha1");
        odd["PCR_4"]["approved"] = json!(true);
        assert_eq!(judged(&linux, &[baseline("b", odd)]), KNOWN, "other case, another member");
        let digits = json!({"0": pcr(0, 1), "4": pcr(4, 2), "7": pcr(7, 1)});
        assert_eq!(judged(&linux, &[baseline("b", digits)]), KNOWN, "fields named by number");

        let without_7 = report(&old, &[(0, 1), (4, 2)]);
        assert!(
            judged(&without_7, &[baseline("b", three.clone())]).contains("did not report: PCR_7"),
            "no exception, no match"
        );
        assert_eq!(judged(&linux, &[]), "No known-good baselines are recorded.");

        let mut banks = linux.clone();
        let long = crate::integrity::measurement::Digest(vec![9; 32]);
        let sha256 = Slot {
            pcr: crate::integrity::measurement::Pcr::new(4).unwrap(),
            algorithm: crate::integrity::measurement::Algorithm::Sha256,
        };
        banks.actual.0.insert(sha256, long.clone());
        assert!(judged(&banks, &[baseline("b", three.clone())]).contains("has no value for PCR_4 (SHA256)"));
        let mut both = three;
        both["PCR_4_SHA256"] = json!({"hashAlgo": "SHA256", "pcrNum": "PCR_4", "value": long.base64()});
        assert_eq!(judged(&banks, &[baseline("b", both)]), KNOWN, "bank by bank");
    }

    #[test]
    fn only_a_baseline_that_a_name_or_labels_may_bring_in_may_know_these_values() {
        let seen = report(&[(0, 1), (4, 1)], &[(0, 1), (4, 2)]);
        let vm = Vm { project: "p".into(), zone: "z".into(), id: 1, name: None };
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        for (may, register, fields) in [
            (true, 2, json!({"names": ["web-*"]})),
            (true, 2, json!({"projects": ["p"], "labels": {"os": "x"}})),
            (false, 3, json!({"names": ["web-*"]})),
            (false, 2, json!({"projects": ["q"]})),
            (false, 2, json!({"projects": ["q"], "names": ["web-*"]})),
            (false, 2, json!({"zones": ["y"], "labels": {"os": "x"}})),
            (false, 2, json!({"names": ["web-*"], "expiresAt": "2020-01-01T00:00:00Z"})),
        ] {
            let mut json = json!({"PCR_0": pcr(0, 1), "PCR_4": pcr(4, register)});
            json.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap_or_default());
            let baselines = [baseline("b", json.clone())];
            let subject = Subject { vm: &vm, name: None, labels: None };
            assert_eq!(may_be_known(&seen, subject, &baselines, now), may, "{json}");
            let other = Subject { name: Some("db-1"), labels: Some(&BTreeMap::new()), ..subject };
            assert!(!may_be_known(&seen, other, &baselines, now), "{json}");
        }
    }

    #[test]
    fn the_nearest_miss_is_told_and_what_cannot_be_read_never_matches() {
        let seen = report(&[(0, 1), (4, 1)], &[(0, 1), (4, 2)]);
        let far = baseline("far", json!({"PCR_0": pcr(0, 8), "PCR_4": pcr(4, 8)}));
        let near = baseline("near", json!({"PCR_0": pcr(0, 1), "PCR_4": pcr(4, 8)}));
        assert!(judged(&seen, &[far, near]).ends_with("the nearest: near differs only in PCR_4 (SHA1)."));
        let good = json!({"PCR_0": pcr(0, 1), "PCR_4": pcr(4, 2)});
        let with = |field: &str, value: Value| {
            let mut json = good.clone();
            json[field] = value;
            judged(&seen, &[baseline("b", json)])
        };
        assert_eq!(with("expiresAt", json!("2030-01-01T00:00:00Z")), KNOWN);
        assert!(
            with("expiresAt", json!("2020-01-01T00:00:00Z"))
                .contains("has these very values, but it expired on 2020-01-01")
        );
        assert!(with("expiresAt", json!("soon")).contains("cannot be used"));
        assert_eq!(with("projects", json!(["x", "p"])), KNOWN);
        assert!(with("projects", json!("x")).contains("only for the projects x"));
        assert!(with("zones", json!(7)).contains("cannot be used"));
        for field in ["projects", "zones", "names", "labels"] {
            for emptied in [json!([]), json!(""), json!(" , "), json!([""]), json!({})] {
                let said = with(field, emptied.clone());
                assert!(said.contains("cannot be used") && said.contains(field), "{field} {emptied}: {said}");
            }
            assert_eq!(with(field, json!(null)), KNOWN, "{field}");
        }
        assert!(with("names", json!(["web-*"])).contains("name is not known"));
        assert!(with("labels", json!({"os": "x"})).contains("labels are not known"));
        assert!(with("PCR_9", json!("AAAA")).contains("PCR_9: it is not a map"));
        assert!(with("PCR_5", pcr(6, 1)).contains("PCR_5: its pcrNum is PCR_6"));
    }
}
