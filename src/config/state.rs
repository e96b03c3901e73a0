//! Where small durable facts are kept.

use std::path::{Component, Path, PathBuf};

use url::Url;

use super::problem::shown;
use super::{Area, Env, Setting};
use crate::calls::is_loopback;
use crate::google::TokenSource;

const FIRESTORE: &str = "https://firestore.googleapis.com";

/// Where state is kept.
pub static STATE_URL: Setting = Setting {
    name: "STATE_URL",
    aliases: &[],
    default: Some("sqlite:data/state.db"),
    example: "firestore://my-project/(default)",
    secret: false,
    doc: "Where small durable facts are kept (poll watermark, baselines, open boot findings, leases): `sqlite:PATH`, \
          `sqlite::memory:` (lost at the end) or `firestore://PROJECT/DATABASE`. Never the outbox's file. More than one \
          replica needs Firestore.",
};

/// The Firestore emulator.
pub static FIRESTORE_EMULATOR_HOST: Setting = Setting {
    name: "FIRESTORE_EMULATOR_HOST",
    aliases: &[],
    default: None,
    example: "127.0.0.1:8086",
    secret: false,
    doc: "Host and port of a Firestore emulator, used instead of Google's service; no real token is sent to it.",
};

/// The settings of this area.
pub static AREA: Area = Area { title: "State", settings: &[&STATE_URL, &FIRESTORE_EMULATOR_HOST] };

/// Which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateUrl {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// SQLite without a file: gone when the process ends.
    Memory,
    /// A Firestore database in native mode.
    Firestore {
        /// The project's id.
        project: String,
        /// The database's id, usually `(default)`.
        database: String,
    },
}

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateConfig {
    /// Which store.
    pub url: StateUrl,
    /// A Firestore emulator.
    pub emulator: Option<Url>,
}

impl StateConfig {
    /// Reads the area; problems stay in `env`.
    pub fn read(env: &mut Env) -> Option<Self> {
        let emulator = emulator(env, &FIRESTORE_EMULATOR_HOST);
        let text = env.text(&STATE_URL)?;
        let Some(url) = parse(&text) else {
            env.problem(
                STATE_URL.name,
                &format!("is neither sqlite:PATH nor firestore://PROJECT/DATABASE: {}", shown(&text)),
                "for example sqlite:data/state.db or firestore://my-project/(default)",
            );
            return None;
        };
        Some(Self { url, emulator: emulator? })
    }

    /// The outbox and the state are two databases: in one file, whichever is opened second finds tables that are not
    /// its own.
    pub fn require_own_file(&self, env: &mut Env, outbox: &Path) {
        if let StateUrl::Sqlite(path) = &self.url
            && resolved(path) == resolved(outbox)
        {
            env.problem(
                STATE_URL.name,
                &format!("names the file of OUTBOX_URL ({}), and the two cannot share one", outbox.display()),
                "give each a file of its own, for example sqlite:data/outbox.db and sqlite:data/state.db",
            );
        }
    }

    /// The base URL of the Firestore service.
    pub fn firestore_base(&self) -> Url {
        self.emulator.clone().unwrap_or_else(|| Url::parse(FIRESTORE).expect("a constant that the tests parse"))
    }

    /// What calls to it are made with. The emulator wants a token that is none; beyond this machine none is sent.
    pub fn firestore_tokens(&self, tokens: &TokenSource) -> TokenSource {
        match &self.emulator {
            None => tokens.clone(),
            Some(emulator) if is_loopback(emulator) => TokenSource::fixed("owner".into()),
            Some(_) => TokenSource::none(),
        }
    }
}

/// The address of an emulator given as `host:port`, with or without a scheme. The outer `None`: there was a problem.
#[expect(clippy::option_option, reason = "not set and not readable are different answers")]
pub(super) fn emulator(env: &mut Env, setting: &'static Setting) -> Option<Option<Url>> {
    let Some(text) = env.given(setting) else { return Some(None) };
    let host = text.strip_prefix("http://").unwrap_or(&text).trim_end_matches('/').to_owned();
    match Url::parse(&format!("http://{host}")) {
        Ok(url) if url.port().is_some() && url.path() == "/" && url.username().is_empty() => Some(Some(url)),
        _ => {
            env.problem(
                setting.name,
                &format!("is not host:port: {}", shown(&text)),
                &format!("for example {}", setting.example),
            );
            None
        }
    }
}

