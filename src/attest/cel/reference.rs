//! The language as the documents show it: asked of the parts that read it, so that nothing is shown that is not there.

use super::functions::{Function, NAMES};

/// The macros, and what each says. The parser expands them.
pub const MACROS: [(&str, &str); 7] = [
    ("has(assertion.x)", "the member is there"),
    ("list.all(x, condition)", "every element passes; of a map, every key"),
    ("list.exists(x, condition)", "one element passes at least"),
    ("list.exists_one(x, condition)", "exactly one passes"),
    ("list.filter(x, condition)", "the elements that pass"),
    ("list.map(x, value)", "the value of each element"),
    ("list.map(x, condition, value)", "the value of each element that passes"),
];

/// The operators, those that bind tightest first.
pub const OPERATORS: [&str; 8] = [
    "a.b a[b]",
    "!a -a",
    "a * b, a / b, a % b",
    "a + b, a - b",
    "a == b, a != b, a < b, a <= b, a > b, a >= b, a in b",
    "a && b",
    "a || b",
    "a ? b : c",
];

/// Every function: how it may be called, and what it gives.
pub fn functions() -> Vec<(String, &'static str)> {
    NAMES.iter().filter_map(|name| Some((forms(name)?, meaning(name)))).collect()
}

/// Every way in which a name can be called; none for a macro's.
fn forms(name: &str) -> Option<String> {
    let ways = [false, true].into_iter().flat_map(|method| (0..=2).map(move |count| (method, count)));
    let known = ways.filter(|(method, count)| Function::find(name, *method, *count).is_some());
    let forms: Vec<String> = known.map(|(method, count)| form(name, method, count)).collect();
    (!forms.is_empty()).then(|| forms.join(", "))
}

fn form(name: &str, method: bool, count: usize) -> String {
    let letters = if method { ["a", "b"] } else { ["x", "a"] };
    let target = if method { "x." } else { "" };
    format!("{target}{name}({})", letters[..count].join(", "))
}

fn meaning(name: &str) -> &'static str {
    match name {
        "size" => "how many characters, bytes, elements or members",
        "contains" => "whether the text has the other anywhere in it",
        "startsWith" => "whether the text begins with the other",
        "endsWith" => "whether the text ends with the other",
        "matches" => "whether the pattern (RE2) is found anywhere in the text; `^` and `$` make it the whole text",
        "extract" => "what stands in the text where the template has `{name}`; an empty text when it does not fit",
        "int" => "a whole number of a number, a text or a time (seconds)",
        "uint" => "a whole number that is not negative",
        "double" => "a number with a fraction",
        "string" => "a text of a number, a time, true or false",
        "bytes" => "the bytes of a text in UTF-8",
        "bool" => "true or false of a text such as `'true'` or `'0'`",
        "dyn" => "the value itself",
        "type" => "the type, to compare with `int`, `string`, `list` and so on",
        "timestamp" => "the time of a text such as `'2026-01-31T00:00:00Z'`, or of seconds since 1970",
        "duration" => "the span of a text such as `'1h30m'`",
        "getFullYear" => "the year of a time; with a zone such as `'Europe/Berlin'` there, else in UTC",
        "getMonth" => "the month, 0 to 11",
        "getDate" => "the day of the month, 1 to 31",
        "getDayOfMonth" => "the day of the month, 0 to 30",
        "getDayOfWeek" => "the day of the week, 0 (Sunday) to 6",
        "getDayOfYear" => "the day of the year, 0 to 365",
        "getHours" => "the hour, 0 to 23; of a span, all its hours",
        "getMinutes" => "the minute, 0 to 59; of a span, all its minutes",
        "getSeconds" => "the second, 0 to 59; of a span, all its seconds",
        "getMilliseconds" => "the milliseconds, 0 to 999",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attest::cel::{Limits, compile_all};

    #[test]
    fn every_function_is_shown_with_its_meaning() {
        let shown = functions();
        assert_eq!(shown.len(), NAMES.len() - 1, "all but the macro has");
        assert!(shown.iter().all(|(_, meaning)| !meaning.is_empty()), "{shown:?}");
        let size = &shown.iter().find(|(forms, _)| forms.starts_with("size")).unwrap().0;
        assert_eq!(size, "size(x), x.size()");
    }

    #[test]
    fn what_is_shown_is_understood() {
        let forms: Vec<String> = functions().into_iter().flat_map(|(forms, _)| split(&forms)).collect();
        let macros = MACROS.iter().map(|(form, _)| (*form).to_owned());
        let operators = OPERATORS.iter().flat_map(|all| {
            if all.starts_with("a.b") || all.starts_with('!') {
                all.split(' ').map(str::to_owned).collect()
            } else {
                split(all)
            }
        });
        // Letters stand for claims.
        let word = regex::Regex::new(r"\b(list|condition|value|[abcx])\b").unwrap();
        for form in forms.into_iter().chain(operators) {
            let text = word.replace_all(&form, "assertion.$1").replace("assertion.a.assertion.b", "assertion.a.b");
            compile_all(vec![text.clone()], Limits::CONDITION)
                .remove(0)
                .unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        for form in macros {
            let text = form.replace("list", "assertion.l").replace("condition", "x > 1").replace("value", "x + 1");
            compile_all(vec![text.clone()], Limits::CONDITION)
                .remove(0)
                .unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    /// `f(a, b), g(a)` at the commas that stand between forms.
    fn split(forms: &str) -> Vec<String> {
        let mut depth = 0;
        let outside = |c: char| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            c == ',' && depth == 0
        };
        forms.split(outside).map(|form| form.trim().to_owned()).collect()
    }
}
