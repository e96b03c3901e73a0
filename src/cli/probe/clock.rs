//! This machine's clock against those of Google and Sysdig, by the `Date` of an answer, whatever the answer is.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use reqwest::header::DATE;
use url::Url;

use super::line::State;
use super::{Ask, Report};
use crate::calls;

/// From here on it is said.
const NOTICED: TimeDelta = TimeDelta::seconds(30);
/// From here on Google refuses our tokens.
const HARMFUL: TimeDelta = TimeDelta::minutes(5);

/// Asks both at once.
pub(super) async fn look(ask: Ask, report: Report) {
    let google = async {
        match ask.config.scc.dry_run {
            true => None,
            false => Some(skew(&ask.config.scc.endpoint, ask.deadline).await),
        }
    };
    let sysdig = async {
        match &ask.config.sysdig.access {
            None => None,
            Some(access) => Some(skew(&access.base, ask.deadline).await),
        }
    };
    let (google, sysdig) = tokio::join!(google, sysdig);
    let host = ask.config.scc.endpoint.host_str().unwrap_or_default();
    // A sandbox has the clock of its own machine.
    let google_is = if host.ends_with(".googleapis.com") { "Google" } else { host };
    for (what, of, answer) in [("clock", google_is, google), ("clock (Sysdig)", "Sysdig", sysdig)] {
        match answer {
            None => {}
            Some(Ok(skew)) => say(what, of, skew, &report),
            Some(Err(why)) => report.warn(
                what,
                format!("could not be compared with that of {of}: {why}"),
                "check that its address can be reached",
            ),
        }
    }
}

fn say(what: &str, of: &str, skew: TimeDelta, report: &Report) {
    let seconds = skew.num_seconds();
    let found = match seconds {
        0 => format!("agrees with {of}"),
        1.. => format!("is {seconds} s ahead of {of}"),
        _ => format!("is {} s behind {of}", -seconds),
    };
    let remedy = "let this machine keep its time by NTP: `timedatectl set-ntp true`";
    match judge(skew) {
        State::Ok => report.ok(what, found),
        State::Warning => report.warn(what, found, remedy),
        State::Failed => report.fail(what, format!("{found}: tokens are refused, and events are missed"), remedy),
    }
}

fn judge(skew: TimeDelta) -> State {
    match skew.abs() {
        skew if skew >= HARMFUL => State::Failed,
        skew if skew >= NOTICED => State::Warning,
        _ => State::Ok,
    }
}

/// How far this machine's clock is ahead, in whole seconds: the header has no finer ones.
async fn skew(url: &Url, deadline: Duration) -> Result<TimeDelta, String> {
    let told = |error: reqwest::Error| crate::causes::chain(&error.without_url());
    let mut builder = calls::client(url).timeout(deadline);
    if url.scheme() == "http" {
        // A rehearsal on loopback must not need the system's certificates.
        builder = builder.tls_certs_only([]);
    }
    let client = builder.redirect(reqwest::redirect::Policy::none()).build().map_err(told)?;
    let asked = Utc::now();
    let answer = client.get(url.clone()).send().await.map_err(told)?;
    let middle = asked + (Utc::now() - asked) / 2;
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(calls::http_date).ok_or("its answer has no Date")?;
    // The header's second began up to a second before it was written.
    let apart = middle - date - TimeDelta::milliseconds(500);
    Ok(TimeDelta::seconds((apart.num_milliseconds() as f64 / 1000.0).round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_minute_is_said_and_five_minutes_are_too_many_either_way() {
        for (seconds, expected) in [
            (0, State::Ok),
            (29, State::Ok),
            (30, State::Warning),
            (-30, State::Warning),
            (299, State::Warning),
            (300, State::Failed),
            (-86_400, State::Failed),
        ] {
            assert_eq!(judge(TimeDelta::seconds(seconds)), expected, "{seconds}");
        }
    }
}
