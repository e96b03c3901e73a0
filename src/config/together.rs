//! Settings that make no sense together, across areas. Where what is wanted cannot be had, it is a problem; where a setting
//! only does nothing, a doubt, told at start.

use super::acting::{self, Mode};
use super::pubsub::Push;
use super::state::{FIRESTORE_EMULATOR_HOST, StateUrl};
use super::{Areas, Env, Setting, attestation as attest, enrich, google, pubsub, scc, sysdig};
use crate::config::enrich::KubernetesSource;
use crate::config::sysdig::AutoChannel;
use crate::sysdig::region::base_url;

/// Looks at what could be read.
pub(super) fn check(areas: &Areas, env: &mut Env) {
    one_value(env);
    sysdig_side(areas, env);
    look_ups(areas, env);
    stores_and_doors(areas, env);
    acting_side(areas, env);
    caps(areas, env);
    attestation_side(areas, env);
}

/// Two names of one setting say one thing: whichever were taken, somebody would wonder.
fn one_value(env: &mut Env) {
    for setting in sysdig::AREA.settings {
        let given: Vec<_> = setting.names().filter_map(|name| Some((name, env.under(name)?.to_owned()))).collect();
        let Some(((first, value), others)) = given.split_first() else { continue };
        let same = |other: &str| {
            other == value
                || setting.name == sysdig::SYSDIG_URL.name
                    && matches!((base_url(value), base_url(other)), (Ok(one), Ok(two)) if one == two)
        };
        // What `.env` says under another name is overruled, as it is under the same.
        let beside = |name: &str| env.is_from_file(name) == env.is_from_file(first);
        let differing: Vec<&str> =
            others.iter().filter(|(name, text)| !same(text) && beside(name)).map(|(name, _)| *name).collect();
        for other in differing {
            let wrong = format!("is another value than that of {other}, which is the same setting");
            env.problem(first, &wrong, "leave one of the two out");
        }
    }
}

/// Says that settings that are given do nothing.
fn idle<'s>(env: &mut Env, settings: impl IntoIterator<Item = &'s &'static Setting>, why: &str, remedy: &str) {
    for setting in settings {
        if env.given(setting).is_some() {
            env.doubt(setting.name, &format!("does nothing: {why}"), remedy);
        }
    }
}

