//! Secrets that are known exactly, because our own settings hold them: they are left out whatever stands before them.

use std::borrow::Cow;
use std::fmt;

use regex::Regex;
use secrecy::{ExposeSecret, SecretString};

use crate::event::facts::Facts;
use crate::event::runtime::Runtime;
use crate::finding::texts::Texts;
use crate::finding::{Finding, FindingChange};
use crate::text::cut;
use crate::text::secrets::HIDDEN;

/// What is shorter may be a part of anything.
const SHORTEST: usize = 8;
/// The longest category, and the longest name of a module.
const LONGEST_NAME: usize = 255;
/// As many bytes of each are searched for first: secrets that are released may be long.
const BEGINNING: usize = 64;

/// The secrets of our own settings.
#[derive(Clone, Default)]
pub struct KnownSecrets {
    secrets: Vec<SecretString>,
    /// The beginning of any: every text is searched for all at once, and hardly one holds one.
    begins: Option<Regex>,
    /// The length of the shortest: most texts of a finding are shorter, and need no look.
    shortest: usize,
}

/// A pattern would show what it is made of.
impl fmt::Debug for KnownSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownSecrets").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

impl KnownSecrets {
    /// These secrets; what is too short to be told from ordinary words is none.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s SecretString>) -> Self {
        let mut known: Vec<SecretString> =
            secrets.into_iter().filter(|secret| secret.expose_secret().len() >= SHORTEST).cloned().collect();
        // One may be the beginning of another.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        let shortest = known.last().map_or(usize::MAX, |secret| secret.expose_secret().len());
        let begins = known.iter().map(|secret| regex::escape(cut(secret.expose_secret(), BEGINNING)));
        // Of so many that they are too large for a pattern, each is searched for by itself.
        let begins = Regex::new(&begins.collect::<Vec<_>>().join("|")).ok();
        Self { begins, secrets: known, shortest }
    }

    /// The changes without them, wherever they stand in what a finding says.
    pub fn leave_out(&self, changes: &mut [FindingChange]) {
        if !self.secrets.is_empty() {
            changes.iter_mut().filter_map(FindingChange::finding_mut).for_each(|finding| self.leave_out_of(finding));
        }
    }

    fn leave_out_of(&self, finding: &mut Finding) {
        // Half an address leads nowhere.
        finding.external_uri.take_if(|address| self.stand_in(address));
        let mut found = false;
        finding.each_text(&mut |text| {
            if self.stand_in(text) {
                *text = self.hide(text);
                found = true;
            }
        });
        let names = finding.source_properties.iter().any(|(name, _)| self.stand_in(name));
        if names {
            let all = std::mem::take(&mut finding.source_properties).into_iter();
            finding.source_properties = all.map(|(name, value)| (self.name(name), value)).collect();
        }
        if found {
            // What stands for a secret may be longer than it.
            let names = [Some(&mut finding.category), finding.module_name.as_mut()];
            names.into_iter().flatten().for_each(|name| name.truncate(name.floor_char_boundary(LONGEST_NAME)));
        }
    }

    /// A property's name: letters, digits and underscores.
    fn name(&self, name: Cow<'static, str>) -> Cow<'static, str> {
        self.texts().fold(name, |name, secret| match name.contains(secret) {
            true => name.replace(secret, HIDDEN.trim_matches(['[', ']'])).into(),
            false => name,
        })
    }

    /// The event without them. What is cut off on the way to the finding may end in the middle of one, and names are
    /// changed there; so this is done before.
    pub(super) fn left_out<'e>(&self, event: &'e Runtime) -> Cow<'e, Runtime> {
        let learned = event.learned.as_ref().map(|learned| [learned.command.as_deref(), learned.exe.as_deref()]);
        let mut lines = learned.into_iter().flatten().chain([event.summary.as_deref()]).flatten();
        let stand_in_facts = |facts: &Facts| facts.holds(|text| self.stand_in(text));
        if !stand_in_facts(&event.fields) && !stand_in_facts(&event.labels) && !lines.any(|line| self.stand_in(line)) {
            return Cow::Borrowed(event);
        }
        let mut event = event.clone();
        event.fields = self.without(&event.fields);
        event.labels = self.without(&event.labels);
        event.summary = event.summary.map(|text| self.hide(&text));
        if let Some(learned) = &mut event.learned {
            learned.command = learned.command.take().map(|text| self.hide(&text));
            learned.exe = learned.exe.take().map(|text| self.hide(&text));
        }
        Cow::Owned(event)
    }

    /// Whether one of them stands in a text.
    fn stand_in(&self, text: &str) -> bool {
        text.len() >= self.shortest
            && self.begins.as_ref().is_none_or(|begins| begins.is_match(text))
            && self.texts().any(|secret| text.contains(secret))
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|secret| secret.expose_secret())
    }

    fn without(&self, facts: &Facts) -> Facts {
        facts.iter().map(|(name, value)| (self.hide(name), self.hide(value))).collect()
    }

    fn hide(&self, text: &str) -> String {
        self.texts().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(secrets: &[&str]) -> KnownSecrets {
        KnownSecrets::new(&secrets.iter().copied().map(SecretString::from).collect::<Vec<_>>())
    }

    #[test]
    fn secrets_are_found_as_they_are_the_longest_first() {
        let secrets = known(&["a.c(d|e)+", "a.c(d|e)+$tail", "(e)+#x y\n&", "short"]);
        for (text, told) in [
            ("it is a.c(d|e)+$tail", "it is [redacted]"),
            ("it is a.c(d|e)+$t", "it is [redacted]$t"),
            ("-(e)+#x y\n&-", "-[redacted]-"),
            ("abcddee$tail, short", "abcddee$tail, short"),
            ("", ""),
        ] {
            assert_eq!((secrets.stand_in(text), &*secrets.hide(text)), (text != told, told), "{text}");
        }
        let overlapping = known(&["0123456789", "89abcdefghijk"]).hide("x0123456789abcdefghijkx");
        assert_eq!(overlapping, "x01234567[redacted]x");
    }

    #[test]
    fn without_secrets_nothing_is_one_and_their_pattern_is_not_shown() {
        for none in [KnownSecrets::default(), known(&[]), known(&["short"])] {
            assert!(!none.stand_in("") && !none.stand_in("short, and what is longer"));
        }
        let shown = format!("{:?}", known(&["0b54b2b5f0a94d0fa2c1"]));
        assert!(!shown.contains("0b54"), "{shown}");
    }

    #[test]
    fn a_long_secret_is_found_to_its_end_also_without_a_pattern() {
        let long = "ä0".repeat(1_000);
        for secrets in [known(&[&long]), KnownSecrets { begins: None, ..known(&[&long]) }] {
            assert_eq!(secrets.hide(&format!("<{long}>")), "<[redacted]>");
            assert!(secrets.stand_in(&format!("<{long}>")) && !secrets.stand_in(&long[..long.len() - 1]));
        }
    }
}
