//! One authorised client for Google's JSON APIs.
//!
//! HTTP/1.1 with kept connections: measured faster than HTTP/2 here, and without its tail. No redirect is followed,
//! no answer is read beyond a limit, and a token goes only to https or to loopback.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::auth::{Token, TokenSource};
use super::confirmation::confirms;
use super::error::{ApiError, GoogleError, Refusal};
use crate::calls::{self, BodyError, may_carry_a_token};

const CONNECT: Duration = Duration::from_secs(5);
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;
const LARGEST_ERROR: usize = 64 * 1024;

/// How a service is reached.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The service's address; a path in it is kept and goes before every call's.
    pub base: Url,
    /// For one call, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// How many idle connections are kept: as many as calls run at once.
    pub connections: usize,
}

impl HttpSettings {
    /// Settings for a service with few calls at once: 30 s, 8 connections.
    pub fn new(base: Url) -> Self {
        Self { base, timeout: Duration::from_secs(30), connections: 8 }
    }
}

/// An authorised client for one service. Clones share connections and tokens.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    address: Url,
    base: String,
    timeout: Duration,
    quota_project: Option<HeaderValue>,
    tokens: TokenSource,
}

/// One call: what, where, with what.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The method.
    pub method: Method,
    /// The path below the base, beginning with `/`; its segments are encoded already ([`segment`]).
    pub path: &'a str,
    /// The query, not yet encoded.
    pub query: &'a [(&'a str, &'a str)],
    /// The JSON body.
    pub body: Option<Vec<u8>>,
}

impl Client {
    /// A client for the service at `settings.base`.
    ///
    /// # Errors
    /// [`ApiError::Refused`] when a token would travel over plain http beyond this machine.
    pub fn new(settings: HttpSettings, tokens: TokenSource) -> Result<Self, ApiError> {
        let base = settings.base.as_str().trim_end_matches('/').to_owned();
        let refused = |why: String| ApiError::Refused { call: base.clone(), why };
        if !tokens.is_none() && !may_carry_a_token(&settings.base) {
            return Err(refused(
                "a token is never sent over plain http to an address that is not loopback; use https".into(),
            ));
        }
        if !matches!(settings.base.scheme(), "http" | "https") || !settings.base.username().is_empty() {
            return Err(refused("the address must be http or https, without a user name".into()));
        }
        let mut builder = calls::client(&settings.base);
        if settings.base.scheme() == "http" {
            // A rehearsal on loopback must not need the system's certificates.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT.min(settings.timeout))
            .timeout(settings.timeout)
            .pool_max_idle_per_host(settings.connections.max(1))
            // Only HTTP/2 can refuse a call unprocessed; without this each request is copied in case one does.
            .retry(reqwest::retry::never().max_retries_per_request(0))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|source| ApiError::Transport { call: base.clone(), source })?;
        let quota_project = tokens.quota_project().and_then(|project| HeaderValue::from_str(project).ok());
        let mut address = settings.base;
        address.set_query(None);
        address.set_fragment(None);
        Ok(Self(Arc::new(Inner { http, address, base, timeout: settings.timeout, quota_project, tokens })))
    }

    /// Where its tokens come from.
    pub fn tokens(&self) -> &TokenSource {
        &self.0.tokens
    }

