//! Google Cloud: whose credentials are used.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Area, Env, Setting};
use crate::calls::is_rehearsal;
use crate::google::{AuthError, CLOUD_PLATFORM, Credentials, TokenSource};

/// The key that findings are written with.
pub static SECURITY_SERVICE_ACCOUNT_INFO: Setting = Setting {
    name: "SECURITY_SERVICE_ACCOUNT_INFO",
    aliases: &[],
    default: None,
    example: "{\"type\": \"service_account\", …}",
    secret: true,
    doc: "The JSON of the service account that writes findings (quotes around it, base64 and line breaks are understood; other credential JSON works too). Without it, Application Default Credentials are used.",
};

/// The key that instances are looked up with.
pub static COMPUTE_SERVICE_ACCOUNT_INFO: Setting = Setting {
    name: "COMPUTE_SERVICE_ACCOUNT_INFO",
    aliases: &[],
    default: None,
    example: "{\"type\": \"service_account\", …}",
    secret: true,
    doc: "The JSON of the service account that looks up instances. Without it, Application Default Credentials are used.",
};

/// A credential file.
pub static GOOGLE_APPLICATION_CREDENTIALS: Setting = Setting {
    name: "GOOGLE_APPLICATION_CREDENTIALS",
    aliases: &[],
    default: None,
    example: "/var/run/secrets/google/credentials.json",
    secret: false,
    doc: "A credential file for Application Default Credentials: a service account key, workload identity federation (external_account with a file or URL source), impersonation, or a person's login. Without it, gcloud's own file is looked for, then the metadata server is asked.",
};

/// Where the metadata server is.
pub static GCE_METADATA_HOST: Setting = Setting {
    name: "GCE_METADATA_HOST",
    aliases: &["GCE_METADATA_ROOT"],
    default: Some("metadata.google.internal"),
    example: "169.254.169.254",
    secret: false,
    doc: "The metadata server, as name or name:port.",
};

/// Who is charged for calls.
pub static GOOGLE_CLOUD_QUOTA_PROJECT: Setting = Setting {
    name: "GOOGLE_CLOUD_QUOTA_PROJECT",
    aliases: &[],
    default: None,
    example: "my-project",
    secret: false,
    doc: "The project whose quota calls use (x-goog-user-project). A person's login needs one; it overrides the credential file's own.",
};

/// gcloud's folder.
pub static CLOUDSDK_CONFIG: Setting = Setting {
    name: "CLOUDSDK_CONFIG",
    aliases: &[],
    default: None,
    example: "/home/me/.config/gcloud",
    secret: false,
    doc: "gcloud's configuration folder, where application_default_credentials.json is looked for. Without it, .config/gcloud in HOME.",
};

/// The home folder.
pub static HOME: Setting = Setting {
    name: "HOME",
    aliases: &[],
    default: None,
    example: "/home/me",
    secret: false,
    doc: "The home folder, only to find gcloud's configuration folder.",
};

/// The area.
pub static AREA: Area = Area {
    title: "Google Cloud credentials",
    settings: &[
        &SECURITY_SERVICE_ACCOUNT_INFO,
        &COMPUTE_SERVICE_ACCOUNT_INFO,
        &GOOGLE_APPLICATION_CREDENTIALS,
        &GCE_METADATA_HOST,
        &GOOGLE_CLOUD_QUOTA_PROJECT,
        &CLOUDSDK_CONFIG,
        &HOME,
    ],
};

/// Which of the two accounts is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// The one that writes findings.
    Security,
    /// The one that looks up instances.
    Compute,
}

/// Whose credentials are used.
#[derive(Debug, Clone)]
pub struct GoogleConfig {
    /// `SECURITY_SERVICE_ACCOUNT_INFO`: credential JSON, or `sm://…` until the secret manager was asked.
    pub security_key: Option<SecretString>,
    /// `COMPUTE_SERVICE_ACCOUNT_INFO`, likewise.
    pub compute_key: Option<SecretString>,
    /// `GOOGLE_APPLICATION_CREDENTIALS`.
    pub credentials_file: Option<PathBuf>,
    /// Where gcloud keeps its Application Default Credentials.
    pub well_known_file: Option<PathBuf>,
    /// The metadata server, `name[:port]`.
    pub metadata_host: String,
    /// The project whose quota calls use.
    pub quota_project: Option<String>,
}

