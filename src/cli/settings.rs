//! The settings as the commands read them: the environment, with every secret that is given as a place in Secret
//! Manager (`sm://project/secret[/version]`) put in its stead.

use secrecy::ExposeSecret;

use crate::config::google::GoogleConfig;
use crate::config::{AREAS, Config, Env, Problems, Setting};
use crate::google::http::{Client, HttpSettings};
use crate::google::secret_manager::{self, ENDPOINT, SecretName};
use crate::telemetry::chain;

const REMEDY: &str = "grant roles/secretmanager.secretAccessor on it to this service account, and write sm://PROJECT/SECRET[/VERSION]";

/// Reads the settings; offline, secrets in Secret Manager are taken as they are.
///
/// # Errors
/// All problems at once.
pub(super) fn read(offline: bool) -> Result<Config, Problems> {
    let mut env = Env::from_process();
    if !offline {
        let resolved = super::block_on(async {
            resolve(&mut env).await;
            Ok(())
        });
        if let Err(error) = resolved {
            env.problem("sm://", &format!("cannot be resolved: {error}"), REMEDY);
        }
    }
    Config::read(env)
}

/// Puts every secret of Secret Manager in the place of its name. What cannot be read is a problem like any other.
pub(super) async fn resolve(env: &mut Env) {
    let places: Vec<(&'static Setting, String)> = secrets(env);
    if places.is_empty() {
        return;
    }
    let client = match client(env) {
        Ok(client) => client,
        Err(why) => {
            places.iter().for_each(|(setting, _)| env.problem(setting.name, &format!("cannot be read from Secret Manager: {why}"), REMEDY));
            return;
        }
    };
    for (setting, place) in places {
        let read = match place.parse::<SecretName>() {
            Ok(name) => secret_manager::read(&client, &name).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(secret) => env.overrule(setting.name, secret.expose_secret()),
            Err(error) => env.problem(setting.name, &format!("cannot be read from Secret Manager: {}", chain(&error)), REMEDY),
        }
    }
}

fn secrets(env: &mut Env) -> Vec<(&'static Setting, String)> {
    let settings = AREAS.iter().flat_map(|area| area.settings).filter(|setting| setting.secret);
    settings.filter_map(|setting| env.given(setting).filter(|text| secret_manager::is_place(text)).map(|text| (*setting, text))).collect()
}

fn client(env: &Env) -> Result<Client, String> {
    // The keys themselves may be among the secrets, so only Application Default Credentials can be used here.
    let mut apart = env.apart();
    let google = GoogleConfig::read(&mut apart).ok_or("the Google credentials cannot be read")?;
    let endpoint: url::Url = env.apart().text(&crate::config::google::SECRET_MANAGER_ENDPOINT).unwrap_or_else(|| ENDPOINT.into()).parse().map_err(|_| "SECRET_MANAGER_ENDPOINT is not an address")?;
    let tokens = google.default_source_for(&endpoint).map_err(|error| chain(&error))?;
    Client::new(HttpSettings::new(endpoint), tokens).map_err(|error| chain(&error))
}
