//! The secrets: where each is, and its value for as long as set.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretSlice, SecretString};

use crate::config::attestation::{SecretRule, SecretSource};

/// Asks Secret Manager: `sm://project/secret[/version]` → its value, or a sentence without it.
pub type Resolver = Arc<dyn Fn(String) -> BoxFuture<'static, Result<SecretSlice<u8>, String>> + Send + Sync>;

/// Secret Manager behind a client.
pub fn manager(client: crate::google::Client) -> Resolver {
    Arc::new(move |place: String| {
        let client = client.clone();
        Box::pin(async move {
            let name = place.parse().map_err(|error| crate::causes::chain(&error))?;
            let read = crate::google::secret_manager::read_bytes(&client, &name).await;
            read.map_err(|error| crate::causes::chain(&error))
        })
    })
}

/// The secrets that can be released.
pub struct Secrets {
    rules: HashMap<String, SecretRule>,
    resolver: Option<Resolver>,
    keep: Duration,
    kept: Mutex<HashMap<String, (Instant, SecretSlice<u8>)>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("names", &self.rules.keys()).finish_non_exhaustive()
    }
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its source cannot be read.
    #[error("the secret's file cannot be read")]
    File(#[source] std::io::Error),
    /// Nothing is there, as while a file is being written anew.
    #[error("the secret is empty")]
    Empty,
    /// Larger than 64 KiB.
    #[error("the secret is larger than 64 KiB")]
    TooLarge,
    /// Secret Manager refused or is not connected.
    #[error("Secret Manager: {0}")]
    Manager(String),
    /// Secret Manager took too long.
    #[error("Secret Manager had no answer within {} seconds", PATIENCE.as_secs())]
    Late,
    /// Its variable had no value at start.
    #[error("its variable is not set")]
    NotSet,
}

const LIMIT: usize = 64 << 10;
/// How long a caller waits for Secret Manager, as for the state store.
const PATIENCE: Duration = Duration::from_secs(8);

impl Secrets {
    /// Secrets by their rules.
    pub fn new(rules: Vec<SecretRule>, keep: Duration, resolver: Option<Resolver>) -> Self {
        let rules = rules.into_iter().map(|rule| (rule.name.clone(), rule)).collect();
        Self { rules, resolver, keep, kept: Mutex::new(HashMap::new()) }
    }

    /// The rule of a name.
    pub fn rule(&self, name: &str) -> Option<&SecretRule> {
        self.rules.get(name)
    }

    /// Every rule.
    pub fn rules(&self) -> impl Iterator<Item = &SecretRule> {
        self.rules.values()
    }

    /// The value of a secret. It is never empty.
    ///
    /// # Errors
    /// When there is none.
    pub async fn value(&self, rule: &SecretRule) -> Result<SecretSlice<u8>, SecretError> {
        let value = self.fetch(rule).await?;
        if value.expose_secret().is_empty() { Err(SecretError::Empty) } else { Ok(value) }
    }

    async fn fetch(&self, rule: &SecretRule) -> Result<SecretSlice<u8>, SecretError> {
        if let Some(found) = self.still_kept(&rule.name) {
            return Ok(found);
        }
        match &rule.source {
            SecretSource::Variable(_) => rule.value.as_ref().map(bytes).ok_or(SecretError::NotSet),
            SecretSource::File(path) => read_file(path).await,
            SecretSource::Manager(address) => {
                let resolver =
                    self.resolver.as_ref().ok_or_else(|| SecretError::Manager("it is not connected".into()))?;
                let asked = tokio::time::timeout(PATIENCE, resolver(address.clone())).await;
                let value = asked.map_err(|_late| SecretError::Late)?.map_err(SecretError::Manager)?;
                if !value.expose_secret().is_empty() {
                    self.remember(&rule.name, &value);
                }
                Ok(value)
            }
        }
    }

    fn still_kept(&self, name: &str) -> Option<SecretSlice<u8>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // What is too old is dropped, and overwritten by that.
        kept.retain(|_, (since, _)| since.elapsed() < self.keep);
        kept.get(name).map(|(_, value)| value.clone())
    }

    fn remember(&self, name: &str, value: &SecretSlice<u8>) {
        if !self.keep.is_zero() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(name.to_owned(), (Instant::now(), value.clone()));
        }
    }
}

fn bytes(value: &SecretString) -> SecretSlice<u8> {
    SecretSlice::from(value.expose_secret().as_bytes().to_vec())
}

async fn read_file(path: &Path) -> Result<SecretSlice<u8>, SecretError> {
    let path = path.to_owned();
    // Not through the runtime's own file, which reads into a buffer of its own that nobody overwrites.
    let read = tokio::task::spawn_blocking(move || read_whole(&path)).await;
    read.map_err(std::io::Error::other).map_err(SecretError::File)?
}

fn read_whole(path: &Path) -> Result<SecretSlice<u8>, SecretError> {
    let mut file = std::fs::File::open(path).map_err(SecretError::File)?;
    let mut room = SecretSlice::from(vec![0; LIMIT + 1]);
    let mut length = 0;
    loop {
        match file.read(&mut room.expose_secret_mut()[length..]).map_err(SecretError::File)? {
            0 => break,
            more => length += more,
        }
    }
    if length > LIMIT {
        return Err(SecretError::TooLarge);
    }
    Ok(SecretSlice::from(room.expose_secret()[..length].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_secret_manager_is_told_in_time() {
        let hangs: Resolver = Arc::new(|_| Box::pin(std::future::pending()));
        let rule = SecretRule {
            name: "db".into(),
            policy: "ours".into(),
            source: SecretSource::Manager("sm://p/s".into()),
            value: None,
            sealed_only: false,
        };
        let secrets = Secrets::new(vec![rule.clone()], Duration::ZERO, Some(hangs));
        let began = tokio::time::Instant::now();
        let error = secrets.value(&rule).await.unwrap_err();
        assert_eq!(
            (began.elapsed(), error.to_string().as_str()),
            (PATIENCE, "Secret Manager had no answer within 8 seconds")
        );
    }
}
