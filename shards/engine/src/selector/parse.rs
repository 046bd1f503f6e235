//! From words to a tree: one function for each level of precedence, weakest first (JMS 2.0
//! §3.8.1.1). What the text means is this, where OR binds weakest:
//!
//! ```text
//! selector   = [ or ]
//! or         = and *( "OR" and )
//! and        = condition *( "AND" condition )
//! condition  = "NOT" condition | sum [ comparison ]
//! comparison = ( "=" | "<>" | "<" | ">" | "<=" | ">=" ) sum
//!            | "IS" [ "NOT" ] "NULL"
//!            | [ "NOT" ] "LIKE" string [ "ESCAPE" string ]
//!            | [ "NOT" ] "BETWEEN" sum "AND" sum
//!            | [ "NOT" ] "IN" "(" sum *( "," sum ) ")"
//! sum        = product *( ( "+" | "-" ) product )
//! product    = factor *( ( "*" | "/" ) factor )
//! factor     = ( "+" | "-" ) factor | "(" or ")" | identifier | literal
//! ```
//!
//! As in the reference broker types are not checked here: a condition that makes no sense of the
//! types it meets is unknown or false. Only parentheses recurse.

use super::error::{MAX_DEPTH, MAX_IDENTIFIERS, MAX_LENGTH, MAX_PATTERNS, SelectorError};
use super::eval::{Node, Test};
use super::identifier::Identifier;
use super::like::Pattern;
use super::token::{Lexer, Token};
use super::value::{Arithmetic, Comparison};
use std::ops::Range;

/// The tree of a selector, and the identifiers it refers to by number.
pub(super) fn parse(text: &str) -> Result<(Node, Box<[Identifier]>), SelectorError> {
    if text.len() > MAX_LENGTH {
        return Err(SelectorError::TooLong { len: text.len() });
    }
    let mut lexer = Lexer::new(text);
    let (token, at) = lexer.next()?;
    let identifiers = Vec::new();
    let mut parser = Parser { lexer, token, at, depth: 0, patterns: 0, identifiers };
    let root = match parser.token {
        Token::End => Node::Bool(true),
        _ => parser.or()?,
    };
    if parser.token != Token::End {
        return parser.expected("an operator or the end");
    }
    Ok((root, parser.identifiers.into()))
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The word that comes next, and where it stands.
    token: Token<'a>,
    at: Range<usize>,
    /// How many parentheses are open.
    depth: usize,
    /// How many LIKEs there were.
    patterns: usize,
    identifiers: Vec<Identifier>,
}

type Parsed<T> = Result<T, SelectorError>;

impl<'a> Parser<'a> {
    fn expected<T>(&self, expected: &'static str) -> Parsed<T> {
        Err(self.lexer.unexpected(expected, self.at.clone()))
    }

    fn column(&self) -> usize {
        self.lexer.column(self.at.start)
    }

    /// Goes on to the next word, and returns this one.
    fn advance(&mut self) -> Parsed<Token<'a>> {
        let (token, at) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    /// Goes on if this is the next word, and says whether it was.
    fn take(&mut self, token: &Token<'_>) -> Parsed<bool> {
        let taken = self.token == *token;
        if taken {
            self.advance()?;
        }
        Ok(taken)
    }

    fn must(&mut self, token: &Token<'_>, expected: &'static str) -> Parsed<()> {
        if self.take(token)? { Ok(()) } else { self.expected(expected) }
    }

    fn or(&mut self) -> Parsed<Node> {
        let first = self.and()?;
        if self.token != Token::Or {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.take(&Token::Or)? {
            operands.push(self.and()?);
        }
        Ok(Node::Or(operands.into()))
    }

    fn and(&mut self) -> Parsed<Node> {
        let first = self.condition()?;
        if self.token != Token::And {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.take(&Token::And)? {
            operands.push(self.condition()?);
        }
        Ok(Node::And(operands.into()))
    }

    fn condition(&mut self) -> Parsed<Node> {
        let mut count = 0;
        while self.take(&Token::Not)? {
            count += 1;
        }
        Ok(repeated(Node::Not, count, self.comparison()?))
    }

    fn comparison(&mut self) -> Parsed<Node> {
        let operand = self.sum()?;
        let by = match self.token {
            Token::Equal => Comparison::Equal,
            Token::NotEqual => Comparison::NotEqual,
            Token::Less => Comparison::Less,
            Token::Greater => Comparison::Greater,
            Token::AtMost => Comparison::AtMost,
            Token::AtLeast => Comparison::AtLeast,
            Token::Is => return self.is_null(operand),
            Token::Not | Token::Like | Token::Between | Token::In => return self.special(operand),
            _ => return Ok(operand),
        };
        self.advance()?;
        Ok(Node::Compare(by, Box::new([operand, self.sum()?])))
    }

    fn is_null(&mut self, operand: Node) -> Parsed<Node> {
        self.advance()?;
        let negated = self.take(&Token::Not)?;
        let expected = if negated { "NULL after IS NOT" } else { "NULL or NOT NULL after IS" };
        self.must(&Token::Null, expected)?;
        Ok(Node::IsNull(Box::new(Test { operand, negated })))
    }

    fn special(&mut self, operand: Node) -> Parsed<Node> {
        let negated = self.take(&Token::Not)?;
        let test = Box::new(Test { operand, negated });
        match self.token {
            Token::Like => {
                self.advance()?;
                Ok(Node::Like(test, Box::new(self.pattern()?)))
            }
            Token::Between => {
                self.advance()?;
                let from = self.sum()?;
                self.must(&Token::And, "AND after BETWEEN and a value")?;
                Ok(Node::Between(test, Box::new([from, self.sum()?])))
            }
            Token::In => {
                self.advance()?;
                Ok(Node::In(test, self.list()?))
            }
            _ => self.expected("LIKE, BETWEEN or IN after NOT"),
        }
    }

    fn pattern(&mut self) -> Parsed<Pattern> {
        let Token::Text(text) = &self.token else {
            return self.expected("a string after LIKE");
        };
        let (text, column) = (text.clone(), self.column());
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            return Err(SelectorError::TooManyPatterns { column });
        }
        self.advance()?;
        let escape = if self.take(&Token::Escape)? { self.escape()? } else { None };
        Pattern::new(&text, escape).ok_or(SelectorError::PatternTooLong { column })
    }

    /// One character; or none, in an empty string, which the reference broker takes for no ESCAPE.
    fn escape(&mut self) -> Parsed<Option<char>> {
        let Token::Text(text) = &self.token else {
            return self.expected("a string after ESCAPE");
        };
        let mut characters = text.chars();
        let escape = characters.next();
        if characters.next().is_some() {
            return self.expected("a single character after ESCAPE");
        }
        if matches!(escape, Some('%' | '_')) {
            return self.expected("another character than % and _ after ESCAPE");
        }
        self.advance()?;
        Ok(escape)
    }

    fn list(&mut self) -> Parsed<Box<[Node]>> {
        self.must(&Token::Open, "( after IN")?;
        let mut list = vec![self.sum()?];
        while self.take(&Token::Comma)? {
            list.push(self.sum()?);
        }
        self.must(&Token::Close, "a comma or ) in the list of IN")?;
        Ok(list.into())
    }

    fn sum(&mut self) -> Parsed<Node> {
        let signs = |token: &Token<'_>| match token {
            Token::Plus => Some(Arithmetic::Add),
            Token::Minus => Some(Arithmetic::Subtract),
            _ => None,
        };
        self.chain(signs, Parser::product)
    }

