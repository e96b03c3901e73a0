//! Why a term is an error though every claim it names is there, and what to write instead.

use serde_json::Value as Json;

use super::spoken::spoken;
use super::wish::Wish;
use crate::attest::cel::node::{Literal, Loop, Node, Operator};
use crate::attest::cel::{EvalError, Value, pattern_problem};

/// What the language calls a timestamp.
const TIME: &str = "google.protobuf.Timestamp";
/// What it calls a duration.
const SPAN: &str = "google.protobuf.Duration";

/// What is said of the part of a term that fails, if anything can be.
pub(super) fn fault(term: &Node, wish: &mut Wish<'_, '_>) -> Option<String> {
    let node = failing(term, wish)?;
    match node {
        Node::Call { function, arguments } => called(function.name(), arguments, wish),
        Node::Pattern { subject, .. } => searched("matches", subject, wish),
        Node::Binary { operator, operands } => operated(*operator, operands, wish),
        Node::Not(operand) => undecided(operand, wish),
        Node::Conditional(parts) => undecided(&parts[0], wish),
        Node::And(parts) | Node::Or(parts) => parts.iter().find_map(|part| undecided(part, wish)),
        Node::Negate(operand) => Some(format!("only a number has a negative: {}", is(operand, wish)?)),
        Node::Index { operand, index } => indexed(operand, index, wish),
        Node::Select { operand, field } => Some(format!("{}: it has no part {field}", is(operand, wish)?)),
        Node::Has { operand, .. } => Some(format!("has() looks into maps: {}", is(operand, wish)?)),
        Node::Loop(l) => looped(l, wish),
        _ => None,
    }
}

/// The innermost part that has no value though its own parts have one.
fn failing<'n>(node: &'n Node, wish: &mut Wish<'_, '_>) -> Option<&'n Node> {
    if !fails(node, wish) {
        return None;
    }
    let mut node = node;
    loop {
        let parts = match node {
            // Only one of the two was looked at.
            Node::Conditional(parts) => match wish.truth(&parts[0]) {
                Some(true) => vec![&parts[1]],
                Some(false) => vec![&parts[2]],
                None => vec![&parts[0]],
            },
            Node::Loop(l) => vec![&l.range],
            _ => node.children(),
        };
        match parts.into_iter().find(|part| fails(part, wish)) {
            Some(part) => node = part,
            None => return Some(node),
        }
    }
}

fn fails(part: &Node, wish: &mut Wish<'_, '_>) -> bool {
    match part.evaluate_alone(wish.scope, wish.budget) {
        Some(Err(error)) => !matches!(error, EvalError::Budget(_)),
        _ => false,
    }
}

/// "assertion.swname is a text".
fn is(node: &Node, wish: &mut Wish<'_, '_>) -> Option<String> {
    let kind = kind(node, wish)?;
    Some(format!("{} is {}", wish.subject(node), words(kind)))
}

fn kind(node: &Node, wish: &mut Wish<'_, '_>) -> Option<&'static str> {
    Some(node.evaluate_alone(wish.scope, wish.budget)?.ok()?.kind())
}

fn words(kind: &str) -> &str {
    match kind {
        "string" => "a text",
        "int" => "a whole number (int)",
        "uint" => "a whole number (uint)",
        "double" => "a number (double)",
        "bool" => "true or false (bool)",
        "null_type" => "null",
        "bytes" => "bytes",
        "list" => "a list",
        "map" => "a map",
        TIME => "a timestamp",
        SPAN => "a duration",
        other => other,
    }
}

/// What a conversion reads from a text.
fn readable(function: &str) -> Option<&'static str> {
    Some(match function {
        "int" => "a whole number such as \"42\"",
        "uint" => "a whole number from 0 on such as \"42\"",
        "double" => "a number such as \"1.5\"",
        "bool" => "\"true\" or \"false\"",
        "timestamp" => "a time such as \"2026-01-31T12:00:00Z\"",
        "duration" => "a duration such as \"1h30m\" or \"3600s\"",
        _ => return None,
    })
}

