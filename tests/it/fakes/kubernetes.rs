//! A Kubernetes API server: objects by path, and paths that are refused.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::loopback::{Answer, Loopback};

#[derive(Debug, Default)]
pub struct State {
    pub objects: BTreeMap<String, Value>,
    /// Resources that may not be read.
    pub refused: Vec<&'static str>,
    /// A resource, and the status that its next readings are answered with.
    pub trouble: VecDeque<(&'static str, u16)>,
    /// Nothing is answered at all.
    pub silent: bool,
}

#[derive(Debug)]
pub struct FakeKubernetes {
    pub server: Loopback,
    state: Arc<Mutex<State>>,
}

impl FakeKubernetes {
    pub fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let server = Loopback::start(move |asked| {
            let mut state = shared.lock().unwrap();
            if state.silent {
                return Answer::Hang;
            }
            if asked.method == "POST" {
                let mut review = asked.json();
                let resource = review["spec"]["resourceAttributes"]["resource"].as_str().unwrap_or_default().to_owned();
                review["status"] = json!({"allowed": !state.refused.iter().any(|refused| *refused == resource)});
                return Answer::Json(201, review);
            }
            if let Some(refused) = state.refused.iter().find(|refused| asked.path.contains(&format!("/{refused}/"))) {
                return status(
                    403,
                    "Forbidden",
                    &format!("{refused} is forbidden: User \"robot\" cannot get resource"),
                );
            }
            if let Some((_, code)) =
                state.trouble.pop_front_if(|(resource, _)| asked.path.contains(&format!("/{resource}/")))
            {
                return status(code, "ServiceUnavailable", "etcdserver: leader changed");
            }
            match state.objects.get(&asked.path) {
                Some(object) => Answer::Json(200, object.clone()),
                None => status(404, "NotFound", "not found"),
            }
        });
        Self { server, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn status(code: u16, reason: &str, message: &str) -> Answer {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code});
    Answer::Json(code, body)
}
