//! Settings of the Sysdig side: where it is, who we are there, and the poller.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::env::{Area, Env, Setting};
use crate::calls::is_loopback;
use crate::sysdig::access::IBM_IAM_URL;
use crate::sysdig::region::base_url;
use crate::sysdig::{Access, Credential};

/// Who we are at Sysdig.
pub static SYSDIG_TOKEN: Setting = Setting {
    name: "SYSDIG_TOKEN",
    aliases: &["SDC_TOKEN"],
    default: None,
    example: "sm://my-project/sysdig-token",
    secret: true,
    doc: "The API token of a Sysdig Secure user or team service account. Needed by the poller and by the set-up of \
          the notification channel; the webhook alone does without. Reading events needs the permission \
          policy-events.read. With SYSDIG_IBM_INSTANCE_ID set it is the IBM Cloud API key.",
};
/// Where Sysdig Secure is.
pub static SYSDIG_URL: Setting = Setting {
    name: "SYSDIG_URL",
    aliases: &["SYSDIG_URL_PREFIX", "SDC_URL"],
    default: Some("us1"),
    example: "eu1",
    secret: false,
    doc: "The region of the Sysdig Secure account (us1, us2, us3, us4, eu1, eu2, au1, in1, jp1, me2), or the address \
          of an installation.",
};
/// IBM Cloud: the service instance.
pub static SYSDIG_IBM_INSTANCE_ID: Setting = Setting {
    name: "SYSDIG_IBM_INSTANCE_ID",
    aliases: &["IBM_INSTANCE_ID"],
    default: None,
    example: "0a1b2c3d-0000-4000-8000-000000000000",
    secret: false,
    doc: "The GUID of the service instance, when Sysdig is used as a service of IBM Cloud. Its address goes into SYSDIG_URL.",
};
/// IBM Cloud: the team.
pub static SYSDIG_TEAM_ID: Setting = Setting {
    name: "SYSDIG_TEAM_ID",
    aliases: &["SYSDIG_IBM_TEAM_ID"],
    default: None,
    example: "12345",
    secret: false,
    doc: "The Sysdig team whose scope applies, on IBM Cloud only. Elsewhere a token belongs to one team.",
};
/// IBM Cloud: the token exchange.
pub static SYSDIG_IBM_IAM_URL: Setting = Setting {
    name: "SYSDIG_IBM_IAM_URL",
    aliases: &[],
    default: Some(IBM_IAM_URL),
    example: IBM_IAM_URL,
    secret: false,
    doc: "Where IBM Cloud exchanges an API key for a token.",
};
/// One try's time.
pub static SYSDIG_TIMEOUT_SECS: Setting = Setting {
    name: "SYSDIG_TIMEOUT_SECS",
    aliases: &[],
    default: Some("30"),
    example: "30",
    secret: false,
    doc: "How long one call to Sysdig may take, in seconds.",
};
/// Poll at all.
pub static SYSDIG_POLL: Setting = Setting {
    name: "SYSDIG_POLL",
    aliases: &[],
    default: Some("false"),
    example: "true",
    secret: false,
    doc: "Read the events API regularly. It may run together with the webhook: each event gives one finding.",
};
/// How often.
pub static SYSDIG_POLL_INTERVAL_SECS: Setting = Setting {
    name: "SYSDIG_POLL_INTERVAL_SECS",
    aliases: &[],
    default: Some("60"),
    example: "60",
    secret: false,
    doc: "The time between two polls, in seconds.",
};
/// How long after now.
pub static SYSDIG_POLL_SETTLE_SECS: Setting = Setting {
    name: "SYSDIG_POLL_SETTLE_SECS",
    aliases: &[],
    default: Some("10"),
    example: "10",
    secret: false,
    doc: "The newest events are left for the next poll, in seconds: they may still be arriving at Sysdig.",
};
/// How far back.
pub static SYSDIG_POLL_OVERLAP_SECS: Setting = Setting {
    name: "SYSDIG_POLL_OVERLAP_SECS",
    aliases: &[],
    default: Some("300"),
    example: "300",
    secret: false,
    doc: "How much of what was read is read again, in seconds, because agents deliver late. An event that reaches \
          Sysdig later than this after it happened is missed by the poller.",
};
/// The longest window.
pub static SYSDIG_POLL_WINDOW_SECS: Setting = Setting {
    name: "SYSDIG_POLL_WINDOW_SECS",
    aliases: &[],
    default: Some("3600"),
    example: "3600",
    secret: false,
    doc: "The longest stretch of time asked for at once when catching up, in seconds.",
};
/// The first start.
pub static SYSDIG_POLL_LOOKBACK_SECS: Setting = Setting {
    name: "SYSDIG_POLL_LOOKBACK_SECS",
    aliases: &[],
    default: Some("3600"),
    example: "86400",
    secret: false,
    doc: "How far back the very first poll reads, in seconds, at most 14 days. Later starts go on where the last one ended.",
};
/// Which events.
pub static SYSDIG_POLL_FILTER: Setting = Setting {
    name: "SYSDIG_POLL_FILTER",
    aliases: &[],
    default: None,
    example: "severity in (\"0\",\"1\",\"2\",\"3\") and source = \"syscall\"",
    secret: false,
    doc: "Which events the poller asks for, in the events API's filter language, at most 2048 characters. Empty means \
          all; kinds that are no policy events open no finding anyway.",
};
/// The channel at start.
pub static SYSDIG_AUTO_CHANNEL: Setting = Setting {
    name: "SYSDIG_AUTO_CHANNEL",
    aliases: &[],
    default: Some("true"),
    example: "false",
    secret: false,
    doc: "Find or create the notification channel at start, when WEBHOOK_URL, WEBHOOK_AUTHENTICATION_TOKEN and \
          SYSDIG_TOKEN are set. One that is there gets WEBHOOK_URL, and the first token unless it sends that already; a \
          rehearsal (serve --sandbox, DRY_RUN) leaves it as it is, unless true is written here.",
};
/// The channel's name.
pub static SYSDIG_CHANNEL_NAME: Setting = Setting {
    name: "SYSDIG_CHANNEL_NAME",
    aliases: &[],
    default: Some("Google Security Command Center"),
    example: "Google Security Command Center",
    secret: false,
    doc: "The name of the notification channel and of the event forwarder at Sysdig.",
};
/// Where Sysdig reaches us.
pub static WEBHOOK_URL: Setting = Setting {
    name: "WEBHOOK_URL",
    aliases: &[],
    default: None,
    example: "https://connector.example.com/events",
    secret: false,
    doc: "The public address of our POST /events, which is written into the notification channel; without a path it is \
          /events. At most 255 characters.",
};
/// Accept any certificate of ours.
pub static WEBHOOK_ALLOW_INSECURE: Setting = Setting {
    name: "WEBHOOK_ALLOW_INSECURE",
    aliases: &[],
    default: Some("false"),
    example: "false",
    secret: false,
    doc: "Tell Sysdig to accept our certificate although it is not publicly trusted. It costs: whoever stands between \
          can read the token and alter events.",
};

