//! Faults to order: the next calls fail, are slow, lose their connection or get broken answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a client of the admin route orders. Faults wait in line; each spoils the next `next` calls that match it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// How many calls it spoils; 1 when absent or 0.
    pub next: u64,
    /// Answers with this status instead of doing anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// With `status`: says when to come again, in `Retry-After` and `RetryInfo`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Waits so long before anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// Closes the connection without an answer; nothing is done unless `after` is set.
    #[serde(skip_serializing_if = "is_false")]
    pub reset: bool,
    /// Does what was asked, then answers with half of the body.
    #[serde(skip_serializing_if = "is_false")]
    pub truncate: bool,
    /// Does what was asked, then answers 200 with something that is not JSON.
    #[serde(skip_serializing_if = "is_false")]
    pub garbage: bool,
    /// With `reset` or `status`: does what was asked first.
    #[serde(skip_serializing_if = "is_false")]
    pub after: bool,
    /// Only calls whose `METHOD path` contains this text.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Fault {
    /// What makes no sense in it, if anything.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        let answers = [self.status.is_some(), self.reset, self.truncate, self.garbage];
        if self.status.is_some_and(|status| !(200..=599).contains(&status)) {
            return Some("status must be 200 to 599");
        }
        match answers.iter().filter(|given| **given).count() {
            0 if self.latency_ms.is_none() => Some("one of status, latency_ms, reset, truncate, garbage is needed"),
            0 | 1 => None,
            _ => Some("only one of status, reset, truncate, garbage can be given"),
        }
    }

    /// The wait before the answer.
    pub(crate) fn latency(&self) -> Option<Duration> {
        self.latency_ms.map(Duration::from_millis)
    }
}

/// The faults that wait.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn order(&mut self, mut fault: Fault) {
        fault.next = fault.next.max(1);
        self.0.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn waiting(&self) -> &[Fault] {
        &self.0
    }

    /// The fault for this call, if one is due.
    pub(crate) fn take(&mut self, method: &str, path: &str) -> Option<Fault> {
        let fits = |fault: &Fault| match &fault.matching {
            None => true,
            Some(text) => format!("{method} {path}").contains(text.as_str()),
        };
        let at = self.0.iter().position(fits)?;
        let fault = self.0[at].clone();
        if fault.next <= 1 {
            self.0.remove(at);
        } else {
            self.0[at].next -= 1;
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_wait_for_the_calls_they_match() {
        let mut faults = Faults::default();
        faults.order(Fault { next: 2, status: Some(503), matching: Some("PATCH ".into()), ..Fault::default() });
        faults.order(Fault { reset: true, ..Fault::default() });
        assert!(faults.take("POST", "/x").unwrap().reset);
        assert!(faults.take("POST", "/x").is_none());
        assert_eq!(faults.take("PATCH", "/x").unwrap().status, Some(503));
        assert_eq!(faults.take("PATCH", "/x").unwrap().status, Some(503));
        assert!(faults.take("PATCH", "/x").is_none());
    }

    #[test]
    fn an_order_that_makes_no_sense_is_told() {
        assert!(Fault::default().mistake().is_some());
        assert!(Fault { status: Some(503), reset: true, ..Fault::default() }.mistake().is_some());
        assert!(Fault { latency_ms: Some(5), truncate: true, ..Fault::default() }.mistake().is_none());
    }
}
