//! A condition with its terms: asked in one go, and explained term by term.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value as Json;

use super::hint::{self, About, Unmapped};
use super::known;
use super::mapping::{Mapped, Mapping};
use crate::attest::cel::node::{ClaimPath, Variable};
use crate::attest::cel::{
    Budget, EvalError, Expression, Limits, Refusal, Scope, Tree, Value, compile_all, split_terms,
};

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    /// The whole.
    pub whole: Expression,
    /// Each operand of the `&&`/`||` tree at its top.
    pub terms: Vec<Expression>,
    /// How the terms are joined.
    tree: Tree,
    /// What each term looks at.
    looks: Vec<Vec<Look>>,
}

/// A claim that a term looks at.
#[derive(Debug)]
struct Look {
    path: ClaimPath,
    shown: String,
    secret: bool,
}

/// What a condition is explained over.
struct Facts<'f> {
    scope: Scope<'f>,
    unmapped: Option<Unmapped<'f>>,
    /// The mapped attributes whose values must not be shown.
    secret: BTreeSet<&'f str>,
}

impl Facts<'_> {
    fn hides(&self, path: &ClaimPath) -> bool {
        let Some(name) = path.segments.first().filter(|_| path.variable != Variable::Assertion) else { return false };
        !self.secret.is_empty() && self.secret.contains(format!("{}.{name}", path.variable.name()).as_str())
    }
}

/// What a condition said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is true: allowed.
    True,
    /// It is false.
    False,
    /// It has no value.
    Error(String),
    /// It has a value that is neither true nor false.
    NotBoolean(&'static str),
}

impl Answer {
    /// The text of an error; none for true and false.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::True | Self::False => None,
            Self::Error(text) => Some(text.clone()),
            Self::NotBoolean(kind) => Some(format!("the condition is neither true nor false: it gives {kind}")),
        }
    }
}

/// Why the answer is what it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// Whether the condition allows.
    pub allowed: bool,
    /// Why it has no answer; `None` when it is plainly true or false.
    pub error: Option<String>,
    /// Its terms, from left to right.
    pub terms: Vec<Term>,
}

impl Explanation {
    /// The terms because of which the condition is not true.
    pub fn causes(&self) -> impl Iterator<Item = &Term> {
        self.terms.iter().filter(|term| term.cause)
    }
}

/// One operand of the condition's `&&`/`||` tree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Term {
    /// Its exact text.
    pub source: String,
    /// Its own result, whatever the others say.
    pub result: Truth,
    /// Why it has none.
    pub error: Option<String>,
    /// The claims it looks at that are there; secret ones masked.
    pub values: BTreeMap<String, Json>,
    /// The claims it looks at that are not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// Whether the condition is not true because of it: not so in a `||` that is true all the same.
    #[serde(skip)]
    pub cause: bool,
    /// What would make it true, and what was perhaps meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// True, false, or no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "named as they are printed")]
pub enum Truth {
    True,
    False,
    Error,
}

impl Condition {
    /// Compiles a condition and each of its terms.
    pub fn compile(text: &str) -> Result<Self, Refusal> {
        // Too long a text is not even divided.
        let whole = || Tree::Term(text.to_owned());
        let tree = if text.chars().count() > Limits::CONDITION.characters { whole() } else { split_terms(text) };
        let terms = tree.terms().into_iter().map(str::to_owned).collect();
        let mut compiled = compile_all([vec![text.to_owned()], terms].concat(), Limits::CONDITION).into_iter();
        let root = compiled.next().unwrap_or(Err(Refusal::TimedOut))?;
        // A term that does not stand alone would be a mistake of ours, not of the text: then the whole is the term.
        let (tree, terms) = match compiled.collect::<Result<Vec<_>, _>>() {
            Ok(terms) => (tree, terms),
            Err(_) => {
                let again = compile_all(vec![text.to_owned()], Limits::CONDITION);
                (whole(), again.into_iter().collect::<Result<_, _>>()?)
            }
        };
        let look = |path: ClaimPath| Look { shown: path.to_string(), secret: known::is_secret(&path.segments), path };
        let looks = terms.iter().map(|term| term.root().claims().into_iter().map(look).collect()).collect();
        Ok(Self { whole: root, terms, tree, looks })
    }

