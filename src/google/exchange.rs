//! The exchanges that end in an access token: one HTTP path with deadlines, status checks and bounded answers.
//!
//! yup-oauth2 signs for service account keys. The other kinds are exchanged here: its flows for them use fixed
//! addresses, read no HTTP status, and take no JSON-formatted token files.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use super::auth_error::AuthError;
use super::credentials::{AuthorizedUser, ExternalAccount, ImpersonationOptions, SubjectFormat};
use crate::calls::{self, BodyError, USER_AGENT};
use crate::text::{one_line, tokens};

/// How long one step of an exchange may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// No answer of a token endpoint is near this size.
const LARGEST_ANSWER: usize = 64 * 1024;

/// A token as it came, with the time it ends.
pub(super) struct Granted {
    pub(super) value: SecretString,
    pub(super) expires: Option<DateTime<Utc>>,
}

/// The client all exchanges share. Plain http, which is only spoken on this machine and to metadata servers, goes through
/// no proxy: a proxy would be told the token, or answer with its own machine's.
#[derive(Debug, Clone)]
pub(super) struct Http {
    direct: reqwest::Client,
    other: reqwest::Client,
}

impl Http {
    pub(super) fn new() -> Result<Self, AuthError> {
        let build = |builder: reqwest::ClientBuilder| {
            let builder = builder
                .http1_only()
                .user_agent(USER_AGENT)
                .connect_timeout(Duration::from_secs(5))
                .timeout(DEADLINE)
                .redirect(reqwest::redirect::Policy::none())
                .pool_max_idle_per_host(1);
            builder.build().map_err(|error| {
                AuthError::passing("token client", "the HTTP client cannot be built".into(), "").because(error)
            })
        };
        // It speaks no TLS, so it needs no certificates.
        let direct = build(reqwest::Client::builder().no_proxy().tls_certs_only([]))?;
        Ok(Self { direct, other: build(reqwest::Client::builder())? })
    }

    fn get(&self, url: &str) -> reqwest::RequestBuilder {
        self.to(url).get(url)
    }

    fn post(&self, url: &str) -> reqwest::RequestBuilder {
        self.to(url).post(url)
    }

    fn to(&self, url: &str) -> &reqwest::Client {
        let plain = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"));
        if plain { &self.direct } else { &self.other }
    }
}

/// Sends a token request and reads the answer, whatever its status.
pub(super) async fn ask(
    kind: &'static str,
    request: reqwest::RequestBuilder,
) -> Result<(u16, reqwest::header::HeaderMap, Vec<u8>), AuthError> {
    let reached = |error: reqwest::Error| {
        let remedy = "check the network, the name service and the egress rules; it is tried again";
        AuthError::passing(kind, "the token endpoint did not answer".into(), remedy).because(error.without_url())
    };
    let answer = request.send().await.map_err(reached)?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = calls::body(answer, LARGEST_ANSWER).await.map_err(|error| match error {
        BodyError::Broken(error) => reached(error),
        BodyError::TooLarge => {
            AuthError::passing(kind, "the token endpoint's answer is too large".into(), "check the address")
        }
    })?;
    Ok((status, headers, body))
}

/// The answer of a token endpoint: `access_token` and `expires_in` (RFC 6749), or Google's `accessToken`, `expireTime`.
pub(super) fn granted(kind: &'static str, status: u16, body: &[u8], now: DateTime<Utc>) -> Result<Granted, AuthError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(alias = "accessToken")]
        access_token: Option<SecretString>,
        expires_in: Option<Value>,
        #[serde(rename = "expireTime")]
        expire_time: Option<DateTime<Utc>>,
    }
    if !(200..300).contains(&status) {
        return Err(refused(kind, status, body));
    }
    // serde's error text may quote the answer, which may hold a token: it is not passed on.
    let Ok(Answer { access_token: Some(value), expires_in, expire_time }) = serde_json::from_slice::<Answer>(body)
    else {
        let remedy = "check that the address is a token endpoint; it is tried again";
        return Err(AuthError::passing(kind, "the token endpoint's answer holds no access token".into(), remedy));
    };
    let seconds = expires_in
        .and_then(|v| v.as_i64().or_else(|| v.as_f64().map(|f| f as i64)).or_else(|| v.as_str()?.parse().ok()));
    let expires = expire_time.or_else(|| now.checked_add_signed(TimeDelta::try_seconds(seconds?)?));
    Ok(Granted { value, expires })
}

