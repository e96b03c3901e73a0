//! What the settings name on this machine: files and folders, looked at before the start. Nobody outside is asked, nothing
//! is made, and what one part lacks hides nothing of the others.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::attest::chain::Roots;
use crate::attest::key_source::{FetchRules, KeySource};
use crate::attest::keys::KeySet;
use crate::attest::policies::{Policies, Table};
use crate::causes::chain;
use crate::config::attestation::{
    ATTESTATION_JOURNAL, ATTESTATION_JWKS_FILE, ATTESTATION_LOG_POLICY, ATTESTATION_POLICIES, ATTESTATION_POLICY,
    ATTESTATION_ROOT, ATTESTATION_SECRETS, AttestationConfig,
};
use crate::config::enrich::{KUBERNETES_ENRICH, KubernetesConfig};
use crate::config::outbox::OUTBOX_URL;
use crate::config::state::{STATE_URL, StateUrl};
use crate::config::{Areas, Config, Env, Problem, Problems, Setting};
use crate::enrich::login;
use crate::files;
use crate::receive::attestation::{fetched, owner, stand_in};

/// The settings, when nothing is wrong with them nor with what they name on this machine.
///
/// # Errors
/// All problems at once.
pub(crate) async fn stand_on(mut env: Env) -> Result<Config, Problems> {
    let areas = Areas::read(&mut env);
    let found = look(&areas).await;
    doubt(&areas, &mut env);
    let config = areas.whole(&env);
    let mut problems = env.finish().err().map(|problems| problems.0).unwrap_or_default();
    problems.extend(found);
    config.filter(|_| problems.is_empty()).ok_or(Problems(problems))
}

/// What is wrong on this machine, of the parts whose own settings could be read.
pub(crate) async fn look(areas: &Areas) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(areas.outbox.as_ref().and_then(|outbox| store(&OUTBOX_URL, &outbox.path)));
    if let Some(StateUrl::Sqlite(path)) = areas.state.as_ref().map(|state| &state.url) {
        problems.extend(store(&STATE_URL, path));
    }
    if let Some(kubernetes) = areas.kubernetes.as_ref() {
        problems.extend(cluster(kubernetes).await);
    }
    if let Some(attestation) = areas.attestation.clone() {
        // Compiling waits for a thread of its own: not something for the runtime's threads.
        let looked = tokio::task::spawn_blocking(move || {
            let mut found = policies(&attestation);
            found.extend(keys_and_journal(&attestation));
            found
        });
        problems.extend(looked.await.unwrap_or_else(|error| {
            let remedy = "report this, with the policies if you may";
            vec![problem(&ATTESTATION_POLICIES, format!("could not be looked at: {error}"), remedy)]
        }));
    }
    problems
}

/// Databases of ours that somebody else may write too: what they hold is believed.
pub(crate) fn doubt(areas: &Areas, env: &mut Env) {
    let outbox = areas.outbox.as_ref().map(|outbox| (&OUTBOX_URL, &outbox.path));
    let state = areas.state.as_ref().and_then(|state| match &state.url {
        StateUrl::Sqlite(path) => Some((&STATE_URL, path)),
        StateUrl::Memory | StateUrl::Firestore { .. } => None,
    });
    for (setting, path) in outbox.into_iter().chain(state) {
        let Some(who) = std::fs::metadata(path).ok().and_then(|found| files::others_who_write(&found)) else {
            continue;
        };
        let remedy = "whoever writes it decides what is delivered and known: `chown` it to the user this runs as, and `chmod 600` it";
        env.doubt(setting.name, &format!("names {}, which {who}", path.display()), remedy);
    }
}

fn problem(setting: &Setting, wrong: String, remedy: &str) -> Problem {
    Problem { setting: setting.name.into(), wrong, remedy: remedy.into() }
}

