//! Secret Manager: settings given as `sm://PROJECT/SECRET[/VERSION]` are read from it.
//! Facts: <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access>.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Deserialize;

use super::error::ApiError;
use super::http::{Client, segment};

/// Where Secret Manager is.
pub const ENDPOINT: &str = "https://secretmanager.googleapis.com";

/// A secret's place: `sm://PROJECT/SECRET` or `sm://PROJECT/SECRET/VERSION`; also the full name
/// `sm://projects/P/secrets/S/versions/V`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretName {
    project: String,
    secret: String,
    version: String,
}

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The text is no place of a secret.
    #[error("a secret's place is written sm://PROJECT/SECRET or sm://PROJECT/SECRET/VERSION")]
    Name,
    /// Secret Manager did not give it.
    #[error("secret {name} cannot be read{}", advice(.source))]
    Call {
        /// Its place.
        name: SecretName,
        /// The cause.
        source: ApiError,
    },
    /// What arrived is not what was sent, by its checksum.
    #[error("secret {name} arrived damaged: its checksum differs")]
    Damaged {
        /// Its place.
        name: SecretName,
    },
    /// What arrived is not what Secret Manager sends.
    #[error("secret {name} arrived damaged: it is not in base64")]
    NotBase64 {
        /// Its place.
        name: SecretName,
    },
    /// What it holds is not text.
    #[error("secret {name} does not hold text")]
    NotText {
        /// Its place.
        name: SecretName,
    },
}

impl SecretError {
    /// What mends it, for the account that reads.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Call { source, .. } if source.is_disabled() => {
                "enable secretmanager.googleapis.com with `gcloud services enable`, and start again"
            }
            Self::Call { source, .. } if advice(source).is_empty() => OTHER_REMEDY,
            Self::Name | Self::Call { .. } => {
                "grant roles/secretmanager.secretAccessor on it to the account this runs as, or correct the name"
            }
            _ => OTHER_REMEDY,
        }
    }
}

const OTHER_REMEDY: &str = "see that Secret Manager can be reached from here and what it says, and start again";

/// What to do about it, where what Secret Manager said leaves no doubt; else what happened says it all.
fn advice(error: &ApiError) -> &'static str {
    match error.status() {
        Some(403) if error.is_disabled() => {
            ": enable secretmanager.googleapis.com in the project that the answer names"
        }
        Some(403) if !error.is_quota() => ": grant roles/secretmanager.secretAccessor on it",
        Some(404) => ": correct the name, or grant roles/secretmanager.secretAccessor on it",
        Some(400) if error.canonical() == "FAILED_PRECONDITION" => ": check that the version is enabled",
        _ => "",
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "projects/{}/secrets/{}/versions/{}", self.project, self.secret, self.version)
    }
}

impl FromStr for SecretName {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let place = text.trim().strip_prefix("sm://").ok_or(SecretError::Name)?;
        let (project, secret, version) = match place.split('/').collect::<Vec<_>>().as_slice() {
            [project, secret] | ["projects", project, "secrets", secret] => (*project, *secret, "latest"),
            [project, secret, version] | ["projects", project, "secrets", secret, "versions", version] => {
                (*project, *secret, *version)
            }
            _ => return Err(SecretError::Name),
        };
        let fine =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
        if ![project, secret, version].into_iter().all(fine) {
            return Err(SecretError::Name);
        }
        Ok(Self { project: project.into(), secret: secret.into(), version: version.into() })
    }
}

/// Whether a setting's value is a secret's place rather than the secret.
pub fn is_place(text: &str) -> bool {
    text.trim_start().starts_with("sm://")
}

/// Reads a secret. Line breaks at its end are dropped: files that were uploaded carry one.
///
/// # Errors
/// [`SecretError`]; never holds the secret.
pub async fn read(http: &Client, name: &SecretName) -> Result<SecretString, SecretError> {
    let bytes = read_bytes(http, name).await?;
    let text = std::str::from_utf8(bytes.expose_secret());
    text.map(SecretString::from).map_err(|_| SecretError::NotText { name: name.clone() })
}

