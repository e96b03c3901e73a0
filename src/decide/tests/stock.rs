//! Findings of Falco's stock rules for system calls.

use super::*;

fn falco(rule: &str, fields: Value) -> Finding {
    finding(&json!({"rule": rule, "priority": "Warning", "output": "x", "source": "syscall",
        "time": "2025-05-18T10:18:15.901045861Z", "output_fields": fields}))
}

#[test]
fn links_and_modes_name_their_files() {
    for (rule, fields, expected) in [
        (
            "Create Symlink Over Sensitive Files",
            json!({"evt.arg.target": "/etc/shadow", "evt.arg.linkpath": "/tmp/x", "evt.type": "symlinkat"}),
            json!([{"path": "/etc/shadow"}, {"path": "/tmp/x"}]),
        ),
        (
            "Create Symlink Over Sensitive Files",
            json!({"evt.arg.target": "../etc/shadow", "evt.arg.linkpath": "/tmp/x", "evt.type": "symlinkat"}),
            json!([{"path": "/tmp/x"}]),
        ),
        (
            "Create Hardlink Over Sensitive Files",
            json!({"evt.arg.oldpath": "/etc/shadow", "evt.arg.newpath": "/tmp/x", "evt.type": "linkat"}),
            json!([{"path": "/etc/shadow"}, {"path": "/tmp/x"}]),
        ),
        (
            "Renamed",
            json!({"evt.arg.oldpath": "/a", "evt.arg.newpath": "/b", "evt.type": "rename"}),
            json!([{"path": "/a", "operations": [{"type": "RENAME"}]}, {"path": "/b", "operations": [{"type": "RENAME"}]}]),
        ),
        (
            "Set Setuid or Setgid bit",
            json!({"evt.arg.fd": null, "evt.arg.filename": "/tmp/sh", "evt.arg.mode": "S_ISUID", "evt.type": "fchmodat"}),
            json!([{"path": "/tmp/sh"}]),
        ),
        (
            "Read sensitive file untrusted",
            json!({"fd.name": "/etc/shadow", "evt.type": "openat"}),
            json!([{"path": "/etc/shadow", "operations": [{"type": "OPEN"}]}]),
        ),
    ] {
        assert_eq!(serde_json::to_value(falco(rule, fields).files).unwrap(), expected, "{rule}");
    }
}

#[test]
fn a_program_that_is_not_the_images_is_drift() {
    let drifted = |rule: &str, more: Value| {
        let mut fields = json!({"container.id": "6949e5f10829", "container.name": "web", "k8s.ns.name": "shop",
            "k8s.pod.name": "web-1", "evt.type": "execve", "proc.exepath": "/tmp/x", "proc.name": "x"});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        falco(rule, fields)
    };
    let executed = json!([{"path": "/tmp/x", "operations": [{"type": "EXECUTE"}]}]);
    for (rule, more) in [
        ("Drop and execute new binary in container", json!({})),
        ("Suspicious program", json!({"proc.is_exe_upper_layer": "true"})),
        ("Suspicious program", json!({"evt.arg.flags": "EXE_WRITABLE|EXE_UPPER_LAYER"})),
    ] {
        let found = drifted(rule, more);
        assert_eq!(serde_json::to_value(&found.files).unwrap(), executed, "{rule}");
        let steps = found.next_steps.unwrap();
        assert!(steps.contains("not part of the image came into the container"), "{rule}: {steps}");
        assert!(steps.contains("starts a clean one from the image"), "{rule}: {steps}");
    }
    let shell = drifted("Terminal shell in container", json!({"evt.arg.flags": "EXE_WRITABLE"}));
    assert!(shell.files.is_empty() && shell.next_steps.unwrap().contains("who opened the shell"));
}
