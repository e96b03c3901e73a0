//! What shippers make of the names in an event.

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
