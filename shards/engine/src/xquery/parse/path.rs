//! Paths, and what they begin with.

use super::super::ast::*;
use super::text::is_name_start;
use super::{Parser, Result};

impl Parser<'_> {
    pub(super) fn path(&mut self) -> Result<Expr> {
        let mut steps = Vec::new();
        let start = if self.sign("//")? {
            steps.push(anywhere());
            steps.push(self.needed_step()?);
            Expr::Root
        } else if self.sign("/")? {
            match self.step()? {
                Some(step) => steps.push(step),
                None => return Ok(Expr::Root),
            }
            Expr::Root
        } else if let Some(primary) = self.primary()? {
            let predicates = self.predicates()?;
            match predicates.is_empty() {
                true => primary,
                false => Expr::Filter(Box::new(primary), predicates),
            }
        } else {
            match self.step()? {
                Some(step) => steps.push(step),
                None => return self.expected("an expression"),
            }
            Expr::Context
        };
        loop {
            if self.sign("//")? {
                steps.push(anywhere());
            } else if !self.sign("/")? {
                break;
            }
            steps.push(self.needed_step()?);
        }
        Ok(if steps.is_empty() { start } else { Expr::Path(Box::new(start), steps) })
    }

    fn predicates(&mut self) -> Result<Vec<Expr>> {
        let mut all = Vec::new();
        while self.sign("[")? {
            all.push(self.expr()?);
            self.need("]")?;
        }
        Ok(all)
    }

    fn needed_step(&mut self) -> Result<Step> {
        match self.step()? {
            Some(step) => Ok(step),
            None => self.expected("a step of a path"),
        }
    }

    fn step(&mut self) -> Result<Option<Step>> {
        self.space()?;
        let (axis, test) = if self.rest().starts_with("..") {
            self.at += 2;
            (Axis::Parent, Test::Any)
        } else if self.rest().starts_with('.') && !self.rest()[1..].starts_with(is_digit) {
            self.at += 1;
            (Axis::Own, Test::Any)
        } else if self.sign("@")? {
            (Axis::Attribute, self.needed_test(Axis::Attribute)?)
        } else {
            let axis = self.axis()?;
            let test = match axis {
                Some(axis) => Some(self.needed_test(axis)?),
                None => self.test(Axis::Child)?,
            };
            match test {
                Some(test) => (axis.unwrap_or(Axis::Child), test),
                None => return Ok(None),
            }
        };
        Ok(Some(Step { axis, test, predicates: self.predicates()? }))
    }

    fn axis(&mut self) -> Result<Option<Axis>> {
        let before = self.at;
        let Some(name) = self.name() else { return Ok(None) };
        if !self.sign("::")? {
            self.at = before;
            return Ok(None);
        }
        let axis = match name {
            "child" => Axis::Child,
            "attribute" => Axis::Attribute,
            "self" => Axis::Own,
            "descendant" => Axis::Descendant,
            "descendant-or-self" => Axis::DescendantOrOwn,
            "parent" => Axis::Parent,
            "ancestor" => Axis::Ancestor,
            "ancestor-or-self" => Axis::AncestorOrOwn,
            "following-sibling" => Axis::FollowingSibling,
            "preceding-sibling" => Axis::PrecedingSibling,
            _ => {
                self.at = before;
                return self.expected("an axis that is available");
            }
        };
        Ok(Some(axis))
    }

    fn needed_test(&mut self, axis: Axis) -> Result<Test> {
        match self.test(axis)? {
            Some(test) => Ok(test),
            None => self.expected("a name, \"*\", \"text()\" or \"node()\""),
        }
    }

    fn test(&mut self, axis: Axis) -> Result<Option<Test>> {
        self.space()?;
        if self.rest().starts_with('*') {
            self.at += 1;
            if self.rest().starts_with(':') && self.rest()[1..].starts_with(is_name_start) {
                self.at += 1;
                let local = self.name().map(Box::from);
                return Ok(Some(Test::Name { namespace: Namespace::Any, local }));
            }
            return Ok(Some(Test::Name { namespace: Namespace::Any, local: None }));
        }
        for (word, test) in [("text", Test::Text), ("node", Test::Any)] {
            if self.words_before(word, "(")? {
                self.need("(")?;
                self.need(")")?;
                return Ok(Some(test));
            }
        }
        let start = self.at;
        let Some((prefix, local)) = self.qualified() else { return Ok(None) };
        if prefix.is_none() && self.rest().starts_with(":*") {
            self.at += 2;
            let namespace = Namespace::Of(self.namespace(local, start)?);
            return Ok(Some(Test::Name { namespace, local: None }));
        }
        let namespace = match prefix {
            Some(prefix) => Namespace::Of(self.namespace(prefix, start)?),
            None if axis == Axis::Attribute => Namespace::None,
            None => self.default.clone().map_or(Namespace::None, Namespace::Of),
        };
        Ok(Some(Test::Name { namespace, local: Some(local.into()) }))
    }

    fn namespace(&mut self, prefix: &str, at: usize) -> Result<Box<str>> {
        let mut known = self.namespaces.iter().rev();
        match known.find(|(known, _)| **known == *prefix) {
            Some((_, name)) => Ok(name.clone()),
            None => {
                self.at = at;
                self.expected("a prefix that is declared")
            }
        }
    }

    // ---- what paths begin with -----------------------------------------------------------

    fn primary(&mut self) -> Result<Option<Expr>> {
        if let Some(text) = self.literal()? {
            return Ok(Some(Expr::Text(text)));
        }
        let rest = self.rest();
        if rest.starts_with('$') {
            let start = self.at;
            let name = self.variable_name()?;
            return match self.scope.iter().rev().find(|(known, _)| *known == name) {
                Some((_, variable)) => Ok(Some(Expr::Variable(*variable))),
                None => {
                    self.at = start;
                    self.expected("a variable that is declared")
                }
            };
        }
        if self.sign("(")? {
            if self.sign(")")? {
                return Ok(Some(Expr::Sequence(Vec::new())));
            }
            let inner = self.expr()?;
            self.need(")")?;
            return Ok(Some(inner));
        }
        let behind_point = rest.strip_prefix('.').unwrap_or(rest);
        if behind_point.starts_with(is_digit) {
            return self.number().map(Some);
        }
        if rest.starts_with('.') && !rest.starts_with("..") {
            self.at += 1;
            return Ok(Some(Expr::Context));
        }
        self.call()
    }

    fn number(&mut self) -> Result<Expr> {
        let rest = self.rest();
        let octets = rest.as_bytes();
        let mut len = octets.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
        if octets.get(len).is_some_and(|b| matches!(b, b'e' | b'E')) {
            let sign = usize::from(octets.get(len + 1).is_some_and(|b| matches!(b, b'+' | b'-')));
            let digits = octets[len + 1 + sign..].iter().take_while(|b| b.is_ascii_digit());
            len += 1 + sign + digits.count();
        }
        let after = rest[len..].starts_with(is_name_start);
        match rest[..len].parse() {
            Ok(number) if !after => {
                self.at += len;
                Ok(Expr::Number(number))
            }
            _ => self.expected("a number"),
        }
    }

    /// A call of a function, if one comes next: a name and a parenthesis.
    fn call(&mut self) -> Result<Option<Expr>> {
        let start = self.at;
        let Some((prefix, name)) = self.qualified() else { return Ok(None) };
        self.space()?;
        let is_test = prefix.is_none() && matches!(name, "text" | "node");
        if !self.rest().starts_with('(') || is_test {
            self.at = start;
            return Ok(None);
        }
        let name = match (prefix, name) {
            (None | Some("fn"), name) => name,
            (Some("xs"), "string") => "string",
            (Some("xs"), "double" | "decimal" | "integer" | "int") => "number",
            (Some("xs"), "boolean") => "boolean",
            _ => "",
        };
        let Some((function, least, most)) = Function::named(name) else {
            self.at = start;
            return self.expected("a function that is available");
        };
        self.need("(")?;
        let mut arguments = Vec::new();
        if !self.sign(")")? {
            arguments.push(self.single()?);
            while self.sign(",")? {
                arguments.push(self.single()?);
            }
            self.need(")")?;
        }
        if !(least..=most).contains(&arguments.len()) {
            self.at = start;
            return self.expected(match least == most {
                true => format!("a call with {least} arguments"),
                false => format!("a call with {least} to {most} arguments"),
            });
        }
        Ok(Some(Expr::Call(function, arguments)))
    }
}

/// What `//` stands for.
fn anywhere() -> Step {
    Step { axis: Axis::DescendantOrOwn, test: Test::Any, predicates: Vec::new() }
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}
