//! World: the real application on port 0, with the sandbox as Security Command Center.

use std::path::PathBuf;
use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};
use sysdig_scc::app::{App, Died, StartError};
use sysdig_scc::config::{Config, Env};
use sysdig_scc::outbox::sqlite::Admin;
use sysdig_scc::outbox::{Stats, StoreError};
use sysdig_scc::sandbox::{self, DEFAULT_ORGANIZATION, DEFAULT_SOURCE, Quotas, Running, Settings};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The token that senders show.
pub const TOKEN: &str = "0b54b2b5f0a94d0fa2c1";

/// Longer than anything here takes, short enough to notice a hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// The connector between its neighbours.
pub struct World {
    pub http: reqwest::Client,
    pub url: String,
    pub scc: Running,
    pub outbox: PathBuf,
    folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    app: Option<JoinHandle<Result<(), Died>>>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A world with some settings of its own.
    pub async fn with(extra: &[(&str, &str)]) -> Self {
        let scc = sandbox::start(Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            quotas: Quotas::LIFTED,
            ..Settings::default()
        })
        .await
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let outbox = folder.path().join("outbox.db");
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut world = Self { http, url: String::new(), scc, outbox, folder, stop: None, app: None };
        world.start(extra).await;
        world
    }

    /// The settings that point into this world.
    pub fn settings(&self, extra: &[(&str, &str)]) -> Vec<(String, String)> {
        let base = [
            ("PORT", "0".to_owned()),
            ("WEBHOOK_AUTHENTICATION_TOKEN", TOKEN.to_owned()),
            ("OUTBOX_URL", format!("sqlite:{}", self.outbox.display())),
            ("STATE_URL", format!("sqlite:{}", self.folder.path().join("state.db").display())),
            ("SCC_ENDPOINT", self.scc.url()),
            ("ORG_ID", DEFAULT_ORGANIZATION.to_owned()),
            ("SOURCE_ID", DEFAULT_SOURCE.to_owned()),
            ("SCC_WRITES_PER_MINUTE", "0".to_owned()),
            ("SCC_BYTES_PER_DAY", "0".to_owned()),
        ];
        let extra = extra.iter().map(|(name, value)| (*name, (*value).to_owned()));
        base.into_iter().chain(extra).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Starts the connector on this world's files.
    pub async fn start(&mut self, extra: &[(&str, &str)]) {
        let config = Config::read(Env::from_pairs(self.settings(extra))).unwrap();
        let building = async {
            loop {
                match App::build(&config).await {
                    // The last one's server has threads, which let go of the file a moment after it has ended.
                    Err(StartError::Outbox(StoreError::InUse { .. })) => {
                        tokio::time::sleep(Duration::from_millis(5)).await
                    }
                    built => return built.unwrap(),
                }
            }
        };
        let app = tokio::time::timeout(PATIENCE, building).await.expect("the last one lets go of its files");
        self.url = format!("http://{}", app.address());
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop = Some(stop);
        self.app = Some(tokio::spawn(app.run(async { drop(stopped.await) })));
    }

    /// Stops it as SIGTERM would.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        let stopped = tokio::time::timeout(PATIENCE, self.app.take().unwrap()).await.expect("it stops in time");
        stopped.unwrap().expect("no part died before");
    }

    /// Sends a delivery with the right token.
    pub async fn sends(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        self.sends_with("authorization", &format!("Bearer {TOKEN}"), body).await
    }

    /// Sends a delivery with one header.
    pub async fn sends_with(&self, name: &str, value: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request = self.http.post(format!("{}/events", self.url)).header(name, value).body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Gets a page as text.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The ledger, which must balance at any moment.
    pub fn ledger(&self) -> Stats {
        let stats = Admin::open(&self.outbox).unwrap().stats(Utc::now()).unwrap();
        assert!(stats.balances(), "accepted = waiting + closed: {stats:?}");
        stats
    }

    /// Waits until nothing waits any more.
    pub async fn settle(&self) -> Stats {
        self.until(|stats| stats.waiting == 0).await
    }

    /// Waits until the ledger looks so.
    pub async fn until(&self, holds: impl Fn(&Stats) -> bool) -> Stats {
        let looking = async {
            loop {
                let stats = self.ledger();
                if holds(&stats) {
                    return stats;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking)
            .await
            .unwrap_or_else(|_| panic!("the ledger stayed {:?}", self.ledger()))
    }

    /// Every finding in Security Command Center.
    pub async fn findings(&self) -> Vec<Value> {
        let parent = format!("organizations/{DEFAULT_ORGANIZATION}/sources/{DEFAULT_SOURCE}/locations/global");
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let url = format!("{}/v2/{parent}/findings?pageSize=1000&pageToken={token}", self.scc.url());
            let page: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
            let rows = page["listFindingsResults"].as_array().cloned().unwrap_or_default();
            found.extend(rows.into_iter().map(|row| row["finding"].clone()));
            token = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                return found;
            }
        }
    }

    /// Orders a fault of Security Command Center.
    pub async fn scc_fails(&self, fault: Value) {
        let answer = self.http.post(format!("{}/sandbox/faults", self.scc.url())).json(&fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Security Command Center works again.
    pub async fn scc_recovers(&self) {
        self.http.delete(format!("{}/sandbox/faults", self.scc.url())).send().await.unwrap();
    }
}

/// A forwarder event with this number.
pub fn event(number: u64) -> Value {
    json!({
        "id": format!("17dec715376910362c8c3f{number:010x}"), "type": "policy",
        "timestamp": 1_720_031_001_639_981_110_u64, "timestampRFC3339Nano": "2024-07-03T18:23:21.63998111Z",
        "originator": "policy", "category": "runtime", "source": "syscall", "name": "Notable Events", "severity": 5,
        "content": {"policyId": 544, "ruleName": "Terminal shell in container", "ruleType": "RULE_TYPE_FALCO",
            "output": "A shell was spawned", "fields": {"proc.name": "bash", "user.name": "root"}},
        "labels": {"kubernetes.cluster.name": "prod", "kubernetes.namespace.name": "shop", "kubernetes.pod.name": "web-1"}
    })
}

/// A batch of them as the forwarder sends it.
pub fn batch(numbers: std::ops::Range<u64>) -> String {
    Value::from(numbers.map(event).collect::<Vec<_>>()).to_string()
}
