//! Every recorded shape, and what goes wrong with it.

mod derived;
mod falco;
mod hostile;
mod notifications;
mod places;
mod shipped;
mod sysdig;
mod texts;
mod wrapped;

use chrono::{DateTime, Utc};

use super::{Element, Ignored, NormalizeError, delivery, stored};
use crate::event::Event;
use crate::event::runtime::{Runtime, Shape};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../tests/data/", $name))
    };
}

/// Every fixture and how many elements it holds.
const FIXTURES: [(&str, usize); 24] = [
    (fixture!("sysdig/notification_2017.json"), 1),
    (fixture!("sysdig/notification_2018.json"), 1),
    (fixture!("sysdig/notification_2019.json"), 1),
    (fixture!("sysdig/notification_several_entities.json"), 4),
    (fixture!("sysdig/notification_with_new_events.json"), 1),
    (fixture!("sysdig/notification_ok.json"), 1),
    (fixture!("sysdig/notification_resolved.json"), 1),
    (fixture!("sysdig/notification_test.json"), 1),
    (fixture!("sysdig/forwarder_batch.json"), 2),
    (fixture!("sysdig/forwarder_batch.ndjson"), 2),
    (fixture!("sysdig/forwarder_broken_line.ndjson"), 3),
    (fixture!("sysdig/forwarder_single.json"), 1),
    (fixture!("sysdig/forwarder_quirks.json"), 1),
    (fixture!("sysdig/forwarder_other_types.json"), 3),
    (fixture!("sysdig/forwarder_test.json"), 1),
    (fixture!("sysdig/legacy_forwarder.json"), 1),
    (fixture!("sysdig/legacy_api_list.json"), 2),
    (fixture!("sysdig/monitor_alert.json"), 1),
    (fixture!("sysdig/api_page.json"), 4),
    (fixture!("falco/shell.json"), 1),
    (fixture!("falco/drop_and_execute.json"), 1),
    (fixture!("falco/several.ndjson"), 2),
    (fixture!("falco/expanded_by_shipper.json"), 1),
    (fixture!("falco/wrapped_by_services.ndjson"), 5),
];

fn received() -> DateTime<Utc> {
    "2026-11-22T04:00:00Z".parse().unwrap()
}

fn elements(body: &str) -> Vec<Element> {
    delivery(body.as_bytes(), received()).unwrap()
}

fn events(body: &str) -> Vec<Runtime> {
    let event = |element| match element {
        Element::Event { event: Event::Runtime(event), .. } => Some(*event),
        _ => None,
    };
    elements(body).into_iter().filter_map(event).collect()
}

fn only(body: &str) -> Runtime {
    let mut events = events(body);
    assert_eq!(events.len(), 1, "{body}");
    events.remove(0)
}

