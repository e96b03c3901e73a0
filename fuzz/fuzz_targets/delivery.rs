//! Any bytes as a delivery: no panic, and what is stored gives the same event again and a finding within its limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sysdig_scc::decide::{Decision, Rules, decide};
use sysdig_scc::enrich::Enriched;
use sysdig_scc::finding::FindingChange;
use sysdig_scc::normalize::{Element, delivery, stored};

fuzz_target!(|body: &[u8]| {
    let received = chrono::DateTime::from_timestamp(1_763_784_000, 0).expect("a constant within range");
    let Ok(elements) = delivery(body, received) else { return };
    for element in elements {
        let Element::Event { event, body } = element else { continue };
        match stored(&body, received) {
            Ok(Element::Event { event: again, .. }) => assert_eq!(again, event),
            other => panic!("stored body read differently: {other:?}"),
        }
        if let Decision::Deliver(changes) = decide(&event, &Enriched::default(), &Rules::new("1"), received) {
            for change in changes {
                if let FindingChange::Create { finding, .. } | FindingChange::Raise { finding, .. } = change {
                    assert!(serde_json::to_string(&finding).expect("a finding is JSON").len() <= 64 * 1024);
                }
            }
        }
    }
});
