//! Secrets that are known exactly, because our own settings hold them: they are left out whatever stands before them.

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};

use crate::event::facts::Facts;
use crate::event::runtime::Runtime;
use crate::text::secrets::HIDDEN;

/// What is shorter may be a part of anything.
const SHORTEST: usize = 8;

/// The secrets of our own settings.
#[derive(Debug, Clone, Default)]
pub struct KnownSecrets(Vec<SecretString>);

impl KnownSecrets {
    /// These secrets; what is too short to be told from ordinary words is none.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s SecretString>) -> Self {
        let mut known: Vec<SecretString> =
            secrets.into_iter().filter(|secret| secret.expose_secret().len() >= SHORTEST).cloned().collect();
        // One may be the beginning of another.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self(known)
    }

    /// The event without them.
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
        self.0.iter().map(|secret| secret.expose_secret())
    }

    fn without(&self, facts: &Facts) -> Facts {
        facts.iter().map(|(name, value)| (self.hide(name), self.hide(value))).collect()
    }

    fn hide(&self, text: &str) -> String {
        self.texts().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}
