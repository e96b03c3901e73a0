//! What no sender means to send: no JSON, too much of it, anything at all.

use proptest::prelude::*;

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/data/", $name))
    };
}

#[test]
fn what_is_no_json_is_refused_with_a_clear_answer() {
    for body in ["", "  \n", "\u{feff}"] {
        assert!(matches!(delivery(body.as_bytes(), received()), Err(NormalizeError::Empty)), "{body:?}");
    }
    for body in ["{", "[1,", "hello", "{\"a\":1,}", "{\n\"fields\": [\n{\"key\":\"a\"},\n{\"key\":\"b\"}\n", "a\nb\nc"]
    {
        assert!(matches!(delivery(body.as_bytes(), received()), Err(NormalizeError::NotJson(_))), "{body:?}");
    }
    assert!(matches!(delivery(b"{\"a\":\"\xff\"}", received()), Err(NormalizeError::NotUtf8(_))));
    let line = b"{\"id\":\"a1\",\"content\":{\"ruleName\":\"r\"}}\n{\"a\":\"\xff\"}\n";
    let found = delivery(line, received()).unwrap();
    assert!(matches!(found.as_slice(), [Element::Event { .. }, Element::Unreadable { .. }]));
}

#[test]
fn deep_nesting_is_kept_and_never_a_crash() {
    let deep = |n: usize, open: &str, close: &str| format!("{}1{}", open.repeat(n), close.repeat(n));
    assert!(matches!(elements(&deep(100_000, "{\"a\":", "}")).as_slice(), [Element::Unreadable { .. }]));
    assert!(delivery("{\"a\":".repeat(100_000).as_bytes(), received()).is_err());
    let found = elements(&deep(100_000, "[", "]"));
    assert!(matches!(found.as_slice(), [Element::Unreadable { .. }]));
    let inside = format!("[{}]", deep(100_000, "{\"a\":", "}"));
    assert!(matches!(elements(&inside).as_slice(), [Element::Unreadable { .. }]));
}

#[test]
fn ten_thousand_elements_are_ten_thousand_events() {
    let one = fixture!("sysdig/forwarder_single.json");
    let body = format!("[{}]", vec![one; 10_000].join(","));
    assert_eq!(elements(&body).len(), 10_000);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    let key = prop_oneof![
        prop::sample::select(vec![
            "id",
            "type",
            "content",
            "fields",
            "labels",
            "severity",
            "timestamp",
            "entities",
            "policyEvents",
            "policies",
            "policyId",
            "rule",
            "output_fields",
            "priority",
            "output",
            "ruleTags",
            "actions",
            "metrics",
            "data",
            "page",
            "alert",
            "textPayload",
            "messageId",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(key.clone(), inner, 0..8)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn decided(body: &[u8]) {
    let Ok(found) = delivery(body, received()) else { return };
    for element in found {
        let Element::Event { event, body } = element else { continue };
        let again = stored(&body, received()).unwrap();
        assert!(matches!(again, Element::Event { event: again, .. } if again == event));
        let kept = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&kept).unwrap(), event);
        let rules = crate::decide::Rules::new("1");
        let crate::decide::Decision::Deliver(change) =
            crate::decide::decide(&event, &Default::default(), &rules, received())
        else {
            continue;
        };
        let crate::finding::FindingChange::Create { finding, .. } = change else { panic!("no create") };
        let text = serde_json::to_string(&finding).unwrap();
        assert!(text.len() <= 64 * 1024, "{}", text.len());
        assert!((1..=255).contains(&finding.category.len()) && finding.category.is_ascii());
        assert!(finding.event_time < received());
        assert!(finding.source_properties.len() <= 100);
        for (key, _) in finding.source_properties.iter() {
            assert!(key.len() <= 255 && key.starts_with(|c: char| c.is_ascii_alphabetic()), "{key}");
            assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{key}");
        }
    }
}

proptest! {
    #[test]
    fn any_json_is_read_without_a_panic(json in any_json()) {
        decided(json.to_string().as_bytes());
    }

    #[test]
    fn a_mutated_fixture_is_read_without_a_panic(
        which in 0..FIXTURES.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut body = FIXTURES[which].0.as_bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(body.len());
            body[at] = byte;
        }
        decided(&body);
    }

    #[test]
    fn a_replaced_member_is_read_without_a_panic(which in 0..FIXTURES.len(), member in any::<prop::sample::Index>(), value in any_json()) {
        let Ok(mut json) = serde_json::from_str::<serde_json::Value>(FIXTURES[which].0) else { return Ok(()) };
        let mut paths = Vec::new();
        walk(&json, String::new(), &mut paths);
        let path = &paths[member.index(paths.len())];
        if let Some(place) = json.pointer_mut(path) {
            *place = value;
        }
        decided(json.to_string().as_bytes());
    }
}

fn walk(json: &serde_json::Value, path: String, paths: &mut Vec<String>) {
    match json {
        serde_json::Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| walk(item, format!("{path}/{index}"), paths));
        }
        serde_json::Value::Object(members) => {
            members.iter().for_each(|(key, item)| {
                walk(item, format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), paths)
            });
        }
        _ => {}
    }
    paths.push(path);
}

