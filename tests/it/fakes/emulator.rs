//! The Pub/Sub and Firestore emulators of the Google Cloud CLI, started directly on free ports.
//!
//! Where they are not installed a test says so and ends; with `CI` set it fails, so that a build never passes unproven.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running emulator; it ends with this value.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    port: u16,
    command: Vec<String>,
}

impl Emulator {
    /// Firestore in native mode, or `None` where it is not installed.
    pub async fn firestore(more: &[&str]) -> Option<Self> {
        let jar = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar";
        let Some(jar) = installed(jar).filter(|_| on_path("java").is_some()) else { return missing("Firestore") };
        let class = "com.google.cloud.datastore.emulator.firestore.CloudFirestore";
        let mut command: Vec<String> =
            ["java", "-Xmx256m", "-Duser.language=en", "-cp"].into_iter().map(str::to_owned).collect();
        command.extend([jar.display().to_string(), class.to_owned(), "start".to_owned()]);
        command.extend(more.iter().map(|&word| word.to_owned()));
        Some(Self::start(command, free_port()).await)
    }

    /// Pub/Sub, or `None` where it is not installed.
    pub async fn pubsub() -> Option<Self> {
        let Some(program) = installed("platform/pubsub-emulator/bin/cloud-pubsub-emulator") else {
            return missing("Pub/Sub");
        };
        Some(Self::start(vec![program.display().to_string()], free_port()).await)
    }

    /// `host:port`, as the `…_EMULATOR_HOST` variables have it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it, and all it knew, while its port stays known.
    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port, empty.
    pub async fn restart(&mut self) {
        self.stop();
        self.child = launch(&self.command, self.port);
        ready(self.port).await;
    }

    async fn start(command: Vec<String>, port: u16) -> Self {
        let emulator = Self { child: launch(&command, port), port, command };
        ready(port).await;
        emulator
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have been stopped already; there is nobody to tell.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn launch(command: &[String], port: u16) -> Child {
    Command::new(&command[0])
        .args(&command[1..])
        .args(["--host=127.0.0.1", &format!("--port={port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn ready(port: u16) {
    let client = reqwest::Client::new();
    for _ in 0..300 {
        let answer = client.get(format!("http://127.0.0.1:{port}/")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the emulator on port {port} did not become ready within 30 seconds");
}

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn missing<T>(what: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "CI is set, and the {what} emulator is not installed");
    eprintln!("not tested: the {what} emulator of the Google Cloud CLI is not installed");
    None
}

fn installed(file: &str) -> Option<PathBuf> {
    let beside_gcloud = on_path("gcloud").and_then(|gcloud| {
        let real = gcloud.canonicalize().ok()?;
        Some(real.parent()?.parent()?.to_owned())
    });
    let roots = beside_gcloud.into_iter().chain([PathBuf::from("/usr/lib/google-cloud-sdk")]);
    roots.map(|root| root.join(file)).find(|path| path.exists())
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| Path::exists(path))
}