/// The area as the documents show it.
pub static AREA: Area = Area {
    title: "Sysdig",
    settings: &[
        &SYSDIG_TOKEN,
        &SYSDIG_URL,
        &SYSDIG_TIMEOUT_SECS,
        &SYSDIG_POLL,
        &SYSDIG_POLL_INTERVAL_SECS,
        &SYSDIG_POLL_SETTLE_SECS,
        &SYSDIG_POLL_OVERLAP_SECS,
        &SYSDIG_POLL_WINDOW_SECS,
        &SYSDIG_POLL_LOOKBACK_SECS,
        &SYSDIG_POLL_FILTER,
        &WEBHOOK_URL,
        &WEBHOOK_ALLOW_INSECURE,
        &SYSDIG_AUTO_CHANNEL,
        &SYSDIG_CHANNEL_NAME,
        &SYSDIG_IBM_INSTANCE_ID,
        &SYSDIG_TEAM_ID,
        &SYSDIG_IBM_IAM_URL,
    ],
};

/// The Sysdig side's settings.
#[derive(Debug, Clone)]
pub struct SysdigConfig {
    /// The address of Sysdig Secure, which links to events begin with.
    pub base: Url,
    /// Where the API is and who we are; `None` without a token.
    pub access: Option<Access>,
    /// How long one call may take.
    pub timeout: Duration,
    /// The poller; `None` when it is off.
    pub poll: Option<PollConfig>,
    /// How the poller reads, also for the backfill command, whether the poller is on or not.
    pub reading: PollConfig,
    /// Our public address, when it is set.
    pub webhook_url: Option<Url>,
    /// Tell Sysdig to accept a certificate of ours that is not publicly trusted.
    pub webhook_allow_insecure: bool,
    /// What is done about the notification channel at start.
    pub auto_channel: AutoChannel,
    /// The name of the notification channel and the event forwarder.
    pub channel_name: String,
}

