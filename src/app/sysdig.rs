//! What runs towards Sysdig in the background: the poller, and the notification channel's setting-up.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::calls::pause;
use crate::causes::chain;
use crate::config::Config;
use crate::config::outbox::OutboxConfig;
use crate::config::state::StateUrl;
use crate::config::sysdig::AutoChannel;
use crate::receive::Intake;
use crate::receive::poller::{Parts, Poller};
use crate::state::Store;
use crate::sysdig::channels::{Change, Channel, ChannelSpec, May};
use crate::sysdig::{Client, Patience};

/// The poller, when it is on.
pub(super) fn poller(config: &Config, intake: &Intake, state: &Arc<dyn Store>) -> Result<Option<Poller>, StartError> {
    let (Some(settings), Some(access)) = (config.sysdig.poll.clone(), config.sysdig.access.clone()) else {
        return Ok(None);
    };
    let patience = Patience { timeout: config.sysdig.timeout, ..Patience::default() };
    let parts = Parts {
        client: Client::new(access, patience)?,
        destination: Arc::new(intake.clone()),
        state: Arc::clone(state),
        replica: replica(&config.state.url, &config.outbox),
    };
    Ok(Some(Poller::new(parts, settings)))
}

/// What the lease on polling is held under: no two processes may have the same name. State in a file may be shared by
/// connectors of this machine, each of which has the lock on an outbox of its own: its path is the name, which must
/// differ between containers too. Whoever comes after a crash is then the same, and need not wait for the lease to run
/// out. Elsewhere an outbox has the same path on all replicas, or is another one at the next start.
fn replica(state: &StateUrl, outbox: &OutboxConfig) -> String {
    match state {
        StateUrl::Sqlite(_) | StateUrl::Memory if !outbox.ephemeral => {
            let path = outbox.path.canonicalize().or_else(|_| std::path::absolute(&outbox.path));
            let path = path.unwrap_or_else(|_| outbox.path.clone());
            format!("outbox-{}", hex::encode(&Sha256::digest(path.as_os_str().as_encoded_bytes())[..8]))
        }
        _ => format!("{}-{:016x}", std::process::id(), rand::random::<u64>()),
    }
}

/// What sets up the notification channel, when everything it needs is set and `SYSDIG_AUTO_CHANNEL` is not false.
pub(super) fn channel(config: &Config) -> Result<Option<ChannelSetup>, StartError> {
    let sysdig = &config.sysdig;
    let (Some(access), Some(url), Some((token, older))) =
        (sysdig.access.clone(), &sysdig.webhook_url, config.server.tokens.split_first())
    else {
        return Ok(None);
    };
    if sysdig.auto_channel == AutoChannel::Off {
        return Ok(None);
    }
    let patience = Patience { timeout: sysdig.timeout, ..Patience::default() };
    let spec = ChannelSpec {
        name: sysdig.channel_name.clone(),
        url: url.to_string(),
        token: token.clone(),
        older: older.to_vec(),
        allow_insecure: sysdig.webhook_allow_insecure,
    };
    let may = if sysdig.renews_channel(config.scc.is_rehearsal()) { May::CreateAndUpdate } else { May::Create };
    Ok(Some(ChannelSetup { client: Client::new(access, patience)?, spec, may }))
}

/// How long after a failure, doubling up to the last.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LAST_WAIT: Duration = Duration::from_secs(600);

/// Finds or creates the notification channel, once.
#[derive(Debug)]
pub(super) struct ChannelSetup {
    client: Client,
    spec: ChannelSpec,
    may: May,
}

impl ChannelSetup {
    /// Tries until it succeeds, with growing pauses: the server must not wait for it, nor fail with it.
    pub(super) async fn run(self, stop: CancellationToken) {
        for attempt in 1.. {
            match self.client.ensure_channel(&self.spec, self.may).await {
                Ok(channel) => {
                    self.tell(&channel);
                    return;
                }
                Err(error) if !error.is_transient() => {
                    tracing::error!(
                        error = chain(&error),
                        remedy = error.remedy(),
                        "the notification channel at Sysdig could not be set up; `sysdig-scc setup channel` tries again"
                    );
                    return;
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the notification channel at Sysdig could not be set up yet")
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause(attempt, FIRST_WAIT, LAST_WAIT, rand::random())) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn tell(&self, channel: &Channel) {
        let (name, id) = (&self.spec.name, channel.id);
        match &channel.change {
            Change::Updated(differs) if self.may != May::CreateAndUpdate => tracing::warn!(
                channel = name,
                id,
                differs = differs.join(", "),
                remedy = "`sysdig-scc setup channel` makes it lead here; so does SYSDIG_AUTO_CHANNEL=true at each start, also in a rehearsal",
                "the notification channel at Sysdig is not as the settings have it, and was left so: this is a rehearsal"
            ),
            done => tracing::info!(channel = name, id, done = %done, "the notification channel at Sysdig is set up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;

    #[test]
    fn a_connector_polls_under_the_name_of_its_outbox() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(at("real")).unwrap();
        std::fs::write(at("real/a.db"), "").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
        let named = |outbox: &str, cloud_run: bool, state: &StateUrl| {
            let mut pairs = vec![("OUTBOX_URL", format!("sqlite:{}", at(outbox)))];
            if cloud_run {
                pairs.extend([("K_SERVICE", "x".to_owned()), ("ALLOW_EPHEMERAL_OUTBOX", "true".to_owned())]);
            }
            replica(state, &OutboxConfig::read(&mut Env::from_pairs(pairs)).unwrap())
        };
        let file = StateUrl::Sqlite(at("state.db").into());
        let shared = StateUrl::Firestore { project: "p".into(), database: "d".into() };
        for (one, other, cloud_run, state, same) in [
            ("real/a.db", "real/a.db", false, &file, true),
            ("real/a.db", "link/../real/a.db", false, &file, true),
            ("real/a.db", "link/a.db", false, &file, cfg!(unix)),
            ("real/a.db", "real/b.db", false, &file, false),
            ("real/a.db", "real/a.db", true, &file, false),
            ("real/a.db", "real/a.db", false, &shared, false),
        ] {
            let names = [one, other].map(|outbox| named(outbox, cloud_run, state));
            assert_eq!(names[0] == names[1], same, "{one} {other} {cloud_run} {state:?}");
        }
    }
}
