//! What came by Pub/Sub → elements: a Cloud Logging entry about a Shielded VM, or what senders of events put there,
//! read as at the other doors.

use chrono::{DateTime, Utc};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Element, Ignored, NormalizeError, delivery};
use crate::attest::gotpm;
use crate::event::Event;
use crate::integrity::envelope::{self, Item};
use crate::integrity::{Foreign, Reading, read};
use crate::text::{ellipsis, tokens};

/// The most of a message that could not be read that is kept, in bytes. Logging's entries have at most 256 KiB.
const LARGEST_KEPT: usize = 1024 * 1024;

/// What one message turned out to be.
pub fn elements(item: Item, received: DateTime<Utc>) -> Vec<Element> {
    let json = match item {
        Item::NoData => return vec![Element::Ignored(Ignored::Empty)],
        Item::Unreadable { reason, body } => {
            // A message that could not be decoded is JSON itself; data that is not may be events, one a line.
            let is_message = serde_json::from_str::<IgnoredAny>(&body).is_ok();
            let sent = if is_message { None } else { events(&tokens::without(&body), received) };
            return sent.unwrap_or_else(|| vec![unreadable(reason, &body)]);
        }
        Item::Entry(json) => json,
    };
    if gotpm::is_logged(&json) {
        return vec![Element::Ignored(Ignored::Gotpm)];
    }
    // Whoever writes entries may put tokens into them; neither the ledger nor a finding or a log is for those.
    let json = tokens::all_without(json);
    let element = match read(&json, received) {
        // A start and a stop are kept, although they make no finding: what is about an older boot must no longer be acted
        // on, and a boot that was shut down has no late report.
        Ok(Reading::Entry(entry)) => Element::Event { event: Event::Integrity(entry), body: json.to_string() },
        Ok(Reading::Foreign(foreign)) => match foreign {
            Foreign::OtherLog => return foreign_or_sent(&json, Ignored::OtherLog, received),
            Foreign::OtherResource => return foreign_or_sent(&json, Ignored::OtherResource, received),
            Foreign::OtherProject => Element::Ignored(Ignored::OtherProject),
            Foreign::UnknownEvent => Element::Ignored(Ignored::UnknownIntegrityEvent),
            Foreign::OtherAudit => Element::Ignored(Ignored::OtherAudit),
        },
        Err(error) => {
            let body = json.to_string();
            let sent = if json.is_object() { None } else { events(&body, received) };
            return sent.unwrap_or_else(|| vec![unreadable(error.0, &body)]);
        }
    };
    vec![element]
}

/// What is no entry of ours is read as what senders deliver at the other doors: Sysdig and falcosidekick can send
/// their events by Pub/Sub, and a log sink what Falco writes. What holds no event, nor seems to, is ignored as the
/// entry it is.
fn foreign_or_sent(json: &Value, foreign: Ignored, received: DateTime<Utc>) -> Vec<Element> {
    let text = json.to_string();
    let found = match delivery(text.as_bytes(), received) {
        Ok(found) => found,
        Err(error) => return vec![unreadable(error.to_string(), &text)],
    };
    let is_kept = |element: &Element| matches!(element, Element::Event { .. } | Element::Unreadable { .. });
    let is_known = |element: &Element| matches!(element, Element::Ignored(_));
    if found.iter().any(is_kept) || !is_entry(json) && !found.is_empty() && found.iter().all(is_known) {
        return found;
    }
    vec![Element::Ignored(foreign)]
}

/// The elements of what is no JSON object, such as a batch, where an event is among them.
fn events(text: &str, received: DateTime<Utc>) -> Option<Vec<Element>> {
    match delivery(text.as_bytes(), received) {
        Ok(found) => found.iter().any(|element| matches!(element, Element::Event { .. })).then_some(found),
        Err(error @ NormalizeError::TooMany) => Some(vec![unreadable(error.to_string(), text)]),
        Err(_) => None,
    }
}

fn is_entry(json: &Value) -> bool {
    ["jsonPayload", "protoPayload", "textPayload", "logName"].iter().any(|name| json.get(name).is_some())
}

