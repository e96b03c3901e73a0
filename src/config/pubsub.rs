//! Pub/Sub: pushes that come to us, a subscription that we pull, and Cloud Logging, where the entries come from.

use url::Url;

use super::state::emulator;
use super::{Area, Env, Setting};
use crate::google::TokenSource;
use crate::google::logging;

const PUBSUB: &str = "https://pubsub.googleapis.com";

/// Who pushes are meant for.
pub static PUBSUB_PUSH_AUDIENCE: Setting = Setting {
    name: "PUBSUB_PUSH_AUDIENCE",
    aliases: &[],
    default: None,
    example: "https://scc.example.com/pubsub/push",
    secret: false,
    doc: "The audience that tokens of pushes must have, comma-separated when there are several: what the subscription's oidcToken.audience says, by default its exact push endpoint. Without it /pubsub/push is closed.",
};

/// Whose pushes are accepted.
pub static PUBSUB_PUSH_ACCOUNTS: Setting = Setting {
    name: "PUBSUB_PUSH_ACCOUNTS",
    aliases: &[],
    default: None,
    example: "scc-push@my-project.iam.gserviceaccount.com",
    secret: false,
    doc: "E-mail addresses of the service accounts that may push, comma-separated: the subscription's oidcToken.serviceAccountEmail. Required with PUBSUB_PUSH_AUDIENCE: any Google account can make a token for any audience.",
};

/// Who signs.
pub static PUBSUB_PUSH_ISSUERS: Setting = Setting {
    name: "PUBSUB_PUSH_ISSUERS",
    aliases: &[],
    default: Some("https://accounts.google.com,accounts.google.com"),
    example: "https://accounts.google.com",
    secret: false,
    doc: "The issuers whose tokens are accepted at /pubsub/push, comma-separated.",
};

/// The issuer's keys.
pub static PUBSUB_PUSH_JWKS_URL: Setting = Setting {
    name: "PUBSUB_PUSH_JWKS_URL",
    aliases: &[],
    default: Some("https://www.googleapis.com/oauth2/v3/certs"),
    example: "https://www.googleapis.com/oauth2/v3/certs",
    secret: false,
    doc: "Where the issuer's signing keys are. Plain http only on this machine.",
};

/// No verification.
pub static PUBSUB_PUSH_UNVERIFIED: Setting = Setting {
    name: "PUBSUB_PUSH_UNVERIFIED",
    aliases: &[],
    default: Some("false"),
    example: "false",
    secret: false,
    doc: "Accept pushes without a token: for the emulator, which sends none. Whoever can reach the port can then raise and close findings about any VM, and with an INTEGRITY_ACTION have VMs stopped.",
};

/// What we pull.
pub static PUBSUB_SUBSCRIPTION: Setting = Setting {
    name: "PUBSUB_SUBSCRIPTION",
    aliases: &[],
    default: None,
    example: "projects/my-project/subscriptions/sysdig-scc-pull",
    secret: false,
    doc: "A pull subscription to read, for places that no push can reach. Without it nothing is pulled.",
};

/// How many messages at once.
pub static PUBSUB_MAX_MESSAGES: Setting = Setting {
    name: "PUBSUB_MAX_MESSAGES",
    aliases: &[],
    default: Some("100"),
    example: "100",
    secret: false,
    doc: "The most messages that are pulled and not yet acknowledged at one time. 1 to 1000.",
};

/// The Pub/Sub emulator.
pub static PUBSUB_EMULATOR_HOST: Setting = Setting {
    name: "PUBSUB_EMULATOR_HOST",
    aliases: &[],
    default: None,
    example: "127.0.0.1:8085",
    secret: false,
    doc: "Host and port of a Pub/Sub emulator, used instead of Google's service; no token is sent to it.",
};

/// Where sinks are made.
pub static LOGGING_ENDPOINT: Setting = Setting {
    name: "LOGGING_ENDPOINT",
    aliases: &[],
    default: Some(logging::ENDPOINT),
    example: "http://127.0.0.1:8091",
    secret: false,
    doc: "Where Cloud Logging is: `setup sink` makes the sink there, `baseline import --instance` reads entries there. Plain http only on this machine, for rehearsals; no token is sent to it then, unless a key variable is set.",
};

/// The settings of this area.
pub static AREA: Area = Area {
    title: "Pub/Sub",
    settings: &[
        &PUBSUB_PUSH_AUDIENCE,
        &PUBSUB_PUSH_ACCOUNTS,
        &PUBSUB_PUSH_ISSUERS,
        &PUBSUB_PUSH_JWKS_URL,
        &PUBSUB_PUSH_UNVERIFIED,
        &PUBSUB_SUBSCRIPTION,
        &PUBSUB_MAX_MESSAGES,
        &PUBSUB_EMULATOR_HOST,
        &LOGGING_ENDPOINT,
    ],
};

/// Who may push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// Nobody: it is not configured.
    Closed,
    /// Anybody: a rehearsal with the emulator.
    Unverified,
    /// Whoever has a token like this.
    Verified(PushToken),
}

/// What a push's token must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushToken {
    /// One of these audiences.
    pub audiences: Vec<String>,
    /// One of these e-mail addresses.
    pub accounts: Vec<String>,
    /// One of these issuers.
    pub issuers: Vec<String>,
    /// Signed with a key from here.
    pub jwks: Url,
}

/// Pub/Sub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PubsubConfig {
    /// Who may push.
    pub push: Push,
    /// What we pull: `projects/P/subscriptions/S`.
    pub subscription: Option<String>,
    /// The most messages in hand.
    pub max_messages: u32,
    /// An emulator.
    pub emulator: Option<Url>,
    /// The base URL of Cloud Logging.
    pub logging: Url,
}