/// What a refusal means. Only the short error code and Google's message are told, never the request.
pub(super) fn refused(kind: &'static str, status: u16, body: &[u8]) -> AuthError {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = match &value["error"] {
        Value::String(code) => code.clone(),
        error => error["status"].as_str().unwrap_or_default().to_owned(),
    };
    let text = value["error_description"].as_str().or_else(|| value["error"]["message"].as_str()).unwrap_or_default();
    // A proxy that answers with what it was sent must not make us print the signed assertion.
    let told: Vec<String> = [code.as_str(), text]
        .into_iter()
        .filter(|t| !t.is_empty())
        .map(|t| one_line(&tokens::without(t), 300))
        .collect();
    let message = format!("the token endpoint answered {status} {}", told.join(": ")).trim_end().to_owned();
    if status == 429 || status >= 500 {
        return AuthError::passing(kind, message, "it is tried again");
    }
    AuthError::settings(kind, message, remedy(kind, &code, status))
}

fn remedy(kind: &'static str, code: &str, status: u16) -> &'static str {
    match (kind, code, status) {
        ("authorized_user", "invalid_grant", _) => "log in again: `gcloud auth application-default login`",
        (_, "invalid_grant", _) => {
            "check that the key was not deleted or disabled, and that this machine's clock is right"
        }
        ("impersonated_service_account" | "external_account", _, 403) => {
            "grant roles/iam.workloadIdentityUser (federation) or roles/iam.serviceAccountTokenCreator (impersonation) \
             on the service account, and enable iamcredentials.googleapis.com"
        }
        ("metadata server", _, 404) => "attach a service account to the instance or pod, or give a key",
        ("metadata server", _, 403) => "give the instance the cloud-platform access scope",
        _ => "check the credential and the roles it needs",
    }
}

/// A person's refresh token for an access token.
pub(super) async fn authorized_user(
    http: &Http,
    user: &AuthorizedUser,
    now: DateTime<Utc>,
) -> Result<Granted, AuthError> {
    let form = form(&[
        ("grant_type", "refresh_token"),
        ("client_id", &user.client_id),
        ("client_secret", user.client_secret.expose_secret()),
        ("refresh_token", user.refresh_token.expose_secret()),
    ]);
    let (status, _, body) = ask("authorized_user", post_form(http, &user.token_uri, form)).await?;
    granted("authorized_user", status, &body, now)
}

/// Another provider's token for one of Google's security token service, and that for a service account's if asked.
pub(super) async fn external_account(
    http: &Http,
    account: &ExternalAccount,
    scopes: &[String],
    now: DateTime<Utc>,
) -> Result<Granted, AuthError> {
    const KIND: &str = "external_account";
    let subject = subject_token(http, account).await?;
    let scope = match account.service_account_impersonation_url {
        Some(_) => super::CLOUD_PLATFORM.to_owned(),
        None => scopes.join(" "),
    };
    let options =
        account.workforce_pool_user_project.as_ref().map(|p| serde_json::json!({ "userProject": p }).to_string());
    let mut pairs = vec![
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", account.audience.as_str()),
        ("subject_token_type", account.subject_token_type.as_str()),
        ("subject_token", subject.expose_secret()),
        ("scope", scope.as_str()),
    ];
    if let Some(options) = options.as_deref().filter(|_| account.client_id.is_none()) {
        pairs.push(("options", options));
    }
    let mut request = post_form(http, &account.token_url, form(&pairs));
    if let Some(id) = &account.client_id {
        request = request.basic_auth(id, account.client_secret.as_ref().map(|s| s.expose_secret().to_owned()));
    }
    let (status, _, body) = ask(KIND, request).await?;
    let federated = granted(KIND, status, &body, now)?;
    let Some(url) = &account.service_account_impersonation_url else { return Ok(federated) };
    let lifetime =
        account.service_account_impersonation.as_ref().and_then(|o: &ImpersonationOptions| o.token_lifetime_seconds);
    let wish = Impersonation { kind: KIND, url, delegates: &[], lifetime: lifetime.unwrap_or(3600) };
    impersonate(http, &wish, &federated.value, scopes, now).await
}

/// Which service account to act as.
pub(super) struct Impersonation<'a> {
    pub(super) kind: &'static str,
    pub(super) url: &'a str,
    pub(super) delegates: &'a [String],
    pub(super) lifetime: u32,
}

