//! The authorised client: what it sends, what it refuses to send, and how it reads bad answers.

use std::time::Duration;

use serde_json::{Value, json};
use sysdig_scc::causes::chain;
use sysdig_scc::google::{ApiError, Client, Credentials, HttpSettings, TokenSource};
use url::Url;

use crate::fakes::wire::{Answer, Wire};

fn client(wire: &Wire, tokens: TokenSource) -> Client {
    let settings =
        HttpSettings { timeout: Duration::from_millis(500), ..HttpSettings::new(Url::parse(&wire.url("")).unwrap()) };
    Client::new(settings, tokens).unwrap()
}

fn fixed() -> TokenSource {
    TokenSource::fixed("ya29.S3CRET".to_owned().into())
}

async fn get(client: &Client) -> Result<Value, ApiError> {
    client.get_json("/v1/x", &[("filter", "name=\"a b\""), ("pageSize", "10")]).await
}

#[tokio::test]
async fn a_call_carries_token_agent_and_query() {
    let wire = Wire::start(|_| Answer::json(200, json!({ "a": 1 }))).await;
    let client = client(&wire, fixed());
    assert_eq!(get(&client).await.unwrap(), json!({ "a": 1 }));
    let _: Value = client.post_json("/v1/y", &[], &json!({ "b": 2 })).await.unwrap();
    client.delete("/v1/y", &[]).await.unwrap();
    let asked = wire.asked();
    assert_eq!(asked[0].target, "/v1/x?filter=name%3D%22a+b%22&pageSize=10");
    assert_eq!(asked[0].header("authorization"), Some("Bearer ya29.S3CRET"));
    assert!(asked[0].header("user-agent").unwrap().starts_with("sysdig-scc/"));
    assert_eq!((asked[1].method.as_str(), asked[1].json()), ("POST", json!({ "b": 2 })));
    assert_eq!(asked[1].header("content-type"), Some("application/json"));
    assert_eq!(asked[2].method, "DELETE");
}

#[tokio::test]
async fn without_credentials_no_token_is_sent() {
    let wire = Wire::start(|_| Answer::json(200, json!({}))).await;
    get(&client(&wire, TokenSource::none())).await.unwrap();
    assert_eq!(wire.asked()[0].header("authorization"), None);
}

fn person(wire: &Wire) -> TokenSource {
    let file = json!({ "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
        "quota_project_id": "billed", "token_uri": wire.url("/token") });
    TokenSource::from_credentials(Credentials::from_json(&file.to_string()).unwrap(), &[]).unwrap()
}

async fn tokens() -> Wire {
    let next = std::sync::atomic::AtomicUsize::new(1);
    Wire::start(move |_| {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Answer::json(200, json!({ "access_token": format!("t{n}"), "expires_in": 3600 }))
    })
    .await
}

