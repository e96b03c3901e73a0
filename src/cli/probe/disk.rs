//! The two stores on this machine, or where the state is otherwise. A file that is not there yet is not made.

use std::path::Path;
use std::time::Duration;

use super::google::{self, Asked};
use super::{Ask, Report};
use crate::app::ground;
use crate::causes::chain;
use crate::cli::health;
use crate::config::google::Account;
use crate::config::state::{STATE_URL, StateUrl};
use crate::outbox::sqlite::Admin;
use crate::outbox::{Sqlite, Store, StoreError};
use crate::state::{self, StateError};

/// How long the connector beside us may take to say how it is: its own try waits two seconds for a lock.
const ANSWER: Duration = Duration::from_secs(6);
const DAMAGED: &str = "see \"Senders get 503\" in docs/operations.md, under `damaged`";
const DAMAGED_STATE: &str = "see \"A damaged state store\" in docs/operations.md";
const REFUSES: &str = "see \"Senders get 503\" in docs/operations.md";
const FOLDER: &str = "make the folder writable for the user this runs as, or set";

/// The outbox.
pub(super) async fn outbox(ask: Ask, report: Report) {
    let settings = &ask.config.outbox;
    let path = settings.path.display();
    let remedy = format!("{FOLDER} OUTBOX_URL to a file on a lasting disk");
    if !settings.path.exists() {
        return match ground::room(&settings.path) {
            Ok(()) => report.ok("outbox", format!("{path} will be made")),
            Err(error) => report.fail("outbox", format!("{path} cannot be made: {error}"), remedy),
        };
    }
    match Sqlite::open(&settings.path, settings.keep) {
        // A disk that cannot be written now is no obstacle to opening: only a write tells.
        Ok(store) => match probed(store, &settings.path).await {
            Ok(()) => report.ok("outbox", format!("{path} can be written")),
            Err(error @ StoreError::Damaged(_)) => report.fail("outbox", chain(&error), DAMAGED),
            Err(error) => report.fail("outbox", chain(&error), remedy),
        },
        Err(error @ StoreError::Damaged(_)) => report.fail("outbox", chain(&error), DAMAGED),
        Err(StoreError::InUse { .. }) => beside(&ask, &report).await,
        Err(error @ StoreError::TooNew { .. }) => {
            report.fail("outbox", chain(&error), "run the newer version, or set OUTBOX_URL to another file");
        }
        Err(error) => report.fail("outbox", chain(&error), remedy),
    }
}

/// Whether it can be written, and is sound.
async fn probed(store: Sqlite, path: &Path) -> Result<(), StoreError> {
    store.probe().await?;
    drop(store);
    read_whole(path).await
}

/// The file of a running connector: it is read without its lock, and whether it can be written the connector is asked.
async fn beside(ask: &Ask, report: &Report) {
    let settings = &ask.config.outbox;
    let found = format!("{} is in use by a running connector", settings.path.display());
    // A file of many gigabytes takes longer than anybody waits for a line.
    let patience = ask.deadline / 2;
    let reading = tokio::time::timeout(patience, read_whole(&settings.path));
    let (read, store) = tokio::join!(reading, health::told("store", ask.config.server.listen, patience.min(ANSWER)));
    let read = match read {
        Ok(Ok(())) => "it is sound",
        Ok(Err(error @ StoreError::Damaged(_))) => return report.fail("outbox", chain(&error), DAMAGED),
        Ok(Err(error)) => return report.fail("outbox", format!("{found}, and {}", chain(&error)), REFUSES),
        Err(_) => "it is too large to be read whole in time",
    };
    match store.as_deref() {
        Ok("writable") => report.ok("outbox", format!("{found}, which writes it; {read}")),
        Ok(told) => report.fail("outbox", format!("{found}, which says: {told}"), REFUSES),
        Err(url) => report.warn(
            "outbox",
            format!("{found}; {read}. Whether it can be written is not known: no connector answers at {url}"),
            "set LISTEN_ADDRESS and PORT as the connector has them",
        ),
    }
}

