//! Google credential files, told apart by their `type`. Pure: text in, [`Credentials`] out.
//!
//! An error never quotes the text it was given: a credential file is a secret in full.

use std::fmt;
use std::path::Path;

use aws_lc_rs::rsa::KeyPair;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::auth_error::AuthError;
use crate::calls::may_carry_a_token;

const GOOGLE_TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

/// What a credential file holds. `Debug` shows the kind and the identity, nothing secret.
#[derive(Clone)]
pub enum Credentials {
    /// A service account's key (`type: service_account`).
    ServiceAccount(Box<ServiceAccount>),
    /// A person's credentials, as `gcloud auth application-default login` writes them (`type: authorized_user`).
    AuthorizedUser(Box<AuthorizedUser>),
    /// Workload identity federation (`type: external_account`).
    ExternalAccount(Box<ExternalAccount>),
    /// Another credential that may act as a service account (`type: impersonated_service_account`).
    Impersonated(Box<Impersonated>),
}

/// A service account's key.
#[derive(Clone)]
pub struct ServiceAccount {
    /// The account's e-mail address.
    pub client_email: String,
    /// The account's project.
    pub project_id: Option<String>,
    /// The key in the form yup-oauth2 takes.
    pub(super) key: yup_oauth2::ServiceAccountKey,
}

/// A person's refresh token and the client it belongs to.
#[derive(Clone, Deserialize)]
pub struct AuthorizedUser {
    pub(super) client_id: String,
    pub(super) client_secret: SecretString,
    pub(super) refresh_token: SecretString,
    #[serde(default = "google_token_url")]
    pub(super) token_uri: String,
    pub(super) quota_project_id: Option<String>,
}

/// A token of another identity provider, exchanged for one of Google (<https://google.aip.dev/auth/4117>).
#[derive(Clone, Deserialize)]
pub struct ExternalAccount {
    pub(super) audience: String,
    pub(super) subject_token_type: String,
    pub(super) token_url: String,
    pub(super) credential_source: SubjectSource,
    pub(super) service_account_impersonation_url: Option<String>,
    pub(super) service_account_impersonation: Option<ImpersonationOptions>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<SecretString>,
    pub(super) workforce_pool_user_project: Option<String>,
    pub(super) quota_project_id: Option<String>,
}

/// Options of the impersonation that follows an exchange.
#[derive(Clone, Deserialize)]
pub struct ImpersonationOptions {
    pub(super) token_lifetime_seconds: Option<u32>,
}

/// Where the other provider's token is found.
#[derive(Clone, Deserialize)]
pub struct SubjectSource {
    pub(super) file: Option<String>,
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) headers: std::collections::BTreeMap<String, String>,
    pub(super) format: Option<SubjectFormat>,
    pub(super) environment_id: Option<String>,
    pub(super) executable: Option<Value>,
    pub(super) certificate: Option<Value>,
}

/// How the other provider's token is written.
#[derive(Clone, Deserialize)]
pub struct SubjectFormat {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    pub(super) subject_token_field_name: Option<String>,
}

/// A service account to act as, and who asks.
#[derive(Clone)]
pub struct Impersonated {
    pub(super) url: String,
    pub(super) delegates: Vec<String>,
    pub(super) source: Credentials,
    pub(super) quota_project_id: Option<String>,
}

impl Credentials {
    /// Reads a service account's key itself, so that a damaged one is told at the start and not when the first
    /// token is fetched. Other kinds hold nothing that could be tried here.
    ///
    /// # Errors
    /// When it is no RSA key.
    pub fn try_key(&self) -> Result<(), AuthError> {
        let Self::ServiceAccount(account) = self else { return Ok(()) };
        let pem = &account.key.private_key;
        let base64: String = pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(base64).unwrap_or_default();
        let read =
            if pem.contains("BEGIN RSA PRIVATE KEY") { KeyPair::from_der(&der) } else { KeyPair::from_pkcs8(&der) };
        // The library's words could quote the key.
        read.map(drop).map_err(|_| {
            AuthError::settings(
                "service_account",
                "\"private_key\" is damaged: it is no RSA key".into(),
                "create a new JSON key for the service account and use the whole file",
            )
        })
    }

