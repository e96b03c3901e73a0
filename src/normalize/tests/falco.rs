//! Falco's own events.

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/data/", $name))
    };
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
