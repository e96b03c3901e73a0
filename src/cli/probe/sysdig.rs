//! Sysdig: whose token it is, whether events may be read, and whether its channel leads here and is used.

use chrono::Utc;

use super::{Ask, Report};
use crate::causes::chain;
use crate::config::sysdig::AutoChannel;
use crate::sysdig::account::Account;
use crate::sysdig::channels::{ChannelSpec, Shows, Standing};
use crate::sysdig::policies::Policy;
use crate::sysdig::{Client, Patience, SysdigError};

const TOKEN: &str = "Sysdig token";
const CHANNEL: &str = "Sysdig channel";
const POLICIES: &str = "Sysdig policies";
const CARRY: &str = "sysdig-scc setup channel --policy NAME";

/// Asks, when there is a token.
pub(super) async fn look(ask: Ask, report: Report) {
    let config = &ask.config.sysdig;
    let Some(access) = config.access.clone() else { return };
    let patience = Patience { attempts: 1, timeout: config.timeout.min(ask.deadline), ..Patience::default() };
    let client = match Client::new(access, patience) {
        Ok(client) => client,
        Err(error) => return report.fail(TOKEN, chain(&error), error.remedy()),
    };
    let wanted = spec(&ask);
    let channel = async {
        match &wanted {
            Some(spec) => Some(tokio::join!(client.channel(spec), client.policies())),
            None => None,
        }
    };
    // A token that may not tell whose it is may have every right that the job needs, or lack one.
    let (account, events, channel) = tokio::join!(client.account(), client.may_read_events(Utc::now()), channel);
    say_account(&client, account, &report);
    say_events(config.poll.is_some(), events, &report);
    if let (Some((channel, policies)), Some(spec)) = (channel, &wanted) {
        let at_start = AtStart {
            made: config.auto_channel != AutoChannel::Off,
            renewed: config.renews_channel(ask.config.scc.is_rehearsal()),
        };
        say_channel(at_start, spec, channel, policies, &report);
    }
}

fn say_account(client: &Client, answer: Result<Account, SysdigError>, report: &Report) {
    match answer {
        Ok(account) => {
            let team = account.team.map_or("no team".to_owned(), |team| format!("team {team}"));
            let host = client.base().host_str().unwrap_or_default();
            report.ok(TOKEN, format!("{} of {team} at {host}", account.name));
        }
        Err(error) if error.status() == Some(403) => {
            let found = format!("{}; what it may do stands in the other lines of Sysdig", chain(&error));
            report.warn(TOKEN, found, error.remedy());
        }
        Err(error) => report.fail(TOKEN, chain(&error), error.remedy()),
    }
}

/// The channel as it should be, when Sysdig is to send to us.
fn spec(ask: &Ask) -> Option<ChannelSpec> {
    let config = &ask.config.sysdig;
    let (token, older) = ask.config.server.tokens.split_first()?;
    Some(ChannelSpec {
        name: config.channel_name.clone(),
        url: config.webhook_url.as_ref()?.to_string(),
        token: token.clone(),
        older: older.to_vec(),
        allow_insecure: config.webhook_allow_insecure,
    })
}

fn say_events(polls: bool, answer: Result<(), SysdigError>, report: &Report) {
    match answer {
        Ok(()) => report.ok("Sysdig events", "may be read"),
        Err(error) if polls => report.fail("Sysdig events", chain(&error), error.remedy()),
        Err(error) => {
            let found = format!("{}; only the poller and backfills need this", chain(&error));
            report.warn("Sysdig events", found, error.remedy());
        }
    }
}

/// What the connector does about the channel when it starts.
#[derive(Debug, Clone, Copy)]
struct AtStart {
    /// Makes one where there is none.
    made: bool,
    /// Changes one that stands.
    renewed: bool,
}