/// A database. One that cannot be written now is no obstacle: it mends itself.
pub(crate) fn store(setting: &Setting, path: &Path) -> Option<Problem> {
    let shown = path.display();
    let remedy = format!(
        "make the folder writable for the user this runs as, or set {} to a file on a lasting disk",
        setting.name
    );
    if !path.exists() {
        // On a disk that became read-only the lock beside the file is still there.
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        let error = room(path).err().filter(|_| !Path::new(&lock).exists())?;
        return Some(problem(setting, format!("names {shown}, which cannot be made: {error}"), &remedy));
    }
    match is_database(path) {
        Ok(true) => None,
        Ok(false) => {
            let remedy = format!(
                "set {} to another file, or move that one away; of one that was a database, docs/operations.md says under \
                 \"damaged\" what can be saved",
                setting.name
            );
            Some(problem(setting, format!("names {shown}, which is no SQLite database"), &remedy))
        }
        Err(error) => Some(problem(setting, format!("names {shown}, which cannot be opened: {error}"), &remedy)),
    }
}

/// Whether a file begins as every database does, or is empty, as a new one is.
fn is_database(path: &Path) -> io::Result<bool> {
    const BEGINNING: &[u8] = b"SQLite format 3\0";
    let mut beginning = Vec::new();
    File::open(path)?.take(BEGINNING.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning.is_empty() || beginning == BEGINNING)
}

/// Whether a file can be made at `path`: a nameless one is made in the nearest folder that is there, and gone at once.
pub(crate) fn room(path: &Path) -> io::Result<()> {
    let here = Path::new(".");
    let folders = path.ancestors().skip(1).map(|folder| if folder.as_os_str().is_empty() { here } else { folder });
    let nearest = folders.into_iter().find(|folder| folder.exists()).unwrap_or(here);
    tempfile::tempfile_in(nearest).map(drop)
}

/// The kubeconfig, or what a pod is given. No API server is asked.
pub(crate) async fn cluster(config: &KubernetesConfig) -> Option<Problem> {
    let error = login::settings(&config.source).await.err()?;
    let remedy = "set it to off, in-cluster or kubeconfig, and KUBERNETES_CONTEXT to a context of the kubeconfig";
    Some(problem(&KUBERNETES_ENRICH, format!("cannot be done: {}", chain(&error)), remedy))
}

/// The policies: every file that is none, and every one that a setting names and that is not there.
pub(crate) fn policies(config: &AttestationConfig) -> Vec<Problem> {
    let Some(folder) = &config.policies else { return Vec::new() };
    let (table, faults) = Policies::look(folder);
    if !faults.is_empty() {
        let remedy =
            "correct the file, or ATTESTATION_POLICIES; `sysdig-scc attest lint FILE` says what is wrong with it";
        let told = |fault| problem(&ATTESTATION_POLICIES, format!("cannot be used: {}", chain(&fault)), remedy);
        // Which names are missing is not known as long as files are.
        return faults.into_iter().map(told).collect();
    }
    let mut problems = missing(config, &table, folder);
    problems.extend(unaskable(config, &table));
    problems
}

fn missing(config: &AttestationConfig, table: &Table, folder: &Path) -> Vec<Problem> {
    let names: Vec<&str> = table.keys().map(String::as_str).collect();
    let names = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
    let secrets = config.secrets.iter().map(|rule| (&ATTESTATION_SECRETS, &rule.policy));
    let asked = config.asked.iter().map(|name| (&ATTESTATION_POLICY, name));
    let logged = config.logged.iter().map(|name| (&ATTESTATION_LOG_POLICY, name));
    let named = secrets.chain(asked).chain(logged);
    named
        .filter(|(_, name)| !table.contains_key(*name))
        .map(|(setting, name)| {
            let wrong = format!("names {name}, which is not among the policies of {}: {names}", folder.display());
            problem(setting, wrong, &format!("correct {}, or add the policy's file", setting.name))
        })
        .collect()
}

