//! Zones and regions of Google Cloud, told apart by how they are spelled.

/// Whether it is spelled as a zone: `europe-west3-a`, and of the zones for accelerators `us-central1-ai1a`
/// (<https://cloud.google.com/compute/docs/regions-zones>).
pub fn is_zone(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(region, last)| {
        let letters_around =
            last.starts_with(|c: char| c.is_ascii_lowercase()) && last.ends_with(|c: char| c.is_ascii_lowercase());
        let plain = last.len() <= 6 && last.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        is_region(region) && letters_around && plain && (last.len() == 1 || last.bytes().any(|b| b.is_ascii_digit()))
    })
}

/// Whether it is spelled as a region: `europe-west3`.
pub fn is_region(name: &str) -> bool {
    let plain = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let is_numbered =
        |last: &str| last.starts_with(|c: char| c.is_ascii_lowercase()) && last.ends_with(|c: char| c.is_ascii_digit());
    plain && name.rsplit_once('-').is_some_and(|(_, last)| is_numbered(last))
}

/// Whether a zone is this one, or in this region; a place that is neither says nothing.
pub fn is_within(zone: &str, location: &str) -> bool {
    !location.contains('-') || zone == location || zone.rsplit_once('-').is_some_and(|(region, _)| region == location)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_a_region_and_one_more_word() {
        for zone in ["northamerica-northeast1-a", "europe-west3-c", "us-central1-ai1a"] {
            assert!(is_zone(zone) && !is_region(zone), "{zone}");
        }
        for region in ["northamerica-northeast1", "us-central1", "me-west1"] {
            assert!(is_region(region) && !is_zone(region), "{region}");
        }
        for neither in ["", "global", "eu", "a", "us-central1-", "us-central1-1", "us-central1-A", "eastus2", "a-b-c"] {
            assert!(!is_zone(neither) && !is_region(neither), "{neither}");
        }
    }
}