    fn product(&mut self) -> Parsed<Node> {
        let operators = |token: &Token<'_>| match token {
            Token::Times => Some(Arithmetic::Multiply),
            Token::Over => Some(Arithmetic::Divide),
            _ => None,
        };
        self.chain(operators, Parser::factor)
    }

    /// Operands with operators between them, which bind from left to right.
    fn chain(
        &mut self,
        operator: impl Fn(&Token<'_>) -> Option<Arithmetic>,
        operand: impl Fn(&mut Parser<'a>) -> Parsed<Node>,
    ) -> Parsed<Node> {
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Some(by) = operator(&self.token) {
            self.advance()?;
            rest.push((by, operand(self)?));
        }
        Ok(if rest.is_empty() { first } else { Node::Calculate(Box::new(first), rest.into()) })
    }

    fn factor(&mut self) -> Parsed<Node> {
        let mut negations = 0;
        let mut after_minus = false;
        loop {
            match self.token {
                Token::Plus => after_minus = false,
                Token::Minus => {
                    negations += 1;
                    after_minus = true;
                }
                _ => break,
            }
            self.advance()?;
        }
        // The least integer has no positive: a sign right before an integer belongs to it.
        let is_negative = after_minus && matches!(self.token, Token::Exact(_));
        let operand = self.primary(is_negative)?;
        Ok(repeated(Node::Negate, negations - usize::from(is_negative), operand))
    }

    fn primary(&mut self, is_negative: bool) -> Parsed<Node> {
        let node = match &self.token {
            Token::Identifier(name) => {
                let name = name.clone();
                Node::Identifier(self.identifier(&name)?)
            }
            Token::Text(text) => Node::Text(text.as_ref().into()),
            Token::Exact(integer) => match integer.signed(is_negative) {
                Ok(value) => Node::Exact(value),
                Err(expected) => return self.expected(expected),
            },
            Token::Approx(value) => Node::Approx(*value),
            Token::True => Node::Bool(true),
            Token::False => Node::Bool(false),
            Token::Open => return self.parentheses(),
            _ => return self.expected("a name, a value or ("),
        };
        self.advance()?;
        Ok(node)
    }

    fn parentheses(&mut self) -> Parsed<Node> {
        if self.depth == MAX_DEPTH {
            return Err(SelectorError::TooDeep { column: self.column() });
        }
        self.depth += 1;
        self.advance()?;
        let node = self.or()?;
        self.must(&Token::Close, "an operator or )")?;
        self.depth -= 1;
        Ok(node)
    }

    /// The number of an identifier.
    fn identifier(&mut self, name: &str) -> Parsed<u8> {
        let known = self.identifiers.iter().position(|known| known.name() == name);
        let number = known.unwrap_or(self.identifiers.len());
        if number == MAX_IDENTIFIERS {
            return Err(SelectorError::TooManyIdentifiers { column: self.column() });
        }
        match self.identifiers.get_mut(number) {
            Some(known) => known.repeat(),
            None => self.identifiers.push(Identifier::new(name)),
        }
        Ok(number as u8)
    }
}

const _: () = assert!(MAX_IDENTIFIERS <= u8::MAX as usize, "a node holds its number in an octet");

/// An operator that undoes itself when it is applied once more, but for what it does to values of
/// other types: an even number of them is two.
fn repeated(operator: impl Fn(Box<Node>) -> Node, count: usize, operand: Node) -> Node {
    let times = if count == 0 { 0 } else { 2 - count % 2 };
    (0..times).fold(operand, |node, _| operator(Box::new(node)))
}
