//! Names that look like a setting's and are none. Nobody reads them, so nobody would ever say that one is misspelt. Only
//! names are told, never what they hold.

use super::{AREAS, Env};

/// What settings of ours begin with, and hardly anybody else's.
const OURS: [&str; 9] =
    ["SYSDIG_", "SCC_", "OUTBOX_", "INTEGRITY_", "ATTESTATION_", "FINDING_", "ENRICH_", "PUBSUB_", "WEBHOOK_"];
/// What Kubernetes makes of our own Service begins so.
const SERVICE: &str = "SYSDIG_SCC_";
/// What the platform sets, nobody misspells.
const PLATFORM: [&str; 3] = ["HOME", "K_", "GAE_"];
/// Names in our own documents, of Pub/Sub's emulator and of Sysdig's own tools, in shells where the connector may be started.
const KNOWN: [&str; 11] = [
    "SYSDIG_REGION",
    "WEBHOOK_HOST",
    "PUBSUB_PROJECT_ID",
    "SYSDIG_ACCESS_KEY",
    "SYSDIG_API_TOKEN",
    "SYSDIG_MONITOR_API_TOKEN",
    "SYSDIG_MONITOR_URL",
    "SYSDIG_SECURE_API_TOKEN",
    "SYSDIG_SECURE_TOKEN",
    "SYSDIG_SECURE_URL",
    "SYSDIG_SECURE_ENDPOINT",
];
/// Shorter names have too many neighbours.
const SHORTEST: usize = 6;
/// Names from this length on may differ in two letters, others in one.
const LONG: usize = 12;
/// The farthest that one of ours is worth naming, for a name that begins as ours do.
const FAR: usize = 4;

/// Doubts every name that is set and was probably meant to be a setting.
pub(super) fn doubt(env: &mut Env) {
    let settings: Vec<&str> = AREAS.iter().flat_map(|area| area.settings).flat_map(|setting| setting.names()).collect();
    let misspelt = |name: &&&str| !PLATFORM.iter().any(|beginning| name.starts_with(beginning));
    let names: Vec<String> = env.names().map(str::to_owned).collect();
    for name in names {
        let plain = name.to_ascii_uppercase();
        if settings.contains(&name.as_str()) || is_anothers(&plain) || env.is_variable(&name) {
            continue;
        }
        let nearest = settings.iter().filter(misspelt).map(|setting| (distance(&plain, setting), *setting)).min();
        let near = nearest.filter(|(far, setting)| *far <= room(setting)).map(|(_, setting)| setting);
        let is_ours = OURS.iter().any(|beginning| plain.starts_with(beginning));
        if near.is_none() && !is_ours {
            continue;
        }
        let kin = |setting: &str| first_word(setting) == first_word(&plain);
        let near = near.or_else(|| nearest.filter(|(far, it)| *far <= FAR && kin(it)).map(|(_, setting)| setting));
        if let Some(setting) = near {
            // A start that fails tells no doubts.
            env.hint(setting, &format!("; {name} is set: is it a misspelling of this?"));
        }
        let remedy = match near {
            Some(setting) => format!("is {setting} meant? If it is another program's, nothing is wrong"),
            None => "docs/configuration.md has every name; if it is another program's, nothing is wrong".to_owned(),
        };
        env.doubt(&name, "is not known, and does nothing here", &remedy);
    }
}

/// How many letters a misspelling of this name may differ in.
fn room(setting: &str) -> usize {
    match setting.len() {
        ..SHORTEST => 0,
        SHORTEST..LONG => 1,
        _ => 2,
    }
}

/// Whether it is not ours to doubt.
fn is_anothers(name: &str) -> bool {
    KNOWN.contains(&name) || name.starts_with(SERVICE) || is_of_a_service(name)
}

fn first_word(name: &str) -> &str {
    name.split('_').next().unwrap_or(name)
}

