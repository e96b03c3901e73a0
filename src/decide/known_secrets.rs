//! Secrets that are known exactly, because our own settings hold them: they are left out whatever stands before them.

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};

use crate::event::facts::Facts;
use crate::event::runtime::Runtime;
use crate::finding::texts::Texts;
use crate::finding::{Finding, FindingChange};
use crate::text::secrets::HIDDEN;

/// What is shorter may be a part of anything.
const SHORTEST: usize = 8;
/// The longest category, and the longest name of a module.
const LONGEST_NAME: usize = 255;

/// The secrets of our own settings.
#[derive(Debug, Clone, Default)]
pub struct KnownSecrets {
    secrets: Vec<SecretString>,
    /// The length of the shortest: most texts of a finding are shorter, and need no look.
    shortest: usize,
}

impl KnownSecrets {
    /// These secrets; what is too short to be told from ordinary words is none.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s SecretString>) -> Self {
        let mut known: Vec<SecretString> =
            secrets.into_iter().filter(|secret| secret.expose_secret().len() >= SHORTEST).cloned().collect();
        // One may be the beginning of another.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        let shortest = known.last().map_or(usize::MAX, |secret| secret.expose_secret().len());
        Self { secrets: known, shortest }
    }

    /// The changes without them, wherever they stand in what a finding says.
    pub fn leave_out(&self, changes: &mut [FindingChange]) {
        if !self.secrets.is_empty() {
            changes.iter_mut().filter_map(FindingChange::finding_mut).for_each(|finding| self.leave_out_of(finding));
        }
    }

    fn leave_out_of(&self, finding: &mut Finding) {
        let stand_in = |text: &str| text.len() >= self.shortest && self.texts().any(|secret| text.contains(secret));
        // Half an address leads nowhere.
        finding.external_uri.take_if(|address| stand_in(address));
        let mut found = false;
        finding.each_text(&mut |text| {
            if stand_in(text) {
                *text = self.hide(text);
                found = true;
            }
        });
        let names = finding.source_properties.iter().any(|(name, _)| stand_in(name));
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
        let learned = event.learned.as_ref().and_then(|learned| learned.command.as_deref());
        let lines = [event.summary.as_deref(), learned];
        let stands = |secret: &str| {
            event.fields.holds(secret)
                || event.labels.holds(secret)
                || lines.iter().flatten().any(|line| line.contains(secret))
        };
        if !self.texts().any(stands) {
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
