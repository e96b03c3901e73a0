//! What was asked of a VM through the Compute API: options switched, the baseline learned again. Pure.
//!
//! Entries come in any order, and the end of an operation may say that nothing came of its beginning. So the last
//! changes of every kind are kept, not only the newest: one that failed is taken out, and the one before it counts
//! again. A finding about them says how things stand now, so every update of it is told under a later time than the
//! one before: an entry that arrives late would be old news otherwise.

use chrono::{DateTime, Utc};

use super::changed::Change;
use super::entry::{Audit, Check, Entry, Fact};
use super::moment::Moment;
use super::record::{FindingStep, Record, STEP};
use crate::text;

/// What a relearned baseline is called among the changes.
const BASELINE: &str = "baseline";

impl Record {
    /// Takes in what an audit entry says, and answers what becomes of the finding about it. `fresh`: nothing was ever
    /// seen of this VM. `accepted`: when the entry was.
    pub(super) fn asked(&mut self, entry: &Entry, fresh: bool, accepted: DateTime<Utc>) -> Option<FindingStep> {
        let check = entry.check()?;
        let before = (self.options.clone(), self.relearned.clone());
        let mut news = false;
        match &entry.fact {
            Fact::ChangeFailed { by, .. } => {
                self.changes.take_back(by.operation.as_deref()?);
                news = true;
            }
            fact => {
                for change in asked_for(fact, entry.time) {
                    news |= self.changes.take(change);
                }
            }
        }
        self.sum_up();
        let changed = before != (self.options.clone(), self.relearned.clone());
        self.tell_late(check, entry, accepted)
            .or_else(|| if news || changed { self.tell(check, entry, changed, fresh) } else { None })
    }

    /// What is undone by now is told nevertheless, when that came to be known only while the entry waited. Whatever
    /// entry raised the finding tells it again, also one that switched only some of what was off on again.
    fn tell_late(&mut self, check: Check, entry: &Entry, accepted: DateTime<Utc>) -> Option<FindingStep> {
        let moment = entry.moment();
        let standing = self.checks.get(&check).filter(|standing| standing.passed > standing.failed)?;
        if self.is_bad(check) {
            return None;
        }
        let again = standing.untold_entry == Some(moment);
        let failed = entry.audit()?.operation.as_ref().is_some_and(|operation| self.changes.has_failed(operation));
        let bad_news = entry.failed() == Some(true) && !failed;
        let late = bad_news && standing.passed > Some(moment) && standing.is_news(moment, accepted);
        if !again && !late {
            return None;
        }
        let standing = self.checks.entry(check).or_default();
        standing.failed = standing.failed.max(Some(moment));
        standing.untold_entry = Some(moment);
        Some(FindingStep::Raise(check))
    }

    /// The time under which the finding about changes is raised; `None` for other checks, whose reports have times of
    /// their own.
    pub fn told(&self, check: Check) -> Option<DateTime<Utc>> {
        if !matches!(check, Check::Options | Check::Relearned) {
            return None;
        }
        Some(self.checks.get(&check)?.failed?.time)
    }

    /// Who else had the baseline learned again after we had, and before `until`. Our own call stands in the audit log
    /// too, under its operation; while that is not known, nobody can tell the two apart.
    pub(super) fn relearned_by_others(&self, until: DateTime<Utc>) -> Option<&Change> {
        let learning = self.learning.as_ref()?;
        let ours = learning.operation.as_ref()?;
        self.changes.made.iter().find(|change| {
            change.what == BASELINE
                && (learning.called..until).contains(&change.time)
                && change.operation.as_ref().is_some_and(|operation| operation != ours)
        })
    }

    /// Who is to blame for a policy that we did not approve, as a sentence, when it was not our relearn.
    pub fn learned_from_others(&self) -> Option<String> {
        let lost = self.learning.as_ref()?.lost?;
        let change = self.relearned_by_others(lost.time)?;
        Some(format!(
            "It was relearned by {} on {}, after the connector had it relearned: the policy in the report of {}, which is not what the connector had approved, is of that.",
            change.by,
            text::stamp(change.time),
            text::stamp(lost.time)
        ))
    }