    /// `GET`, answered with JSON.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ApiError> {
        self.json(Call { method: Method::GET, path, query, body: None }).await
    }

    /// `POST` of JSON, answered with JSON.
    pub async fn post_json<B, T>(&self, path: &str, query: &[(&str, &str)], body: &B) -> Result<T, ApiError>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        self.json(Call { method: Method::POST, path, query, body: Some(self.encode(path, body)?) }).await
    }

    /// `PATCH` of JSON, answered with JSON.
    pub async fn patch_json<B, T>(&self, path: &str, query: &[(&str, &str)], body: &B) -> Result<T, ApiError>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        self.json(Call { method: Method::PATCH, path, query, body: Some(self.encode(path, body)?) }).await
    }

    /// `PUT` of JSON, answered with JSON.
    pub async fn put_json<B, T>(&self, path: &str, query: &[(&str, &str)], body: &B) -> Result<T, ApiError>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        self.json(Call { method: Method::PUT, path, query, body: Some(self.encode(path, body)?) }).await
    }

    /// `DELETE`; the answer is not looked at.
    pub async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<(), ApiError> {
        self.bytes(Call { method: Method::DELETE, path, query, body: None }).await.map(drop)
    }

    /// Any call, answered with JSON. An empty answer is read as `{}`.
    pub async fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ApiError> {
        let (method, path) = (call.method.clone(), call.path);
        let body = self.bytes(call).await?;
        let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
        self.read(&method, path, text)
    }

    /// Makes a call that creates what is called `…{name}`, and has nothing else to learn from the answer.
    pub async fn create(&self, call: Call<'_>, name: &str) -> Result<(), ApiError> {
        let (method, path) = (call.method.clone(), call.path);
        let body = self.bytes(call).await?;
        confirms(&body, name).map_err(|source| self.unreadable(&method, path, source))
    }

    fn read<T: DeserializeOwned>(&self, method: &Method, path: &str, text: &[u8]) -> Result<T, ApiError> {
        serde_json::from_slice(text).map_err(|source| self.unreadable(method, path, source))
    }

    fn unreadable(&self, method: &Method, path: &str, source: serde_json::Error) -> ApiError {
        ApiError::Body { call: self.name(method, path), source: source_without_text(source) }
    }

    /// Any call, answered with bytes. A 401 is met once with a new token.
    pub async fn bytes(&self, call: Call<'_>) -> Result<Vec<u8>, ApiError> {
        let name = self.name(&call.method, call.path);
        let no_token = |source| ApiError::Auth { call: name.clone(), source };
        let token = self.0.tokens.token().await.map_err(no_token)?;
        let request = self.request(call, &name)?;
        let Some(used) = token else { return self.once(request, &name, None).await };
        // The spare one shares the body: nothing is copied for a second try that hardly ever comes.
        let spare = request.try_clone();
        let first = self.once(request, &name, Some(&used)).await;
        let (Err(error), Some(spare)) = (&first, spare) else { return first };
        if error.status() != Some(401) {
            return first;
        }
        match self.0.tokens.replace(&used).await.map_err(no_token)? {
            Some(new) if !Arc::ptr_eq(&new, &used) => self.once(spare, &name, Some(&new)).await,
            _ => first,
        }
    }

    /// The request without its token.
    fn request(&self, call: Call<'_>, name: &str) -> Result<RequestBuilder, ApiError> {
        let refused = |why: String| ApiError::Refused { call: name.to_owned(), why };
        if !call.path.starts_with('/') || call.path.contains(['?', '#']) {
            return Err(refused(format!("its path is not valid: {:?}", call.path)));
        }
        // The base was read once; only what differs from call to call is read again.
        let mut url = self.0.address.clone();
        url.set_path(&format!("{}{}", self.0.address.path().trim_end_matches('/'), call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let request = self.0.http.request(call.method, url);
        Ok(match call.body {
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(body),
            None => request,
        })
    }

    async fn once(&self, mut request: RequestBuilder, name: &str, token: Option<&Token>) -> Result<Vec<u8>, ApiError> {
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| {
                ApiError::Refused { call: name.to_owned(), why: "the access token cannot stand in a header".into() }
            })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
            if let Some(project) = &self.0.quota_project {
                request = request.header("x-goog-user-project", project.clone());
            }
        }
        let answer = request.send().await.map_err(|error| self.broken(name, error))?;
        if answer.status().is_success() {
            return calls::body(answer, LARGEST_ANSWER).await.map_err(|error| match error {
                BodyError::Broken(error) => self.broken(name, error),
                BodyError::TooLarge => ApiError::TooLarge { call: name.to_owned(), limit: LARGEST_ANSWER },
            });
        }
        Err(self.refusal(answer, name, token).await)
    }

    async fn refusal(&self, mut answer: Response, name: &str, token: Option<&Token>) -> ApiError {
        let status = answer.status().as_u16();
        let asked = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok());
        let asked = asked.and_then(|value| calls::retry_after(value, Utc::now()));
        // A body that breaks off still leaves the status; what came of it is read.
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= LARGEST_ERROR {
                break;
            }
        }
        // A service that echoes the request must not bring the token into our log, nor a part of it that is left by a cut.
        if let Some(token) = token.map(Token::expose).filter(|t| !t.is_empty()) {
            body = String::from_utf8_lossy(&body).replace(token, "[token]").into_bytes();
        }
        let mut error = GoogleError::parse(&body);
        if (300..400).contains(&status) {
            error.message = "with a redirect, which is not followed: check the address".into();
        }
        let retry_after = asked.max(error.retry_delay);
        ApiError::Status(Box::new(Refusal { call: name.to_owned(), status, error, retry_after }))
    }

    fn broken(&self, name: &str, error: reqwest::Error) -> ApiError {
        if error.is_timeout() {
            return ApiError::Timeout { call: name.to_owned(), after: self.0.timeout };
        }
        ApiError::Transport { call: name.to_owned(), source: error.without_url() }
    }

    fn encode<B: Serialize + ?Sized>(&self, path: &str, body: &B) -> Result<Vec<u8>, ApiError> {
        serde_json::to_vec(body).map_err(|error| ApiError::Refused {
            call: format!("{}{path}", self.0.base),
            why: format!("its body cannot be written as JSON ({:?})", error.classify()),
        })
    }

    fn name(&self, method: &Method, path: &str) -> String {
        format!("{method} {}{path}", self.0.base)
    }
}

/// One path segment, encoded: what is not unreserved or a few harmless marks becomes `%XX`.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@$!,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// serde's messages quote what they met, and an answer may hold secrets: only the place is kept.
fn source_without_text(error: serde_json::Error) -> serde_json::Error {
    use serde::de::Error;
    let what = match error.classify() {
        serde_json::error::Category::Eof => "the JSON ends too early",
        serde_json::error::Category::Data => "the JSON is not what was expected",
        _ => "it is not JSON",
    };
    serde_json::Error::custom(format!("{what}, line {} column {}", error.line(), error.column()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_beyond_loopback_is_refused_with_a_token_and_accepted_without() {
        let settings = HttpSettings::new(Url::parse("http://scc.example").unwrap());
        let error = Client::new(settings.clone(), TokenSource::fixed("t0k3n".to_owned().into())).unwrap_err();
        assert!(error.to_string().contains("plain http"), "{error}");
        assert!(Client::new(settings, TokenSource::none()).is_ok());
    }

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(segment("a/b?c#d%e f"), "a%2Fb%3Fc%23d%25e%20f");
        assert_eq!(segment("my-project.example:p"), "my-project.example:p");
    }
}
