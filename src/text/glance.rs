//! What a text may hold, at a glance: most texts of an event need no closer look.

use super::secrets::forms::OF_SMALL_LETTERS;

/// May begin a control character that is no line break and no tab, or one that turns the direction of text. 0xc2 begins the
/// two-byte spelling of the former above ASCII, 0xe2 the three bytes of the latter.
const CONTROL: u8 = 1;
/// Stands between the name of a secret and its value, or begins a list of arguments.
const BETWEEN: u8 = 2;
/// Tokens are of mixed case, names of objects are not; those that begin as tokens are taken for some.
const CAPITAL: u8 = 4;

/// JSON writes it as two.
const ESCAPED: u8 = 8;

/// The shortest of the tokens that are known by their own form.
const SHORTEST_TOKEN: usize = 24;

/// What is told of each byte.
static TOLD: [u8; 256] = {
    let mut told = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        told[byte] = match byte as u8 {
            b'\n' | b'\t' | b'"' | b'\\' => ESCAPED,
            0x00..0x20 | 0x7f | 0xc2 | 0xe2 => CONTROL,
            b' ' | b'=' | b':' | b'[' => BETWEEN,
            b'A'..=b'Z' => CAPITAL,
            _ => 0,
        };
        byte += 1;
    }
    told
};

/// One look at every byte of a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glance {
    found: u8,
    long: bool,
}

impl Glance {
    /// Looks at the text.
    pub(crate) fn at(text: &str) -> Self {
        let found = text.bytes().fold(0, |found, byte| found | TOLD[usize::from(byte)]);
        let long = text.len() >= SHORTEST_TOKEN;
        let token =
            long && found & CAPITAL == 0 && OF_SMALL_LETTERS.iter().any(|beginning| text.starts_with(beginning));
        Self { found: if token { found | CAPITAL } else { found }, long }
    }

    /// Whether something that steers what shows it may be in it.
    pub(crate) fn may_hold_control(self) -> bool {
        self.found & CONTROL != 0
    }

    /// Whether JSON writes some of it as two characters.
    pub(crate) fn holds_escaped(self) -> bool {
        self.found & ESCAPED != 0
    }

    /// Whether a secret may be in it.
    pub(crate) fn may_hold_secret(self) -> bool {
        self.found & BETWEEN != 0 || (self.long && self.found & CAPITAL != 0)
    }
}
