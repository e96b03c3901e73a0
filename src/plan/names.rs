//! Names made of the event: the same event, the same step, the same name. Pure.

use aws_lc_rs::digest;
use sha2::{Digest, Sha256};

/// The namespace of our request ids: a random constant, so that nobody else's names meet ours.
const NAMESPACE: [u8; 16] =
    [0x9d, 0x6c, 0x1f, 0x52, 0x3b, 0x0e, 0x4a, 0x77, 0x8c, 0x35, 0x61, 0xd4, 0x0a, 0xe2, 0x97, 0x1b];

/// The id of the request for `step` of what `event` asks for: a UUID of version 5 (RFC 9562). Compute Engine answers a
/// second request of the same id with the operation of the first.
pub fn request_id(event: &str, step: &str) -> String {
    let name = format!("{event}\n{step}");
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[&NAMESPACE, name.as_bytes()].concat());
    let mut uuid = [0_u8; 16];
    uuid.copy_from_slice(&digest.as_ref()[..16]);
    uuid[6] = (uuid[6] & 0x0f) | 0x50;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    let hex = hex::encode(uuid);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The snapshot of `disk` that is made because of `event`: a letter, at most 63 of `[-a-z0-9]`, no dash at the end.
pub fn snapshot(event: &str, vm: u64, disk: &str) -> String {
    let hash = hex::encode(&Sha256::digest(format!("{event}\n{disk}").as_bytes())[..4]);
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let disk: String = disk.to_ascii_lowercase().chars().map(plain).take(28).collect();
    let disk = disk.trim_matches('-');
    format!("scc-{vm}-{disk}-{hash}").replace("--", "-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_id_is_a_uuid_of_its_event_and_step() {
        let id = request_id("p/1/late_boot/3/t", "stop");
        assert_eq!(id, request_id("p/1/late_boot/3/t", "stop"));
        assert_eq!((id.len(), &id[14..15]), (36, "5"));
        assert!("89ab".contains(&id[19..20]), "{id}");
        for (event, step) in [("p/1/late_boot/3/t", "suspend"), ("p/1/late_boot/4/t", "stop"), ("", "")] {
            assert_ne!(request_id(event, step), id);
        }
    }

    proptest! {
        #[test]
        fn a_snapshots_name_is_one_that_compute_engine_takes(event in ".*", vm: u64, disk in ".*") {
            let name = snapshot(&event, vm, &disk);
            let fits = regex::Regex::new("^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$").unwrap();
            prop_assert!(fits.is_match(&name), "{name}");
            prop_assert_eq!(name, snapshot(&event, vm, &disk));
        }
    }
}
