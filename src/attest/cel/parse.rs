//! From text to a checked tree. The parser runs on a thread of its own with a large stack and a time limit, because
//! its recursion follows the text; the tree it makes is turned into ours and dropped there too.

use super::checker::Checker;
use super::limits::{Limits, Refusal};
use super::node::Expression;
use super::pattern::Literals;
use super::stack::on_large_stack;
use super::text;

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
