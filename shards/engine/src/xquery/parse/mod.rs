//! Reading a query. One pass over the text, without tokens: what a word means depends on where it
//! stands (`div` may be an operator or an element).

mod path;
mod text;

use super::ast::*;
use super::{Query, QueryError, Variable};

/// How deep expressions may nest.
const DEPTH: usize = 48;
type Result<T> = std::result::Result<T, QueryError>;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    variables: Vec<Variable>,
    /// Names in scope, the innermost last.
    scope: Vec<(Box<str>, usize)>,
    namespaces: Vec<(Box<str>, Box<str>)>,
    /// Of elements without a prefix.
    default: Option<Box<str>>,
}

pub(super) fn query(text: &str) -> Result<Query> {
    let mut p = Parser {
        text,
        at: 0,
        depth: 0,
        variables: Vec::new(),
        scope: Vec::new(),
        namespaces: [
            ("xml", "http://www.w3.org/XML/1998/namespace"),
            ("fn", "http://www.w3.org/2005/xpath-functions"),
            ("xs", "http://www.w3.org/2001/XMLSchema"),
        ]
        .map(|(prefix, name)| (prefix.into(), name.into()))
        .into(),
        default: None,
    };
    p.prolog()?;
    let body = p.expr()?;
    p.space()?;
    if p.at < p.text.len() {
        return p.expected("an operator or the end");
    }
    Ok(Query { variables: p.variables, body })
}

