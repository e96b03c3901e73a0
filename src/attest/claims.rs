//! Verified claims, read by name. Missing members are `None`; nothing is guessed.

use chrono::{DateTime, Utc};
use serde_json::Value as Json;

/// The claims of a token.
#[derive(Debug, Clone, Copy)]
pub struct Claims<'c>(pub &'c Json);

/// An instance by names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The project's id.
    pub project: String,
    /// The zone.
    pub zone: String,
    /// The instance's name, or its number where that is what is known.
    pub name: String,
}

impl Instance {
    /// The full resource name.
    pub fn resource_name(&self) -> String {
        format!("//compute.googleapis.com/projects/{}/zones/{}/instances/{}", self.project, self.zone, self.name)
    }
}

impl<'c> Claims<'c> {
    /// When the token was issued.
    pub fn issued(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(self.at("iat")?.as_i64()?, 0)
    }

    /// A text by its way, such as `submods.gce.zone`.
    pub fn text(&self, path: &str) -> Option<&'c str> {
        self.at(path)?.as_str()
    }

    /// Any value by its way.
    pub fn at(&self, path: &str) -> Option<&'c Json> {
        path.split('.').try_fold(self.0, |value, name| value.get(name)).filter(|value| !value.is_null())
    }

    /// A text or a list of texts, as a list.
    pub fn texts(&self, path: &str) -> Vec<&'c str> {
        match self.at(path) {
            Some(Json::String(text)) => vec![text],
            Some(Json::Array(items)) => items.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// The nonces.
    pub fn nonces(&self) -> Vec<&'c str> {
        self.texts("eat_nonce")
    }

    /// The instance that `sub` names.
    pub fn subject(&self) -> Option<Instance> {
        let path = self.text("sub")?.strip_prefix("https://www.googleapis.com/compute/v1/projects/")?;
        let (project, rest) = path.split_once("/zones/")?;
        let (zone, name) = rest.split_once("/instances/")?;
        let plain = |text: &str| {
            (1..=80).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
        };
        [project, zone, name].iter().all(|part| plain(part)).then(|| Instance {
            project: project.into(),
            zone: zone.into(),
            name: name.into(),
        })
    }

    /// The instance with its number, which is what findings are filed under.
    pub fn instance(&self) -> Option<Instance> {
        let subject = self.subject()?;
        let id = self
            .text("submods.gce.instance_id")
            .filter(|id| (1..=20).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit()));
        Some(match id {
            Some(id) => Instance { name: id.to_owned(), ..subject },
            None => subject,
        })
    }

    /// The TDX members, as an object or as a list of them.
    pub fn tdx(&self) -> Vec<Claims<'c>> {
        match self.at("tdx") {
            None => Vec::new(),
            Some(Json::Array(items)) => items.iter().map(Claims).collect(),
            Some(object) => vec![Claims(object)],
        }
    }

    /// Whether it is a debug image of Confidential Space. The real word is `enabled`; a page of Google's has `enable`.
    pub fn is_debug_image(&self) -> bool {
        self.text("swname") == Some("CONFIDENTIAL_SPACE") && matches!(self.text("dbgstat"), Some("enabled" | "enable"))
    }

    /// Whether the operator switched memory monitoring on: an object says so in real tokens, a plain value on one of
    /// Google's pages.
    pub fn is_monitored(&self) -> bool {
        let told = self.at("submods.confidential_space.monitoring_enabled");
        told.map(|told| told.get("memory").unwrap_or(told)).and_then(Json::as_bool) == Some(true)
    }

    /// Something of a member that is there and is not empty.
    pub fn non_empty(&self, path: &str) -> bool {
        match self.at(path) {
            Some(Json::Array(items)) => !items.is_empty(),
            Some(Json::Object(members)) => !members.is_empty(),
            Some(Json::String(text)) => !text.is_empty(),
            Some(_) => true,
            None => false,
        }
    }

    /// Whether they say anything of a machine, as tokens of attestation do and others do not.
    pub fn speak_of_a_machine(&self) -> bool {
        let told = ["hwmodel", "swname", "submods", "secboot", "dbgstat", "tdx"];
        self.subject().is_some() || told.into_iter().any(|name| self.at(name).is_some())
    }

    /// What contradicts itself: each a sentence without values.
    pub fn contradictions(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        if let Some(subject) = self.subject() {
            let same = |path: &str, value: &str| self.text(path).is_none_or(|text| text == value);
            if !same("submods.gce.project_id", &subject.project)
                || !same("submods.gce.zone", &subject.zone)
                || !same("submods.gce.instance_name", &subject.name)
            {
                found.push("sub and submods.gce name different instances");
            }
        } else {
            found.push("sub is not the link of an instance");
        }
        let digest = self.text("submods.container.image_digest");
        let named =
            self.text("submods.container.image_reference").and_then(|name| name.rsplit_once('@')).map(|(_, d)| d);
        if let (Some(digest), Some(named)) = (digest, named)
            && digest != named
        {
            found.push("image_reference and image_digest name different images");
        }
        let intel = self.texts("attester_tcb").contains(&"INTEL");
        if let Some(model) = self.text("hwmodel")
            && self.at("attester_tcb").is_some()
            && intel != model.contains("INTEL_TDX")
        {
            found.push("attester_tcb and hwmodel name different hardware");
        }
        let space = self.text("swname") == Some("CONFIDENTIAL_SPACE");
        if self.at("submods.container").is_some() && !space {
            found.push("a container is named by a token that is not of Confidential Space");
        }
        found
    }
}
