//! `docs/policy.md`: the form of an attestation policy, and the language of its condition.

use std::fmt::Write;

use crate::attest::cel::node::Variable;
use crate::attest::cel::{Budget, Limits, reference};
use crate::attest::policy::Off;
use crate::attest::policy::form::{Member, OWN, PROVIDER};
use crate::attest::policy::known::{CLAIMS, is_secret};
use crate::attest::reason::Reason;

const INTRODUCTION: &str = "# Attestation policies\n\n\
    A policy is a file in the folder `ATTESTATION_POLICIES`, in YAML (`.yaml`, `.yml`) or JSON (`.json`), in our own form or as gcloud prints a \
    workload identity pool provider. [attestation.md](attestation.md) has examples and what is checked around it; \
    `sysdig-scc attest lint FILE` says what is probably wrong with one. This page is printed by `sysdig-scc reference policy`.\n";

/// `docs/policy.md`.
pub fn policy_page() -> String {
    let mut page = String::from(INTRODUCTION);
    page += "\n## Members\n\nA member that is not here is refused.\n\n";
    page += &members(&OWN);
    page += "\n## Members of a provider\n\nWhat `gcloud iam workload-identity-pools providers describe` prints, told by `attributeMapping`, `attributeCondition` or `oidc`; of its members these are read. The leeway, the \
             longest life and the family are as above without their members; only tokens signed by the issuer's published keys are accepted.\n\n";
    page += &members(&PROVIDER);
    page += "\n## Variables\n\n| variable | what it is |\n|---|---|\n";
    for variable in Variable::ALL {
        writeln!(page, "| `{}` | {} |", variable.name(), about(variable)).expect("writing to a string does not fail");
    }
    page += &language();
    page += &guards();
    page += &claims();
    page
}

fn members(all: &[Member]) -> String {
    let mut table = String::from("| member | without it | meaning |\n|---|---|---|\n");
    for Member { name, default, meaning } in all {
        writeln!(table, "| `{name}` | {} | {meaning} |", default.unwrap_or("refused"))
            .expect("writing to a string does not fail");
    }
    table
}

fn about(variable: Variable) -> &'static str {
    match variable {
        Variable::Assertion => "the token's claims; whole numbers are `int`, others `double`",
        Variable::Google => "with a mapping: `google.subject`, `google.groups`",
        Variable::Attribute => "with a mapping: `attribute.NAME`",
    }
}

/// Operators, functions, macros and bounds of a condition.
fn language() -> String {
    let operators: Vec<String> = reference::OPERATORS.iter().map(|operators| format!("`{operators}`")).collect();
    let mut part = format!(
        "\n## The condition\n\nThe Common Expression Language as Workload Identity Federation evaluates it. Operators, those that bind tightest \
         first: {}. A claim that is not there is an error, which denies; in `a && b` and `a || b` the other side may still decide.\n",
        operators.join("; ")
    );
    part += "\n| function | gives |\n|---|---|\n";
    for (forms, meaning) in reference::functions() {
        writeln!(part, "| `{forms}` | {meaning} |").expect("writing to a string does not fail");
    }
    part += "\n| macro | says |\n|---|---|\n";
    for (form, meaning) in reference::MACROS {
        writeln!(part, "| `{form}` | {meaning} |").expect("writing to a string does not fail");
    }
    part + &bounds()
}

fn bounds() -> String {
    let (limits, mapping, budget) = (Limits::CONDITION, Limits::MAPPING, Budget::default());
    let rows = [
        ("characters of a condition", limits.characters),
        ("characters of an expression of the mapping", mapping.characters),
        ("brackets within brackets", limits.brackets),
        ("levels", limits.depth),
        ("parts", limits.nodes),
        ("macros", limits.macros),
        ("macros within macros", limits.nested_macros),
        ("steps of one evaluation", budget.steps),
        ("bytes that one evaluation builds", budget.bytes),
    ];
    let rows: String = rows.iter().map(|(what, most)| format!("| {what} | {most} |\n")).collect();
    format!("\n| at most | |\n|---|---|\n{rows}")
}

/// What a policy asks of a token, and what is answered otherwise.
fn guards() -> String {
    let guards = [
        ("`tokens`", Reason::KindNotAccepted("")),
        ("`issuer`", Reason::Issuer),
        ("`audiences`", Reason::Audience),
        ("`exp`, `leeway_seconds`", Reason::Expired),
        ("`nbf`, `iat`, `leeway_seconds`", Reason::NotYetValid),
        ("`max_lifetime_seconds`", Reason::Lifetime),
        ("`max_age_seconds`", Reason::TooOld),
        ("`family`", Reason::Family),
        ("`condition` is false", Reason::PolicyDenied),
        ("`mapping` or `condition` has no answer", Reason::PolicyError),
        ("`disabled`, `state`", Reason::PolicyOff(Off::Disabled)),
    ];
    let mut part = String::from("\n## What a token is refused for\n\n| by | code | status |\n|---|---|---|\n");
    for (by, reason) in guards {
        writeln!(part, "| {by} | `{}` | {} |", reason.code(), reason.status())
            .expect("writing to a string does not fail");
    }
    part
}

fn claims() -> String {
    let mut part = String::from(
        "\n## Known claims\n\nThose that Google's tokens are known to have, below `assertion`; a policy may ask for others. A star stands for any name, `[]` for the number of an element. \
         The values of those marked are never shown.\n\n",
    );
    for claim in CLAIMS {
        let segments: Vec<String> = claim.split('.').map(str::to_owned).collect();
        let hidden = if is_secret(&segments) { " (never shown)" } else { "" };
        writeln!(part, "- `{claim}`{hidden}").expect("writing to a string does not fail");
    }
    part
}
