//! The deliveries that `demo` sends: one of every shape that the connector takes, with times fixed in the past.

/// One delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// What it shows, for people.
    pub(super) title: &'static str,
    /// The body as it is posted.
    pub(super) body: &'static str,
}

/// Every delivery, in the order they are sent.
pub(super) static SAMPLES: &[Sample] = &[
    Sample { title: "Sysdig Secure notification of 2018", body: include_str!("demo/notification_2018.json") },
    Sample { title: "Sysdig Secure notification of 2019", body: include_str!("demo/notification_2019.json") },
    Sample { title: "Sysdig event forwarder, JSON array", body: include_str!("demo/forwarder.json") },
    Sample { title: "Sysdig event forwarder, one object a line", body: include_str!("demo/forwarder.ndjson") },
    Sample { title: "Sysdig event forwarder, deprecated flat form", body: include_str!("demo/legacy_forwarder.json") },
    Sample { title: "Sysdig events API page, pasted as is", body: include_str!("demo/api_page.json") },
    Sample { title: "Falco", body: include_str!("demo/falco.json") },
    Sample { title: "Sysdig Monitor alert", body: include_str!("demo/monitor_alert.json") },
    Sample { title: "Test delivery of the forwarder", body: include_str!("demo/forwarder_test.json") },
    Sample { title: "Notification that was resolved (state OK)", body: include_str!("demo/notification_ok.json") },
];

#[cfg(test)]
mod tests {
    use super::SAMPLES;
    use crate::normalize::{Element, delivery};

    #[test]
    fn every_sample_is_read_without_a_parked_element() {
        let received = chrono::DateTime::UNIX_EPOCH;
        let elements: Vec<Element> =
            SAMPLES.iter().flat_map(|sample| delivery(sample.body.as_bytes(), received).unwrap()).collect();
        let events = elements.iter().filter(|element| matches!(element, Element::Event { .. })).count();
        let ignored =
            elements.iter().filter(|element| matches!(element, Element::Ignored(_) | Element::Unknown { .. })).count();
        assert_eq!((events, ignored, elements.len()), (13, 4, 17));
    }
}
