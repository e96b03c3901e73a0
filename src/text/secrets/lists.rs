//! Secrets in lists and pairs that are written as JSON, of whatever text they are a part and however often they were
//! quoted: `["mysql","-pSECRET"]`, `{"name":"DB_PASSWORD","value":"SECRET"}`.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::values::{VALUE, closing, hide as hide_values};
use super::{HIDDEN, names, pattern, redact_list};

/// A name before its value, as the environments of containers have them.
static NAME_FIRST: LazyLock<Regex> = LazyLock::new(|| {
    let name = r#"\\*"[a-z]*(?:name|key)\\*"\s*:\s*\\*"([^"\\]{1,256})\\*"\s*,\s*"#;
    let between = r#"(?:\\*"\w+\\*"\s*:\s*(?:\\*"[^"\\]*\\*"|[\w.-]+)\s*,\s*){0,2}"#;
    pattern(&format!(r#"(?i){name}{between}\\*"[a-z]*value\\*"\s*:\s*(\\*"|[\w.-]+)"#))
});

/// A value before its name.
static VALUE_FIRST: LazyLock<Regex> = LazyLock::new(|| {
    let value = r#"\\*"[a-z]*value\\*"\s*:\s*\\*"([^"\\]+)\\*""#;
    pattern(&format!(r#"(?i){value}\s*,\s*\\*"[a-z]*(?:name|key)\\*"\s*:\s*\\*"([^"\\]{{1,256}})\\*""#))
});

/// Escapes are undone so many times; who quotes more often hides something else.
const DEEPEST: usize = 4;

/// The text without them.
pub(super) fn hide(text: &str) -> Cow<'_, str> {
    let text = of_arguments(text, None);
    if text.contains("alue") { of_pairs(text) } else { text }
}

/// Lists of texts: each is one command line, behind the program, where one is told beside it.
pub(super) fn of_arguments<'t>(text: &'t str, program: Option<&str>) -> Cow<'t, str> {
    let (mut shown, mut done, mut at) = (String::new(), 0, 0);
    while let Some(found) = text[at..].find('[') {
        let start = at + found + 1;
        let list = List::read(text, start);
        at = list.end.max(start);
        let Some(escapes) = list.escapes.filter(|_| list.items.len() + program.iter().len() >= 2) else { continue };
        let first = program.map(Cow::Borrowed).into_iter();
        let items = list.items.iter().map(|item| unescaped(&text[item.clone()], escapes));
        let items: Vec<_> = first.chain(items).collect();
        let told = items.iter().zip(redact_list(&items)).skip(program.iter().len());
        for (place, (item, told)) in list.items.iter().zip(told) {
            if *item != told {
                shown.extend([&text[done..place.start], &escaped(&told, escapes)]);
                done = place.end;
            }
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[done..]);
    Cow::Owned(shown)
}

/// The texts of a list, as far as it is one, and what stands between them without quotes: numbers, `true`, `null`.
struct List {
    items: Vec<Range<usize>>,
    /// How many backslashes stand before each quote; nothing, where there is none.
    escapes: Option<usize>,
    end: usize,
}

impl List {
    /// The list that begins behind its bracket. Of one that was cut off, the last text ends with the text it is in.
    fn read(text: &str, start: usize) -> Self {
        let behind = |at: usize, of: fn(char) -> bool| text.len() - text[at..].trim_start_matches(of).len();
        let blanks = |at: usize| behind(at, char::is_whitespace);
        let mut at = blanks(start);
        let mut list = Self { items: Vec::new(), escapes: None, end: at };
        loop {
            let opening = behind(at, |c| c == '\\');
            if text[opening..].starts_with('"') {
                let escapes = *list.escapes.get_or_insert(opening - at);
                if escapes != opening - at {
                    break;
                }
                let end = closing(text, opening + 1, escapes);
                list.items.push(opening + 1..end.unwrap_or(text.len()));
                let Some(end) = end.filter(|end| text[end + escapes..].starts_with('"')) else {
                    list.end = end.unwrap_or(text.len());
                    return list;
                };
                list.end = end + escapes + 1;
            } else {
                list.end = behind(at, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-'));
                if list.end == at {
                    break;
                }
                list.items.push(at..list.end);
            }
            at = blanks(list.end);
            let Some(next) = text[at..].strip_prefix(',') else { break };
            at = blanks(text.len() - next.len());
        }
        list
    }
}

/// How many times a text was quoted whose quotes have so many backslashes: 0, 1, 3, 7 and so on.
fn times(escapes: usize) -> usize {
    let mut times = 1;
    while (1_usize << times) - 1 <= escapes && times < DEEPEST {
        times += 1;
    }
    times
}

/// A text of JSON without its escapes; what has wrong ones, as it is.
fn unescaped(text: &str, escapes: usize) -> Cow<'_, str> {
    let mut plain = Cow::Borrowed(text);
    for _ in 0..times(escapes) {
        if plain.contains('\\') {
            let Ok(once) = serde_json::from_str::<String>(&format!("\"{plain}\"")) else { return plain };
            plain = Cow::Owned(once);
        }
    }
    plain
}

fn escaped(text: &str, escapes: usize) -> String {
    (0..times(escapes)).fold(text.to_owned(), |text, _| {
        let quoted = serde_json::Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    })
}

/// A value, behind its name or before it, as the shorthand of AWS's command line has them.
static SHORTHAND: LazyLock<Regex> = LazyLock::new(|| {
    let name = r#"[A-Za-z]*(?:[Nn]ame|[Kk]ey)=[^\s,"'=]{1,256},(?:[A-Za-z]+=[^\s,"']*,){0,2}"#;
    pattern(&format!(r#"((?:^|[\s"'{{\[(,])(?:{name})?(?:Parameter)?[Vv]alue=)({VALUE})"#))
});

/// The name, as far as it is told.
static SHORT_NAME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"^[\s"'{\[(,]*[A-Za-z]*(?:[Nn]ame|[Kk]ey)=([^\s,"'=}\])]{1,256})"#));