/// Reads a secret that need not be text. Line breaks at the end of text are dropped, other bytes are as they are.
///
/// # Errors
/// [`SecretError`]; never holds the secret.
pub async fn read_bytes(http: &Client, name: &SecretName) -> Result<SecretSlice<u8>, SecretError> {
    #[derive(Deserialize)]
    struct Version {
        payload: Payload,
    }
    #[derive(Deserialize)]
    struct Payload {
        #[serde(default)]
        data: SecretString,
        /// A number, which Google's JSON writes as text.
        #[serde(default, rename = "dataCrc32c")]
        checksum: Option<serde_json::Value>,
    }
    let path = format!(
        "/v1/projects/{}/secrets/{}/versions/{}:access",
        segment(&name.project),
        segment(&name.secret),
        segment(&name.version)
    );
    let version: Version =
        http.get_json(&path, &[]).await.map_err(|source| SecretError::Call { name: name.clone(), source })?;
    let decoded = STANDARD.decode(version.payload.data.expose_secret());
    let bytes = SecretSlice::from(decoded.map_err(|_| SecretError::NotBase64 { name: name.clone() })?);
    let said = version.payload.checksum.as_ref().and_then(|sum| sum.as_u64().or_else(|| sum.as_str()?.parse().ok()));
    if said.is_some_and(|said| said != u64::from(crc32c(bytes.expose_secret()))) {
        return Err(SecretError::Damaged { name: name.clone() });
    }
    Ok(match std::str::from_utf8(bytes.expose_secret()) {
        Ok(text) => SecretSlice::from(text.trim_end_matches(['\r', '\n']).as_bytes().to_vec()),
        Err(_) => bytes,
    })
}

/// CRC-32C (Castagnoli), bit by bit: secrets are small.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        // RFC 3720, B.4, and the check value of the algorithm.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    }

    #[test]
    fn a_role_is_only_advised_where_it_is_what_lacks() {
        let refused = |status: u16, canonical: &str| {
            let error = super::super::error::GoogleError { status: canonical.to_owned(), ..Default::default() };
            let refusal = super::super::error::Refusal { call: String::new(), status, error, retry_after: None };
            ApiError::Status(Box::new(refusal))
        };
        let mut disabled = refused(403, "PERMISSION_DENIED");
        if let ApiError::Status(refusal) = &mut disabled {
            refusal.error.reason = Some("SERVICE_DISABLED".to_owned());
        }
        let late = ApiError::Timeout { call: String::new(), after: std::time::Duration::from_secs(1) };
        for (source, advice) in [
            (refused(403, "PERMISSION_DENIED"), ": grant roles/secretmanager.secretAccessor on it"),
            (disabled, ": enable secretmanager.googleapis.com in the project that the answer names"),
            (refused(404, "NOT_FOUND"), ": correct the name, or grant roles/secretmanager.secretAccessor on it"),
            (refused(400, "FAILED_PRECONDITION"), ": check that the version is enabled"),
            (refused(403, "RESOURCE_EXHAUSTED"), ""),
            (refused(429, "RESOURCE_EXHAUSTED"), ""),
            (refused(500, "INTERNAL"), ""),
            (refused(503, "UNAVAILABLE"), ""),
            (late, ""),
        ] {
            let error = SecretError::Call { name: "sm://p/s".parse().unwrap(), source };
            let expected = format!("secret projects/p/secrets/s/versions/latest cannot be read{advice}");
            assert_eq!(error.to_string(), expected);
            assert_eq!(
                error.remedy().contains("secretAccessor"),
                !advice.is_empty() && !advice.contains("enable secret")
            );
        }
    }

    #[test]
    fn places_are_read_and_anything_else_is_refused() {
        for (text, expected) in [
            ("sm://p/s", "projects/p/secrets/s/versions/latest"),
            ("sm://example.com:p/s/7", "projects/example.com:p/secrets/s/versions/7"),
            (" sm://projects/p/secrets/s ", "projects/p/secrets/s/versions/latest"),
            ("sm://projects/p/secrets/s/versions/2", "projects/p/secrets/s/versions/2"),
        ] {
            assert_eq!(text.parse::<SecretName>().unwrap().to_string(), expected);
        }
        for text in ["p/s", "sm://", "sm://p", "sm://p/", "sm://p/s/1/2", "sm://p/s?x", "sm://p/s/.. /"] {
            assert!(text.parse::<SecretName>().is_err(), "{text}");
        }
    }
}
