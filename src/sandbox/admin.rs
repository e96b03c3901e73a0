//! `/sandbox/…`: faults, quotas, counts, reset. For callers on this machine only.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::api::Sandbox;
use super::error::{Refusal, Status};
use super::faults::Fault;
use super::message::object;
use super::quota::Meter;
use super::reply::{json as answer, refused};
use super::settings::Quotas;

/// Answers a path under `/sandbox/`.
pub(crate) fn serve(request: &HttpRequest, sandbox: &Sandbox, body: &[u8]) -> HttpResponse {
    if !request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
        let text = "The sandbox is steered from its own machine only.";
        return answer(
            StatusCode::FORBIDDEN,
            &json!({"error": {"code": 403, "message": text, "status": "PERMISSION_DENIED"}}),
        );
    }
    if request.headers().contains_key("origin") && request.method() != "GET" {
        let text = "Web pages may not steer the sandbox.";
        return answer(
            StatusCode::FORBIDDEN,
            &json!({"error": {"code": 403, "message": text, "status": "PERMISSION_DENIED"}}),
        );
    }
    match steered(request.method().as_str(), request.path(), sandbox, body) {
        Ok(body) => answer(StatusCode::OK, &body),
        Err(refusal) => refused(&refusal),
    }
}

fn steered(method: &str, path: &str, sandbox: &Sandbox, body: &[u8]) -> Result<Value, Refusal> {
    match (method, path.trim_end_matches('/')) {
        ("POST", "/sandbox/faults") => order(sandbox, body),
        ("DELETE", "/sandbox/faults") => {
            sandbox.faults().clear();
            Ok(json!({"faults": []}))
        }
        ("GET", "/sandbox/faults") => Ok(json!({"faults": sandbox.faults().waiting()})),
        ("GET", "/sandbox/stats") => Ok(stats(sandbox)),
        ("POST", "/sandbox/reset") => {
            sandbox.reset();
            Ok(stats(sandbox))
        }
        ("GET", "/sandbox/quotas") => Ok(shown(sandbox.meter().quotas())),
        ("POST", "/sandbox/quotas") => quotas(sandbox, &object(body)?),
        _ => {
            let text = format!(
                "{method} {path} is not known. There are: GET, POST, DELETE /sandbox/faults · GET /sandbox/stats · \
                 POST /sandbox/reset · GET, POST /sandbox/quotas."
            );
            Err(Refusal::new(Status::NotFound, text))
        }
    }
}

fn order(sandbox: &Sandbox, body: &[u8]) -> Result<Value, Refusal> {
    let fault: Fault = serde_json::from_slice(body).map_err(|e| Refusal::field("", format!("Invalid fault: {e}")))?;
    if let Some(mistake) = fault.mistake() {
        return Err(Refusal::field("", format!("Invalid fault: {mistake}.")));
    }
    let mut faults = sandbox.faults();
    faults.order(fault);
    Ok(json!({"faults": faults.waiting()}))
}

/// Changes the quotas that are named; null lifts one, an empty object changes nothing. Buckets start full.
fn quotas(sandbox: &Sandbox, body: &Map<String, Value>) -> Result<Value, Refusal> {
    let mut quotas = sandbox.meter().quotas();
    for (name, value) in body {
        let wrong = || Refusal::field(name.as_str(), format!("{name} must be a whole number, or null for no limit."));
        let number = if value.is_null() { None } else { Some(value.as_u64().ok_or_else(wrong)?) };
        let small = || number.map(u32::try_from).transpose().map_err(|_| wrong());
        match name.as_str() {
            "writes_per_minute" => quotas.writes_per_minute = small()?,
            "reads_per_minute" => quotas.reads_per_minute = small()?,
            "bytes_per_day" => quotas.bytes_per_day = number,
            _ => return Err(Refusal::field(name.as_str(), format!("Unknown name {name:?}."))),
        }
    }
    *sandbox.meter() = Meter::new(quotas, &sandbox.settings.clock);
    Ok(shown(quotas))
}

fn shown(quotas: Quotas) -> Value {
    json!({"writes_per_minute": quotas.writes_per_minute, "reads_per_minute": quotas.reads_per_minute,
        "bytes_per_day": quotas.bytes_per_day})
}

fn stats(sandbox: &Sandbox) -> Value {
    let counts = sandbox.counts().clone();
    let bytes_today = sandbox.meter().bytes();
    let store = sandbox.store();
    json!({
        "calls": counts.calls, "created": counts.created, "duplicates": counts.duplicates,
        "throttled": counts.throttled, "faults_injected": counts.faults,
        "findings": store.findings.len(), "sources": store.sources.len(),
        "bytes_stored": store.bytes(), "bytes_uploaded_today": bytes_today,
    })
}
