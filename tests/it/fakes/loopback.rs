//! A server on port 0 that answers every request by one function, and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    Json(u16, Value),
    Text(u16, &'static str),
    Bytes(u16, Vec<u8>),
    With(u16, Vec<(&'static str, String)>, Value),
    /// No answer until the client gives up.
    Hang,
}

type Handler = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

/// A running server.
pub struct Loopback {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    handle: ServerHandle,
}

impl std::fmt::Debug for Loopback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loopback").field("url", &self.url).finish()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        // The first poll tells the server to stop; nobody waits for the rest.
        drop(self.handle.stop(false));
    }
}

struct Shared {
    handler: Handler,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Loopback {
    pub fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let shared = web::Data::new(Shared { handler: Arc::new(handler), asked: Arc::clone(&asked) });
        let app = move || {
            App::new()
                .app_data(shared.clone())
                .app_data(web::PayloadConfig::new(16 * 1024 * 1024))
                .default_service(web::to(answer))
        };
        let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { url, asked, handle }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(request: HttpRequest, body: web::Bytes, shared: web::Data<Shared>) -> HttpResponse {
    let query = url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect();
    let headers = request.headers().iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap_or("").to_owned()));
    let asked = Asked {
        method: request.method().to_string(),
        path: request.path().to_owned(),
        query,
        headers: headers.collect(),
        body: body.to_vec(),
    };
    shared.asked.lock().unwrap().push(asked.clone());
    let status = |code: u16| StatusCode::from_u16(code).unwrap();
    match (shared.handler)(&asked) {
        Answer::Json(code, value) => HttpResponse::build(status(code)).json(value),
        Answer::Text(code, text) => HttpResponse::build(status(code)).content_type("text/html").body(text),
        Answer::Bytes(code, bytes) => HttpResponse::build(status(code)).content_type("application/json").body(bytes),
        Answer::With(code, headers, value) => {
            let mut response = HttpResponse::build(status(code));
            for header in headers {
                response.insert_header(header);
            }
            response.json(value)
        }
        Answer::Hang => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            HttpResponse::Ok().finish()
        }
    }
}
