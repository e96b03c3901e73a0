//! `reference config · env · metrics · actions · policy`: the documents, printed from the code that they describe.

mod actions;
mod policy;

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

pub use actions::actions_page;
pub use policy::policy_page;

use super::out::say;
use crate::config::{AREAS, Area, Setting};
use crate::telemetry::metrics;

/// Print a generated document.
#[derive(Debug, Args)]
pub(super) struct ReferenceArgs {
    /// Which one.
    document: Document,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Document {
    /// docs/configuration.md
    Config,
    /// .env.example
    Env,
    /// docs/metrics.md
    Metrics,
    /// docs/actions.md
    Actions,
    /// docs/policy.md
    Policy,
}

/// Prints it.
#[expect(clippy::unnecessary_wraps, reason = "every command answers alike")]
pub(super) fn run(args: &ReferenceArgs) -> anyhow::Result<ExitCode> {
    let text = match args.document {
        Document::Config => configuration(),
        Document::Env => env_example(),
        Document::Metrics => metrics_page(),
        Document::Actions => actions_page(),
        Document::Policy => policy_page(),
    };
    say!("{}", text.trim_end());
    Ok(ExitCode::SUCCESS)
}

const INTRODUCTION: &str = "\
# Configuration

Every setting is an environment variable; a file `.env` in the working directory, or else in the nearest folder above, is
read too (the environment wins). `sysdig-scc check --offline` lists all problems at once: of the settings, and of the files
and folders they name. `serve` refuses to start with the same list. This page is printed by `sysdig-scc reference config`.

Which `.env` was read is told at the start and by `check`. Whoever may write it chooses the settings: one that belongs to another
user, may be written by group or others, or lies above the working directory is read, and warned of.

In `.env` every line is `NAME=value`; what follows a `#` behind a space is a comment. Put a value with spaces, quotes, `$`,
`#` or `\\` in single quotes, which keep every sign as it is: `WEBHOOK_AUTHENTICATION_TOKEN='Zk9$QxT7'`. Without quotes, and
in double quotes, a `\\` before `\\`, `'`, `\"`, `$` or a space keeps that sign, `\\n` is a line break, and `${NAME}` is the value of
a variable of the environment or of a line before. In a setting a `$` that no variable that is set follows is refused: a part of the value
would be lost without a word. `docker run --env-file` reads the file by other rules: there quotes are part of the value.
";

/// `docs/configuration.md`.
pub fn configuration() -> String {
    let mut page = INTRODUCTION.to_owned();
    for area in AREAS {
        writeln!(page, "\n## {}\n\n{}", area.title, table_of(area).trim_end())
            .expect("writing to a string does not fail");
    }
    page
}

/// The settings of one area.
fn table_of(area: &Area) -> String {
    let mut table = String::from("| variable | default | meaning |\n|---|---|---|\n");
    for setting in area.settings {
        writeln!(table, "| {} | {} | {} |", names(setting), default(setting), meaning(setting))
            .expect("writing to a string does not fail");
    }
    table
}

/// `.env.example`.
pub fn env_example() -> String {
    let mut page = String::from(
        "# Every setting, with an example. Copy to .env and uncomment what you need; docs/configuration.md explains more.\n\
         # Values with spaces, quotes, $, # or \\ stand in single quotes, which keep every sign as it is; ${NAME} without\n\
         # them is the value of another variable. Printed by `sysdig-scc reference env`.\n",
    );
    for area in AREAS {
        writeln!(page, "\n# --- {} ---", area.title).expect("writing to a string does not fail");
        for setting in area.settings {
            for line in wrap(setting.doc, 110) {
                writeln!(page, "# {line}").expect("writing to a string does not fail");
            }
            let example = setting.default.unwrap_or(setting.example);
            let quoted = if example.contains([' ', '"', '{', '#', '*', '$', '\\']) {
                format!("'{example}'")
            } else {
                example.to_owned()
            };
            writeln!(page, "#{}={quoted}\n", setting.name).expect("writing to a string does not fail");
        }
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// `docs/metrics.md`.
pub fn metrics_page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         `GET /metrics` answers in Prometheus' text format. Labels take values from closed sets. \
         This page is printed by `sysdig-scc reference metrics`.\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in metrics::ALL {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{}` | {} | {} | {} |", metric.name, metric.kind.label(), labels.join(" "), metric.help)
            .expect("writing to a string does not fail");
    }
    page
}

fn names(setting: &Setting) -> String {
    let aliases: String = setting.aliases.iter().map(|alias| format!(" (also `{alias}`)")).collect();
    format!("`{}`{aliases}", setting.name)
}

fn default(setting: &Setting) -> String {
    setting.default.map(|default| format!("`{}`", default.replace('|', "\\|"))).unwrap_or_default()
}

fn meaning(setting: &Setting) -> String {
    let secret = if setting.secret { " **Secret**: never printed." } else { "" };
    let example = if setting.default.is_none() && !setting.secret && !setting.example.is_empty() {
        format!(" Example: `{}`.", setting.example.replace('|', "\\|"))
    } else {
        String::new()
    };
    format!("{}{secret}{example}", setting.doc.replace('|', "\\|"))
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.len() + word.len() >= width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