/// The same for switches, which do nothing when they are off either.
fn idle_switches(env: &mut Env, switches: &[(bool, &'static Setting)], why: &str, remedy: &str) {
    idle(env, switches.iter().filter(|(on, _)| *on).map(|(_, setting)| setting), why, remedy);
}

fn sysdig_side(areas: &Areas, env: &mut Env) {
    let Some(config) = &areas.sysdig else { return };
    let ibm = env.given(&sysdig::SYSDIG_IBM_INSTANCE_ID).is_some();
    if !ibm {
        let only = [&sysdig::SYSDIG_TEAM_ID, &sysdig::SYSDIG_IBM_IAM_URL];
        idle(env, &only, "it is for IBM Cloud, and SYSDIG_IBM_INSTANCE_ID is not set", "set that too, or remove it");
    } else if env.given(&sysdig::SYSDIG_URL).is_none() {
        let wrong = "is not set, which means us1, but SYSDIG_IBM_INSTANCE_ID is";
        env.doubt(sysdig::SYSDIG_URL.name, wrong, "set it to the address of Sysdig Secure in IBM Cloud");
    }
    if config.webhook_url.is_none() {
        let switches = [(config.webhook_allow_insecure, &sysdig::WEBHOOK_ALLOW_INSECURE)];
        idle_switches(env, &switches, "WEBHOOK_URL is not set", "set that too, or remove it");
    }
    if config.webhook_url.is_none() || config.access.is_none() {
        let switches = [(config.auto_channel != AutoChannel::Off, &sysdig::SYSDIG_AUTO_CHANNEL)];
        let why = "the channel is set up when WEBHOOK_URL and SYSDIG_TOKEN are set";
        idle_switches(env, &switches, why, "set both, or remove it");
    }
}

fn look_ups(areas: &Areas, env: &mut Env) {
    let Some(config) = &areas.enrich else { return };
    match config.kubernetes.as_ref().map(|kubernetes| &kubernetes.source) {
        None => {
            let only = [&enrich::KUBERNETES_CONTEXT, &enrich::KUBERNETES_CLUSTER];
            idle(env, &only, "KUBERNETES_ENRICH is off", "set that to kubeconfig or in-cluster, or remove it");
        }
        Some(KubernetesSource::InCluster) => {
            let why = "KUBERNETES_ENRICH is in-cluster, where there is no kubeconfig";
            idle(env, &[&enrich::KUBERNETES_CONTEXT], why, "set that to kubeconfig, or remove it");
        }
        Some(_) => {}
    }
    if config.projects.is_empty() {
        let why = "no instance is looked up, as COMPUTE_PROJECT_ID is not set";
        idle(env, &[&enrich::COMPUTE_ZONE], why, "set that too, or remove it");
        if areas.acting.as_ref().is_some_and(|acting| acting.mode == Mode::Report) {
            idle(env, &[&google::COMPUTE_SERVICE_ACCOUNT_INFO], why, "set that too, or remove it");
        }
    }
}

fn stores_and_doors(areas: &Areas, env: &mut Env) {
    if let Some(state) = &areas.state
        && !matches!(state.url, StateUrl::Firestore { .. })
    {
        let remedy = "set that to firestore://PROJECT/DATABASE, or remove it";
        idle(env, &[&FIRESTORE_EMULATOR_HOST], "STATE_URL does not name Firestore", remedy);
    }
    if let Some(config) = &areas.pubsub
        && !matches!(config.push, Push::Verified(_))
    {
        let only = [&pubsub::PUBSUB_PUSH_ISSUERS, &pubsub::PUBSUB_PUSH_JWKS_URL];
        let why = "no push is verified, as PUBSUB_PUSH_AUDIENCE and PUBSUB_PUSH_ACCOUNTS are not set";
        idle(env, &only, why, "set those too, or remove it");
    }
}

fn acting_side(areas: &Areas, env: &mut Env) {
    let Some(config) = &areas.acting else { return };
    let stopping = [
        (config.snapshot_first, &acting::INTEGRITY_SNAPSHOT_FIRST),
        (config.discard_local_ssd, &acting::INTEGRITY_DISCARD_LOCAL_SSD),
    ];
    let without = [(config.stop_without_baselines, &acting::INTEGRITY_STOP_WITHOUT_BASELINES)];
    let always = [(config.dry_run, &acting::INTEGRITY_DRY_RUN), (config.groups, &acting::INTEGRITY_ACT_ON_GROUPS)];
    let (why, remedy) =
        (format!("INTEGRITY_ACTION is {}", config.mode.name()), "set that to what is to be done, or remove it");
    if config.mode == Mode::Report {
        idle_switches(env, &always, &why, remedy);
    }
    if matches!(config.mode, Mode::Report | Mode::RelearnOrReport) {
        idle_switches(env, &stopping, &why, remedy);
    }
    if config.mode != Mode::RelearnOrStop {
        idle_switches(env, &without, &why, remedy);
    }
    if config.mode == Mode::Report {
        return;
    }
    if let Some(pubsub) = &areas.pubsub
        && pubsub.subscription.is_none()
        && pubsub.push == Push::Closed
    {
        let remedy = "set PUBSUB_SUBSCRIPTION, or PUBSUB_PUSH_AUDIENCE and PUBSUB_PUSH_ACCOUNTS: `sysdig-scc setup sink` prints them";
        env.doubt(acting::INTEGRITY_ACTION.name, "does nothing: no report of a boot can arrive", remedy);
    }
    if config.acts() && areas.pubsub.as_ref().is_some_and(|pubsub| pubsub.push == Push::Unverified) {
        let wrong = format!(
            "lets whoever reaches the port push reports, and INTEGRITY_ACTION={} acts on the VMs that they name",
            config.mode.name()
        );
        let remedy = "set PUBSUB_PUSH_AUDIENCE and PUBSUB_PUSH_ACCOUNTS instead, or INTEGRITY_DRY_RUN=true";
        env.doubt(pubsub::PUBSUB_PUSH_UNVERIFIED.name, &wrong, remedy);
    }
    if config.acts() && areas.scc.as_ref().is_some_and(|scc| scc.dry_run) {
        let wrong = "keeps findings back, but INTEGRITY_ACTION acts on VMs all the same";
        env.doubt(scc::DRY_RUN.name, wrong, "set INTEGRITY_DRY_RUN=true too");
    }
}

/// A cap that a wider one makes unreachable.
fn caps(areas: &Areas, env: &mut Env) {
    let Some(config) = areas.acting.as_ref().filter(|config| config.mode != Mode::Report) else { return };
    let limits = config.limits;
    let (project, hour) = (&acting::INTEGRITY_ACTIONS_PER_PROJECT_HOUR, &acting::INTEGRITY_ACTIONS_PER_HOUR);
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    for (setting, cap, wider, by) in [
        (project, count(limits.project_hour), count(limits.hour), hour),
        (hour, count(limits.hour), limits.overall, &acting::INTEGRITY_ACTIONS_OVERALL),
    ] {
        if cap > wider && env.given(setting).is_some() {
            let wrong = format!("is {cap}, which is never reached: {} is {wider}", by.name);
            env.doubt(setting.name, &wrong, "raise that, or lower it");
        }
    }
}

fn attestation_side(areas: &Areas, env: &mut Env) {
    let Some(config) = &areas.attestation else { return };
    if config.policies.is_none() {
        let (why, remedy) = ("attestation is off, as ATTESTATION_POLICIES is not set", "set that too, or remove it");
        let given = [
            &attest::ATTESTATION_ENDPOINT,
            &attest::ATTESTATION_JWKS_FILE,
            &attest::ATTESTATION_KEYS_CACHE,
            &attest::ATTESTATION_ROOT,
            &attest::ATTESTATION_NONCE_KEY,
        ];
        let switches = [
            (config.require_nonce, &attest::ATTESTATION_REQUIRE_NONCE),
            (config.allow_reuse, &attest::ATTESTATION_ALLOW_REUSE),
            (config.released_findings, &attest::ATTESTATION_RELEASED_FINDINGS),
            (config.expect_every_hours > 0, &attest::ATTESTATION_EXPECT_EVERY_HOURS),
        ];
        idle(env, &given, why, remedy);
        idle_switches(env, &switches, why, remedy);
    } else if config.jwks_file.is_some() {
        // The cache may be for the keys of other issuers, which are fetched.
        idle(
            env,
            &[&attest::ATTESTATION_ENDPOINT],
            "the keys are those of ATTESTATION_JWKS_FILE",
            "remove one of the two",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is refused and what is doubted, by setting.
    fn told(pairs: &[(&'static str, &str)]) -> (String, String) {
        let enough = [("WEBHOOK_AUTHENTICATION_TOKEN", "a-long-enough-token"), ("DRY_RUN", "true")];
        let mut env = Env::from_pairs(enough.iter().chain(pairs).copied());
        Areas::read(&mut env);
        let doubts: Vec<_> = env.doubts().iter().map(|doubt| doubt.setting.clone()).collect();
        let problems = env.finish().err().map(|problems| problems.0).unwrap_or_default();
        let problems: Vec<_> = problems.into_iter().map(|problem| problem.setting).collect();
        (problems.join(" "), doubts.join(" "))
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        for (pairs, problems) in [
            (vec![("SYSDIG_URL", "us2"), ("SYSDIG_URL_PREFIX", "https://secure.sysdig.com")], "SYSDIG_URL"),
            (vec![("SYSDIG_URL_PREFIX", "eu1"), ("SDC_URL", "us2")], "SYSDIG_URL_PREFIX"),
            (vec![("SYSDIG_URL", "us2"), ("SYSDIG_URL_PREFIX", "https://us2.app.sysdig.com/secure/")], ""),
            (vec![("SYSDIG_TOKEN", "one"), ("SDC_TOKEN", "other")], "SYSDIG_TOKEN"),
            (vec![("SYSDIG_TOKEN", "one"), ("SDC_TOKEN", "one")], ""),
            (vec![("ATTESTATION_POLICY", "x")], "ATTESTATION_POLICY"),
            (vec![("ATTESTATION_LOG_POLICY", "x")], "ATTESTATION_LOG_POLICY"),
            (vec![("ATTESTATION_POLICY", "x"), ("ATTESTATION_POLICIES", "policies")], ""),
        ] {
            assert_eq!(told(&pairs), (problems.to_owned(), String::new()), "{pairs:?}");
        }
    }

    #[test]
    fn what_does_nothing_is_doubted() {
        for (pairs, doubts) in [
            (vec![], ""),
            (vec![("KUBERNETES_CONTEXT", "c"), ("KUBERNETES_CLUSTER", "c")], "KUBERNETES_CONTEXT KUBERNETES_CLUSTER"),
            (vec![("KUBERNETES_CONTEXT", "c"), ("KUBERNETES_ENRICH", "in-cluster")], "KUBERNETES_CONTEXT"),
            (vec![("KUBERNETES_CONTEXT", "c"), ("KUBERNETES_ENRICH", "auto")], ""),
            (vec![("SYSDIG_TEAM_ID", "1")], "SYSDIG_TEAM_ID"),
            (vec![("SYSDIG_TEAM_ID", "1"), ("IBM_INSTANCE_ID", "i"), ("SYSDIG_URL", "https://i.example")], ""),
            (vec![("IBM_INSTANCE_ID", "i")], "SYSDIG_URL"),
            (vec![("WEBHOOK_ALLOW_INSECURE", "true")], "WEBHOOK_ALLOW_INSECURE"),
            (vec![("WEBHOOK_ALLOW_INSECURE", "false"), ("SYSDIG_AUTO_CHANNEL", "false")], ""),
            (vec![("SYSDIG_AUTO_CHANNEL", "true")], "SYSDIG_AUTO_CHANNEL"),
            (vec![("COMPUTE_ZONE", "europe-west3-a")], "COMPUTE_ZONE"),
            (vec![("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")], "FIRESTORE_EMULATOR_HOST"),
            (vec![("PUBSUB_PUSH_ISSUERS", "https://i.example")], "PUBSUB_PUSH_ISSUERS"),
            (vec![("INTEGRITY_DRY_RUN", "true")], "INTEGRITY_DRY_RUN"),
            (vec![("ATTESTATION_JWKS_FILE", "keys")], "ATTESTATION_JWKS_FILE"),
            (vec![("ATTESTATION_EXPECT_EVERY_HOURS", "24")], "ATTESTATION_EXPECT_EVERY_HOURS"),
            (vec![("ATTESTATION_EXPECT_EVERY_HOURS", "0"), ("ATTESTATION_REQUIRE_NONCE", "false")], ""),
        ] {
            assert_eq!(told(&pairs), (String::new(), doubts.to_owned()), "{pairs:?}");
        }
    }

    #[test]
    fn acting_that_does_less_or_more_than_it_says_is_doubted() {
        for (more, doubts) in [
            (vec![("INTEGRITY_DRY_RUN", "true")], ""),
            (vec![], "DRY_RUN"),
            (vec![("INTEGRITY_DRY_RUN", "true"), ("PUBSUB_SUBSCRIPTION", "")], "INTEGRITY_ACTION"),
            (
                vec![("INTEGRITY_DRY_RUN", "true"), ("INTEGRITY_STOP_WITHOUT_BASELINES", "true")],
                "INTEGRITY_STOP_WITHOUT_BASELINES",
            ),
            (
                vec![("INTEGRITY_DRY_RUN", "true"), ("INTEGRITY_ACTIONS_PER_PROJECT_HOUR", "11")],
                "INTEGRITY_ACTIONS_PER_PROJECT_HOUR",
            ),
            (vec![("INTEGRITY_DRY_RUN", "true"), ("INTEGRITY_ACTIONS_PER_HOUR", "101")], "INTEGRITY_ACTIONS_PER_HOUR"),
            (vec![("INTEGRITY_DRY_RUN", "true"), ("PUBSUB_PUSH_UNVERIFIED", "true")], ""),
            (vec![("INTEGRITY_ACTION", "report"), ("PUBSUB_PUSH_UNVERIFIED", "true")], ""),
            (vec![("PUBSUB_PUSH_UNVERIFIED", "true")], "PUBSUB_PUSH_UNVERIFIED DRY_RUN"),
            // The narrower default gives way without a word.
            (vec![("INTEGRITY_DRY_RUN", "true"), ("INTEGRITY_ACTIONS_PER_HOUR", "3")], ""),
        ] {
            let mut pairs = vec![
                ("INTEGRITY_ACTION", "stop"),
                ("PUBSUB_SUBSCRIPTION", "projects/p/subscriptions/s"),
                ("COMPUTE_ENDPOINT", "http://127.0.0.1:1"),
            ];
            pairs.extend(more);
            assert_eq!(told(&pairs), (String::new(), doubts.to_owned()), "{pairs:?}");
        }
    }
}
