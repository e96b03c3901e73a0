//! A small HTTP server over plain sockets: it keeps what it was asked, answers what the story says, and can also break
//! off, hang or reset, which a well-behaved server library cannot.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Status, further header lines, body.
    Whole(u16, Vec<(&'static str, String)>, String),
    /// Announces this many bytes more than it sends, then closes.
    Truncated(u16, String),
    /// Closes without a word.
    Nothing,
    /// Never answers.
    Hang,
}

impl Answer {
    pub fn json(status: u16, body: serde_json::Value) -> Self {
        Self::Whole(status, vec![("Content-Type", "application/json".into())], body.to_string())
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self::Whole(status, Vec::new(), body.into())
    }

    pub fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        match self {
            Self::Whole(status, mut headers, body) => {
                headers.push((name, value.into()));
                Self::Whole(status, headers, body)
            }
            other => other,
        }
    }
}

type Story = dyn Fn(Asked) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// The server. It ends with the test's runtime.
#[derive(Clone)]
pub struct Wire {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Wire {
    /// Answers every request with what the story says.
    pub async fn start<F>(story: F) -> Self
    where
        F: Fn(Asked) -> Answer + Send + Sync + 'static,
    {
        Self::start_async(move |asked| {
            let answer = story(asked);
            async move { answer }
        })
        .await
    }

    pub async fn start_async<F, Fut>(story: F) -> Self
    where
        F: Fn(Asked) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let wire = Self { address: listener.local_addr().unwrap(), asked: Arc::default() };
        let story: Arc<Story> = Arc::new(move |asked| Box::pin(story(asked)));
        let asked = Arc::clone(&wire.asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&story), Arc::clone(&asked)));
            }
        });
        wire
    }

    /// Answers one after another; the last one is repeated.
    pub async fn script(answers: Vec<Answer>) -> Self {
        let next = Mutex::new(0);
        Self::start(move |_| {
            let mut next = next.lock().unwrap();
            let answer = answers[(*next).min(answers.len() - 1)].clone();
            *next += 1;
            answer
        })
        .await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, story: Arc<Story>, log: Arc<Mutex<Vec<Asked>>>) {
    let mut buffer = Vec::new();
    while let Some(asked) = read(&mut stream, &mut buffer).await {
        log.lock().unwrap().push(asked.clone());
        let (status, headers, body, missing) = match story(asked).await {
            Answer::Whole(status, headers, body) => (status, headers, body, 0),
            Answer::Truncated(status, body) => (status, Vec::new(), body, 1000),
            Answer::Nothing => return,
            Answer::Hang => return std::future::pending().await,
        };
        let mut head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n", body.len() + missing);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let whole = format!("{head}\r\n{body}");
        if stream.write_all(whole.as_bytes()).await.is_err() || missing > 0 {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Asked> {
    loop {
        if let Some((asked, used)) = parse(buffer) {
            buffer.drain(..used);
            return Some(asked);
        }
        let mut chunk = [0; 8192];
        let read = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        buffer.extend_from_slice(&chunk[..read]);
    }
}

fn parse(buffer: &[u8]) -> Option<(Asked, usize)> {
    let end = buffer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<_, _> =
        lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let body = buffer.get(end + 4..end + 4 + length)?;
    let body = String::from_utf8_lossy(body).into_owned();
    Some((Asked { method, target, headers, body }, end + 4 + length))
}
