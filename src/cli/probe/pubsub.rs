//! Pub/Sub: the subscription that is pulled, or the keys by which pushes are told from forgeries.

use super::google::{self, Asked};
use super::{Ask, Report};
use crate::attest::key_source::{FetchRules, KeySource};
use crate::calls::told;
use crate::causes::chain;
use crate::config::google::Account;
use crate::config::pubsub::Push;
use crate::google::pubsub::{Client, Subscription};

const WHAT: &str = "Pub/Sub subscription";
const PUSH: &str = "Pub/Sub push";
const CONSUME: &str = "pubsub.subscriptions.consume";

/// Asks for what is configured.
pub(super) async fn look(ask: Ask, report: Report) {
    tokio::join!(pull(&ask, &report), push(&ask, &report));
}

async fn pull(ask: &Ask, report: &Report) {
    let config = &ask.config;
    let Some(name) = config.pubsub.subscription.as_deref() else { return };
    let base = config.pubsub.base();
    let tokens = match config.google.token_source(Account::Security, &base) {
        Ok(tokens) => config.pubsub.tokens(&tokens),
        Err(error) => return report.fail(WHAT, chain(&error), error.remedy()),
    };
    let client = match Client::new(&base, &tokens) {
        Ok(client) => client,
        Err(error) => return report.fail(WHAT, chain(&error), "check PUBSUB_EMULATOR_HOST"),
    };
    let member = google::member(&tokens).await;
    let place = Place::of(name);
    let grant = format!(
        "gcloud pubsub subscriptions add-iam-policy-binding {} --project {} --member {member} --role roles/pubsub.subscriber",
        place.id, place.project
    );
    let asked = Asked {
        api: "pubsub.googleapis.com",
        project: Some(place.project),
        grant: grant.clone(),
        missing: place.create(),
    };
    // An emulator has no roles.
    let granted = match config.pubsub.emulator {
        Some(_) => Ok(true),
        None => client.permitted(name, &[CONSUME]).await.map(|all| all.iter().any(|one| one == CONSUME)),
    };
    match granted {
        Ok(true) => {}
        Ok(false) => {
            return report.fail(WHAT, format!("{CONSUME} is not granted on {name}, or it is not there"), grant);
        }
        Err(error) => return report.fail(WHAT, chain(&error), google::remedy(&error, &asked)),
    }
    match client.subscription(name).await {
        Ok(Some(found)) => settings(&place, name, &found, report),
        Ok(None) => report.fail(WHAT, format!("{name} is not there"), place.create()),
        Err(error) if error.status() == Some(403) && !error.is_disabled() => {
            report.ok(
                WHAT,
                format!("{name} may be pulled; its settings may not be seen (that takes roles/pubsub.viewer)"),
            );
        }
        Err(error) => report.fail(WHAT, chain(&error), google::remedy(&error, &asked)),
    }
}

fn settings(place: &Place<'_>, name: &str, found: &Subscription, report: &Report) {
    let update = format!("gcloud pubsub subscriptions update {} --project {}", place.id, place.project);
    let pushes =
        found.push_config.as_ref().is_some_and(|push| push["pushEndpoint"].as_str().is_some_and(|to| !to.is_empty()));
    if found.writes_illegal_headers() {
        let why = "pushes without a wrapper and writes attributes as headers, among them Logging's, whose name is no legal one";
        report.warn(
            WHAT,
            format!("{name} {why}: every delivery is refused"),
            format!("{update} --clear-push-no-wrapper-config"),
        );
    }
    let expires = "is deleted after a time without messages, which are rare here";
    let keep = format!("{update} --expiration-period never");
    if pushes {
        if found.expires() {
            report.warn(WHAT, format!("{name} {expires}"), keep);
        }
        let remedy = format!(
            "gcloud pubsub subscriptions modify-push-config {} --project {} --push-endpoint='', or remove PUBSUB_SUBSCRIPTION and receive pushes",
            place.id, place.project
        );
        return report.fail(WHAT, format!("{name} pushes, so it cannot be pulled"), remedy);
    }
    match found.expires() {
        true => report.warn(WHAT, format!("{name} may be pulled, but {expires}"), keep),
        false => report.ok(WHAT, format!("{name} may be pulled")),
    }
}

/// The parts of a subscription's name.
struct Place<'a> {
    project: &'a str,
    id: &'a str,
}

impl<'a> Place<'a> {
    fn of(name: &'a str) -> Self {
        let mut parts = name.split('/');
        Self { project: parts.nth(1).unwrap_or("PROJECT"), id: parts.next_back().unwrap_or("SUBSCRIPTION") }
    }

    fn create(&self) -> String {
        format!(
            "gcloud pubsub subscriptions create {} --project {} --topic TOPIC --expiration-period never",
            self.id, self.project
        )
    }
}

async fn push(ask: &Ask, report: &Report) {
    let token = match &ask.config.pubsub.push {
        Push::Closed => return,
        Push::Unverified => {
            let found =
                "PUBSUB_PUSH_UNVERIFIED is set: anybody who reaches POST /pubsub/push can make and close findings";
            return report.warn(PUSH, found, "set PUBSUB_PUSH_AUDIENCE and PUBSUB_PUSH_ACCOUNTS instead");
        }
        Push::Verified(token) => token,
    };
    let rules = FetchRules { timeout: ask.deadline, ..FetchRules::default() };
    let answer = match KeySource::key_set(token.jwks.clone(), rules) {
        Ok(source) => source.ask().await,
        Err(error) => Err(error),
    };
    match answer {
        // A subscription that pushes names itself nowhere in our settings: what it must be like is said unasked.
        Ok(()) => report.ok(
            PUSH,
            format!(
                "the issuer's keys can be fetched; pushes by {} are taken. The subscription is not looked at: see to it that it never expires and writes no metadata as headers (`setup sink --dry-run` compares)",
                token.accounts.join(", ")
            ),
        ),
        Err(error) => report.fail(
            PUSH,
            format!("{}: {}", told(&token.jwks), chain(&error)),
            "check PUBSUB_PUSH_JWKS_URL, and that this machine may reach it",
        ),
    }
}
