//! What stands where Security Command Center would: takes a finding, counts it, answers with a small JSON object. Written
//! by hand, as the generator is: what is measured shares its cores with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::generator::lengths;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// Creates the finding, after this long.
    Create(Duration),
    /// Denies permission: the connector holds its queue.
    Refuse,
}

impl Manner {
    fn answer(self) -> String {
        let (status, body) = match self {
            Self::Create(_) => {
                ("200 OK", r#"{"name":"organizations/1/sources/2/locations/global/findings/3","state":"ACTIVE"}"#)
            }
            Self::Refuse => {
                ("403 Forbidden", r#"{"error":{"code":403,"message":"denied","status":"PERMISSION_DENIED"}}"#)
            }
        };
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
    }
}

#[derive(Debug, Default)]
struct Seen {
    findings: AtomicU64,
    bytes: AtomicU64,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    /// Dropped, it ends the receiver.
    _end: oneshot::Sender<()>,
}

impl Receiver {
    pub(crate) fn start(manner: Manner) -> Self {
        let seen = Arc::new(Seen::default());
        let counted = Arc::clone(&seen);
        let (started, start) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                started.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = listen(listener, counted, manner) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address: start.recv().unwrap(), seen, _end: end }
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

async fn listen(listener: TcpListener, seen: Arc<Seen>, manner: Manner) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let seen = Arc::clone(&seen);
        // A connection that breaks off is the connector's to open again.
        tokio::spawn(async move { drop(listen_to(stream, &seen, manner).await) });
    }
}

async fn listen_to(mut stream: TcpStream, seen: &Seen, manner: Manner) -> std::io::Result<()> {
    let answer = manner.answer();
    let mut request = Vec::with_capacity(16 << 10);
    loop {
        let (head, body) = loop {
            match lengths(&request) {
                Some((head, body)) if request.len() >= head + body => break (head, body),
                _ if stream.read_buf(&mut request).await? == 0 => return Ok(()),
                _ => {}
            }
        };
        request.drain(..head + body);
        if let Manner::Create(latency) = manner {
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            seen.findings.fetch_add(1, Ordering::Relaxed);
            seen.bytes.fetch_add(body as u64, Ordering::Relaxed);
        }
        stream.write_all(answer.as_bytes()).await?;
    }
}
