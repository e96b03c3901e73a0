//! The outbox: where it lies, how long closed rows are kept, when an event is given up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::env::{Area, Env, Setting};
use super::problem::shown;
use crate::outbox::sqlite::Keep;

/// `OUTBOX_URL`.
pub static OUTBOX_URL: Setting = Setting {
    name: "OUTBOX_URL",
    aliases: &[],
    default: Some("sqlite:data/outbox.db"),
    example: "sqlite:/data/outbox.db",
    secret: false,
    doc: "Where accepted events live until they are delivered: `sqlite:PATH`, on a disk that outlives the process.",
};
/// `OUTBOX_KEEP_CLOSED_HOURS`.
pub static KEEP_CLOSED_HOURS: Setting = Setting {
    name: "OUTBOX_KEEP_CLOSED_HOURS",
    aliases: &[],
    default: Some("168"),
    example: "168",
    secret: false,
    doc: "Hours that closed events are kept, with their bodies, for questions and for recognising repeats. Parked \
          events are never pruned.",
};
/// `OUTBOX_KEEP_CLOSED_MB`.
pub static KEEP_CLOSED_MB: Setting = Setting {
    name: "OUTBOX_KEEP_CLOSED_MB",
    aliases: &[],
    default: Some("1024"),
    example: "1024",
    secret: false,
    doc: "When the outbox takes more megabytes than this, or its volume is almost full, the oldest closed events are \
          pruned before their time. Waiting and parked events never are.",
};
/// `OUTBOX_GIVE_UP_AFTER_HOURS`.
pub static GIVE_UP_AFTER_HOURS: Setting = Setting {
    name: "OUTBOX_GIVE_UP_AFTER_HOURS",
    aliases: &[],
    default: Some("72"),
    example: "72",
    secret: false,
    doc: "Hours of trying, from its first failed attempt, after which an event is parked, if it was tried ten times at \
          least. Time in which this program did not run, beyond an hour each time, does not count, and steps of the \
          clock do not. Waiting for the quota, and tries while the whole queue is held by a permission error, count \
          neither as an attempt nor as time.",
};
/// `ALLOW_EPHEMERAL_OUTBOX`.
pub static ALLOW_EPHEMERAL_OUTBOX: Setting = Setting {
    name: "ALLOW_EPHEMERAL_OUTBOX",
    aliases: &[],
    default: Some("false"),
    example: "true",
    secret: false,
    doc: "Accepts that the disk of App Engine and Cloud Run does not outlive an instance: events that were acknowledged \
          and not yet delivered are lost when the platform replaces it. Without it the program refuses to start there.",
};

/// What App Engine and Cloud Run set; only read to recognise them.
pub static GAE_INSTANCE: Setting = Setting {
    name: "GAE_INSTANCE",
    aliases: &["GAE_ENV"],
    default: None,
    example: "",
    secret: false,
    doc: "Set by App Engine; used to recognise that the disk does not last.",
};
/// What Cloud Run sets.
pub static K_SERVICE: Setting = Setting {
    name: "K_SERVICE",
    aliases: &[],
    default: None,
    example: "",
    secret: false,
    doc: "Set by Cloud Run; used to recognise that the disk does not last.",
};

/// The settings of this area, as the documents print them.
pub static AREA: Area = Area {
    title: "Outbox",
    settings: &[
        &OUTBOX_URL,
        &KEEP_CLOSED_HOURS,
        &KEEP_CLOSED_MB,
        &GIVE_UP_AFTER_HOURS,
        &ALLOW_EPHEMERAL_OUTBOX,
        &GAE_INSTANCE,
        &K_SERVICE,
    ],
};

/// The outbox's settings.
#[derive(Debug, Clone)]
pub struct OutboxConfig {
    /// The SQLite file.
    pub path: PathBuf,
    /// How long closed rows are kept.
    pub keep: Keep,
    /// When a failing event is parked.
    pub give_up_after: Duration,
    /// The disk does not outlive the instance: there is no next start for what waits at the end.
    pub ephemeral: bool,
}

impl OutboxConfig {
    /// Reads this area.
    pub fn read(env: &mut Env) -> Option<Self> {
        let path = path(env);
        let ephemeral = is_ephemeral(env);
        let hours = env.number(&KEEP_CLOSED_HOURS, 0..=87_600);
        let megabytes = env.number(&KEEP_CLOSED_MB, 1..=1_048_576);
        let give_up = env.number(&GIVE_UP_AFTER_HOURS, 1..=8_760);
        Some(Self {
            path: path?,
            keep: Keep { closed_for: Duration::from_secs(hours? * 3_600), bytes: megabytes? * 1_048_576 },
            give_up_after: Duration::from_secs(give_up? * 3_600),
            ephemeral,
        })
    }

