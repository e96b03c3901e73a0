//! The door: who is let in, what is taken, what is answered.

use std::io::Write;

use base64::Engine;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;

use crate::world::{TOKEN, World, batch, event};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn an_event_becomes_a_finding() {
    let world = World::new().await;
    let (status, answer) = world.sends(event(1).to_string()).await;
    assert_eq!((status, answer), (200, json!({"accepted": 1, "duplicates": 0, "ignored": 0, "parked": 0})));
    assert_eq!(world.settle().await.closed["delivered"], 1);
    let findings = world.findings().await;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0]["category"], "Terminal shell in container");
    assert_eq!(findings[0]["kubernetes"]["pods"][0]["name"], "web-1");
    assert!(findings[0]["name"].as_str().unwrap().ends_with("/findings/17dec715376910362c8c3f0000000001"));
}

#[tokio::test]
async fn the_same_event_twice_becomes_one_finding() {
    let world = World::new().await;
    world.sends(event(1).to_string()).await;
    world.settle().await;
    let (_, answer) = world.sends(batch(0..3)).await;
    assert_eq!(answer, json!({"accepted": 2, "duplicates": 1, "ignored": 0, "parked": 0}));
    world.settle().await;
    assert_eq!(world.findings().await.len(), 3);
}

#[tokio::test]
async fn each_of_the_four_header_forms_and_each_token_is_let_in() {
    let world = World::with(&[("WEBHOOK_AUTHENTICATION_TOKEN", "an-older-token-of-ours, 0b54b2b5f0a94d0fa2c1")]).await;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("sysdig:{TOKEN}"));
    for header in [
        TOKEN.to_owned(),
        format!("Bearer {TOKEN}"),
        format!("CSCC {TOKEN}"),
        format!("Basic {basic}"),
        "an-older-token-of-ours".into(),
    ] {
        assert_eq!(world.sends_with("authorization", &header, "[]").await.0, 200, "{header}");
    }
}

#[tokio::test]
async fn others_get_401_with_a_clear_body_and_are_slowed() {
    let world = World::with(&[("AUTH_FAILURES_PER_MINUTE", "2")]).await;
    let (status, answer) = world.sends_with("x-other", "1", event(1).to_string()).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (401, Some("unauthenticated")));
    assert!(answer["error"]["message"].as_str().unwrap().contains("Authorization: Bearer TOKEN"));
    assert_eq!(world.sends_with("authorization", "Bearer wrong", "[]").await.0, 401);
    assert_eq!(world.sends_with("authorization", "Bearer wrong", "[]").await.0, 429);
    assert_eq!(world.sends("[]").await.0, 200, "a right token is never slowed");
    assert_eq!(world.ledger().accepted, 0);
}

#[tokio::test]
async fn forwarding_headers_count_only_when_told_to() {
    let trusting = World::with(&[("AUTH_FAILURES_PER_MINUTE", "1"), ("TRUST_FORWARDED_FOR", "1")]).await;
    assert_eq!(trusting.sends_with("x-forwarded-for", "192.0.2.1", "[]").await.0, 401);
    assert_eq!(trusting.sends_with("x-forwarded-for", "192.0.2.1", "[]").await.0, 429);
    assert_eq!(trusting.sends_with("x-forwarded-for", "192.0.2.2", "[]").await.0, 401);
    let wary = World::with(&[("AUTH_FAILURES_PER_MINUTE", "1")]).await;
    assert_eq!(wary.sends_with("x-forwarded-for", "192.0.2.1", "[]").await.0, 401);
    assert_eq!(wary.sends_with("x-forwarded-for", "192.0.2.2", "[]").await.0, 429);
}

#[tokio::test]
async fn a_caller_behind_a_load_balancer_does_not_escape_by_writing_forwarded_itself() {
    let world = World::with(&[("AUTH_FAILURES_PER_MINUTE", "1"), ("TRUST_FORWARDED_FOR", "2")]).await;
    let mut seen = Vec::new();
    for number in 0..4 {
        let request = world.http.post(format!("{}/events", world.url)).bearer_auth("wrong");
        let request = request.header("forwarded", format!("for=9.9.{number}.1, for=1.1.1.1"));
        let sent = request.header("x-forwarded-for", format!("9.8.{number}.1, 6.6.6.6, 35.191.0.9")).body("[]");
        seen.push(sent.send().await.unwrap().status().as_u16());
    }
    assert_eq!(seen, [401, 429, 429, 429]);
}

