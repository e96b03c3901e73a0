//! Command lines as sensors tell them: the program, then its arguments, joined by spaces. Only those of Windows keep
//! the quotes around what has spaces in it.

/// The program and what comes after it.
pub(crate) fn split(line: &str) -> (&str, &str) {
    let line = line.trim();
    let quoted = line.strip_prefix('"').and_then(|rest| rest.split_once('"'));
    let (program, rest) = quoted.or_else(|| line.split_once(char::is_whitespace)).unwrap_or((line, ""));
    (program, rest.trim_start())
}

/// The last part of a program's path.
pub(crate) fn base_name(program: &str) -> &str {
    let after_slash = program.rsplit('/').next().unwrap_or(program);
    if is_windows_path(program) { program.rsplit(['\\', '/']).next().unwrap_or(program) } else { after_slash }
}

/// Whether a path is complete, as Linux or as Windows spells it.
pub(crate) fn is_path(path: &str) -> bool {
    path.starts_with('/') || is_windows_path(path)
}

/// `C:\…` or `\\server\…`.
pub(crate) fn is_windows_path(path: &str) -> bool {
    let drive = |path: &[u8]| matches!(path, [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    path.starts_with(r"\\") || drive(path.as_bytes())
}

/// The arguments of a line, in which Windows quotes what has spaces in it.
pub(crate) fn words(line: &str, is_windows: bool) -> Vec<&str> {
    if !is_windows {
        return line.split_whitespace().collect();
    }
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let mut quoted = false;
        let end = rest.find(|c: char| {
            quoted ^= c == '"';
            c.is_whitespace() && !quoted
        });
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        let bare = word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).filter(|word| !word.contains('"'));
        words.push(bare.unwrap_or(word));
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_in_quotes_is_one_word() {
        assert_eq!(split(r#""C:\Program Files\a b\cmd.exe" /c dir"#), (r"C:\Program Files\a b\cmd.exe", "/c dir"));
        assert_eq!(split("bash -c 'ls -l'"), ("bash", "-c 'ls -l'"));
        assert_eq!(split(" bash "), ("bash", ""));
        assert_eq!(split(r#""open"#), (r#""open"#, ""));
        assert_eq!(split(""), ("", ""));
    }

    #[test]
    fn the_last_part_of_a_path_is_the_program() {
        assert_eq!(base_name(r"C:\Windows\System32\cmd.exe"), "cmd.exe");
        assert_eq!(base_name("/usr/bin/a\\b"), "a\\b");
        assert_eq!(base_name("bash"), "bash");
        assert!(is_path(r"c:/x") && is_path("/x") && !is_path("x") && !is_path("c:") && !is_path("10.0.0.1:80"));
    }

    #[test]
    fn windows_keeps_quotes_around_what_has_spaces() {
        let line = r#"/c "dir /s" a"b c"d "e"#;
        assert_eq!(words(line, true), ["/c", "dir /s", r#"a"b c"d"#, r#""e"#]);
        assert_eq!(words(r#"-c "ls -l""#, false), ["-c", "\"ls", "-l\""]);
    }
}
