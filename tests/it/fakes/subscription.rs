//! A pull subscription of Pub/Sub that can fall silent: what a connector does with messages it holds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::loopback::{Answer, Asked, Loopback};

/// What the subscription holds, and how it behaves.
#[derive(Debug, Default)]
pub struct State {
    /// Messages to be delivered, as ack id and data.
    pub waiting: VecDeque<(String, String)>,
    /// Delivered, and neither acknowledged nor given back.
    pub out: Vec<(String, String)>,
    /// Acknowledged.
    pub done: Vec<String>,
    /// How often deadlines were pushed on.
    pub extended: usize,
    /// Acknowledgements get no answer, and are not counted.
    pub deaf: bool,
    /// How often an acknowledgement was tried while deaf.
    pub unheard: usize,
    /// How many messages the last pull that gave some asked for.
    pub most: u64,
}

/// The running fake.
#[derive(Debug)]
pub struct FakeSubscription {
    pub server: Loopback,
    state: Arc<Mutex<State>>,
}

impl FakeSubscription {
    pub const NAME: &str = "projects/demo-int/subscriptions/pull1";

    pub fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let server = Loopback::start(move |asked| shared.lock().unwrap().answer(asked));
        Self { server, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// `host:port`.
    pub fn host(&self) -> String {
        self.server.url.trim_start_matches("http://").to_owned()
    }

    /// A message arrives.
    pub fn publish(&self, entry: &Value) {
        let mut state = self.state();
        let id = format!("ack-{}", state.waiting.len() + state.out.len() + state.done.len());
        state.waiting.push_back((id, STANDARD.encode(entry.to_string())));
    }

    /// The deadline of everything that is out has passed.
    pub fn redeliver(&self) {
        let mut state = self.state();
        let out: Vec<_> = state.out.drain(..).collect();
        state.waiting.extend(out.into_iter().map(|(id, data)| (format!("{id}-again"), data)));
    }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Answer {
        let ids = |asked: &Asked| -> Vec<String> {
            let ids = asked.json()["ackIds"].as_array().cloned().unwrap_or_default();
            ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()
        };
        match asked.path.rsplit(':').next().unwrap_or_default() {
            // With nothing to give, a pull waits; the client gives up on it when it stops.
            "pull" if self.waiting.is_empty() => Answer::Json(200, json!({})),
            "pull" => {
                self.most = asked.json()["maxMessages"].as_u64().unwrap_or_default();
                let given = self.waiting.len().min(usize::try_from(self.most).unwrap());
                let given: Vec<_> = self.waiting.drain(..given).collect();
                let messages: Vec<Value> = given
                    .iter()
                    .map(|(id, data)| json!({"ackId": id, "message": {"data": data, "messageId": id}}))
                    .collect();
                self.out.extend(given);
                Answer::Json(200, json!({ "receivedMessages": messages }))
            }
            "modifyAckDeadline" => {
                self.extended += 1;
                Answer::Json(200, json!({}))
            }
            "acknowledge" if self.deaf => {
                self.unheard += 1;
                Answer::Hang
            }
            "acknowledge" => {
                let ids = ids(asked);
                self.out.retain(|(id, _)| !ids.contains(id));
                self.done.extend(ids);
                Answer::Json(200, json!({}))
            }
            _ => Answer::Json(404, json!({"error": {"code": 404, "status": "NOT_FOUND", "message": "no such path"}})),
        }
    }
}
