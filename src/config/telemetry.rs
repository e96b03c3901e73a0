//! Logs.

use super::env::{Area, Env, Setting};

/// `RUST_LOG`.
pub static RUST_LOG: Setting = Setting {
    name: "RUST_LOG",
    aliases: &[],
    default: Some("info"),
    example: "info,sysdig_scc=debug",
    secret: false,
    doc: "Which log lines are written: a level, or levels by module. Modules of libraries that print tokens stay silenced. \
          actix_http, which has a line for each connection that speaks no HTTP, is off unless it is named.",
};
/// `LOG_FORMAT`.
pub static LOG_FORMAT: Setting = Setting {
    name: "LOG_FORMAT",
    aliases: &[],
    default: Some("text"),
    example: "json",
    secret: false,
    doc: "`text` for people, `json` for Cloud Logging (severity, message, time; trace and spanId for \
          requests with `traceparent` or `X-Cloud-Trace-Context`, with PROJECT_ID as their project).",
};

/// The settings of this area, as the documents print them.
pub static AREA: Area = Area { title: "Logs", settings: &[&RUST_LOG, &LOG_FORMAT] };

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For Cloud Logging.
    Json,
}

/// The settings of logs.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// Directives for the filter.
    pub filter: String,
    /// The form.
    pub format: LogFormat,
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The first word that stands alone and is neither a level nor a module of ours. The filter would take it for the name of a
/// module, of which everything is written, and of all others nothing.
fn stray_word(filter: &str) -> Option<&str> {
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    let is_ours = |word: &str| word.split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    let is_number = |word: &str| matches!(word, "0" | "1" | "2" | "3" | "4" | "5");
    let words =
        filter.split(',').map(str::trim).filter(|word| !word.is_empty() && !word.contains(['=', '[', ']', '{', '}']));
    words.into_iter().find(|word| !is_level(word) && !is_number(word) && !is_ours(word))
}

impl TelemetryConfig {
    /// Reads this area.
    pub fn read(env: &mut Env) -> Option<Self> {
        let filter = env.text(&RUST_LOG)?;
        if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&filter) {
            env.problem(RUST_LOG.name, &format!("is no filter: {error}"), "for example info, or info,sysdig_scc=debug");
        }
        if let Some(word) = stray_word(&filter) {
            let remedy = format!(
                "use one of {}; for one module write MODULE=LEVEL, for example info,sysdig_scc=debug",
                LEVELS.join(", ")
            );
            env.problem(RUST_LOG.name, &format!("holds {word:?}, which is no level"), &remedy);
        }
        let format = match env.text(&LOG_FORMAT)?.to_ascii_lowercase().as_str() {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            other => {
                env.problem(LOG_FORMAT.name, &format!("is {other:?}"), "use text or json");
                None
            }
        };
        Some(Self { filter, format: format? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_not_taken_for_a_module() {
        for (filter, told) in [
            ("info", None),
            ("WARN", None),
            ("2", None),
            ("", None),
            ("info,sysdig_scc=debug", None),
            ("sysdig_scc", None),
            ("sysdig_scc::deliver,warn", None),
            ("hyper=debug,error", None),
            ("info,[accept{door=webhook}]=trace", None),
            ("warning", Some("\"warning\"")),
            ("inof", Some("\"inof\"")),
            ("info,actix_http", Some("\"actix_http\"")),
            ("sysdig_scc=warning", Some("is no filter")),
        ] {
            let mut env = Env::from_pairs([("RUST_LOG", filter)]);
            TelemetryConfig::read(&mut env);
            let said = env.finish().err().map(|problems| problems.to_string());
            assert_eq!(said.is_some(), told.is_some(), "{filter}: {said:?}");
            if let (Some(said), Some(told)) = (said, told) {
                assert!(said.contains(told) && said.contains("info"), "{said}");
            }
        }
    }
}
