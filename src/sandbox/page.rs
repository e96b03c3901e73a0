//! One small read-only page: the findings, a filter, the details. Rendered here, so that it needs no script, no build
//! and no network; every text of a finding is escaped and the page allows no script at all.

use std::borrow::Cow;
use std::fmt::Write as _;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde_json::Value;

use super::api::Sandbox;
use super::names::{Parent, Place, Version};
use super::reply::marked;
use super::store::{Record, Store};
use super::{error::Refusal, listing};

/// Findings on one page.
const ROWS: usize = 100;
const STYLE: &str = include_str!("page.css");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// Answers `GET /` and `GET /finding?name=…`; all else is not found.
pub(crate) fn serve(request: &HttpRequest, sandbox: &Sandbox) -> HttpResponse {
    let asked: Vec<(String, String)> =
        url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect();
    let field = |name: &str| asked.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    let (code, body) = match (request.method().as_str(), request.path()) {
        ("GET" | "HEAD", "/") => findings(sandbox, field("filter"), field("page")),
        ("GET" | "HEAD", "/finding") => one(&sandbox.store(), field("name")),
        (method, path) => {
            let text =
                format!("<p>Nothing is at {} {}.</p><p><a href=\"/\">Findings</a></p>", escape(method), escape(path));
            (StatusCode::NOT_FOUND, text)
        }
    };
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Findings · sandbox</title>\
         <style>{STYLE}</style></head><body><header><strong>Sandbox.</strong> A rehearsal stage for Security Command \
         Center, not Google. Everything here is forgotten when it ends.</header><main>{body}</main></body></html>"
    );
    let response = HttpResponseBuilder::new(code)
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(html);
    marked(response)
}

/// The list, newest first.
fn findings(sandbox: &Sandbox, filter: &str, page: &str) -> (StatusCode, String) {
    let store = sandbox.store();
    let found = everywhere(&store, filter);
    let mut out = format!(
        "<h1>Findings</h1><form method=\"get\" action=\"/\"><input name=\"filter\" value=\"{}\" \
         placeholder=\"state=&quot;ACTIVE&quot; AND severity=&quot;HIGH&quot;\" aria-label=\"Filter\" size=\"60\">\
         <button>Filter</button></form>",
        escape(filter)
    );
    let found = match found {
        Ok(found) => found,
        Err(refusal) => {
            let _infallible = write!(out, "<p class=\"error\">{}</p>", escape(&refusal.to_string()));
            return (StatusCode::BAD_REQUEST, out);
        }
    };
    let last = found.len().div_ceil(ROWS).max(1);
    let page = page.parse::<usize>().unwrap_or(1).clamp(1, last);
    let _infallible = write!(out, "<p>{} of {} findings</p>", found.len(), store.findings.len());
    out.push_str("<table><thead><tr><th>Severity<th>Category<th>State<th>Mute<th>Time<th>Resource</tr></thead><tbody>");
    for at in found.iter().rev().skip((page - 1) * ROWS).take(ROWS) {
        row(&mut out, &store.findings[*at]);
    }
    out.push_str("</tbody></table>");
    pages(&mut out, filter, page, last);
    (StatusCode::OK, out)
}

/// All findings of all organisations that fit.
fn everywhere(store: &Store, filter: &str) -> Result<Vec<usize>, Refusal> {
    let mut organizations: Vec<&str> = store.sources.iter().map(|s| s.organization.as_str()).collect();
    organizations.sort_unstable();
    organizations.dedup();
    let mut found = Vec::new();
    for organization in organizations {
        let parent = Parent::Organization(organization.to_owned());
        let place = Place { version: Version::V2, parent, source: "-".into(), location: "-".into() };
        found.extend(listing::matching(store, &place, filter)?);
    }
    found.sort_unstable();
    Ok(found)
}

fn row(out: &mut String, record: &Record) {
    let text = |name: &str| escape(record.column(name).unwrap_or_default());
    let link: String =
        url::form_urlencoded::byte_serialize(record.column("name").unwrap_or_default().as_bytes()).collect();
    let _infallible = write!(
        out,
        "<tr><td class=\"{class}\">{}<td><a href=\"/finding?name={link}\">{}</a><td>{}<td>{}<td>{}<td>{}</tr>",
        text("severity"),
        match text("category") {
            empty if empty.is_empty() => Cow::Borrowed("(no category)"),
            category => category,
        },
        text("state"),
        text("mute"),
        text("eventTime"),
        text("resourceName"),
        class = severity_class(record.column("severity")),
    );
}

/// A class from a closed set; a severity is a text of the finding.
fn severity_class(severity: Option<&str>) -> &'static str {
    match severity {
        Some("CRITICAL") => "critical",
        Some("HIGH") => "high",
        Some("MEDIUM") => "medium",
        Some("LOW") => "low",
        _ => "none",
    }
}

fn pages(out: &mut String, filter: &str, page: usize, last: usize) {
    let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
    let mut link = |to: usize, text: &str| {
        let _infallible = write!(out, " <a href=\"/?filter={filter}&amp;page={to}\">{text}</a>");
    };
    if page > 1 {
        link(page - 1, "newer");
    }
    if page < last {
        link(page + 1, "older");
    }
}

/// The detail view: next steps first, then every member.
fn one(store: &Store, name: &str) -> (StatusCode, String) {
    let Some(record) = store.findings.iter().find(|record| record.column("name") == Some(name)) else {
        return (StatusCode::NOT_FOUND, "<p>There is no such finding.</p><p><a href=\"/\">Findings</a></p>".to_owned());
    };
    let finding = record.finding();
    let class = severity_class(record.column("severity"));
    let severity = escape(record.column("severity").unwrap_or("no severity"));
    let category = escape(record.column("category").unwrap_or("(no category)"));
    let mut out = format!("<p><a href=\"/\">Findings</a></p><h1>{category}</h1><p class=\"{class}\">{severity}</p>");
    for (member, title) in [("description", "Description"), ("nextSteps", "Next steps")] {
        if let Some(text) = finding.get(member).and_then(Value::as_str) {
            let _infallible = write!(out, "<h2>{title}</h2><pre>{}</pre>", escape(text));
        }
    }
    out.push_str("<h2>All members</h2><dl>");
    for (member, value) in &finding {
        let _infallible = write!(out, "<dt>{}<dd>", escape(member));
        match value {
            Value::String(text) if member == "externalUri" && is_web(text) => {
                let _infallible = write!(out, "<a rel=\"noreferrer\" href=\"{0}\">{0}</a>", escape(text));
            }
            Value::String(text) => {
                let _infallible = write!(out, "<pre>{}</pre>", escape(text));
            }
            other => {
                let text = serde_json::to_string_pretty(other).unwrap_or_default();
                let _infallible = write!(out, "<pre>{}</pre>", escape(&text));
            }
        }
    }
    out.push_str("</dl>");
    (StatusCode::OK, out)
}

/// Only such links are made; `javascript:` is not one.
fn is_web(uri: &str) -> bool {
    url::Url::parse(uri).is_ok_and(|uri| matches!(uri.scheme(), "http" | "https"))
}

/// Text as HTML shows it, in an element or a quoted attribute.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['<', '>', '&', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        assert_eq!(escape("<script>\"a\"&'b'"), "&lt;script&gt;&quot;a&quot;&amp;&#39;b&#39;");
        assert_eq!(escape("plain"), "plain");
    }

    #[test]
    fn only_web_links_are_made() {
        assert!(is_web("https://secure.example/#/e"));
        assert!(!is_web("javascript:alert(1)"));
    }
}