#[tokio::test]
async fn gzip_and_deflate_are_taken_and_a_bomb_is_not() {
    let world = World::with(&[("BODY_LIMIT_BYTES", "100000")]).await;
    let send = async |body: Vec<u8>, encoding: &str| {
        let request = world.http.post(format!("{}/events", world.url)).bearer_auth(TOKEN);
        request.header("content-encoding", encoding).body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(send(gzip(batch(0..20).as_bytes()), "gzip").await, 200);
    let whole = batch(20..30);
    let (one, other) = whole.as_bytes().split_at(500);
    assert_eq!(send([gzip(one), gzip(b""), gzip(other)].concat(), "gzip").await, 200, "several members");
    assert_eq!(send(gzip(&vec![b' '; 50_000_000]), "gzip").await, 413);
    assert_eq!(send(gzip(&vec![b' '; 60_000]).repeat(2), "gzip").await, 413, "together");
    assert_eq!(send([gzip(one), gzip(other)[..40].to_vec()].concat(), "gzip").await, 400);
    assert_eq!(send(b"not gzip at all".to_vec(), "gzip").await, 400);
    assert_eq!(send(deflate(batch(30..40).as_bytes()), "Deflate").await, 200);
    assert_eq!(send(deflate(&vec![b' '; 50_000_000]), "deflate").await, 413);
    assert_eq!(send(deflate(whole.as_bytes())[..200].to_vec(), "deflate").await, 400);
    assert_eq!(send(b"not deflate at all".to_vec(), "deflate").await, 400);
    assert_eq!(send(b"[]".to_vec(), "br").await, 415);
    assert_eq!(world.settle().await.accepted, 40);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_with_the_limit_in_words() {
    let world = World::new().await;
    let (status, answer) = world.sends(vec![b' '; 10_000_000]).await;
    assert_eq!(status, 413);
    assert!(answer["error"]["message"].as_str().unwrap().contains("8388608"), "{answer}");
}

#[tokio::test]
async fn a_body_of_too_many_elements_is_refused_and_nothing_of_it_is_kept() {
    let world = World::new().await;
    let (status, answer) = world.sends(format!("[{}1]", "1,".repeat(4_000_000))).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (413, Some("too_many")), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("smaller batches"), "{answer}");
    assert_eq!(world.ledger().accepted, 0);
}

#[tokio::test]
async fn one_bad_element_is_parked_and_the_others_go_on() {
    let world = World::new().await;
    let body = json!([event(1), 42, event(2), {"type": "policy", "id": 7, "content": "nonsense"}]).to_string();
    let (status, answer) = world.sends(body).await;
    assert_eq!(status, 200);
    assert_eq!(answer["accepted"].as_u64().unwrap() + answer["parked"].as_u64().unwrap(), 4, "{answer}");
    assert!(answer["parked"].as_u64().unwrap() >= 1, "{answer}");
    let stats = world.settle().await;
    assert_eq!(stats.accepted, 4);
    assert_eq!(stats.closed["delivered"], answer["accepted"].as_u64().unwrap());
}

#[tokio::test]
async fn malformed_bodies_are_400_and_nothing_is_kept() {
    let world = World::new().await;
    for body in [&b"{"[..], b"", b"nonsense", b"[1,", b"\xff\xfe", "[".repeat(100_000).as_bytes()] {
        let (status, answer) = world.sends(body.to_vec()).await;
        assert_eq!((status, answer["error"]["code"].as_str()), (400, Some("malformed")), "{answer}");
    }
    assert_eq!(world.ledger().accepted, 0);
}

#[tokio::test]
async fn a_batch_of_ten_thousand_is_taken_whole() {
    let world = World::new().await;
    let (status, answer) = world.sends(batch(0..10_000)).await;
    assert_eq!((status, answer["accepted"].as_u64()), (200, Some(10_000)));
    assert_eq!(world.ledger().accepted, 10_000);
}

#[tokio::test]
async fn many_large_bodies_at_once_are_all_taken() {
    let world = World::with(&[("BODY_LIMIT_BYTES", "1000000")]).await;
    let send = async |number: u64| {
        let body = batch(number * 1_000..(number + 1) * 1_000).into_bytes();
        assert!(body.len() > 300_000 && body.len() < 1_000_000, "{}", body.len());
        loop {
            let request = world.http.post(format!("{}/events", world.url)).bearer_auth(TOKEN);
            let request = match number % 2 {
                0 => request.body(body.clone()),
                _ => request.header("content-encoding", "gzip").body(gzip(&body)),
            };
            let answer = request.send().await.unwrap();
            if answer.status() == 503 {
                assert!(answer.headers().contains_key("retry-after"));
                continue;
            }
            return answer.json::<serde_json::Value>().await.unwrap()["accepted"].as_u64().unwrap();
        }
    };
    let taken: u64 = futures_util::future::join_all((0..8).map(send)).await.into_iter().sum();
    assert_eq!((taken, world.ledger().accepted), (8_000, 8_000));
}

#[tokio::test]
async fn the_small_pages_answer() {
    let world = World::new().await;
    world.sends(event(1).to_string()).await;
    world.settle().await;
    assert_eq!(world.get("/").await.0, 200);
    assert_eq!(world.get("/healthz").await.0, 200);
    assert_eq!(world.get("/health").await, (200, "{\"message\":\"Application is running\",\"success\":true}".into()));
    let (status, ready) = world.get("/readyz").await;
    assert_eq!(status, 200, "{ready}");
    let (status, metrics) = world.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("sysdig_scc_ledger{sum=\"delivered\"} 1"), "{metrics}");
    assert!(!metrics.contains(TOKEN));
    assert_eq!(world.get("/nothing").await.0, 404);
    assert_eq!(world.get("/events").await.0, 405);
}

#[tokio::test]
async fn the_old_name_of_gzip_and_a_slash_at_the_end_are_understood() {
    let world = World::new().await;
    let request = world.http.post(format!("{}/events/", world.url)).bearer_auth(TOKEN);
    let request = request.header("content-encoding", "x-gzip").body(gzip(event(1).to_string().as_bytes()));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(world.settle().await.closed["delivered"], 1);
}

#[tokio::test]
async fn pages_answer_head_and_refuse_other_methods() {
    let world = World::new().await;
    for path in ["/", "/healthz", "/readyz", "/health", "/metrics"] {
        let url = format!("{}{path}", world.url);
        assert_eq!(world.http.head(&url).send().await.unwrap().status(), 200, "{path}");
        let refused = world.http.put(&url).send().await.unwrap();
        assert_eq!((refused.status().as_u16(), &refused.headers()["allow"]), (405, &"GET, HEAD".parse().unwrap()));
    }
}
