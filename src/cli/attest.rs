//! `attest explain`, `attest lint`, `attest verify`: policies and tokens, offline too.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Format;
use crate::attest::chain::Roots;
use crate::attest::claims::Claims;
use crate::attest::json as strict;
use crate::attest::key_source::{FetchRules, KeySource};
use crate::attest::keys::KeySet;
use crate::attest::policy::condition::read_scopes;
use crate::attest::policy::lint::{Level, lint};
use crate::attest::policy::mapping::{Mapping, read_pairs};
use crate::attest::policy::{Condition, Explanation, Mapped, Policy, Truth};
use crate::attest::token::take_apart;
use crate::attest::verify::{Reason, Trust, Verified, explain as explain_verified, judge, verify};

/// Attestation tokens and the policies they must satisfy.
#[derive(Debug, Args)]
pub(super) struct AttestArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say, term by term, why claims satisfy a condition or do not. Ends with 0 allowed, 1 denied, 2 refused.
    Explain(Explain),
    /// Verify a token and ask a policy. Ends with 0 allowed, 1 refused, 2 when policy, keys or files cannot be used.
    Verify(Verify),
    /// Look for what is probably wrong with a policy. Ends with 0 clean, 1 with warnings or errors, 2 unreadable.
    Lint(Lint),
}

#[derive(Debug, Args)]
struct Explain {
    /// The condition, in CEL.
    #[arg(long, required_unless_present = "policy", conflicts_with = "policy", allow_hyphen_values = true)]
    condition: Option<String>,
    /// A policy file instead: our own form, or what gcloud prints for a provider.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// The token's claims as JSON, or an object with the members assertion, google and attribute; - reads standard input.
    #[arg(long)]
    claims: PathBuf,
    /// An attribute mapping, KEY=CEL; may be repeated, or hold several divided by commas as for gcloud.
    #[arg(long, allow_hyphen_values = true)]
    mapping: Vec<String>,
    /// How to print.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Args)]
struct Verify {
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

#[derive(Debug, Args)]
struct Lint {
    /// The policy file.
    policy: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs the command; the exit code is the answer.
pub(super) fn run(attest: AttestArgs) -> anyhow::Result<ExitCode> {
    let out = &mut std::io::stdout();
    let code = match attest.command {
        Command::Explain(args) => explain(&args, out)?,
        Command::Verify(args) => verify_token(&args, out)?,
        Command::Lint(args) => lint_policy(&args, out)?,
    };
    Ok(code.into())
}

const CLAIMS_BYTES: u64 = 4 << 20;

fn explain(args: &Explain, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (explanation, refused) = match explained(args) {
        Ok(explanation) => (explanation, false),
        Err(error) => (Explanation { allowed: false, error: Some(format!("{error:#}")), terms: Vec::new() }, true),
    };
    match args.format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(&explanation)?)?,
        Format::Text => print_explanation(&explanation, refused, out)?,
    }
    Ok(match (refused, explanation.allowed) {
        (true, _) => 2,
        (false, true) => 0,
        (false, false) => 1,
    })
}

fn explained(args: &Explain) -> anyhow::Result<Explanation> {
    // The expression first: whatever the claims are, a refused one is refused.
    let policy = args.policy.as_deref().map(read_policy).transpose()?;
    let condition = args.condition.as_deref().map(Condition::compile).transpose()?;
    let mapping = mapping(&args.mapping)?;
    let json = strict::read(&read_bytes(&args.claims)?, strict::DEPTH).context("the claims cannot be read")?;
    let (claims, scopes) = read_scopes(json).map_err(anyhow::Error::msg)?;
    let condition = match (&policy, &condition) {
        (Some(policy), _) if mapping.is_none() && scopes.is_none() => return Ok(policy.explain(&claims)),
        (Some(policy), _) => &policy.condition,
        (None, Some(condition)) => condition,
        (None, None) => anyhow::bail!("give --condition or --policy"),
    };
    Ok(match (mapping, scopes) {
        (Some(mapping), _) => condition.explain_mapped(&claims, &mapping).1,
        (None, Some(scopes)) => condition.explain(&claims, &scopes),
        (None, None) => condition.explain(&claims, &Mapped::default()),
    })
}

fn mapping(given: &[String]) -> anyhow::Result<Option<Mapping>> {
    if given.is_empty() {
        return Ok(None);
    }
    let mut pairs = Vec::new();
    for text in given {
        pairs.extend(read_pairs(text).with_context(|| format!("--mapping {text:?} is not KEY=EXPRESSION"))?);
    }
    Ok(Some(Mapping::compile(&pairs)?))
}

fn read_policy(path: &Path) -> anyhow::Result<Policy> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Policy::read(&text, &stem).with_context(|| format!("{}", path.display()))
}

fn read_bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let shown = path.display();
    let reader: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| format!("{shown} cannot be read"))?)
    };
    reader.take(CLAIMS_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("{shown} cannot be read"))?;
    anyhow::ensure!(bytes.len() as u64 <= CLAIMS_BYTES, "{shown} is larger than 4 MiB");
    Ok(bytes)
}