/// Issuers at addresses that no keys may come from.
fn unaskable(config: &AttestationConfig, table: &Table) -> Vec<Problem> {
    let owner = match config.jwks_file.as_ref().map(|_| owner(table)).transpose() {
        Ok(owner) => owner,
        Err(_) => {
            let issuers = fetched(table).into_iter().collect::<Vec<_>>().join(", ");
            let wrong =
                format!("holds the keys of one issuer, but the policies name several, and not Google's: {issuers}");
            let remedy = "remove it, and the keys are fetched, or give each issuer's keys in its policies (jwksJson)";
            return vec![problem(&ATTESTATION_JWKS_FILE, wrong, remedy)];
        }
    };
    let stand_in = stand_in(config, table);
    let of = |issuer: &str| stand_in.as_ref().filter(|(of, _)| of == issuer).map(|(_, base)| base.clone());
    let asked = table.values().filter(|policy| policy.keys.is_none() && owner != Some(&policy.issuer));
    asked
        .filter_map(|policy| {
            let base = of(&policy.issuer).unwrap_or_else(|| policy.issuer.clone());
            let error = KeySource::issuer(&policy.issuer, &base, FetchRules::default(), None).err()?;
            let wrong = format!("has the policy {}, whose issuer cannot be asked: {}", policy.name, chain(&error));
            Some(problem(&ATTESTATION_POLICIES, wrong, "correct the policy's issuer, or give its keys in the policy"))
        })
        .collect()
}

/// The issuer's keys, the root's certificate and the journal, when attestation is on.
pub(crate) fn keys_and_journal(config: &AttestationConfig) -> Vec<Problem> {
    if config.policies.is_none() {
        return Vec::new();
    }
    let keys = config.jwks_file.as_deref().and_then(|path| {
        let remedy = "correct the path, or put the issuer's keys there: a JSON object with the list keys";
        let wrong = file(path, |bytes| KeySet::read(bytes).map(drop).map_err(|error| chain(&error)))?;
        Some(problem(&ATTESTATION_JWKS_FILE, wrong, remedy))
    });
    let root = config.root.as_deref().filter(|text| Roots::fingerprint(text).is_err()).and_then(|path| {
        let remedy = "give the SHA-256 of the root's certificate in hex, or a file with the certificate";
        let wrong = file(Path::new(path), |bytes| Roots::certificates(bytes).map(drop).map_err(|error| chain(&error)))?;
        Some(problem(&ATTESTATION_ROOT, wrong, remedy))
    });
    let journal = match config.journal.exists() {
        // Whether somebody reads it is found out where it is opened for good.
        true if files::is_pipe(&config.journal) => Ok(()),
        true => files::appended_to(&config.journal).map(drop),
        false => room(&config.journal),
    };
    let journal = journal.err().map(|error| {
        let wrong = format!("names {}, which cannot be written: {error}", config.journal.display());
        problem(&ATTESTATION_JOURNAL, wrong, "set it to a file in a folder that the user this runs as may write to")
    });
    [keys, root, journal].into_iter().flatten().collect()
}