fn called(function: &str, arguments: &[Node], wish: &mut Wish<'_, '_>) -> Option<String> {
    let (first, rest) = arguments.split_first()?;
    let kind = kind(first, wish)?;
    match (function, rest) {
        ("matches", [Node::Literal(Literal::Text(source))]) if kind == "string" => {
            pattern_problem(source).map(|problem| format!("mend the pattern {source:?}: it {problem}"))
        }
        ("matches", [pattern]) if kind == "string" => {
            Some(format!("write a pattern into the condition: what {} holds is none", spoken(pattern)))
        }
        ("extract", [_]) if kind == "string" => {
            Some("write exactly one {name} into the template, where the wanted part stands".to_owned())
        }
        ("contains", [_]) if kind == "list" && element(first, wish) == Some("map") => Some(format!(
            "{}: ask for a part of its elements, as {}.exists(x, x.NAME == ...)",
            is(first, wish)?,
            spoken(first)
        )),
        ("contains", [part]) if kind == "list" => {
            Some(format!("{}: write {} in {}", is(first, wish)?, spoken(part), spoken(first)))
        }
        ("contains" | "startsWith" | "endsWith" | "matches" | "extract", [part]) => {
            let wrong = if kind == "string" { part } else { first };
            searched(function, wrong, wish)
        }
        (function, []) if kind == "string" && readable(function).is_some() => {
            let wanted = readable(function)?;
            let told = wish.subject(first);
            Some(format!("{function}() reads {wanted}, and {}, a text, is none", told.trim_end_matches(',')))
        }
        ("string", []) if kind == "bytes" => Some("string() reads bytes that are UTF-8, and these are not".to_owned()),
        (function @ ("int" | "uint"), []) if ["int", "uint", "double"].contains(&kind) => {
            Some(format!("{} is too large or too small for {function}()", wish.subject(first)))
        }
        ("size", []) => Some(format!("size() counts what texts, bytes, lists and maps hold: {}", is(first, wish)?)),
        (part, [zone]) if part.starts_with("get") && kind == TIME => {
            Some(format!("{} is no time zone: write one such as \"Europe/Berlin\" or \"+02:00\"", spoken(zone)))
        }
        (part, _) if part.starts_with("get") => {
            let how = if kind == "string" { format!(": write timestamp({})", spoken(first)) } else { String::new() };
            Some(format!("{part}() is asked of a timestamp or duration, and {}{how}", is(first, wish)?))
        }
        (function, []) if kind == "list" => Some(format!(
            "{function}() does not take a whole list: {}: write {function}({}[0])",
            is(first, wish)?,
            spoken(first)
        )),
        (function, []) => Some(format!("{function}() does not take what it is given here: {}", is(first, wish)?)),
        _ => None,
    }
}

fn searched(function: &str, wrong: &Node, wish: &mut Wish<'_, '_>) -> Option<String> {
    let kind = kind(wrong, wish)?;
    let number = ["int", "uint", "double", "bool"].contains(&kind);
    let how = match kind {
        _ if number => format!(": write string({})", spoken(wrong)),
        "list" => format!(": ask one of its elements, as {}.exists(x, x.{function}(...))", spoken(wrong)),
        _ => String::new(),
    };
    Some(format!("{function}() works on texts, and {}{how}", is(wrong, wish)?))
}

fn operated(operator: Operator, operands: &[Node; 2], wish: &mut Wish<'_, '_>) -> Option<String> {
    let [left, right] = operands;
    let kinds = (kind(left, wish)?, kind(right, wish)?);
    let number = |kind: &str| ["int", "uint", "double"].contains(&kind);
    if operator == Operator::In {
        return Some(format!("in looks into lists and maps: {}", is(right, wish)?));
    }
    if kinds.0 == kinds.1 {
        let zero = matches!(operator, Operator::Divide | Operator::Modulo)
            && matches!(right.evaluate_alone(wish.scope, wish.budget), Some(Ok(Value::Int(0) | Value::Uint(0))));
        return Some(match kinds.0 {
            _ if zero => format!("{} is 0: ask first that it is not", wish.subject(right)),
            kind if number(kind) => format!("the result is beyond what {} can be", words(kind)),
            TIME | SPAN => "the result is beyond what a timestamp or duration can be".to_owned(),
            kind => format!("there is no {} of two values that are each {}", sign(operator), words(kind)),
        });
    }
    let together = format!("{}, and {}", is(left, wish)?, is(right, wish)?);
    let remedy = match kinds {
        ("string", kind) if number(kind) => text_and_number(left, right, kind),
        (kind, "string") if number(kind) => text_and_number(right, left, kind),
        ("string", TIME) => format!(": write timestamp({})", spoken(left)),
        ("string", SPAN) => format!(": write duration({})", spoken(left)),
        (TIME, "string") => format!(": write timestamp({})", spoken(right)),
        (SPAN, "string") => format!(": write duration({})", spoken(right)),
        ("int", TIME) => format!(": write timestamp({})", spoken(left)),
        (TIME, "int") => format!(": write timestamp({})", spoken(right)),
        (one, other) if number(one) && number(other) => format!(": write {one}({})", spoken(right)),
        ("list", other) => an_element(left, other, wish),
        (other, "list") => an_element(right, other, wish),
        _ => String::new(),
    };
    Some(format!("{} needs two of one kind: {together}{remedy}", sign(operator)))
}

