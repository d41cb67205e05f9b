//! The syntax tree of a template.
use std::sync::Arc;

use super::scope::Scope;

/// A statement and its line number.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) line: usize,
    pub(super) kind: StatementKind,
}

#[derive(Debug)]
pub(super) enum StatementKind {
    Data(String),
    Output(Vec<Expression>),
    If { branches: Vec<(Expression, Vec<Statement>)>, otherwise: Vec<Statement> },
    For(Arc<For>),
    Set { target: Target, value: Expression },
    SetBlock { target: Target, filter: Option<Expression>, body: Block },
    With { targets: Vec<Target>, values: Vec<Expression>, body: Block },
    Macro(Arc<Macro>),
    CallBlock { call: Call, caller: Arc<Macro> },
    Generation(Arc<Macro>),
    FilterBlock { filter: Expression, body: Block },
    Break,
    Continue,
}

/// Statements with a scope.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) scope: Scope,
    pub(super) body: Vec<Statement>,
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) items: Expression,
    pub(super) test: Option<Expression>,
    pub(super) test_scope: Scope,
    pub(super) is_recursive: bool,
    /// Whether the body uses `loop`.
    pub(super) knows_loop: bool,
    pub(super) body: Block,
    pub(super) otherwise: Option<Block>,
}

/// A macro, or the body of a call block.
#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: String,
    pub(super) parameters: Vec<String>,
    /// The defaults of the last parameters.
    pub(super) defaults: Vec<Expression>,
    pub(super) takes_caller: bool,
    pub(super) takes_named: bool,
    pub(super) takes_more: bool,
    pub(super) body: Block,
}

/// An assignment target.
#[derive(Debug)]
pub(super) enum Target {
    Name(String),
    Attribute(String, String),
    Tuple(Vec<Target>),
}

#[derive(Debug)]
pub(super) enum Expression {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Name(String),
    /// The captured text of a filter block.
    Captured,
    Tuple(Vec<Expression>),
    List(Vec<Expression>),
    Dict(Vec<(Expression, Expression)>),
    Attribute(Box<Expression>, String),
    Item(Box<Expression>, Box<Expression>),
    Slice(Box<[Option<Expression>; 3]>),
    Call(Box<Call>),
    Filter {
        input: Box<Expression>,
        name: String,
        arguments: ArgumentList,
    },
    Test {
        input: Box<Expression>,
        name: String,
        arguments: ArgumentList,
    },
    Not(Box<Expression>),
    Negative(Box<Expression>),
    Positive(Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
    /// A power with a constant base and a variable exponent.
    PowerOfKnown(Box<Expression>, Box<Expression>),
    Compare(Box<Expression>, Vec<(Comparison, Expression)>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Join(Vec<Expression>),
    /// A conditional expression: test, value, and alternative.
    Choice(Box<Expression>, Box<Expression>, Option<Box<Expression>>),
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) target: Expression,
    pub(super) arguments: ArgumentList,
}

#[derive(Debug, Default)]
pub(super) struct ArgumentList {
    pub(super) positional: Vec<Expression>,
    pub(super) named: Vec<(String, Expression)>,
    pub(super) more: Option<Box<Expression>>,
    pub(super) more_named: Option<Box<Expression>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

impl ArgumentList {
    pub(super) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let named = self.named.iter().map(|(_, value)| value);
        self.positional.iter().chain(named).chain(self.more.as_deref()).chain(self.more_named.as_deref())
    }
}

impl Expression {
    /// The direct subexpressions, in parsing order.
    pub(super) fn parts(&self) -> Vec<&Expression> {
        match self {
            Self::None
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::Name(_)
            | Self::Captured => Vec::new(),
            Self::Tuple(items) | Self::List(items) | Self::Join(items) => items.iter().collect(),
            Self::Dict(pairs) => pairs.iter().flat_map(|(key, value)| [key, value]).collect(),
            Self::Attribute(inner, _) | Self::Not(inner) | Self::Negative(inner) | Self::Positive(inner) => {
                vec![&**inner]
            }
            Self::Item(left, right)
            | Self::Binary(_, left, right)
            | Self::PowerOfKnown(left, right)
            | Self::And(left, right)
            | Self::Or(left, right) => vec![&**left, &**right],
            Self::Slice(ends) => ends.iter().flatten().collect(),
            Self::Call(call) => std::iter::once(&call.target).chain(call.arguments.expressions()).collect(),
            Self::Filter { input, arguments, .. } | Self::Test { input, arguments, .. } => {
                std::iter::once(&**input).chain(arguments.expressions()).collect()
            }
            Self::Compare(first, others) => {
                std::iter::once(&**first).chain(others.iter().map(|(_, other)| other)).collect()
            }
            Self::Choice(test, value, otherwise) => {
                [Some(&**test), Some(&**value), otherwise.as_deref()].into_iter().flatten().collect()
            }
        }
    }
    /// Whether Jinja folds the expression at compile time. (Filters that use the environment, such as `map`, are not
    /// folded; they are irrelevant as bases of powers.)
    pub(super) fn is_known(&self) -> bool {
        let is_open = matches!(self, Self::Name(_) | Self::Captured | Self::Call(_));
        !is_open && self.parts().into_iter().all(Self::is_known)
    }
}