    /// Only the file: what the commands about the ledger need.
    pub fn read_path(env: &mut Env) -> Option<PathBuf> {
        path(env)
    }
}

fn path(env: &mut Env) -> Option<PathBuf> {
    let url = env.text(&OUTBOX_URL)?;
    let remedy = "use sqlite:PATH, for example sqlite:data/outbox.db";
    if url.starts_with("pubsub:") {
        env.problem(OUTBOX_URL.name, "names a Pub/Sub outbox, which this version does not have yet", remedy);
        return None;
    }
    let Some(path) = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path)) else {
        env.problem(OUTBOX_URL.name, &format!("has an unknown kind: {}", shown(&url)), remedy);
        return None;
    };
    // What is there and is no plain file (a folder, a device) keeps nothing.
    if path.is_empty() || path.ends_with('/') || Path::new(path).metadata().is_ok_and(|found| !found.is_file()) {
        env.problem(OUTBOX_URL.name, "names no file", remedy);
        return None;
    }
    // SQLite has a way of its own to read both names; the lock beside the file would be made all the same.
    if path == ":memory:" {
        env.problem(
            OUTBOX_URL.name,
            "names memory: events that were acknowledged would be gone with the process",
            "use sqlite:PATH with a path on a disk that outlives the process, for example sqlite:data/outbox.db",
        );
        return None;
    }
    if path.starts_with("file:") {
        env.problem(OUTBOX_URL.name, "has an address where a path is meant: SQLite's file: is not read here", remedy);
        return None;
    }
    Some(PathBuf::from(path))
}

/// Whether the platform is known to take the disk away. Refused unless that is accepted, and then doubted.
fn is_ephemeral(env: &mut Env) -> bool {
    let allowed = env.flag(&ALLOW_EPHEMERAL_OUTBOX);
    let platform = match (env.given(&GAE_INSTANCE), env.given(&K_SERVICE)) {
        (Some(_), _) => "App Engine",
        (_, Some(_)) => "Cloud Run",
        _ => return false,
    };
    let wrong =
        format!("lies on a disk of {platform} that does not outlive the instance: acknowledged events could be lost");
    match allowed {
        Some(true) => env.doubt(
            OUTBOX_URL.name,
            &wrong,
            "accepted with ALLOW_EPHEMERAL_OUTBOX; SYSDIG_POLL with SYSDIG_POLL_LOOKBACK_SECS brings Sysdig's again, and \
             only a volume, as on Kubernetes, keeps Falco's",
        ),
        _ => env.problem(
            OUTBOX_URL.name,
            &wrong,
            "run on Kubernetes with a volume, or accept the loss with ALLOW_EPHEMERAL_OUTBOX=true",
        ),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_on_a_disk_is_an_outbox() {
        for (url, file) in [
            ("sqlite:data/o.db", Some("data/o.db")),
            ("sqlite:///data/o.db", Some("/data/o.db")),
            ("sqlite::memory:", None),
            ("sqlite://:memory:", None),
            ("sqlite:file::memory:", None),
            ("sqlite:file:o.db?mode=memory", None),
            ("sqlite:data/", None),
            ("sqlite:src", None),
            ("sqlite:/dev/null", None),
            ("sqlite:Cargo.toml", Some("Cargo.toml")),
        ] {
            let mut env = Env::from_pairs([("OUTBOX_URL", url)]);
            assert_eq!(OutboxConfig::read_path(&mut env), file.map(PathBuf::from), "{url}");
            assert_eq!(env.has_problems(), file.is_none(), "{url}");
        }
        let mut env = Env::from_pairs([("OUTBOX_URL", "postgres://user:SEKRIT@host/db")]);
        OutboxConfig::read_path(&mut env);
        let told = env.finish().unwrap_err().to_string();
        assert!(told.contains("postgres://***@host/db") && !told.contains("SEKRIT"), "{told}");
        let mut env = Env::from_pairs([("OUTBOX_URL", "sqlite::memory:")]);
        OutboxConfig::read_path(&mut env);
        let told = env.finish().unwrap_err().to_string();
        assert!(told.contains("gone with the process") && told.contains("a disk that outlives"), "{told}");
    }
}