    /// Reads the text of a credential file. Tolerates what shells and secret stores do to it: quotes around it, a byte
    /// order mark, base64 around it, and line breaks of the key escaped once too often.
    pub fn from_json(text: &str) -> Result<Self, AuthError> {
        Self::from_object(parse_object(text)?)
    }

    /// Reads a credential file.
    pub fn from_file(path: &Path) -> Result<Self, AuthError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("the credential file {} cannot be read", path.display());
            AuthError::settings(CREDENTIAL_FILE, message, "name an existing file that this process may read")
                .because(error)
        })?;
        Self::from_json(&text)
    }

    fn from_object(object: Map<String, Value>) -> Result<Self, AuthError> {
        let kind = object.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind.as_str() {
            "service_account" => service_account(object),
            // A key pasted without its first line is still recognisable.
            "" if object.contains_key("private_key") && object.contains_key("client_email") => service_account(object),
            "authorized_user" => {
                let user: AuthorizedUser = fields("authorized_user", object)?;
                secure("authorized_user", "token_uri", &user.token_uri)?;
                Ok(Self::AuthorizedUser(Box::new(user)))
            }
            "external_account" => external_account(object),
            "impersonated_service_account" => impersonated(object),
            "" => Err(AuthError::settings(
                CREDENTIAL_FILE,
                "the credential JSON has no \"type\"".into(),
                "use the whole file as it was downloaded or written by gcloud",
            )),
            other => Err(AuthError::settings(
                CREDENTIAL_FILE,
                format!("credentials of type {:?} are not supported", clipped(other)),
                "use a service account key, workload identity federation, impersonation, or \
                 `gcloud auth application-default login` without a workforce pool",
            )),
        }
    }

    /// The kind, as the file's `type` spells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ServiceAccount(_) => "service_account",
            Self::AuthorizedUser(_) => "authorized_user",
            Self::ExternalAccount(_) => "external_account",
            Self::Impersonated(_) => "impersonated_service_account",
        }
    }

    /// Whom calls are made as, when the file tells.
    pub fn identity(&self) -> Option<String> {
        match self {
            Self::ServiceAccount(account) => Some(account.client_email.clone()),
            Self::AuthorizedUser(_) => None,
            Self::ExternalAccount(account) => match &account.service_account_impersonation_url {
                Some(url) => account_in_url(url),
                None => Some(account.audience.clone()),
            },
            Self::Impersonated(account) => account_in_url(&account.url),
        }
    }

    /// The project to be charged for calls, when the file names one (`quota_project_id`).
    pub fn quota_project(&self) -> Option<&str> {
        match self {
            Self::ServiceAccount(_) => None,
            Self::AuthorizedUser(user) => user.quota_project_id.as_deref(),
            Self::ExternalAccount(account) => account.quota_project_id.as_deref(),
            Self::Impersonated(account) => account.quota_project_id.as_deref(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("kind", &self.kind()).field("identity", &self.identity()).finish()
    }
}

macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "([REDACTED])"))
            }
        }
    )*};
}
opaque!(
    ServiceAccount,
    AuthorizedUser,
    ExternalAccount,
    ImpersonationOptions,
    SubjectSource,
    SubjectFormat,
    Impersonated
);

const CREDENTIAL_FILE: &str = "credential file";

fn google_token_url() -> String {
    GOOGLE_TOKEN_URL.to_owned()
}

