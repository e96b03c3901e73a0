//! Attestation: which policies, which secrets, and how strict.

mod secrets;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

pub use secrets::{ATTESTATION_SEALED_ONLY, ATTESTATION_SECRETS, SecretRule, SecretSource};

use super::env::{Area, Env, Setting};
use super::problem::shown;
use super::server::taken;
use crate::calls::may_carry_a_token;
use crate::google::secret_manager::is_place;

/// `ATTESTATION_POLICIES`.
pub static ATTESTATION_POLICIES: Setting = Setting {
    name: "ATTESTATION_POLICIES",
    aliases: &[],
    default: None,
    example: "policies",
    secret: false,
    doc: "The folder with policy files, or one file's folder; reloaded when a file changes. Without it the attestation \
          routes are not there.",
};
/// `ATTESTATION_POLICY`.
pub static ATTESTATION_POLICY: Setting = Setting {
    name: "ATTESTATION_POLICY",
    aliases: &[],
    default: None,
    example: "production-confidential-space",
    secret: false,
    doc: "The policies that POST /attestation/verify asks, by name, separated by commas; the first that allows decides. \
          Not set: every policy of the folder.",
};
/// `ATTESTATION_LOG_POLICY`.
pub static ATTESTATION_LOG_POLICY: Setting = Setting {
    name: "ATTESTATION_LOG_POLICY",
    aliases: &[],
    default: None,
    example: "confidential-vm",
    secret: false,
    doc: "The policies that judge tokens found in the log gotpm, by name, separated by commas; the first that allows \
          decides. Audience and age are not looked at, as these tokens were made for another service. Not set: such \
          tokens are verified and compared with their entry, and no condition is asked.",
};
/// `ATTESTATION_CODELAB_PATH`.
pub static ATTESTATION_CODELAB_PATH: Setting = Setting {
    name: "ATTESTATION_CODELAB_PATH",
    aliases: &[],
    default: None,
    example: "/",
    secret: false,
    doc: "A further path where a secret is released to a GET with a bearer token, as in Google's codelab: PATH, or \
          PATH=NAME with the secret's name. Without a name it is the secret called codelab, or the only one there is. \
          Not a path of the connector's own, except /.",
};
/// `ATTESTATION_ENDPOINT`.
pub static ATTESTATION_ENDPOINT: Setting = Setting {
    name: "ATTESTATION_ENDPOINT",
    aliases: &[],
    default: None,
    example: "https://confidentialcomputing.googleapis.com",
    secret: false,
    doc: "Where the issuer's discovery document is asked for, when not at the issuer itself: https, or http on this machine. With policies of several \
          issuers it stands for Google's.",
};
/// `ATTESTATION_JWKS_FILE`.
pub static ATTESTATION_JWKS_FILE: Setting = Setting {
    name: "ATTESTATION_JWKS_FILE",
    aliases: &[],
    default: None,
    example: "/etc/sysdig-scc/jwks.json",
    secret: false,
    doc: "A file with one issuer's keys, used instead of fetching them: the only issuer's that the policies name, of \
          several Google's. The keys rotate: tokens are refused when the file is \
          old. It is read again when it changed.",
};
/// `ATTESTATION_KEYS_CACHE`.
pub static ATTESTATION_KEYS_CACHE: Setting = Setting {
    name: "ATTESTATION_KEYS_CACHE",
    aliases: &[],
    default: None,
    example: "/var/lib/sysdig-scc/jwks.json",
    secret: false,
    doc: "A file that keeps the last good keys over restarts, for when the issuer is down then. The keys of issuers other \
          than Google's are kept in files beside it, with a part of the issuer's SHA-256 at the end of the name. A file that \
          somebody else owns or may write is not used.",
};
/// `ATTESTATION_ROOT`.
pub static ATTESTATION_ROOT: Setting = Setting {
    name: "ATTESTATION_ROOT",
    aliases: &[],
    default: None,
    example: "148b293821bb0c6a317f413c8ba475814091cb22d49b9e3c94198db8e8f86c39",
    secret: false,
    doc: "The root that PKI tokens must lead to: the SHA-256 of its certificate, or a file with it. Not set: Google's \
          Confidential Space Root CA.",
};
/// `ATTESTATION_REQUIRE_NONCE`.
pub static ATTESTATION_REQUIRE_NONCE: Setting = Setting {
    name: "ATTESTATION_REQUIRE_NONCE",
    aliases: &[],
    default: Some("false"),
    example: "true",
    secret: false,
    doc: "Secrets are released only to tokens with a nonce of POST /attestation/challenge. When false, whoever holds a \
          token that was never used may use it once until it expires.",
};
/// `ATTESTATION_ALLOW_REUSE`.
pub static ATTESTATION_ALLOW_REUSE: Setting = Setting {
    name: "ATTESTATION_ALLOW_REUSE",
    aliases: &[],
    default: Some("false"),
    example: "false",
    secret: false,
    doc: "Insecure: the same token may be used for a secret again until it expires, by anyone who has seen it.",
};
/// `ATTESTATION_NONCE_KEY`.
pub static ATTESTATION_NONCE_KEY: Setting = Setting {
    name: "ATTESTATION_NONCE_KEY",
    aliases: &[],
    default: None,
    example: "at-least-32-random-characters-here",
    secret: true,
    doc: "The key of the challenges, at least 32 characters, the same on all replicas. Not set: a new one at each start, \
          so a challenge is only good at the replica that made it.",
};
/// `ATTESTATION_CHALLENGE_SECS`.
pub static ATTESTATION_CHALLENGE_SECS: Setting = Setting {
    name: "ATTESTATION_CHALLENGE_SECS",
    aliases: &[],
    default: Some("300"),
    example: "300",
    secret: false,
    doc: "How long a challenge lasts, in seconds, from 10 to 3600.",
};
/// `ATTESTATION_SECRET_CACHE_SECS`.
pub static ATTESTATION_SECRET_CACHE_SECS: Setting = Setting {
    name: "ATTESTATION_SECRET_CACHE_SECS",
    aliases: &[],
    default: Some("0"),
    example: "60",
    secret: false,
    doc: "How long a secret from Secret Manager is kept in memory, in seconds; 0 asks for it each time.",
};
/// `ATTESTATION_FAILURES_PER_MINUTE`.
pub static ATTESTATION_FAILURES_PER_MINUTE: Setting = Setting {
    name: "ATTESTATION_FAILURES_PER_MINUTE",
    aliases: &[],
    default: Some("60"),
    example: "60",
    secret: false,
    doc: "Refused tokens that one address may have a minute before it is answered 429, and, counted apart, challenges \
          that it may ask for. A good token is always let in, and refusals keep nobody from a challenge. Beyond it, tokens \
          that nobody signed are not written to the journal.",
};
/// `ATTESTATION_JOURNAL`.
pub static ATTESTATION_JOURNAL: Setting = Setting {
    name: "ATTESTATION_JOURNAL",
    aliases: &[],
    default: Some("data/attestation-journal.jsonl"),
    example: "/var/lib/sysdig-scc/attestation-journal.jsonl",
    secret: false,
    doc: "The file every decision is appended to, one JSON object a line: time, policy and its hash, the token's hash, \
          verdict and reason. A secret is released only after its line is written. Of an address beyond \
          ATTESTATION_FAILURES_PER_MINUTE, tokens that nobody signed are left out, and what is the same within a \
          minute.",
};
/// `ATTESTATION_RELEASED_FINDINGS`.
pub static ATTESTATION_RELEASED_FINDINGS: Setting = Setting {
    name: "ATTESTATION_RELEASED_FINDINGS",
    aliases: &[],
    default: Some("false"),
    example: "false",
    secret: false,
    doc: "Each released secret becomes a finding of the class observation.",
};
/// `ATTESTATION_EXPECT_EVERY_HOURS`.
pub static ATTESTATION_EXPECT_EVERY_HOURS: Setting = Setting {
    name: "ATTESTATION_EXPECT_EVERY_HOURS",
    aliases: &[],
    default: Some("0"),
    example: "24",
    secret: false,
    doc: "A machine that attested once and then not for so many hours becomes a finding; 0 expects nothing.",
};

