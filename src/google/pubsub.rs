//! Pub/Sub over REST v1: pulling, and what setting up takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::auth::TokenSource;
use super::error::ApiError;
use super::http::{self, HttpSettings};

/// A pull that finds nothing is answered after about 90 s.
const LONG_POLL: Duration = Duration::from_secs(110);

/// A client for Pub/Sub. Names are full: `projects/P/topics/T`, `projects/P/subscriptions/S`.
#[derive(Debug, Clone)]
pub struct Client {
    http: http::Client,
    long: http::Client,
}

/// A message that was pulled.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    /// What it is acknowledged by.
    pub ack_id: String,
    /// The message: `data`, `attributes`, `messageId`, `publishTime`.
    #[serde(default)]
    pub message: Value,
    /// How often it was delivered; 0 without a dead-letter policy.
    #[serde(default)]
    pub delivery_attempt: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Pulled {
    received_messages: Vec<Received>,
}

/// What a subscription is like; members that we do not set are kept in `more`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subscription {
    /// The full name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The topic's full name.
    pub topic: String,
    /// How long a message is ours before it is delivered again, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_deadline_seconds: Option<u32>,
    /// Where it pushes; `{}` or absent for a pull subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_config: Option<Value>,
    /// When it expires; `{}` is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_policy: Option<Value>,
    /// Everything else.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

impl Subscription {
    /// Whether it pushes without a wrapper and writes attributes as headers. Logging's attribute has a name that is no
    /// legal header name, so the server refuses such a push before any of our code sees it, and it comes for ever.
    pub fn writes_illegal_headers(&self) -> bool {
        let config = self.push_config.as_ref();
        config.is_some_and(|config| config["noWrapper"]["writeMetadata"] == true)
    }

    /// Whether it is deleted after a time without messages, which are rare here.
    pub fn expires(&self) -> bool {
        self.expiration_policy.as_ref().is_none_or(|policy| policy.get("ttl").is_some())
    }
}

impl Client {
    /// A client for the service at `base`.
    ///
    /// # Errors
    /// When a token would travel over plain http beyond this machine.
    pub fn new(base: &Url, tokens: &TokenSource) -> Result<Self, ApiError> {
        let settings = HttpSettings::new(base.clone());
        let long = HttpSettings { timeout: LONG_POLL, ..settings.clone() };
        Ok(Self { http: http::Client::new(settings, tokens.clone())?, long: http::Client::new(long, tokens.clone())? })
    }

    /// At most `most` messages; waits for the first one for about 90 s. No message is an empty list.
    pub async fn pull(&self, subscription: &str, most: u32) -> Result<Vec<Received>, ApiError> {
        let body = json!({"maxMessages": most});
        let pulled: Pulled = self.long.post_json(&format!("/v1/{subscription}:pull"), &[], &body).await?;
        Ok(pulled.received_messages)
    }

    /// These messages are done.
    pub async fn acknowledge(&self, subscription: &str, ids: &[&str]) -> Result<(), ApiError> {
        let body = json!({"ackIds": ids});
        self.http.post_json::<_, Value>(&format!("/v1/{subscription}:acknowledge"), &[], &body).await.map(drop)
    }

    /// These messages are ours for so many more seconds; 0 gives them back.
    pub async fn extend(&self, subscription: &str, ids: &[&str], seconds: u32) -> Result<(), ApiError> {
        let body = json!({"ackIds": ids, "ackDeadlineSeconds": seconds});
        self.http.post_json::<_, Value>(&format!("/v1/{subscription}:modifyAckDeadline"), &[], &body).await.map(drop)
    }

    /// Creates a topic. `false`: it is there already.
    pub async fn create_topic(&self, topic: &str) -> Result<bool, ApiError> {
        self.created(self.http.put_json::<_, Value>(&format!("/v1/{topic}"), &[], &json!({})).await)
    }