    /// The options that are known to be off.
    pub fn off(&self) -> Vec<&str> {
        self.options.iter().filter(|(_, (on, _))| !on).map(|(name, _)| name.as_str()).collect()
    }

    /// Who switched off what is off, in sentences.
    pub fn switched_off(&self) -> Vec<String> {
        let newest = self.off().into_iter().filter_map(|name| self.changes.newest(name));
        newest
            .map(|change| {
                let when = text::stamp(change.time);
                format!("{} was switched off by {} on {when}.", change.what, change.by)
            })
            .collect()
    }

    /// What the changes come to.
    fn sum_up(&mut self) {
        let newest = |what: &String| self.changes.newest(what).map(|change| (what.clone(), (change.on, change.time)));
        let names = self.changes.made.iter().map(|change| &change.what).filter(|what| *what != BASELINE);
        self.options = names.filter_map(newest).collect();
        self.relearned = self.changes.newest(BASELINE).map(|change| (change.by.clone(), change.time));
    }

    /// Whether the finding about changes is to be open.
    fn is_bad(&self, check: Check) -> bool {
        if check == Check::Relearned { self.relearned.is_some() } else { !self.off().is_empty() }
    }

    /// The finding as it should be now. What changed nothing is told under the same time again: the first attempt may
    /// have died before it was delivered.
    fn tell(&mut self, check: Check, entry: &Entry, changed: bool, fresh: bool) -> Option<FindingStep> {
        let time = match self.newest(check).map(|told| told.time) {
            Some(told) if changed => entry.time.max(told + STEP),
            Some(told) => told,
            None if changed => entry.time,
            None => return None,
        };
        let bad = self.is_bad(check);
        let standing = self.checks.entry(check).or_default();
        let moment = Some(Moment { time, boot: None });
        if bad {
            standing.failed = moment;
            standing.untold_entry = Some(entry.moment());
            return Some(FindingStep::Raise(check));
        }
        let told = moment.is_some_and(|moment| standing.ends(moment));
        standing.passed = moment;
        // What was known may have been lost; then there may be a finding nevertheless.
        (fresh || standing.failed.is_some()).then_some(FindingStep::Close { check, told })
    }
}

