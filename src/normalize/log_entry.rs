//! A Cloud Logging entry that came by Pub/Sub → an element.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Element, Ignored};
use crate::attest::gotpm;
use crate::event::Event;
use crate::integrity::envelope::{self, Item};
use crate::integrity::{Foreign, Reading, read};
use crate::text::{ellipsis, tokens};

/// The most of a message that could not be read that is kept, in bytes. Logging's entries have at most 256 KiB.
const LARGEST_KEPT: usize = 1024 * 1024;

/// What one message turned out to be.
pub fn element(item: Item, received: DateTime<Utc>) -> Element {
    let json = match item {
        Item::NoData => return Element::Ignored(Ignored::Empty),
        Item::Unreadable { reason, body } => return unreadable(reason, &body),
        Item::Entry(json) => json,
    };
    if gotpm::is_logged(&json) {
        return Element::Ignored(Ignored::Gotpm);
    }
    // Whoever writes entries may put tokens into them; neither the ledger nor a finding or a log is for those.
    let json = tokens::all_without(json);
    match read(&json, received) {
        // A start and a stop are kept, although they make no finding: what is about an older boot must no longer be acted
        // on, and a boot that was shut down has no late report.
        Ok(Reading::Entry(entry)) => Element::Event { event: Event::Integrity(entry), body: json.to_string() },
        Ok(Reading::Foreign(foreign)) => Element::Ignored(match foreign {
            Foreign::OtherLog => Ignored::OtherLog,
            Foreign::OtherProject => Ignored::OtherProject,
            Foreign::OtherResource => Ignored::OtherResource,
            Foreign::UnknownEvent => Ignored::UnknownIntegrityEvent,
            Foreign::OtherAudit => Ignored::OtherAudit,
        }),
        Err(error) => unreadable(error.0, &json.to_string()),
    }
}

/// A body of the ledger read again, when it is one of ours.
pub(super) fn stored(body: &str, received: DateTime<Utc>) -> Option<Element> {
    let json: Value = serde_json::from_str(body).ok()?;
    let is_entry =
        ["jsonPayload", "protoPayload", "textPayload", "logName"].iter().any(|name| json.get(name).is_some());
    if is_entry {
        return Some(element(Item::Entry(json), received));
    }
    let is_message = json.get("messageId").is_some() || json.get("message_id").is_some();
    is_message.then(|| element(envelope::message(&json), received))
}

/// Attestation tokens may pass by here; they never come into the ledger.
fn unreadable(reason: String, body: &str) -> Element {
    let body = tokens::without(body);
    let body = if body.len() > LARGEST_KEPT { ellipsis(&body, LARGEST_KEPT) } else { body.into_owned() };
    Element::Unreadable { reason, body }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_never_comes_into_the_ledger() {
        let body = r#"{"token":"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln", broken"#;
        let Element::Unreadable { body, .. } = element(envelope::data_of(body.as_bytes()), Utc::now()) else {
            panic!()
        };
        assert!(body.contains("[token removed]") && !body.contains("eyJ"), "{body}");
        let entry = json!({"logName": "projects/p/logs/gotpm", "jsonPayload": {"token": "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln"}});
        assert_eq!(element(Item::Entry(entry), Utc::now()), Element::Ignored(Ignored::Gotpm));

        let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln";
        let sample = include_str!("../../tests/data/integrity/late_failed_pcr4_changed_pcr14_new.json");
        let good: Value = serde_json::from_str(sample).unwrap();
        for (place, told) in [
            ("/labels", json!({ "t": token })),
            ("/jsonPayload/note", json!([{ token: format!("Bearer {token}") }])),
            ("/jsonPayload/lateBootReportEvent/actualMeasurements/0/hashAlgo", json!(token)),
        ] {
            let mut entry = good.clone();
            let (parent, name) = place.rsplit_once('/').unwrap();
            entry.pointer_mut(parent).unwrap()[name] = told;
            let element = format!("{:?}", element(Item::Entry(entry), Utc::now()));
            assert!(element.contains("[token removed]") && !element.contains("eyJ"), "{place}: {element}");
        }
    }
}
