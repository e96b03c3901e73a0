//! Logs.

use super::env::{Area, Env, Setting};

/// `RUST_LOG`.
pub static RUST_LOG: Setting = Setting {
    name: "RUST_LOG",
    aliases: &[],
    default: Some("info"),
    example: "info,sysdig_scc=debug",
    secret: false,
    doc: "Which log lines are written: a level, or levels by module. Modules of libraries that print tokens stay silenced.",
};
/// `LOG_FORMAT`.
pub static LOG_FORMAT: Setting = Setting {
    name: "LOG_FORMAT",
    aliases: &[],
    default: Some("text"),
    example: "json",
    secret: false,
    doc: "`text` for people, `json` for Cloud Logging (severity, message, time, trace).",
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

impl TelemetryConfig {
    /// Reads this area.
    pub fn read(env: &mut Env) -> Option<Self> {
        let filter = env.text(&RUST_LOG)?;
        if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&filter) {
            env.problem(RUST_LOG.name, &format!("is no filter: {error}"), "for example info, or info,sysdig_scc=debug");
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