/// What is wrong with a file's content, or that it cannot be read.
fn file(path: &Path, read: impl FnOnce(&[u8]) -> Result<(), String>) -> Option<String> {
    let shown = path.display();
    match std::fs::read(path) {
        Err(error) => Some(format!("names {shown}, which cannot be read: {error}")),
        Ok(bytes) => read(&bytes).err().map(|why| format!("names {shown}, which cannot be used: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(pairs: &[(&'static str, String)]) -> String {
        let enough = [("WEBHOOK_AUTHENTICATION_TOKEN", "a-long-enough-token"), ("DRY_RUN", "true")];
        let enough = enough.map(|(name, value)| (name, value.to_owned()));
        let env = Env::from_pairs(enough.into_iter().chain(pairs.iter().cloned()));
        stand_on(env).await.err().map(|problems| problems.to_string()).unwrap_or_default()
    }

    #[tokio::test]
    async fn settings_and_what_they_name_are_told_in_one_list() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("file"), "no folder, and no database").unwrap();
        std::fs::create_dir(at("policies")).unwrap();
        std::fs::write(at("policies/one.yaml"), "{").unwrap();
        std::fs::write(at("policies/two.yaml"), "name: two").unwrap();
        let told = told(&[
            ("PORT", "abc".into()),
            ("OUTBOX_URL", format!("sqlite:{}", at("file/o.db"))),
            ("STATE_URL", format!("sqlite:{}", at("file"))),
            ("ATTESTATION_POLICIES", at("policies")),
            ("ATTESTATION_JWKS_FILE", at("nowhere")),
            ("ATTESTATION_ROOT", at("file")),
            ("ATTESTATION_JOURNAL", at("file/journal")),
        ])
        .await;
        for expected in ["has 8 problems", "PORT ", "cannot be made", "no SQLite database", "one.yaml", "two.yaml"] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        for setting in ["ATTESTATION_JWKS_FILE", "ATTESTATION_ROOT", "ATTESTATION_JOURNAL"] {
            assert!(told.contains(setting), "{setting}: {told}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_database_that_others_may_write_too_is_doubted_and_taken() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("s.db"), "").unwrap();
        let pairs = [
            ("WEBHOOK_AUTHENTICATION_TOKEN", "a-long-enough-token".to_owned()),
            ("DRY_RUN", "true".to_owned()),
            ("OUTBOX_URL", format!("sqlite:{}", at("o.db"))),
            ("STATE_URL", format!("sqlite:{}", at("s.db"))),
        ];
        for (mode, doubted) in [(0o644, false), (0o646, true)] {
            std::fs::set_permissions(at("s.db"), std::fs::Permissions::from_mode(mode)).unwrap();
            let config = stand_on(Env::from_pairs(pairs.clone())).await.unwrap();
            let told: Vec<_> = config.doubts.iter().map(|doubt| doubt.setting.as_str()).collect();
            assert_eq!(told, if doubted { vec!["STATE_URL"] } else { vec![] }, "{mode:o}: {:?}", config.doubts);
        }
    }

    #[tokio::test]
    async fn a_part_whose_settings_could_not_be_read_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let told = told(&[
            ("ATTESTATION_POLICIES", at("nowhere")),
            ("ATTESTATION_CHALLENGE_SECS", "1".into()),
            ("ATTESTATION_REQUIRE_NONCE", "perhaps".into()),
            ("OUTBOX_URL", format!("sqlite:{}", at("o.db"))),
            ("STATE_URL", format!("sqlite:{}", at("s.db"))),
        ])
        .await;
        assert!(told.contains("has 2 problems") && !told.contains("nowhere"), "{told}");
    }

    #[tokio::test]
    async fn where_all_is_well_nothing_is_told_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("s.db"), "").unwrap();
        std::fs::create_dir(at("policies")).unwrap();
        let pairs = [
            ("OUTBOX_URL", format!("sqlite:{}", at("deep/down/o.db"))),
            ("STATE_URL", format!("sqlite:{}", at("s.db"))),
            ("ATTESTATION_POLICIES", at("policies")),
            ("ATTESTATION_JOURNAL", at("deep/journal")),
        ];
        assert_eq!(told(&pairs).await, "");
        assert!(!folder.path().join("deep").exists());
        let pipe = ("ATTESTATION_JOURNAL", at("pipe"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe.1).status().unwrap().success());
        assert_eq!(told(&[&pairs[..3], &[pipe]].concat()).await, "", "a pipe is not opened just to look");
        let named = [("ATTESTATION_POLICY", "ours".to_owned())];
        let told = told(&[&pairs[..], &named].concat()).await;
        assert!(
            told.contains("names ours, which is not among the policies") && told.contains("there is none"),
            "{told}"
        );
    }
}
