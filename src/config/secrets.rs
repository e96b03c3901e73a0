//! Secret settings given as `sm://PROJECT/SECRET[/VERSION]` are read from Secret Manager before the settings are read. In
//! a list, some values may be names and others the secrets themselves.

use secrecy::ExposeSecret;

use super::AREAS;
use super::env::{Area, Env, Setting};
use super::google::GoogleConfig;
use crate::causes::chain;
use crate::google::secret_manager::{ENDPOINT, SecretName, is_place, read};
use crate::google::{Client, HttpSettings};

/// Where Secret Manager is.
pub static SECRET_MANAGER_ENDPOINT: Setting = Setting {
    name: "SECRET_MANAGER_ENDPOINT",
    aliases: &[],
    default: Some(ENDPOINT),
    example: "http://127.0.0.1:8087",
    secret: false,
    doc: "Secret Manager's address, for secret settings given as sm://PROJECT/SECRET[/VERSION]. It is asked with \
          Application Default Credentials; a loopback http address without a token.",
};

/// The area as the documents show it.
pub static AREA: Area = Area { title: "Secret Manager", settings: &[&SECRET_MANAGER_ENDPOINT] };

/// Reads the area. There is nothing to keep: it has done its work when the settings are read. Names that cannot be one
/// are seen without asking anybody.
pub(super) fn check(env: &mut Env) {
    env.address(&SECRET_MANAGER_ENDPOINT);
    for setting in all() {
        if let Some(text) = env.given(setting) {
            well_formed(env, setting, &text);
        }
    }
}

/// Every setting that is a secret.
fn all() -> impl Iterator<Item = &'static Setting> {
    AREAS.iter().flat_map(|area| area.settings).copied().filter(|setting| setting.secret)
}

/// Whether every name in a value is one.
fn well_formed(env: &mut Env, setting: &'static Setting, text: &str) -> bool {
    let good = places(text).all(|place| place.parse::<SecretName>().is_ok());
    if !good {
        let remedy = "write sm://PROJECT/SECRET or sm://PROJECT/SECRET/VERSION, for example sm://my-project/my-secret";
        env.problem(setting.name, "has an sm:// that names no secret", remedy);
    }
    good
}

/// The names in a value.
fn places(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|one| is_place(one))
}

/// The process's environment with all its secrets in place. What cannot be read is a problem in it.
pub async fn environment() -> Env {
    let mut env = Env::from_process();
    resolve(&mut env).await;
    env
}

/// The secret settings whose value is a name in Secret Manager.
pub fn named(env: &mut Env) -> Vec<&'static str> {
    all()
        .filter(|setting| env.given(setting).is_some_and(|text| names_any(&text)))
        .map(|setting| setting.name)
        .collect()
}

/// Puts the secrets in place of their names.
pub async fn resolve(env: &mut Env) {
    resolve_some(env, all()).await;
}

/// Puts the secrets of these settings in place of their names.
pub async fn resolve_some(env: &mut Env, settings: impl IntoIterator<Item = &'static Setting>) {
    let mut named: Vec<(&'static Setting, String)> = Vec::new();
    for setting in settings {
        let given = env.given(setting).filter(|text| names_any(text));
        named.extend(given.filter(|text| well_formed(env, setting, text)).map(|text| (setting, text)));
    }
    if named.is_empty() {
        return;
    }
    let Some(client) = client(env) else {
        return;
    };
    for (setting, text) in named {
        if let Some(value) = resolved(env, &client, setting, &text).await {
            // Under every name that gives it, so that two names of one setting still say the same.
            let names: Vec<_> = setting.names().filter(|name| env.under(name) == Some(text.as_str())).collect();
            names.into_iter().for_each(|name| env.overrule(name, &value));
        }
    }
}

/// Whether the value, or one of several, is a name in Secret Manager.
fn names_any(text: &str) -> bool {
    places(text).next().is_some()
}

/// One value; a list of names gives a list of secrets.
async fn resolved(env: &mut Env, client: &Client, setting: &'static Setting, text: &str) -> Option<String> {
    let mut values = Vec::new();
    for place in text.split(',').map(str::trim).filter(|place| !place.is_empty()) {
        if !is_place(place) {
            values.push(place.to_owned());
            continue;
        }
        let value = match place.parse::<SecretName>() {
            Ok(name) => read(client, &name).await,
            Err(error) => Err(error),
        };
        match value {
            Ok(value) => values.push(value.expose_secret().trim().to_owned()),
            Err(error) => {
                env.problem(setting.name, &format!("cannot be read: {}", chain(&error)), error.remedy());
                return None;
            }
        }
    }
    Some(values.join(","))
}

fn client(env: &mut Env) -> Option<Client> {
    let url = env.address(&SECRET_MANAGER_ENDPOINT).flatten()?;
    let problem = match GoogleConfig::read(env)?.keyless_source(&url) {
        Ok(tokens) => match Client::new(HttpSettings::new(url), tokens) {
            Ok(client) => return Some(client),
            Err(error) => chain(&error),
        },
        Err(error) => chain(&error),
    };
    env.problem(SECRET_MANAGER_ENDPOINT.name, &format!("cannot be asked: {problem}"), "check the credentials");
    None
}
