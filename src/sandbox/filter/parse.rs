//! Words to expression. OR binds tighter than AND.

use chrono::DateTime;

use super::super::schema::Kind;
use super::lex::{Placed, Token, tokens};
use super::{Expr, Field, FilterError, Literal, Op, Test};

/// Parentheses, negations and `contains` inside one another.
const MOST_NESTED: usize = 50;
/// Characters of a filter.
const LONGEST: usize = 32 * 1024;

pub(super) fn read(text: &str) -> Result<Expr, FilterError> {
    if text.len() > LONGEST {
        return Err(FilterError { at: LONGEST, why: format!("longer than {LONGEST} bytes") });
    }
    let mut parser = Parser { end: text.chars().count() + 1, tokens: tokens(text)?, at: 0, depth: 0, item: None };
    if parser.tokens.is_empty() {
        return Ok(Expr::All);
    }
    let expr = parser.and()?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(parser.expected("AND or OR")),
    }
}

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    end: usize,
    depth: usize,
    /// Inside `contains`: what an item of the list is.
    item: Option<Kind>,
}

impl Parser {
    fn and(&mut self) -> Result<Expr, FilterError> {
        let mut all = vec![self.or()?];
        while self.take_word("AND") {
            all.push(self.or()?);
        }
        Ok(one_or(all, Expr::And))
    }

    fn or(&mut self) -> Result<Expr, FilterError> {
        let mut any = vec![self.unary()?];
        while self.take_word("OR") {
            any.push(self.unary()?);
        }
        Ok(one_or(any, Expr::Or))
    }

    fn unary(&mut self) -> Result<Expr, FilterError> {
        self.depth += 1;
        if self.depth > MOST_NESTED {
            return Err(self.error(format!("nested deeper than {MOST_NESTED}")));
        }
        let negated = self.take(&Token::Minus) || self.take_word("NOT");
        let expr = if negated {
            Expr::Not(Box::new(self.unary()?))
        } else if self.take(&Token::Open) {
            let inner = self.and()?;
            self.require(&Token::Close, "a closing parenthesis, AND or OR")?;
            inner
        } else {
            self.restriction()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn restriction(&mut self) -> Result<Expr, FilterError> {
        let place = self.place();
        match self.peek() {
            Some(Token::Text(text)) if self.item.is_some() => {
                let value = Literal::Text(text.clone());
                self.at += 1;
                Ok(Expr::Test(Test { field: Field::item(Kind::String), op: Op::Equal, value }))
            }
            Some(Token::Word(steps)) => {
                let steps = steps.clone();
                self.at += 1;
                if steps == ["contains"] && self.peek() == Some(&Token::Open) {
                    return self.contains();
                }
                let field = self.field(&steps, place)?;
                self.test(field)
            }
            _ => Err(self.expected("a field's name")),
        }
    }

    fn contains(&mut self) -> Result<Expr, FilterError> {
        self.require(&Token::Open, "(")?;
        let place = self.place();
        let Some(Token::Word(steps)) = self.peek() else { return Err(self.expected("the name of a list")) };
        let steps = steps.clone();
        self.at += 1;
        let field = self.field(&steps, place)?;
        let Kind::List(item) = field.kind.clone() else {
            return Err(FilterError { at: place, why: format!("{} is not a list", steps.join(".")) });
        };
        self.require(&Token::Comma, "a comma")?;
        let outer = self.item.replace(*item);
        let inner = self.and()?;
        self.item = outer;
        self.require(&Token::Close, "a closing parenthesis, AND or OR")?;
        Ok(Expr::Contains(field, Box::new(inner)))
    }

    fn test(&mut self, field: Field) -> Result<Expr, FilterError> {
        let kind = field.leaf().clone();
        let place = self.place();
        let Some(Token::Op(op)) = self.peek() else { return Err(self.expected("one of = : < > <= >=")) };
        let op = *op;
        if !op.fits(&kind) {
            return Err(FilterError { at: place, why: "this comparison is for numbers and times; use = or :".into() });
        }
        self.at += 1;
        let value = self.literal(&kind)?;
        Ok(Expr::Test(Test { field, op, value }))
    }

    fn field(&self, steps: &[String], place: usize) -> Result<Field, FilterError> {
        Field::find(steps, self.item.as_ref()).map_err(|why| FilterError { at: place, why })
    }

    fn literal(&mut self, kind: &Kind) -> Result<Literal, FilterError> {
        let place = self.place();
        let negative = self.take(&Token::Minus);
        let literal = match self.peek() {
            Some(Token::Text(text)) if !negative => Literal::Text(text.clone()),
            Some(Token::Word(steps)) => bare(&steps.join("."), negative).ok_or_else(|| FilterError {
                at: place,
                why: format!("text must be in quotes: \"{}\"", steps.join(".")),
            })?,
            _ => return Err(FilterError { at: place, why: "expected a value".into() }),
        };
        self.at += 1;
        if *kind != Kind::Time {
            return Ok(literal);
        }
        time(&literal).ok_or_else(|| FilterError {
            at: place,
            why: "expected a time: RFC 3339 text in quotes or milliseconds since 1970".into(),
        })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(place, _)| *place)
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(steps)) if steps.len() == 1 && steps[0] == word);
        self.at += usize::from(found);
        found
    }

    fn require(&mut self, token: &Token, what: &str) -> Result<(), FilterError> {
        if self.take(token) { Ok(()) } else { Err(self.expected(what)) }
    }

    fn expected(&self, what: &str) -> FilterError {
        self.error(format!("expected {what}"))
    }

    fn error(&self, why: String) -> FilterError {
        FilterError { at: self.place(), why }
    }
}

fn one_or(mut list: Vec<Expr>, many: fn(Vec<Expr>) -> Expr) -> Expr {
    match list.pop() {
        Some(only) if list.is_empty() => only,
        Some(last) => {
            list.push(last);
            many(list)
        }
        None => Expr::All,
    }
}

fn bare(word: &str, negative: bool) -> Option<Literal> {
    match word {
        "true" if !negative => Some(Literal::Bool(true)),
        "false" if !negative => Some(Literal::Bool(false)),
        _ if word.starts_with(|c: char| c.is_ascii_digit()) => {
            let number: f64 = word.parse().ok()?;
            Some(Literal::Number(if negative { -number } else { number }))
        }
        _ => None,
    }
}

/// A time given as RFC 3339 text or as milliseconds, bare or in quotes.
fn time(literal: &Literal) -> Option<Literal> {
    let millis = |n: f64| {
        #[allow(clippy::cast_possible_truncation, reason = "saturates, which is far from every real time")]
        let nanos = (n as i128).saturating_mul(1_000_000);
        Literal::Time(nanos)
    };
    match literal {
        Literal::Number(n) => Some(millis(*n)),
        Literal::Text(text) => match DateTime::parse_from_rfc3339(text) {
            Ok(time) => Some(Literal::Time(super::eval::nanos(time.to_utc()))),
            Err(_) => text.parse::<i64>().ok().map(|n| Literal::Time(i128::from(n) * 1_000_000)),
        },
        _ => None,
    }
}