/// Whether it is what Kubernetes tells every pod of a Service: its host, its ports.
fn is_of_a_service(name: &str) -> bool {
    let is_port = |rest: &str| {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.starts_with(protocol))
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.match_indices("_PORT_").any(|(at, found)| is_port(&name[at + found.len()..]))
}

/// In how many letters two names differ: one left out, one too many, another one, or two that changed places.
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut before = vec![0; other.len() + 1];
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut least = (row[j] + usize::from(a != b)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && (a, one[i - 1]) == (&other[j - 1], *b) {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(names: &[&str]) -> Vec<(String, String)> {
        let mut env = Env::from_pairs(names.iter().map(|name| (*name, "SEKRIT")));
        env.variable("ATTESTATION_DB_PASSWORD");
        doubt(&mut env);
        env.doubts().iter().map(|doubt| (doubt.setting.clone(), doubt.remedy.clone())).collect()
    }

    #[test]
    fn a_misspelt_setting_is_told_with_the_one_that_is_near() {
        for (name, meant) in [
            ("OUTBOX_ULR", "OUTBOX_URL"),
            ("outbox_urls", "OUTBOX_URL"),
            ("SYSDIG_POL", "SYSDIG_POLL"),
            ("OUTBOX_KEEP_CLOSED_HOUR", "OUTBOX_KEEP_CLOSED_HOURS"),
            ("SORUCE_ID", "SOURCE_ID"),
            ("LOGFORMAT", "LOG_FORMAT"),
            ("TRUST_FORWARDED_FROM", "TRUST_FORWARDED_FOR"),
            ("INTEGRITY_NONSENSE", "docs/configuration.md"),
            ("SCC_HOME", "docs/configuration.md"),
            ("GOOGLE_APPLICATION_CREDENTIAL", "GOOGLE_APPLICATION_CREDENTIALS"),
        ] {
            let told = told(&[name]);
            assert!(told.len() == 1 && told[0].0 == name && told[0].1.contains(meant), "{name}: {told:?}");
        }
    }

    #[test]
    fn what_is_missing_is_told_with_the_name_that_was_probably_meant_to_be_it() {
        let mut env = Env::from_pairs([("WEBHOOK_AUTHENTICATION_TOKN", "SEKRIT")]);
        crate::config::Areas::read(&mut env);
        let told = env.finish().unwrap_err().to_string();
        assert!(told.contains("WEBHOOK_AUTHENTICATION_TOKN is set") && !told.contains("SEKRIT"), "{told}");
    }

    #[test]
    fn what_others_set_is_not_doubted() {
        let names = [
            "OUTBOX_URL",
            "SDC_TOKEN",
            "GOOGLE_CLOUD_PROJECT",
            "CLOUDSDK_CORE_PROJECT",
            "SYSDIG_SCC_PROGRAM",
            "SYSDIG_AGENT_SERVICE_HOST",
            "SYSDIG_AGENT_SERVICE_PORT",
            "SYSDIG_AGENT_SERVICE_PORT_HTTPS",
            "SYSDIG_AGENT_PORT",
            "SYSDIG_AGENT_PORT_6443_TCP",
            "SYSDIG_AGENT_PORT_6443_TCP_ADDR",
            "KUBERNETES_SERVICE_HOST",
            "ATTESTATION_DB_PASSWORD",
            "SYSDIG_REGION",
            "SYSDIG_SECURE_API_TOKEN",
            "K_SERVICES",
            "SERVICE_ACCOUNT",
            "COMPUTE_SERVICE_ACCOUNT",
            "KEY_LOCATION",
            "COMPUTE_KEY_LOCATION",
            "REGION",
            "SECRETS",
            "K_REVISION",
            "K_CONFIGURATION",
            "GAE_SERVICE",
            "HOST",
            "HOSTNAME",
            "SITE_URL",
            "RUST_BACKTRACE",
            "PATH",
            "PWD",
            "TERM",
        ];
        assert_eq!(told(&names), []);
    }
}