/// The text without the secrets in such pairs: `ParameterKey=DbPassword,ParameterValue=SECRET`.
pub(super) fn hide_shorthand(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains("alue=") {
        return text;
    }
    hide_values(text, &SHORTHAND, |found| {
        let name = [found.told, found.behind].into_iter().find_map(|text| SHORT_NAME.captures(text));
        name.is_some_and(|name| names::tells_secret(&name[1]))
    })
}

/// Values beside a name that says that they are secret.
fn of_pairs(text: Cow<'_, str>) -> Cow<'_, str> {
    let name_first = |text: &str| {
        let places = NAME_FIRST.captures_iter(text).filter_map(|found| {
            let (name, value) = (found.get(1)?, found.get(2)?);
            let place = match value.as_str().strip_suffix('"') {
                Some(escapes) => value.end()..closing(text, value.end(), escapes.len()).unwrap_or(text.len()),
                None => value.range(),
            };
            (names::tells_secret(name.as_str()) && !place.is_empty()).then_some(place)
        });
        without(text, places)
    };
    let value_first = |text: &str| {
        let places = VALUE_FIRST.captures_iter(text).filter_map(|found| {
            let (value, name) = (found.get(1)?, found.get(2)?);
            names::tells_secret(name.as_str()).then_some(value.range())
        });
        without(text, places)
    };
    let text = name_first(&text).map_or(text, Cow::Owned);
    value_first(&text).map_or(text, Cow::Owned)
}

/// The text without what stands in these places, if there are any.
fn without(text: &str, places: impl Iterator<Item = Range<usize>>) -> Option<String> {
    let (mut shown, mut done) = (String::new(), 0);
    for place in places {
        if place.start >= done {
            shown.extend([&text[done..place.start], HIDDEN]);
            done = place.end;
        }
    }
    (done > 0).then(|| shown + &text[done..])
}

#[cfg(test)]
mod tests {
    use crate::text::secrets::{redact, redact_arguments};

    #[test]
    fn harmless_lists_and_pairs_stay() {
        for text in [
            r#"{"methods":["basic","bearer","negotiate"]}"#,
            r#"{"name":"max-token","value":"5"}"#,
            r#"{"name":"app.kubernetes.io/secret","value":"x"}"#,
        ] {
            assert_eq!(redact(text), text);
        }
        let header = r#"["curl","-H","Authorization:","Bearer","Hunter2"]"#;
        assert!(!redact(header).contains("Hunter2"));
    }

    #[test]
    fn a_long_program_tells_no_more_than_a_short_one() {
        let long = format!(r#"["{}","--token","Hunter2"]"#, "a".repeat(30_000));
        assert!(redact(&long).ends_with(r#"a","--token","[redacted]"]"#));
        let many = format!(r#"["{}",{}"--token"]"#, "a".repeat(8_000), r#""a","#.repeat(4_000));
        assert_eq!(redact(&many), many);
    }

    #[test]
    fn lists_are_command_lines_however_often_they_were_quoted() {
        for (list, expected) in [
            (r#"["mysql","-uroot","-phunter2"]"#, r#"["mysql","-uroot","-p[redacted]"]"#),
            (r#"["app", "--token", "hunter2"]"#, r#"["app", "--token", "[redacted]"]"#),
            (r#"["curl","-u","bob:hunter2"]"#, r#"["curl","-u","bob:[redacted]"]"#),
            (r#"["curl","-su","bob:hunter2"]"#, r#"["curl","-su","bob:[redacted]"]"#),
            (r#"["sshpass","-p","hunter2"]"#, r#"["sshpass","-p","[redacted]"]"#),
            (r#"["curl","-b","session=hunter2"]"#, r#"["curl","-b","[redacted]"]"#),
            (r#"["rar","a","-hphunter2"]"#, r#"["rar","a","-hp[redacted]"]"#),
            (r#"["redis-cli","-a","hunter2"]"#, r#"["redis-cli","-a","[redacted]"]"#),
            (r#"["app","--token","hun\"ter\\2","x"]"#, r#"["app","--token","[redacted]","x"]"#),
            (r#"["a","DB_PASSWORD=hunter2","b"]"#, r#"["a","DB_PASSWORD=[redacted]","b"]"#),
            (r#"["net","use","\\\\h\\s","hunter2"]"#, r#"["net","use","\\\\h\\s","[redacted]"]"#),
            (r#"["ls","-p","a"]"#, r#"["ls","-p","a"]"#),
            (r#"["app","--port",8080,"--token","hunter2"]"#, r#"["app","--port",8080,"--token","[redacted]"]"#),
            (r#"["app",null,true,"--password","h2"]"#, r#"["app",null,true,"--password","[redacted]"]"#),
            (r#"["app","--password",-1.5e3,"x"]"#, r#"["app","--password",[redacted],"x"]"#),
            (r#"[1,2,"a"]"#, r#"[1,2,"a"]"#),
        ] {
            assert_eq!(redact(list), expected);
            assert_eq!(redact(expected), expected, "twice");
            let quoted = |text: &str| serde_json::Value::from(text).to_string();
            let within = |list: &str| format!(r#"x {{"a":{{"args":{list}}},"b":"c"}} (user=root)"#);
            assert_eq!(redact(&within(list)), within(expected));
            assert_eq!(redact(&within(&quoted(list))), within(&quoted(expected)));
            assert_eq!(redact(&within(&quoted(&quoted(list)))), within(&quoted(&quoted(expected))));
        }
        assert_eq!(redact_arguments("mysql", r#"["-uroot","-phunter2"]"#), r#"["-uroot","-p[redacted]"]"#);
        assert_eq!(redact(r#"["app","--token","hunt"#), r#"["app","--token","[redacted]"#, "cut off");
    }

    #[test]
    fn values_beside_the_names_of_secrets_are_left_out() {
        for (text, expected) in [
            (r#"{"name":"DB_PASSWORD","value":"hunter2"}"#, r#"{"name":"DB_PASSWORD","value":"[redacted]"}"#),
            (r#"{"value":"hunter2","name":"DB_PASS"}"#, r#"{"value":"[redacted]","name":"DB_PASS"}"#),
            (r#"{"Key": "api_token", "Value": "hun\"ter2"}"#, r#"{"Key": "api_token", "Value": "[redacted]"}"#),
            (r#"{\"name\":\"JWT_KEY\",\"value\":\"hunter2\"}"#, r#"{\"name\":\"JWT_KEY\",\"value\":\"[redacted]\"}"#),
            (
                r#"{"parameterKey":"DbPassword","parameterValue":"h2"}"#,
                r#"{"parameterKey":"DbPassword","parameterValue":"[redacted]"}"#,
            ),
            (
                r#"{"name":"db/password","type":"SecureString","value":"h2"}"#,
                r#"{"name":"db/password","type":"SecureString","value":"[redacted]"}"#,
            ),
            (r#"{"name":"DB_PASSWORD","value":12345}"#, r#"{"name":"DB_PASSWORD","value":[redacted]}"#),
            (r#"{"name":"DB_PASSWORD","value":"hunt"#, r#"{"name":"DB_PASSWORD","value":"[redacted]"#),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "twice");
        }
        let change = "aws cloudformation deploy --parameters ParameterKey=Size,ParameterValue=9";
        for (pair, expected) in [
            ("ParameterKey=DbPassword,ParameterValue=hunter2", "ParameterKey=DbPassword,ParameterValue=[redacted]"),
            ("ParameterKey=DbPassword,ParameterValue='h 2'", "ParameterKey=DbPassword,ParameterValue='[redacted]'"),
            ("ParameterValue=hunter2,ParameterKey=DbPassword", "ParameterValue=[redacted],ParameterKey=DbPassword"),
            (
                "ParameterKey=ApiToken,UsePreviousValue=false,ParameterValue=h2",
                "ParameterKey=ApiToken,UsePreviousValue=false,ParameterValue=[redacted]",
            ),
            ("environment=[{name=DB_PASSWORD,value=h2}]", "environment=[{name=DB_PASSWORD,value=[redacted]"),
            ("ParameterKey=PasswordAge,ParameterValue=9", "ParameterKey=PasswordAge,ParameterValue=9"),
            ("ParameterKey=DbPassword,UsePreviousValue=true", "ParameterKey=DbPassword,UsePreviousValue=true"),
        ] {
            assert_eq!(redact(&format!("{change} {pair} x")), format!("{change} {expected} x"));
            assert_eq!(redact(&format!(r#"["aws","{pair}","x"]"#)), format!(r#"["aws","{expected}","x"]"#));
        }
        for text in [
            r#"{"name":"LOG_LEVEL","value":"password"}"#,
            r#"{"name":"DB_PASSWORD","value":""}"#,
            r#"{"name":"DB_PASSWORD","valueFrom":{"secretKeyRef":{"name":"db","key":"password"}}}"#,
            r#"{"name":"PWD","value":"/app"}"#,
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
