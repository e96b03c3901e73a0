//! The filter language of list and group: `state="ACTIVE" AND (severity="HIGH" OR severity="CRITICAL")`.
//!
//! `OR` binds tighter than `AND`; `-` or `NOT` negates; `=` is exact, `:` is contained in, `< > <= >=` compare numbers
//! and times; `contains(list, predicate)` asks whether one item of a list fits. Times are RFC 3339 text or
//! milliseconds since 1970.

mod eval;
mod field;
mod lex;
mod parse;

pub(crate) use eval::{SortKey, Subject, holds, sort_key, values};
pub(crate) use field::{Field, Step};

use super::schema::Kind;

/// A filter that has been read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    /// The empty filter.
    All,
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Test(Test),
    /// One item of the list fits.
    Contains(Field, Box<Expr>),
}

/// `field op value`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Test {
    pub(crate) field: Field,
    pub(crate) op: Op,
    pub(crate) value: Literal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Equal,
    Has,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Text(String),
    Number(f64),
    Bool(bool),
    /// Nanoseconds since 1970, for members that are times.
    Time(i128),
}

/// A filter that cannot be read: where (in characters, from 1) and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid filter at character {at}: {why}")]
pub(crate) struct FilterError {
    pub(crate) at: usize,
    pub(crate) why: String,
}

/// Reads a filter.
pub(crate) fn read(text: &str) -> Result<Expr, FilterError> {
    parse::read(text)
}

/// Reads the name of a member, as `orderBy` and `groupBy` give it.
pub(crate) fn field(name: &str) -> Result<Field, String> {
    let steps: Vec<String> = name.split('.').map(str::to_owned).collect();
    Field::find(&steps, None)
}

impl Op {
    /// Whether the operator makes sense for members of that kind.
    fn fits(self, kind: &Kind) -> bool {
        match self {
            Self::Equal | Self::Has => true,
            _ => matches!(kind, Kind::Time | Kind::Int32 | Kind::Int64 | Kind::Double | Kind::Any),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn finding() -> Value {
        json!({
            "name": "organizations/1/sources/2/locations/global/findings/f1",
            "state": "ACTIVE", "severity": "HIGH", "category": "Terminal shell", "mute": "UNDEFINED",
            "eventTime": "2026-11-20T10:00:00.500Z",
            "securityMarks": {"marks": {"ack": "true"}},
            "sourceProperties": {"rule_type": "SYSCALL", "count": 7, "deep": {"x": "y"}},
            "processes": [{"name": "bash", "pid": "4711", "args": ["-i"]}, {"name": "sshd", "pid": "1"}],
            "indicator": {"ipAddresses": ["10.0.0.1", "10.0.0.2"]},
            "kernelRootkit": {"unexpectedCodeModification": true},
            "resource": {"name": "//x/y", "gcpMetadata": {"folders": [{"resourceFolder": "//f/1"}]}}
        })
    }

    fn matches(filter: &str) -> bool {
        holds(&read(filter).unwrap(), &finding())
    }

    #[test]
    fn filters_that_hold() {
        let table = [
            "",
            r#"state="ACTIVE""#,
            r#"state = "ACTIVE" AND severity="HIGH""#,
            r#"severity="LOW" OR severity="HIGH" AND state="ACTIVE""#,
            r#"state="INACTIVE" OR state="ACTIVE" AND severity="HIGH" OR severity="LOW""#,
            r#"-state="INACTIVE""#,
            r#"NOT state="INACTIVE""#,
            r#"NOT (state="INACTIVE" OR severity="LOW")"#,
            r#"NOT security_marks.marks.NACK="true" AND NOT mute="MUTED" AND state="ACTIVE""#,
            r#"securityMarks.marks.ack : "tru""#,
            r#"category : "shell""#,
            r#"event_time > "2026-11-20T11:00:00+02:00""#,
            r#"event_time >= 1763632800000"#,
            r#"eventTime < "2027-01-01T00:00:00Z""#,
            r#"name : "f1""#,
            r#"name="organizations/1/sources/2/locations/global/findings/f1""#,
            r#"contains(processes, name="bash" AND pid=4711)"#,
            r#"contains(processes, args : "-i")"#,
            r#"contains(indicator.ip_addresses, "10.0.0.2")"#,
            r#"contains(indicator.ip_addresses, elem : "10.0")"#,
            r#"-contains(processes, name="zsh")"#,
            r#"source_properties.rule_type="SYSCALL""#,
            r#"source_properties.count > 6"#,
            r#"source_properties.deep.x="y""#,
            r#"kernel_rootkit.unexpected_code_modification=true"#,
            r#"resource.folders.resource_folder : "f/1""#,
            r#"resource.name="//x/y""#,
            r#"external_uri="""#,
            r#"parent : "sources/2""#,
        ];
        for filter in table {
            assert!(matches(filter), "{filter}");
        }
    }

    #[test]
    fn filters_that_do_not_hold() {
        let table = [
            r#"state="active""#,
            r#"name : "f""#,
            r#"severity="LOW" OR severity="MEDIUM" AND state="ACTIVE""#,
            r#"contains(processes, name="bash" AND pid=1)"#,
            r#"source_properties.nothing="x""#,
            r#"event_time = "2026-11-20T10:00:00Z""#,
        ];
        for filter in table {
            assert!(!matches(filter), "{filter}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        let table = [
            (r#"state="ACTIVE" severity="LOW""#, 16),
            (r#"state=ACTIVE"#, 7),
            (r#"nonsense="x""#, 1),
            (r#"state > "A""#, 7),
            (r#"event_time > "yesterday""#, 14),
            (r#"(state="ACTIVE""#, 16),
            (r#"state="ACTIVE"#, 7),
            (r#"state="#, 7),
            (r#"contains(state, "x")"#, 10),
            (r#"state="A" and state="B""#, 11),
            (r#"processes.nope="x""#, 1),
            ("#", 1),
        ];
        for (filter, at) in table {
            let error = read(filter).unwrap_err();
            assert_eq!(error.at, at, "{filter}: {error}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        assert!(read(&format!("{}state=\"A\"{}", "(".repeat(20), ")".repeat(20))).is_ok());
        for deep in ["(", "-", "NOT ", "contains(processes,"] {
            assert!(read(&deep.repeat(5000)).is_err());
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in any::<String>()) {
            if let Ok(expr) = read(&text) {
                holds(&expr, &finding());
            }
        }

        #[test]
        fn nothing_made_of_its_own_words_makes_it_panic(
            words in proptest::collection::vec(prop_oneof![
                Just("state"), Just("="), Just(":"), Just("<="), Just("\"A\""), Just("("), Just(")"), Just("AND"),
                Just("OR"), Just("NOT"), Just("-"), Just("contains"), Just(","), Just("processes"), Just("pid"),
                Just("7"), Just("true"), Just("event_time"), Just("source_properties.a"), Just(" "), Just("'é"),
            ], 0..30)
        ) {
            if let Ok(expr) = read(&words.join(" ")) {
                holds(&expr, &finding());
            }
        }

        #[test]
        fn a_filter_and_its_negation_never_agree(name in "[a-z_]{1,10}", value in "[a-zA-Z ]{0,10}") {
            let filter = format!("source_properties.{name}={value:?}");
            let plain = holds(&read(&filter).unwrap(), &finding());
            let negated = holds(&read(&format!("NOT {filter}")).unwrap(), &finding());
            prop_assert_ne!(plain, negated);
        }
    }
}
