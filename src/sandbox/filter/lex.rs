//! Words of a filter, each with the place it starts at.

use super::{FilterError, Op};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Open,
    Close,
    Comma,
    Minus,
    Op(Op),
    /// The steps of a field's name, or a bare number or boolean.
    Word(Vec<String>),
    Text(String),
}

/// A token and the character it starts at, from 1.
pub(super) type Placed = (usize, Token);

pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, FilterError> {
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer { chars, at: 0 };
    let mut out = Vec::new();
    while let Some(token) = lexer.next()? {
        out.push(token);
    }
    Ok(out)
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
}

impl Lexer {
    fn next(&mut self) -> Result<Option<Placed>, FilterError> {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        let start = self.at + 1;
        let Some(first) = self.peek() else { return Ok(None) };
        let token = match first {
            '"' | '\'' => Token::Text(self.quoted(first)?),
            c if word_char(c) && c != '-' => Token::Word(self.word()?),
            _ => self.sign(first)?,
        };
        Ok(Some((start, token)))
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn sign(&mut self, first: char) -> Result<Token, FilterError> {
        let equal = self.chars.get(self.at + 1) == Some(&'=');
        let (token, length) = match (first, equal) {
            ('(', _) => (Token::Open, 1),
            (')', _) => (Token::Close, 1),
            (',', _) => (Token::Comma, 1),
            ('-', _) => (Token::Minus, 1),
            ('=', _) => (Token::Op(Op::Equal), 1),
            (':', _) => (Token::Op(Op::Has), 1),
            ('<', true) => (Token::Op(Op::LessOrEqual), 2),
            ('<', false) => (Token::Op(Op::Less), 1),
            ('>', true) => (Token::Op(Op::GreaterOrEqual), 2),
            ('>', false) => (Token::Op(Op::Greater), 1),
            _ => return Err(self.error(format!("unexpected {first:?}"))),
        };
        self.at += length;
        Ok(token)
    }

    /// A name with dots; a step may be quoted: `source_properties."a b"`.
    fn word(&mut self) -> Result<Vec<String>, FilterError> {
        let mut steps = vec![String::new()];
        while let Some(c) = self.peek() {
            match c {
                '.' => {
                    steps.push(String::new());
                    self.at += 1;
                    if let Some(quote @ ('"' | '\'')) = self.peek() {
                        let text = self.quoted(quote)?;
                        if let Some(last) = steps.last_mut() {
                            *last = text;
                        }
                    }
                }
                c if word_char(c) => {
                    if let Some(last) = steps.last_mut() {
                        last.push(c);
                    }
                    self.at += 1;
                }
                _ => break,
            }
        }
        Ok(steps)
    }

    fn quoted(&mut self, quote: char) -> Result<String, FilterError> {
        let unfinished = self.error(format!("the text that starts here has no closing {quote}"));
        self.at += 1;
        let mut out = String::new();
        loop {
            let c = self.peek().ok_or_else(|| unfinished.clone())?;
            self.at += 1;
            match c {
                c if c == quote => return Ok(out),
                '\\' => {
                    let escaped = self.peek().ok_or_else(|| unfinished.clone())?;
                    self.at += 1;
                    match escaped {
                        'n' => out.push('\n'),
                        't' => out.push('\t'),
                        '"' | '\'' | '\\' => out.push(escaped),
                        other => out.extend(['\\', other]),
                    }
                }
                c => out.push(c),
            }
        }
    }

    fn error(&self, why: String) -> FilterError {
        FilterError { at: self.at + 1, why }
    }
}

fn word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | '@')
}
