//! The functions of queries.

use super::ast::{Expr, Function};
use super::eval::{Evaluation, Focus};
use super::value::{Failed, Item, Result, Value, one, truth};
use std::borrow::Cow;

impl<'d, 'c: 'd> Evaluation<'_, 'd, 'c> {
    pub(super) fn call(
        &mut self,
        function: Function,
        arguments: &[Expr],
        focus: Option<Focus<'_, 'd>>,
    ) -> Result<Value<'d>> {
        let mut values: [Value<'d>; 3] = Default::default();
        if function == Function::Concat {
            return self.concat(arguments, focus);
        }
        for (value, argument) in values.iter_mut().zip(arguments) {
            *value = self.eval(argument, focus)?;
        }
        if arguments.is_empty() && takes_context(function) {
            values[0] = self.eval(&Expr::Context, focus)?;
        }
        let [first, second, third] = &values;
        Ok(one(match function {
            Function::True => Item::Boolean(true),
            Function::False => Item::Boolean(false),
            Function::Not => Item::Boolean(!truth(first)?),
            Function::Boolean => Item::Boolean(truth(first)?),
            Function::Number => Item::Number(match &first[..] {
                [] => f64::NAN,
                [item] => self.atom(item)?.number(),
                _ => return Err(Failed),
            }),
            Function::String => Item::Text(self.text_of(first)?),
            Function::Data => {
                let mut data = Value::new();
                for item in first {
                    let text = matches!(item, Item::Node(_) | Item::Attribute(..));
                    data.push(if text { Item::Text(self.text(item)?) } else { item.clone() });
                }
                return Ok(data);
            }
            Function::Count => Item::Number(first.len() as f64),
            Function::Empty => Item::Boolean(first.is_empty()),
            Function::Exists => Item::Boolean(!first.is_empty()),
            Function::Position => Item::Number(focus.map_or(1, |f| f.position) as f64),
            Function::Last => Item::Number(focus.map_or(1, |f| f.last) as f64),
            Function::Name | Function::LocalName => Item::Text(name_of(first)?),
            Function::Contains => {
                let (text, part) = (self.text_of(first)?, self.text_of(second)?);
                self.search(&text, &part)?;
                Item::Boolean(text.contains(&*part))
            }
            Function::StartsWith => {
                let (text, part) = (self.text_of(first)?, self.text_of(second)?);
                Item::Boolean(text.starts_with(&*part))
            }
            Function::EndsWith => {
                let (text, part) = (self.text_of(first)?, self.text_of(second)?);
                Item::Boolean(text.ends_with(&*part))
            }
            Function::SubstringBefore | Function::SubstringAfter => {
                let (text, part) = (self.text_of(first)?, self.text_of(second)?);
                self.search(&text, &part)?;
                let found = text.split_once(&*part).map(|(before, after)| match function {
                    Function::SubstringBefore => before.to_owned(),
                    _ => after.to_owned(),
                });
                Item::Text(Cow::Owned(found.unwrap_or_default()))
            }
            Function::Substring => {
                let text = self.text_of(first)?;
                let from = self.single_number(second)?.round();
                let until = match arguments.len() {
                    3 => from + self.single_number(third)?.round(),
                    _ => f64::INFINITY,
                };
                let places = text.chars().zip(1u32..);
                let part = places.filter(|(_, n)| f64::from(*n) >= from && f64::from(*n) < until);
                Item::Text(Cow::Owned(part.map(|(c, _)| c).collect()))
            }
            Function::StringLength => Item::Number(self.text_of(first)?.chars().count() as f64),
            Function::NormalizeSpace => {
                let text = self.text_of(first)?;
                let words = text.split_ascii_whitespace().collect::<Vec<_>>();
                Item::Text(Cow::Owned(words.join(" ")))
            }
            Function::UpperCase => Item::Text(Cow::Owned(self.text_of(first)?.to_uppercase())),
            Function::LowerCase => Item::Text(Cow::Owned(self.text_of(first)?.to_lowercase())),
            Function::Sum => Item::Number(self.numbers(first)?.iter().sum()),
            Function::Min | Function::Max | Function::Average => {
                let numbers = self.numbers(first)?;
                let found = match function {
                    Function::Min => numbers.iter().copied().reduce(f64::min),
                    Function::Max => numbers.iter().copied().reduce(f64::max),
                    _ => Some(numbers.iter().sum::<f64>() / numbers.len() as f64)
                        .filter(|_| !numbers.is_empty()),
                };
                return Ok(found.map(Item::Number).into_iter().collect());
            }
            Function::Absolute | Function::Floor | Function::Ceiling | Function::Round => {
                if first.is_empty() {
                    return Ok(Value::new());
                }
                let number = self.single_number(first)?;
                Item::Number(match function {
                    Function::Absolute => number.abs(),
                    Function::Floor => number.floor(),
                    Function::Ceiling => number.ceil(),
                    // Halves go up, also below zero.
                    _ => (number + 0.5).floor(),
                })
            }
            Function::Concat => return Err(Failed),
        }))
    }

    fn concat(&mut self, all: &[Expr], focus: Option<Focus<'_, 'd>>) -> Result<Value<'d>> {
        let mut text = String::new();
        for expr in all {
            let value = self.eval(expr, focus)?;
            text.push_str(&self.text_of(&value)?);
            self.pay(text.len() / 16)?;
        }
        Ok(one(Item::Text(Cow::Owned(text))))
    }

    /// At most one item as text.
    fn text_of(&mut self, value: &Value<'d>) -> Result<Cow<'d, str>> {
        let text = match &value[..] {
            [] => return Ok(Cow::Borrowed("")),
            [item] => self.text(item)?,
            _ => return Err(Failed),
        };
        self.pay(text.len() / 16)?;
        Ok(text)
    }

    /// Looking for a part may cost more than reading both.
    fn search(&mut self, text: &str, part: &str) -> Result<()> {
        self.pay((text.len() + part.len()) / 8)
    }

    fn single_number(&mut self, value: &Value<'d>) -> Result<f64> {
        match &value[..] {
            [item] => Ok(self.atom(item)?.number()),
            _ => Err(Failed),
        }
    }

    fn numbers(&mut self, value: &Value<'d>) -> Result<Vec<f64>> {
        value.iter().map(|item| Ok(self.atom(item)?.number())).collect()
    }
}

fn takes_context(function: Function) -> bool {
    matches!(
        function,
        Function::Number
            | Function::String
            | Function::Name
            | Function::LocalName
            | Function::StringLength
            | Function::NormalizeSpace
    )
}

/// A node's name without its prefix, which a document's reader does not keep.
fn name_of<'d>(value: &Value<'d>) -> Result<Cow<'d, str>> {
    Ok(Cow::Borrowed(match &value[..] {
        [] => "",
        [Item::Node(node)] => node.tag_name().name(),
        [Item::Attribute(node, n)] => node.attributes().nth(*n).map_or("", |a| a.name()),
        _ => return Err(Failed),
    }))
}