/// Unwraps quotes, byte order mark and base64 until a JSON object appears.
fn parse_object(text: &str) -> Result<Map<String, Value>, AuthError> {
    let bare = unquoted(text);
    let mut attempts = vec![bare.to_owned()];
    // The whole document escaped, as a JSON string or by a careless shell: {\"type\": …}
    if bare.starts_with("{\\\"") || bare.starts_with("{\\n") {
        attempts
            .push(bare.replace("\\\"", "\"").replace("\\\\n", "\u{1}").replace("\\n", "\n").replace('\u{1}', "\\n"));
    }
    // Line breaks of the key that became real ones inside the JSON string.
    attempts.push(with_escaped_line_breaks(bare));
    if let Some(decoded) = decoded(bare) {
        let inner = unquoted(&decoded).to_owned();
        attempts.push(with_escaped_line_breaks(&inner));
        attempts.push(inner);
    }
    let mut first = None;
    for attempt in attempts {
        match serde_json::from_str::<Value>(&attempt) {
            Ok(Value::Object(object)) => return Ok(object),
            Ok(_) => {}
            Err(error) => first = first.or(Some((error.line(), error.column()))),
        }
    }
    let place = first.map(|(line, column)| format!(" (line {line}, column {column})")).unwrap_or_default();
    Err(AuthError::settings(
        CREDENTIAL_FILE,
        format!("the credentials are not a JSON object{place}"),
        "give the whole content of the key file, as it is or base64-encoded, in a .env file between single quotes; the value is not shown here",
    ))
}

fn unquoted(text: &str) -> &str {
    let mut bare = text.trim_start_matches('\u{feff}').trim();
    while bare.len() >= 2
        && ((bare.starts_with('\'') && bare.ends_with('\'')) || (bare.starts_with('"') && bare.ends_with('"')))
    {
        bare = bare[1..bare.len() - 1].trim().trim_start_matches('\u{feff}').trim();
    }
    bare
}

fn decoded(text: &str) -> Option<String> {
    let mut compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    if compact.is_empty() || compact.starts_with('{') {
        return None;
    }
    while !compact.len().is_multiple_of(4) {
        compact.push('=');
    }
    let bytes = STANDARD.decode(&compact).or_else(|_| URL_SAFE.decode(&compact)).ok()?;
    String::from_utf8(bytes).ok()
}

/// JSON forbids bare line breaks inside a string; `export X="$(cat key.json | sed …)"` makes them.
fn with_escaped_line_breaks(text: &str) -> String {
    let (mut out, mut inside, mut escaped) = (String::with_capacity(text.len()), false, false);
    for c in text.chars() {
        match c {
            '\n' if inside => out.push_str("\\n"),
            '\r' if inside => {}
            _ => out.push(c),
        }
        if c == '"' && !escaped {
            inside = !inside;
        }
        escaped = c == '\\' && !escaped;
    }
    out
}

/// Reads the fields of one kind. The name of a missing field is told; serde's own text may quote values, so only the
/// part about a missing field is passed on.
fn fields<T: for<'de> Deserialize<'de>>(kind: &'static str, object: Map<String, Value>) -> Result<T, AuthError> {
    serde_json::from_value(Value::Object(object)).map_err(|error| {
        let text = error.to_string();
        let wrong = match text.strip_prefix("missing field ") {
            Some(field) => format!("a field is missing: {field}"),
            None => "a field has the wrong type".to_owned(),
        };
        AuthError::settings(kind, wrong, "use the whole file as it was downloaded or written by gcloud")
    })
}

fn service_account(mut object: Map<String, Value>) -> Result<Credentials, AuthError> {
    const KIND: &str = "service_account";
    if let Some(Value::String(key)) = object.get_mut("private_key") {
        *key = key.replace("\\r", "").replace("\\n", "\n").replace('\r', "");
    }
    object.entry("token_uri").or_insert_with(|| GOOGLE_TOKEN_URL.into());
    let key: yup_oauth2::ServiceAccountKey = fields(KIND, object)?;
    secure(KIND, "token_uri", &key.token_uri)?;
    if !key.private_key.contains("PRIVATE KEY-----") {
        return Err(AuthError::settings(
            KIND,
            "\"private_key\" is not a PEM private key".into(),
            "create a new JSON key for the service account and use the whole file",
        ));
    }
    Ok(Credentials::ServiceAccount(Box::new(ServiceAccount {
        client_email: key.client_email.clone(),
        project_id: key.project_id.clone(),
        key,
    })))
}

