//! From text to a checked tree. The parser runs on a thread of its own with a large stack and a time limit, because
//! its recursion follows the text; the tree it makes is turned into ours and dropped there too.

use super::checker::Checker;
use super::node::Expression;
use super::pattern::Literals;
use super::stack::on_large_stack;
use super::text;

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
    #[error("syntax error at column {column}: {message}")]
    Syntax {
        /// Where, from 1.
        column: usize,
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

/// Parses and checks several, each for itself, in one go.
pub fn compile_all(sources: Vec<String>, limits: Limits) -> Vec<Result<Expression, Refusal>> {
    let count = sources.len();
    let work = move || -> Vec<Result<Expression, Refusal>> {
        let mut patterns = Literals::default();
        let mut one =
            |source: &String| text::check(source, &limits).and_then(|()| parse(source, &limits, &mut patterns));
        sources.iter().map(&mut one).collect()
    };
    on_large_stack(work).unwrap_or_else(|| (0..count).map(|_| Err(Refusal::TimedOut)).collect())
}

fn parse(source: &str, limits: &Limits, patterns: &mut Literals) -> Result<Expression, Refusal> {
    let parser = cel::parser::Parser::new().enable_ident_escape_syntax(true).max_recursion_depth(250);
    let (tree, info) = parser.parse_with_source_info(source).map_err(|errors| {
        let first = errors.errors.first();
        let column = first.map_or(1, |error| column(source, error.pos));
        let message = first.map_or_else(String::new, |error| error.msg.clone());
        if message.to_ascii_lowercase().contains("recursion limit") {
            return Refusal::TooDeep { limit: limits.depth };
        }
        Refusal::Syntax {
            column,
            message: message.trim().trim_start_matches("Syntax error: ").chars().take(200).collect(),
        }
    })?;
    let mut checker = Checker::new(limits, &info, patterns);
    let root = checker.node(&tree, 0)?;
    Ok(Expression { source: source.to_owned(), root, slots: checker.slots() })
}

/// A place by line and column as one column of the whole text, in characters from 1.
fn column(source: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let before: usize = source.split_inclusive('\n').take(line - 1).map(|line| line.chars().count()).sum();
    before + usize::try_from(column).unwrap_or(1).max(1)
}