/// What is done about the notification channel at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoChannel {
    /// Nothing.
    Off,
    /// It is made, or kept as the settings have it; but a rehearsal changes none that stands.
    On,
    /// The same, and it was asked for: a rehearsal does it too.
    Asked,
}

/// How the poller reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollConfig {
    /// Between two polls.
    pub interval: Duration,
    /// The newest events are left for later.
    pub settle: Duration,
    /// What was read is read again.
    pub overlap: Duration,
    /// The longest window asked for at once.
    pub window: Duration,
    /// How far back the very first poll reads.
    pub lookback: Duration,
    /// Which events.
    pub filter: Option<String>,
}

impl SysdigConfig {
    /// Reads the area. `None` when something is wrong; the problems are in `env`.
    pub fn read(env: &mut Env) -> Option<Self> {
        let base = read_base(env);
        let credential = read_credential(env);
        let timeout = env.number(&SYSDIG_TIMEOUT_SECS, 1..=600);
        let polling = env.flag(&SYSDIG_POLL);
        let reading = PollConfig::read(env);
        let webhook_url = read_webhook_url(env);
        let webhook_allow_insecure = env.flag(&WEBHOOK_ALLOW_INSECURE);
        let auto_channel = AutoChannel::read(env);
        let channel_name = env.required(&SYSDIG_CHANNEL_NAME);
        if polling == Some(true) && matches!(credential, Some(None)) {
            env.problem(SYSDIG_TOKEN.name, "is required, as SYSDIG_POLL is on", "set it, or set SYSDIG_POLL=false");
            return None;
        }
        let (reading, base) = (reading?, base?);
        Some(Self {
            access: credential?.map(|credential| Access { base: base.clone(), credential }),
            base,
            timeout: Duration::from_secs(timeout?),
            poll: polling?.then(|| reading.clone()),
            reading,
            webhook_url: webhook_url?,
            webhook_allow_insecure: webhook_allow_insecure?,
            auto_channel: auto_channel?,
            channel_name: channel_name?,
        })
    }
}

impl SysdigConfig {
    /// Whether the set-up at start also changes a notification channel that stands. Real deliveries may go through it, so
    /// a rehearsal changes none, unless Sysdig is one too, on this machine.
    pub fn renews_channel(&self, rehearsal: bool) -> bool {
        let is_real = self.access.as_ref().is_some_and(|access| !is_loopback(&access.base));
        match self.auto_channel {
            AutoChannel::Off => false,
            AutoChannel::On => !(rehearsal && is_real),
            AutoChannel::Asked => true,
        }
    }
}

impl AutoChannel {
    fn read(env: &mut Env) -> Option<Self> {
        let asked = env.given(&SYSDIG_AUTO_CHANNEL).is_some();
        Some(match (env.flag(&SYSDIG_AUTO_CHANNEL)?, asked) {
            (false, _) => Self::Off,
            (true, false) => Self::On,
            (true, true) => Self::Asked,
        })
    }
}