impl PubsubConfig {
    /// Reads the area; problems stay in `env`.
    pub fn read(env: &mut Env) -> Option<Self> {
        let emulator = emulator(env, &PUBSUB_EMULATOR_HOST);
        let logging = logging_endpoint(env);
        let push = push(env);
        let max_messages = env.number(&PUBSUB_MAX_MESSAGES, 1..=1000);
        let subscription = env.given(&PUBSUB_SUBSCRIPTION);
        if let Some(name) = &subscription {
            let parts: Vec<&str> = name.split('/').collect();
            if !matches!(parts[..], ["projects", project, "subscriptions", id] if !project.is_empty() && !id.is_empty())
            {
                let remedy = format!("for example {}", PUBSUB_SUBSCRIPTION.example);
                env.problem(PUBSUB_SUBSCRIPTION.name, "is not projects/PROJECT/subscriptions/NAME", &remedy);
            }
        }
        Some(Self {
            push: push?,
            subscription,
            max_messages: u32::try_from(max_messages?).ok()?,
            emulator: emulator?,
            logging: logging?,
        })
    }

    /// The base URL of the Pub/Sub service.
    pub fn base(&self) -> Url {
        self.emulator.clone().unwrap_or_else(|| Url::parse(PUBSUB).expect("a constant that the tests parse"))
    }

    /// What calls to it are made with: `tokens`, but none for an emulator.
    pub fn tokens(&self, tokens: &TokenSource) -> TokenSource {
        if self.emulator.is_some() { TokenSource::none() } else { tokens.clone() }
    }
}

/// Where Cloud Logging is; a problem stays in `env`.
pub fn logging_endpoint(env: &mut Env) -> Option<Url> {
    env.address(&LOGGING_ENDPOINT).flatten()
}

fn push(env: &mut Env) -> Option<Push> {
    let unverified = env.flag(&PUBSUB_PUSH_UNVERIFIED);
    let audiences = env.list(&PUBSUB_PUSH_AUDIENCE);
    let accounts = env.list(&PUBSUB_PUSH_ACCOUNTS);
    let issuers = env.list(&PUBSUB_PUSH_ISSUERS);
    // No token goes there, but keys come from there: whoever can change them on the way can sign any token.
    let jwks = env.address(&PUBSUB_PUSH_JWKS_URL).flatten();
    match (unverified?, audiences.is_empty(), accounts.is_empty()) {
        (true, true, true) => Some(Push::Unverified),
        (true, ..) => {
            let remedy = "remove it, or remove PUBSUB_PUSH_AUDIENCE and PUBSUB_PUSH_ACCOUNTS";
            env.problem(PUBSUB_PUSH_UNVERIFIED.name, "makes no sense beside settings that verify", remedy);
            None
        }
        (false, true, true) => Some(Push::Closed),
        (false, false, false) => Some(Push::Verified(PushToken { audiences, accounts, issuers, jwks: jwks? })),
        (false, true, false) => {
            env.problem(
                PUBSUB_PUSH_AUDIENCE.name,
                "is required with PUBSUB_PUSH_ACCOUNTS",
                "set the subscription's audience",
            );
            None
        }
        (false, false, true) => {
            let remedy = "set the subscription's push service account";
            env.problem(PUBSUB_PUSH_ACCOUNTS.name, "is required with PUBSUB_PUSH_AUDIENCE", remedy);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<PubsubConfig>, bool) {
        let mut env = Env::from_pairs(pairs.iter().copied());
        let config = PubsubConfig::read(&mut env);
        (config, env.has_problems())
    }

    #[test]
    fn the_door_is_closed_until_both_audience_and_accounts_are_set() {
        assert!(Url::parse(PUBSUB).is_ok());
        assert_eq!(read(&[]).0.unwrap().push, Push::Closed);
        assert!(read(&[("PUBSUB_PUSH_AUDIENCE", "a")]).1);
        assert!(read(&[("PUBSUB_PUSH_ACCOUNTS", "a@b")]).1);
        assert!(read(&[("PUBSUB_PUSH_UNVERIFIED", "true"), ("PUBSUB_PUSH_AUDIENCE", "a")]).1);
        assert_eq!(read(&[("PUBSUB_PUSH_UNVERIFIED", "true")]).0.unwrap().push, Push::Unverified);
        let (config, _) = read(&[("PUBSUB_PUSH_AUDIENCE", "a"), ("PUBSUB_PUSH_ACCOUNTS", "a@b, c@d")]);
        let Push::Verified(token) = config.unwrap().push else { panic!("not verified") };
        assert_eq!(token.accounts, ["a@b", "c@d"]);
    }

    #[test]
    fn what_makes_no_sense_is_a_problem() {
        assert!(read(&[("PUBSUB_PUSH_JWKS_URL", "http://keys.example")]).1);
        assert!(!read(&[("PUBSUB_PUSH_JWKS_URL", "http://127.0.0.1:1/keys")]).1);
        assert!(read(&[("LOGGING_ENDPOINT", "http://logging.example")]).1);
        assert!(read(&[("LOGGING_ENDPOINT", "logging")]).1);
        assert!(!read(&[("LOGGING_ENDPOINT", "http://127.0.0.1:1")]).1);
        assert!(read(&[("PUBSUB_SUBSCRIPTION", "my-sub")]).1);
        assert!(!read(&[("PUBSUB_SUBSCRIPTION", "projects/p/subscriptions/s")]).1);
    }
}