impl GoogleConfig {
    /// Reads the area. A key that cannot be read is a problem, told without its text.
    pub fn read(env: &mut Env) -> Option<Self> {
        let security_key = key(env, &SECURITY_SERVICE_ACCOUNT_INFO);
        let compute_key = key(env, &COMPUTE_SERVICE_ACCOUNT_INFO);
        let folder = env.given(&CLOUDSDK_CONFIG).map(PathBuf::from);
        let home = env.given(&HOME).map(PathBuf::from);
        let folder = folder.or_else(|| home.map(|home| home.join(".config/gcloud")));
        let credentials_file = env.given(&GOOGLE_APPLICATION_CREDENTIALS).map(PathBuf::from);
        let metadata_host = env.text(&GCE_METADATA_HOST)?;
        let quota_project = env.given(&GOOGLE_CLOUD_QUOTA_PROJECT);
        if quota_project.as_deref().is_some_and(|p| !p.bytes().all(|b| b.is_ascii_graphic())) {
            env.problem(GOOGLE_CLOUD_QUOTA_PROJECT.name, "is not a project id", "for example my-project");
        }
        Some(Self {
            security_key: security_key?,
            compute_key: compute_key?,
            credentials_file,
            well_known_file: folder.map(|folder| folder.join("application_default_credentials.json")),
            metadata_host,
            quota_project,
        })
    }

    /// Notes what is wrong with the credential file that calls to `endpoint` would use. A rehearsal uses none, so this is
    /// asked only for what is really called.
    pub fn require_credentials(&self, env: &mut Env, account: Account, endpoint: &Url) {
        // The keys themselves were looked at when they were read.
        if self.has_key(account) || is_rehearsal(endpoint) {
            return;
        }
        if let Err(error) = self.default_source() {
            env.problem(GOOGLE_APPLICATION_CREDENTIALS.name, error.message(), error.remedy());
        }
    }

    /// Whether a key variable is set for this account.
    pub fn has_key(&self, account: Account) -> bool {
        self.key(account).is_some()
    }

    /// Where tokens for calls to `endpoint` come from: the account's key; none for plain http on loopback without a key
    /// (a rehearsal); else Application Default Credentials.
    ///
    /// # Errors
    /// When the credentials that apply cannot be read.
    pub fn token_source(&self, account: Account, endpoint: &Url) -> Result<TokenSource, AuthError> {
        let Some(key) = self.key(account) else { return self.keyless_source(endpoint) };
        let credentials = Credentials::from_json(key.expose_secret())?;
        Ok(self.charged(TokenSource::from_credentials(credentials, &[CLOUD_PLATFORM])?))
    }

    /// The same for calls that are no account's: none for a rehearsal, else Application Default Credentials.
    ///
    /// # Errors
    /// When the file that applies cannot be read.
    pub fn keyless_source(&self, endpoint: &Url) -> Result<TokenSource, AuthError> {
        if is_rehearsal(endpoint) { Ok(self.charged(TokenSource::none())) } else { self.default_source() }
    }

    /// Application Default Credentials: `GOOGLE_APPLICATION_CREDENTIALS`, gcloud's file, the metadata server.
    ///
    /// # Errors
    /// When the file that applies cannot be read.
    pub fn default_source(&self) -> Result<TokenSource, AuthError> {
        let gcloud = self.well_known_file.as_ref().filter(|path| path.is_file());
        let source = match self.credentials_file.as_ref().or(gcloud) {
            Some(path) => {
                let credentials = Credentials::from_file(path)?;
                credentials.try_key()?;
                TokenSource::from_credentials(credentials, &[CLOUD_PLATFORM])?
            }
            None => TokenSource::from_metadata(&self.metadata_host, &[CLOUD_PLATFORM])?,
        };
        Ok(self.charged(source))
    }

    fn charged(&self, source: TokenSource) -> TokenSource {
        source.charged_to(self.quota_project.as_deref())
    }

    fn key(&self, account: Account) -> Option<&SecretString> {
        match account {
            Account::Security => self.security_key.as_ref(),
            Account::Compute => self.compute_key.as_ref(),
        }
    }
}

