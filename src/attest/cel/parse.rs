//! From text to a checked tree. The parser runs on a thread of its own with a large stack and a time limit, because
//! its recursion follows the text; the tree it makes is turned into ours and dropped there too.

use super::checker::Checker;
use super::limits::{Limits, Place, Refusal};
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
        let place = place(source, first.map_or((1, 1), |error| error.pos));
        let message = first.map_or_else(String::new, |error| error.msg.clone());
        if message.to_ascii_lowercase().contains("recursion limit") {
            return Refusal::TooDeep { limit: limits.depth };
        }
        Refusal::Syntax { place, message: in_words(message.trim().trim_start_matches("Syntax error: ")) }
    })?;
    let mut checker = Checker::new(source, limits, &info, patterns);
    let root = checker.node(&tree, 0)?;
    Ok(Expression { source: source.to_owned(), root, slots: checker.slots() })
}

/// The parser counts lines and their characters from 1.
fn place(source: &str, (line, column): (isize, isize)) -> Place {
    let from_zero = |number| usize::try_from(number).unwrap_or(1).max(1) - 1;
    let begun: usize = source.split_inclusive('\n').take(from_zero(line)).map(str::len).sum();
    let within: usize = source[begun..].chars().take(from_zero(column)).map(char::len_utf8).sum();
    Place::after(source, begun + within)
}

/// The parser's sentence, or a plainer one for what people write most.
fn in_words(said: &str) -> String {
    match said.strip_prefix("token recognition error at: '") {
        Some(rest) if rest.starts_with('=') => "a single = is no operator: write ==".to_owned(),
        Some(rest) if rest.starts_with(['\'', '"']) => {
            "a text begins here that does not end: its quote is missing".to_owned()
        }
        _ => said.chars().take(200).collect(),
    }
}