/// The settings of this area.
pub static AREA: Area = Area {
    title: "Attestation",
    settings: &[
        &ATTESTATION_POLICIES,
        &ATTESTATION_POLICY,
        &ATTESTATION_LOG_POLICY,
        &ATTESTATION_SECRETS,
        &ATTESTATION_SEALED_ONLY,
        &ATTESTATION_CODELAB_PATH,
        &ATTESTATION_ENDPOINT,
        &ATTESTATION_JWKS_FILE,
        &ATTESTATION_KEYS_CACHE,
        &ATTESTATION_ROOT,
        &ATTESTATION_REQUIRE_NONCE,
        &ATTESTATION_ALLOW_REUSE,
        &ATTESTATION_NONCE_KEY,
        &ATTESTATION_CHALLENGE_SECS,
        &ATTESTATION_SECRET_CACHE_SECS,
        &ATTESTATION_FAILURES_PER_MINUTE,
        &ATTESTATION_JOURNAL,
        &ATTESTATION_RELEASED_FINDINGS,
        &ATTESTATION_EXPECT_EVERY_HOURS,
    ],
};

/// The attestation's settings.
#[derive(Debug, Clone)]
pub struct AttestationConfig {
    /// The folder of policies; `None` switches attestation off.
    pub policies: Option<PathBuf>,
    /// The policies that are asked by `/attestation/verify`; empty for all.
    pub asked: Vec<String>,
    /// The policies that judge tokens found in logs; empty for none.
    pub logged: Vec<String>,
    /// The secrets.
    pub secrets: Vec<SecretRule>,
    /// A further path and the secret released there.
    pub codelab: Option<(String, String)>,
    /// Where discovery is asked for.
    pub endpoint: Option<String>,
    /// Where Secret Manager is.
    pub secret_manager: Option<Url>,
    /// Keys from a file instead.
    pub jwks_file: Option<PathBuf>,
    /// Where fetched keys are kept.
    pub keys_cache: Option<PathBuf>,
    /// The root: a fingerprint or a file.
    pub root: Option<String>,
    /// Secrets need a nonce.
    pub require_nonce: bool,
    /// A token may be used again.
    pub allow_reuse: bool,
    /// The key of the challenges.
    pub nonce_key: Option<SecretString>,
    /// How long challenges last, seconds.
    pub challenge_secs: u32,
    /// How long a secret is kept.
    pub secret_cache: Duration,
    /// Refusals a minute and address.
    pub failures_per_minute: u32,
    /// The journal's file.
    pub journal: PathBuf,
    /// Whether releases become findings.
    pub released_findings: bool,
    /// Hours after which a machine is missed; 0 for never.
    pub expect_every_hours: u32,
}

