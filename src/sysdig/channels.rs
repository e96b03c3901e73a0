//! Notification channels: the webhook channel by which Sysdig sends us policy events. Public API first, then the older
//! one, which on-premises installations still have.

use std::fmt;

use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use url::Url;

use super::client::{Call, Client};
use super::error::{SysdigError, shorten};
use crate::calls::shown_token;

/// The longest url and header value that Sysdig takes, in characters.
const VALUE_LIMIT: usize = 255;

/// Pages of channels read at most: 25 a page.
const PAGE_LIMIT: usize = 400;
const PAGE_SIZE: usize = 25;

/// The channel we want to find there.
#[derive(Debug, Clone)]
pub struct ChannelSpec {
    /// Its name, unique in a customer's account.
    pub name: String,
    /// Where events are to be sent.
    pub url: String,
    /// The token that Sysdig is to send us: as `Authorization: Bearer`, unless it sends it in another form that our door
    /// takes. The original connector takes other forms only, and may still be the one that is delivered to.
    pub token: SecretString,
    /// The others that are valid at our door.
    pub older: Vec<SecretString>,
    /// Accept a receiver's certificate that is not publicly trusted. It costs: anybody in between can read and alter.
    pub allow_insecure: bool,
}

/// What was, or would be, done to a thing at Sysdig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Created,
    /// These members differed.
    Updated(Vec<&'static str>),
    /// It was as wanted.
    Unchanged,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("created"),
            Self::Updated(what) => write!(f, "updated ({})", what.join(", ")),
            Self::Unchanged => f.write_str("unchanged"),
        }
    }
}

/// The channel as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its id, which policies carry; `None` when it would only be created.
    pub id: Option<i64>,
    /// What was, or would be, done.
    pub change: Change,
    /// Whether Sysdig uses it. An operator may have switched it off; we leave that as it is.
    pub enabled: bool,
    /// The team it is limited to; `None` is all teams.
    pub team: Option<i64>,
}

/// A channel as it was found at Sysdig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its id, which policies carry.
    pub id: Option<i64>,
    /// Where it sends.
    pub url: String,
    /// Whether that is where the channel we want sends.
    pub leads_here: bool,
    /// What its header `Authorization` says.
    pub shows: Shows,
    /// Whether it accepts any certificate.
    pub allow_insecure: bool,
    /// Whether Sysdig uses it.
    pub enabled: bool,
}

/// What the header `Authorization` of a channel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// There is none.
    NoHeader,
    /// Sysdig does not tell its value.
    Hidden,
    /// The token we want, in a form that our door takes.
    Token,
    /// Another one that our door takes.
    Older,
    /// What our door refuses.
    Another,
}

/// What of a channel may be done; what may not is only said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// Nothing.
    Look,
    /// One that is missing is made. One that stands is left as it is.
    Create,
    /// And one that stands is made what it should be.
    CreateAndUpdate,
}

/// The two APIs and how they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    Public,
    Legacy,
}

impl Client {
    /// Makes the channel what `spec` says, as far as that may be, and says what was done, or would have been.
    pub async fn ensure_channel(&self, spec: &ChannelSpec, may: May) -> Result<Channel, SysdigError> {
        spec.check()?;
        let client = self.hiding(&spec.token);
        let (api, found) = client.find_channel(&spec.name).await?;
        match found {
            Some(existing) => client.update_channel(api, spec, existing, may).await,
            None if may == May::Look => Ok(Channel { id: None, change: Change::Created, enabled: true, team: None }),
            None => client.create_channel(api, spec, may).await,
        }
    }

    /// The channel of `spec`'s name as it stands, if there is one. Nothing is changed.
    pub async fn channel(&self, spec: &ChannelSpec) -> Result<Option<Standing>, SysdigError> {
        let (api, found) = self.hiding(&spec.token).find_channel(&spec.name).await?;
        Ok(found.map(|channel| spec.beside(api, &channel)))
    }

    /// The webhook channel of this name. One of another type is an error: its name cannot be had.
    async fn find_channel(&self, name: &str) -> Result<(Api, Option<Value>), SysdigError> {
        let (api, all) = match self.public_channels().await {
            // 403 as well: a token may have rights in the older API only.
            Err(error) if matches!(error.status(), Some(403 | 404 | 405 | 501)) => {
                let legacy =
                    self.json(Call::read("the list of notification channels", "/api/notificationChannels")).await;
                let legacy: Value = legacy.map_err(|second| if second.is_not_found() { error } else { second })?;
                (Api::Legacy, members(legacy, &["notificationChannels", "data"]))
            }
            answer => (Api::Public, answer?),
        };
        let named = |channel: &Value| channel.get("name").and_then(Value::as_str) == Some(name);
        let kind = |channel: &Value| channel.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (hooks, others): (Vec<_>, Vec<_>) =
            all.into_iter().filter(named).partition(|channel| kind(channel).eq_ignore_ascii_case("WEBHOOK"));
        match (hooks.into_iter().next(), others.first()) {
            (None, Some(other)) => Err(SysdigError::NameTaken { name: name.to_owned(), kind: shorten(&kind(other)) }),
            (found, _) => Ok((api, found)),
        }
    }

