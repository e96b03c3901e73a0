//! `attest verify`: a whole token, with fetched or given keys, asked of a policy.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::print::{GREEN, RED, paint, print_explanation};
use super::{Format, read_bytes, read_policy};
use crate::attest::cel::Budget;
use crate::attest::chain::Roots;
use crate::attest::claims::Claims;
use crate::attest::key_source::{FetchRules, KeySource};
use crate::attest::keys::KeySet;
use crate::attest::policy::{Explanation, Policy};
use crate::attest::reason::Reason;
use crate::attest::token::{TokenHash, take_apart};
use crate::attest::verify::{Trust, Verified, explain, verify};
use crate::text::{escaped, printable};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The file with the token; - reads standard input.
    #[arg(long)]
    token: PathBuf,
    /// The policy: a file, or a name in the folder ATTESTATION_POLICIES (default policies).
    #[arg(long)]
    policy: String,
    /// Fetch nothing: needs --jwks for tokens without a certificate chain.
    #[arg(long)]
    offline: bool,
    /// A file with the issuer's keys (JWKS).
    #[arg(long)]
    jwks: Option<PathBuf>,
    /// The root for tokens with a certificate chain: SHA-256 of its certificate, or a file with it.
    #[arg(long)]
    root: Option<String>,
    /// Accept this audience instead of the policy's; may be repeated.
    #[arg(long)]
    audience: Vec<String>,
    /// The time to verify at: Unix seconds or RFC 3339. Not given: now.
    #[arg(long, value_parser = read_time)]
    now: Option<i64>,
    /// How to print.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

fn read_time(text: &str) -> Result<i64, String> {
    let rfc3339 = || chrono::DateTime::parse_from_rfc3339(text).map(|time| time.timestamp());
    text.parse().or_else(|_| rfc3339()).map_err(|_| "neither Unix seconds nor RFC 3339".to_owned())
}

/// Verifies the token and prints what became of it.
pub(super) fn run(args: &Verify, out: &mut dyn Write) -> anyhow::Result<u8> {
    let verdict = match verified(args) {
        Ok(verdict) => verdict,
        Err(error) => {
            let shown = format!("{error:#}");
            match args.format {
                Format::Json => {
                    let told = json!({"verified": false, "allowed": false, "reason": "unusable", "message": shown});
                    writeln!(out, "{}", escaped(&told.to_string()))?;
                }
                Format::Text => writeln!(out, "{}: {}", paint("unusable", RED), printable(&shown))?,
            }
            return Ok(2);
        }
    };
    let allowed = verdict.reason.is_none();
    match args.format {
        Format::Json => writeln!(out, "{}", escaped(&verdict.json().to_string()))?,
        Format::Text => verdict.print(out)?,
    }
    Ok(u8::from(!allowed))
}

/// What became of one token.
struct Outcome {
    policy: Policy,
    /// What identifies the token, when it could be taken apart.
    hash: Option<TokenHash>,
    verified: Option<Verified>,
    reason: Option<Reason>,
    explanation: Option<Explanation>,
}

impl Outcome {
    fn json(&self) -> serde_json::Value {
        let verified = self.verified.as_ref();
        json!({
            "verified": verified.is_some(),
            "allowed": self.reason.is_none(),
            "reason": self.reason.as_ref().map(Reason::code),
            "message": self.reason.as_ref().map(ToString::to_string),
            "policy": self.policy.name,
            "policy_sha256": self.policy.hash,
            "token_sha256": self.hash.map(|hash| hash.to_string()),
            "kid": verified.and_then(|verified| verified.kid.clone()),
            "resource": verified.and_then(|v| Claims(&v.claims).instance()).map(|instance| instance.resource_name()),
            "explanation": self.explanation,
        })
    }