impl AttestationConfig {
    /// Reads this area.
    pub fn read(env: &mut Env) -> Option<Self> {
        let secrets = secrets::read(env);
        let codelab = codelab(env, &secrets);
        let nonce_key = env.secret(&ATTESTATION_NONCE_KEY);
        // The name of a secret is no key yet.
        let short = |key: &str| !is_place(key) && key.len() < 32;
        if nonce_key.as_ref().is_some_and(|key| short(key.expose_secret())) {
            env.problem(
                ATTESTATION_NONCE_KEY.name,
                "is shorter than 32 characters",
                "use 32 random characters or more",
            );
        }
        let policies = env.given(&ATTESTATION_POLICIES).map(PathBuf::from);
        let (asked, logged) = (env.list(&ATTESTATION_POLICY), env.list(&ATTESTATION_LOG_POLICY));
        let endpoint = endpoint(env);
        let (require_nonce, allow_reuse) = (env.flag(&ATTESTATION_REQUIRE_NONCE), env.flag(&ATTESTATION_ALLOW_REUSE));
        let challenge_secs = small(env, &ATTESTATION_CHALLENGE_SECS, 10..=3600);
        let secret_cache = env.number(&ATTESTATION_SECRET_CACHE_SECS, 0..=86_400);
        let failures_per_minute = small(env, &ATTESTATION_FAILURES_PER_MINUTE, 1..=1_000_000);
        let released_findings = env.flag(&ATTESTATION_RELEASED_FINDINGS);
        let expect_every_hours = small(env, &ATTESTATION_EXPECT_EVERY_HOURS, 0..=8_760);
        let names = [
            (&ATTESTATION_SECRETS, secrets.is_empty(), "names secrets"),
            (&ATTESTATION_POLICY, asked.is_empty(), "names policies"),
            (&ATTESTATION_LOG_POLICY, logged.is_empty(), "names policies"),
        ];
        for (setting, _, what) in names.into_iter().filter(|(_, none, _)| policies.is_none() && !none) {
            let wrong = format!("{what}, but there are no policies: attestation is off");
            env.problem(setting.name, &wrong, "set ATTESTATION_POLICIES to the folder of policies, or remove it");
        }
        Some(Self {
            policies,
            asked,
            logged,
            secrets,
            codelab,
            endpoint,
            secret_manager: env.address(&super::secrets::SECRET_MANAGER_ENDPOINT).flatten(),
            jwks_file: env.given(&ATTESTATION_JWKS_FILE).map(PathBuf::from),
            keys_cache: env.given(&ATTESTATION_KEYS_CACHE).map(PathBuf::from),
            root: env.given(&ATTESTATION_ROOT),
            require_nonce: require_nonce?,
            allow_reuse: allow_reuse?,
            nonce_key,
            challenge_secs: challenge_secs?,
            secret_cache: Duration::from_secs(secret_cache?),
            failures_per_minute: failures_per_minute?,
            journal: env.text(&ATTESTATION_JOURNAL).map(PathBuf::from)?,
            released_findings: released_findings?,
            expect_every_hours: expect_every_hours?,
        })
    }
}

