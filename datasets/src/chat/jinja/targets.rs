//! Assignment targets.
use super::ast::Target;
use super::error::Result;
use super::parser::Parser;

impl Parser {
    /// Parses a target: a name, several with commas, or (in `set`) an attribute of a namespace.
    pub(super) fn target(&mut self, ends: &[&str], may_be_attribute: bool) -> Result<Target> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        loop {
            if is_tuple && self.ends_tuple(ends) {
                break;
            }
            targets.push(self.nested(|parser| parser.single_target(may_be_attribute))?);
            if !self.takes_operator(",") {
                break;
            }
            is_tuple = true;
        }
        match targets.len() {
            1 if !is_tuple => Ok(targets.remove(0)),
            0 => self.error("expected a name to assign to"),
            _ => Ok(Target::Tuple(targets)),
        }
    }

    fn single_target(&mut self, may_be_attribute: bool) -> Result<Target> {
        if self.takes_operator("(") {
            let inner = self.target(&[], may_be_attribute)?;
            self.expect_operator(")")?;
            return Ok(inner);
        }
        let name = self.expect_name()?;
        if matches!(&*name, "true" | "false" | "True" | "False" | "none" | "None") {
            return self.error(format!("can't assign to {name}"));
        }
        if may_be_attribute && self.takes_operator(".") {
            return Ok(Target::Attribute(name, self.expect_name()?));
        }
        Ok(Target::Name(name))
    }
}

impl Target {
    /// The assigned names.
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::Name(name) => vec![name],
            Self::Attribute(..) => Vec::new(),
            Self::Tuple(targets) => targets.iter().flat_map(Self::names).collect(),
        }
    }
}
