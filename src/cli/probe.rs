//! What `check` asks of the outside services, without side effects: a token, and whether the source would let us write.

use super::check::{Line, State, ok};
use crate::app::scc_client;
use crate::config::Config;
use crate::google::scc::Scc;
use crate::telemetry::chain;

/// Asks every configured service; one line each.
pub(super) async fn outside(config: &Config, lines: &mut Vec<Line>) {
    if config.scc.dry_run {
        lines.push(Line {
            what: "Security Command Center".into(),
            state: State::Warning,
            found: "DRY_RUN is set: nothing is sent".into(),
            remedy: None,
        });
        return;
    }
    let Some(scc) = client(config, lines) else { return };
    match scc.http().tokens().token().await {
        Ok(None) => lines.push(ok("token", "none is needed: the endpoint is a sandbox on this machine")),
        Ok(Some(_)) => lines.push(ok("token", &format!("obtained from {}", scc.http().tokens().kind()))),
        Err(error) => {
            lines.push(failed("token", chain(&error), error.remedy()));
            return;
        }
    }
    lines.push(permission(&scc).await);
}

fn client(config: &Config, lines: &mut Vec<Line>) -> Option<Scc> {
    let source = config.scc.source.clone()?;
    match scc_client(config) {
        Ok(client) => Some(Scc::new(client, source, config.scc.location.as_str())),
        Err(error) => {
            lines.push(failed("Security Command Center", chain(&error), "correct the credentials, or SCC_ENDPOINT"));
            None
        }
    }
}

async fn permission(scc: &Scc) -> Line {
    const NEEDED: &str = "securitycenter.findings.update";
    let what = "Security Command Center";
    match scc.permitted(&[NEEDED]).await {
        Ok(granted) if granted.iter().any(|permission| permission == NEEDED) => {
            ok(what, &format!("{} may be written", scc.source()))
        }
        Ok(_) => failed(
            what,
            format!("{NEEDED} is not granted on {}", scc.source()),
            "grant roles/securitycenter.findingsEditor on the source to this service account (scripts/generate_gcloud_keys does)",
        ),
        Err(error) => failed(
            what,
            chain(&error),
            "check SOURCE_ID, SCC_LOCATION and SCC_ENDPOINT, and that the Security Command Center API is enabled",
        ),
    }
}

fn failed(what: &str, found: String, remedy: &str) -> Line {
    Line { what: what.into(), state: State::Failed, found, remedy: Some(remedy.into()) }
}
