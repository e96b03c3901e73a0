//! The documents say what the program does: they are printed by it, and compared here.

use std::collections::BTreeSet;

use sysdig_scc::cli::reference;
use sysdig_scc::config::{AREAS, Config, Env};
use sysdig_scc::telemetry::metrics;

fn file(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap_or_default()
}

fn same(path: &str, printed: &str, command: &str) {
    assert!(file(path) == printed, "{path} is not current; run: cargo run -- reference {command} > {path}");
}

#[test]
fn the_configuration_page_is_what_the_program_prints() {
    same("docs/configuration.md", &reference::configuration(), "config");
}

#[test]
fn the_example_environment_is_what_the_program_prints() {
    same(".env.example", &reference::env_example(), "env");
}

#[test]
fn the_metrics_page_is_what_the_program_prints() {
    same("docs/metrics.md", &reference::metrics_page(), "metrics");
}

#[test]
fn the_page_on_acting_is_what_the_program_prints() {
    same("docs/actions.md", &reference::actions_page(), "actions");
}

#[test]
fn the_page_on_policies_is_what_the_program_prints() {
    same("docs/policy.md", &reference::policy_page(), "policy");
}

#[test]
fn exactly_the_documented_settings_are_read() {
    let documented: BTreeSet<_> = AREAS.iter().flat_map(|area| area.settings).map(|setting| setting.name).collect();
    let mut env = Env::default();
    Config::read_areas(&mut env);
    let read = env.asked().clone();
    let unread: Vec<_> = documented.difference(&read).collect();
    let undocumented: Vec<_> = read.difference(&documented).collect();
    assert!(
        unread.is_empty() && undocumented.is_empty(),
        "documented, never read: {unread:?}; read, not documented: {undocumented:?}"
    );
}

#[test]
fn every_metric_is_on_the_list_once() {
    let names: BTreeSet<_> = metrics::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), metrics::ALL.len());
}

#[test]
fn every_metric_is_set_somewhere() {
    let defined = regex::Regex::new(r"(?m)^    ([A-Z_]+) = (?:Counter|Gauge|Histogram) ").unwrap();
    let used = regex::Regex::new(r"\b([A-Z_]+)\.name\b|\bshow(?:_each)?\(&(?:metrics::)?([A-Z_]+)\b").unwrap();
    let mut folders = vec![format!("{}/src", env!("CARGO_MANIFEST_DIR")).into()];
    let mut seen = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir::<std::path::PathBuf>(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for found in used.captures_iter(&text) {
                seen.extend(found.iter().skip(1).flatten().map(|name| name.as_str().to_owned()));
            }
        }
    }
    let source = file("src/telemetry/metrics.rs");
    let names: Vec<_> = defined.captures_iter(&source).map(|found| found[1].to_owned()).collect();
    assert_eq!(names.len(), metrics::ALL.len());
    let never: Vec<_> = names.into_iter().filter(|name| !seen.contains(name)).collect();
    assert!(never.is_empty(), "documented, never set: {never:?}");
}

#[test]
fn dashboards_and_alerts_show_only_metrics_that_exist() {
    let known: BTreeSet<_> = metrics::ALL.iter().map(|metric| metric.name).collect();
    let word = regex::Regex::new(r"sysdig_scc_[a-z_]+").unwrap();
    for path in ["dashboards/alerts.yaml", "dashboards/overview.json", "docs/operations.md"] {
        for name in word.find_iter(&file(path)).map(|found| found.as_str()) {
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(known.contains(name) || known.contains(base), "{path} names {name}, which does not exist");
        }
    }
}

#[test]
fn alerts_on_the_log_look_for_what_is_written_there() {
    let policy = file("dashboards/log-alerts.yaml");
    let texts = regex::Regex::new(r#"OR "([^"]+)""#).unwrap();
    let texts: Vec<_> = texts.captures_iter(&policy).map(|found| found[1].to_owned()).collect();
    assert!(texts.len() > 3, "{texts:?}");
    let mut folders = vec![format!("{}/src", env!("CARGO_MANIFEST_DIR")).into()];
    let mut code = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir::<std::path::PathBuf>(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => code.push_str(&std::fs::read_to_string(&path).unwrap()),
            }
        }
    }
    let never: Vec<_> = texts.iter().filter(|text| !code.contains(text.as_str())).collect();
    assert!(never.is_empty(), "looked for, never written: {never:?}");
    let line = sysdig_scc::telemetry::logs::last_words("x");
    assert!(line.contains(r#""severity":"ERROR""#) && policy.contains(r#"\"severity\":\"ERROR\""#), "{line}");
}

#[test]
fn keys_and_secrets_are_left_out_of_git_and_of_uploads_in_every_folder() {
    for ignoring in [".gitignore", ".gcloudignore"] {
        let text = file(ignoring);
        for pattern in ["secrets/", "keys/", "*.json", ".env"] {
            assert!(text.lines().any(|line| line == pattern), "{ignoring} lacks {pattern}");
        }
    }
}