    async fn public_channels(&self) -> Result<Vec<Value>, SysdigError> {
        let mut all = Vec::new();
        for _ in 0..PAGE_LIMIT {
            let call = Call::read("the list of notification channels", "/platform/v1/notification-channels")
                .query("offset", all.len().to_string())
                .query("limit", PAGE_SIZE.to_string());
            let answer: Value = self.json(call).await?;
            let total = answer.pointer("/page/total").and_then(Value::as_u64);
            let page = members(answer, &["data"]);
            let last =
                page.is_empty() || total.map_or(page.len() < PAGE_SIZE, |t| (all.len() + page.len()) as u64 >= t);
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
        Err(SysdigError::NotThere("the list of notification channels does not end".into()))
    }

    /// One that somebody else has made meanwhile is updated, if that may be.
    async fn create_channel(&self, api: Api, spec: &ChannelSpec, may: May) -> Result<Channel, SysdigError> {
        let mut body = spec.new_body(api);
        let mut answer = self.post_channel(api, &body).await;
        if matches!(&answer, Err(error) if error.status() == Some(403)) {
            // Without an administrator's rights a channel can only be made for one's own team.
            let Some(team) = self.account().await?.team else {
                return Err(answer.err().unwrap_or_else(|| SysdigError::NotThere("no team".into())));
            };
            body["teamId"] = json!(team);
            answer = self.post_channel(api, &body).await;
        }
        match answer {
            Ok(made) => Ok(channel_of(&made, Change::Created)),
            Err(error) if error.is_conflict() => match self.find_channel(&spec.name).await? {
                (api, Some(existing)) => self.update_channel(api, spec, existing, may).await,
                (_, None) => Err(SysdigError::NotThere(format!(
                    "the name {:?} is taken, by a channel that we do not see: set SYSDIG_CHANNEL_NAME to another name",
                    spec.name
                ))),
            },
            Err(error) => Err(error),
        }
    }

    async fn post_channel(&self, api: Api, body: &Value) -> Result<Value, SysdigError> {
        let call =
            Call::write("the making of the notification channel", Method::POST, api.path(), api.wrap(body.clone()));
        self.json(call).await.map(|answer| api.unwrap(answer))
    }

    async fn update_channel(
        &self,
        api: Api,
        spec: &ChannelSpec,
        existing: Value,
        may: May,
    ) -> Result<Channel, SysdigError> {
        let (wanted, differs) = spec.changed(api, &existing);
        if differs.is_empty() {
            return Ok(channel_of(&existing, Change::Unchanged));
        }
        if may != May::CreateAndUpdate {
            return Ok(channel_of(&existing, Change::Updated(differs)));
        }
        let id = existing
            .get("id")
            .and_then(id_of)
            .ok_or_else(|| SysdigError::NotThere("the notification channel has no id in Sysdig's answer".into()))?;
        let changed = match self.put_channel(api, id, wanted).await {
            Err(error) if error.is_conflict() => {
                let call = Call::read("the notification channel", format!("{}/{id}", api.path()));
                let now: Value = self.json(call).await.map(|answer| api.unwrap(answer))?;
                self.put_channel(api, id, spec.changed(api, &now).0).await?
            }
            answer => answer?,
        };
        let stands = if changed.get("id").is_some() { &changed } else { &existing };
        Ok(channel_of(stands, Change::Updated(differs)))
    }

    async fn put_channel(&self, api: Api, id: i64, body: Value) -> Result<Value, SysdigError> {
        let path = format!("{}/{id}", api.path());
        let call = Call::write("the update of the notification channel", Method::PUT, path, api.wrap(body));
        self.json(call).await.map(|answer| api.unwrap(answer))
    }
}

impl Api {
    fn path(self) -> &'static str {
        match self {
            Self::Public => "/platform/v1/notification-channels",
            Self::Legacy => "/api/notificationChannels",
        }
    }

    fn wrap(self, body: Value) -> Value {
        match self {
            Self::Public => body,
            Self::Legacy => json!({ "notificationChannel": body }),
        }
    }

    fn unwrap(self, mut answer: Value) -> Value {
        match answer.get_mut("notificationChannel") {
            Some(inner) => inner.take(),
            None => answer,
        }
    }

    fn insecure_member(self) -> &'static str {
        match self {
            Self::Public => "isAllowsInsecureConnections",
            Self::Legacy => "allowInsecureConnections",
        }
    }
}

impl ChannelSpec {
    fn check(&self) -> Result<(), SysdigError> {
        let header = self.header();
        for (what, length) in [("WEBHOOK_URL", self.url.len()), ("the Authorization header", header.len())] {
            if length > VALUE_LIMIT {
                let text = format!("{what} has {length} characters; Sysdig takes {VALUE_LIMIT}");
                return Err(SysdigError::NotThere(text));
            }
        }
        Ok(())
    }

    fn header(&self) -> String {
        format!("Bearer {}", self.token.expose_secret())
    }

