//! `attest explain`, `attest lint`, `attest verify`: policies and tokens, offline too.

mod print;
mod verify;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use self::print::{GREEN, PLAIN, RED, YELLOW, paint, print_explanation};
use super::Format;
use crate::attest::json as strict;
use crate::attest::policy::condition::read_scopes;
use crate::attest::policy::found::Level;
use crate::attest::policy::lint::lint;
use crate::attest::policy::mapping::{Mapping, read_pairs};
use crate::attest::policy::{Condition, Explanation, Mapped, Policy};
use crate::attest::verify::explain_passing;
use crate::text::{escaped, printable};

/// Attestation tokens and the policies they must satisfy.
#[derive(Debug, Args)]
pub(super) struct AttestArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say, term by term, why claims satisfy a condition or do not. Ends with 0 allowed, 1 denied, 2 refused.
    ///
    /// Of a policy the family is asked too; signature, kind of token, issuer, audience and times are asked by verify.
    Explain(Explain),
    /// Verify a token and ask a policy. Ends with 0 allowed, 1 refused, 2 when policy, keys or files cannot be used.
    ///
    /// The token's sha256 is made of its decoded header, payload and signature, each after its length as 8 bytes, big
    /// endian: not of its text. So it is in the journal and in findings too.
    Verify(verify::Verify),
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
struct Lint {
    /// The policy file.
    policy: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs the command; the exit code is the answer.
pub(super) fn run(attest: AttestArgs) -> anyhow::Result<ExitCode> {
    let out = &mut super::out::Out;
    let code = match attest.command {
        Command::Explain(args) => explain(&args, out)?,
        Command::Verify(args) => verify::run(&args, out)?,
        Command::Lint(args) => lint_policy(&args, out)?,
    };
    Ok(code.into())
}

/// What a policy asks of a token and claims alone cannot tell, or were not made to.
const NOT_ASKED: [&str; 5] = ["signature", "tokens", "issuer", "audiences", "times"];

/// What is printed as JSON.
#[derive(Serialize)]
struct Told<'e> {
    #[serde(flatten)]
    explanation: &'e Explanation,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_asked: Option<[&'static str; 5]>,
}

const CLAIMS_BYTES: u64 = 4 << 20;

fn explain(args: &Explain, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (explanation, refused) = match explained(args) {
        Ok(explanation) => (explanation, false),
        Err(error) => (Explanation { allowed: false, error: Some(format!("{error:#}")), terms: Vec::new() }, true),
    };
    let not_asked = args.policy.as_ref().filter(|_| !refused).map(|_| NOT_ASKED);
    match args.format {
        Format::Json => {
            let told = Told { explanation: &explanation, not_asked };
            writeln!(out, "{}", escaped(&serde_json::to_string(&told)?))?;
        }
        Format::Text => {
            print_explanation(&explanation, refused, out)?;
            if let Some(parts) = not_asked {
                let parts = parts.join(", ");
                writeln!(out, "note: not asked here: {parts}; attest verify asks them of a token")?;
            }
        }
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
    let Some(condition) = policy.as_ref().map(|policy| &policy.condition).or(condition.as_ref()) else {
        anyhow::bail!("give --condition or --policy");
    };
    let mut explanation = match (mapping, scopes, &policy) {
        (Some(mapping), ..) => condition.explain_mapped(&claims, &mapping).1,
        (None, Some(scopes), Some(policy)) => condition.explain_given(&claims, &scopes, &policy.mapping),
        (None, Some(scopes), None) => condition.explain(&claims, &scopes),
        (None, None, Some(policy)) => policy.explain(&claims),
        (None, None, None) => condition.explain(&claims, &Mapped::default()),
    };
    if let Some(policy) = &policy {
        // The reason is in the explanation.
        explain_passing(&claims, policy, &mut explanation).ok();
    }
    Ok(explanation)
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

fn lint_policy(args: &Lint, out: &mut dyn Write) -> anyhow::Result<u8> {
    let policy = match read_policy(&args.policy) {
        Ok(policy) => policy,
        Err(error) => {
            match args.format {
                Format::Json => {
                    let told = json!({"error": format!("{error:#}"), "remarks": []});
                    writeln!(out, "{}", escaped(&told.to_string()))?;
                }
                Format::Text => writeln!(out, "{} {}", paint("refused", RED), printable(&format!("{error:#}")))?,
            }
            return Ok(2);
        }
    };
    let remarks = lint(&policy);
    match args.format {
        Format::Json => {
            writeln!(out, "{}", escaped(&json!({"error": null, "remarks": remarks}).to_string()))?;
        }
        Format::Text => {
            for remark in &remarks {
                let (word, colour) = match remark.level {
                    Level::Error => ("error", RED),
                    Level::Warning => ("warning", YELLOW),
                    Level::Note => ("note", PLAIN),
                };
                let (message, why) = (printable(&remark.message), remark.why);
                writeln!(out, "{} {message} [{}]\n    {why}", paint(word, colour), remark.rule)?;
            }
            if remarks.is_empty() {
                writeln!(out, "{} {} has nothing to remark on", paint("clean", GREEN), policy.name)?;
            }
        }
    }
    Ok(u8::from(remarks.iter().any(|remark| remark.level > Level::Note)))
}
