//! Every generation of Sysdig's events.

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/data/", $name))
    };
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
fn elements_of_the_feed_are_told_by_their_cursor() {
    let body = r#"{"id":"a1","cursor":"ABC","customerId":1,"agentId":5,"timestamp":"2023-11-22T11:16:28.1Z","severity":0,"content":{"ruleName":"r"}}"#;
    assert_eq!(only(body).shape, crate::event::runtime::Shape::Api);
}

#[test]
fn a_rules_match_is_an_event_whatever_its_source_is_called() {
    let body = r#"{"id":"a1","source":"auditTrail","severity":3,"content":{"ruleName":"r","requestMethod":"GET","requestUri":"/"}}"#;
    assert_eq!(only(body).rule, some("r"));
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
fn an_id_of_zero_is_none() {
    let event = |id: &str, output: &str| {
        only(&format!(r#"{{"type":"policy","id":{id},"name":"x","content":{{"output":"{output}"}}}}"#)).id
    };
    assert_ne!(event("0", "first"), event("0", "second"));
    assert_ne!(event("\"0\"", "first"), event("\"0\"", "second"));
    assert_eq!(event("18446744073709551615", "first"), "18446744073709551615");
}