/// The changes that an entry says were asked for.
fn asked_for(fact: &Fact, time: DateTime<Utc>) -> Vec<Change> {
    let change = |what: &str, on: bool, by: &Audit| Change {
        what: what.to_owned(),
        on,
        by: by.principal.clone(),
        time,
        operation: by.operation.clone(),
    };
    match fact {
        Fact::BaselineRelearned(by) => vec![change(BASELINE, true, by)],
        Fact::OptionsChanged { by, secure_boot, vtpm, monitoring } => {
            let options = [("Secure Boot", secure_boot), ("vTPM", vtpm), ("integrity monitoring", monitoring)];
            options.into_iter().filter_map(|(what, on)| Some(change(what, (*on)?, by))).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use chrono::TimeDelta;

    use super::*;
    use crate::integrity::changed::KEPT;
    use crate::integrity::entry::{LogLine, Vm};
    use crate::integrity::lifecycle::{self, Step};

    /// An entry that is handled when it comes.
    fn step(known: Option<&Record>, entry: &Entry) -> Step {
        let heard = known.and_then(|known| known.checks.values().filter_map(|standing| standing.heard).max());
        let accepted = heard.map_or(entry.time, |heard| heard + TimeDelta::seconds(1));
        lifecycle::step(known, entry, accepted)
    }

    fn entry(second: i64, fact: Fact) -> Entry {
        let vm = Vm { project: "p".into(), zone: "z".into(), id: 1, name: None };
        let time = DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        Entry { vm, time, boot: None, fact, log: LogLine::default() }
    }

    fn by(operation: i64) -> Audit {
        Audit { principal: "alice".into(), operation: Some(format!("operation-{operation}")), ..Audit::default() }
    }

    /// Secure Boot, vTPM, monitoring.
    type Options = (Option<bool>, Option<bool>, Option<bool>);

    fn switched(operation: i64, second: i64, (secure_boot, vtpm, monitoring): Options) -> Entry {
        entry(second, Fact::OptionsChanged { by: by(operation), secure_boot, vtpm, monitoring })
    }

    fn failed(operation: i64, second: i64, check: Check) -> Entry {
        entry(second, Fact::ChangeFailed { by: by(operation), check })
    }

    /// Whether the finding is open after these entries, and what is off then. As Security Command Center has it: what
    /// is no later than what it knows changes nothing.
    fn ends(entries: &[Entry], check: Check) -> (bool, Vec<String>) {
        let mut record: Option<Record> = None;
        let mut stored: Option<(bool, DateTime<Utc>, Vec<String>)> = None;
        for entry in entries {
            // Twice: the first attempt died before it was delivered.
            let first = step(record.as_ref(), entry);
            let again = step(Some(&first.record), entry);
            assert_eq!(first.record, again.record);
            if record.is_some() {
                assert_eq!(first.finding_steps, again.finding_steps, "{entry:?}");
            }
            let time = match first.finding_steps.as_slice() {
                [FindingStep::Raise(_)] => again.record.told(check),
                _ => again.record.passed(check),
            };
            let newer = stored.as_ref().is_none_or(|(_, known, _)| time > Some(*known));
            let off = || again.record.off().into_iter().map(str::to_owned).collect();
            match (first.finding_steps.as_slice(), &mut stored) {
                ([FindingStep::Raise(_)], stored) if newer => *stored = Some((true, time.unwrap(), off())),
                ([FindingStep::Close { .. }], Some(open)) if newer && open.0 => {
                    *open = (false, time.unwrap(), Vec::new())
                }
                _ => {}
            }
            record = Some(again.record);
        }
        let (open, _, off) = stored.unwrap_or((false, DateTime::UNIX_EPOCH, Vec::new()));
        (open, off)
    }

    /// The end of these entries, which is the same in every order.
    fn in_every_order(entries: &[Entry], check: Check) -> (bool, Vec<String>) {
        let end = ends(entries, check);
        for order in orders(entries) {
            assert_eq!(ends(&order, check), end, "{order:#?}");
        }
        end
    }

    fn orders(entries: &[Entry]) -> Vec<Vec<Entry>> {
        if entries.is_empty() {
            return vec![Vec::new()];
        }
        let mut all = Vec::new();
        for first in 0..entries.len() {
            let mut rest = entries.to_vec();
            let first = rest.remove(first);
            all.extend(orders(&rest).into_iter().map(|rest| [vec![first.clone()], rest].concat()));
        }
        all
    }

    /// As `super::lifecycle` tests it for reports.
    #[test]
    fn what_was_switched_off_and_on_again_meanwhile_is_told() {
        let (off, on) = (switched(1, 0, (OFF, None, None)), switched(2, 30, (ON, ON, None)));
        let (first, second) = (off.time, on.time);
        let raise = [FindingStep::Raise(Check::Options)];
        let fails = lifecycle::step(None, &off, first);
        let undone = lifecycle::step(Some(&fails.record), &on, second);
        assert_eq!(
            undone.finding_steps,
            [FindingStep::Close { check: Check::Options, told: false }],
            "nothing stands there yet"
        );
        let handled_first = lifecycle::step(None, &on, second);
        for known in [undone.record, handled_first.record] {
            let mut again = lifecycle::step(Some(&known), &off, first);
            assert_eq!((again.finding_steps, again.record.told(Check::Options)), (raise.to_vec(), Some(off.time)));
            assert_eq!(again.record.mark_told_unless_passed(Check::Options, off.moment()), Some(on.time));
        }
        let came_first = lifecycle::step(None, &on, first);
        assert_eq!(lifecycle::step(Some(&came_first.record), &off, second).finding_steps, []);
        let monitoring = lifecycle::step(None, &switched(3, 40, (None, None, ON)), second);
        let off_still = lifecycle::step(Some(&monitoring.record), &off, first);
        assert_eq!(off_still.finding_steps, raise);
        assert!(off_still.record.told(Check::Options) > monitoring.record.passed(Check::Options));
        let failed_off = lifecycle::step(Some(&came_first.record), &failed(1, 31, Check::Options), second);
        assert_eq!(lifecycle::step(Some(&failed_off.record), &off, first).finding_steps, [], "it came to nothing");
    }

    const ON: Option<bool> = Some(true);
    const OFF: Option<bool> = Some(false);

    #[test]
    fn what_is_off_in_the_end_does_not_depend_on_the_order() {
        let off = |entries: &[Entry]| {
            let (open, off) = in_every_order(entries, Check::Options);
            assert_eq!(open, !off.is_empty());
            off
        };
        let secure_boot_off = switched(1, 0, (OFF, None, None));
        assert_eq!(off(&[secure_boot_off.clone(), switched(2, 30, (None, ON, None))]), ["Secure Boot"]);
        let there_and_back = [switched(2, 10, (None, OFF, None)), switched(3, 20, (None, ON, None))];
        assert_eq!(off(&[&there_and_back[..], std::slice::from_ref(&secure_boot_off)].concat()), ["Secure Boot"]);
        let all_off = switched(1, 0, (OFF, OFF, OFF));
        let one_by_one = [all_off, switched(2, 5, (None, None, ON)), switched(3, 10, (ON, ON, None))];
        assert!(off(&one_by_one).is_empty());
        let both = [secure_boot_off.clone(), switched(2, 10, (None, None, OFF))];
        assert_eq!(off(&both), ["Secure Boot", "integrity monitoring"]);
        assert_eq!(off(&[secure_boot_off, switched(2, 0, (ON, None, None))]), ["Secure Boot"], "at the same time");
    }

    #[test]
    fn what_failed_is_taken_back() {
        let secure_boot_off = switched(1, 0, (OFF, None, None));
        let failed_off = [secure_boot_off.clone(), failed(1, 2, Check::Options)];
        assert!(!in_every_order(&failed_off, Check::Options).0);
        let failed_on = [secure_boot_off, switched(2, 5, (ON, None, None)), failed(2, 6, Check::Options)];
        assert_eq!(in_every_order(&failed_on, Check::Options), (true, vec!["Secure Boot".to_owned()]));
        let relearned = |operation, second| entry(second, Fact::BaselineRelearned(by(operation)));
        assert!(!in_every_order(&[relearned(1, 0), failed(1, 2, Check::Relearned)], Check::Relearned).0);
        let one_did = [relearned(1, 0), relearned(2, 5), failed(2, 6, Check::Relearned)];
        assert!(in_every_order(&one_did, Check::Relearned).0);
    }

    #[test]
    fn who_switched_it_off_is_told_whichever_entry_came_last() {
        let first = step(None, &switched(2, 30, (None, ON, None))).record;
        let last = step(Some(&first), &switched(1, 0, (OFF, None, None))).record;
        assert_eq!(last.switched_off(), ["Secure Boot was switched off by alice on 2027-01-15 08:00:00 UTC."]);
    }

    #[test]
    fn only_the_last_changes_are_kept() {
        let mut record = None;
        for n in 0..100 {
            let known = step(record.as_ref(), &switched(n, n, (Some(n % 2 == 0), OFF, None))).record;
            record = Some(step(Some(&known), &failed(1_000 + n, n, Check::Options)).record);
        }
        let Record { changes, options, .. } = record.unwrap();
        assert_eq!((changes.made.len(), changes.failed.len(), options.len()), (2 * KEPT, KEPT, 2));
    }

    proptest! {
        #[test]
        fn every_order_ends_the_same(
            asked in prop::collection::vec((0..40_i64, any::<Options>(), prop::bool::weighted(0.3)), 1..4)
        ) {
            let mut entries = Vec::new();
            for (operation, (second, options, fails)) in (0..).zip(asked) {
                // Never in the same moment as another: an entry that is untold is known by its own.
                entries.push(switched(operation, second * 10 + operation, options));
                if fails && entries.len() < 5 {
                    entries.push(failed(operation, second * 10 + 15 + operation, Check::Options));
                }
            }
            let (open, off) = in_every_order(&entries, Check::Options);
            prop_assert_eq!(open, !off.is_empty());
        }
    }
}