/// The kind of a list's first element.
fn element(list: &Node, wish: &mut Wish<'_, '_>) -> Option<&'static str> {
    match list.evaluate_alone(wish.scope, wish.budget)?.ok()? {
        Value::List(list) => Some(list.at(0)?.kind()),
        _ => None,
    }
}

/// What to write instead of a list that is compared with something of another kind.
fn an_element(list: &Node, other: &str, wish: &mut Wish<'_, '_>) -> String {
    let first = format!("{}[0]", spoken(list));
    match (element(list, wish), other) {
        (Some("string"), number @ ("int" | "uint" | "double")) => format!(": write {number}({first})"),
        (Some("string"), TIME) => format!(": write timestamp({first})"),
        _ => format!(": compare one of its elements, as {first}"),
    }
}

fn text_and_number(text: &Node, number: &Node, kind: &str) -> String {
    if let Node::Literal(Literal::Text(digits)) = text
        && digits.parse::<f64>().is_ok()
    {
        return format!(": leave out the quotes of {digits:?}");
    }
    let quoted = match number {
        Node::Literal(_) => format!("put quotes around {}", spoken(number)),
        other => format!("write string({})", spoken(other)),
    };
    format!(": write {kind}({}) if the text is a number, else {quoted}", spoken(text))
}

fn sign(operator: Operator) -> &'static str {
    super::spoken::sign(operator).trim()
}

/// Something that should be true or false, and is neither.
pub(super) fn undecided(node: &Node, wish: &mut Wish<'_, '_>) -> Option<String> {
    if kind(node, wish)? == "bool" {
        return None;
    }
    Some(format!("{}, neither true nor false: compare it with something", is(node, wish)?))
}

fn indexed(operand: &Node, index: &Node, wish: &mut Wish<'_, '_>) -> Option<String> {
    match kind(operand, wish)? {
        "list" if ["int", "uint"].contains(&kind(index, wish)?) => {
            let list = spoken(operand);
            Some(format!("{list} is shorter: guard it with size({list}) > {}", spoken(index)))
        }
        "list" => Some(format!("an element of a list is asked for by its number: {}", is(index, wish)?)),
        "map" => Some(format!("guard it with {} in {}", spoken(index), spoken(operand))),
        _ => Some(format!("{}: it has no elements", is(operand, wish)?)),
    }
}

fn looped(l: &Loop, wish: &mut Wish<'_, '_>) -> Option<String> {
    let first = match l.range.evaluate_alone(wish.scope, wish.budget)?.ok()? {
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => return Some(format!("a macro goes through a list or a map: {}", is(&l.range, wish)?)),
    };
    let part = l.condition.as_ref().or(l.transform.as_ref())?;
    let of = l.range.path().and_then(|path| Some((path.clone(), path.resolve(wish.scope.root(path.variable))?)));
    let example = of.and_then(|(path, value)| match value {
        Json::Array(items) => Some((path, words_of(items.first()?))),
        _ => None,
    });
    let elements = example.map_or(String::new(), |(path, words)| format!(": the first of {path} is {words}"));
    (first > 0).then(|| format!("{} has no value for some of the elements{elements}", spoken(part)))
}