fn ignored(body: &str) -> Vec<Ignored> {
    let kind = |element| match element {
        Element::Ignored(kind) | Element::Unknown { kind, .. } => kind,
        other => panic!("not ignored: {other:?}"),
    };
    elements(body).into_iter().map(kind).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn every_element_of_every_fixture_gives_exactly_one_element() {
    for (body, count) in FIXTURES {
        assert_eq!(elements(body).len(), count, "{body}");
    }
}

#[test]
fn a_stored_body_gives_the_same_event_again() {
    for (body, _) in FIXTURES {
        for element in elements(body) {
            if let Element::Event { body, .. } = &element {
                assert_eq!(stored(body, received()).unwrap(), element);
            }
        }
    }
}

#[test]
fn sysdigs_event_with_some_of_falcos_members_is_sysdigs_wrapped_or_not() {
    let event = r#"{"id":"a1","type":"policy","content":{"ruleName":"r"},"rule":"r","priority":"Warning","time":"t"}"#;
    for body in [event.to_owned(), format!(r#"{{"log":{event}}}"#)] {
        let element = elements(&body).remove(0);
        let Element::Event { event: Event::Runtime(event), body } = &element else { panic!("{element:?}") };
        assert_eq!(event.shape, Shape::Forwarder);
        assert_eq!(stored(body, received()).unwrap(), element);
    }
}

#[test]
fn a_stored_event_with_a_log_entrys_member_is_still_an_event() {
    for (member, event) in
        [("textPayload", r#""content":{"ruleName":"r"}"#), ("messageId", r#""rule":"r","output_fields":{}"#)]
    {
        let element = elements(&format!(r#"{{"id":"a1","{member}":"",{event}}}"#)).remove(0);
        let Element::Event { body, .. } = &element else { panic!("{element:?}") };
        assert_eq!(stored(body, received()).unwrap(), element);
    }
}

#[test]
fn one_event_per_line_is_the_same_as_one_event_per_member() {
    let (array, lines) = (fixture!("sysdig/forwarder_batch.json"), fixture!("sysdig/forwarder_batch.ndjson"));
    assert_eq!(events(array), events(lines));
    let windows = lines.replace('\n', "\r\n");
    assert_eq!(events(array), events(&windows));
    assert_eq!(events(array), events(&format!("\u{feff} \n{array}\n\n")));
}

#[test]
fn a_broken_line_is_kept_and_the_others_go_on() {
    let found = elements(fixture!("sysdig/forwarder_broken_line.ndjson"));
    assert!(matches!(found[0], Element::Event { .. }));
    assert!(
        matches!(&found[1], Element::Unreadable { body, reason } if body.contains("17dec") && reason.contains("line"))
    );
    assert!(matches!(found[2], Element::Event { .. }));
}

#[test]
fn what_opens_no_finding_is_told_by_kind() {
    use Ignored::*;
    for (body, kinds) in [
        (fixture!("sysdig/notification_ok.json"), vec![Resolved]),
        (fixture!("sysdig/notification_resolved.json"), vec![Resolved]),
        (fixture!("sysdig/notification_test.json"), vec![Test]),
        (fixture!("sysdig/monitor_alert.json"), vec![MonitorAlert]),
        (fixture!("sysdig/forwarder_other_types.json"), vec![AuditTrail, Connection, Scanning]),
        (fixture!("sysdig/forwarder_test.json"), vec![Test]),
        (
            r#"{"output":"This is a test from falcosidekick","priority":"Debug","rule":"Test rule","time":"2025-05-18T10:18:15Z",
                "output_fields":{"proc.name":"falcosidekick","user.name":"falcosidekick"},"tags":["test","example"]}"#,
            vec![Test],
        ),
        (
            r#"{"output":"Falco metrics snapshot","priority":"Informational","rule":"Falco internal: metrics snapshot",
                "source":"internal","time":"2025-05-18T10:18:15Z","output_fields":{"falco.num_evts":276408}}"#,
            vec![SensorMetrics],
        ),
        ("{}", vec![Test]),
        ("[]", vec![]),
        ("null", vec![Empty]),
        (r#"{"hello":"world"}"#, vec![Unrecognised]),
        (r#"{"type":"somethingNew"}"#, vec![OtherType]),
        (r#"{"originator":"benchmarks","content":{"x":1}}"#, vec![Compliance]),
        (r#"{"type":"command","content":{"x":1}}"#, vec![Command]),
        (
            r#"{"id":"1","timestamp":"2023-11-22T11:16:28Z","originator":"platform","category":"","source":"auditTrail","name":"",
                "description":"","severity":0,"content":{"requestMethod":"GET","requestUri":"/api/x"},"labels":{}}"#,
            vec![AuditTrail],
        ),
        (r#"{"id":"1","source":"auditTrail","severity":0,"content":{"timestampNs":1}}"#, vec![AuditTrail]),
        (r#"{"id":"1","severity":0,"content":{"requestMethod":"PUT","requestUri":"/api/x"}}"#, vec![AuditTrail]),
    ] {
        assert_eq!(ignored(body), kinds, "{body}");
    }
}

#[test]
fn one_unreadable_element_does_not_stop_the_others() {
    let body = r#"[{"id":"a1","content":{"ruleName":"r"}}, 5, "x", {"type":"policy"}, {"id":"a2","content":{}}]"#;
    let found = elements(body);
    let reasons: Vec<_> = found
        .iter()
        .map(|element| match element {
            Element::Unreadable { reason, .. } => reason.as_str(),
            _ => "",
        })
        .collect();
    assert_eq!(reasons[1], "the element is a number, not an object");
    assert_eq!(reasons[2], "the element is a string, not an object");
    assert!(reasons[3].contains("`id`"));
    assert_eq!(events(body).len(), 2);
}

#[test]
fn one_good_line_among_broken_ones_is_taken() {
    let found = elements("{\"id\": \"br1\n{\"id\": \"br2\n{\"type\":\"policy\",\"id\":\"c1\",\"name\":\"x\"}");
    let broken = found.iter().filter(|element| matches!(element, Element::Unreadable { .. })).count();
    assert_eq!((found.len(), broken), (3, 2), "{found:?}");
    assert!(delivery("{\n".repeat(2_000_000).as_bytes(), received()).is_err(), "rubbish is refused at once");
}
