//! Event forwarders: Sysdig's own push of policy events in batches. The better way in where the account has it.

use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::channels::{Change, id_of, members};
use super::client::{Call, Client};
use super::error::SysdigError;

/// The longest endpoint that Sysdig takes, in characters.
const ENDPOINT_LIMIT: usize = 128;

/// The paths of both versions of the API; the bodies are the same.
const PATHS: [&str; 2] = ["/secure/events-forwarder/v1/integrations", "/secure/events-forwarder/v2/integrations"];

/// The data that becomes findings.
const POLICY_EVENTS: &str = "SECURE_EVENTS_POLICIES";

/// The forwarder we want to find there.
#[derive(Debug, Clone)]
pub struct ForwarderSpec {
    /// Its name.
    pub name: String,
    /// Where events are to be sent.
    pub url: String,
    /// The token that Sysdig is to send us as a bearer token.
    pub token: SecretString,
    /// Accept a receiver's certificate that is not publicly trusted. It costs: anybody in between can read and alter.
    pub allow_insecure: bool,
}

/// The forwarder as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarder {
    /// Its id; `None` when it would only be created.
    pub id: Option<String>,
    /// What was, or would be, done.
    pub change: Change,
    /// Whether it sends. An operator may have switched it off; we leave that as it is.
    pub enabled: bool,
}

impl Client {
    /// Makes the forwarder what `spec` says; with `apply` false only says what would be done.
    pub async fn ensure_forwarder(&self, spec: &ForwarderSpec, apply: bool) -> Result<Forwarder, SysdigError> {
        if spec.url.len() > ENDPOINT_LIMIT {
            let text =
                format!("WEBHOOK_URL has {} characters; Sysdig's forwarder takes {ENDPOINT_LIMIT}", spec.url.len());
            return Err(SysdigError::NotThere(text));
        }
        let client = self.hiding(&spec.token);
        let (path, found) = client.find_forwarder(&spec.name).await?;
        match found {
            Some(existing) => client.update_forwarder(path, spec, existing, apply).await,
            None if !apply => Ok(Forwarder { id: None, change: Change::Created, enabled: true }),
            None => client.create_forwarder(path, spec).await,
        }
    }

    async fn find_forwarder(&self, name: &str) -> Result<(&'static str, Option<Value>), SysdigError> {
        let list = |path| self.json::<Value>(Call::read("the list of event forwarders", path));
        let (path, answer) = match list(PATHS[0]).await {
            Err(error) if error.is_not_found() => (PATHS[1], list(PATHS[1]).await?),
            answer => (PATHS[0], answer?),
        };
        let is_ours = |one: &Value| {
            one.get("name").and_then(Value::as_str) == Some(name)
                && one.get("type").and_then(Value::as_str) == Some("WEBHOOK")
        };
        Ok((path, members(answer, &["integrations", "data"]).into_iter().find(is_ours)))
    }

    async fn create_forwarder(&self, path: &'static str, spec: &ForwarderSpec) -> Result<Forwarder, SysdigError> {
        let body = spec.body(None);
        let call = Call::write("the making of the event forwarder", Method::POST, path, body);
        match self.json::<Value>(call).await {
            Ok(made) => Ok(forwarder_of(&made, Change::Created)),
            Err(error) if error.is_conflict() => match self.find_forwarder(&spec.name).await? {
                (path, Some(existing)) => self.update_forwarder(path, spec, existing, true).await,
                (_, None) => Err(SysdigError::NotThere(format!(
                    "the name {:?} is taken by an integration that is no webhook; set SYSDIG_CHANNEL_NAME to another",
                    spec.name
                ))),
            },
            Err(error) => Err(error),
        }
    }

    async fn update_forwarder(
        &self,
        path: &'static str,
        spec: &ForwarderSpec,
        existing: Value,
        apply: bool,
    ) -> Result<Forwarder, SysdigError> {
        let differs = spec.differs(&existing);
        if differs.is_empty() {
            return Ok(forwarder_of(&existing, Change::Unchanged));
        }
        if apply {
            match self.put_forwarder(path, spec, &existing).await {
                // Somebody changed it meanwhile: once more, over what is there now.
                Err(error) if error.is_conflict() => {
                    let (path, now) = self.find_forwarder(&spec.name).await?;
                    self.put_forwarder(path, spec, &now.ok_or(error)?).await?;
                }
                answer => answer?,
            }
        }
        Ok(forwarder_of(&existing, Change::Updated(differs)))
    }

    async fn put_forwarder(&self, path: &str, spec: &ForwarderSpec, existing: &Value) -> Result<(), SysdigError> {
        let id = text_id(existing)
            .ok_or_else(|| SysdigError::NotThere("the event forwarder has no id in Sysdig's answer".into()))?;
        let (path, body) = (format!("{path}/{id}"), spec.body(Some(existing)));
        let call = Call::write("the update of the event forwarder", Method::PUT, path, body);
        self.json::<Value>(call).await.map(drop)
    }
}

impl ForwarderSpec {
    /// The whole object; over an existing one, what is not ours is kept.
    fn body(&self, existing: Option<&Value>) -> Value {
        let mut body = existing.cloned().unwrap_or_else(|| json!({ "type": "WEBHOOK", "isEnabled": true }));
        body["name"] = json!(self.name);
        let mut channels: Vec<Value> = body.get("channels").and_then(Value::as_array).cloned().unwrap_or_default();
        if !channels.iter().any(|channel| channel == POLICY_EVENTS) {
            channels.push(json!(POLICY_EVENTS));
        }
        body["channels"] = Value::Array(channels);
        if !body.get("connectionInfo").is_some_and(Value::is_object) {
            body["connectionInfo"] = json!({ "output": "json", "timestampFormat": "nanoseconds" });
        }
        body["connectionInfo"]["endpoint"] = json!(self.url);
        body["connectionInfo"]["isInsecure"] = json!(self.allow_insecure);
        body["connectionInfo"]["auth"] = json!("BEARER_TOKEN");
        body["connectionInfo"]["secret"] = json!(self.token.expose_secret());
        body
    }

    fn differs(&self, existing: &Value) -> Vec<&'static str> {
        let info = existing.get("connectionInfo").unwrap_or(&Value::Null);
        let text = |name: &str| info.get(name).and_then(Value::as_str);
        let mut differs = Vec::new();
        if text("endpoint") != Some(self.url.as_str()) {
            differs.push("url");
        }
        // Sysdig does not show a secret; what cannot be compared is sent again.
        if text("auth") != Some("BEARER_TOKEN") || text("secret") != Some(self.token.expose_secret()) {
            differs.push("token");
        }
        if info.get("isInsecure").and_then(Value::as_bool).unwrap_or(false) != self.allow_insecure {
            differs.push("certificate check");
        }
        let channels = existing.get("channels").and_then(Value::as_array);
        if !channels.into_iter().flatten().any(|channel| channel == POLICY_EVENTS) {
            differs.push("policy events");
        }
        differs
    }
}

fn forwarder_of(value: &Value, change: Change) -> Forwarder {
    let enabled = value.get("isEnabled").and_then(Value::as_bool).unwrap_or(true);
    Forwarder { id: text_id(value), change, enabled }
}

fn text_id(value: &Value) -> Option<String> {
    let id = value.get("id")?;
    id.as_str().map(str::to_owned).or_else(|| id_of(id).map(|id| id.to_string()))
}
