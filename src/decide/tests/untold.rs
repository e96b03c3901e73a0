//! What nobody told is not told either: times and severities that only stand in.

use super::*;

fn told(event: Value) -> Finding {
    finding(&event)
}

fn notes(found: &Finding) -> String {
    found.source_properties["notes"].to_string()
}

#[test]
fn a_time_that_nobody_told_is_no_original_time() {
    for (sent, noted) in [
        (Value::Null, "no usable time;"),
        (json!("<NA>"), "no usable time;"),
        (json!(0), "no usable time (\\\"0\\\");"),
        (json!("2026-13-45T00:00:00Z"), "no usable time (\\\"2026-13-45T00:00:00Z\\\");"),
        (json!("soon\u{7}".repeat(100)), "soon"),
    ] {
        let mut event = forwarder();
        event.as_object_mut().unwrap().remove("timestampRFC3339Nano");
        event["timestamp"] = sent.clone();
        let found = told(event);
        assert!(found.source_properties.get("original_event_time").is_none(), "{sent}");
        assert_eq!(found.event_time, now() - Duration::seconds(1));
        let notes = notes(&found);
        assert!(notes.contains(noted) && notes.contains("received stands in") && notes.len() < 200, "{notes}");
    }
    let falco = told(json!({"rule": "R", "priority": "Notice", "output": "o", "time": "then", "output_fields": {}}));
    assert!(falco.source_properties.get("original_event_time").is_none());
    assert!(notes(&falco).contains("(\\\"then\\\")"), "{}", notes(&falco));
}

#[test]
fn an_event_that_does_not_say_how_severe_it_is_passes_and_says_so() {
    let mut rules = Rules::new("organizations/123");
    rules.finding.least_severe = 3;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut event = forwarder();
        event.as_object_mut().unwrap().remove("severity");
        change(&mut event);
        events(&event.to_string()).remove(0)
    };
    for (event, sysdig) in [
        (with(&|_| ()), None),
        (with(&|event| event["severity"] = json!("<NA>")), None),
        (with(&|event| event["severity"] = json!(9)), Some(json!(9))),
        (with(&|event| event["severity"] = json!("weird")), Some(json!("weird"))),
        (events(r#"{"rule":"R","output":"o","time":"2024-07-03T18:23:21Z","output_fields":{}}"#).remove(0), None),
    ] {
        let found = decided(&event, &Enriched::default(), &rules);
        assert_eq!(found.severity, FindingSeverity::Medium);
        assert_eq!(found.source_properties["severity"], "4");
        assert_eq!(found.source_properties.get("sysdig_severity"), sysdig.as_ref());
        assert!(notes(&found).contains("4 stands in"), "{}", notes(&found));
    }
    for told in
        [with(&|event| event["severity"] = json!(4)), with(&|event| event["content"]["priority"] = json!("warning"))]
    {
        assert!(unwanted(&told, &rules).is_some());
    }
}
