//! The real program as people start it: what it asks for, and where its output goes.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::world::TOKEN;

/// The program in a folder, with these settings and no others.
fn program(folder: &Path, args: &str, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sysdig-scc"));
    command.args(args.split(' ')).env_clear().envs(settings.iter().copied()).current_dir(folder);
    command
}

fn run(folder: &Path, args: &str, settings: &[(&str, &str)]) -> Output {
    program(folder, args, settings).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn the_start_tells_all_that_is_wrong_on_this_machine_in_one_list() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "no folder").unwrap();
    let wrong = [
        ("PORT", "abc"),
        ("WEBHOOK_AUTHENTICATION_TOKEN", TOKEN),
        ("ORG_ID", "1"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "no-credentials"),
        ("OUTBOX_URL", "sqlite:file/o.db"),
        ("STATE_URL", "sqlite:file"),
        ("KUBERNETES_ENRICH", "in-cluster"),
        ("ATTESTATION_POLICIES", "no-policies"),
        ("ATTESTATION_JWKS_FILE", "no-keys"),
    ];
    let serve = run(folder.path(), "serve", &wrong);
    let check = run(folder.path(), "check --offline --format json", &wrong);
    assert_eq!((serve.status.code(), check.status.code()), (Some(1), Some(1)));
    let (serve, check) = (said(&serve), String::from_utf8_lossy(&check.stdout).into_owned());
    assert!(serve.contains("has 7 problems") && serve.matches('→').count() == 7, "{serve}");
    let named = ["OUTBOX_URL", "STATE_URL", "KUBERNETES_ENRICH", "ATTESTATION_POLICIES", "ATTESTATION_JWKS_FILE"];
    for name in ["PORT", "no-credentials"].iter().chain(&named) {
        assert!(serve.contains(name) && check.contains(name), "{name}\n{serve}\n{check}");
    }
    // With the settings right, the same is told.
    let serve = said(&run(folder.path(), "serve", &wrong[1..]));
    assert!(serve.contains("has 6 problems") && named.iter().all(|name| serve.contains(name)), "{serve}");
}

#[test]
fn a_start_that_fails_is_one_line_of_the_log_and_tells_all_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = [
        ("WEBHOOK_AUTHENTICATION_TOKEN", TOKEN),
        ("ORG_ID", "abc"),
        ("DRY_RUN", "true"),
        ("COMPUTE_ZONE", "europe-west3"),
        ("KUBERNETES_ENRICH", "in-cluster"),
        ("LOG_FORMAT", "JSON"),
    ];
    let serve = run(folder.path(), "serve", &wrong);
    assert_eq!(serve.status.code(), Some(1));
    let said = said(&serve);
    let line: serde_json::Value = serde_json::from_str(said.trim_end()).unwrap_or_else(|_| panic!("one line: {said}"));
    assert_eq!(line["severity"], "ERROR");
    assert!(line["time"].is_string(), "{said}");
    for name in ["has 3 problems", "ORG_ID", "COMPUTE_ZONE", "KUBERNETES_ENRICH"] {
        assert!(line["message"].as_str().unwrap().contains(name), "{name}: {said}");
    }
}

#[test]
fn a_misspelt_setting_is_a_remark_that_fails_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("WEBHOOK_AUTHENTICATION_TOKEN", TOKEN),
        ("DRY_RUN", "true"),
        ("OUTBOX_ULR", "sqlite:SEKRIT"),
        ("SYSDIG_SCC_SERVICE_HOST", "10.0.0.1"),
    ];
    std::fs::write(folder.path().join(".env"), "SYSDIG_TOKEM=SEKRIT\n").unwrap();
    let check = run(folder.path(), "check --offline", &settings);
    let told = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(0), "{told}");
    assert!(told.contains("OUTBOX_ULR") && told.contains("OUTBOX_URL") && told.contains("SYSDIG_TOKEM"), "{told}");
    assert!(!told.contains("SEKRIT") && !told.contains("SERVICE_HOST"), "{told}");
}