fn external_account(object: Map<String, Value>) -> Result<Credentials, AuthError> {
    const KIND: &str = "external_account";
    let account: ExternalAccount = fields(KIND, object)?;
    secure(KIND, "token_url", &account.token_url)?;
    if let Some(url) = &account.service_account_impersonation_url {
        secure(KIND, "service_account_impersonation_url", url)?;
    }
    let source = &account.credential_source;
    let unsupported = match source {
        _ if source.environment_id.is_some() => Some("the AWS environment"),
        _ if source.executable.is_some() => Some("an executable"),
        _ if source.certificate.is_some() => Some("a client certificate"),
        _ if source.file.is_none() && source.url.is_none() => Some("nothing that is known"),
        _ => None,
    };
    if let Some(unsupported) = unsupported {
        return Err(AuthError::settings(
            KIND,
            format!("its subject token comes from {unsupported}, which is not supported"),
            "use a credential source with \"file\" or \"url\", or a service account key",
        ));
    }
    if source.format.as_ref().is_some_and(|f| f.kind == "json" && f.subject_token_field_name.is_none()) {
        return Err(AuthError::settings(
            KIND,
            "its credential source is JSON but names no \"subject_token_field_name\"".into(),
            "add the field's name to credential_source.format",
        ));
    }
    Ok(Credentials::ExternalAccount(Box::new(account)))
}

fn impersonated(mut object: Map<String, Value>) -> Result<Credentials, AuthError> {
    const KIND: &str = "impersonated_service_account";
    #[derive(Deserialize)]
    struct File {
        service_account_impersonation_url: String,
        #[serde(default)]
        delegates: Vec<String>,
        quota_project_id: Option<String>,
    }
    let Some(Value::Object(source)) = object.remove("source_credentials") else {
        return Err(AuthError::settings(
            KIND,
            "a field is missing: `source_credentials`".into(),
            "use the whole file as gcloud wrote it",
        ));
    };
    let file: File = fields(KIND, object)?;
    secure(KIND, "service_account_impersonation_url", &file.service_account_impersonation_url)?;
    Ok(Credentials::Impersonated(Box::new(Impersonated {
        url: file.service_account_impersonation_url,
        delegates: file.delegates,
        source: Credentials::from_object(source)?,
        quota_project_id: file.quota_project_id,
    })))
}

/// Keys and assertions go only to https, or to loopback.
fn secure(kind: &'static str, field: &str, text: &str) -> Result<(), AuthError> {
    if url::Url::parse(text).is_ok_and(|url| may_carry_a_token(&url)) {
        return Ok(());
    }
    Err(AuthError::settings(
        kind,
        format!("its {field} is not an https address"),
        "use the file as Google wrote it; plain http is accepted for loopback addresses only",
    ))
}

/// `…/serviceAccounts/NAME@PROJECT.iam.gserviceaccount.com:generateAccessToken`
fn account_in_url(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("/serviceAccounts/")?;
    let account = rest.split(':').next()?;
    Some(account.replace("%40", "@"))
}