#[test]
fn well_formed_elements_that_cannot_be_held_are_kept_with_their_reason() {
    let deep = format!(r#"{{"type":"policy","id":"a1","content":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    for (body, reason) in [
        (deep.as_str(), "recursion limit"),
        (r#"{"type":"policy","id":"a2","severity":1e400}"#, "out of range"),
        (r#"{"type":"policy","id":"a3","name":"\ud800","severity":1e400}"#, "out of range"),
    ] {
        let found = elements(body);
        let [Element::Unreadable { reason: told, body: kept }] = found.as_slice() else { panic!("{found:?}") };
        assert!(told.contains(reason), "{told}");
        assert_eq!(kept, body);
    }
}

#[test]
fn half_a_surrogate_costs_one_character_and_what_was_delivered_is_kept() {
    let sysdig = r#"{"type":"policy","id":"a1","name":"P","content":{"output":"x\ud800y","fields":{"k\udcff":"v"}}}"#;
    let falco = r#"{"output":"x\ud800y","output_fields":{"k\udcff":"v"},"priority":"Warning","rule":"r","time":"2025-05-18T10:18:15Z"}"#;
    let notified = |event: &str| {
        format!(
            r#"{{"k\ud83d":1,"entities":[{{"\udcff":"","policies":[],"policyEvents":[{event}]}}],"state":"ACTIVE"}}"#
        )
    };
    let quoted = |event: &str| serde_json::Value::from(event).to_string();
    for (body, kept) in [
        (sysdig.to_owned(), Some(sysdig)),
        (falco.to_owned(), Some(falco)),
        (format!("[{sysdig}]"), Some(sysdig)),
        (format!("{{}}\n{falco}\n"), Some(falco)),
        (format!(r#"{{"data":[{sysdig}],"page":{{}}}}"#), Some(sysdig)),
        (format!(r#"{{"\ud800":"\ud800","event":{falco}}}"#), Some(falco)),
        (format!(r#"{{"log":{}}}"#, quoted(falco)), Some(falco)),
        // The half is the wrapper's: in the text that it carries stands the replacement character.
        (format!(r#"{{"log":{}}}"#, quoted(falco).replace("\\\\ud800", "\\ud800")), None),
        (notified(sysdig), None),
    ] {
        let found = elements(&body);
        let event = found.iter().find(|element| matches!(element, Element::Event { .. }));
        let Some(Element::Event { event: Event::Runtime(event), body: stored_body }) = event else {
            panic!("{body}: {found:?}")
        };
        assert_eq!(event.summary.as_deref(), Some("x\u{fffd}y"), "{body}");
        assert!(kept.is_none_or(|kept| kept == stored_body), "{stored_body}");
        let again = stored(stored_body, received()).unwrap();
        assert!(matches!(again, Element::Event { event: Event::Runtime(again), .. } if again == *event), "{body}");
    }
    let unknown_wrapper = format!(r#"{{"a":{{"b":{}}}}}"#, quoted(falco));
    assert!(matches!(elements(&unknown_wrapper).as_slice(), [Element::Unreadable { .. }]));
}

#[test]
fn bytes_that_are_not_utf8_cost_only_their_own_element() {
    let body =
        b"[{\"type\":\"policy\",\"id\":\"b1\",\"name\":\"x\xff\"},{\"type\":\"policy\",\"id\":\"b2\",\"name\":\"y\"}]";
    let found = delivery(body, received()).unwrap();
    assert!(matches!(&found[0], Element::Unreadable { reason, .. } if reason.contains("not UTF-8")), "{found:?}");
    assert!(matches!(&found[1], Element::Event { .. }), "{found:?}");
    assert!(matches!(delivery(b"[{\"a\":\"\xff\"}]", received()), Err(NormalizeError::NotUtf8(_))));
}

#[test]
fn a_body_of_more_elements_than_anybody_sends_is_refused_as_a_whole_however_they_are_packed() {
    let list = |element: &str, many: usize| format!("[{}]", vec![element; many].join(","));
    let found = |body: &str| delivery(body.as_bytes(), received());
    assert_eq!(found(&list("1", 100_000)).unwrap().len(), 100_000);
    for body in [
        list("1", 100_001),
        list("{}", 100_001),
        list("[1,null]", 50_001),
        vec!["{}"; 100_001].join("\n"),
        vec!["{}"; 100_001].join("\nnonsense\n"),
        format!(r#"{{"data":{},"page":{{}}}}"#, list("1", 100_001)),
        format!(r#"{{"entities":[{{"policyEvents":{}}}]}}"#, list("1", 100_001)),
    ] {
        let refused = found(&body).unwrap_err();
        assert!(matches!(refused, NormalizeError::TooMany), "{}: {refused}", &body[..40]);
    }
}