fn read_time(text: &str) -> Result<i64, String> {
    let rfc3339 = || chrono::DateTime::parse_from_rfc3339(text).map(|time| time.timestamp());
    text.parse().or_else(|_| rfc3339()).map_err(|_| "neither Unix seconds nor RFC 3339".to_owned())
}

fn verify_token(args: &Verify, out: &mut dyn Write) -> anyhow::Result<u8> {
    let verdict = match verified(args) {
        Ok(verdict) => verdict,
        Err(error) => {
            let shown = format!("{error:#}");
            match args.format {
                Format::Json => writeln!(
                    out,
                    "{}",
                    json!({"verified": false, "allowed": false, "reason": "unusable", "message": shown})
                )?,
                Format::Text => writeln!(out, "{}: {}", paint("unusable", RED), plain(&shown))?,
            }
            return Ok(2);
        }
    };
    let allowed = verdict.reason.is_none();
    match args.format {
        Format::Json => writeln!(out, "{}", verdict.json())?,
        Format::Text => verdict.print(out)?,
    }
    Ok(u8::from(!allowed))
}

/// What became of one token.
struct Outcome {
    policy: Policy,
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
            "token_sha256": verified.map(|verified| verified.hash.to_string()),
            "kid": verified.and_then(|verified| verified.kid.clone()),
            "resource": verified.and_then(|v| Claims(&v.claims).instance()).map(|instance| instance.resource_name()),
            "explanation": self.explanation,
        })
    }

    fn print(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        match (&self.reason, &self.verified) {
            (Some(reason), None) => writeln!(out, "{}: {reason} [{}]", paint("not verified", RED), reason.code())?,
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
    let result = verify(token, &policy, Trust { keys: keys.as_deref(), roots: &roots }, now);
    Ok(match result {
        Err(reason) => Outcome { policy, verified: None, reason: Some(reason), explanation: None },
        Ok(verified) => {
            let reason = judge(&verified, &policy).err();
            let explanation = Some(explain_verified(&verified, &policy));
            Outcome { policy, verified: Some(verified), reason, explanation }
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
    super::block_on(async { source.keys_for(&kid).await.map(Some).context("give a key set with --jwks, or try again") })
}

fn lint_policy(args: &Lint, out: &mut dyn Write) -> anyhow::Result<u8> {
    let policy = match read_policy(&args.policy) {
        Ok(policy) => policy,
        Err(error) => {
            match args.format {
                Format::Json => writeln!(out, "{}", json!({"error": format!("{error:#}"), "remarks": []}))?,
                Format::Text => writeln!(out, "{} {error:#}", paint("refused", RED))?,
            }
            return Ok(2);
        }
    };
    let remarks = lint(&policy);
    match args.format {
        Format::Json => writeln!(out, "{}", json!({"error": null, "remarks": remarks}))?,
        Format::Text => {
            for remark in &remarks {
                let (word, colour) = match remark.level {
                    Level::Error => ("error", RED),
                    Level::Warning => ("warning", YELLOW),
                    Level::Note => ("note", PLAIN),
                };
                writeln!(out, "{} {} [{}]\n    {}", paint(word, colour), remark.message, remark.rule, remark.why)?;
            }
            if remarks.is_empty() {
                writeln!(out, "{} {} has nothing to remark on", paint("clean", GREEN), policy.name)?;
            }
        }
    }
    Ok(u8::from(remarks.iter().any(|remark| remark.level > Level::Note)))
}

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "";

/// Colour on a terminal only.
fn paint(text: &str, colour: &str) -> String {
    if colour.is_empty() || !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
        return text.to_owned();
    }
    format!("{colour}{text}\x1b[0m")
}

/// A text without what could move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Prints an explanation for people.
pub(crate) fn print_explanation(explanation: &Explanation, refused: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let (word, colour) = match (refused, explanation.allowed) {
        (true, _) => ("refused", RED),
        (_, true) => ("allowed", GREEN),
        _ => ("denied", RED),
    };
    match &explanation.error {
        Some(error) => writeln!(out, "{}: {}", paint(word, colour), plain(error))?,
        None => writeln!(out, "{}", paint(word, colour))?,
    }
    for term in &explanation.terms {
        let (word, colour) = match term.result {
            Truth::True => ("true ", GREEN),
            Truth::False => ("false", RED),
            Truth::Error => ("error", YELLOW),
        };
        writeln!(out, "  {} {}", paint(word, colour), plain(&term.source))?;
        if let Some(error) = &term.error {
            writeln!(out, "        {}", plain(error))?;
        }
        for (path, value) in &term.values {
            writeln!(out, "        {path} = {}", plain(&value.to_string()))?;
        }
        for path in &term.absent {
            writeln!(out, "        {path} is not in the token")?;
        }
        for hint in &term.hints {
            writeln!(out, "        → {}", plain(hint))?;
        }
    }
    Ok(())
}