/// A body of the ledger read again, when it is one of ours and one element.
pub(super) fn stored(body: &str, received: DateTime<Utc>) -> Option<Element> {
    let json: Value = serde_json::from_str(body).ok()?;
    let is_message = json.get("messageId").is_some() || json.get("message_id").is_some();
    let item = match is_entry(&json) {
        true => Item::Entry(json),
        false if is_message => envelope::message(&json),
        false => return None,
    };
    let mut elements = elements(item, received);
    if elements.len() == 1 { elements.pop() } else { None }
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
    fn what_is_no_entry_of_ours_is_read_as_at_the_other_doors() {
        let now = Utc::now();
        let sysdig = json!({"id": "17dec715376910362c8c3f6200000001", "type": "policy",
            "timestamp": 1_720_031_001_639_981_110_u64, "name": "P", "severity": 5,
            "content": {"policyId": 544, "ruleName": "Redirect", "fields": {"proc.name": "bash"}}});
        let falco = json!({"output": "11:06:09.8: Notice A shell",
            "output_fields": {"evt.time": 1_726_547_969_874_686_373_u64},
            "priority": "Notice", "rule": "Terminal shell", "source": "syscall", "hostname": "node-1"});
        let entry = |payload: &Value| {
            json!({"insertId": "i", "logName": "projects/p/logs/stdout", "resource": {"type": "k8s_container"},
                "timestamp": "2026-11-20T08:00:01.8Z", "jsonPayload": payload})
        };
        let lines = format!("{sysdig}\n{falco}\n");
        let told = |data: &str| -> Vec<String> {
            let label = |element: &Element| match element {
                Element::Event { event: Event::Runtime(event), .. } => event.rule.clone().unwrap_or_default(),
                Element::Ignored(kind) => kind.label().to_owned(),
                Element::Unreadable { .. } => "kept".to_owned(),
                other => panic!("{other:?}"),
            };
            let found = elements(envelope::data_of(data.as_bytes()), now);
            // What is no event at any door is told in other words there.
            for element in found.iter().filter(|_| data.starts_with('{')) {
                if let Element::Event { body, .. } | Element::Unreadable { body, .. } = element {
                    assert!(super::super::stored(body, now).is_ok_and(|again| again == *element), "{body}");
                }
            }
            found.iter().map(label).collect()
        };
        for (data, elements) in [
            (sysdig.to_string(), vec!["Redirect"]),
            (falco.to_string(), vec!["Terminal shell"]),
            (json!([sysdig, falco]).to_string(), vec!["Redirect", "Terminal shell"]),
            (lines, vec!["Redirect", "Terminal shell"]),
            (entry(&falco).to_string(), vec!["Terminal shell"]),
            (entry(&json!({"deep": {"er": sysdig}})).to_string(), vec!["kept"]),
            (entry(&json!({"level": "info"})).to_string(), vec!["other_resource"]),
            (json!({"type": "audittrail", "content": {}}).to_string(), vec!["audit_trail"]),
            (json!({"anything": 1}).to_string(), vec!["other_log"]),
            ("[1]".to_owned(), vec!["kept"]),
            ("no JSON".to_owned(), vec!["kept"]),
        ] {
            assert_eq!(told(&data), elements, "{data}");
        }
    }

    #[test]
    fn a_token_never_comes_into_the_ledger() {
        let body = r#"{"token":"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln", broken"#;
        let Element::Unreadable { body, .. } = &elements(envelope::data_of(body.as_bytes()), Utc::now())[0] else {
            panic!()
        };
        assert!(body.contains("[token removed]") && !body.contains("eyJ"), "{body}");
        let entry = json!({"logName": "projects/p/logs/gotpm", "jsonPayload": {"token": "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln"}});
        assert_eq!(elements(Item::Entry(entry), Utc::now()), [Element::Ignored(Ignored::Gotpm)]);

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
            let element = format!("{:?}", elements(Item::Entry(entry), Utc::now()));
            assert!(element.contains("[token removed]") && !element.contains("eyJ"), "{place}: {element}");
        }
    }
}