impl PollConfig {
    fn read(env: &mut Env) -> Option<Self> {
        let days = |days: u64| days * 24 * 3600;
        let interval = env.number(&SYSDIG_POLL_INTERVAL_SECS, 1..=days(1));
        let settle = env.number(&SYSDIG_POLL_SETTLE_SECS, 0..=3600);
        let overlap = env.number(&SYSDIG_POLL_OVERLAP_SECS, 0..=days(1));
        let window = env.number(&SYSDIG_POLL_WINDOW_SECS, 60..=days(13));
        let lookback = env.number(&SYSDIG_POLL_LOOKBACK_SECS, 0..=days(14));
        let filter = env.text(&SYSDIG_POLL_FILTER);
        if filter.as_ref().is_some_and(|filter| filter.chars().count() > 2048) {
            env.problem(SYSDIG_POLL_FILTER.name, "has more than 2048 characters", "shorten it, Sysdig takes no more");
            return None;
        }
        Some(Self {
            interval: Duration::from_secs(interval?),
            settle: Duration::from_secs(settle?),
            overlap: Duration::from_secs(overlap?),
            window: Duration::from_secs(window?),
            lookback: Duration::from_secs(lookback?),
            filter,
        })
    }
}

fn read_base(env: &mut Env) -> Option<Url> {
    let text = env.required(&SYSDIG_URL)?;
    let base = base_url(&text);
    if let Err(error) = &base {
        env.problem(SYSDIG_URL.name, &error.to_string(), "use a region such as eu1, or an https address");
    }
    base.ok()
}

/// `Some(None)` without a token; `None` when something is wrong.
fn read_credential(env: &mut Env) -> Option<Option<Credential>> {
    let token = read_token(env);
    let instance = env.text(&SYSDIG_IBM_INSTANCE_ID);
    let team = env.text(&SYSDIG_TEAM_ID);
    let iam = env.address(&SYSDIG_IBM_IAM_URL);
    for (setting, text) in [(&SYSDIG_IBM_INSTANCE_ID, &instance), (&SYSDIG_TEAM_ID, &team)] {
        if text.as_ref().is_some_and(|text| !text.bytes().all(|b| b.is_ascii_graphic())) {
            env.problem(setting.name, "has characters that no id has", &format!("for example {}", setting.example));
            return None;
        }
    }
    let Some(token) = token? else { return Some(None) };
    Some(Some(match instance {
        None => Credential::Token(token),
        Some(instance) => Credential::Ibm { api_key: token, instance, team, iam: iam?? },
    }))
}

fn read_token(env: &mut Env) -> Option<Option<SecretString>> {
    let token = env.secret(&SYSDIG_TOKEN);
    let fits = |token: &SecretString| token.expose_secret().bytes().all(|b| b.is_ascii_graphic());
    if token.as_ref().is_some_and(|token| !fits(token)) {
        env.problem(SYSDIG_TOKEN.name, "has characters that no token has", "copy it again from Sysdig's settings page");
        return None;
    }
    Some(token)
}