    /// Asks it.
    pub fn ask(&self, claims: &Json, mapped: &Mapped) -> Answer {
        self.ask_within(claims, mapped, &mut Budget::default())
    }

    /// Asks it with a budget.
    pub fn ask_within(&self, claims: &Json, mapped: &Mapped, budget: &mut Budget) -> Answer {
        answer(self.whole.evaluate_within(scope(claims, mapped), budget))
    }

    /// Explains it.
    pub fn explain(&self, claims: &Json, mapped: &Mapped) -> Explanation {
        self.explain_given(claims, mapped, &Mapping::default())
    }

    /// Explains it over attributes that were mapped elsewhere, by this mapping: it says which are made of secret claims.
    pub fn explain_given(&self, claims: &Json, mapped: &Mapped, mapping: &Mapping) -> Explanation {
        let answer = self.ask(claims, mapped);
        let facts = Facts { scope: scope(claims, mapped), unmapped: None, secret: mapping.secret(claims) };
        self.explanation(&answer, facts, &mut Budget::default())
    }

    /// Maps the claims, asks the condition over them, and explains the answer. Claims that cannot be mapped are an
    /// error.
    pub fn explain_mapped(&self, claims: &Json, mapping: &Mapping) -> (Answer, Explanation) {
        self.explain_within(claims, mapping, &mut Budget::default())
    }

    /// The same with a budget, of which mapping, condition and terms each have their share.
    pub fn explain_within(&self, claims: &Json, mapping: &Mapping, budget: &mut Budget) -> (Answer, Explanation) {
        let secret = mapping.secret(claims);
        let (mut maps, mut asks) = (*budget, *budget);
        let mapped = mapping.apply_within(claims, &mut maps);
        budget.short |= maps.short;
        match mapped {
            Ok(mapped) => {
                let answer = self.ask_within(claims, &mapped, &mut asks);
                budget.short |= asks.short;
                let facts = Facts { scope: scope(claims, &mapped), unmapped: None, secret };
                let explained = self.explanation(&answer, facts, budget);
                (answer, explained)
            }
            Err(error) => {
                let answer = Answer::Error(error.to_string());
                let nothing = Mapped::default();
                let unmapped = Some(Unmapped { mapping, error: &error });
                let facts = Facts { scope: scope(claims, &nothing), unmapped, secret };
                let explained = self.explanation(&answer, facts, budget);
                (answer, explained)
            }
        }
    }

    fn explanation(&self, answer: &Answer, facts: Facts<'_>, budget: &mut Budget) -> Explanation {
        // All terms together get twice what the condition gets.
        let mut budgets = Budgets {
            terms: Budget { steps: 2 * budget.steps, ..*budget },
            hints: Budget { steps: budget.steps / 4, ..*budget },
        };
        let terms = self.terms.iter().zip(&self.looks);
        let mut terms: Vec<Term> = terms.map(|(term, looks)| explain_term(term, looks, &facts, &mut budgets)).collect();
        budget.short |= budgets.terms.short || budgets.hints.short;
        find_causes(&self.tree, &mut terms);
        // Where the rest decides without it, as a guard before it does, nothing is to be done about it.
        terms.iter_mut().filter(|term| !term.cause).for_each(|term| term.hints.clear());
        Explanation { allowed: *answer == Answer::True, error: answer.error(), terms }
    }
}

/// Marks the terms because of which their tree is not true; whether it is true.
fn find_causes(tree: &Tree, terms: &mut [Term]) -> bool {
    let (Tree::And(parts) | Tree::Or(parts)) = tree else {
        return terms.iter_mut().all(|term| {
            term.cause = term.result != Truth::True;
            !term.cause
        });
    };
    let (mut rest, mut holding) = (&mut *terms, 0);
    for part in parts {
        let (own, after) = rest.split_at_mut(part.len());
        holding += usize::from(find_causes(part, own));
        rest = after;
    }
    let holds = holding == parts.len() || (matches!(tree, Tree::Or(_)) && holding > 0);
    if holds {
        terms.iter_mut().for_each(|term| term.cause = false);
    }
    holds
}