fn parse(text: &str) -> Option<StateUrl> {
    if let Some(rest) = text.strip_prefix("firestore://") {
        let rest = rest.trim_end_matches('/');
        let (project, database) = rest.split_once('/').unwrap_or((rest, "(default)"));
        let good = |part: &str| !part.is_empty() && !part.contains(['/', '?', '#', ' ']);
        return (good(project) && good(database)).then(|| StateUrl::Firestore {
            project: project.to_owned(),
            database: database.replace("%28", "(").replace("%29", ")"),
        });
    }
    let path = text.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if path == ":memory:" {
        return Some(StateUrl::Memory);
    }
    // SQLite would read `file:` as an address, which may name memory or options.
    let is_file = !path.is_empty() && !path.starts_with("file:");
    // What is there and is no plain file (a folder, a device) keeps nothing.
    let is_file = is_file && !Path::new(path).metadata().is_ok_and(|found| !found.is_file());
    is_file.then(|| StateUrl::Sqlite(path.into()))
}

/// A file's one name, of which only the last folders need not be there yet: absolute, without links and dots.
fn resolved(path: &Path) -> PathBuf {
    let plain = without_dots(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let known = plain.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    match known {
        Some((part, real)) => plain.strip_prefix(part).map_or(plain.clone(), |rest| join(&real, rest)),
        None => plain,
    }
}

/// Without the empty rest that `join` would turn into a slash at the end.
fn join(folder: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { folder.to_owned() } else { folder.join(rest) }
}

/// `a/../b` is `b` where `a` is not there yet; where it is there and a link, the system would say otherwise, so that
/// what is there is resolved first.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain = plain.canonicalize().unwrap_or(plain);
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_url() {
        let firestore = |project: &str, database: &str| {
            Some(StateUrl::Firestore { project: project.into(), database: database.into() })
        };
        for (text, expected) in [
            ("sqlite:data/state.db", Some(StateUrl::Sqlite("data/state.db".into()))),
            ("sqlite:/var/lib/s.db", Some(StateUrl::Sqlite("/var/lib/s.db".into()))),
            ("sqlite:///var/lib/s.db", Some(StateUrl::Sqlite("/var/lib/s.db".into()))),
            ("sqlite::memory:", Some(StateUrl::Memory)),
            ("sqlite://:memory:", Some(StateUrl::Memory)),
            ("sqlite:file::memory:", None),
            ("firestore://p/(default)", firestore("p", "(default)")),
            ("firestore://p/%28default%29", firestore("p", "(default)")),
            ("firestore://p", firestore("p", "(default)")),
            ("firestore://p/named/", firestore("p", "named")),
            ("firestore:///d", None),
            ("sqlite:", None),
            ("sqlite:/dev/null", None),
            ("postgres://x", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn the_outbox_and_the_state_have_a_file_each() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("real")).unwrap();
        std::fs::write(at("real/s.db"), "").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
        let here = std::env::current_dir().unwrap();
        for (outbox, state, one) in [
            ("s.db".into(), "s.db".into(), true),
            ("s.db".into(), "./s.db".into(), true),
            ("nowhere/s.db".into(), "nowhere/deep/../s.db".into(), true),
            (here.join("nowhere/s.db"), "nowhere/./s.db".into(), true),
            (at("real/s.db"), at("link/s.db"), cfg!(unix)),
            (at("real/new.db"), at("link/new.db"), cfg!(unix)),
            (at("real/new.db"), at("link/../real/new.db"), true),
            ("s.db".into(), "state/s.db".into(), false),
            ("outbox.db".into(), "state.db".into(), false),
        ] {
            let (outbox, state): (PathBuf, PathBuf) = (outbox, state);
            let mut env = Env::default();
            let config = StateConfig { url: StateUrl::Sqlite(state.clone()), emulator: None };
            config.require_own_file(&mut env, &outbox);
            assert_eq!(env.has_problems(), one, "{outbox:?} {state:?}");
        }
    }

    #[test]
    fn an_emulator_host_may_carry_a_scheme() {
        assert_eq!(Url::parse(FIRESTORE).unwrap().scheme(), "https");
        for (text, host) in
            [("127.0.0.1:1", Some("http://127.0.0.1:1/")), ("http://h:2/", Some("http://h:2/")), ("h", None)]
        {
            let mut env = Env::from_pairs([("FIRESTORE_EMULATOR_HOST", text)]);
            let read = StateConfig::read(&mut env);
            assert_eq!(read.and_then(|config| config.emulator).as_ref().map(Url::as_str), host, "{text}");
            assert_eq!(env.has_problems(), host.is_none());
        }
    }
}
