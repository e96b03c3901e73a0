//! What `check` looks at, one file a subject. Every probe has its own deadline, all run at once, and the order of
//! their lines is fixed. None changes anything.

mod acting;
mod attestation;
mod clock;
mod compute;
mod disk;
pub(super) mod google;
mod kubernetes;
pub(super) mod line;
mod pubsub;
mod scc;
mod sysdig;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::config::Config;
use line::{Line, State};

/// What every probe is given.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// The settings.
    pub(super) config: Arc<Config>,
    /// Nobody outside this machine is asked.
    pub(super) offline: bool,
    /// For one probe, and so for each of its calls.
    pub(super) deadline: Duration,
}

/// The lines of one probe. What was written before it broke off stays.
#[derive(Debug, Clone, Default)]
pub(super) struct Report(Arc<Mutex<Vec<Line>>>);

impl Report {
    fn ok(&self, what: &str, found: impl Into<String>) {
        self.add(what, State::Ok, found.into(), None);
    }

    fn warn(&self, what: &str, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(what, State::Warning, found.into(), Some(remedy.into()));
    }

    fn fail(&self, what: &str, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(what, State::Failed, found.into(), Some(remedy.into()));
    }

    fn add(&self, what: &str, state: State, found: String, remedy: Option<String>) {
        let line = Line { what: what.into(), state, found, remedy: remedy.filter(|text| !text.is_empty()) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn take(&self) -> Vec<Line> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One subject's look.
pub(super) struct Probe {
    name: &'static str,
    report: Report,
    work: BoxFuture<'static, ()>,
}

impl Probe {
    fn new<F>(name: &'static str, ask: &Ask, look: impl FnOnce(Ask, Report) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let report = Report::default();
        let work = look(ask.clone(), report.clone());
        Self { name, report, work: Box::pin(work) }
    }
}

/// Everything that the settings ask for, in the order it is printed.
pub(super) fn all(ask: &Ask) -> Vec<Probe> {
    let mut probes = vec![Probe::new("outbox", ask, disk::outbox), Probe::new("state", ask, disk::state)];
    if !ask.offline {
        probes.push(Probe::new("Security Command Center", ask, scc::look));
        probes.push(Probe::new("clock", ask, clock::look));
        probes.push(Probe::new("Sysdig", ask, sysdig::look));
        probes.push(Probe::new("Compute Engine", ask, compute::look));
        probes.push(Probe::new("acting", ask, acting::look));
        probes.push(Probe::new("Kubernetes", ask, kubernetes::look));
        probes.push(Probe::new("Pub/Sub", ask, pubsub::look));
    } else {
        probes.push(Probe::new("Kubernetes", ask, kubernetes::look_here));
    }
    probes.push(Probe::new("attestation", ask, attestation::look));
    probes
}

/// Runs all at once. A probe that takes too long or panics is a failed line of its own.
pub(super) async fn gather(probes: Vec<Probe>, deadline: Duration) -> Vec<Line> {
    let start = |probe: Probe| (probe.name, probe.report, tokio::spawn(tokio::time::timeout(deadline, probe.work)));
    let running: Vec<_> = probes.into_iter().map(start).collect();
    let mut lines = Vec::new();
    for (name, report, task) in running {
        match task.await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                let found = format!("no complete answer within {} s", deadline.as_secs());
                report.fail(
                    name,
                    found,
                    "check the address, the name service and the egress rules, or give it longer with --timeout",
                );
            }
            Err(_) => report.fail(
                name,
                "the check itself broke off",
                "a mistake in this program: please report it with what is printed above",
            ),
        }
        lines.extend(report.take());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(name: &'static str, report: &Report, work: BoxFuture<'static, ()>) -> Probe {
        Probe { name, report: report.clone(), work }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_or_panics_is_a_failed_line_in_its_place() {
        let (hangs, panics, good) = (Report::default(), Report::default(), Report::default());
        hangs.ok("first half", "done");
        let (said, slow) = (good.clone(), Duration::from_secs(5));
        let probes = vec![
            probe("hangs", &hangs, Box::pin(std::future::pending())),
            probe("panics", &panics, Box::pin(async { panic!("on purpose") })),
            probe(
                "good",
                &good,
                Box::pin(async move {
                    tokio::time::sleep(slow).await;
                    said.warn("good", "slow", "");
                }),
            ),
        ];
        let lines = gather(probes, Duration::from_secs(10)).await;
        let seen: Vec<_> = lines.iter().map(|line| (line.what.as_str(), line.state)).collect();
        let expected =
            [("first half", State::Ok), ("hangs", State::Failed), ("panics", State::Failed), ("good", State::Warning)];
        assert_eq!(seen, expected);
        assert!(lines[1].found.contains("within 10 s"), "{lines:?}");
        assert_eq!(lines[3].remedy, None);
    }
}
