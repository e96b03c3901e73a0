//! Notifications: whose policy is told, and what is repeated with every event.

use serde_json::{Value, json};

use super::super::{ROOM, ROOM_FOR_EACH_BYTE};
use super::*;
use crate::event::runtime::Policy;

fn notification(alert: Value, policies: Value, events: Value) -> String {
    let entities = json!([{"policies": policies, "policyEvents": events}]);
    json!({"timestamp": 1_524_066_120_000_000_u64, "alert": alert, "state": "ACTIVE", "entities": entities}).to_string()
}

/// The only event, which its stored body gives again.
fn again(body: &str) -> Runtime {
    let element = elements(body).remove(0);
    let Element::Event { body, .. } = &element else { panic!("{element:?}") };
    assert_eq!(stored(body, received()).unwrap(), element);
    only(body)
}

#[test]
fn an_event_is_told_under_its_own_policy_only() {
    let told = |policies: Value, id: Value| {
        let alert = json!({"name": "Policy 59: Another", "description": "another's", "severity": 1});
        let event = json!({"id": "1001", "policyId": id, "timestamp": 1_524_066_096_644_551_u64, "fields": []});
        again(&notification(alert, policies, json!([event])))
    };
    let other = json!({"id": 60, "name": "Other", "description": "other's", "severity": 5, "version": 2});
    let event = told(json!([other]), json!(61));
    assert_eq!(event.policy, Policy { id: some("61"), ..Policy::default() });
    assert_eq!((event.summary, event.unrated), (None, true));
    let named = told(json!([other, {"id": 61, "name": "Its own", "severity": 2}]), json!("61"));
    assert_eq!((named.policy.name, named.policy.description), (some("Its own"), None));
    assert_eq!(named.severity.level(), 2);
    let only = told(json!([other]), Value::Null);
    assert_eq!((only.policy.name, only.summary), (some("Other"), some("other's")));
    let without = told(json!([{"name": "Nameless", "description": "d"}]), json!(61));
    assert_eq!(without.policy.name, some("Nameless"));
    let alerted = told(json!([]), json!(59));
    assert_eq!((alerted.policy.name, alerted.policy.description), (some("Another"), some("another's")));
    assert_eq!(alerted.severity.level(), 1);
}

#[test]
fn what_is_large_is_not_repeated_but_what_is_read_of_it() {
    let large = "x".repeat(100_000);
    let alert = json!({"name": "Policy 7: Shell", "description": large, "severity": 2, "scope": large});
    let policies = json!([{"id": 7, "name": "Shell", "description": large, "more": large}, {"id": 8, "more": large}]);
    let events: Vec<Value> = (0..200)
        .map(|n| json!({"id": n + 1, "policyId": if n % 2 == 0 { json!(7) } else { Value::Null }, "output": "o"}))
        .collect();
    let found = elements(&notification(alert, policies, json!(events)));
    assert_eq!(found.len(), 200);
    for element in found.iter().take(2) {
        let Element::Event { event: Event::Runtime(event), body } = element else { panic!("{element:?}") };
        assert_eq!(event.policy.name, some("Shell"));
        assert!(body.len() < 10_000, "{}", body.len());
        assert_eq!(stored(body, received()).unwrap(), *element);
    }
}

#[test]
fn a_padded_time_is_kept_as_the_moment_it_tells() {
    for time in ["1524066120000000", "2018-04-18T15:42:00.123456789Z"] {
        let padded = format!("{time}{}", " ".repeat(5_000));
        let event = json!({"policyId": 7, "output": "o"});
        let body = json!({"timestamp": padded, "entities": [{"policyEvents": [event]}]}).to_string();
        let found = again(&body);
        assert!(!found.untimed);
        assert_eq!(found, again(&body.replace(&padded, time)));
    }
}

#[test]
fn a_link_of_any_length_is_not_copied() {
    let linked = |length: usize| {
        let url = format!("https://secure.sysdig.com/#/{}", "x".repeat(length));
        let event = json!({"id": "1", "policyId": 7, "output": "o"});
        again(&json!({"event": {"url": url}, "entities": [{"policyEvents": [event]}]}).to_string()).link
    };
    assert!(linked(100).is_some() && linked(3_000).is_none() && linked(100_000).is_none());
}

#[test]
fn a_notification_that_repeats_too_much_is_refused_before_it_is_made() {
    let long = "x".repeat(4_000);
    let events = vec![json!({"policyId": 7, "output": "o"}); 10_000];
    let head = json!({"state": long, "condition": long, "source": long, "entities": [{"policyEvents": events}]});
    for body in [head.to_string(), json!({"data": head}).to_string(), format!("{head}\n{head}")] {
        let found = super::super::elements(body.as_bytes(), received()).unwrap();
        let kept = found.found.iter().map(|element| match element {
            Element::Event { body, .. } | Element::Unreadable { body, .. } => body.len(),
            _ => 0,
        });
        let kept: usize = kept.sum();
        assert!(found.full && kept <= ROOM + ROOM_FOR_EACH_BYTE * body.len() && kept > body.len(), "{kept}");
        assert!(matches!(delivery(body.as_bytes(), received()), Err(NormalizeError::TooMany)));
    }
    let policies = vec![json!({}); 10_001];
    let body = notification(Value::Null, json!(policies), json!([{"id": "1", "output": "o"}]));
    assert!(matches!(delivery(body.as_bytes(), received()), Err(NormalizeError::TooMany)));
}