#[tokio::test]
async fn a_401_is_met_once_with_a_new_token_and_one_fetch_serves_all() {
    let google = tokens().await;
    let wire = Wire::start(|asked| match asked.header("authorization") {
        Some("Bearer t1") => {
            Answer::json(401, json!({ "error": { "code": 401, "status": "UNAUTHENTICATED", "message": "expired" } }))
        }
        _ => Answer::json(200, json!({})),
    })
    .await;
    let client = client(&wire, person(&google));
    let all = futures_util::future::join_all((0..20).map(|_| get(&client))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(google.asked().len(), 2);
    assert_eq!(wire.asked()[0].header("x-goog-user-project"), Some("billed"));
}

#[tokio::test]
async fn a_token_refused_twice_is_an_error_and_not_a_loop() {
    let google = tokens().await;
    let wire = Wire::start(|_| Answer::text(401, "")).await;
    let error = get(&client(&wire, person(&google))).await.unwrap_err();
    assert_eq!((error.status(), error.label(), error.is_transient()), (Some(401), "unauthenticated", false));
    assert_eq!((wire.asked().len(), google.asked().len()), (2, 2));
    let error = get(&client(&wire, fixed())).await.unwrap_err();
    assert_eq!(error.status(), Some(401));
    assert_eq!(wire.asked().len(), 3, "a fixed token is not tried twice");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Wire::start(|_| Answer::json(200, json!({}))).await;
    let target = elsewhere.url("/v1/x");
    let wire = Wire::start(move |_| Answer::text(307, "").with("Location", target.clone())).await;
    let error = get(&client(&wire, fixed())).await.unwrap_err();
    assert!(error.to_string().contains("redirect"), "{error}");
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn bad_answers_are_told_apart_and_never_show_the_token() {
    let echo = "you sent Bearer ya29.S3CRET";
    let cut = format!("{} ya29.S3CRET", "x".repeat(90));
    for (answer, label, transient) in [
        (Answer::text(200, "{\"a\": \"ya29.S3CRET"), "broken_answer", true),
        (Answer::text(200, "<html>"), "broken_answer", true),
        (Answer::Truncated(200, "{\"a\": 1".into()), "transport", true),
        (Answer::Truncated(503, "{\"error\"".into()), "server_error", true),
        (Answer::Nothing, "transport", true),
        (Answer::Hang, "timeout", true),
        (Answer::text(500, echo), "server_error", true),
        (Answer::text(502, "<html><title>502 Bad Gateway</title>"), "server_error", true),
        (Answer::text(501, ""), "server_error", false),
        (Answer::text(418, echo), "client_error", false),
        (Answer::text(418, &cut), "client_error", false),
        (Answer::json(400, json!({ "error": { "status": "ya29.S3CRET" } })), "bad_request", false),
        (
            Answer::json(400, json!({ "error": { "status": "INVALID_ARGUMENT", "message": echo } })),
            "bad_request",
            false,
        ),
        (Answer::json(409, json!({ "error": { "status": "ABORTED" } })), "conflict", true),
        (Answer::json(409, json!({ "error": { "status": "ALREADY_EXISTS" } })), "conflict", false),
        (Answer::json(403, json!({ "error": { "errors": [{ "reason": "userRateLimitExceeded" }] } })), "quota", true),
        (Answer::json(403, json!({ "error": { "status": "PERMISSION_DENIED" } })), "forbidden", false),
        (Answer::Whole(200, vec![("Content-Encoding", "gzip".into())], "not gzip".into()), "transport", true),
    ] {
        let wire = Wire::script(vec![answer.clone()]).await;
        let error = get(&client(&wire, fixed())).await.unwrap_err();
        assert_eq!((error.label(), error.is_transient()), (label, transient), "{answer:?}: {error}");
        let shown = format!("{error} {error:?} {}", chain(&error));
        assert!(!shown.contains("S3CRET") && !shown.contains("ya29."), "{shown}");
    }
}

#[tokio::test]
async fn an_answer_larger_than_any_that_makes_sense_is_given_up() {
    let wire = Wire::start(|_| Answer::text(200, &"x".repeat(17 * 1024 * 1024))).await;
    let settings = HttpSettings::new(Url::parse(&wire.url("")).unwrap());
    let error = get(&Client::new(settings, fixed()).unwrap()).await.unwrap_err();
    assert_eq!(error.label(), "large_answer");
}

#[tokio::test]
async fn the_longer_of_the_two_waits_a_service_asks_for_holds() {
    let body = json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "details": [
        { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "9s" }] } });
    for (header, expected) in [("3", 9), ("30", 30)] {
        let wire = Wire::script(vec![Answer::json(429, body.clone()).with("Retry-After", header)]).await;
        let error = get(&client(&wire, fixed())).await.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(expected)));
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let google = Wire::start(|_| Answer::text(503, "")).await;
    let wire = Wire::start(|_| Answer::json(200, json!({}))).await;
    let error = get(&client(&wire, person(&google))).await.unwrap_err();
    assert_eq!((error.label(), error.is_transient()), ("auth", true));
    assert!(wire.asked().is_empty());
}

#[tokio::test]
async fn a_secret_is_read_from_secret_manager_and_never_shown() {
    use secrecy::ExposeSecret;
    use sysdig_scc::google::secret_manager::{SecretName, read, read_bytes};
    let name: SecretName = "sm://p/webhook-token".parse().unwrap();
    let wire = Wire::start(|_| Answer::json(200, json!({ "name": "n", "payload": { "data": "UzNDUkVUCg==" } }))).await;
    let secret = read(&client(&wire, fixed()), &name).await.unwrap();
    assert_eq!(secret.expose_secret(), "S3CRET");
    assert_eq!(wire.asked()[0].target, "/v1/projects/p/secrets/webhook-token/versions/latest:access");
    let wire = Wire::start(|_| Answer::json(200, json!({ "payload": { "data": "AP/+Cg==" } }))).await;
    assert_eq!(read_bytes(&client(&wire, fixed()), &name).await.unwrap().expose_secret(), [0, 255, 254, b'\n']);
    assert!(read(&client(&wire, fixed()), &name).await.unwrap_err().to_string().contains("does not hold text"));
    for answer in [
        Answer::json(200, json!({ "payload": { "data": "not base64 S3CRET" } })),
        Answer::text(200, "S3CRET"),
        Answer::text(403, ""),
    ] {
        let wire = Wire::script(vec![answer]).await;
        let error = read(&client(&wire, fixed()), &name).await.unwrap_err();
        let shown = format!("{error} {error:?} {}", chain(&error));
        assert!(!shown.contains("S3CRET") && shown.contains("webhook-token"), "{shown}");
    }
}
