//! The trace a request belongs to, as what stands before us says it, so that Cloud Logging shows its lines together.

use actix_web::http::header::HeaderMap;
use tracing::Span;

/// How the lines of a request are marked; by default they are not.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    on: bool,
    project: Option<String>,
}

/// A request's place in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    trace: String,
    span: Option<String>,
}

impl Traces {
    /// Marks lines. Without the project, the trace is told by its bare id.
    pub fn of(project: Option<&str>) -> Self {
        Self { on: true, project: project.map(str::to_owned) }
    }

    /// What the lines of a request are written in; nothing for a request that belongs to no trace.
    pub fn span(&self, headers: &HeaderMap) -> Option<Span> {
        if !self.on {
            return None;
        }
        let Place { trace, span } = place(headers)?;
        let trace = self.project.as_ref().map_or_else(|| trace.clone(), |p| format!("projects/{p}/traces/{trace}"));
        // Always let through (`logs::asked`), so that it is there whichever lines are asked for.
        Some(tracing::error_span!(
            "request",
            "logging.googleapis.com/trace" = trace,
            "logging.googleapis.com/spanId" = span
        ))
    }
}

/// By the W3C's header, else by Google's older one. What is not well-formed is not repeated.
fn place(headers: &HeaderMap) -> Option<Place> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    text("traceparent").and_then(w3c).or_else(|| text("x-cloud-trace-context").and_then(google))
}

/// `00-TRACE-SPAN-FLAGS`; later versions may have more behind it.
fn w3c(text: &str) -> Option<Place> {
    let mut parts = text.trim().split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let is_known = version.len() == 2 && is_hex(version) && version != "ff";
    is_known.then_some(())?;
    Some(Place { trace: id(trace, 32)?, span: Some(id(span, 16)?) })
}

/// `TRACE/SPAN;o=OPTIONS`, where the span is a decimal number and may be left out.
fn google(text: &str) -> Option<Place> {
    let text = text.trim().split(';').next()?;
    let (trace, span) = text.split_once('/').unwrap_or((text, ""));
    let span = span.parse::<u64>().ok().filter(|span| *span != 0).map(|span| format!("{span:016x}"));
    Some(Place { trace: id(trace, 32)?, span })
}

fn id(text: &str, digits: usize) -> Option<String> {
    let is_id = text.len() == digits && is_hex(text) && text.bytes().any(|digit| digit != b'0');
    is_id.then(|| text.to_ascii_lowercase())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn found(pairs: &[(&'static str, &str)]) -> Option<(String, Option<String>)> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        place(&headers).map(|place| (place.trace, place.span))
    }

    #[test]
    fn a_trace_is_read_from_either_header_and_only_if_it_is_one() {
        const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
        let (w3c, google) = ("traceparent", "x-cloud-trace-context");
        let both = |span: &str| Some((TRACE.to_owned(), Some(span.to_owned())));
        assert_eq!(found(&[(w3c, &format!("00-{TRACE}-b7ad6b7169203331-01"))]), both("b7ad6b7169203331"));
        assert_eq!(found(&[(w3c, &format!("01-{TRACE}-b7ad6b7169203331-01-more"))]), both("b7ad6b7169203331"));
        assert_eq!(found(&[(google, &format!("{TRACE}/255;o=1"))]), both("00000000000000ff"));
        assert_eq!(found(&[(google, &TRACE.to_uppercase())]), Some((TRACE.to_owned(), None)));
        assert_eq!(found(&[(w3c, "nothing"), (google, &format!("{TRACE}/1"))]), both("0000000000000001"));
        for wrong in ["", "00", "00-x-y-01", "\"}{\"", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            assert_eq!(found(&[(w3c, wrong), (google, wrong)]), None, "{wrong}");
        }
        assert_eq!(found(&[(w3c, &format!("ff-{TRACE}-b7ad6b7169203331-01"))]), None);
        assert_eq!(found(&[]), None);
    }
}
