//! Steps for what somebody called from afar, and a sensor only read in a log: clouds, identity providers, other services.
//! The machine that read it has nothing to do with it.

use super::{Steps, Target};
use crate::decide::access::access;
use crate::event::{Runtime, scene};
use crate::finding::Access;
use crate::text::shell::word;
use crate::text::{ascii, cut};

/// The longest name of a source shown in a sentence, in bytes.
const LONGEST_NAME: usize = 100;

/// A cloud, an identity provider or a code host.
pub(super) fn cloud(event: &Runtime, target: &Target, steps: &mut Steps) {
    let access = access(event).unwrap_or_default();
    let who = caller(&access);
    ask(who, steps);
    let plain =
        |who: &&str| who.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'@' | b'.' | b'-' | b'_' | b'+'));
    if let (true, Some(project), Some(who)) = (scene::is_of_google(event), &target.project, who.filter(plain)) {
        let command = format!(
            "gcloud logging read 'protoPayload.authenticationInfo.principalEmail=\"{who}\"' --project {project} --freshness 1d --limit 50"
        );
        steps.run("See what else the same caller did:", command);
        if who.ends_with(".gserviceaccount.com")
            && let Some(account) = word(who)
        {
            let command = format!("gcloud iam service-accounts keys list --iam-account {account} --project {project}");
            steps.run("List the keys of the service account, and delete those that nobody can explain:", command);
        }
    }
    if let Some(ip) = access.caller_ip {
        steps.say(format_args!("Check whether the address {ip} belongs to you."));
    }
    steps.say("If it was not expected, disable the caller, change its credentials, and undo what it changed.");
}

/// Any other service.
pub(super) fn service(event: &Runtime, steps: &mut Steps) {
    let access = access(event).unwrap_or_default();
    let who = caller(&access);
    let source = ascii(cut(event.origin.source.as_deref().unwrap_or_default(), LONGEST_NAME));
    steps.say(format_args!(
        "A sensor read this in what a service told (source {source}), it did not happen on the sensor's machine: look in that service for who did it, from where, and what else they did."
    ));
    if who.is_some() {
        ask(who, steps);
    }
    if let Some(ip) = access.caller_ip {
        steps.say(format_args!("Check whether the address {ip} belongs to you, and what else came from it."));
    }
    steps.say(
        "If it was not expected, end the caller's sessions, revoke its tokens, change its credentials, and undo what it changed.",
    );
}

fn caller(access: &Access) -> Option<&str> {
    access.principal_email.as_deref().or(access.principal_subject.as_deref())
}

fn ask(who: Option<&str>, steps: &mut Steps) {
    let who = who.map_or_else(|| "the caller".to_owned(), |who| ascii(cut(who, 320)));
    steps.say(format_args!("Ask whether {who} meant to do this, over a channel that an intruder would not control."));
}
