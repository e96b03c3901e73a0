//! Runtime policies: which of them send to a notification channel. A channel delivers nothing until a policy carries
//! its id.

use reqwest::Method;
use serde_json::{Value, json};

use super::channels::{id_of, members};
use super::client::{Call, Client};
use super::error::SysdigError;

/// A policy, as far as we care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Whether it is in force.
    pub enabled: bool,
    /// The notification channels it sends to.
    pub channels: Vec<i64>,
}

impl Client {
    /// All policies the token sees.
    pub async fn policies(&self) -> Result<Vec<Policy>, SysdigError> {
        let answer: Value = self.json(Call::read("the list of policies", "/api/v2/policies")).await?;
        Ok(members(answer, &["policies", "data"]).iter().filter_map(policy_of).collect())
    }

    /// Adds `channel` to the policy of this id. False when it was there.
    pub async fn add_channel_to_policy(&self, policy: i64, channel: i64) -> Result<bool, SysdigError> {
        match self.try_add(policy, channel).await {
            Err(error) if error.is_conflict() => self.try_add(policy, channel).await,
            answer => answer,
        }
    }

    async fn try_add(&self, policy: i64, channel: i64) -> Result<bool, SysdigError> {
        let path = format!("/api/v2/policies/{policy}");
        let mut body: Value = self.json(Call::read("the policy", path.clone())).await?;
        let mut channels = channels_of(&body);
        if channels.contains(&channel) {
            return Ok(false);
        }
        channels.push(channel);
        body["notificationChannelIds"] = json!(channels);
        let _: Value = self.json(Call::write("the update of the policy", Method::PUT, path, body)).await?;
        Ok(true)
    }
}

fn policy_of(value: &Value) -> Option<Policy> {
    Some(Policy {
        id: value.get("id").and_then(id_of)?,
        name: value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        enabled: value.get("enabled").or_else(|| value.get("isEnabled")).and_then(Value::as_bool).unwrap_or(true),
        channels: channels_of(value),
    })
}

fn channels_of(policy: &Value) -> Vec<i64> {
    policy.get("notificationChannelIds").and_then(Value::as_array).into_iter().flatten().filter_map(id_of).collect()
}