fn say_channel(
    at_start: AtStart,
    spec: &ChannelSpec,
    channel: Result<Option<Standing>, SysdigError>,
    policies: Result<Vec<Policy>, SysdigError>,
    report: &Report,
) {
    let standing = match channel {
        Ok(Some(standing)) => standing,
        Ok(None) if at_start.made => {
            return report.warn(CHANNEL, format!("{:?} is not there; it is made at start", spec.name), CARRY);
        }
        Ok(None) => {
            let found = format!("{:?} is not there, so nothing arrives through it", spec.name);
            return report.warn(CHANNEL, found, format!("{CARRY}, or sysdig-scc setup forwarder"));
        }
        Err(error) => return report.fail(CHANNEL, chain(&error), error.remedy()),
    };
    let wrong = differences(spec, &standing);
    let then = match at_start {
        AtStart { renewed: true, .. } => "; this is put right at start",
        AtStart { made: true, .. } => "; a rehearsal leaves it so",
        AtStart { .. } => "",
    };
    match (wrong.is_empty(), at_start.made) {
        (true, _) if !standing.enabled => {
            report.warn(
                CHANNEL,
                format!("{:?} is switched off at Sysdig", spec.name),
                "switch it on in Settings, Notification Channels",
            );
        }
        (true, _) if standing.shows == Shows::Older => {
            let older = "shows an older token of WEBHOOK_AUTHENTICATION_TOKEN, not the first: it works as long as that is there";
            report.warn(CHANNEL, format!("{:?} {older}{then}", spec.name), "sysdig-scc setup channel");
        }
        (true, _) => report.ok(CHANNEL, format!("{:?} sends to {} with the header Authorization", spec.name, spec.url)),
        (false, true) => report.warn(CHANNEL, format!("{}{then}", wrong.join("; ")), "sysdig-scc setup channel"),
        (false, false) => report.fail(CHANNEL, wrong.join("; "), "sysdig-scc setup channel"),
    }
    match policies {
        Ok(all) => say_policies(&standing, &all, report),
        Err(error) => report.warn(POLICIES, chain(&error), error.remedy()),
    }
}

/// What Sysdig sends is not what we take; header values are never told.
fn differences(spec: &ChannelSpec, standing: &Standing) -> Vec<String> {
    let mut wrong = Vec::new();
    if !standing.leads_here {
        wrong.push(format!("it sends to {:?}, but WEBHOOK_URL is {}", standing.url, spec.url));
    }
    match standing.shows {
        Shows::NoHeader => wrong.push("it sends no header Authorization, so every delivery is refused".into()),
        Shows::Another => wrong.push("its header Authorization is not WEBHOOK_AUTHENTICATION_TOKEN".into()),
        Shows::Hidden | Shows::Token | Shows::Older => {}
    }
    match (standing.allow_insecure, spec.allow_insecure) {
        (true, false) => wrong.push("it accepts any certificate, although WEBHOOK_ALLOW_INSECURE is off".into()),
        (false, true) => wrong.push("it verifies the certificate, although WEBHOOK_ALLOW_INSECURE is on".into()),
        _ => {}
    }
    wrong
}

fn say_policies(standing: &Standing, all: &[Policy], report: &Report) {
    let carries = |policy: &&Policy| standing.id.is_some_and(|id| policy.channels.contains(&id));
    let carrying: Vec<&Policy> = all.iter().filter(carries).collect();
    let enabled: Vec<String> =
        carrying.iter().filter(|policy| policy.enabled).map(|policy| format!("{:?}", policy.name)).collect();
    match (enabled.is_empty(), carrying.is_empty()) {
        (true, true) => report.warn(POLICIES, "none sends to the channel, so nothing arrives through it", CARRY),
        (true, false) => report.warn(
            POLICIES,
            "those that send to the channel are switched off",
            format!("switch one on, or {CARRY}"),
        ),
        (false, _) => {
            let more = enabled.len().saturating_sub(5);
            let and = if more > 0 { format!(" and {more} more") } else { String::new() };
            report.ok(POLICIES, format!("sending to the channel: {}{and}", enabled[..enabled.len() - more].join(", ")));
        }
    }
}