/// Whether it is sound. It is read without its lock, so that a connector can run meanwhile.
async fn read_whole(path: &Path) -> Result<(), StoreError> {
    let admin = Admin::open(path)?;
    let _end = Interrupted(admin.interrupt());
    tokio::task::spawn_blocking(move || admin.check()).await.map_err(|_ended| StoreError::Closed)?
}

/// Ends the reading when nobody waits for it any more.
struct Interrupted(rusqlite::InterruptHandle);

impl Drop for Interrupted {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

/// The state store.
pub(super) async fn state(ask: Ask, report: Report) {
    match &ask.config.state.url {
        StateUrl::Memory => report.warn(
            "state",
            "is kept in memory: after a restart no baseline is known, caps begin at 0, and the poller starts over",
            "set STATE_URL to a file on a lasting disk, or to firestore://PROJECT/DATABASE",
        ),
        StateUrl::Sqlite(path) => match file(&ask, path).await {
            Ok(found) => report.ok("state", found),
            Err((found, remedy)) => report.fail("state", found, remedy),
        },
        StateUrl::Firestore { project, database } if ask.offline => {
            report.ok("state", format!("Firestore {project}/{database}, which was not asked"));
        }
        StateUrl::Firestore { project, database } => match ping(&ask).await {
            Ok(()) => report.ok("state", format!("Firestore {project}/{database} answers")),
            Err(error) => {
                let remedy = firestore_remedy(&ask, &error, project, database).await;
                report.fail("state", chain(&error), remedy);
            }
        },
    }
}

/// How the state's file is, or what is wrong with it and its remedy.
async fn file(ask: &Ask, path: &Path) -> Result<String, (String, String)> {
    let shown = path.display();
    if let Some(told) = in_use(ask, path).await {
        return Err((format!("a connector that runs here says: {told}"), DAMAGED_STATE.to_owned()));
    }
    let remedy = format!("{FOLDER} STATE_URL to a file on a lasting disk");
    if !path.exists() {
        let room = ground::room(path).map(|()| format!("{shown} will be made"));
        return room.map_err(|error| (format!("{shown} cannot be made: {error}"), remedy));
    }
    if let Some(problem) = ground::store(&STATE_URL, path) {
        return Err((problem.wrong, problem.remedy));
    }
    match ping(ask).await {
        Ok(()) => Ok(format!("{shown} is sound and can be written")),
        Err(error @ StateError::Damaged { .. }) => Err((chain(&error), DAMAGED_STATE.to_owned())),
        Err(error) => Err((chain(&error), remedy)),
    }
}

/// What a connector of these settings has to complain of this file: one that was removed while it was open is missed by
/// nobody else.
async fn in_use(ask: &Ask, path: &Path) -> Option<String> {
    let patience = (ask.deadline / 2).min(ANSWER);
    let told = health::told("state", ask.config.server.listen, patience).await.ok()?;
    told.contains(&path.display().to_string()).then_some(told)
}

async fn ping(ask: &Ask) -> Result<(), StateError> {
    let config = &ask.config;
    let tokens = config.google.token_source(Account::Security, &config.state.firestore_base());
    let tokens = tokens.map_err(|source| StateError::Refused {
        place: "STATE_URL".into(),
        remedy: source.remedy().into(),
        source: source.into(),
    })?;
    state::open(&config.state, &tokens)?.ping().await
}

async fn firestore_remedy(ask: &Ask, error: &StateError, project: &str, database: &str) -> String {
    let (StateError::Refused { source, .. } | StateError::Unavailable { source, .. }) = error else {
        return "check STATE_URL".into();
    };
    let Some(cause) = source.downcast_ref::<crate::google::ApiError>() else {
        return "check STATE_URL and the credentials".into();
    };
    let tokens = ask.config.google.token_source(Account::Security, &ask.config.state.firestore_base());
    let member = match &tokens {
        Ok(tokens) => google::member(tokens).await,
        Err(_) => "serviceAccount:ACCOUNT".into(),
    };
    google::remedy(
        cause,
        &Asked {
            api: "firestore.googleapis.com",
            project: Some(project),
            grant: format!(
                "gcloud projects add-iam-policy-binding {project} --member {member} --role roles/datastore.user"
            ),
            missing: format!(
                "gcloud firestore databases create --database '{database}' --project {project} --location REGION --type firestore-native"
            ),
        },
    )
}