fn small(env: &mut Env, setting: &'static Setting, bounds: std::ops::RangeInclusive<u64>) -> Option<u32> {
    env.number(setting, bounds).and_then(|number| u32::try_from(number).ok())
}

fn endpoint(env: &mut Env) -> Option<String> {
    let text = env.given(&ATTESTATION_ENDPOINT)?;
    if Url::parse(&text).is_ok_and(|url| may_carry_a_token(&url)) {
        return Some(text);
    }
    // No token goes there, but keys come from there: whoever can change them on the way can sign any token.
    let wrong = format!("is neither https nor http on this machine: {}", shown(&text));
    env.problem(ATTESTATION_ENDPOINT.name, &wrong, &format!("for example {}", ATTESTATION_ENDPOINT.example));
    None
}

fn codelab(env: &mut Env, secrets: &[SecretRule]) -> Option<(String, String)> {
    let text = env.given(&ATTESTATION_CODELAB_PATH)?;
    let (path, named) = match text.split_once('=') {
        Some((path, name)) => (path.trim(), Some(name.trim())),
        None => (text.as_str(), None),
    };
    let secret = match named {
        Some(name) => secrets.iter().find(|rule| rule.name == name),
        None => secrets.iter().find(|rule| rule.name == "codelab").or(match secrets {
            [only] => Some(only),
            _ => None,
        }),
    };
    let path = codelab_path(env, path);
    let Some(rule) = secret else {
        env.problem(
            ATTESTATION_CODELAB_PATH.name,
            "names no secret that is there",
            "write PATH=NAME with a name of ATTESTATION_SECRETS",
        );
        return None;
    };
    if rule.sealed_only {
        let wrong = format!("releases {}, which ATTESTATION_SEALED_ONLY names: no key can be given there", rule.name);
        env.problem(
            ATTESTATION_CODELAB_PATH.name,
            &wrong,
            "name another secret, or take it out of ATTESTATION_SEALED_ONLY",
        );
        return None;
    }
    Some((path?, rule.name.clone()))
}

