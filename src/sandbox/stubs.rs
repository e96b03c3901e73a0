//! Tokens for clients that insist on asking for one: an OAuth token route and the metadata server's.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::api::Sandbox;
use super::reply::{json as answer, marked};

/// The token given out when none is required.
const ANY_TOKEN: &str = "sandbox-token";

/// Answers `POST /token` and `GET /computeMetadata/v1/…`.
pub(crate) fn serve(request: &HttpRequest, sandbox: &Sandbox, body: &[u8]) -> HttpResponse {
    let token = sandbox.settings.require_token.as_ref().map_or(ANY_TOKEN, |token| token.expose_secret());
    match (request.method().as_str(), request.path()) {
        ("POST", "/token") => oauth(body, token),
        ("GET", path) if path.starts_with("/computeMetadata/v1") => metadata(request, path, token),
        _ => answer(StatusCode::NOT_FOUND, &json!({"error": "not_found"})),
    }
}

fn bearer(token: &str) -> serde_json::Value {
    json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"})
}

/// The JWT bearer grant. The sandbox looks at the form of the assertion, not at its signature.
fn oauth(body: &[u8], token: &str) -> HttpResponse {
    let refuse =
        |error: &str, text: &str| answer(StatusCode::BAD_REQUEST, &json!({"error": error, "error_description": text}));
    let form: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| form.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    match field("grant_type") {
        "urn:ietf:params:oauth:grant-type:jwt-bearer" if field("assertion").split('.').count() == 3 => {
            answer(StatusCode::OK, &bearer(token))
        }
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => refuse("invalid_grant", "assertion is not a JWT"),
        "refresh_token" if !field("refresh_token").is_empty() => answer(StatusCode::OK, &bearer(token)),
        _ => refuse("unsupported_grant_type", "grant_type must be the JWT bearer grant or refresh_token"),
    }
}

fn metadata(request: &HttpRequest, path: &str, token: &str) -> HttpResponse {
    let flavor = (HeaderName::from_static("metadata-flavor"), HeaderValue::from_static("Google"));
    let asked = request.headers().get(&flavor.0).is_some_and(|value| value == flavor.1);
    let mut response = match path.strip_prefix("/computeMetadata/v1").unwrap_or_default() {
        _ if !asked => answer(StatusCode::FORBIDDEN, &json!({"error": "Missing Metadata-Flavor:Google header."})),
        "/instance/service-accounts/default/token" => answer(StatusCode::OK, &bearer(token)),
        "/instance/service-accounts/default/email" => text("sandbox@example.iam.gserviceaccount.com"),
        "/project/project-id" => text("sandbox-project"),
        "/project/numeric-project-id" => text("123456789"),
        _ => answer(StatusCode::NOT_FOUND, &json!({"error": "not_found"})),
    };
    response.headers_mut().insert(flavor.0, flavor.1);
    response
}

fn text(body: &'static str) -> HttpResponse {
    marked(HttpResponse::Ok().content_type("text/plain").body(body))
}
