//! Measurements as maps: one digest per register and hash algorithm.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::text;

/// Standard base64; padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A platform configuration register of the virtual TPM, 0 to 23.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Pcr(u8);

impl Pcr {
    /// The register of this number.
    pub fn new(number: u8) -> Option<Self> {
        (number <= 23).then_some(Self(number))
    }

    /// `PCR_4`; also `4`, `pcr4`, `PCR-4`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = match text.get(..3) {
            Some(prefix) if prefix.eq_ignore_ascii_case("pcr") => text[3..].trim_start_matches(['_', '-', ' ']),
            _ => text,
        };
        let plain = !digits.is_empty() && digits.len() <= 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if plain { Self::new(digits.parse().ok()?) } else { None }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Pcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PCR_{}", self.0)
    }
}

impl From<Pcr> for String {
    fn from(pcr: Pcr) -> Self {
        pcr.to_string()
    }
}

impl TryFrom<String> for Pcr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no register; write PCR_0 to PCR_23"))
    }
}

/// A hash algorithm of the virtual TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// 20 bytes.
    #[serde(rename = "SHA1")]
    Sha1,
    /// 32 bytes.
    #[serde(rename = "SHA256")]
    Sha256,
    /// 48 bytes.
    #[serde(rename = "SHA384")]
    Sha384,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha384];

    /// `SHA1`, in any case, with or without a separator.
    pub fn parse(text: &str) -> Option<Self> {
        let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(&plain))
    }

    /// The name as the log writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
        }
    }

    /// The digest's length in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The value of a register: raw bytes, shown as base64 (as the log does) or hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub Vec<u8>);

impl Digest {
    /// Standard base64 with padding.
    pub fn base64(&self) -> String {
        BASE64.encode(&self.0)
    }

    /// Lower-case hex.
    pub fn hex(&self) -> String {
        hex::encode(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

/// What identifies one value: the register and the bank it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The register.
    pub pcr: Pcr,
    /// The bank.
    pub algorithm: Algorithm,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pcr, self.algorithm)
    }
}

/// One element as the log has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Element {
    /// The bank.
    pub hash_algo: Algorithm,
    /// The register.
    pub pcr_num: Pcr,
    /// Standard base64.
    pub value: String,
}

impl Element {
    /// Reads one element; the error names the member that is wrong.
    pub fn parse(json: &Value) -> Result<(Slot, Digest), String> {
        let number = Self::number(json);
        let pcr = Pcr::parse(&number).ok_or_else(|| format!("pcrNum {} is no register", quoted(&number)))?;
        let value = json.get("value").and_then(Value::as_str).ok_or("value is missing")?;
        let bytes = BASE64.decode(value.trim()).map_err(|_| format!("the value of {pcr} is not base64"))?;
        let algorithm = match json.get("hashAlgo").or_else(|| json.get("hash_algo")).and_then(Value::as_str) {
            Some(name) => {
                Algorithm::parse(name).ok_or_else(|| format!("hashAlgo {} of {pcr} is not known", quoted(name)))?
            }
            // Left out, the length still tells it.
            None => Algorithm::ALL
                .into_iter()
                .find(|algorithm| algorithm.bytes() == bytes.len())
                .ok_or_else(|| format!("hashAlgo of {pcr} is missing"))?,
        };
        if bytes.len() != algorithm.bytes() {
            return Err(format!(
                "the value of {pcr} has {} bytes where {algorithm} has {}",
                bytes.len(),
                algorithm.bytes()
            ));
        }
        Ok((Slot { pcr, algorithm }, Digest(bytes)))
    }

    fn number(json: &Value) -> String {
        let number = json.get("pcrNum").or_else(|| json.get("pcr_num")).unwrap_or(&Value::Null);
        number.as_u64().map_or_else(|| number.as_str().unwrap_or_default().to_owned(), |n| n.to_string())
    }
}

/// What stands where something else should, for a sentence: anybody may have put anything there, tokens too.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", text::ellipsis(&text::shown(text), 40))
}

/// Registers that stand in a report with values that cannot be read. In its list nothing can be said of them: they are
/// not missing there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Garbled {
    /// In the policy.
    pub policy: BTreeSet<Pcr>,
    /// In what was measured.
    pub actual: BTreeSet<Pcr>,
}

impl Garbled {
    /// Whether all values can be read.
    pub fn is_empty(&self) -> bool {
        self.policy.is_empty() && self.actual.is_empty()
    }
}

/// Values by register and bank.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<Element>", try_from = "Vec<Element>")]
pub struct Measurements(pub BTreeMap<Slot, Digest>);