fn read_webhook_url(env: &mut Env) -> Option<Option<Url>> {
    let mut url = env.address(&WEBHOOK_URL)?;
    // Nothing is taken at the root, and nobody can mean it.
    if let Some(url) = url.as_mut().filter(|url| url.path() == "/") {
        url.set_path("/events");
    }
    if url.as_ref().is_some_and(|url| url.as_str().len() > 255) {
        env.problem(
            WEBHOOK_URL.name,
            "has more than 255 characters",
            "use a shorter address, Sysdig takes no longer one",
        );
        return None;
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<SysdigConfig>, String) {
        let mut env = Env::from_pairs(pairs.iter().copied());
        let config = SysdigConfig::read(&mut env);
        let problems = env.finish().err().map(|problems| problems.to_string()).unwrap_or_default();
        (config, problems)
    }

    #[test]
    fn nothing_set_means_no_poller_and_no_access() {
        let (config, problems) = read(&[]);
        assert_eq!(problems, "");
        let config = config.unwrap();
        assert!(config.access.is_none() && config.poll.is_none());
        assert_eq!(config.auto_channel, AutoChannel::On);
        assert_eq!(config.reading.interval, Duration::from_secs(60));
    }

    #[test]
    fn a_rehearsal_changes_no_channel_of_a_real_sysdig_unless_asked() {
        let (real, fake) = ("https://eu1.app.sysdig.com", "http://127.0.0.1:9");
        for (url, auto, rehearsal, expected) in [
            (real, None, false, true),
            (real, None, true, false),
            (real, Some("true"), true, true),
            (real, Some("false"), false, false),
            (fake, None, true, true),
        ] {
            let mut pairs = vec![("SYSDIG_TOKEN", "t"), ("SYSDIG_URL", url)];
            pairs.extend(auto.map(|auto| ("SYSDIG_AUTO_CHANNEL", auto)));
            let config = read(&pairs).0.unwrap();
            assert_eq!(config.renews_channel(rehearsal), expected, "{url} {auto:?} {rehearsal}");
        }
    }

    #[test]
    fn the_original_names_still_work() {
        let (config, problems) =
            read(&[("SYSDIG_TOKEN", " t\n"), ("SYSDIG_URL_PREFIX", "https://app.eu2.sysdig.com/secure/")]);
        assert_eq!(problems, "");
        assert_eq!(config.unwrap().access.unwrap().base.as_str(), "https://app.eu2.sysdig.com/");
    }

    #[test]
    fn ibm_cloud_is_an_api_key_with_an_instance() {
        let (config, problems) =
            read(&[("SYSDIG_TOKEN", "key"), ("SYSDIG_IBM_INSTANCE_ID", "guid"), ("SYSDIG_TEAM_ID", "7")]);
        assert_eq!(problems, "");
        let Credential::Ibm { instance, team, iam, .. } = config.unwrap().access.unwrap().credential else {
            panic!("not IBM")
        };
        assert_eq!((instance.as_str(), team.as_deref(), iam.as_str()), ("guid", Some("7"), IBM_IAM_URL));
    }

    #[test]
    fn every_mistake_is_named_and_no_secret_is_shown() {
        let (config, problems) = read(&[
            ("SYSDIG_TOKEN", "tok en"),
            ("SYSDIG_URL", "http://sysdig.example.com"),
            ("SYSDIG_POLL_INTERVAL_SECS", "0"),
            ("SYSDIG_AUTO_CHANNEL", "perhaps"),
            ("WEBHOOK_URL", "connector.example.com"),
        ]);
        assert!(config.is_none());
        for name in ["SYSDIG_TOKEN", "SYSDIG_URL", "SYSDIG_POLL_INTERVAL_SECS", "SYSDIG_AUTO_CHANNEL", "WEBHOOK_URL"] {
            assert!(problems.contains(name), "{name} is missing in {problems}");
        }
        assert!(!problems.contains("tok en"));
    }

    #[test]
    fn polling_needs_a_token_whatever_else_is_wrong() {
        for url in ["eu1", "zz"] {
            let (config, problems) = read(&[("SYSDIG_POLL", "true"), ("SYSDIG_URL", url)]);
            assert!(config.is_none() && problems.contains("SYSDIG_TOKEN"), "{problems}");
        }
    }

    #[test]
    fn a_webhook_without_a_path_is_our_events() {
        for (text, expected) in [
            ("https://c.example.com", "https://c.example.com/events"),
            ("https://c.example.com/", "https://c.example.com/events"),
            ("https://c.example.com:8443?team=a", "https://c.example.com:8443/events?team=a"),
            ("https://c.example.com/scc/events", "https://c.example.com/scc/events"),
        ] {
            let (config, problems) = read(&[("WEBHOOK_URL", text)]);
            let url = config.and_then(|config| config.webhook_url).map(|url| url.to_string());
            assert_eq!(url.as_deref(), Some(expected), "{problems}");
        }
    }

    #[test]
    fn the_webhook_alone_knows_where_sysdig_is() {
        let (config, problems) = read(&[("SYSDIG_URL", "eu1")]);
        assert_eq!((problems.as_str(), config.unwrap().base.as_str()), ("", "https://eu1.app.sysdig.com/"));
    }
}
