//! Why there is no token.

use std::error::Error;
use std::sync::Arc;

/// Why there is no token: the credential's kind, what is wrong, and the remedy. Never holds key material.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind} credentials: {message}{}{remedy}", if .remedy.is_empty() { "" } else { "; " })]
pub struct AuthError {
    kind: &'static str,
    message: String,
    remedy: &'static str,
    transient: bool,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl AuthError {
    /// Nothing will change until someone changes the credentials or the settings.
    pub(super) fn settings(kind: &'static str, message: String, remedy: &'static str) -> Self {
        Self { kind, message, remedy, transient: false, source: None }
    }

    /// It may pass by itself.
    pub(super) fn passing(kind: &'static str, message: String, remedy: &'static str) -> Self {
        Self { transient: true, ..Self::settings(kind, message, remedy) }
    }

    pub(super) fn because(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(cause));
        self
    }

    pub(super) fn with_remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = remedy;
        self
    }

    /// Whether trying again may help without anyone changing anything.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// The credential's kind.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// What is wrong, without the remedy.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would help.
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }
}