impl Parser<'_> {
    // ---- prolog --------------------------------------------------------------------------

    fn prolog(&mut self) -> Result<()> {
        if self.words("xquery version")? {
            self.needed_literal()?;
            if self.words("encoding")? {
                self.needed_literal()?;
            }
            self.need(";")?;
        }
        loop {
            if self.words("declare namespace")? {
                self.space()?;
                let Some(prefix) = self.name() else { return self.expected("a prefix") };
                self.need("=")?;
                let name = self.needed_literal()?;
                self.namespaces.push((prefix.into(), name));
            } else if self.words("declare default element namespace")? {
                self.default = Some(self.needed_literal()?).filter(|name| !name.is_empty());
            } else if self.words_before("declare variable", "$")? {
                let name = self.variable_name()?;
                if self.words("as")? {
                    self.sequence_type()?;
                }
                let variable = if self.words("external")? {
                    Variable::External(name.clone())
                } else {
                    self.need(":=")?;
                    Variable::Declared(self.single()?)
                };
                self.variables.push(variable);
                self.scope.push((name, self.variables.len() - 1));
            } else {
                return Ok(());
            }
            self.need(";")?;
        }
    }

    /// `xs:integer`, `item()*` and the like: read, and of no consequence.
    fn sequence_type(&mut self) -> Result<()> {
        self.space()?;
        if self.qualified().is_none() {
            return self.expected("a type");
        }
        if self.sign("(")? {
            self.need(")")?;
        }
        let _ = self.sign("?")? || self.sign("*")? || self.sign("+")?;
        Ok(())
    }

    fn variable_name(&mut self) -> Result<Box<str>> {
        self.need("$")?;
        match self.qualified() {
            Some((Some(prefix), name)) => Ok(format!("{prefix}:{name}").into()),
            Some((None, name)) => Ok(name.into()),
            None => self.expected("the name of a variable"),
        }
    }

    // ---- expressions ---------------------------------------------------------------------

    fn expr(&mut self) -> Result<Expr> {
        let first = self.single()?;
        if !self.sign(",")? {
            return Ok(first);
        }
        let mut all = vec![first, self.single()?];
        while self.sign(",")? {
            all.push(self.single()?);
        }
        Ok(Expr::Sequence(all))
    }

    fn single(&mut self) -> Result<Expr> {
        if self.depth == DEPTH {
            return self.expected("an expression that nests less");
        }
        self.depth += 1;
        let scope = self.scope.len();
        let expr = self.single_here();
        self.scope.truncate(scope);
        self.depth -= 1;
        expr
    }

    fn single_here(&mut self) -> Result<Expr> {
        if self.words_before("for", "$")? {
            return self.bind(Binding::For);
        }
        if self.words_before("let", "$")? {
            return self.bind(Binding::Let);
        }
        for (word, how) in [("some", Binding::Some), ("every", Binding::Every)] {
            if self.words_before(word, "$")? {
                return self.bind(how);
            }
        }
        if self.words_before("if", "(")? {
            self.need("(")?;
            let condition = self.expr()?;
            self.need(")")?;
            if !self.words("then")? {
                return self.expected("\"then\"");
            }
            let then = self.single()?;
            if !self.words("else")? {
                return self.expected("\"else\"");
            }
            return Ok(Expr::If(Box::new([condition, then, self.single()?])));
        }
        self.or()
    }

    /// From the variable of a clause on.
    fn bind(&mut self, how: Binding) -> Result<Expr> {
        let name = self.variable_name()?;
        if self.words("as")? {
            self.sequence_type()?;
        }
        if how == Binding::Let {
            self.need(":=")?;
        } else if !self.words("in")? {
            return self.expected("\"in\"");
        }
        let value = self.single()?;
        self.variables.push(Variable::Local);
        let variable = self.variables.len() - 1;
        self.scope.push((name, variable));
        let body = self.behind_clause(how)?;
        Ok(Expr::Bind(Box::new(Bind { how, variable, value, body })))
    }

    fn behind_clause(&mut self, how: Binding) -> Result<Expr> {
        if self.depth == DEPTH {
            return self.expected("a query with fewer clauses");
        }
        self.depth += 1;
        let quantifies = matches!(how, Binding::Some | Binding::Every);
        let body = if self.sign(",")? {
            self.bind(how)
        } else if quantifies && self.words("satisfies")? {
            self.single()
        } else if quantifies {
            self.expected("\"satisfies\"")
        } else if self.words_before("for", "$")? {
            self.bind(Binding::For)
        } else if self.words_before("let", "$")? {
            self.bind(Binding::Let)
        } else {
            self.behind_clauses()
        };
        self.depth -= 1;
        body
    }

    fn behind_clauses(&mut self) -> Result<Expr> {
        let condition = if self.words("where")? { Some(self.single()?) } else { None };
        if !self.words("return")? {
            return self.expected("\"return\"");
        }
        let body = self.single()?;
        Ok(match condition {
            Some(condition) => Expr::If(Box::new([condition, body, Expr::Sequence(Vec::new())])),
            None => body,
        })
    }

    fn or(&mut self) -> Result<Expr> {
        let first = self.and()?;
        self.chain(first, "or", Parser::and, Expr::Or)
    }

    fn and(&mut self) -> Result<Expr> {
        let first = self.comparison()?;
        self.chain(first, "and", Parser::comparison, Expr::And)
    }

    fn chain(
        &mut self,
        first: Expr,
        word: &str,
        next: fn(&mut Self) -> Result<Expr>,
        of: fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr> {
        if !self.words(word)? {
            return Ok(first);
        }
        let mut all = vec![first, next(self)?];
        while self.words(word)? {
            all.push(next(self)?);
        }
        Ok(of(all))
    }

    fn comparison(&mut self) -> Result<Expr> {
        use Compare::*;
        let left = self.sum()?;
        let signs = [
            ("=", Equal),
            ("!=", NotEqual),
            ("<=", AtMost),
            ("<", Less),
            (">=", AtLeast),
            (">", Greater),
        ];
        let words = [
            ("eq", Equal),
            ("ne", NotEqual),
            ("lt", Less),
            ("le", AtMost),
            ("gt", Greater),
            ("ge", AtLeast),
        ];
        let mut found = None;
        for (sign, how) in signs {
            if found.is_none() && self.sign(sign)? {
                found = Some((how, false));
            }
        }
        for (word, how) in words {
            if found.is_none() && self.words(word)? {
                found = Some((how, true));
            }
        }
        let Some((how, single)) = found else { return Ok(left) };
        let right = self.sum()?;
        Ok(Expr::Compare(Box::new(Comparison { how, single, left, right })))
    }

    fn sum(&mut self) -> Result<Expr> {
        let first = self.product()?;
        let mut more = Vec::new();
        loop {
            let how = if self.sign("+")? {
                Arithmetic::Add
            } else if self.sign("-")? {
                Arithmetic::Subtract
            } else {
                return Ok(arithmetic(first, more));
            };
            more.push((how, self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expr> {
        let first = self.union()?;
        let mut more = Vec::new();
        loop {
            let how = if self.sign("*")? {
                Arithmetic::Multiply
            } else if self.words("div")? {
                Arithmetic::Divide
            } else if self.words("idiv")? {
                Arithmetic::DivideWhole
            } else if self.words("mod")? {
                Arithmetic::Modulo
            } else {
                return Ok(arithmetic(first, more));
            };
            more.push((how, self.union()?));
        }
    }

    fn union(&mut self) -> Result<Expr> {
        let mut negative = false;
        loop {
            if self.sign("-")? {
                negative = !negative;
            } else if !self.sign("+")? {
                break;
            }
        }
        let first = self.path()?;
        let mut all = vec![first];
        while self.sign("|")? || self.words("union")? {
            all.push(self.path()?);
        }
        let all = if all.len() == 1 { all.remove(0) } else { Expr::Union(all) };
        Ok(if negative { Expr::Negate(Box::new(all)) } else { all })
    }
}

fn arithmetic(first: Expr, more: Vec<(Arithmetic, Expr)>) -> Expr {
    if more.is_empty() { first } else { Expr::Arithmetic(Box::new(first), more) }
}
