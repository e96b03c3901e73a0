//! Every recorded shape, and what goes wrong with it.

mod derived;
mod notifications;
mod places;
mod shipped;

use chrono::{DateTime, Utc};
use proptest::prelude::*;

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
fn the_notification_of_2018_tells_pod_node_and_policy_by_hints() {
    let event = only(fixture!("sysdig/notification_2018.json"));
    assert_eq!(event.shape, Shape::Notification);
    assert_eq!(event.id, "534900000000000001");
    assert_eq!(event.time.to_rfc3339(), "2018-04-18T15:41:36.644551+00:00");
    assert_eq!(event.policy.name, some("Terminal shell in container"));
    assert_eq!(event.rule, some("Terminal shell in container"));
    assert_eq!(event.host.name, some("gke-demo-default-pool-1af4d30b-716h"));
    assert_eq!(event.host.mac, some("42:01:0a:9c:00:04"));
    assert_eq!(event.kubernetes.pod, some("web-7984c4d898-rfrwl"));
    assert_eq!(event.kubernetes.namespace, some("shop"));
    assert_eq!(event.container.name, some("web"));
    assert_eq!(event.link, some("https://secure.sysdig.com/#/events/f:1524066060,t:1524066120"));
    assert_eq!(event.actions[0].kind, "capture");
    assert_eq!(event.actions[0].successful, Some(true));
}

#[test]
fn every_event_of_every_entity_is_taken() {
    let found = events(fixture!("sysdig/notification_several_entities.json"));
    let ids: Vec<_> = found.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["534900000000000019", "534900000000000020", "534900000000000021"]);
    let host = &found[1];
    assert_eq!(host.policy.name, some("Write below etc"));
    assert_eq!(host.host.name, some("gke-demo-default-pool-1af4d30b-716h"));
    assert_eq!(host.container, Default::default());
    assert_eq!(host.field("container.image"), None);
}

#[test]
fn the_forwarders_event_is_read_completely() {
    let found = events(fixture!("sysdig/forwarder_batch.json"));
    let event = &found[0];
    assert_eq!(event.shape, Shape::Forwarder);
    assert_eq!(event.time.to_rfc3339(), "2024-07-03T18:23:21.639981110+00:00");
    assert_eq!(event.severity.level(), 5);
    assert_eq!(event.policy.id, some("544"));
    assert_eq!(event.cloud.project_id, some("acme-prod"));
    assert_eq!(event.cloud.project_number, some("289600000042"));
    assert_eq!(event.cloud.zone, some("us-central1-c"));
    assert_eq!(event.cloud.instance_id, some("648229130641697001"));
    assert_eq!(event.kubernetes.pod, some("web-c65cf6446-5s8kk"));
    assert_eq!(event.kubernetes.workload, None);
    assert_eq!(event.actions[0].error, some("maximum number of outstanding captures (1) reached"));
    assert_eq!(event.origin.kind, some("workload"));
    assert_eq!(event.tags.len(), 6);
    let aws = &found[1];
    assert_eq!(aws.cloud.provider, some("aws"));
    assert_eq!(aws.cloud.project(), None);
    assert_eq!(aws.container, Default::default());
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
fn the_flat_form_and_the_api_list_are_one_shape() {
    let event = only(fixture!("sysdig/legacy_forwarder.json"));
    assert_eq!(event.shape, Shape::Legacy);
    assert_eq!(event.time.to_rfc3339(), "2020-11-25T16:49:08.648718268+00:00");
    assert_eq!(event.rule, some("Write below etc"));
    assert_eq!(event.host.name, some("box1"));
    assert_eq!(event.severity.level(), 0);
    let listed = elements(fixture!("sysdig/legacy_api_list.json"));
    assert!(
        matches!(&listed[0], Element::Event { event: Event::Runtime(event), .. } if event.id == "164ace360cc3cfbc26ec22d61b439501")
    );
    assert_eq!(listed[1], Element::Ignored(Ignored::Empty));
}

#[test]
fn every_content_kind_of_the_api_is_an_event() {
    let found = events(fixture!("sysdig/api_page.json"));
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|event| event.shape == Shape::Api));
    assert_eq!(found[0].container.image, some("registry.example.com/team/python:3.9.18-slim"));
    assert_eq!(found[0].field("user.loginname"), None);
    assert_eq!(found[0].kubernetes.workload_kind, some("cronjob"));
    assert_eq!(found[0].actions[0].successful, Some(true));
    let learned = found[1].learned.as_ref().unwrap();
    assert_eq!(learned.probability, some("0.97"));
    assert!(found[1].summary.as_ref().unwrap().contains("xmrig"));
    assert_eq!(found[2].priority, some("warning"));
    let review = found[3].admission.as_ref().unwrap();
    assert_eq!(review.kind, some("Deployment"));
    assert_eq!(found[3].kubernetes.namespace, some("shop"));
    assert_eq!(found[3].kubernetes.cluster, some("prod"));
}

