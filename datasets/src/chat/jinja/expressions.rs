//! The grammar of expressions.
use super::ast::{ArgumentList, Call, Comparison, Expression, Operator};
use super::error::{Error, Result};
use super::parser::Parser;
use super::token::Kind;
use super::{filters, predicates};

/// Maximum length of a chain such as `a + b + c`.
const LONGEST: usize = 150;

const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    ("<=", Comparison::LessOrEqual),
    (">", Comparison::Greater),
    (">=", Comparison::GreaterOrEqual),
];

const SUMS: [(&str, Operator); 2] = [("+", Operator::Add), ("-", Operator::Subtract)];

const PRODUCTS: [(&str, Operator); 4] =
    [("*", Operator::Multiply), ("/", Operator::Divide), ("//", Operator::FloorDivide), ("%", Operator::Remainder)];

const POWERS: [(&str, Operator); 1] = [("**", Operator::Power)];

type Part = fn(&mut Parser) -> Result<Expression>;

impl Parser {
    /// An expression, or a tuple of several with commas.
    pub(super) fn tuple(&mut self, may_choose: bool, ends: &[&str]) -> Result<Expression> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        while !self.ends_tuple(ends) {
            items.push(if may_choose { self.expression()? } else { self.nested(Self::or)? });
            if !self.takes_operator(",") {
                break;
            }
            is_tuple = true;
        }
        match items.len() {
            0 if !is_tuple => self.error("expected an expression"),
            1 if !is_tuple => Ok(items.remove(0)),
            _ => Ok(Expression::Tuple(items)),
        }
    }

    pub(super) fn ends_tuple(&self, ends: &[&str]) -> bool {
        matches!(self.peek().kind, Kind::VariableEnd | Kind::BlockEnd | Kind::Operator(")"))
            || ends.iter().any(|end| self.is_word(end))
    }

    pub(super) fn expression(&mut self) -> Result<Expression> {
        self.nested(Self::choice)
    }

    /// `value if test else other`.
    fn choice(&mut self) -> Result<Expression> {
        let before = self.is_optional;
        let unknown = self.unknown.take();
        let mut value = self.or()?;
        for _ in 0..LONGEST {
            if !self.takes_word("if") {
                self.unknown = unknown.or(self.unknown.take());
                return Ok(value);
            }
            self.unknown = None;
            self.is_optional = true;
            let test = self.or()?;
            let otherwise = if self.takes_word("else") { Some(Box::new(self.expression()?)) } else { None };
            self.is_optional = before;
            value = Expression::Choice(Box::new(test), Box::new(value), otherwise);
        }
        self.too_long()
    }

    fn too_long<T>(&self) -> Result<T> {
        self.error(format!("a chain of more than {LONGEST} operations"))
    }

    fn or(&mut self) -> Result<Expression> {
        let mut left = self.and()?;
        for _ in 0..LONGEST {
            if !self.takes_word("or") {
                return Ok(left);
            }
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        self.too_long()
    }

    fn and(&mut self) -> Result<Expression> {
        let mut left = self.not()?;
        for _ in 0..LONGEST {
            if !self.takes_word("and") {
                return Ok(left);
            }
            left = Expression::And(Box::new(left), Box::new(self.not()?));
        }
        self.too_long()
    }

    fn not(&mut self) -> Result<Expression> {
        if self.takes_word("not") {
            return Ok(Expression::Not(Box::new(self.nested(Self::not)?)));
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<Expression> {
        let first = self.sum()?;
        let mut others = Vec::new();
        while let Some(comparison) = self.comparison() {
            others.push((comparison, self.sum()?));
        }
        Ok(if others.is_empty() { first } else { Expression::Compare(Box::new(first), others) })
    }

    fn comparison(&mut self) -> Option<Comparison> {
        if let Some((_, comparison)) = COMPARISONS.into_iter().find(|(sign, _)| self.is_operator(sign)) {
            self.next();
            return Some(comparison);
        }
        if self.takes_word("in") {
            return Some(Comparison::In);
        }
        if self.is_word("not") && matches!(self.peek_second(), Kind::Name(name) if name == "in") {
            self.next();
            self.next();
            return Some(Comparison::NotIn);
        }
        None
    }

    fn sum(&mut self) -> Result<Expression> {
        self.chain(&SUMS, Self::join)
    }

    fn product(&mut self) -> Result<Expression> {
        self.chain(&PRODUCTS, |parser| parser.chain(&POWERS, |parser| parser.unary(true)))
    }

    /// Operators of one precedence, left-associative (powers too, as in Jinja).
    fn chain(&mut self, operators: &[(&str, Operator)], part: Part) -> Result<Expression> {
        let mut left = part(self)?;
        for _ in 0..LONGEST {
            let found = operators.iter().find(|(sign, _)| self.is_operator(sign));
            let Some(&(_, operator)) = found else { return Ok(left) };
            self.next();
            left = binary(operator, left, part(self)?);
        }
        self.too_long()
    }

    fn join(&mut self) -> Result<Expression> {
        let mut parts = vec![self.product()?];
        while self.takes_operator("~") {
            parts.push(self.product()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Join(parts) })
    }

    fn unary(&mut self, with_filters: bool) -> Result<Expression> {
        let value = if self.takes_operator("-") {
            Expression::Negative(Box::new(self.nested(|parser| parser.unary(false))?))
        } else if self.takes_operator("+") {
            Expression::Positive(Box::new(self.nested(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        if with_filters { self.filters_and_tests(value) } else { Ok(value) }
    }

    fn primary(&mut self) -> Result<Expression> {
        let token = self.next();
        Ok(match token.kind {
            Kind::Name(name) => match &*name {
                "true" | "True" => Expression::Bool(true),
                "false" | "False" => Expression::Bool(false),
                "none" | "None" => Expression::None,
                _ => Expression::Name(name),
            },
            Kind::Text(mut text) => {
                while let Kind::Text(more) = &self.peek().kind {
                    text.push_str(more);
                    self.next();
                }
                Expression::Text(text)
            }
            Kind::Int(number) => Expression::Int(number),
            Kind::Float(number) => Expression::Float(number),
            Kind::Operator("(") => {
                let inner = if self.is_operator(")") { Expression::Tuple(Vec::new()) } else { self.tuple(true, &[])? };
                self.expect_operator(")")?;
                inner
            }
            Kind::Operator("[") => self.list()?,
            Kind::Operator("{") => self.dict()?,
            other => return Err(Error::at(format!("unexpected {}", describe(&other)), token.line)),
        })
    }

    fn list(&mut self) -> Result<Expression> {
        let mut items = Vec::new();
        while !self.takes_operator("]") {
            items.push(self.expression()?);
            if !self.is_operator("]") {
                self.expect_operator(",")?;
            }
        }
        Ok(Expression::List(items))
    }

    fn dict(&mut self) -> Result<Expression> {
        let mut pairs = Vec::new();
        while !self.takes_operator("}") {
            let key = self.expression()?;
            self.expect_operator(":")?;
            pairs.push((key, self.expression()?));
            if !self.is_operator("}") {
                self.expect_operator(",")?;
            }
        }
        Ok(Expression::Dict(pairs))
    }

    fn postfix(&mut self, mut value: Expression) -> Result<Expression> {
        for _ in 0..LONGEST {
            value = if self.takes_operator(".") {
                self.attribute(value)?
            } else if self.takes_operator("[") {
                self.item(value)?
            } else if self.is_operator("(") {
                Expression::Call(Box::new(Call { target: value, arguments: self.arguments()? }))
            } else {
                return Ok(value);
            };
        }
        self.too_long()
    }

    fn attribute(&mut self, value: Expression) -> Result<Expression> {
        if let Kind::Int(index) = self.peek().kind {
            self.next();
            return Ok(Expression::Item(Box::new(value), Box::new(Expression::Int(index))));
        }
        Ok(Expression::Attribute(Box::new(value), self.expect_name()?))
    }

    fn item(&mut self, value: Expression) -> Result<Expression> {
        let mut indices = Vec::new();
        while !self.is_operator("]") {
            if !indices.is_empty() {
                self.expect_operator(",")?;
            }
            indices.push(self.subscript()?);
        }
        self.expect_operator("]")?;
        if indices.len() > 1 && indices.iter().any(|index| matches!(index, Expression::Slice(_))) {
            return self.error("a slice among several indices");
        }
        let index = if indices.len() == 1 { indices.remove(0) } else { Expression::Tuple(indices) };
        Ok(Expression::Item(Box::new(value), Box::new(index)))
    }

    fn subscript(&mut self) -> Result<Expression> {
        let first = if self.is_operator(":") { None } else { Some(self.expression()?) };
        if !self.takes_operator(":") {
            return first.map_or_else(|| self.error("expected an index"), Ok);
        }
        let ends = |parser: &Self| parser.is_operator("]") || parser.is_operator(",");
        let second = if ends(self) || self.is_operator(":") { None } else { Some(self.expression()?) };
        let third = if self.takes_operator(":") && !ends(self) { Some(self.expression()?) } else { None };
        Ok(Expression::Slice(Box::new([first, second, third])))
    }

    fn filters_and_tests(&mut self, mut value: Expression) -> Result<Expression> {
        for _ in 0..LONGEST {
            value = if self.is_operator("|") {
                self.filters(value, false)?
            } else if self.takes_word("is") {
                self.test(value)?
            } else if self.is_operator("(") {
                Expression::Call(Box::new(Call { target: value, arguments: self.arguments()? }))
            } else {
                return Ok(value);
            };
        }
        self.too_long()
    }

    /// Filters after a value; in a filter block the first one has no bar.
    pub(super) fn filters(&mut self, mut value: Expression, starts_inline: bool) -> Result<Expression> {
        let mut is_first = starts_inline;
        for _ in 0..LONGEST {
            if !is_first && !self.takes_operator("|") {
                return Ok(value);
            }
            is_first = false;
            let name = self.dotted_name()?;
            self.check_known(filters::is_known(&name), "filter", &name);
            let arguments = if self.is_operator("(") { self.arguments()? } else { ArgumentList::default() };
            value = Expression::Filter { input: Box::new(value), name, arguments };
        }
        self.too_long()
    }

    fn dotted_name(&mut self) -> Result<String> {
        let mut name = self.expect_name()?;
        while self.takes_operator(".") {
            name = format!("{name}.{}", self.expect_name()?);
        }
        Ok(name)
    }

    fn test(&mut self, value: Expression) -> Result<Expression> {
        let is_negated = self.takes_word("not");
        let name = self.dotted_name()?;
        self.check_known(predicates::is_known(&name), "test", &name);
        let mut arguments = ArgumentList::default();
        if self.is_operator("(") {
            arguments = self.arguments()?;
        } else if self.starts_argument() {
            if self.is_word("is") {
                return self.error("tests can't follow each other");
            }
            let argument = self.nested(Self::primary)?;
            arguments.positional.push(self.postfix(argument)?);
        }
        let test = Expression::Test { input: Box::new(value), name, arguments };
        Ok(if is_negated { Expression::Not(Box::new(test)) } else { test })
    }

    /// Whether the next token begins a test's argument.
    fn starts_argument(&self) -> bool {
        match &self.peek().kind {
            Kind::Name(name) => !matches!(&**name, "else" | "or" | "and"),
            Kind::Text(_) | Kind::Int(_) | Kind::Float(_) | Kind::Operator("[" | "{") => true,
            _ => false,
        }
    }

    fn arguments(&mut self) -> Result<ArgumentList> {
        let mut list = ArgumentList::default();
        self.expect_operator("(")?;
        while !self.takes_operator(")") {
            self.argument(&mut list)?;
            if !self.is_operator(")") {
                self.expect_operator(",")?;
            }
        }
        Ok(list)
    }

    fn argument(&mut self, list: &mut ArgumentList) -> Result<()> {
        let (has_more, has_more_named) = (list.more.is_some(), list.more_named.is_some());
        let is_named = matches!(self.peek().kind, Kind::Name(_)) && matches!(self.peek_second(), Kind::Operator("="));
        if self.takes_operator("*") && !has_more && !has_more_named {
            list.more = Some(Box::new(self.expression()?));
        } else if self.takes_operator("**") && !has_more_named {
            list.more_named = Some(Box::new(self.expression()?));
        } else if is_named && !has_more_named {
            let name = self.expect_name()?;
            self.expect_operator("=")?;
            list.named.push((name, self.expression()?));
        } else if !has_more && !has_more_named && list.named.is_empty() {
            list.positional.push(self.expression()?);
        } else {
            return self.error("the arguments of a call are in the wrong order");
        }
        Ok(())
    }
}

fn binary(operator: Operator, left: Expression, right: Expression) -> Expression {
    let (left, right) = (Box::new(left), Box::new(right));
    if operator == Operator::Power && left.is_known() && !right.is_known() {
        Expression::PowerOfKnown(left, right)
    } else {
        Expression::Binary(operator, left, right)
    }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Data(_) => "text".to_owned(),
        Kind::VariableBegin | Kind::BlockBegin => "begin of a tag".to_owned(),
        Kind::VariableEnd | Kind::BlockEnd => "end of the tag".to_owned(),
        Kind::Name(name) => format!("{name:?}"),
        Kind::Text(text) => format!("{text:?}"),
        Kind::Int(number) => number.to_string(),
        Kind::Float(number) => number.to_string(),
        Kind::Operator(operator) => format!("{operator:?}"),
        Kind::End => "end of the template".to_owned(),
    }
}
