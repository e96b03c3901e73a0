//! How one authenticates: Sysdig's own API token, or IBM Cloud's IAM in front of the same API.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::error::SysdigError;
use crate::calls::{self, BodyError};

/// Where IBM Cloud exchanges API keys for tokens.
pub const IBM_IAM_URL: &str = "https://iam.cloud.ibm.com/identity/token";

/// So many exchanged tokens are looked for in answers: calls that began with the one before may still be under way.
const TOKENS_HIDDEN: usize = 3;

/// What the exchange is called in errors.
const EXCHANGE: &str = "IAM's token exchange";

/// Tokens are a few kilobytes at most.
const LARGEST_ANSWER: usize = 64 * 1024;

/// A token is renewed this long before it ends.
const RENEW_BEFORE: Duration = Duration::from_secs(120);

/// Where the API is and who we are there.
#[derive(Debug, Clone)]
pub struct Access {
    /// The address without a trailing slash in its path, see [`super::region::base_url`].
    pub base: Url,
    /// Who we are.
    pub credential: Credential,
}

/// Who we are.
#[derive(Debug, Clone)]
pub enum Credential {
    /// The API token of a user or of a team's service account, sent as `Bearer`.
    Token(SecretString),
    /// Sysdig as a service of IBM Cloud.
    Ibm {
        /// The API key that IAM exchanges for a token.
        api_key: SecretString,
        /// The service instance's GUID (`IBMInstanceID`).
        instance: String,
        /// The team, if not the default one (`SysdigTeamID`).
        team: Option<String>,
        /// The token exchange's address, usually [`IBM_IAM_URL`].
        iam: Url,
    },
}

/// The credential with the token it was last exchanged for.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    credential: Credential,
    exchanged: Arc<Mutex<Option<Exchanged>>>,
    /// The last tokens it was exchanged for, also those that were refused.
    hidden: Arc<std::sync::Mutex<VecDeque<SecretString>>>,
}

#[derive(Debug, Clone)]
struct Exchanged {
    token: SecretString,
    until: Instant,
}

#[derive(Deserialize)]
struct IamAnswer {
    access_token: String,
    #[serde(default)]
    expires_in: u64,
}

impl Identity {
    pub(super) fn new(credential: Credential) -> Self {
        Self { credential, exchanged: Arc::default(), hidden: Arc::default() }
    }

    /// `request` with what identifies us.
    pub(super) async fn sign(
        &self,
        http: &reqwest::Client,
        request: RequestBuilder,
    ) -> Result<RequestBuilder, SysdigError> {
        match &self.credential {
            Credential::Token(token) => Ok(request.bearer_auth(token.expose_secret())),
            Credential::Ibm { instance, team, .. } => {
                let token = self.ibm_token(http).await?;
                let request = request
                    .bearer_auth(token.expose_secret())
                    .header("IBMInstanceID", instance)
                    .header("X-Sysdig-Product", "SDS")
                    .header("SysdigProduct", "SDS");
                Ok(match team {
                    Some(team) => request.header("SysdigTeamID", team),
                    None => request,
                })
            }
        }
    }

    /// What of us makes the feed another one behind the same address: IBM Cloud's instance, and the team.
    pub(super) fn tenant(&self) -> Option<(&str, Option<&str>)> {
        match &self.credential {
            Credential::Token(_) => None,
            Credential::Ibm { instance, team, .. } => Some((instance, team.as_deref())),
        }
    }

    /// `text` with our secrets taken out, should a server echo them.
    pub(super) fn scrub(&self, text: &str) -> String {
        let secret = match &self.credential {
            Credential::Token(token) => token,
            Credential::Ibm { api_key, .. } => api_key,
        };
        let hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = hidden.iter().chain([secret]).map(ExposeSecret::expose_secret);
        secrets
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| text.replace(secret, "[token]"))
    }

    fn hide(&self, token: SecretString) {
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        hidden.push_back(token);
        if hidden.len() > TOKENS_HIDDEN {
            hidden.pop_front();
        }
    }

    /// Forgets an exchanged token that was refused. True when there is a reason to try again with a new one.
    pub(super) async fn forget(&self) -> bool {
        self.exchanged.lock().await.take().is_some()
    }

    async fn ibm_token(&self, http: &reqwest::Client) -> Result<SecretString, SysdigError> {
        let Credential::Ibm { api_key, iam, .. } = &self.credential else {
            return Err(SysdigError::Identity { message: "no API key is set".into() });
        };
        let mut held = self.exchanged.lock().await;
        if let Some(exchanged) = held.as_ref().filter(|e| Instant::now() + RENEW_BEFORE < e.until) {
            return Ok(exchanged.token.clone());
        }
        let answer = exchange(http, iam, api_key).await?;
        let lifetime = Duration::from_secs(answer.expires_in.clamp(60, 24 * 3600));
        let token = SecretString::from(answer.access_token);
        self.hide(token.clone());
        *held = Some(Exchanged { token: token.clone(), until: Instant::now() + lifetime });
        Ok(token)
    }
}

async fn exchange(http: &reqwest::Client, iam: &Url, api_key: &SecretString) -> Result<IamAnswer, SysdigError> {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "urn:ibm:params:oauth:grant-type:apikey")
        .append_pair("apikey", api_key.expose_secret())
        .finish();
    let request = http
        .post(iam.clone())
        .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(reqwest::header::ACCEPT, "application/json")
        .body(form);
    let answer = request.send().await.map_err(|source| SysdigError::transport(EXCHANGE, source))?;
    let status = answer.status();
    if !status.is_success() {
        return Err(if status.is_server_error() || status.as_u16() == 429 {
            SysdigError::Status {
                status: status.as_u16(),
                call: EXCHANGE,
                message: "the token exchange is not answering".into(),
                retry_after: None,
            }
        } else {
            SysdigError::Identity {
                message: format!("IAM answered {status} to the exchange of the API key for a token"),
            }
        });
    }
    let body = calls::body(answer, LARGEST_ANSWER).await.map_err(|error| match error {
        BodyError::Broken(source) => SysdigError::transport(EXCHANGE, source),
        BodyError::TooLarge => SysdigError::TooLarge { call: EXCHANGE, limit: LARGEST_ANSWER },
    })?;
    // The body is not quoted in an error: it may hold the token.
    serde_json::from_slice(&body)
        .map_err(|_| SysdigError::Identity { message: "IAM's answer holds no access_token".into() })
}
