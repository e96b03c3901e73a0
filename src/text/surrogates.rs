//! Half a surrogate in JSON: `"x\ud800y"` is valid JSON, yet no character, so the JSON reader refuses it. Python writes it for
//! bytes that are not UTF-8 (`surrogateescape`), JavaScript for a text that was cut within an emoji.

use serde::de::DeserializeOwned;

/// What stands for half a surrogate; as long as what it replaces, so that everything else stays where it was.
const REPLACEMENT: &str = "\\ufffd";

/// How long an escape like that is, in bytes.
const ESCAPE: usize = REPLACEMENT.len();

/// The JSON text with the replacement character for each half surrogate; `None` when there is none in it.
pub(crate) fn mended(json: &str) -> Option<String> {
    let (mut mended, mut taken, mut at) = (String::new(), 0, 0);
    while let Some(found) = json[at..].find('\\') {
        let here = at + found;
        match unit(&json[here..]) {
            Some(0xD800..=0xDBFF) if matches!(unit(&json[here + ESCAPE..]), Some(0xDC00..=0xDFFF)) => {
                at = here + 2 * ESCAPE;
            }
            Some(0xD800..=0xDFFF) => {
                mended.push_str(&json[taken..here]);
                mended.push_str(REPLACEMENT);
                at = here + ESCAPE;
                taken = at;
            }
            // Another escape, most of all that of a backslash: what follows is no escape.
            _ => at = here + 1 + json[here + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    (taken > 0).then(|| mended + &json[taken..])
}

/// A JSON text read; where it is refused for half a surrogate, without that.
///
/// # Errors
/// When it cannot be read for another reason.
pub(crate) fn read<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    serde_json::from_str(json).or_else(|error| match mended(json) {
        Some(mended) => serde_json::from_str(&mended),
        None => Err(error),
    })
}

/// The UTF-16 unit with whose escape a text begins.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    // The number's own reader would take a sign, too.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    #[test]
    fn only_half_a_surrogate_is_replaced() {
        for (json, expected) in [
            (r#""x\ud800y""#, Some(r#""x\ufffdy""#)),
            (r#""\uDCFF""#, Some(r#""\ufffd""#)),
            (r#""\ud83d\n\ude00""#, Some(r#""\ufffd\n\ufffd""#)),
            (r#""\ud83d\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
            (r#""\ude00\ud83d""#, Some(r#""\ufffd\ufffd""#)),
            (r#"{"\udfff": "\\\ud800"}"#, Some(r#"{"\ufffd": "\\\ufffd"}"#)),
            (r#""\ud83d\ude00 \u00e4 \\ud800 \\\\udfff ud800""#, None),
            (r#""\ud8+0 \ud8 \ü \u"#, None),
            ("\\", None),
        ] {
            assert_eq!(mended(json).as_deref(), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn what_is_mended_reads_like_utf_16_with_the_replacement_character(
            units in prop::collection::vec(prop_oneof![any::<u16>(), 0xD7FF_u16..0xE001], 0..12),
        ) {
            let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            prop_assert_eq!(read::<String>(&format!("\"{escapes}\"")).unwrap(), String::from_utf16_lossy(&units));
        }

        #[test]
        fn what_is_mended_reads_or_was_refused_for_another_reason(
            parts in prop::collection::vec(
                prop::sample::select(vec!["\\", "\\\\", "u", "\\u", "d8", "00", "\\ud83d", "\\uDE00", "\\n", "ä", "\"", "+"]),
                0..12,
            ),
        ) {
            let json = format!("\"{}\"", parts.concat());
            if serde_json::from_str::<IgnoredAny>(&json).is_ok() {
                prop_assert!(read::<String>(&json).is_ok(), "{json}");
            }
            prop_assert!(mended(&json).is_none_or(|mended| mended.len() == json.len()));
        }
    }
}
