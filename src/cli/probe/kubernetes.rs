//! Kubernetes: whether the API server answers, and which of our reads it allows. Asking for that is no change.

use super::{Ask, Report};
use crate::app::ground;
use crate::causes::chain;
use crate::enrich::kubernetes::{AskError, KubernetesEnricher};
use crate::enrich::login::connect;

const WHAT: &str = "Kubernetes";

/// Looks for what is needed to ask, without asking.
pub(super) async fn look_here(ask: Ask, report: Report) {
    let Some(settings) = &ask.config.enrich.kubernetes else { return };
    if let Some(problem) = ground::cluster(settings).await {
        report.fail(WHAT, format!("{} {}", problem.setting, problem.wrong), problem.remedy);
    }
}

/// Asks, when the look-up is on.
pub(super) async fn look(ask: Ask, report: Report) {
    let Some(settings) = &ask.config.enrich.kubernetes else { return };
    let access = match connect(&settings.source).await {
        Ok(access) => access,
        Err(error) => {
            return report.fail(WHAT, chain(&error), "set KUBERNETES_ENRICH to off, in-cluster or kubeconfig, and KUBERNETES_CONTEXT to a context of the kubeconfig");
        }
    };
    match KubernetesEnricher::new(access, settings, ask.config.enrich.keep).permitted().await {
        Ok(answers) => {
            let refused: Vec<&str> = answers.iter().filter(|(_, allowed)| !allowed).map(|(what, _)| *what).collect();
            match refused.is_empty() {
                true => report.ok(WHAT, "pods, nodes, replica sets and jobs may be read"),
                // What may not be read is left out of findings; the rest goes on.
                false => report.warn(
                    WHAT,
                    format!("may not be read: {}", refused.join(", ")),
                    "kubectl apply -f deploy/kubernetes/components/kubernetes-reads/rbac.yaml (as part of an overlay, it binds the service account)",
                ),
            }
        }
        Err(error @ AskError::Login(_)) => report.fail(
            WHAT,
            chain(&error),
            "correct the user of the kubeconfig: its login program has to be on this machine and to end without questions",
        ),
        Err(error) => report.fail(
            WHAT,
            chain(&error),
            "check that the API server can be reached from here, and that the service account's token is mounted",
        ),
    }
}
