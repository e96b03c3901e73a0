//! What came by Pub/Sub → elements: a Cloud Logging entry about a Shielded VM, or what senders of events put there,
//! read as at the other doors.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Element, Ignored, NormalizeError, delivery};
use crate::attest::gotpm;
use crate::event::Event;
use crate::integrity::envelope::{self, Item};
use crate::integrity::{Foreign, Reading, read};
use crate::text::{ellipsis, surrogates, tokens};

/// The most of a message that could not be read that is kept, in bytes. Logging's entries have at most 256 KiB.
const LARGEST_KEPT: usize = 1024 * 1024;

/// What one message turned out to be.
pub fn elements(item: Item, received: DateTime<Utc>) -> Vec<Element> {
    let json = match item {
        Item::NoData => return vec![Element::Ignored(Ignored::Empty)],
        Item::Unreadable { reason, body } => {
            // A message that could not be decoded is JSON itself; data that is not may be events, one a line. Which of them
            // hold bytes that are not UTF-8, only the bytes tell.
            let is_message =
                std::str::from_utf8(&body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
            let sent = if is_message { None } else { events(&body, received) };
            return sent.unwrap_or_else(|| vec![unreadable(reason, &String::from_utf8_lossy(&body))]);
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
            let sent = if json.is_object() { None } else { events(body.as_bytes(), received) };
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
        Ok(found) => without_tokens(found, received),
        Err(error) => return vec![unreadable(error.to_string(), &text)],
    };
    let is_kept = |element: &Element| matches!(element, Element::Event { .. } | Element::Unreadable { .. });
    let is_known = |element: &Element| matches!(element, Element::Ignored(_));
    if found.iter().any(is_kept) || !is_entry(json) && !found.is_empty() && found.iter().all(is_known) {
        return found;
    }
    vec![Element::Ignored(foreign)]
}

/// The elements of what is no JSON object, such as a batch: where an event is among them, or where the others are known to
/// be none, and what cannot be read of it is kept.
fn events(body: &[u8], received: DateTime<Utc>) -> Option<Vec<Element>> {
    let is_event = |element: &Element| matches!(element, Element::Event { .. });
    let is_known = |element: &Element| match element {
        Element::Ignored(kind) => !matches!(kind, Ignored::Empty | Ignored::OtherType | Ignored::Unrecognised),
        _ => false,
    };
    let is_told = |element: &Element| is_known(element) || matches!(element, Element::Unreadable { .. });
    match delivery(body, received) {
        Ok(found) => {
            let is_sent = found.iter().any(is_event) || found.iter().any(is_known) && found.iter().all(is_told);
            is_sent.then(|| without_tokens(found, received))
        }
        Err(error @ NormalizeError::TooMany) => {
            Some(vec![unreadable(error.to_string(), &String::from_utf8_lossy(body))])
        }
        Err(_) => None,
    }
}

/// The elements without the tokens in them: what came in base64 or as bytes is known only now. An event is read again from
/// what is left of it.
fn without_tokens(found: Vec<Element>, received: DateTime<Utc>) -> Vec<Element> {
    let without = |element| match element {
        Element::Event { event, body } => match cleaned(&body) {
            Some(body) => read_again(body, received),
            None => Element::Event { event, body },
        },
        Element::Unreadable { reason, body } => {
            Element::Unreadable { reason: tokens::without(&reason).into_owned(), body: cleaned(&body).unwrap_or(body) }
        }
        Element::Unknown { kind, members } => {
            Element::Unknown { kind, members: tokens::without(&members).into_owned() }
        }
        ignored @ Element::Ignored(_) => ignored,
    };
    found.into_iter().map(without).collect()
}

/// A body without its tokens; `None` when there are none in it.
fn cleaned(body: &str) -> Option<String> {
    // A token begins with these letters, unless they are escaped.
    if !body.contains("eyJ") && !body.contains("\\u00") {
        return None;
    }
    let Ok(json) = surrogates::read::<Value>(body) else {
        return Some(tokens::without(body)).filter(|without| matches!(without, Cow::Owned(_))).map(Cow::into_owned);
    };
    let without = tokens::all_without(json.clone());
    (without != json).then(|| without.to_string())
}

fn read_again(body: String, received: DateTime<Utc>) -> Element {
    let found = delivery(body.as_bytes(), received).unwrap_or_default();
    match <[Element; 1]>::try_from(found) {
        Ok([element]) => element,
        Err(_) => unreadable("without the tokens in it, it cannot be read as one event".to_owned(), &body),
    }
}

fn is_entry(json: &Value) -> bool {
    ["jsonPayload", "protoPayload", "textPayload", "logName"].iter().any(|name| json.get(name).is_some())
}

/// A body of the ledger read again, when it is one of ours and one element.
pub(super) fn stored(body: &str, received: DateTime<Utc>) -> Option<Element> {
    let json: Value = surrogates::read(body).ok()?;
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
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
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
        let known = json!({"type": "audittrail", "content": {}});
        let metrics = json!({"output": "o", "output_fields": {}, "priority": "Informational",
            "rule": "Falco internal: metrics snapshot"});
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
            (falco.to_string().replace("Notice A", "\\ud83d A"), vec!["Terminal shell"]),
            (json!([sysdig, falco]).to_string(), vec!["Redirect", "Terminal shell"]),
            (lines, vec!["Redirect", "Terminal shell"]),
            (entry(&falco).to_string(), vec!["Terminal shell"]),
            (entry(&json!({"deep": {"er": sysdig}})).to_string(), vec!["kept"]),
            (entry(&json!({"level": "info"})).to_string(), vec!["other_resource"]),
            (json!({"type": "audittrail", "content": {}}).to_string(), vec!["audit_trail"]),
            (json!({"anything": 1}).to_string(), vec!["other_log"]),
            (json!([known, known]).to_string(), vec!["audit_trail", "audit_trail"]),
            (format!("{known}\n{known}"), vec!["audit_trail", "audit_trail"]),
            (format!("{metrics}\n{metrics}"), vec!["sensor_metrics", "sensor_metrics"]),
            (json!([known, 1]).to_string(), vec!["audit_trail", "kept"]),
            (json!([known, {"anything": 1}]).to_string(), vec!["kept"]),
            ("[null]".to_owned(), vec!["kept"]),
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
        let event = json!({"output": "o", "output_fields": {"proc.cmdline": format!("curl -H {token}")},
            "priority": "Notice", "rule": "R", "hostname": "node-1"})
        .to_string();
        let cut = event[..event.len() - 1].to_owned();
        let escaped = event.replace("eyJh", "\\u0065yJh");
        for said in [&event, &cut, &escaped] {
            let encoded = STANDARD.encode(said);
            let log = |payload: Value| json!({"logName": "projects/p/logs/x", "jsonPayload": payload}).to_string();
            for data in [
                json!({"specversion": "1.0", "data_base64": encoded}).to_string(),
                json!([{"specversion": "1.0", "data_base64": encoded}]).to_string(),
                log(json!({"MESSAGE": said.as_bytes()})),
                format!("{said}\n{event}"),
            ] {
                let found = elements(envelope::data_of(data.as_bytes()), Utc::now());
                let told = format!("{found:?}");
                assert!(!told.contains(token) && !told.contains("u0065"), "{data}: {told}");
                let is_whole = matches!(found[0], Element::Event { .. });
                assert_eq!(is_whole, *said != cut, "{data}: {told}");
            }
        }
    }

    #[test]
    fn an_event_of_falco_is_one_by_whichever_door_it_comes() {
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln";
        for fields in [
            r#"{"proc.name":"bash","evt.args":1.50,"a":1e22}"#.to_owned(),
            r#"{"z":[{"y":1,"x":{"q":2,"p":3}}],"proc":{"name":"b","aname":"z"},"labels":{"b":1,"a":2,"b":3}}"#
                .to_owned(),
            format!(r#"{{"proc.cmdline":"curl -H {token}","c":[{{"b":"{token}","a":1}}]}}"#),
        ] {
            let sent = format!(
                r#"{{"rule":"R","priority":"Notice","time":"2026-11-20T08:00:01Z","output":"o {token}","output_fields":{fields}}}"#
            );
            let id = |found: &[Element]| match found {
                [Element::Event { event: Event::Runtime(event), .. }] => event.id.clone(),
                other => panic!("{other:?}"),
            };
            let (posted, pushed) = (delivery(sent.as_bytes(), Utc::now()), envelope::data_of(sent.as_bytes()));
            assert_eq!(id(&posted.unwrap()), id(&elements(pushed, Utc::now())), "{sent}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_cost_only_their_own_element() {
        let event =
            |rule: &str| json!({"output": "o", "output_fields": {}, "priority": "Notice", "rule": rule}).to_string();
        for (data, rules) in [
            (format!("{}\n{}", event("a"), event("BAD")), "a-"),
            (format!("[{},{}]", event("BAD"), event("b")), "-b"),
            (format!("{}\n{}", event("a"), event("\u{fffd}")), "a\u{fffd}"),
            (event("BAD"), "-"),
        ] {
            let bytes: Vec<u8> = data.as_bytes().split(|byte| *byte == b'B').collect::<Vec<_>>().join(&0xff);
            let rule = |element: &Element| match element {
                Element::Event { event: Event::Runtime(event), .. } => event.rule.clone().unwrap_or_default(),
                Element::Unreadable { .. } => "-".to_owned(),
                other => panic!("{other:?}"),
            };
            let found = elements(envelope::data_of(&bytes), Utc::now());
            assert_eq!(found.iter().map(rule).collect::<String>(), rules, "{data}");
        }
    }
}
