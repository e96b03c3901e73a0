//! What shippers make of events on the way: names taken apart, wrappers of all kinds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/data/", $name))
    };
}

/// What a shipper makes of names with dots.
fn apart(flat: &Value) -> Value {
    let mut whole = json!({});
    for (name, value) in flat.as_object().unwrap() {
        let place = name.split('.').fold(&mut whole, |place, part| {
            let members = place.as_object_mut().expect("no name here is the beginning of another");
            members.entry(part).or_insert_with(|| Value::Object(Map::new()))
        });
        *place = value.clone();
    }
    whole
}

#[test]
fn names_that_were_taken_apart_are_the_same_event() {
    let falco = fixture!("falco/shell.json");
    assert_eq!(only(fixture!("falco/expanded_by_shipper.json")), only(falco), "its id, too");
    let mut sysdig: Value = serde_json::from_str(fixture!("sysdig/forwarder_single.json")).unwrap();
    let flat = only(&sysdig.to_string());
    for place in ["/labels", "/content/fields"] {
        let told = sysdig.pointer_mut(place).unwrap();
        *told = apart(told);
    }
    assert_eq!(only(&sysdig.to_string()), flat);
    let only_clock = json!({"rule": "R", "priority": "Notice", "output": "o",
        "output_fields": {"evt": {"time": 1_526_547_969_874_686_373_i64}, "container": {"id": "host"}}});
    let event = only(&only_clock.to_string());
    assert_eq!((event.untimed, event.container.id), (false, None));
}

#[test]
fn a_name_that_is_there_as_it_should_be_counts() {
    let event = |fields: Value| {
        let event = json!({"rule": "R", "priority": "Notice", "output": "o", "time": "2025-05-18T10:18:15Z",
            "output_fields": fields});
        only(&event.to_string())
    };
    let told = event(json!({"proc.name": "sh", "proc": {"name": "other", "env": "A=hush", "pid": 7}}));
    assert_eq!((told.field("proc.name"), told.field("proc.pid")), (Some("sh"), Some("7")));
    assert_eq!((told.field("proc"), told.field("proc.env")), (None, None));
    let many: Map<String, Value> = (0..5_000).map(|n| (format!("k{n}"), json!(n))).collect();
    let told = event(json!({"proc.name": "sh", "many": many}));
    assert_eq!((told.fields.iter().count(), told.field("proc.name")), (1_000, Some("sh")));
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
    for body in [
        json!([{"log": format!("2025-05-18T10:18:15.6Z stdout F {falco}\n"), "stream": "stdout"}]),
        json!({"message": format!("<134>1 2025-05-18T10:18:15.6Z node-1 falco 7 - - {falco}"), "facility": 16}),
        json!({"message": format!("[2025-05-18 10:18:15] falco: {falco} (end)")}),
        json!({"message": {"data": base64, "messageId": "1"}, "subscription": "projects/acme/subscriptions/falco"}),
        json!({"requestId": "r", "timestamp": 1_578_090_901_599_i64, "records": [{"data": base64}]}),
        json!({"records": [{"topic": "falco", "value": base64}]}),
    ] {
        assert_eq!(events(&body.to_string()), std::slice::from_ref(&alone), "{body}");
    }
    let lines = json!({"log": format!("{falco}\n{}", falco.replace("web-1", "web-2"))});
    assert_eq!(events(&lines.to_string()).len(), 2, "several in a row");
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
        (json!({"streams": [{"line": format!("F {falco}")}]}), "output_fields"),
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

/// An event of Falco on one line, with this rule.
fn line(rule: &str) -> String {
    json!({"output": "o", "output_fields": {"proc.name": "x"}, "priority": "Warning", "rule": rule,
        "time": "2025-05-18T10:18:15Z"})
    .to_string()
}

/// The rules of the events in `body`, then how many elements were kept, each with the reason that something breaks off.
fn rules_and_kept(body: &str) -> (String, usize) {
    let found = elements(body);
    let kept: Vec<_> = found.iter().filter(|element| matches!(element, Element::Unreadable { .. })).collect();
    for element in &kept {
        let Element::Unreadable { reason, body } = element else { continue };
        assert!(reason.contains("breaks off"), "{reason}");
        assert_eq!(stored(body, received()).unwrap(), **element, "read again it is the same");
    }
    let rules: Vec<_> = events(body).into_iter().filter_map(|event| event.rule).collect();
    (rules.join(""), kept.len())
}

#[test]
fn every_event_in_a_text_is_taken_and_what_breaks_off_is_kept() {
    let (a, b, c) = (line("a"), line("b"), line("c"));
    let cut = &b[..b.len() - 20];
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&b).unwrap()).unwrap();
    let cut_pretty = &pretty[..pretty.len() - 20];
    for (text, rules, kept) in [
        (format!("<13>Nov 23 h falco[1]: {a}\n<13>Nov 23 h falco[1]: {b}"), "ab", 0),
        (format!("2025-05-18T10:18:15.6Z stdout F {a}\n2025-05-18T10:18:15.6Z stdout F {b}\n"), "ab", 0),
        (format!("{a}\n2025-05-18T10:18:15.6Z stdout F {b}"), "ab", 0),
        (format!("{a}\nWed Nov 23: Falco internal: syscall event drop.\n{b}\n"), "ab", 0),
        (format!("{a},{b}"), "ab", 0),
        (format!("[{a},{b}] trailing {c}"), "abc", 0),
        (format!("{a}\n{cut}"), "a", 1),
        (format!("{a}\n{cut}\n{c}"), "ac", 1),
        (format!("{cut}\n{a}\nplain\n{c}"), "ac", 1),
        (format!("{a}\n{{\"output_fields\":\n{c}"), "ac", 1),
        (format!("h falco: {pretty}\nh falco: {c}"), "bc", 0),
        (format!("{a}\n{cut_pretty}\n{c}"), "ac", 1),
        (format!("[12345] falco: {a}"), "a", 0),
        (format!("[ 1234.567890] falco: {a}"), "a", 0),
        (format!("[12345] {a}"), "a", 0),
        (format!("falco{{1}}: {a}"), "a", 0),
        (format!("{{falco}} {a}"), "a", 0),
        (format!("{{{a}"), "a", 0),
        (format!("level=info msg={}", json!(a)), "a", 0),
        (format!("level=info msg={} a=\"{{x}}\" msg=\"{b}\"", json!(a)), "ab", 0),
        (format!("msg='{a}'"), "a", 0),
        (json!(a).to_string(), "a", 0),
        (cut.to_owned(), "", 1),
        (format!("2025-05-18T10:18:15.6Z stdout P {cut}"), "", 1),
        (format!("level=info msg={}", &json!(b).to_string()[..100]), "", 1),
        (b[20..].to_owned(), "", 1),
    ] {
        for body in [json!({"message": text}), json!({"event": {"original": text}})] {
            assert_eq!(rules_and_kept(&body.to_string()), (rules.to_owned(), kept), "{text}");
        }
    }
}

