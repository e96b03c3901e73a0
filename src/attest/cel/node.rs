//! Our tree: names resolved, macros recognised, literal patterns compiled. Never deeper than the limits allow.

use std::sync::Arc;

use super::functions::Function;
use super::pattern::Pattern;

/// A checked expression, ready to be evaluated any number of times.
#[derive(Debug)]
pub struct Expression {
    /// The text it was made of.
    pub source: String,
    pub(super) root: Node,
    pub(super) slots: usize,
}

impl Expression {
    /// The checked tree, for those who want to say something about it.
    pub fn root(&self) -> &Node {
        &self.root
    }
}

/// The variables of Workload Identity Federation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variable {
    /// The token's claims.
    Assertion,
    /// The mapped `google.*` attributes.
    Google,
    /// The mapped `attribute.*` attributes.
    Attribute,
}

impl Variable {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Assertion, Self::Google, Self::Attribute];

    /// Its name in an expression.
    pub fn name(self) -> &'static str {
        match self {
            Self::Assertion => "assertion",
            Self::Google => "google",
            Self::Attribute => "attribute",
        }
    }

    /// The variable with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variable| variable.name() == name)
    }
}

/// A literal of the text.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the kinds of CEL's literals, named as in its definition")]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Type(&'static str),
}

/// Operators with two operands that are both evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "CEL's operators, named as in its definition")]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

/// What a macro does with each element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "CEL's macros, named as in its definition")]
pub enum Macro {
    All,
    Exists,
    ExistsOne,
    /// `map` and `filter`: the elements that pass, transformed.
    Collect,
}

/// A macro over a list, or over the keys of a map.
#[derive(Debug)]
pub struct Loop {
    /// Which.
    pub kind: Macro,
    /// What it goes over.
    pub range: Node,
    /// Where the element is kept.
    pub slot: usize,
    /// The condition; absent in a plain `map`.
    pub condition: Option<Node>,
    /// What a `Collect` keeps.
    pub transform: Option<Node>,
}

/// One node of the tree.
#[derive(Debug)]
#[allow(missing_docs, reason = "each member is what its name says")]
pub enum Node {
    Literal(Literal),
    /// A literal text used as a pattern, compiled once.
    Pattern {
        subject: Box<Node>,
        pattern: Arc<Pattern>,
        source: String,
    },
    Variable(Variable),
    Local {
        slot: usize,
        name: String,
    },
    Select {
        operand: Box<Node>,
        field: String,
    },
    Has {
        operand: Box<Node>,
        field: String,
    },
    Index {
        operand: Box<Node>,
        index: Box<Node>,
    },
    And(Vec<Node>),
    Or(Vec<Node>),
    Conditional(Box<[Node; 3]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary {
        operator: Operator,
        operands: Box<[Node; 2]>,
    },
    Call {
        function: Function,
        arguments: Vec<Node>,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Loop(Box<Loop>),
}

impl Node {
    /// The direct parts of this node.
    pub fn children(&self) -> Vec<&Node> {
        match self {
            Self::Literal(_) | Self::Variable(_) | Self::Local { .. } => Vec::new(),
            Self::Pattern { subject: operand, .. }
            | Self::Select { operand, .. }
            | Self::Has { operand, .. }
            | Self::Not(operand)
            | Self::Negate(operand) => vec![operand],
            Self::Index { operand, index } => vec![operand, index],
            Self::And(nodes) | Self::Or(nodes) | Self::List(nodes) => nodes.iter().collect(),
            Self::Call { arguments, .. } => arguments.iter().collect(),
            Self::Conditional(nodes) => nodes.iter().collect(),
            Self::Binary { operands, .. } => operands.iter().collect(),
            Self::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
            Self::Loop(l) => std::iter::once(&l.range).chain(&l.condition).chain(&l.transform).collect(),
        }
    }

    /// The claim this node names, when it is a variable followed by fields or literal text keys only.
    pub fn path(&self) -> Option<ClaimPath> {
        match self {
            Self::Variable(variable) => Some(ClaimPath { variable: *variable, segments: Vec::new() }),
            Self::Select { operand, field } | Self::Has { operand, field } => operand.path().map(|p| p.with(field)),
            Self::Index { operand, index } => match index.as_ref() {
                Self::Literal(Literal::Text(key)) => operand.path().map(|p| p.with(key)),
                Self::Literal(Literal::Int(at)) => operand.path().map(|p| p.with(&at.to_string())),
                _ => None,
            },
            _ => None,
        }
    }

    /// Every claim the expression names, the longest form of each, in order of appearance.
    pub fn claims(&self) -> Vec<ClaimPath> {
        let mut found = Vec::new();
        let mut waiting = vec![self];
        while let Some(node) = waiting.pop() {
            match node.path() {
                Some(path) if !path.segments.is_empty() => {
                    if !found.contains(&path) {
                        found.push(path);
                    }
                }
                _ => waiting.extend(node.children().into_iter().rev()),
            }
        }
        found
    }

    /// Goes through the node and all parts of it.
    pub fn visit<'n>(&'n self, see: &mut dyn FnMut(&'n Node)) {
        let mut waiting = vec![self];
        while let Some(node) = waiting.pop() {
            see(node);
            waiting.extend(node.children().into_iter().rev());
        }
    }

    /// Whether `has()` asks for this claim somewhere in it.
    pub fn asks_has(&self, path: &ClaimPath) -> bool {
        let mut found = false;
        self.visit(&mut |node| found |= matches!(node, Self::Has { .. }) && node.path().as_ref() == Some(path));
        found
    }
}

/// A claim by its way from a variable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimPath {
    /// Where it starts.
    pub variable: Variable,
    /// Fields and keys, outermost first.
    pub segments: Vec<String>,
}

impl ClaimPath {
    fn with(mut self, segment: &str) -> Self {
        self.segments.push(segment.to_owned());
        self
    }

    /// The value there, if there is one.
    pub fn resolve<'c>(&self, root: &'c serde_json::Value) -> Option<&'c serde_json::Value> {
        self.segments.iter().try_fold(root, |value, segment| match value {
            serde_json::Value::Array(items) => segment.parse::<usize>().ok().and_then(|at| items.get(at)),
            _ => value.get(segment.as_str()),
        })
    }
}

impl std::fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.variable.name())?;
        for segment in &self.segments {
            let word = !segment.is_empty()
                && !segment.starts_with(|c: char| c.is_ascii_digit())
                && segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if word {
                write!(f, ".{segment}")?;
            } else if segment.bytes().all(|b| b.is_ascii_digit()) {
                write!(f, "[{segment}]")?;
            } else {
                write!(f, "[{segment:?}]")?;
            }
        }
        Ok(())
    }
}
