//! Who the token is, and what it may do.

use chrono::{DateTime, Duration, Utc};

use super::client::{Call, Client};
use super::error::SysdigError;
use super::events::Window;
use super::wire::UserAnswer;

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user or service account.
    pub name: String,
    /// The team whose scope limits what the token sees.
    pub team: Option<i64>,
}

impl Client {
    /// Whose token it is. A 401 says that it is none.
    pub async fn account(&self) -> Result<Account, SysdigError> {
        let answer: UserAnswer = self.json(Call::read("the account look-up", "/api/users/me")).await?;
        Ok(Account { name: answer.user.username.unwrap_or_default(), team: answer.user.current_team })
    }

    /// Whether the token may read events: asks for a second's worth. A 403 says that `policy-events.read` is missing.
    pub async fn may_read_events(&self, now: DateTime<Utc>) -> Result<(), SysdigError> {
        let mut walk = self.walk(Window { from: now - Duration::seconds(1), to: now }, None);
        walk.next_page().await.map(|_| ())
    }
}
