//! Evaluating a query. Every step is paid for from one purse, so whatever the query and the document,
//! there is an end.

use super::ast::*;
use super::value::{
    Atom, Failed, Item, Result, Value, calculate, compare, cost, item_of, one, text_of, truth,
};
use super::{Query, Source, Variable};
use fletch_amqp::ValueRef;
use roxmltree::Node;
use std::borrow::Cow;

/// What `.`, `position()` and `last()` are.
#[derive(Clone, Copy)]
pub(super) struct Focus<'f, 'd> {
    pub(super) item: &'f Item<'d>,
    pub(super) position: usize,
    pub(super) last: usize,
}

pub(super) struct Evaluation<'q, 'd, 'c> {
    query: &'q Query,
    source: &'d Source<'c>,
    headers: &'d [(&'d str, ValueRef<'d>)],
    values: Vec<Option<Value<'d>>>,
    purse: u32,
}

pub(super) fn matches<'d>(
    query: &Query,
    source: &'d Source<'_>,
    headers: &'d [(&'d str, ValueRef<'d>)],
) -> Result<bool> {
    let values = vec![None; query.variables.len()];
    let full = source.purse();
    let mut e = Evaluation { query, source, headers, values, purse: full };
    let result = e.truth_of(&query.body, None);
    source.spend(full - e.purse);
    result
}