    /// Whether the topic is there.
    pub async fn has_topic(&self, topic: &str) -> Result<bool, ApiError> {
        match self.http.get_json::<Value>(&format!("/v1/{topic}"), &[]).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a subscription. `false`: it is there already.
    pub async fn create_subscription(&self, name: &str, wanted: &Subscription) -> Result<bool, ApiError> {
        self.created(self.http.put_json::<_, Value>(&format!("/v1/{name}"), &[], wanted).await)
    }

    /// The subscription, when there is one.
    pub async fn subscription(&self, name: &str) -> Result<Option<Subscription>, ApiError> {
        match self.http.get_json(&format!("/v1/{name}"), &[]).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes these members of a subscription, by their names in JSON, as they are in `wanted`.
    pub async fn update_subscription(
        &self,
        name: &str,
        wanted: &Subscription,
        members: &[&str],
    ) -> Result<Subscription, ApiError> {
        let named = Subscription { name: name.to_owned(), ..wanted.clone() };
        let body = json!({"subscription": named, "updateMask": members.join(",")});
        self.http.patch_json(&format!("/v1/{name}"), &[], &body).await
    }

    /// Those of the permissions that we have on a topic or subscription.
    pub async fn permitted(&self, resource: &str, permissions: &[&str]) -> Result<Vec<String>, ApiError> {
        #[derive(Deserialize)]
        struct Granted {
            #[serde(default)]
            permissions: Vec<String>,
        }
        let body = json!({"permissions": permissions});
        let granted: Granted = self.http.post_json(&format!("/v1/{resource}:testIamPermissions"), &[], &body).await?;
        Ok(granted.permissions)
    }

    /// Publishes messages (`data` in base64, `attributes`). Answers their ids.
    pub async fn publish(&self, topic: &str, messages: &[Value]) -> Result<Vec<String>, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Published {
            message_ids: Vec<String>,
        }
        let body = json!({"messages": messages});
        let published: Published = self.http.post_json(&format!("/v1/{topic}:publish"), &[], &body).await?;
        Ok(published.message_ids)
    }

    /// Whether `member` may do `role` on a topic or subscription, by a binding of its own without a condition.
    pub async fn grants(&self, resource: &str, role: &str, member: &str) -> Result<bool, ApiError> {
        Ok(binds(&self.policy(resource).await?, role, member))
    }

    /// Lets `member` do `role` on a topic or subscription, unless it may already. `false`: it may.
    pub async fn grant(&self, resource: &str, role: &str, member: &str) -> Result<bool, ApiError> {
        let mut left = 5;
        loop {
            let mut policy = self.policy(resource).await?;
            if binds(&policy, role, member) {
                return Ok(false);
            }
            let mut bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
            bindings.push(json!({"role": role, "members": [member]}));
            policy["bindings"] = bindings.into();
            // The etag of the policy that was read goes back with it, so that nobody's change is lost.
            let body = json!({"policy": policy});
            left -= 1;
            match self.http.post_json::<_, Value>(&format!("/v1/{resource}:setIamPolicy"), &[], &body).await {
                Err(error) if error.status() == Some(409) && left > 0 => {}
                done => return done.map(|_| true),
            }
        }
    }

    /// The policy in the version that shows conditions: written back in an older one, they would be lost.
    async fn policy(&self, resource: &str) -> Result<Value, ApiError> {
        let version = [("options.requestedPolicyVersion", "3")];
        self.http.get_json(&format!("/v1/{resource}:getIamPolicy"), &version).await
    }

    #[expect(clippy::unused_self, reason = "it reads as part of the calls above")]
    fn created(&self, result: Result<Value, ApiError>) -> Result<bool, ApiError> {
        match result {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(409) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn binds(policy: &Value, role: &str, member: &str) -> bool {
    let bindings = policy["bindings"].as_array().map(Vec::as_slice).unwrap_or_default();
    bindings.iter().any(|binding| {
        let members = binding["members"].as_array().map(Vec::as_slice).unwrap_or_default();
        binding["role"] == role && binding.get("condition").is_none() && members.iter().any(|m| m == member)
    })
}
