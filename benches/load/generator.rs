//! The load: HTTP/1.1 on kept connections, one request after the other on each, written by hand because a real client
//! would take more CPU than what is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One runtime event as the event forwarder sends it: about 2 KB.
const EVENT: &str = include_str!("../../tests/data/sysdig/forwarder_single.json");
const ITS_ID: &str = "17dec715376910362c8c3f62a4ced001";

pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) token: &'static str,
    pub(crate) connections: usize,
    pub(crate) requests: u64,
}

pub(crate) struct Answers {
    latencies: Vec<Duration>,
    took: Duration,
    pub(crate) refused: u64,
}

impl Answers {
    pub(crate) fn new(mut latencies: Vec<Duration>, took: Duration, refused: u64) -> Self {
        latencies.sort_unstable();
        Self { latencies, took, refused }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * part) as usize).copied().unwrap_or_default()
    }
}

impl Load {
    /// Sends everything, each event under an id of its own, and waits for every answer.
    pub(crate) fn run(&self) -> Answers {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let left = Arc::new(AtomicU64::new(self.requests));
            let began = Instant::now();
            let connections: Vec<_> = (0..self.connections)
                .map(|_| tokio::spawn(speak(self.address, request(self.token), Arc::clone(&left))))
                .collect();
            let (mut latencies, mut refused) = (Vec::new(), 0);
            for connection in connections {
                let (of_one, refused_of_one) = connection.await.unwrap();
                latencies.extend(of_one);
                refused += refused_of_one;
            }
            Answers::new(latencies, began.elapsed(), refused)
        })
    }
}

/// A request, and where in it the id stands.
fn request(token: &str) -> (Vec<u8>, usize) {
    let event = serde_json::from_str::<serde_json::Value>(EVENT).unwrap().to_string();
    let head = format!(
        "POST /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        event.len()
    );
    let at = head.len() + event.find(ITS_ID).unwrap();
    ((head + &event).into_bytes(), at)
}

async fn speak(address: SocketAddr, request: (Vec<u8>, usize), left: Arc<AtomicU64>) -> (Vec<Duration>, u64) {
    let (mut request, at) = request;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut latencies, mut refused) = (Vec::new(), 0);
    let mut answer = Vec::with_capacity(4096);
    while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
        request[at..at + ITS_ID.len()].copy_from_slice(format!("{:032x}", number + 1).as_bytes());
        let began = Instant::now();
        stream.write_all(&request).await.unwrap();
        answer.clear();
        while !is_whole(&answer) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the server hung up");
        }
        latencies.push(began.elapsed());
        refused += u64::from(!answer.starts_with(b"HTTP/1.1 200"));
    }
    (latencies, refused)
}

pub(crate) fn is_whole(answer: &[u8]) -> bool {
    lengths(answer).is_some_and(|(head, body)| answer.len() >= head + body)
}

/// How long the head and the body of a message are, once its head is there.
pub(crate) fn lengths(message: &[u8]) -> Option<(usize, usize)> {
    const NAME: &[u8] = b"content-length:";
    let head = message.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let length = message[..head].split(|b| *b == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value.trim_ascii())
    });
    let length = length.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    Some((head, length.unwrap_or_default()))
}