/// The outer `None` means that there was a problem.
fn key(env: &mut Env, setting: &'static Setting) -> Option<Option<SecretString>> {
    let Some(secret) = env.secret(setting) else { return Some(None) };
    if secret.expose_secret().starts_with("sm://") {
        return Some(Some(secret));
    }
    match Credentials::from_json(secret.expose_secret()).and_then(|credentials| credentials.try_key()) {
        Ok(()) => Some(Some(secret)),
        Err(error) => {
            env.problem(setting.name, error.message(), error.remedy());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<GoogleConfig>, String) {
        let mut env = Env::from_pairs(pairs.iter().copied());
        let config = GoogleConfig::read(&mut env);
        let problems = env.finish().err().map(|p| p.to_string()).unwrap_or_default();
        (config, problems)
    }

    #[test]
    fn without_anything_the_metadata_server_is_asked_and_a_loopback_sandbox_gets_no_token() {
        let (config, problems) = read(&[]);
        let config = config.unwrap();
        assert_eq!(problems, "");
        let google = Url::parse("https://securitycenter.googleapis.com").unwrap();
        let sandbox = Url::parse("http://127.0.0.1:8089").unwrap();
        assert_eq!(config.token_source(Account::Security, &google).unwrap().kind(), "metadata server");
        assert!(config.token_source(Account::Security, &sandbox).unwrap().is_none());
    }

    #[test]
    fn every_service_is_asked_at_the_expense_of_the_project_that_is_set() {
        let (config, problems) = read(&[("GOOGLE_CLOUD_QUOTA_PROJECT", "billed")]);
        let config = config.unwrap();
        assert_eq!(problems, "");
        for address in ["https://compute.googleapis.com", "http://127.0.0.1:8089"] {
            let address = Url::parse(address).unwrap();
            for source in [config.token_source(Account::Compute, &address), config.keyless_source(&address)] {
                assert_eq!(source.unwrap().quota_project(), Some("billed"), "{address}");
            }
        }
    }

    #[test]
    fn a_broken_key_is_a_problem_that_does_not_quote_it() {
        let (config, problems) = read(&[("SECURITY_SERVICE_ACCOUNT_INFO", "{\"private_key\": \"S3CRET")]);
        assert!(config.is_none());
        assert!(problems.contains("SECURITY_SERVICE_ACCOUNT_INFO"), "{problems}");
        assert!(!problems.contains("S3CRET"), "{problems}");
    }

    #[test]
    fn a_key_that_signs_nothing_is_a_problem_at_the_start() {
        let pem = "-----BEGIN PRIVATE KEY-----\\nUzNDUkVU\\n-----END PRIVATE KEY-----\\n";
        let key = format!(
            r#"{{"type":"service_account","client_email":"a@p.iam.gserviceaccount.com","private_key":"{pem}"}}"#
        );
        let (config, problems) = read(&[("SECURITY_SERVICE_ACCOUNT_INFO", &key)]);
        assert!(config.is_none());
        assert!(problems.contains("damaged"), "{problems}");
        assert!(!problems.contains("UzNDUkVU"), "{problems}");
    }

    #[test]
    fn a_missing_credential_file_is_a_problem_where_it_is_needed() {
        for (endpoint, expected) in [("https://securitycenter.googleapis.com", true), ("http://127.0.0.1:8089", false)]
        {
            let mut env = Env::from_pairs([("GOOGLE_APPLICATION_CREDENTIALS", "/does/not/exist.json")]);
            let config = GoogleConfig::read(&mut env).unwrap();
            config.require_credentials(&mut env, Account::Security, &Url::parse(endpoint).unwrap());
            let problems = env.finish().err().map(|p| p.to_string()).unwrap_or_default();
            assert_eq!(problems.contains("/does/not/exist.json cannot be read"), expected, "{problems}");
        }
    }

    #[test]
    fn gclouds_file_is_found_in_its_folder_or_in_home() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r"}"#;
        std::fs::write(folder.path().join("application_default_credentials.json"), text).unwrap();
        let (config, _) = read(&[("CLOUDSDK_CONFIG", &folder.path().display().to_string()), ("HOME", "/nowhere")]);
        assert_eq!(config.unwrap().default_source().unwrap().kind(), "authorized_user");
        let (config, _) = read(&[("HOME", "/home/me")]);
        let expected = PathBuf::from("/home/me/.config/gcloud/application_default_credentials.json");
        assert_eq!(config.unwrap().well_known_file, Some(expected));
    }
}