fn scope<'a>(claims: &'a Json, mapped: &'a Mapped) -> Scope<'a> {
    Scope { assertion: claims, google: &mapped.google, attribute: &mapped.attribute }
}

fn answer(result: Result<Value<'_>, EvalError>) -> Answer {
    match result {
        Ok(Value::Bool(true)) => Answer::True,
        Ok(Value::Bool(false)) => Answer::False,
        Ok(other) => Answer::NotBoolean(other.kind()),
        Err(error) => Answer::Error(error.to_string()),
    }
}

/// What an explanation may use up. What hints use must not be missing to the terms behind them.
struct Budgets {
    terms: Budget,
    hints: Budget,
}

fn explain_term(term: &Expression, looks: &[Look], facts: &Facts<'_>, budgets: &mut Budgets) -> Term {
    let scope = facts.scope;
    let result = term.evaluate_within(scope, &mut budgets.terms);
    let (mut values, mut absent) = (BTreeMap::new(), Vec::new());
    for Look { path, shown, secret } in looks {
        match known::shown(*secret || facts.hides(path), path, scope.root(path.variable)) {
            Some(value) => {
                values.insert(shown.clone(), value);
            }
            None => absent.push(shown.clone()),
        }
    }
    let hints =
        hint::hints(term.root(), About { scope, unmapped: facts.unmapped, budget: &mut budgets.hints }, &result);
    let answer = answer(result);
    let truth = match answer {
        Answer::True => Truth::True,
        Answer::False => Truth::False,
        Answer::Error(_) | Answer::NotBoolean(_) => Truth::Error,
    };
    let error = match &answer {
        Answer::NotBoolean(kind) => Some(format!("the term is neither true nor false: it gives {kind}")),
        other => other.error(),
    };
    Term { source: term.source.clone(), result: truth, error, values, absent, cause: false, hints }
}

/// The claims as a condition's `assertion`, from a text that is either the claims or an object of scopes.
pub fn read_scopes(json: Json) -> Result<(Json, Option<Mapped>), &'static str> {
    let Json::Object(mut members) = json else { return Err("the claims must be a JSON object") };
    let names = [Variable::Assertion, Variable::Google, Variable::Attribute].map(Variable::name);
    let scoped = members.get("assertion").is_some_and(Json::is_object)
        && members.keys().all(|member| names.contains(&member.as_str()));
    if !scoped {
        return Ok((Json::Object(members), None));
    }
    let empty = || Json::Object(serde_json::Map::new());
    let mut take = |name: &str| members.remove(name).unwrap_or_else(empty);
    let assertion = take("assertion");
    let mapped = Mapped { google: take("google"), attribute: take("attribute") };
    Ok((assertion, Some(mapped)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_term_is_a_cause_only_where_its_own_conjunct_failed() {
        let claims = json!({"a": true, "b": false, "l": []});
        for (condition, expected) in [
            ("(!has(assertion.x) || size(assertion.x) == 0) && assertion.b", ["assertion.b"].as_slice()),
            ("assertion.a || assertion.b", &[]),
            ("(assertion.b || assertion.x) && assertion.a", &["assertion.b", "assertion.x"]),
            ("assertion.b || (assertion.a && assertion.x)", &["assertion.b", "assertion.x"]),
            ("assertion.a && (assertion.b || (assertion.a && !assertion.b)) && !assertion.a", &["!assertion.a"]),
            ("(assertion.a ? assertion.a : assertion.b) && assertion.b", &["assertion.b"]),
        ] {
            let explained = Condition::compile(condition).unwrap().explain(&claims, &Mapped::default());
            let causes: Vec<&str> = explained.causes().map(|term| term.source.as_str()).collect();
            assert_eq!(causes, expected, "{condition}");
            let idle = explained.terms.iter().filter(|term| !term.cause);
            assert!(idle.into_iter().all(|term| term.hints.is_empty()), "{condition}: {:?}", explained.terms);
        }
    }
}
