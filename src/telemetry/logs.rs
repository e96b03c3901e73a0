//! Logs: a sentence that stands alone, plus fields. On a terminal as text, for Cloud Logging as JSON
//! (<https://cloud.google.com/logging/docs/structured-logging>: `severity`, `message`, `time`).

use std::fmt;
use std::io::IsTerminal;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::telemetry::{LogFormat, TelemetryConfig};

/// Log directives that keep secrets out of the log whatever `RUST_LOG` says. yup-oauth2 logs through `log`, at debug,
/// whole token requests and answers; the HTTP libraries log headers at trace.
const SILENCED: &[&str] =
    &["yup_oauth2=info", "hyper=info", "hyper_util=info", "reqwest=info", "rustls=info", "h2=info"];

/// Whether a log record must not be written, however detailed the log is asked to be: a directive for one module of a
/// library (`yup_oauth2::service_account=debug`) would win over [`SILENCED`].
fn is_silenced(target: &str, level: tracing::Level) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    level > tracing::Level::INFO && SILENCED.iter().any(|directive| directive.split('=').next() == Some(library))
}

/// Off unless `RUST_LOG` names it: the HTTP library has an error for each connection that speaks no HTTP, so that anybody
/// who can connect could fill the log.
const NOISY: &str = "actix_http=off";
/// On whichever lines are asked for: what marks them with the trace of their request.
const MARKS: &str = "sysdig_scc::telemetry::trace=error";

/// What `RUST_LOG` asks for, less what the libraries that print tokens or bodies say when they debug.
pub fn asked(directives: &str) -> EnvFilter {
    SILENCED.iter().fold(EnvFilter::new(format!("{NOISY},{MARKS},{directives}")), |filter, directive| {
        filter.add_directive(directive.parse().expect("the directives are well-formed"))
    })
}

/// Lets nothing of those libraries' debugging through, however specific the directive that asks for it.
pub fn discreet() -> FilterFn {
    filter_fn(|metadata| !is_silenced(metadata.target(), *metadata.level()))
}

/// Sets up logging for the process, on standard error. A second call changes nothing.
pub fn start(config: &TelemetryConfig) {
    let registry = tracing_subscriber::registry().with(asked(&config.filter)).with(discreet());
    let in_colour = in_colour(&std::io::stderr());
    // A line that cannot be written is lost: telling that, on standard error again, would end the thread it is told on.
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(in_colour).log_internal_errors(false);
    let started = match config.format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.event_format(CloudLogging).fmt_fields(JsonFields)).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging had been set up before");
    }
}

/// Whether what is written there is in colour: on a terminal, unless `NO_COLOR` holds anything (no-color.org).
pub fn in_colour(out: &impl IsTerminal) -> bool {
    out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|told| told.is_empty())
}

/// One JSON object a line, in the words of Cloud Logging.
#[derive(Debug, Clone, Copy)]
struct CloudLogging;

/// Fields of spans, kept as members of a JSON object without its braces.
#[derive(Debug, Clone, Copy)]
struct JsonFields;

impl<'w> FormatFields<'w> for JsonFields {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(
        &self,
        mut writer: Writer<'w>,
        fields: R,
    ) -> fmt::Result {
        let mut members = Members::default();
        fields.record(&mut members);
        let text = Value::Object(members.0).to_string();
        write!(writer, "{}", text.trim_start_matches('{').trim_end_matches('}'))
    }
}

impl<S, N> FormatEvent<S, N> for CloudLogging
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut members = Members::default();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let fields =
                extensions.get::<FormattedFields<N>>().map(|fields| fields.fields.as_str()).unwrap_or_default();
            if let Ok(Value::Object(fields)) = serde_json::from_str(&format!("{{{fields}}}")) {
                members.0.extend(fields);
            }
        }
        event.record(&mut members);
        let mut line = beginning(event.metadata().level(), event.metadata().target());
        line.extend(members.0);
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// An ERROR in the form of the log, for what ends a start before there is a log, or whatever it lets through.
pub fn last_words(message: &str) -> String {
    let mut line = beginning(&Level::ERROR, module_path!());
    line.insert("message".into(), message.into());
    Value::Object(line).to_string()
}

fn beginning(level: &Level, target: &str) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("severity".into(), severity(level).into());
    line.insert("time".into(), chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true).into());
    line.insert("target".into(), target.into());
    line
}

fn severity(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

#[derive(Default)]
struct Members(Map<String, Value>);

impl Visit for Members {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an error of the library that reads HTTP would be written.
    fn is_heard(directives: &str) -> bool {
        let registry = tracing_subscriber::registry().with(asked(directives));
        tracing::subscriber::with_default(
            registry,
            || tracing::enabled!(target: "actix_http::h1::dispatcher", Level::ERROR),
        )
    }

    #[test]
    fn connections_that_speak_no_http_fill_no_log() {
        for (directives, heard) in [
            ("info", false),
            ("trace", false),
            ("", false),
            ("info,actix_http=error", true),
            ("actix_http::h1=debug", true),
        ] {
            assert_eq!(is_heard(directives), heard, "{directives}");
        }
    }

    #[test]
    fn lines_are_marked_with_their_trace_whichever_are_asked_for() {
        use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
        let mut headers = HeaderMap::new();
        let trace = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        headers.insert(HeaderName::from_static("traceparent"), trace);
        for directives in ["info", "warn,sysdig_scc::receive=info", "off,sysdig_scc::receive=warn"] {
            let registry = tracing_subscriber::registry().with(asked(directives));
            let span = tracing::subscriber::with_default(registry, || {
                crate::telemetry::trace::Traces::of(None).span(&headers).expect("the request is of a trace")
            });
            assert!(!span.is_disabled(), "{directives}");
        }
    }
}
