//! What stands where Security Command Center would: takes a finding, counts it, answers with a small JSON object.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// Creates the finding, after this long.
    Create(Duration),
    /// Denies permission: the connector holds its queue.
    Refuse,
}

#[derive(Debug, Default)]
struct Seen {
    findings: AtomicU64,
    bytes: AtomicU64,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    handle: actix_web::dev::ServerHandle,
}

impl Receiver {
    pub(crate) fn start(manner: Manner) -> Self {
        let seen = Arc::new(Seen::default());
        let counted = Arc::clone(&seen);
        let (started, start) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    let state = web::Data::from(Arc::clone(&counted));
                    App::new().app_data(state).app_data(web::Data::new(manner)).default_service(web::to(create))
                });
                let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
                let address = server.addrs()[0];
                let server = server.run();
                started.send((address, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (address, handle) = start.recv().unwrap();
        Self { address, seen, handle }
    }

    /// Findings and their bytes.
    pub(crate) fn seen(&self) -> (u64, u64) {
        (self.seen.findings.load(Ordering::Relaxed), self.seen.bytes.load(Ordering::Relaxed))
    }

    /// Waits until so many findings have come, and tells when that was; gives up after `most`.
    pub(crate) fn wait_for(&self, findings: u64, most: Duration) -> Instant {
        let began = Instant::now();
        while self.seen().0 < findings && began.elapsed() < most {
            std::thread::sleep(Duration::from_millis(1));
        }
        Instant::now()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn create(body: web::Bytes, seen: web::Data<Seen>, manner: web::Data<Manner>) -> HttpResponse {
    let latency = match **manner {
        Manner::Create(latency) => latency,
        Manner::Refuse => {
            let denied = r#"{"error":{"code":403,"message":"denied","status":"PERMISSION_DENIED"}}"#;
            return HttpResponse::Forbidden().content_type("application/json").body(denied);
        }
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    seen.findings.fetch_add(1, Ordering::Relaxed);
    seen.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    HttpResponse::Ok()
        .content_type("application/json")
        .body(r#"{"name":"organizations/1/sources/2/locations/global/findings/3","state":"ACTIVE"}"#)
}