#[test]
fn a_backfill_asks_for_what_it_uses_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for args in ["poll --from 3d", "poll --from 3d --dry-run"] {
        let told = said(&run(folder.path(), args, &[("ATTESTATION_POLICY", "x"), ("SCC_TIMEOUT_SECS", "0")]));
        assert!(told.contains("has 1 problem:") && told.contains("SYSDIG_TOKEN"), "{args}: {told}");
    }
    let wrong = [("SYSDIG_URL", "zz"), ("OUTBOX_URL", "postgres:x"), ("SYSDIG_POLL", "true")];
    let told = said(&run(folder.path(), "poll --from 3d", &wrong));
    assert!(told.contains("has 3 problems:") && told.contains("OUTBOX_URL"), "{told}");
    let told = said(&run(folder.path(), "poll --from 3d", &[("SYSDIG_TOKEN", "sm://x")]));
    assert!(told.contains("SYSDIG_TOKEN") && told.contains("sm://PROJECT/SECRET"), "{told}");
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing was made");
}

#[test]
fn the_file_of_settings_is_read_as_it_was_meant_or_its_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        std::fs::write(folder.path().join(".env"), text).unwrap();
        let output = run(folder.path(), "check --offline --format json", &[]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let good = "\u{feff}DRY_RUN=true\r\nWEBHOOK_AUTHENTICATION_TOKEN='Zk9$QxT7vLm2#pR4w'\r\n";
    assert_eq!(check(good).0, Some(0));
    let (code, told) = check("DRY_RUN=true\nWEBHOOK_AUTHENTICATION_TOKEN=\"Zk9$QxT7vLm2#pR4w\"\nS3CRET\n");
    assert_eq!(code, Some(1));
    assert!(told.contains("line 2 (WEBHOOK_AUTHENTICATION_TOKEN) has a $") && told.contains("single quotes"), "{told}");
    assert!(told.contains("line 3 has no ="), "{told}");
    let (below, file) = (folder.path().join("below"), folder.path().join(".env"));
    std::fs::create_dir(&below).unwrap();
    std::fs::write(&file, good).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o606)).unwrap();
    let output = run(&below, "check --offline --format json", &[]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    for expected in [".env was read", "lies above the working directory", "may be written by everybody"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let shared = "DB_PASSWORD=pa$word\nX=${COMPOSE_X:-foo}\nSDC_TOKEN=an-older-token\nDRY_RUN=true\nWEBHOOK_AUTHENTICATION_TOKEN=a-long-enough-token\n";
    std::fs::write(folder.path().join(".env"), shared).unwrap();
    let output = run(folder.path(), "check --offline", &[("SYSDIG_TOKEN", "a-newer-token")]);
    assert_eq!(output.status.code(), Some(0), "other programs' lines, and an overruled name: {}", said(&output));
    assert!(!told.contains("Zk9") && !told.contains("QxT7") && !told.contains("S3CRET"), "{told}");
}

#[test]
fn output_that_cannot_be_written_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("claims.json"), "{}").unwrap();
    std::fs::write(folder.path().join("state.db"), "").unwrap();
    let settings = [("WEBHOOK_AUTHENTICATION_TOKEN", TOKEN), ("DRY_RUN", "true"), ("STATE_URL", "sqlite:state.db")];
    for args in [
        "reference config",
        "check --offline",
        "check --offline --format json",
        "baseline list",
        "integrity actions",
        "attest explain --condition true --claims claims.json",
        "sandbox --listen 127.0.0.1:0",
        "--help",
        "--version",
    ] {
        let lost = program(folder.path(), args, &settings).stdout(full()).output().unwrap();
        let told = said(&lost);
        assert_eq!(lost.status.code(), Some(1), "{args}: {told}");
        assert!(told.lines().count() == 1 && told.contains("printed: No space left"), "{args}: {told}");
        let both = program(folder.path(), args, &settings).stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(both.code(), Some(1), "{args}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    for args in ["reference config", "--help"] {
        let mut running =
            program(folder.path(), args, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(running.stdout.take());
        let output = running.wait_with_output().unwrap();
        assert_eq!((output.status.code(), said(&output)), (Some(0), String::new()), "{args}");
    }
}

#[tokio::test]
async fn log_lines_that_cannot_be_written_stop_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // The last one is warned of before the outbox is made.
    let settings = [
        ("WEBHOOK_AUTHENTICATION_TOKEN", TOKEN),
        ("DRY_RUN", "true"),
        ("PORT", "0"),
        ("OUTBOX_URL", "sqlite:o.db"),
        ("STATE_URL", "sqlite::memory:"),
        ("KUBERNETES_CONTEXT", "idle"),
    ];
    let mut running = program(folder.path(), "serve", &settings).stderr(full()).spawn().unwrap();
    while !folder.path().join("o.db").exists() {
        assert_eq!(running.try_wait().unwrap(), None);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(running.try_wait().unwrap(), None);
    running.kill().unwrap();
    running.wait().unwrap();
}
