//! What `check` asks the state store and Pub/Sub.

use super::check::{Line, State, ok};
use crate::config::Config;
use crate::config::google::Account;
use crate::config::pubsub::Push;
use crate::google::pubsub::{Client, Subscription};
use crate::state;
use crate::telemetry::chain;

/// Asks both, and adds a line for each.
pub(super) async fn outside(config: &Config, lines: &mut Vec<Line>) {
    lines.push(match store(config).await {
        Ok(()) => ok("state", "STATE_URL can be written"),
        Err(error) => {
            line("state", State::Failed, chain(&*error), "see what the error says; STATE_URL names the store")
        }
    });
    if config.pubsub.push == Push::Unverified {
        let found = "PUBSUB_PUSH_UNVERIFIED lets anybody who reaches the port raise and close findings".to_owned();
        lines.push(line("pushes", State::Warning, found, "set PUBSUB_PUSH_AUDIENCE and PUBSUB_PUSH_ACCOUNTS instead"));
    }
    if let Some(name) = &config.pubsub.subscription {
        lines.extend(match subscription(config, name).await {
            Ok(found) => judge(found.as_ref()),
            Err(error) => {
                vec![line(
                    "subscription",
                    State::Failed,
                    chain(&*error),
                    "grant roles/pubsub.subscriber and roles/pubsub.viewer on it",
                )]
            }
        });
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

async fn store(config: &Config) -> Result<(), Cause> {
    let tokens = config.google.token_source(Account::Security, &config.state.firestore_base())?;
    Ok(state::open(&config.state, &tokens).await?.ping().await?)
}

async fn subscription(config: &Config, name: &str) -> Result<Option<Subscription>, Cause> {
    let base = config.pubsub.base();
    let tokens = config.google.token_source(Account::Security, &base)?;
    Ok(Client::new(&base, &config.pubsub.tokens(&tokens))?.subscription(name).await?)
}

fn judge(found: Option<&Subscription>) -> Vec<Line> {
    const WHAT: &str = "subscription";
    let Some(found) = found else {
        return vec![line(
            WHAT,
            State::Failed,
            "it does not exist".into(),
            "create it, or correct PUBSUB_SUBSCRIPTION",
        )];
    };
    let mut lines = Vec::new();
    if found.push_config.as_ref().is_some_and(|config| config.get("pushEndpoint").is_some()) {
        lines.push(line(WHAT, State::Failed, "it pushes, so it cannot be pulled".into(), "name a pull subscription"));
    }
    if found.writes_illegal_headers() {
        let told = "it writes metadata as headers, whose names HTTP does not allow; every push is answered 400".into();
        lines.push(line(WHAT, State::Failed, told, "recreate it without --push-no-wrapper-write-metadata"));
    }
    if found.expires() {
        let told = "it expires when there is no message for a while, and boot reports are rare".into();
        lines.push(line(WHAT, State::Warning, told, "gcloud pubsub subscriptions update … --expiration-period=never"));
    }
    if lines.is_empty() {
        lines.push(ok(WHAT, "it exists, pulls and never expires"));
    }
    lines
}

fn line(what: &str, state: State, found: String, remedy: &str) -> Line {
    Line { what: what.into(), state, found, remedy: Some(remedy.into()) }
}