#[test]
fn falcos_events_get_a_stable_id() {
    let event = only(fixture!("falco/shell.json"));
    assert_eq!(event.shape, Shape::Falco);
    assert_eq!(event.id.len(), 32);
    assert_eq!(event.id, only(fixture!("falco/shell.json")).id);
    let by_sidekick =
        fixture!("falco/shell.json").replacen('{', r#"{"uuid":"5c2b1d40-2f1c-4a59-ae42-1c49b0f1bb52","#, 1);
    assert_eq!(event.id, only(&by_sidekick).id, "a new one is made whenever it comes by falcosidekick");
    let timeless = |uuid| format!(r#"{{"rule":"R","priority":"Warning","output":"x","uuid":"{uuid}"}}"#);
    assert_ne!(only(&timeless("a-1")).id, only(&timeless("a-2")).id, "without a time nothing else tells them apart");
    assert_ne!(event.id, only(fixture!("falco/drop_and_execute.json")).id);
    assert_eq!(event.time.to_rfc3339(), "2018-05-17T09:06:09.874686373+00:00");
    assert_eq!(event.field("evt.time"), Some("1526547969874686373"));
    assert_eq!(event.severity.level(), 5);
    assert_eq!(event.kubernetes.pod, some("web-1"));
    assert_eq!(event.host.name, some("node-1"));
    assert_eq!(event.summary, some("A shell was spawned in a container (user=root shell=bash)"));
}

#[test]
fn quirks_do_not_become_values() {
    let event = only(fixture!("sysdig/forwarder_quirks.json"));
    assert_eq!(event.id, "17");
    assert_eq!(event.severity.level(), 5);
    assert_eq!(event.container.id, some("6949e5f10829"));
    assert_eq!(event.field("container.id"), None);
    assert_eq!(event.field("user.name"), None);
    assert_eq!(event.field("proc.env"), None);
    assert_eq!(event.field("evt.num"), Some("18446744073709551615"));
    assert_eq!(event.summary, some("Redirect (image=<NA>)"));
    assert_eq!(event.host.name, some("gke-prod-default-pool-66250c41-vd1o"));
    assert!(event.actions.is_empty(), "a type without a word is none");
}

#[test]
fn falcos_sentence_is_found_in_every_form_of_it() {
    for (said, expected) in [
        (
            r#""output":"10:18:28.625667668: Warning Sensitive file (file=/etc/shadow)""#,
            "Sensitive file (file=/etc/shadow)",
        ),
        (r#""output":"2024-05-07T18:54:19.341081180+0000: Warning Sensitive file""#, "Sensitive file"),
        (r#""output":"2024-05-07T18:54:19.341081180Z: Warning Sensitive file""#, "Sensitive file"),
        (r#""message":"A shell was spawned""#, "A shell was spawned"),
        (r#""output":"10:18:28.6: Warning A shell","message":"A shell""#, "A shell"),
        (r#""output":"12-34: something""#, "12-34: something"),
    ] {
        let body =
            format!(r#"{{"rule":"R","priority":"Warning","time":"2025-05-18T10:18:15Z","output_fields":{{}},{said}}}"#);
        assert_eq!(only(&body).summary, some(expected), "{said}");
    }
    let dropped = r#"{"rule":"Falco internal: syscall event drop","priority":"Debug","source":"internal",
        "output":"Falco internal: syscall event drop. 8 system calls dropped in last second.","time":"2025-05-18T10:18:15Z","output_fields":{"n_drops":"8"}}"#;
    assert_eq!(only(dropped).origin.source, some("internal"), "what was not seen is an event");
}

#[test]
fn elements_of_the_feed_are_told_by_their_cursor() {
    let body = r#"{"id":"a1","cursor":"ABC","customerId":1,"agentId":5,"timestamp":"2023-11-22T11:16:28.1Z","severity":0,"content":{"ruleName":"r"}}"#;
    assert_eq!(only(body).shape, crate::event::runtime::Shape::Api);
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
fn a_rules_match_is_an_event_whatever_its_source_is_called() {
    let body = r#"{"id":"a1","source":"auditTrail","severity":3,"content":{"ruleName":"r","requestMethod":"GET","requestUri":"/"}}"#;
    assert_eq!(only(body).rule, some("r"));
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
fn wrong_types_of_optional_members_are_forgiven() {
    let body = r#"{"id":"a1","severity":{"x":1},"timestamp":"soon","name":7,"labels":null,"actions":"none",
        "content":{"ruleName":["x"],"fields":[1,{"key":"k","value":2}],"ruleTags":"a,b","output":true,"ruleType":6}}"#;
    let event = only(body);
    assert_eq!(event.time, received());
    assert_eq!(event.severity.level(), 4);
    assert_eq!(event.policy.name, some("7"));
    assert_eq!(event.field("k"), Some("2"));
    assert_eq!(event.tags, ["a", "b"]);
    assert_eq!(event.rule_type, some("6"));
    assert_eq!(event.notes.len(), 2);
}

#[test]
fn a_missing_id_is_derived_from_what_is_stable() {
    let body = r#"{"timestamp":1720031001639981110,"name":"p","content":{"ruleName":"r","output":"o"}}"#;
    let reordered =
        r#"{"content":{"output":"o","ruleName":"r"},"name":"p","timestamp":"2024-07-03T18:23:21.639981110Z"}"#;
    assert_eq!(only(body).id, only(reordered).id);
    assert_ne!(only(body).id, only(&body.replace("\"r\"", "\"s\"")).id);
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
fn events_of_a_notification_without_a_time_of_their_own_take_the_notifications() {
    let notification = |timestamp: u64, event: &str| {
        let policies = r#"[{"id":4711,"name":"Terminal shell in container"}]"#;
        format!(
            r#"{{"timestamp":{timestamp},"state":"ACTIVE","entities":[{{"policies":{policies},"policyEvents":[{event}]}}]}}"#
        )
    };
    let event = r#"{"policyId":4711,"output":"A shell was spawned","severity":5}"#;
    let [one, again, later] =
        [1_524_066_120_000_000, 1_524_066_120_000_000, 1_524_152_520_000_000].map(|at| only(&notification(at, event)));
    assert_eq!(one.time.to_rfc3339(), "2018-04-18T15:42:00+00:00");
    assert_eq!((&one.id, one.id == later.id), (&again.id, false));
    for empty in ["{}", r#"{"foo":1}"#] {
        let found = elements(&notification(1_524_066_120_000_000, empty));
        assert!(matches!(found.as_slice(), [Element::Unreadable { .. }]), "{found:?}");
    }
    assert_eq!(
        only(&notification(1, r#"{"timestamp":1524066120000000}"#)).policy.name,
        some("Terminal shell in container")
    );
}

#[test]
fn an_event_of_the_feed_needs_no_content() {
    let event = r#"{"id":"1a33f0946dabcdefabcdefad5c3e7001","timestamp":1744772461195149800,"originator":"policy","category":"runtime",
        "source":"syscall","name":"Sysdig Runtime Threat Detection","description":"d","severity":1,"labels":{"host.hostName":"h1"}}"#;
    assert_eq!(only(event).severity.level(), 1);
    let page = format!(r#"{{"page":{{"total":1}},"data":[{event}]}}"#);
    assert_eq!(only(&page).policy.name, some("Sysdig Runtime Threat Detection"));
    let scan = event.replace("\"policy\"", "\"scanning\"");
    assert!(matches!(elements(&scan).as_slice(), [Element::Ignored(Ignored::Scanning)]));
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
        let crate::decide::Decision::Deliver(changes) =
            crate::decide::decide(&event, &Default::default(), &rules, received())
        else {
            continue;
        };
        let crate::finding::FindingChange::Create { finding, .. } = &changes[0] else { panic!("no create") };
        let text = serde_json::to_string(finding).unwrap();
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
        (r#"{"type":"policy","id":"a3","name":"\ud800"}"#, "hex escape"),
    ] {
        let found = elements(body);
        let [Element::Unreadable { reason: told, body: kept }] = found.as_slice() else { panic!("{found:?}") };
        assert!(told.contains(reason), "{told}");
        assert_eq!(kept, body);
    }
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
fn one_good_line_among_broken_ones_is_taken() {
    let found = elements("{\"id\": \"br1\n{\"id\": \"br2\n{\"type\":\"policy\",\"id\":\"c1\",\"name\":\"x\"}");
    let broken = found.iter().filter(|element| matches!(element, Element::Unreadable { .. })).count();
    assert_eq!((found.len(), broken), (3, 2), "{found:?}");
    assert!(delivery("{\n".repeat(2_000_000).as_bytes(), received()).is_err(), "rubbish is refused at once");
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
fn an_id_of_zero_is_none() {
    let event = |id: &str, output: &str| {
        only(&format!(r#"{{"type":"policy","id":{id},"name":"x","content":{{"output":"{output}"}}}}"#)).id
    };
    assert_ne!(event("0", "first"), event("0", "second"));
    assert_ne!(event("\"0\"", "first"), event("\"0\"", "second"));
    assert_eq!(event("18446744073709551615", "first"), "18446744073709551615");
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