    fn new_body(&self, api: Api) -> Value {
        let headers = json!({ "Authorization": self.header() });
        match api {
            Api::Public => json!({
                "type": "WEBHOOK", "name": self.name, "isEnabled": true, "hasTestNotificationEnabled": false, "teamId": null,
                "options": { "url": self.url, "additionalHeaders": headers,
                             "isAllowsInsecureConnections": self.allow_insecure, "customData": {} },
            }),
            Api::Legacy => json!({
                "type": "WEBHOOK", "name": self.name, "enabled": true, "teamId": null,
                "options": { "url": self.url, "additionalHeaders": headers, "customData": {},
                             "allowInsecureConnections": self.allow_insecure,
                             "notifyOnOk": false, "notifyOnResolve": false, "sendTestNotification": false },
            }),
        }
    }

    fn beside(&self, api: Api, channel: &Value) -> Standing {
        let option = |name: &str| channel.pointer(&format!("/options/{name}"));
        let known = channel_of(channel, Change::Unchanged);
        let url = option("url").and_then(Value::as_str).unwrap_or_default();
        let headers = option("additionalHeaders").and_then(Value::as_object);
        Standing {
            id: known.id,
            url: url.to_owned(),
            leads_here: self.is_here(url),
            shows: headers.map_or(Shows::NoHeader, |headers| self.shown_by(headers)),
            allow_insecure: option(api.insecure_member()).and_then(Value::as_bool).unwrap_or(false),
            enabled: known.enabled,
        }
    }

    /// Whether this is our address, however it is written.
    fn is_here(&self, url: &str) -> bool {
        url == self.url
            || matches!((Url::parse(url), Url::parse(&self.url)), (Ok(stands), Ok(wanted)) if stands == wanted)
    }

    fn shown_by(&self, headers: &Map<String, Value>) -> Shows {
        let mut ours = headers.iter().filter(|(name, _)| is_authorization(name)).map(|(_, value)| value.as_str());
        let value = match (ours.next(), ours.next()) {
            (None, _) => return Shows::NoHeader,
            (Some(value), None) => value.unwrap_or_default(),
            // Which of them is sent is not known.
            (Some(_), Some(_)) => return Shows::Another,
        };
        let shown = shown_token(value.as_bytes());
        let is = |token: &SecretString| shown.as_deref() == Some(token.expose_secret().as_bytes());
        match () {
            () if is(&self.token) => Shows::Token,
            () if self.older.iter().any(is) => Shows::Older,
            () if value.is_empty() || value.contains('*') => Shows::Hidden,
            () => Shows::Another,
        }
    }

    /// `existing` as it should be, all that is not ours kept, and what of it differs.
    fn changed(&self, api: Api, existing: &Value) -> (Value, Vec<&'static str>) {
        let mut wanted = existing.clone();
        if api == Api::Public {
            for read_only in ["id", "customerId", "createdOn", "modifiedOn"] {
                wanted.as_object_mut().and_then(|channel| channel.remove(read_only));
            }
        }
        let mut options = wanted.get("options").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut differs = Vec::new();
        if !options.get("url").and_then(Value::as_str).is_some_and(|url| self.is_here(url)) {
            options.insert("url".into(), json!(self.url));
            differs.push("url");
        }
        let headers = options.get("additionalHeaders").and_then(Value::as_object).cloned().unwrap_or_default();
        if self.shown_by(&headers) != Shows::Token {
            options.insert("additionalHeaders".into(), Value::Object(self.headers_over(&headers)));
            differs.push("headers");
        }
        if options.get(api.insecure_member()).and_then(Value::as_bool).unwrap_or(false) != self.allow_insecure {
            options.insert(api.insecure_member().into(), json!(self.allow_insecure));
            differs.push("certificate check");
        }
        wanted["options"] = Value::Object(options);
        (wanted, differs)
    }

    /// The headers there with ours, whatever the case of the name that is there.
    fn headers_over(&self, existing: &Map<String, Value>) -> Map<String, Value> {
        let others = existing.iter().filter(|(name, _)| !is_authorization(name));
        let mut headers: Map<String, Value> = others.map(|(name, value)| (name.clone(), value.clone())).collect();
        headers.insert("Authorization".into(), json!(self.header()));
        headers
    }
}

fn is_authorization(header: &str) -> bool {
    header.eq_ignore_ascii_case("authorization")
}

fn channel_of(value: &Value, change: Change) -> Channel {
    let enabled = value.get("isEnabled").or_else(|| value.get("enabled")).and_then(Value::as_bool).unwrap_or(true);
    Channel { id: value.get("id").and_then(id_of), change, enabled, team: value.get("teamId").and_then(id_of) }
}

/// An id, as number or as text.
pub(super) fn id_of(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

/// The elements of a list, bare or under one of `names`.
pub(super) fn members(answer: Value, names: &[&str]) -> Vec<Value> {
    match answer {
        Value::Array(all) => all,
        Value::Object(mut object) => {
            let found = names.iter().find_map(|name| object.remove(*name));
            found.and_then(|value| if let Value::Array(all) = value { Some(all) } else { None }).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}
