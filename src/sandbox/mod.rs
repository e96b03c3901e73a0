//! A small Security Command Center for newcomers, rehearsals and tests: API v2 and its v1 alias, quotas, faults to
//! order, and a page of findings. It keeps everything in memory, listens on loopback unless asked, and says at every
//! turn that it is not Google.
//!
//! A request goes `http` → `api` → (`route`, `query`, `message`: what is meant?) → `sources`, `findings`, `listing`
//! over the one `store`. What the real service documents is held exactly; where its behaviour is unknown the stricter
//! reading is taken.

mod admin;
mod api;
mod bulk;
mod clock;
mod error;
mod faults;
mod fields;
mod filter;
mod findings;
mod http;
mod listing;
mod marks;
mod mask;
mod message;
mod names;
mod page;
mod query;
mod quota;
mod reply;
mod resource;
mod route;
mod schema;
mod settings;
mod sources;
mod store;
mod stubs;

use std::io;
use std::net::SocketAddr;

use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use tokio::task::JoinHandle;

pub use clock::{Clock, Hand};
pub use faults::Fault;
pub use settings::{Bounds, DEFAULT_ORGANIZATION, DEFAULT_SOURCE, Quotas, SeedSource, Settings, V1};

/// Why a sandbox could not start or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// It would be reachable from other machines and nobody asked for that.
    #[error(
        "{0} can be reached from other machines and the sandbox has no protection of its own; ask for it explicitly with --beyond-loopback"
    )]
    BeyondLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: is another sandbox running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// The server stopped by itself.
    #[error("the sandbox stopped by itself")]
    Stopped(#[source] io::Error),
}

/// A sandbox that runs. It goes on when this is dropped, until the runtime ends.
#[derive(Debug)]
pub struct Running {
    /// Where it listens; with port 0 in the settings, the port that was free.
    pub address: SocketAddr,
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

impl Running {
    /// The base URL, `http://127.0.0.1:8089`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it at once and waits until it has.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }

    /// Waits until it stops, which it does only by [`Running::stop`] elsewhere or by an error.
    ///
    /// # Errors
    /// [`SandboxError::Stopped`] when the server ended with an error.
    pub async fn wait(self) -> Result<(), SandboxError> {
        match self.task.await {
            Ok(ended) => ended.map_err(SandboxError::Stopped),
            Err(joined) => Err(SandboxError::Stopped(io::Error::other(joined))),
        }
    }
}

/// Starts a sandbox inside a tokio runtime. It answers as soon as this returns.
///
/// # Errors
/// [`SandboxError`] when the settings make no sense or the address cannot be listened on.
#[allow(clippy::unused_async, reason = "says that a runtime is needed")]
pub async fn start(settings: Settings) -> Result<Running, SandboxError> {
    check(&settings)?;
    let (listen, workers, body) = (settings.listen, settings.workers.max(1), settings.bounds.body);
    let sandbox = Data::new(api::Sandbox::new(settings));
    let app = move || App::new().app_data(sandbox.clone()).configure(|config| http::routes(config, body));
    let server = HttpServer::new(app)
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(1)
        .on_connect(http::remember)
        .bind(listen)
        .map_err(|source| SandboxError::Listen { address: listen, source })?;
    let address = server.addrs().first().copied().unwrap_or(listen);
    let server = server.run();
    let handle = server.handle();
    tracing::info!(%address, "the sandbox listens; {}", reply::NOTICE);
    Ok(Running { address, handle, task: tokio::spawn(server) })
}

fn check(settings: &Settings) -> Result<(), SandboxError> {
    if !settings.listen.ip().is_loopback() && !settings.beyond_loopback {
        return Err(SandboxError::BeyondLoopback(settings.listen));
    }
    let numeric = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
    if !numeric(&settings.organization) {
        let text = format!("the organization {:?} must be a number", settings.organization);
        return Err(SandboxError::Setting(text));
    }
    match settings.sources.iter().find(|source| !numeric(&source.id)) {
        Some(source) => Err(SandboxError::Setting(format!("the source id {:?} must be a number", source.id))),
        None => Ok(()),
    }
}