/// A path as the server compares them: it takes away a slash at the end, and what braces hold would be a pattern.
fn codelab_path(env: &mut Env, text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~');
    let path = if text == "/" { text } else { text.strip_suffix('/').unwrap_or(text) };
    if !path.starts_with('/') || path.contains("//") || !path.bytes().all(plain) {
        let remedy = "begin with a slash and use letters, digits, / - _ . and ~, for example /";
        env.problem(ATTESTATION_CODELAB_PATH.name, &format!("is not a plain path: {text:?}"), remedy);
        return None;
    }
    if let Some(route) = taken(path) {
        env.problem(
            ATTESTATION_CODELAB_PATH.name,
            &format!("is {path:?}, which is taken: {route} is answered by the connector itself"),
            "use / or a path that nothing else has, for example /secret",
        );
        return None;
    }
    Some(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(pairs: &[(&str, &str)]) -> String {
        let mut env = Env::from_pairs(pairs.iter().copied());
        AttestationConfig::read(&mut env);
        env.finish().err().map(|problems| problems.to_string()).unwrap_or_default()
    }

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for (endpoint, good) in [
            ("https://keys.example.com", true),
            ("http://127.0.0.1:9", true),
            ("http://localhost:9/x", true),
            ("http://example.com", false),
            ("ftp://example.com", false),
            ("example.com", false),
        ] {
            let told = problems(&[("ATTESTATION_ENDPOINT", endpoint)]);
            assert_eq!(told.is_empty(), good, "{endpoint}: {told}");
            assert!(good || told.contains("ATTESTATION_ENDPOINT  is neither https nor http on this machine"), "{told}");
        }
    }

    #[test]
    fn what_is_released_only_sealed_is_a_secret_and_not_the_codelabs() {
        let secrets =
            [("ATTESTATION_POLICIES", "p"), ("ATTESTATION_SECRETS", "db=ours:env:A,api=ours:env:A"), ("A", "x")];
        for (sealed, codelab, marked, told) in [
            ("db", "/=api", [true, false], ""),
            ("*", "", [true, true], ""),
            ("db, other", "", [true, false], "names \"other\", which is no secret"),
            ("db", "/=db", [true, false], "releases db, which ATTESTATION_SEALED_ONLY names"),
        ] {
            let pairs = [("ATTESTATION_SEALED_ONLY", sealed), ("ATTESTATION_CODELAB_PATH", codelab)];
            let mut env = Env::from_pairs(secrets.iter().chain(&pairs).copied());
            let config = AttestationConfig::read(&mut env).unwrap();
            assert_eq!(config.secrets.iter().map(|rule| rule.sealed_only).collect::<Vec<_>>(), marked, "{sealed}");
            let problems = env.finish().err().map(|problems| problems.to_string()).unwrap_or_default();
            assert!(problems.contains(told) && problems.is_empty() == told.is_empty(), "{problems}");
        }
    }

    #[test]
    fn the_codelabs_path_is_nobody_elses() {
        let read = |path: &str| {
            let mut env = Env::from_pairs([
                ("ATTESTATION_POLICIES", "p"),
                ("ATTESTATION_SECRETS", "db=ours:env:DB"),
                ("DB", "x"),
                ("ATTESTATION_CODELAB_PATH", path),
            ]);
            let read = AttestationConfig::read(&mut env).and_then(|config| config.codelab);
            (read.map(|(path, _)| path), env.finish().err().map(|problems| problems.to_string()).unwrap_or_default())
        };
        for (path, kept) in [("/", "/"), ("/secret", "/secret"), ("/secret/", "/secret"), ("/a/b=db", "/a/b")] {
            assert_eq!(read(path), (Some(kept.to_owned()), String::new()));
        }
        for path in [
            "/events",
            "/events/",
            "/pubsub/push",
            "/metrics",
            "/healthz",
            "/readyz",
            "/health",
            "/attestation/verify",
            "/attestation/secrets/db",
            "/_ah/warmup=db",
        ] {
            let (kept, told) = read(path);
            assert_eq!(kept, None, "{path}");
            assert!(told.contains("which is taken"), "{path}: {told}");
        }
        for path in ["secret", "/{any}", "//metrics", "/%6detrics", "/a b", ""] {
            let (kept, told) = read(path);
            assert_eq!(kept, None, "{path}");
            assert!(path.is_empty() || told.contains("is not a plain path"), "{path}: {told}");
        }
    }
}