/// `generateAccessToken` of the IAM Credentials API.
pub(super) async fn impersonate(
    http: &Http,
    wish: &Impersonation<'_>,
    source: &SecretString,
    scopes: &[String],
    now: DateTime<Utc>,
) -> Result<Granted, AuthError> {
    let body =
        serde_json::json!({ "scope": scopes, "delegates": wish.delegates, "lifetime": format!("{}s", wish.lifetime) });
    let request = http.post(wish.url).bearer_auth(source.expose_secret()).json(&body);
    let (status, _, body) = ask(wish.kind, request).await?;
    granted(wish.kind, status, &body, now)
}

/// The metadata server's token. The answer's `Metadata-Flavor` proves that it is one.
pub(super) async fn metadata(
    http: &Http,
    host: &str,
    scopes: &[String],
    now: DateTime<Utc>,
) -> Result<Granted, AuthError> {
    let body = metadata_value(http, host, &format!("token?scopes={}", scopes.join(","))).await?;
    granted(METADATA, 200, &body, now)
}

/// The e-mail address of the service account the metadata server speaks for.
pub(super) async fn metadata_email(http: &Http, host: &str) -> Result<String, AuthError> {
    let body = metadata_value(http, host, "email").await?;
    Ok(one_line(&String::from_utf8_lossy(&body), 200))
}

/// The kind's name in errors.
pub(super) const METADATA: &str = "metadata server";

async fn metadata_value(http: &Http, host: &str, what: &str) -> Result<Vec<u8>, AuthError> {
    let host = host.trim_start_matches("http://").trim_end_matches('/');
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/{what}");
    let request = http.get(&url).header("Metadata-Flavor", "Google").timeout(Duration::from_secs(10));
    let (status, headers, body) = ask(METADATA, request).await.map_err(|error| {
        error.with_remedy(
            "outside Google Cloud give credentials: SECURITY_SERVICE_ACCOUNT_INFO, GOOGLE_APPLICATION_CREDENTIALS, or \
             `gcloud auth application-default login`",
        )
    })?;
    if headers.get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
        let message = "what answered at its address is not a metadata server (no Metadata-Flavor header)".to_owned();
        return Err(AuthError::settings(
            METADATA,
            message,
            "outside Google Cloud give credentials; else check GCE_METADATA_HOST",
        ));
    }
    if !(200..300).contains(&status) {
        return Err(refused(METADATA, status, &body));
    }
    Ok(body)
}

async fn subject_token(http: &Http, account: &ExternalAccount) -> Result<SecretString, AuthError> {
    const KIND: &str = "external_account";
    let source = &account.credential_source;
    let text = if let Some(file) = &source.file {
        tokio::fs::read_to_string(file).await.map_err(|error| {
            let message = format!("the subject token file {file} cannot be read");
            AuthError::passing(KIND, message, "mount the projected token where the credential file says").because(error)
        })?
    } else {
        let mut request = http.get(source.url.as_deref().unwrap_or_default());
        for (name, value) in &source.headers {
            request = request.header(name, value);
        }
        let (status, _, body) = ask(KIND, request).await?;
        if !(200..300).contains(&status) {
            let message = format!("the subject token's address answered {status}");
            return Err(AuthError::passing(KIND, message, "check credential_source.url and its headers"));
        }
        String::from_utf8(body).unwrap_or_default()
    };
    subject_in(&text, source.format.as_ref()).ok_or_else(|| {
        let message =
            "the subject token's file or address does not hold it in the form the credential file names".to_owned();
        AuthError::passing(KIND, message, "check credential_source.format")
    })
}

fn subject_in(text: &str, format: Option<&SubjectFormat>) -> Option<SecretString> {
    let field = format.filter(|f| f.kind == "json").and_then(|f| f.subject_token_field_name.as_deref());
    let token = match field {
        Some(field) => serde_json::from_str::<Value>(text).ok()?.get(field)?.as_str()?.to_owned(),
        None => text.trim().to_owned(),
    };
    (!token.is_empty()).then(|| token.into())
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn post_form(http: &Http, url: &str, form: String) -> reqwest::RequestBuilder {
    http.post(url).header("Content-Type", "application/x-www-form-urlencoded").body(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_echoes_the_request_does_not_make_us_print_the_assertion() {
        let body = br#"{"error":"invalid_grant","error_description":"bad: assertion=eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln, try again"}"#;
        let told = refused("service_account", 400, body).to_string();
        assert!(told.contains("assertion=[token removed], try again"), "{told}");
    }
}
