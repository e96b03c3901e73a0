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
            "Renamed, told twice",
            json!({"evt.arg.oldpath": "/a", "evt.arg.newpath": "/b", "fs.path.source": "/a", "fs.path.target": "/b",
                "evt.type": "renameat2"}),
            json!([{"path": "/a", "operations": [{"type": "RENAME"}]}, {"path": "/b", "operations": [{"type": "RENAME"}]}]),
        ),
        (
            "Renamed, by paths alone",
            json!({"fs.path.source": "/a", "fs.path.target": "/b", "evt.type": "rename"}),
            json!([{"path": "/a", "operations": [{"type": "RENAME"}]}, {"path": "/b", "operations": [{"type": "RENAME"}]}]),
        ),
        (
            "Linked, told twice",
            json!({"evt.arg.target": "/etc/shadow", "evt.arg.linkpath": "/tmp/l", "fs.path.source": "/tmp/l",
                "fs.path.target": "/etc/shadow", "evt.type": "symlink"}),
            json!([{"path": "/etc/shadow"}, {"path": "/tmp/l"}]),
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

#[test]
fn only_a_shell_that_was_opened_asks_who_opened_it() {
    let in_pod = |rule: &str, more: Value| {
        let mut fields = json!({"container.id": "6949e5f10829", "k8s.ns.name": "shop", "k8s.pod.name": "web-1"});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        falco(rule, fields).next_steps.unwrap()
    };
    for (rule, fields) in [
        ("Terminal shell in container", json!({"proc.name": "bash", "evt.type": "execve"})),
        ("Run shell untrusted", json!({"proc.name": "sh", "evt.type": "execve", "proc.exepath": "/bin/busybox"})),
        ("Redirect STDOUT/STDIN to Network Connection in Container", json!({"proc.name": "nc", "evt.type": "dup2"})),
        ("Suspicious PowerShell", json!({"proc.cmdline": "powershell.exe -enc AAAA"})),
        ("Shell in a database", json!({})),
    ] {
        let steps = in_pod(rule, fields);
        assert!(steps.contains("who opened the shell"), "{rule}: {steps}");
    }
    for (rule, fields) in [
        (
            "Delete or rename shell history",
            json!({"proc.name": "rm", "evt.type": "unlinkat", "evt.arg.name": "/root/.bash_history"}),
        ),
        ("Delete or rename shell history", json!({"proc.name": "bash", "proc.cmdline": "bash"})),
        ("Modify Shell Configuration File", json!({"proc.cmdline": "vi /root/.bashrc", "fd.name": "/root/.bashrc"})),
        ("Write to a login shell", json!({"proc.name": "bash", "evt.type": "openat", "fd.name": "/bin/bash"})),
        ("Shellshock attempt", json!({"proc.name": "httpd", "proc.cmdline": "httpd"})),
        ("PHP shell was uploaded", json!({"proc.name": "php-fpm"})),
    ] {
        let steps = in_pod(rule, fields);
        assert!(!steps.contains("who opened the shell") && !steps.contains("executed commands"), "{rule}: {steps}");
    }
}

#[test]
fn a_containers_start_is_no_process_though_only_a_command_line_tells_it() {
    for name in [json!(null), json!("container:8fbf0a6486b6")] {
        let fields = json!({"proc.name": name, "proc.cmdline": "container:8fbf0a6486b6", "container.id": "8fbf0a6486b6",
            "k8s.ns.name": "default", "k8s.pod.name": "falco-lrfjl", "container.image.repository": "k8s.gcr.io/pause"});
        for rule in ["Launch Disallowed Container", "Unexpected process"] {
            let found = falco(rule, fields.clone());
            assert!(found.processes.is_empty(), "{:?}", found.processes);
            let steps = found.next_steps.unwrap();
            assert!(!steps.contains("start this process") && steps.contains("was expected"), "{rule}: {steps}");
        }
    }
}

#[test]
fn whoever_opened_a_connection_is_its_source() {
    let ends =
        json!({"fd.lip": "10.0.0.5", "fd.lport": 22, "fd.rip": "203.0.113.9", "fd.rport": 51000, "proc.name": "sshd"});
    let (local, remote) = (("10.0.0.5", 22), ("203.0.113.9", 51000));
    for (more, source, destination) in [
        (json!({"evt.type": "connect"}), local, remote),
        (json!({}), local, remote),
        (json!({"evt.type": "accept"}), remote, local),
        (json!({"evt.type": "accept4"}), remote, local),
        (json!({"evt.type": "recvfrom", "fd.is_server": true}), remote, local),
        (json!({"fd.cip": "203.0.113.9"}), remote, local),
        (json!({"fd.name": "203.0.113.9:51000->10.0.0.5:22", "evt.type": "accept4"}), remote, local),
    ] {
        let mut fields = ends.clone();
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let found = falco("Inbound", fields);
        let told = &found.connections[0];
        let end = |(ip, port): (&str, u16)| (Some(ip.to_owned()), Some(port));
        assert_eq!((told.source_ip.clone(), told.source_port), end(source), "{more}");
        assert_eq!((told.destination_ip.clone(), told.destination_port), end(destination), "{more}");
        assert_eq!(found.indicator.unwrap().ip_addresses, ["203.0.113.9"], "{more}");
    }
}
