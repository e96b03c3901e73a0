//! The rehearsal stage: an embedded sandbox, and the settings that point at it.

use anyhow::Context;

use crate::config::{Env, scc};
use crate::sandbox::{self, DEFAULT_ORGANIZATION, DEFAULT_SOURCE, Running, SeedSource, Settings};

/// A sandbox on a free loopback port.
#[derive(Debug)]
pub(super) struct Stage(Running);

impl Stage {
    /// Starts it with the source that the settings name, or its own, and points the settings at it. Keys are put
    /// aside: a rehearsal needs none, and none should travel.
    pub(super) async fn start(env: &mut Env) -> anyhow::Result<Self> {
        // Read apart: what is wrong with them is told with everything else, and then nothing starts.
        let mut asked = env.clone();
        let organization = scc::read_organization(&mut asked).unwrap_or_else(|| DEFAULT_ORGANIZATION.to_owned());
        let named = env.given(&scc::SOURCE_ID);
        let read = named.as_deref().and_then(crate::google::scc::source_text);
        let source = read.as_ref().map_or_else(|| DEFAULT_SOURCE.to_owned(), |text| text.source.clone());
        let settings = Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            organization: organization.clone(),
            sources: vec![SeedSource { id: source.clone(), display_name: "Sysdig Secure".into() }],
            ..Settings::default()
        };
        let running = sandbox::start(settings).await.context("the embedded sandbox cannot start")?;
        env.overrule("ORG_ID", &organization);
        env.overrule("SOURCE_ID", &source);
        env.overrule("SCC_LOCATION", "global");
        env.overrule("SCC_ENDPOINT", &running.url());
        env.overrule("SECURITY_SERVICE_ACCOUNT_INFO", "");
        env.overrule("DRY_RUN", "false");
        Ok(Self(running))
    }

    /// Its address.
    pub(super) fn url(&self) -> String {
        self.0.url()
    }

    /// Ends it; its findings are gone.
    pub(super) async fn stop(self) {
        self.0.stop().await;
    }
}
