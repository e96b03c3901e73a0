//! The rehearsal stage: an embedded sandbox, and the settings that point at it.

use anyhow::Context;

use crate::config::{Env, scc};
use crate::google::scc::source_text;
use crate::sandbox::{self, DEFAULT_ORGANIZATION, DEFAULT_SOURCE, Running, SeedSource, Settings};

/// A sandbox on a free loopback port.
#[derive(Debug)]
pub(super) struct Stage(Running);

impl Stage {
    /// Starts it with the source that the settings name, or its own, and points the settings at it. Keys are put
    /// aside: a rehearsal needs none, and none should travel.
    pub(super) async fn start(env: &mut Env) -> anyhow::Result<Self> {
        let (organization, source) = destination(env);
        let settings = Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            organization,
            sources: vec![SeedSource { id: source, display_name: "Sysdig Secure".into() }],
            ..Settings::default()
        };
        let running = sandbox::start(settings).await.context("the embedded sandbox cannot start")?;
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

/// The organization and the source that the settings name, or the sandbox's own; the settings name them afterwards. What
/// cannot be read, and an organization that is not the source's, stays as it is: whoever reads the settings says so.
fn destination(env: &mut Env) -> (String, String) {
    let organization = scc::read_organization(env).unwrap_or_else(|| DEFAULT_ORGANIZATION.to_owned());
    if env.given(&scc::ORG_ID).is_none() {
        env.overrule(scc::ORG_ID.name, &organization);
    }
    let given = env.given(&scc::SOURCE_ID);
    let Some(text) = given.as_deref().map_or_else(|| source_text(DEFAULT_SOURCE), source_text) else {
        return (organization, DEFAULT_SOURCE.to_owned());
    };
    // Without its location: the sandbox's is another.
    let own = text.organization.map(|own| format!("organizations/{own}/sources/")).unwrap_or_default();
    env.overrule(scc::SOURCE_ID.name, &format!("{own}{}", text.source));
    (organization, text.source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_name_the_sandboxs_organization_as_they_name_any() {
        let own = format!("organizations/{DEFAULT_ORGANIZATION}/sources/{DEFAULT_SOURCE}");
        for (org, source, expected) in [
            (None, None, Ok(own.as_str())),
            (Some("organizations/456"), Some("777"), Ok("organizations/456/sources/777")),
            (None, Some("organizations/456/sources/777/locations/eu"), Ok("organizations/456/sources/777")),
            (Some("456"), Some("organizations/456/sources/777"), Ok("organizations/456/sources/777")),
            (Some("123"), Some("organizations/456/sources/777"), Err("ORG_ID is 123")),
            (Some("acme"), None, Err("not an organization")),
            (None, Some("sysdig"), Err("not a source")),
        ] {
            let given = [("ORG_ID", org), ("SOURCE_ID", source)];
            let mut env = Env::from_pairs(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
            let (organization, id) = destination(&mut env);
            env.overrule("SCC_LOCATION", "global");
            let config = scc::SccConfig::read(&mut env).unwrap();
            match (env.finish(), expected) {
                (Ok(()), Ok(name)) => {
                    assert_eq!(format!("organizations/{organization}/sources/{id}"), name);
                    assert_eq!(config.source.unwrap().to_string(), name);
                }
                (Err(problems), Err(wrong)) => assert!(problems.to_string().contains(wrong), "{problems}"),
                other => panic!("{org:?} {source:?}: {other:?}"),
            }
        }
    }
}
