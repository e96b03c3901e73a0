//! The yardstick: the least program that takes an event, makes it durable, answers, builds a small finding and posts
//! it, of the same libraries. No normalising, no look-ups, no retries, no limits, no metrics: what is left is what this
//! machine, its disk, SQLite, actix-web and reqwest cost. A machine on which it is slow is slow for everybody.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// The argument by which the program calls itself.
pub(crate) const WORD: &str = "bare";
/// The file, in the folder it is started in; named as the connector's is in these runs.
const FILE: &str = "outbox.db";
/// Calls under way at once.
const CALLS: usize = 64;
const REQUESTS_A_COMMIT: usize = 512;

#[derive(Deserialize)]
struct Event {
    id: String,
    timestamp: u64,
    severity: i64,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    content: Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    output: String,
    rule_name: String,
    #[serde(default)]
    fields: BTreeMap<String, String>,
}

enum Command {
    Accept { key: String, body: web::Bytes, answer: oneshot::Sender<()> },
    Delivered(i64),
}

type Stored = mpsc::UnboundedSender<(i64, web::Bytes)>;

/// `receiver`: where findings go; without one they stay.
pub(crate) fn serve(port: u16, receiver: Option<SocketAddr>) {
    let (commands, waiting) = mpsc::unbounded_channel();
    let (stored, due) = mpsc::unbounded_channel();
    std::thread::spawn(move || write(waiting, receiver.map(|_| stored)));
    if let Some(receiver) = receiver {
        let settled = commands.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || runtime.block_on(deliver(receiver, due, settled)));
    }
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(commands.clone()))
            .route("/events", web::post().to(events))
            .route("/healthz", web::get().to(HttpResponse::Ok))
    });
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let server = server.workers(cores).bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    actix_web::rt::System::new().block_on(server.run()).unwrap();
}

async fn events(commands: web::Data<mpsc::UnboundedSender<Command>>, body: web::Bytes) -> HttpResponse {
    let Ok(event) = serde_json::from_slice::<Event>(&body) else { return HttpResponse::BadRequest().finish() };
    let (answer, durable) = oneshot::channel();
    commands.send(Command::Accept { key: event.id, body, answer }).unwrap();
    durable.await.unwrap();
    HttpResponse::Ok().content_type("application/json").body(r#"{"accepted":1}"#)
}

/// One transaction for everything that waits.
fn write(mut waiting: mpsc::UnboundedReceiver<Command>, stored: Option<Stored>) {
    let file = PathBuf::from(FILE);
    let connection = open(&file);
    connection
        .execute_batch(
            "CREATE TABLE entry (id INTEGER PRIMARY KEY, key TEXT UNIQUE, state INTEGER, next_ms INTEGER, body BLOB);
             CREATE INDEX due ON entry (next_ms) WHERE state = 0;",
        )
        .unwrap();
    std::thread::spawn(move || checkpoint(&file));
    let mut batch = Vec::new();
    while waiting.blocking_recv_many(&mut batch, REQUESTS_A_COMMIT) > 0 {
        let (mut answers, mut fresh) = (Vec::new(), Vec::new());
        let transaction = connection.unchecked_transaction().unwrap();
        for command in batch.drain(..) {
            match command {
                Command::Accept { key, body, answer } => {
                    let insert =
                        "INSERT INTO entry (key, state, next_ms, body) VALUES (?1, 0, 0, ?2) ON CONFLICT DO NOTHING";
                    let mut insert = transaction.prepare_cached(insert).unwrap();
                    if insert.execute((&key, &body[..])).unwrap() > 0 {
                        fresh.push((transaction.last_insert_rowid(), body));
                    }
                    answers.push(answer);
                }
                Command::Delivered(id) => {
                    transaction.prepare_cached("DELETE FROM entry WHERE id = ?1").unwrap().execute([id]).unwrap();
                }
            }
        }
        transaction.commit().unwrap();
        answers.into_iter().for_each(|answer| answer.send(()).unwrap());
        if let Some(stored) = &stored {
            fresh.into_iter().for_each(|row| stored.send(row).unwrap());
        }
    }
}

fn open(file: &Path) -> Connection {
    let connection = Connection::open(file).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "FULL").unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 16_384).unwrap();
    connection
}

fn checkpoint(file: &Path) {
    let connection = Connection::open(file).unwrap();
    loop {
        std::thread::sleep(Duration::from_millis(200));
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    }
}

async fn deliver(
    receiver: SocketAddr,
    mut due: mpsc::UnboundedReceiver<(i64, web::Bytes)>,
    settled: mpsc::UnboundedSender<Command>,
) {
    let client = reqwest::Client::builder().http1_only().tcp_nodelay(true).build().unwrap();
    let places = Arc::new(Semaphore::new(CALLS));
    while let Some((id, body)) = due.recv().await {
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let (client, settled) = (client.clone(), settled.clone());
        tokio::spawn(async move {
            let url =
                format!("http://{receiver}/v2/organizations/1/sources/2/locations/global/findings?findingId={id}");
            client.post(url).json(&finding(&body)).send().await.unwrap().bytes().await.unwrap();
            settled.send(Command::Delivered(id)).unwrap();
            drop(place);
        });
    }
}

fn finding(body: &[u8]) -> serde_json::Value {
    let event: Event = serde_json::from_slice(body).unwrap();
    let facts = event.labels.into_iter().chain(event.content.fields);
    let properties: serde_json::Map<String, serde_json::Value> =
        facts.map(|(name, value)| (name.replace('.', "_"), value.into())).collect();
    json!({
        "state": "ACTIVE", "findingClass": "THREAT", "severity": event.severity, "category": event.content.rule_name,
        "eventTime": event.timestamp, "resourceName": "//example", "description": event.content.output,
        "sourceProperties": properties,
    })
}
