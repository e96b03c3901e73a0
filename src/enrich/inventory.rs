//! All instances of one project, by what no filter of Compute Engine finds: internal addresses and full host names.

use std::collections::HashMap;
use std::time::Instant;

use crate::google::compute::{Place, last_part};

/// Instances by internal address and by the host name they were given, and the zones that did not answer.
#[derive(Debug)]
pub(super) struct Inventory {
    places: HashMap<String, Vec<Place>>,
    /// The zones that did not answer.
    pub(super) unreachable: Vec<String>,
    /// When it was asked for.
    pub(super) made: Instant,
}

impl Inventory {
    /// What a project's list says.
    pub(super) fn new(all: Vec<Place>, unreachable: Vec<String>, made: Instant) -> Self {
        let mut places = HashMap::<String, Vec<Place>>::new();
        for place in all {
            for interface in &place.network_interfaces {
                places.entry(interface.network_ip.clone()).or_default().push(place.clone());
            }
            if !place.hostname.is_empty() {
                places.entry(place.hostname.to_ascii_lowercase()).or_default().push(place.clone());
            }
        }
        Self { places, unreachable, made }
    }

    /// Whether somebody has this address or host name.
    pub(super) fn has(&self, text: &str) -> bool {
        self.places.contains_key(text)
    }

    /// Zone and name of everybody who has this address or host name.
    pub(super) fn of(&self, text: &str) -> Vec<(&str, &str)> {
        let places = self.places.get(text).into_iter().flatten();
        places.map(|place| (last_part(&place.zone), place.name.as_str())).collect()
    }
}
