//! Where an `Authorization: Bearer` value comes from: asked for before every call, so that it may be refreshed.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use secrecy::SecretString;

/// The cause of a token that could not be had.
pub type Cause = Box<dyn Error + Send + Sync>;

type Ask = dyn Fn() -> BoxFuture<'static, Result<Option<SecretString>, Cause>> + Send + Sync;

/// A source of bearer tokens. `None` from it means: send no `Authorization` header.
#[derive(Clone)]
pub struct Bearer(Arc<Ask>);

impl Bearer {
    /// Asks `source` each time.
    pub fn new(
        source: impl Fn() -> BoxFuture<'static, Result<Option<SecretString>, Cause>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(source))
    }

    /// Always the same token: emulators want `owner`.
    pub fn fixed(token: &str) -> Self {
        let token = SecretString::from(token.to_owned());
        Self::new(move || {
            let token = token.clone();
            Box::pin(async move { Ok(Some(token)) })
        })
    }

    /// No token at all.
    pub fn none() -> Self {
        Self::new(|| Box::pin(async { Ok(None) }))
    }

    /// A token for the next call.
    pub async fn token(&self) -> Result<Option<SecretString>, Cause> {
        (self.0)().await
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer")
    }
}