#[test]
fn an_event_that_breaks_off_is_kept_beside_one_in_another_member() {
    let (a, b) = (line("a"), line("b"));
    let cut = &b[..b.len() - 20];
    let body = json!({"event": serde_json::from_str::<Value>(&a).unwrap(), "message": cut, "log": "plain"});
    assert_eq!(rules_and_kept(&body.to_string()), ("a".to_owned(), 1));
    let twice = json!({"log": format!("{a}\n{cut}"), "message": format!("{a}\n{cut}")});
    assert_eq!(rules_and_kept(&twice.to_string()), ("a".to_owned(), 1), "once, as the event beside it");
}

#[test]
fn lines_of_a_log_among_lines_of_json_are_read_as_those_in_a_wrapper() {
    let (a, b, c) = (line("a"), line("b"), line("c"));
    let cut = &b[..b.len() - 20];
    let read = |body: String| {
        let found = elements(&body);
        let kept = found.iter().filter(|element| matches!(element, Element::Unreadable { .. })).count();
        let rules: Vec<_> = events(&body).into_iter().filter_map(|event| event.rule).collect();
        (rules.join(""), kept)
    };
    assert_eq!(read(format!("{a}\nh falco[1]: {b}\n{c}")), ("abc".to_owned(), 0));
    assert_eq!(read(format!("{a}\n{b}{c}\nplain")), ("abc".to_owned(), 1));
    assert_eq!(read(format!("{a}\n{b} {cut}\n{c}")), ("abc".to_owned(), 1));
    assert_eq!(read(format!("{a}\n{cut}\n{c}")), ("ac".to_owned(), 1));
}

#[test]
fn texts_that_only_look_like_values_are_read_in_time() {
    for text in ["{\"a\":[", "[\n", "{\"a\":\n", "\"{", "\"{\\\"", "{x", "[1]", "{\"a\":\"{"] {
        let body = json!({"message": format!("output_fields {}", text.repeat(200_000 / text.len()))}).to_string();
        assert_eq!(ignored(&body), [Ignored::Unrecognised], "{text}");
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
    for (name, value) in [("message", format!("stdout F {falco}")), ("data", STANDARD.encode(falco))] {
        entry["jsonPayload"][name] = json!(value);
        let element = stored(&entry.to_string(), received()).unwrap();
        assert!(matches!(element, Element::Event { event: Event::Integrity(_), .. }), "{element:?}");
    }
    let no_base64 = json!({"messageId": "1", "data": format!("stdout F {falco}")});
    let element = stored(&no_base64.to_string(), received()).unwrap();
    assert!(matches!(&element, Element::Unreadable { reason, .. } if reason.contains("not base64")), "{element:?}");
}