impl<'d, 'c: 'd> Evaluation<'_, 'd, 'c> {
    /// Pays for so many steps.
    pub(super) fn pay(&mut self, steps: usize) -> Result<()> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let left = self.purse.checked_sub(steps);
        self.purse = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Failed)
    }

    pub(super) fn truth_of(&mut self, expr: &Expr, focus: Option<Focus<'_, 'd>>) -> Result<bool> {
        truth(&self.eval(expr, focus)?)
    }

    pub(super) fn eval(&mut self, expr: &Expr, focus: Option<Focus<'_, 'd>>) -> Result<Value<'d>> {
        self.pay(1)?;
        let truth = |value| Ok(one(Item::Boolean(value)));
        match expr {
            Expr::Number(number) => Ok(one(Item::Number(*number))),
            Expr::Text(text) => {
                self.pay(text.len() / 16)?;
                Ok(one(Item::Text(Cow::Owned(text.to_string()))))
            }
            Expr::Variable(variable) => self.variable(*variable),
            Expr::Context => match focus {
                Some(focus) => Ok(one(focus.item.clone())),
                None => self.root(),
            },
            Expr::Root => self.root(),
            Expr::Sequence(all) => {
                let mut value = Value::new();
                for expr in all {
                    value.extend(self.eval(expr, focus)?);
                }
                Ok(value)
            }
            Expr::Or(all) => {
                for expr in all {
                    if self.truth_of(expr, focus)? {
                        return truth(true);
                    }
                }
                truth(false)
            }
            Expr::And(all) => {
                for expr in all {
                    if !self.truth_of(expr, focus)? {
                        return truth(false);
                    }
                }
                truth(true)
            }
            Expr::Compare(c) => {
                let (left, right) = (self.eval(&c.left, focus)?, self.eval(&c.right, focus)?);
                self.compare(c, &left, &right)
            }
            Expr::Arithmetic(first, more) => {
                let Some(mut sum) = self.number_of(first, focus)? else { return Ok(Value::new()) };
                for (how, expr) in more {
                    let Some(other) = self.number_of(expr, focus)? else {
                        return Ok(Value::new());
                    };
                    sum = calculate(*how, sum, other);
                }
                Ok(one(Item::Number(sum)))
            }
            Expr::Negate(expr) => {
                let number = self.number_of(expr, focus)?;
                Ok(number.map(|n| Item::Number(-n)).into_iter().collect())
            }
            Expr::Union(all) => {
                let mut value = Value::new();
                for expr in all {
                    value.extend(self.eval(expr, focus)?);
                }
                self.in_order(value)
            }
            Expr::If(parts) => {
                let [condition, then, otherwise] = &**parts;
                let is = self.truth_of(condition, focus)?;
                self.eval(if is { then } else { otherwise }, focus)
            }
            Expr::Bind(bind) => self.bind(bind, focus),
            Expr::Path(start, steps) => {
                let mut value = self.eval(start, focus)?;
                for step in steps {
                    value = self.step(step, &value)?;
                }
                Ok(value)
            }
            Expr::Filter(expr, predicates) => {
                let value = self.eval(expr, focus)?;
                self.filter(value, predicates)
            }
            Expr::Call(function, arguments) => self.call(*function, arguments, focus),
        }
    }

    fn root(&mut self) -> Result<Value<'d>> {
        let document = self.source.document().ok_or(Failed)?;
        Ok(one(Item::Node(document.root())))
    }

    fn variable(&mut self, variable: usize) -> Result<Value<'d>> {
        let query = self.query;
        if self.values[variable].is_none() {
            self.values[variable] = Some(match &query.variables[variable] {
                Variable::External(name) => {
                    let header = self.headers.iter().find(|(key, _)| *key == &**name);
                    one(header.and_then(|(_, value)| item_of(*value)).ok_or(Failed)?)
                }
                // Variables see only those declared before them.
                Variable::Declared(expr) => self.eval(expr, None)?,
                Variable::Local => return Err(Failed),
            });
        }
        let Some(value) = &self.values[variable] else { return Err(Failed) };
        let cost = value.iter().map(cost).sum();
        let value = value.clone();
        self.pay(cost)?;
        Ok(value)
    }

    fn bind(&mut self, bind: &Bind, focus: Option<Focus<'_, 'd>>) -> Result<Value<'d>> {
        let value = self.eval(&bind.value, focus)?;
        if bind.how == Binding::Let {
            self.values[bind.variable] = Some(value);
            return self.eval(&bind.body, focus);
        }
        let mut all = Value::new();
        for item in value {
            self.values[bind.variable] = Some(one(item));
            match bind.how {
                Binding::For | Binding::Let => all.extend(self.eval(&bind.body, focus)?),
                Binding::Some | Binding::Every => {
                    let is = self.truth_of(&bind.body, focus)?;
                    if is == (bind.how == Binding::Some) {
                        return Ok(one(Item::Boolean(is)));
                    }
                }
            }
        }
        Ok(match bind.how {
            Binding::For | Binding::Let => all,
            how => one(Item::Boolean(how == Binding::Every)),
        })
    }

    // ---- paths ---------------------------------------------------------------------------

    fn step(&mut self, step: &Step, from: &Value<'d>) -> Result<Value<'d>> {
        let mut all = Value::new();
        for item in from {
            let mut found = Value::new();
            self.walk(step, item, &mut found)?;
            all.extend(self.filter(found, &step.predicates)?);
        }
        if from.len() == 1 && is_forward(step.axis) {
            return Ok(all);
        }
        self.in_order(all)
    }

    /// The nodes that a step leads to, nearest first.
    fn walk(&mut self, step: &Step, from: &Item<'d>, out: &mut Value<'d>) -> Result<()> {
        let (node, is_attribute) = match from {
            Item::Node(node) => (*node, false),
            Item::Attribute(node, _) => (*node, true),
            Item::Text(_) | Item::Number(_) | Item::Boolean(_) => return Err(Failed),
        };
        if is_attribute {
            let own = matches!(step.axis, Axis::Own | Axis::DescendantOrOwn | Axis::AncestorOrOwn);
            if own && step.test == Test::Any {
                out.push(from.clone());
            }
            return match step.axis {
                Axis::Parent => self.take(step, [node].into_iter(), out),
                Axis::Ancestor | Axis::AncestorOrOwn => self.take(step, node.ancestors(), out),
                _ => Ok(()),
            };
        }
        match step.axis {
            Axis::Child => self.take(step, node.children(), out),
            Axis::Own => self.take(step, [node].into_iter(), out),
            Axis::Descendant => self.take(step, node.descendants().skip(1), out),
            Axis::DescendantOrOwn => self.take(step, node.descendants(), out),
            Axis::Parent => self.take(step, node.parent().into_iter(), out),
            Axis::Ancestor => self.take(step, node.ancestors().skip(1), out),
            Axis::AncestorOrOwn => self.take(step, node.ancestors(), out),
            Axis::FollowingSibling => self.take(step, node.next_siblings().skip(1), out),
            Axis::PrecedingSibling => self.take(step, node.prev_siblings().skip(1), out),
            Axis::Attribute => {
                for (n, attribute) in node.attributes().enumerate() {
                    self.pay(1)?;
                    if is_named(&step.test, attribute.namespace(), attribute.name()) {
                        out.push(Item::Attribute(node, n));
                    }
                }
                Ok(())
            }
        }
    }

    fn take(
        &mut self,
        step: &Step,
        nodes: impl Iterator<Item = Node<'d, 'd>>,
        out: &mut Value<'d>,
    ) -> Result<()> {
        for node in nodes {
            self.pay(1)?;
            let is = match &step.test {
                Test::Any => true,
                Test::Text => node.is_text(),
                test => {
                    node.is_element()
                        && is_named(test, node.tag_name().namespace(), node.tag_name().name())
                }
            };
            if is {
                out.push(Item::Node(node));
            }
        }
        Ok(())
    }

    fn filter(&mut self, mut value: Value<'d>, predicates: &[Expr]) -> Result<Value<'d>> {
        for predicate in predicates {
            let last = value.len();
            let mut kept = Value::new();
            for (n, item) in value.into_iter().enumerate() {
                let focus = Focus { item: &item, position: n + 1, last };
                let is = match &self.eval(predicate, Some(focus))?[..] {
                    [Item::Number(number)] => *number == (n + 1) as f64,
                    other => truth(other)?,
                };
                if is {
                    kept.push(item);
                }
            }
            value = kept;
        }
        Ok(value)
    }

    /// Nodes in the document's order, each once.
    fn in_order(&mut self, mut value: Value<'d>) -> Result<Value<'d>> {
        self.pay(value.len())?;
        let key = |item: &Item<'d>| match item {
            Item::Node(node) => Some((node.id().get_usize(), 0)),
            Item::Attribute(node, n) => Some((node.id().get_usize(), n + 1)),
            Item::Text(_) | Item::Number(_) | Item::Boolean(_) => None,
        };
        if value.iter().any(|item| key(item).is_none()) {
            return Err(Failed);
        }
        value.sort_unstable_by_key(key);
        value.dedup_by_key(|item| key(item));
        Ok(value)
    }

    // ---- comparing -----------------------------------------------------------------------

    fn compare(
        &mut self,
        c: &Comparison,
        left: &Value<'d>,
        right: &Value<'d>,
    ) -> Result<Value<'d>> {
        if c.single {
            if left.len() > 1 || right.len() > 1 {
                return Err(Failed);
            }
            if left.is_empty() || right.is_empty() {
                return Ok(Value::new());
            }
        }
        for a in left {
            let a = self.atom(a)?;
            for b in right {
                let b = self.atom(b)?;
                if compare(c.how, &a, &b) {
                    return Ok(one(Item::Boolean(true)));
                }
            }
        }
        Ok(one(Item::Boolean(false)))
    }

    /// The value of a node: its text.
    pub(super) fn atom(&mut self, item: &Item<'d>) -> Result<Atom<'d>> {
        self.pay(cost(item))?;
        Ok(match item {
            Item::Number(number) => Atom::Number(*number),
            Item::Boolean(value) => Atom::Boolean(*value),
            Item::Text(text) => Atom::Text(text.clone()),
            Item::Node(_) | Item::Attribute(..) => Atom::Untyped(self.text(item)?),
        })
    }

    /// An item as text.
    pub(super) fn text(&mut self, item: &Item<'d>) -> Result<Cow<'d, str>> {
        self.pay(1)?;
        Ok(match item {
            Item::Text(text) => text.clone(),
            Item::Number(number) => Cow::Owned(text_of(*number)),
            Item::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Item::Attribute(node, n) => {
                let attribute = node.attributes().nth(*n);
                Cow::Borrowed(attribute.map_or("", |attribute| attribute.value()))
            }
            Item::Node(node) => {
                let mut text: Cow<'d, str> = Cow::Borrowed("");
                for part in node.descendants() {
                    let own = if part.is_text() { part.text().unwrap_or_default() } else { "" };
                    self.pay(1 + own.len() / 16)?;
                    if text.is_empty() {
                        text = Cow::Borrowed(own);
                    } else if !own.is_empty() {
                        self.pay(text.len() / 16)?;
                        text.to_mut().push_str(own);
                    }
                }
                text
            }
        })
    }

    /// An expression as a number; none if it is empty.
    fn number_of(&mut self, expr: &Expr, focus: Option<Focus<'_, 'd>>) -> Result<Option<f64>> {
        match &self.eval(expr, focus)?[..] {
            [] => Ok(None),
            [item] => Ok(Some(self.atom(item)?.number())),
            _ => Err(Failed),
        }
    }
}

fn is_forward(axis: Axis) -> bool {
    !matches!(axis, Axis::Ancestor | Axis::AncestorOrOwn | Axis::PrecedingSibling)
}

fn is_named(test: &Test, namespace: Option<&str>, name: &str) -> bool {
    match test {
        Test::Any => true,
        Test::Text => false,
        Test::Name { namespace: wanted, local } => {
            let same = match wanted {
                Namespace::Any => true,
                Namespace::None => namespace.is_none(),
                Namespace::Of(wanted) => namespace == Some(wanted),
            };
            same && local.as_deref().is_none_or(|local| local == name)
        }
    }
}
