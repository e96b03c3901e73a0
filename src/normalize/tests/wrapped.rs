//! What shippers and services put around an event.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/data/", $name))
    };
}

#[test]
fn an_event_in_a_shippers_wrapper_is_taken_as_if_it_came_alone() {
    let sysdig = fixture!("sysdig/forwarder_single.json");
    let falco = fixture!("falco/shell.json");
    let text = |event: &str| serde_json::to_string(&format!("{event}\n")).unwrap();
    for (event, wrapped) in [
        (sysdig, format!(r#"{{"time":1763805600,"sourcetype":"sysdig","event":{sysdig}}}"#)),
        (falco, format!(r#"[{{"date":1763805600.1,"log":{},"stream":"stdout"}}]"#, text(falco))),
        (sysdig, format!(r#"{{"@timestamp":"2025-11-22T10:00:00Z","message":{}}}"#, text(sysdig))),
        (
            falco,
            format!(
                r#"{{"specversion":"1.0","id":"x","source":"https://falco.org","type":"falco.rule.output.v1","data":{falco}}}"#
            ),
        ),
        (sysdig, format!(r#"{{"events":[{sysdig}]}}"#)),
        (sysdig, format!(r#"{{"data":{sysdig}}}"#)),
        (sysdig, format!(r#"{{"policyEvent":{sysdig}}}"#)),
        (sysdig, format!(r#"{{"event":{{"kind":"alert","original":{}}}}}"#, text(sysdig))),
        (sysdig, format!(r#"{{"payload":{}}}"#, text(&format!("[{sysdig}]")))),
        (sysdig, format!(r#"{{"message":"a test","event":{sysdig}}}"#)),
    ] {
        assert_eq!(only(&wrapped), only(event), "{wrapped}");
        let element = elements(&wrapped).remove(0);
        let Element::Event { body, .. } = &element else { panic!("{element:?}") };
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(body).unwrap(),
            serde_json::from_str::<serde_json::Value>(event).unwrap()
        );
        assert_eq!(stored(body, received()).unwrap(), element);
    }
    let several = format!(r#"{{"records":[{falco},{sysdig},{{"type":"audittrail"}}]}}"#);
    assert_eq!((elements(&several).len(), events(&several).len()), (3, 2));
    let notification = format!(r#"{{"event":{}}}"#, fixture!("sysdig/notification_several_entities.json"));
    assert_eq!(events(&notification), events(fixture!("sysdig/notification_several_entities.json")));
}

#[test]
fn what_is_in_a_wrapper_and_no_event_becomes_none() {
    use Ignored::*;
    let monitor = fixture!("sysdig/monitor_alert.json");
    for (body, kind) in [
        (format!(r#"{{"event":{monitor}}}"#), MonitorAlert),
        (
            r#"{"timestamp":1,"alert":{"id":3,"name":"cpu"},"event":{"id":99,"url":"https://x/","username":"u"}}"#
                .into(),
            Unrecognised,
        ),
        (r#"{"event":{"type":"audittrail","content":{"requestMethod":"GET"}}}"#.into(), AuditTrail),
        (
            r#"{"data":{"rule":"allow-dns","priority":100,"time":"2025-11-23T07:00:00Z","action":"accept"}}"#.into(),
            Unrecognised,
        ),
        (r#"{"message":{"data":"e30=","messageId":"1"},"subscription":"s"}"#.into(), Unrecognised),
        (r#"{"log":"{\"content\":{\"a\":1},\"id\":5,\"name\":\"x\"}"}"#.into(), Unrecognised),
        (r#"{"log":"{\"type\":\"policy\",\"name\":\"x\"}"}"#.into(), Unrecognised),
        (r#"{"log":"GET / 200","stream":"stdout"}"#.into(), Unrecognised),
        (r#"{"event":5,"data":[],"records":[1,null],"type":"x"}"#.into(), OtherType),
        (r#"{"message":"this is a test"}"#.into(), Test),
    ] {
        assert_eq!(ignored(&body), [kind], "{body}");
    }
    let names = |body: &str| match elements(body).remove(0) {
        Element::Unknown { members, .. } => members,
        other => panic!("{other:?}"),
    };
    assert_eq!(names(r#"{"meta":{"k":"hush"},"sid":"hush","b\u0007":1}"#), "meta, sid, b ");
    let many: Vec<String> = (0..40).map(|n| format!(r#""{n}{}":1"#, "x".repeat(100))).collect();
    assert!(names(&format!("{{{}}}", many.join(","))).len() < 1_400);
}

#[test]
fn what_services_wrap_around_an_event_is_taken_off() {
    let alone = only(fixture!("falco/shell.json"));
    let wrapped = events(fixture!("falco/wrapped_by_services.ndjson"));
    assert_eq!(wrapped, vec![alone.clone(); 5]);
    let unpadded = json!({"specversion": "1.0", "data_base64": "eyJydWxlIjoiUiIsIm91dHB1dF9maWVsZHMiOnt9fQ"});
    assert_eq!(only(&unpadded.to_string()).rule, some("R"));
    let falco = fixture!("falco/shell.json");
    let base64 = STANDARD.encode(falco);
    let object: Value = serde_json::from_str(falco).unwrap();
    let mut as_parsed = object.clone();
    as_parsed.as_object_mut().unwrap().remove("time").unwrap();
    for body in [
        json!([{"log": format!("2025-05-18T10:18:15.6Z stdout F {falco}\n"), "stream": "stdout"}]),
        json!({"message": format!("<134>1 2025-05-18T10:18:15.6Z node-1 falco 7 - - {falco}"), "facility": 16}),
        json!({"message": format!("[2025-05-18 10:18:15] falco: {falco} (end)")}),
        json!({"MESSAGE": format!("\u{1b}[0m{falco}").as_bytes()}),
        json!({"MESSAGE": falco, "_SYSTEMD_UNIT": "falco-modern-bpf.service", "PRIORITY": "4"}),
        json!({"message": {"data": base64, "messageId": "1"}, "subscription": "projects/acme/subscriptions/falco"}),
        json!({"requestId": "r", "timestamp": 1_578_090_901_599_i64, "records": [{"data": base64}]}),
        json!({"records": [{"topic": "falco", "value": base64}]}),
        json!([{"insertId": "i", "logName": "projects/p/logs/stdout", "timestamp": "2026-11-20T08:00:01.8Z",
            "textPayload": falco}]),
        json!({"date": 1.5, "log": falco, "log_processed": object, "kubernetes": {"pod_name": "falco-x"}}),
        json!({"date": 1.5, "log": falco, "log_processed": as_parsed}),
        json!({"date": 1.5, "log_processed": object, "kubernetes": {"pod_name": "falco-x"}}),
        json!({"@timestamp": "x", "agent": {"type": "filebeat"}, "log": {"offset": 1}, "json": object}),
        json!({"stream": "stdout", "parsed": object}),
        json!({"version": "1.1", "host": "h", "short_message": falco, "level": 5}),
    ] {
        assert_eq!(events(&body.to_string()), std::slice::from_ref(&alone), "{body}");
    }
    let lines = json!({"log": format!("{falco}\n{}", falco.replace("web-1", "web-2"))});
    assert_eq!(events(&lines.to_string()).len(), 2, "several in a row");
}

#[test]
fn an_event_of_falco_without_a_time_has_that_of_the_log_entry_it_is_in() {
    let event = json!({"rule": "R", "priority": "Notice", "output": "o", "output_fields": {"proc.name": "sh"}});
    let entry = |member: &str, payload: Value| json!({"insertId": "i", "logName": "projects/p/logs/stdout", "timestamp": "2026-11-20T08:00:01.8Z", member: payload});
    let logged = "2026-11-20T08:00:01.8Z".parse::<DateTime<Utc>>().unwrap();
    let in_push = STANDARD.encode(entry("jsonPayload", event.clone()).to_string());
    for body in [
        entry("jsonPayload", event.clone()),
        entry("textPayload", json!(event.to_string())),
        entry("jsonPayload", json!({"message": format!("{event}\n")})),
        json!({"message": {"data": in_push, "messageId": "1"}, "subscription": "s"}),
    ] {
        let told = only(&body.to_string());
        assert_eq!((told.time, told.untimed), (logged, false), "{body}");
        let element = elements(&body.to_string()).remove(0);
        let Element::Event { body: kept, .. } = &element else { panic!("{element:?}") };
        assert_eq!(stored(kept, "2027-01-01T00:00:00Z".parse().unwrap()).unwrap(), element, "read again later");
    }
    let mut own = event.clone();
    own["output_fields"]["evt.time"] = json!(1_526_547_969_874_686_373_i64);
    assert_eq!(only(&entry("jsonPayload", own.clone()).to_string()), only(&own.to_string()), "its own counts");
    for body in [
        json!({"timestamp": "2026-11-20T08:00:01.8Z", "message": event}),
        json!({"timestamp": "soon", "textPayload": event.to_string()}),
    ] {
        assert_eq!(only(&body.to_string()).time, received(), "{body}");
    }
}

#[test]
fn every_member_that_holds_an_event_is_taken_once() {
    let falco: Value = serde_json::from_str(fixture!("falco/shell.json")).unwrap();
    let mut other = falco.clone();
    other["rule"] = json!("Another");
    let rules = |body: Value| events(&body.to_string()).into_iter().filter_map(|event| event.rule).collect::<Vec<_>>();
    let (shell, another) = ("Terminal shell in container", "Another");
    assert_eq!(rules(json!({"event": falco, "message": other.to_string()})), [shell, another]);
    for twice in [falco.to_string(), fixture!("falco/shell.json").to_owned()] {
        assert_eq!(rules(json!({"event": {"original": twice}, "message": twice})), [shell]);
        assert_eq!(rules(json!({"event": falco, "message": twice, "log": other})), [shell, another]);
    }
}

#[test]
fn a_push_of_a_shielded_vm_is_no_event_at_the_door_for_events() {
    let entry = include_str!("../../../tests/data/integrity/late_failed_pcr4_changed_pcr14_new.json");
    let push = json!({"message": {"data": STANDARD.encode(entry), "messageId": "1"}, "subscription": "s"});
    assert_eq!(ignored(&push.to_string()), [Ignored::Unrecognised]);
}

#[test]
fn an_event_where_none_is_looked_for_is_kept_with_its_reason() {
    let falco: Value = serde_json::from_str(fixture!("falco/shell.json")).unwrap();
    let sysdig: Value = serde_json::from_str(fixture!("sysdig/forwarder_single.json")).unwrap();
    let notification: Value = serde_json::from_str(fixture!("sysdig/notification_2019.json")).unwrap();
    let deep = (0..4).fold(falco.clone(), |inner, _| json!({"data": inner}));
    for (body, sign) in [
        (deep, "output_fields"),
        (json!({"hits": {"hits": [{"_source": falco}]}}), "output_fields"),
        (json!({"streams": [{"values": [["1763800001639981110", falco.to_string()]]}]}), "output_fields"),
        (json!({"type": "x", "test": {"alert": sysdig}}), "content.ruleName"),
        (json!({"alert": {"entity": notification["entities"][0]}}), "policyEvents"),
        (json!({"streams": [{"line": format!("2025-05-18T10:18:15.6Z stdout F {falco}")}]}), "output_fields"),
        (
            json!({"falco": {"rule": "R", "priority": "Warning", "output": "o", "time": "2025-05-18T10:18:15Z"}}),
            "`output`",
        ),
    ] {
        let body = body.to_string();
        let found = elements(&body);
        let [Element::Unreadable { reason, body: kept }] = found.as_slice() else { panic!("{found:?}") };
        assert!(reason.contains(sign) && reason.contains("send the event itself"), "{reason}");
        assert_eq!(*kept, body);
        assert_eq!(stored(&body, received()).unwrap(), found[0]);
    }
    let several = json!({"records": [falco, {"odd": sysdig}]}).to_string();
    let found = elements(&several);
    assert!(matches!(found.as_slice(), [Element::Event { .. }, Element::Unreadable { .. }]), "{found:?}");
    for none in [
        json!({"message": "the rule has no output_fields", "rule": "x"}),
        json!({"a": {"rule": {"name": "x"}, "output_fields": {}}}),
        json!({"log": "output_fields: broken, \"output_fields\" too"}),
        json!({"log": "{\"priority\": 5, \"text\": broken"}),
        json!({"alert": {"rule": "x", "priority": "P1", "output": "y"}}),
    ] {
        assert_eq!(ignored(&none.to_string()), [Ignored::Unrecognised], "{none}");
    }
}

#[test]
fn a_stored_log_entry_stays_one_whatever_it_holds() {
    let mut entry: Value =
        serde_json::from_str(include_str!("../../../tests/data/integrity/late_failed_pcr4_changed_pcr14_new.json"))
            .unwrap();
    let plain = stored(&entry.to_string(), received()).unwrap();
    let Element::Event { event: Event::Integrity(_), .. } = &plain else { panic!("{plain:?}") };
    for (rule, fields) in [(json!("R"), json!({})), (json!(5), json!({"x": {"rule": "R", "output_fields": {}}}))] {
        entry["jsonPayload"]["rule"] = rule;
        entry["jsonPayload"]["output_fields"] = fields;
        let element = stored(&entry.to_string(), received()).unwrap();
        assert!(matches!(element, Element::Event { event: Event::Integrity(_), .. }), "{element:?}");
    }
    let falco = fixture!("falco/shell.json");
    let mut other = entry.clone();
    other["textPayload"] = json!(falco);
    let element = stored(&other.to_string(), received()).unwrap();
    assert!(matches!(element, Element::Event { event: Event::Integrity(_), .. }), "{element:?}");
    for (name, value) in
        [("message", format!("2025-05-18T10:18:15.6Z stdout F {falco}")), ("data", STANDARD.encode(falco))]
    {
        entry["jsonPayload"][name] = json!(value);
        let element = stored(&entry.to_string(), received()).unwrap();
        assert!(matches!(element, Element::Event { event: Event::Integrity(_), .. }), "{element:?}");
    }
    let no_base64 = json!({"messageId": "1", "data": format!("2025-05-18T10:18:15.6Z stdout F {falco}")});
    let element = stored(&no_base64.to_string(), received()).unwrap();
    assert!(matches!(&element, Element::Unreadable { reason, .. } if reason.contains("not base64")), "{element:?}");
}