impl Measurements {
    /// Reads a list of elements. What cannot be read is told, with `name` and its place, and left out; the registers it
    /// is about come last.
    pub fn parse(name: &str, json: &Value) -> (Self, Vec<String>, BTreeSet<Pcr>) {
        let mut found = Self::default();
        let (mut wrong, mut garbled) = (Vec::new(), BTreeSet::new());
        match json {
            Value::Null => {}
            Value::Array(elements) => {
                for (place, element) in elements.iter().enumerate() {
                    match Element::parse(element) {
                        Ok((slot, digest)) => match found.0.get(&slot) {
                            Some(other) if *other != digest => {
                                wrong.push(format!("{name}[{place}]: {slot} stands there twice with different values"));
                            }
                            _ => {
                                found.0.insert(slot, digest);
                            }
                        },
                        Err(reason) => {
                            wrong.push(format!("{name}[{place}]: {reason}"));
                            garbled.extend(Pcr::parse(&Element::number(element)));
                        }
                    }
                }
            }
            _ => wrong.push(format!("{name} is not a list")),
        }
        (found, wrong, garbled)
    }

    /// Nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values as the log has them.
    pub fn elements(&self) -> Vec<Element> {
        self.clone().into()
    }
}

impl From<Measurements> for Vec<Element> {
    fn from(measurements: Measurements) -> Self {
        let element = |(slot, digest): (Slot, Digest)| Element {
            hash_algo: slot.algorithm,
            pcr_num: slot.pcr,
            value: digest.base64(),
        };
        measurements.0.into_iter().map(element).collect()
    }
}

impl TryFrom<Vec<Element>> for Measurements {
    type Error = String;

    fn try_from(elements: Vec<Element>) -> Result<Self, String> {
        let read = |element: &Element| {
            let json = serde_json::to_value(element).map_err(|error| error.to_string())?;
            Element::parse(&json)
        };
        Ok(Self(elements.iter().map(read).collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_register_in_the_spellings_people_use() {
        for (text, number) in [
            ("PCR_4", Some(4)),
            ("4", Some(4)),
            ("pcr14", Some(14)),
            ("PCR-0", Some(0)),
            ("PCR_24", None),
            ("", None),
            ("PCR_", None),
            ("PCR_4x", None),
        ] {
            assert_eq!(Pcr::parse(text).map(Pcr::number), number, "{text}");
        }
    }

    #[test]
    fn an_element_says_what_is_wrong_with_it() {
        let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        for (json, wrong) in [
            (json!({"pcrNum": "PCR_4", "value": zero, "hashAlgo": "sha-1"}), None),
            (json!({"pcrNum": 4, "value": zero.trim_end_matches('='), "hashAlgo": "SHA1"}), None),
            (json!({"pcrNum": "PCR_4", "value": zero}), None),
            (json!({"pcrNum": "PCR_4", "value": "%", "hashAlgo": "SHA1"}), Some("the value of PCR_4 is not base64")),
            (
                json!({"pcrNum": "PCR_4", "value": zero, "hashAlgo": "SHA256"}),
                Some("the value of PCR_4 has 20 bytes where SHA256 has 32"),
            ),
            (
                json!({"pcrNum": "PCR_4", "value": zero, "hashAlgo": "MD5"}),
                Some("hashAlgo \"MD5\" of PCR_4 is not known"),
            ),
            (
                json!({"pcrNum": "PCR_4", "value": zero, "hashAlgo": "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"}),
                Some("hashAlgo \"Bearer [redacted]\" of PCR_4 is not known"),
            ),
            (
                json!({"pcrNum": "PCR_4", "value": zero, "hashAlgo": "x".repeat(99)}),
                Some(&*format!("hashAlgo \"{}…\" of PCR_4 is not known", "x".repeat(37))),
            ),
            (json!({"pcrNum": "PCR_99", "value": zero}), Some("pcrNum \"99\" is no register")),
            (json!({"pcrNum": "PCR_1"}), Some("value is missing")),
            (json!(7), Some("pcrNum \"\" is no register")),
        ] {
            let found = Element::parse(&json).err();
            if json["pcrNum"] == "PCR_99" {
                assert!(found.unwrap().contains("PCR_99"));
            } else {
                assert_eq!(found.as_deref(), wrong, "{json}");
            }
        }
    }

    #[test]
    fn banks_are_apart_and_a_contradiction_is_told() {
        let (one, other) = ("AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "sqg7Dr8vg3Qpmlsr38MeqVWtcjY=");
        let long = Digest(vec![0; 32]).base64();
        let list = json!([{"pcrNum": "PCR_4", "value": one, "hashAlgo": "SHA1"}, {"pcrNum": "PCR_4", "value": long, "hashAlgo": "SHA256"},
            {"pcrNum": "PCR_4", "value": one, "hashAlgo": "sha1"}, {"pcrNum": "PCR_4", "value": other, "hashAlgo": "SHA1"}]);
        let (found, wrong, _) = Measurements::parse("actualMeasurements", &list);
        assert_eq!(found.0.len(), 2);
        assert_eq!(wrong, ["actualMeasurements[3]: PCR_4 (SHA1) stands there twice with different values"]);
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Measurements>(&text).unwrap(), found);
    }
}
