//! What Pub/Sub's messages hold: log entries and senders' events. Most are read on the spot; a token in the log `gotpm`
//! is verified first, for which its issuer's keys are needed. The entry itself is never kept: a token is a credential.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::attestation::{Attestor, Later};
use crate::attest::gotpm::{self, Kind};
use crate::event::Event;
use crate::integrity::envelope::Item;
use crate::normalize::{Element, Ignored, log_entry};

/// Makes elements of entries.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    /// Verifies tokens; without it they are ignored.
    pub attestor: Option<Attestor>,
}

impl Entries {
    /// What one message is. It may be several events, or none.
    ///
    /// # Errors
    /// When a token is in it that cannot be verified now. The message must come again.
    pub async fn elements(&self, item: Item, received: DateTime<Utc>) -> Result<Vec<Element>, Later> {
        match (&self.attestor, &item) {
            (Some(attestor), Item::Entry(entry)) if gotpm::classify(entry) == Some(Kind::Token) => {
                let found = attestor.logged(entry, received).await?;
                let body = gotpm::redact(entry).to_string();
                let element = |event| Element::Event { event: Event::Attestation(Box::new(event)), body: body.clone() };
                let elements: Vec<Element> = found.into_iter().map(element).collect();
                Ok(if elements.is_empty() { vec![Element::Ignored(Ignored::Gotpm)] } else { elements })
            }
            _ => {
                let log = log_name(&item);
                let elements = log_entry::elements(item, received);
                if let [Element::Ignored(why)] = elements.as_slice() {
                    tracing::debug!(kind = why.label(), log, "a log entry is not for us: {}", why.reason());
                }
                Ok(elements)
            }
        }
    }

    /// Whether a token must be verified before this can be taken; `by_key`: with a key that must be looked up.
    pub fn holds_token(&self, item: &Item, by_key: bool) -> bool {
        let is_one = |entry: &Value| gotpm::classify(entry) == Some(Kind::Token);
        let is_meant = |entry: &Value| is_one(entry) && (!by_key || gotpm::key_id(entry).is_some());
        self.attestor.is_some() && matches!(item, Item::Entry(entry) if is_meant(entry))
    }
}

fn log_name(item: &Item) -> Option<String> {
    match item {
        Item::Entry(entry) => entry.get("logName").and_then(Value::as_str).map(str::to_owned),
        Item::NoData | Item::Unreadable { .. } => None,
    }
}