fn clipped(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // A PEM frame is enough for the parser; the key itself is only read when a token is fetched.
    const KEY: &str = r#"{"type":"service_account","client_email":"scc@p.iam.gserviceaccount.com","project_id":"p",
        "private_key":"-----BEGIN PRIVATE KEY-----\nVERYSECRETBYTES\n-----END PRIVATE KEY-----\n"}"#;

    fn pem(credentials: &Credentials) -> &str {
        match credentials {
            Credentials::ServiceAccount(account) => &account.key.private_key,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_read_however_a_shell_or_a_secret_store_wrapped_it() {
        let one_line = serde_json::to_string(&serde_json::from_str::<Value>(KEY).unwrap()).unwrap();
        let wrapped = [
            KEY.to_owned(),
            format!("'{KEY}'"),
            format!("\"{one_line}\""),
            format!("\n\n '{KEY}' \r\n"),
            format!("\u{feff}{KEY}"),
            STANDARD.encode(KEY),
            format!("\"{}\n\"", STANDARD.encode(KEY)),
            STANDARD
                .encode(KEY)
                .trim_end_matches('=')
                .as_bytes()
                .chunks(76)
                .map(|c| String::from_utf8_lossy(c))
                .collect::<Vec<_>>()
                .join("\n"),
            one_line.replace("\\n", "\\\\n"),
            KEY.replace("\\n", "\n"),
            KEY.replace("\\n", "\r\n"),
            serde_json::to_string(&one_line).unwrap(),
            one_line.replace("\"type\":\"service_account\",", ""),
        ];
        for text in wrapped {
            let credentials = Credentials::from_json(&text).unwrap_or_else(|error| panic!("{error} for {text}"));
            assert_eq!(credentials.identity().as_deref(), Some("scc@p.iam.gserviceaccount.com"));
            assert_eq!(pem(&credentials), "-----BEGIN PRIVATE KEY-----\nVERYSECRETBYTES\n-----END PRIVATE KEY-----\n");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        let broken = [
            ("", "not a JSON object"),
            ("{\"private_key\": \"VERYSECRETBYTES", "not a JSON object"),
            ("[\"VERYSECRETBYTES\"]", "not a JSON object"),
            ("{\"a\":\"VERYSECRETBYTES\"}", "no \"type\""),
            ("{\"type\":\"service_account\",\"private_key\":\"VERYSECRETBYTES\"}", "missing: `client_email`"),
            ("{\"type\":\"service_account\",\"client_email\":\"a\",\"private_key\":\"VERYSECRETBYTES\"}", "not a PEM"),
            ("{\"type\":\"service_account\",\"client_email\":[\"VERYSECRETBYTES\"],\"private_key\":7}", "wrong type"),
            (
                "{\"type\":\"authorized_user\",\"refresh_token\":\"VERYSECRETBYTES\",\"client_id\":\"i\"}",
                "`client_secret`",
            ),
            ("{\"type\":\"external_account_authorized_user\"}", "external_account_authorized_user"),
            ("{\"type\":\"gdch_service_account\"}", "not supported"),
            ("{\"type\":\"impersonated_service_account\"}", "source_credentials"),
            (&KEY.replace("{\"type\"", "{\"token_uri\":\"http://evil.example/token\",\"type\""), "token_uri"),
        ];
        for (text, expected) in broken {
            let error = Credentials::from_json(text).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(expected), "{shown} should say {expected}");
            assert!(!shown.contains("VERYSECRET"), "{shown}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", Credentials::from_json(KEY).unwrap());
        assert_eq!(
            shown,
            "Credentials { kind: \"service_account\", identity: Some(\"scc@p.iam.gserviceaccount.com\") }"
        );
    }

    #[test]
    fn subject_tokens_that_need_more_than_a_file_or_an_address_are_refused_by_name() {
        for (source, expected) in [
            (r#"{"environment_id":"aws1","url":"http://169.254.169.254/"}"#, "AWS"),
            (r#"{"executable":{"command":"/bin/x"}}"#, "executable"),
            (r#"{"file":"/x","format":{"type":"json"}}"#, "subject_token_field_name"),
        ] {
            let text = format!(
                r#"{{"type":"external_account","audience":"//a","subject_token_type":"jwt",
                "token_url":"https://sts.googleapis.com/v1/token","credential_source":{source}}}"#
            );
            let error = Credentials::from_json(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
