//! Taking log entries out of what they come in: a Pub/Sub push, a pull's answer, `gcloud logging read --format=json`,
//! an answer of `entries:list`, or one entry a line.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use crate::text::surrogates;

/// With padding or without: what cannot be decoded is kept as it came, and could not be searched for tokens.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// One log entry's JSON, or why there is none, with the text it was in.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A JSON value that should be a log entry.
    Entry(Value),
    /// A message without data: attributes only.
    NoData,
    /// Something that is no JSON or no base64.
    Unreadable {
        /// What is wrong.
        reason: String,
        /// What it is about, as it came.
        body: Vec<u8>,
    },
}

/// Every entry in a file or on standard input, in order.
pub fn entries(bytes: &[u8]) -> Vec<Item> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    if bytes.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    while let Some(value) = values.next() {
        match value {
            Ok(value) => unpack(value, &mut found),
            Err(error) => {
                let rest = &bytes[values.byte_offset().min(bytes.len())..];
                found.push(Item::Unreadable { reason: format!("it is not JSON: {error}"), body: rest.to_owned() });
                break;
            }
        }
    }
    found
}

/// The entry inside one Pub/Sub message (`{"data": …, "attributes": …}`).
pub fn message(message: &Value) -> Item {
    let data = match message.get("data") {
        None | Some(Value::Null) => return Item::NoData,
        Some(Value::String(data)) if data.is_empty() => return Item::NoData,
        Some(Value::String(data)) => data,
        Some(_) => {
            return Item::Unreadable { reason: "message.data is not text".into(), body: message.to_string().into() };
        }
    };
    let decoded = STANDARD.decode(data).or_else(|_| URL_SAFE.decode(data));
    match decoded {
        Ok(bytes) => data_of(&bytes),
        Err(_) => Item::Unreadable { reason: "message.data is not base64".into(), body: message.to_string().into() },
    }
}

/// The entry that a message's decoded data is.
pub fn data_of(bytes: &[u8]) -> Item {
    if bytes.is_empty() {
        return Item::NoData;
    }
    match read(bytes) {
        Ok(value) => Item::Entry(value),
        Err(error) => {
            Item::Unreadable { reason: format!("the message's data is not JSON: {error}"), body: bytes.to_owned() }
        }
    }
}

fn read(bytes: &[u8]) -> serde_json::Result<Value> {
    std::str::from_utf8(bytes).map_or_else(|_| serde_json::from_slice(bytes), surrogates::read)
}

/// Whether this is a push in its wrapper.
pub fn is_wrapped(json: &Value) -> bool {
    json.get("message").is_some_and(Value::is_object)
        && (json.get("subscription").is_some() || json["message"].get("data").is_some())
}

fn unpack(value: Value, found: &mut Vec<Item>) {
    match value {
        Value::Array(items) => items.into_iter().for_each(|item| unpack(item, found)),
        value if value.get("message").is_some_and(Value::is_object) => found.push(message(&value["message"])),
        value if value.get("receivedMessages").is_some_and(Value::is_array) => {
            unpack(value["receivedMessages"].clone(), found);
        }
        value if value.get("entries").is_some_and(Value::is_array) => unpack(value["entries"].clone(), found),
        value => found.push(Item::Entry(value)),
    }
}
