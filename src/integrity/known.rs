//! Values that can be recognised: registers never used, used only by the separator, and what PCR_0 says about the
//! firmware. Computed when first asked for; checked against recorded event logs in the tests.
//!
//! Extending and the separator: TCG PC Client Platform Firmware Profile,
//! <https://trustedcomputinggroup.org/resource/pc-client-specific-platform-firmware-profile-specification/>.
//! What Compute Engine's firmware measures into PCR_0: the event logs recorded in
//! <https://github.com/google/go-tpm-tools>, and `server/policy_constants.go` there for the names and the technologies.

use std::fmt;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use serde::Serialize;

use super::measurement::{Algorithm, Digest, Pcr, Slot};

/// The firmware generations in the table.
const FIRMWARES: std::ops::RangeInclusive<u8> = 1..=3;

/// The confidential computing technology a VM runs on, as the firmware measures it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Technology {
    /// None.
    #[serde(rename = "none")]
    None,
    /// AMD SEV.
    #[serde(rename = "AMD SEV")]
    Sev,
    /// AMD SEV-ES.
    #[serde(rename = "AMD SEV-ES")]
    SevEs,
    /// Intel TDX.
    #[serde(rename = "Intel TDX")]
    Tdx,
    /// AMD SEV-SNP.
    #[serde(rename = "AMD SEV-SNP")]
    SevSnp,
}

impl Technology {
    /// Every technology, in the order of the byte that the firmware measures.
    pub const ALL: [Self; 5] = [Self::None, Self::Sev, Self::SevEs, Self::Tdx, Self::SevSnp];

    /// Its name; "no confidential computing" for none.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no confidential computing",
            Self::Sev => "AMD SEV",
            Self::SevEs => "AMD SEV-ES",
            Self::Tdx => "Intel TDX",
            Self::SevSnp => "AMD SEV-SNP",
        }
    }
}

/// What a PCR_0 value says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Firmware {
    /// The generation of Google's virtual firmware.
    pub version: u8,
    /// The technology the VM runs on.
    pub technology: Technology,
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "firmware v{}, {}", self.version, self.technology.name())
    }
}

/// What is known about a value without looking anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Known {
    /// All zero: nothing was ever measured into the register.
    NeverExtended,
    /// Only the separator that ends the firmware's measurements.
    SeparatorOnly,
    /// PCR_0 of a known firmware.
    Firmware(Firmware),
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverExtended => f.write_str("never extended: nothing was measured"),
            Self::SeparatorOnly => f.write_str("separator only: nothing but the end mark was measured"),
            Self::Firmware(firmware) => firmware.fmt(f),
        }
    }
}

static FIRMWARE: LazyLock<Vec<(Algorithm, Digest, Firmware)>> = LazyLock::new(|| {
    let mut table = Vec::new();
    for algorithm in Algorithm::ALL {
        for version in FIRMWARES {
            for (code, technology) in (0_u8..).zip(Technology::ALL) {
                table.push((algorithm, pcr_0(algorithm, version, code), Firmware { version, technology }));
            }
        }
    }
    table
});

/// What is known about this value.
pub fn recognise(slot: Slot, value: &Digest) -> Option<Known> {
    if value.0.iter().all(|byte| *byte == 0) {
        return Some(Known::NeverExtended);
    }
    if *value == extend(slot.algorithm, &Digest(vec![0; slot.algorithm.bytes()]), &[0; 4]) {
        return Some(Known::SeparatorOnly);
    }
    if slot.pcr != Pcr::new(0)? {
        return None;
    }
    let same = |row: &&(Algorithm, Digest, Firmware)| row.0 == slot.algorithm && row.1 == *value;
    FIRMWARE.iter().find(same).map(|row| Known::Firmware(row.2))
}

/// Three extends: the firmware's version in UTF-16LE with its terminator, a 32-byte record that has the technology in
/// its 17th byte, and the separator.
fn pcr_0(algorithm: Algorithm, version: u8, technology: u8) -> Digest {
    let name = format!("GCE Virtual Firmware v{version}\0");
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut host = [0; 32];
    host[..16].copy_from_slice(b"GCE NonHostInfo\0");
    host[16] = technology;
    let start = Digest(vec![0; algorithm.bytes()]);
    [&name[..], &host, &[0; 4]].iter().fold(start, |register, event| extend(algorithm, &register, event))
}

