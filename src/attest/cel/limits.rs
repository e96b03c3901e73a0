//! How large an expression may be, and why one is refused.

/// The bounds of one expression.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Characters of its text: 4096 for a condition, 2048 for a mapping.
    pub characters: usize,
    /// Brackets within brackets.
    pub brackets: usize,
    /// Nodes within nodes.
    pub depth: usize,
    /// Nodes in all.
    pub nodes: usize,
    /// Macros within macros.
    pub nested_macros: usize,
    /// Macros in all.
    pub macros: usize,
}

impl Limits {
    /// For a condition.
    pub const CONDITION: Self =
        Self { characters: 4096, brackets: 48, depth: 100, nodes: 2000, nested_macros: 4, macros: 16 };
    /// For the expression of an attribute mapping.
    pub const MAPPING: Self = Self { characters: 2048, ..Self::CONDITION };
}

/// A place in an expression. The line is only told of an expression that has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    line: Option<usize>,
    /// The character in it, from 1.
    column: usize,
}

impl Place {
    /// By the number of bytes before it.
    pub(super) fn after(source: &str, bytes: usize) -> Self {
        let before = &source[..source.floor_char_boundary(bytes)];
        let begun = before.rsplit('\n').next().unwrap_or_default();
        let several = source.trim_end().contains('\n');
        Self { line: several.then(|| before.matches('\n').count() + 1), column: begun.chars().count() + 1 }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}, ")?;
        }
        write!(f, "column {}", self.column)
    }
}

/// Why an expression is refused before anything is evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing in it. For a provider it would mean that every valid token passes.
    #[error(
        "the condition is empty, which would let every valid token pass; if that is meant, write true, and allow_everything: true beside it in a policy"
    )]
    Empty,
    /// Longer than allowed.
    #[error("the expression has {length} characters; the limit is {limit}")]
    TooLong {
        /// Its characters.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Nested too deeply.
    #[error("the expression is nested deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// Too many nodes or macros.
    #[error("the expression has more than {limit} {what}")]
    TooLarge {
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Not the language.
    #[error("syntax error at {place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// A name that is neither a variable nor a function.
    #[error("{0}")]
    Undeclared(String),
    /// It took too long, or too many are being parsed.
    #[error("the expression could not be parsed in time")]
    TimedOut,
}
