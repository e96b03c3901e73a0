//! The way to the Kubernetes API server: where it is, and who we are there.
//!
//! A kubeconfig may name a program that says who we are. It runs beside everything else, is ended when it takes too long,
//! and nothing that it prints is repeated: it prints a token.

use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use kube::client::AuthError;
use kube::config::{ExecConfig, ExecInteractiveMode, KubeConfigOptions};
use kube::{Client, Config};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::cache::Lookups;
use crate::config::enrich::Keep;
use crate::config::enrich::KubernetesSource;

/// For one call to the API server.
const CALL: Duration = Duration::from_secs(5);

/// How long an event waits for a login. It goes on meanwhile, for those who come later.
const WAIT: Duration = Duration::from_secs(2);

/// How long a login program may run.
const LONGEST: Duration = Duration::from_secs(60);

/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// How long is waited for what a program that has ended left in its pipe.
const REST: Duration = Duration::from_secs(1);

/// No credential is longer.
const MOST: u64 = 1024 * 1024;

/// A credential is renewed so long before it ends.
const AHEAD: TimeDelta = TimeDelta::seconds(60);

/// A token's file is read again this often.
const FILE_AGE: TimeDelta = TimeDelta::seconds(60);

/// Why the API server cannot be asked at all.
#[derive(Debug, thiserror::Error)]
#[error("the Kubernetes API server cannot be asked as configured (KUBERNETES_ENRICH)")]
pub struct ConnectError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Why it is not known who we are.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// It is not there, or no program.
    #[error("the login program {program} of the kubeconfig cannot be started")]
    NotStarted {
        /// As the kubeconfig names it.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It says that it failed.
    #[error("the login program {program} of the kubeconfig failed ({status}); run it by hand to see why")]
    Failed {
        /// As the kubeconfig names it.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It took too long.
    #[error("the login program {program} of the kubeconfig did not end within {} s", LONGEST.as_secs())]
    Endless {
        /// As the kubeconfig names it.
        program: String,
    },
    /// What it printed is of no use.
    #[error("the login program {program} of the kubeconfig printed no ExecCredential with a token or a certificate")]
    NoCredential {
        /// As the kubeconfig names it.
        program: String,
    },
    /// Those who wait have no more time.
    #[error("the login of the kubeconfig has not ended yet")]
    Slow,
    /// A mistake of ours.
    #[error("the login of the kubeconfig broke off")]
    Broken,
    /// The library's own login.
    #[error("the auth-provider of the kubeconfig gave no token")]
    Provider,
    /// A token's file that cannot be read.
    #[error("the token file {} of the kubeconfig cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else than a token.
    #[error("{place} of the kubeconfig is no token: it is empty, or has blanks or control characters within")]
    NoToken {
        /// Where it stands.
        place: String,
    },
    /// With what we are, no client can be made.
    #[error(transparent)]
    Unfit(#[from] ConnectError),
}

/// Who asks the API server. Cheap to clone.
#[derive(Clone)]
pub enum Access {
    /// As what the settings say for good.
    Ready(Client),
    /// As somebody who logs in, again and again.
    Login(Arc<Login>),
}

/// A client that is made by logging in.
pub struct Login {
    config: Config,
    by: By,
    held: Lookups<(), Held>,
}

enum By {
    Program(Box<ExecConfig>),
    File(PathBuf),
    Provider,
}

/// A client, until what it shows ends.
struct Held {
    client: Client,
    made: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct ExecCredential {
    status: Option<Credential>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    expiration_timestamp: Option<String>,
    token: Option<SecretString>,
    client_certificate_data: Option<String>,
    client_key_data: Option<SecretString>,
}

impl From<Client> for Access {
    fn from(client: Client) -> Self {
        Self::Ready(client)
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login")
    }
}

/// The way to the API server that the settings name. Nothing is asked yet, and no program is run.
///
/// # Errors
/// When there is no kubeconfig, no such context, or no service account.
pub async fn connect(source: &KubernetesSource) -> Result<Access, ConnectError> {
    access(settings(source).await?)
}

/// The way to the API server of a configuration.
///
/// # Errors
/// When what it says of us for good is of no use.
pub fn access(mut config: Config) -> Result<Access, ConnectError> {
    // We have a deadline of our own, and the next event asks again.
    config.default_retry = false;
    config.connect_timeout = Some(CALL);
    config.read_timeout = Some(CALL);
    config.write_timeout = Some(CALL);
    let Some(by) = By::of(&mut config) else {
        if let Some(token) = config.auth_info.token.take() {
            let place = "the token".to_owned();
            config.auth_info.token = Some(usable(&token, place).map_err(|error| ConnectError(error.into()))?);
        }
        return Ok(Access::Ready(client(config)?));
    };
    // How long is for the credential to say, and what failed is for those to pause who ask.
    let keep = Keep { found: Duration::from_secs(365 * 24 * 3600), missed: Duration::ZERO, entries: 1 };
    Ok(Access::Login(Arc::new(Login { config, by, held: Lookups::new(keep) })))
}

/// Where the API server is and who we are there, as the files on this machine say.
///
/// # Errors
/// When there is no kubeconfig, no such context, or no service account.
pub(crate) async fn settings(source: &KubernetesSource) -> Result<Config, ConnectError> {
    match source {
        KubernetesSource::InCluster => Config::incluster().map_err(|error| ConnectError(error.into())),
        KubernetesSource::Auto => Config::infer().await.map_err(|error| ConnectError(error.into())),
        KubernetesSource::Kubeconfig(context) => {
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            Config::from_kubeconfig(&options).await.map_err(|error| ConnectError(error.into()))
        }
    }
}

fn client(config: Config) -> Result<Client, ConnectError> {
    Client::try_from(config).map_err(|error| ConnectError(error.into()))
}

/// Whether a login is among the causes of a failure: the library repeats then what a program printed.
pub(super) fn is_login(error: &kube::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<AuthError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl Access {
    /// A client, for an event that cannot wait long.
    pub(super) async fn client(&self) -> Result<Client, Arc<LoginError>> {
        tokio::time::timeout(WAIT, self.log_in()).await.unwrap_or_else(|_| Err(Arc::new(LoginError::Slow)))
    }

    /// A client, once the login has ended. Those who ask while it goes on wait for the same.
    ///
    /// # Errors
    /// When it is not known who we are.
    pub async fn log_in(&self) -> Result<Client, Arc<LoginError>> {
        let login = match self {
            Self::Ready(client) => return Ok(client.clone()),
            Self::Login(login) => login,
        };
        let asked = Utc::now();
        let mut held = login.held().await?;
        // What is new and ends soon is the best that there is.
        if held.made < asked && held.until.is_some_and(|until| until <= asked) {
            login.held.forget(&()).await;
            held = login.held().await?;
        }
        Ok(held.client.clone())
    }

    /// Who asks next logs in: the server does not know us any more.
    pub(super) async fn renew(&self) {
        if let Self::Login(login) = self {
            login.held.forget(&()).await;
        }
    }
}

impl Login {
    async fn held(self: &Arc<Self>) -> Result<Arc<Held>, Arc<LoginError>> {
        let look_up = |()| {
            let login = Arc::clone(self);
            async move {
                // Programs and files block.
                let made = tokio::task::spawn_blocking(move || login.make()).await;
                made.unwrap_or(Err(LoginError::Broken)).map(Some)
            }
        };
        self.held.find(&(), look_up).await?.ok_or_else(|| Arc::new(LoginError::Slow))
    }

    fn make(&self) -> Result<Held, LoginError> {
        let mut config = self.config.clone();
        let user = &mut config.auth_info;
        let until = match &self.by {
            By::Program(program) => {
                let name = program.command.clone().unwrap_or_default();
                let unusable = || LoginError::NoCredential { program: name.clone() };
                let credential = run(program, &name)?;
                if let Some(token) = &credential.token {
                    user.token = Some(usable(token, String::new()).map_err(|_| unusable())?);
                }
                if let (Some(certificate), Some(key)) = (credential.client_certificate_data, credential.client_key_data)
                {
                    user.client_certificate_data = Some(STANDARD.encode(certificate));
                    user.client_key_data = Some(STANDARD.encode(key.expose_secret()).into());
                } else if user.token.is_none() {
                    return Err(unusable());
                }
                let end = credential.expiration_timestamp.as_deref().map(DateTime::parse_from_rfc3339);
                end.transpose().map_err(|_| unusable())?.map(|end| end.to_utc() - AHEAD)
            }
            By::File(path) => {
                let token = std::fs::read_to_string(path)
                    .map_err(|source| LoginError::File { path: path.clone(), source })?
                    .into();
                user.token = Some(usable(&token, format!("the token file {}", path.display()))?);
                Some(Utc::now() + FILE_AGE)
            }
            By::Provider => None,
        };
        match Client::try_from(config) {
            Ok(client) => Ok(Held { client, made: Utc::now(), until }),
            Err(error) if is_login(&error) => Err(LoginError::Provider),
            Err(error) => Err(ConnectError(error.into()).into()),
        }
    }
}

impl By {
    /// How to log in, which is left to us then; none, when the settings say for good who we are.
    fn of(config: &mut Config) -> Option<Self> {
        // A pod's own token is kept fresh by the library.
        let by_pod = config.root_cert_file.is_some();
        let user = &mut config.auth_info;
        if user.auth_provider.is_some() {
            return Some(Self::Provider);
        }
        if user.token.is_some() || (user.username.is_some() && user.password.is_some()) || by_pod {
            return None;
        }
        let file = user.token_file.take().map(|path| Self::File(path.into()));
        file.or_else(|| user.exec.take().map(|program| Self::Program(Box::new(program))))
    }
}

/// A token as it goes into a header: what is around it in a file is not of it.
fn usable(token: &SecretString, place: String) -> Result<SecretString, LoginError> {
    let token = token.expose_secret().trim();
    let fits = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(token.into()) } else { Err(LoginError::NoToken { place }) }
}

/// What a login program says.
fn run(program: &ExecConfig, name: &str) -> Result<Credential, LoginError> {
    let name = || name.to_owned();
    let ended = output(command(program)).map_err(|source| LoginError::NotStarted { program: name(), source })?;
    let (status, printed) = ended.ok_or_else(|| LoginError::Endless { program: name() })?;
    if !status.success() {
        return Err(LoginError::Failed { program: name(), status });
    }
    // What is wrong with it is not told: the words of a reader may be those that it read.
    let read = serde_saphyr::from_slice::<ExecCredential>(&printed);
    read.ok().and_then(|read| read.status).ok_or_else(|| LoginError::NoCredential { program: name() })
}

fn command(program: &ExecConfig) -> Command {
    let mut command = Command::new(program.command.as_deref().unwrap_or_default());
    command.args(program.args.iter().flatten());
    for pair in program.env.iter().flatten() {
        if let (Some(name), Some(value)) = (pair.get("name"), pair.get("value")) {
            command.env(name, value);
        }
    }
    let mut spec = json!({"interactive": false});
    if let Some(cluster) = program.cluster.as_ref().filter(|_| program.provide_cluster_info) {
        spec["cluster"] = json!(cluster);
    }
    let info = json!({"apiVersion": program.api_version, "kind": "ExecCredential", "spec": spec});
    command.env("KUBERNETES_EXEC_INFO", info.to_string());
    // One that may speak to people does so itself.
    let silent = program.interactive_mode == Some(ExecInteractiveMode::Never);
    command.stderr(if silent { Stdio::null() } else { Stdio::inherit() });
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// How a program ended and what it printed; none, when it had to be ended.
fn output(mut command: Command) -> io::Result<Option<(ExitStatus, Vec<u8>)>> {
    let end = Instant::now() + LONGEST;
    let mut child = command.spawn()?;
    let (sender, printed) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        // Also what the program started may hold the pipe, as long as it likes.
        std::thread::spawn(move || {
            let mut text = Vec::new();
            if stdout.take(MOST).read_to_end(&mut text).is_ok() {
                drop(sender.send(text));
            }
        });
    }
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some((status, printed.recv_timeout(REST).unwrap_or_default())));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_stands_between_the_blanks() {
        for (text, expected) in
            [("abc", Some("abc")), ("abc\n", Some("abc")), (" abc\r\n", Some("abc")), ("", None), ("\n", None)]
        {
            let token = usable(&text.into(), "x".into()).ok();
            assert_eq!(token.as_ref().map(|token| token.expose_secret()), expected, "{text:?}");
        }
        for text in ["a b", "a\nb", "a\u{e4}b", "a\0b"] {
            assert!(usable(&text.into(), "x".into()).is_err(), "{text:?}");
        }
    }
}