/// `H(register || H(event))`.
fn extend(algorithm: Algorithm, register: &Digest, event: &[u8]) -> Digest {
    let kind = match algorithm {
        Algorithm::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::Sha256 => &digest::SHA256,
        Algorithm::Sha384 => &digest::SHA384,
    };
    let mut context = digest::Context::new(kind);
    context.update(&register.0);
    context.update(digest::digest(kind, event).as_ref());
    Digest(context.finish().as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of recorded event logs and of their replay.
    const ROWS: [(u8, Technology, &str, &str); 10] = [
        (
            1,
            Technology::None,
            "Dy06KhrapHmu7Kj133aq3EG4Yuo=",
            "24af52a4f429b71a3184a6d64cddad17e54ea030e2aa6576bf3a5a3d8bd3328f",
        ),
        (
            1,
            Technology::Sev,
            "wDLDtR27b5awR0IVEv1LTf3klvM=",
            "0f35c214608d93c7a6e68ae7359b4a8be5a0e99eea9107ece427c4dea4e439cf",
        ),
        (
            1,
            Technology::SevEs,
            "7UezX95M75ZOWoN1qMcLbdT0VAk=",
            "52449c18e0074376e39dab6d2fef9e5c42aa9fbeca14e0e5ad6b58fc54316f55",
        ),
        (
            1,
            Technology::Tdx,
            "TqsYlpP4ost2NozBZh1r5tzRkT4=",
            "8bb11faf0ca490cdf944cf37a10aefebe37c235630542ddd14d22088e933de8a",
        ),
        (
            1,
            Technology::SevSnp,
            "vQuyHHFHM0/7tmuyVh5YZTyfDsA=",
            "eadffa42b8bfc1e7154202876c588e7a53f39f620d946fbb09a36b4365d46ab9",
        ),
        (
            2,
            Technology::None,
            "0KUbR/mg3+8bwW0xjQtbxWh/1gI=",
            "d0c70a9310cd0b55767084333022ce53f42befbb69c059ee6c0a32766f160783",
        ),
        (
            2,
            Technology::Sev,
            "KqtY4j6lEg1wo+vOVr0ObV4wNbc=",
            "a0b5ff3383a1116bd7dc6df177c0c2d433b9ee1813ea958fa5d166a202cb2a85",
        ),
        (
            2,
            Technology::SevEs,
            "Z6wS0ZwYE4qN1UdqMX1DESbGMFI=",
            "e26062f05fe819a16111273597662f87e0abfdae22fcb5ec4843b01bf225ce75",
        ),
        (
            2,
            Technology::Tdx,
            "Kn6IGZOiEwTEc0I+XWOlNoyZvS0=",
            "0cca9ec161b09288802e5a112255d21340ed5b797f5fe29cecccfd8f67b9f802",
        ),
        (
            2,
            Technology::SevSnp,
            "gSTwnwacfS2az1zk6rkopxA6C7I=",
            "50597a27846e91d025eef597abbc89f72bff9af849094db97b0684d8bc4c515e",
        ),
    ];

    fn slot(pcr: u8, algorithm: Algorithm) -> Slot {
        Slot { pcr: Pcr::new(pcr).unwrap(), algorithm }
    }

    #[test]
    fn pcr_0_names_the_firmware_and_the_technology() {
        for (version, technology, sha1, sha256) in ROWS {
            assert_eq!(pcr_0(Algorithm::Sha1, version, technology as u8).base64(), sha1);
            let known = Some(Known::Firmware(Firmware { version, technology }));
            assert_eq!(recognise(slot(0, Algorithm::Sha256), &Digest(hex::decode(sha256).unwrap())), known);
            assert_eq!(
                recognise(slot(0, Algorithm::Sha384), &pcr_0(Algorithm::Sha384, version, technology as u8)),
                known
            );
            assert_eq!(recognise(slot(4, Algorithm::Sha256), &Digest(hex::decode(sha256).unwrap())), None);
        }
    }

    #[test]
    fn unused_registers_are_recognised() {
        for algorithm in Algorithm::ALL {
            let zero = Digest(vec![0; algorithm.bytes()]);
            assert_eq!(recognise(slot(9, algorithm), &zero), Some(Known::NeverExtended));
            assert_eq!(recognise(slot(2, algorithm), &extend(algorithm, &zero, &[0; 4])), Some(Known::SeparatorOnly));
        }
        let zero = Digest(vec![0; 20]);
        assert_eq!(extend(Algorithm::Sha1, &zero, &[0; 4]).base64(), "sqg7Dr8vg3Qpmlsr38MeqVWtcjY=");
        assert_eq!(recognise(slot(0, Algorithm::Sha1), &Digest(vec![7; 20])), None);
    }
}