    fn print(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        match (&self.reason, &self.verified) {
            (Some(reason), None) => {
                writeln!(out, "{}: {reason} [{}]", paint("not verified", RED), reason.code())?;
                self.hash.map_or(Ok(()), |hash| writeln!(out, "  token  sha256 {hash}"))?;
            }
            (_, None) => {}
            (reason, Some(verified)) => {
                writeln!(out, "{}: the issuer signed it, it is for us and in time", paint("verified", GREEN))?;
                writeln!(out, "  token  sha256 {}", verified.hash)?;
                if let Some(instance) = Claims(&verified.claims).instance() {
                    writeln!(out, "  of     {}", instance.resource_name())?;
                }
                writeln!(out, "  policy {}", self.policy.name)?;
                if let Some(reason) = reason {
                    writeln!(out, "{} [{}]", reason, reason.code())?;
                }
            }
        }
        self.explanation.as_ref().map_or(Ok(()), |explanation| print_explanation(explanation, false, out))
    }
}

fn verified(args: &Verify) -> anyhow::Result<Outcome> {
    let mut policy = find_policy(&args.policy)?;
    if !args.audience.is_empty() {
        policy.audiences.clone_from(&args.audience);
    }
    let bytes = read_bytes(&args.token)?;
    let text = String::from_utf8(bytes).ok().context("the token is not text")?;
    let token = text.trim();
    let keys = keys(args, &policy, token)?;
    let roots = match &args.root {
        None => Roots::default(),
        Some(text) => Roots::fingerprint(text)
            .or_else(|_| Roots::certificates(&read_bytes(Path::new(text))?).map_err(anyhow::Error::from))?,
    };
    let now = args.now.unwrap_or_else(|| chrono::Utc::now().timestamp());
    let hash = take_apart(token).ok().map(|parts| parts.hash);
    let result = verify(token, &policy, Trust { keys: keys.as_deref(), roots: &roots }, now);
    Ok(match result {
        Err(reason) => Outcome { policy, hash, verified: None, reason: Some(reason), explanation: None },
        Ok(verified) => {
            let (judgement, explanation) = explain(&verified, &policy, &mut Budget::default());
            Outcome { policy, hash, verified: Some(verified), reason: judgement.err(), explanation: Some(explanation) }
        }
    })
}

fn find_policy(name: &str) -> anyhow::Result<Policy> {
    if Path::new(name).is_file() {
        return read_policy(Path::new(name));
    }
    let mut env = crate::config::Env::from_process();
    let folder = env.given(&crate::config::attestation::ATTESTATION_POLICIES).unwrap_or_else(|| "policies".to_owned());
    let plain = !name.contains(['/', '\\']) && !name.starts_with('.');
    let found = ["yaml", "yml", "json"]
        .iter()
        .map(|ending| Path::new(&folder).join(format!("{name}.{ending}")))
        .find(|p| plain && p.is_file());
    read_policy(&found.with_context(|| format!("there is no policy {name}, neither as a file nor in {folder}"))?)
}

fn keys(args: &Verify, policy: &Policy, token: &str) -> anyhow::Result<Option<Arc<KeySet>>> {
    if let Some(path) = &args.jwks {
        let set = KeySet::read(&read_bytes(path)?).with_context(|| format!("{}", path.display()))?;
        return Ok(Some(Arc::new(set)));
    }
    if let Some(keys) = &policy.keys {
        return Ok(Some(keys.clone()));
    }
    // Only a token that needs fetched keys makes us fetch them.
    let Ok(parts) = take_apart(token) else { return Ok(None) };
    let Some(kid) = parts.kid.filter(|_| parts.chain.is_none()) else { return Ok(None) };
    anyhow::ensure!(!args.offline, "offline, the issuer's keys must be given with --jwks");
    let mut env = crate::config::Env::from_process();
    let base = env.given(&crate::config::attestation::ATTESTATION_ENDPOINT).unwrap_or_else(|| policy.issuer.clone());
    let source = KeySource::issuer(&policy.issuer, &base, FetchRules::default(), None)?;
    crate::cli::block_on(async {
        source.look_up(&kid).await.map(|found| Some(found.keys)).context("give a key set with --jwks, or try again")
    })
}