fn words_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "true or false (bool)",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::attest::policy::{Condition, Mapped};

    fn hints(condition: &str) -> Vec<String> {
        let claims = json!({
            "s": "GCE", "n": 3, "b": true, "l": ["x"], "t": "2024-03-13T05:06:07Z", "m": {"a": 1}, "p": "(",
            "o": [{"a": 1}],
        });
        let explained = Condition::compile(condition).unwrap().explain(&claims, &Mapped::default());
        explained.terms.into_iter().flat_map(|term| term.hints).collect()
    }

    #[test]
    fn an_error_of_kinds_conversions_and_patterns_is_told_with_its_remedy() {
        for (condition, hint) in [
            ("int(assertion.s) == 1", "int() reads a whole number such as \"42\", and assertion.s, a text, is none"),
            (
                "1 == int(assertion.t.extract('T{x}'))",
                "int() reads a whole number such as \"42\", and assertion.t.extract(\"T{x}\"), now \"05:06:07Z\", a text, \
                 is none",
            ),
            ("bool(assertion.s)", "bool() reads \"true\" or \"false\", and assertion.s, a text, is none"),
            (
                "duration(assertion.s) < duration('1h')",
                "duration() reads a duration such as \"1h30m\" or \"3600s\", and assertion.s, a text, is none",
            ),
            (
                "timestamp(assertion.s) > timestamp(0)",
                "timestamp() reads a time such as \"2026-01-31T12:00:00Z\", and assertion.s, a text, is none",
            ),
            (
                "timestamp(assertion.l) > timestamp(0)",
                "timestamp() does not take a whole list: assertion.l is a list: write timestamp(assertion.l[0])",
            ),
            (
                "assertion.s < 5",
                "< needs two of one kind: assertion.s is a text, and 5 is a whole number (int): write int(assertion.s) if \
                 the text is a number, else put quotes around 5",
            ),
            (
                "assertion.s + 1 == 5",
                "+ needs two of one kind: assertion.s is a text, and 1 is a whole number (int): write int(assertion.s) if \
                 the text is a number, else put quotes around 1",
            ),
            (
                "assertion.t > timestamp(0)",
                "> needs two of one kind: assertion.t is a text, and timestamp(0) is a timestamp: write timestamp(assertion.t)",
            ),
            (
                "assertion.b < 1",
                "< needs two of one kind: assertion.b is true or false (bool), and 1 is a whole number (int)",
            ),
            ("1 / (assertion.n - 3) == 1", "assertion.n - 3, now 0, is 0: ask first that it is not"),
            ("assertion.s.matches('(')", "mend the pattern \"(\": it cannot be read: unclosed group"),
            (
                "assertion.s.matches('^(?=x)')",
                "mend the pattern \"^(?=x)\": it cannot be read: look-around, including look-ahead and look-behind, is not \
                 supported",
            ),
            ("'x'.matches(assertion.p)", "write a pattern into the condition: what assertion.p holds is none"),
            (
                "assertion.n.startsWith('3')",
                "startsWith() works on texts, and assertion.n is a whole number (int): write string(assertion.n)",
            ),
            ("assertion.l.contains('x')", "assertion.l is a list: write \"x\" in assertion.l"),
            ("'x' in assertion.s", "in looks into lists and maps: assertion.s is a text"),
            (
                "size(assertion.n) == 1",
                "size() counts what texts, bytes, lists and maps hold: assertion.n is a whole number (int)",
            ),
            ("!assertion.s", "assertion.s is a text, neither true nor false: compare it with something"),
            (
                "assertion.n ? true : false",
                "assertion.n is a whole number (int), neither true nor false: compare it with something",
            ),
            (
                "assertion.b ? assertion.s < 5 : int(assertion.s) == 1",
                "< needs two of one kind: assertion.s is a text, and 5 is a whole number (int): write int(assertion.s) if the text is a number, else put quotes around 5",
            ),
            (
                "assertion.t.getHours() == 5",
                "getHours() is asked of a timestamp or duration, and assertion.t is a text: write timestamp(assertion.t)",
            ),
            (
                "timestamp(assertion.t).getHours('Nowhere') == 5",
                "\"Nowhere\" is no time zone: write one such as \"Europe/Berlin\" or \"+02:00\"",
            ),
            ("assertion.s.exists(x, x == 'G')", "a macro goes through a list or a map: assertion.s is a text"),
            (
                "assertion.l.all(x, x > 5)",
                "x > 5 has no value for some of the elements: the first of assertion.l is a text",
            ),
            (
                "assertion.l[assertion.n] == 'x'",
                "assertion.l is shorter: guard it with size(assertion.l) > assertion.n",
            ),
            ("assertion.m[assertion.s] == 1", "guard it with assertion.s in assertion.m"),
            (
                "assertion.s.extract('x') == ''",
                "write exactly one {name} into the template, where the wanted part stands",
            ),
        ] {
            assert_eq!(hints(condition), [hint], "{condition}");
        }
    }

    #[test]
    fn a_list_or_a_quoted_number_is_told_how_to_compare_it() {
        for (condition, hint) in [
            (
                "assertion.n > '2'",
                "> needs two of one kind: assertion.n is a whole number (int), and \"2\" is a text: leave out the quotes of \"2\"",
            ),
            (
                "int(assertion.l) == 1",
                "int() does not take a whole list: assertion.l is a list: write int(assertion.l[0])",
            ),
            (
                "assertion.l >= 1",
                ">= needs two of one kind: assertion.l is a list, and 1 is a whole number (int): write int(assertion.l[0])",
            ),
            (
                "assertion.o.contains('x')",
                "assertion.o is a list: ask for a part of its elements, as assertion.o.exists(x, x.NAME == ...)",
            ),
        ] {
            assert_eq!(hints(condition), [hint], "{condition}");
        }
    }
}
