//! Names put into commands that a person will paste into a shell. They come from events: never trust them.

/// One word of a POSIX shell command line that means exactly this text, or `None` when no honest name looks like it:
/// empty, longer than 253 bytes, not printable ASCII, or starting with a dash (it would be taken for an option).
pub fn word(text: &str) -> Option<String> {
    let honest = !text.is_empty()
        && text.len() <= 253
        && !text.starts_with('-')
        && text.bytes().all(|b| matches!(b, b' '..=b'~'));
    honest.then(|| quote(text))
}

fn quote(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b':' | b'@' | b'+' | b',' | b'-');
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn hostile_names_are_inert() {
        assert_eq!(word("web-7984c4d898-rfrwl").as_deref(), Some("web-7984c4d898-rfrwl"));
        assert_eq!(word("$(rm -rf ~)").as_deref(), Some("'$(rm -rf ~)'"));
        assert_eq!(word("it's; `id`").as_deref(), Some(r"'it'\''s; `id`'"));
        assert_eq!(word("~root").as_deref(), Some("'~root'"));
        for refused in ["", "--all", "-n", "a\nb", "pöd"] {
            assert_eq!(word(refused), None, "{refused:?}");
        }
    }
}
