//! What a query is once it is read: names are resolved, nothing of the text is looked at again.

/// An expression. Chains of one operator are lists, so that only what is nested nests.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Number(f64),
    Text(Box<str>),
    /// By its place among [`super::Query`]'s variables.
    Variable(usize),
    /// `.`
    Context,
    /// The document.
    Root,
    Sequence(Vec<Expr>),
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Compare(Box<Comparison>),
    Arithmetic(Box<Expr>, Vec<(Arithmetic, Expr)>),
    Negate(Box<Expr>),
    Union(Vec<Expr>),
    If(Box<[Expr; 3]>),
    Bind(Box<Bind>),
    Path(Box<Expr>, Vec<Step>),
    Filter(Box<Expr>, Vec<Expr>),
    Call(Function, Vec<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Comparison {
    pub(super) how: Compare,
    /// Of single values (`eq`), not of any with any (`=`).
    pub(super) single: bool,
    pub(super) left: Expr,
    pub(super) right: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    DivideWhole,
    Modulo,
}

/// A variable has a value in an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bind {
    pub(super) how: Binding,
    pub(super) variable: usize,
    pub(super) value: Expr,
    pub(super) body: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    For,
    Let,
    Some,
    Every,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) axis: Axis,
    pub(super) test: Test,
    pub(super) predicates: Vec<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Child,
    Attribute,
    Own,
    Descendant,
    DescendantOrOwn,
    Parent,
    Ancestor,
    AncestorOrOwn,
    FollowingSibling,
    PrecedingSibling,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// `*`, or a name in a namespace.
    Name {
        namespace: Namespace,
        local: Option<Box<str>>,
    },
    Text,
    Any,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Namespace {
    Any,
    None,
    Of(Box<str>),
}

/// The functions there are: their names, and how many arguments they take.
macro_rules! functions {
    ($($function:ident $name:literal $least:literal..=$most:literal)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function { $($function),* }

        impl Function {
            /// The function of that name, and with how many arguments.
            pub(super) fn named(name: &str) -> Option<(Function, usize, usize)> {
                match name {
                    $($name => Some((Function::$function, $least, $most)),)*
                    _ => None,
                }
            }
        }
    };
}

functions! {
    True "true" 0..=0
    False "false" 0..=0
    Not "not" 1..=1
    Boolean "boolean" 1..=1
    Number "number" 0..=1
    String "string" 0..=1
    Data "data" 1..=1
    Count "count" 1..=1
    Empty "empty" 1..=1
    Exists "exists" 1..=1
    Position "position" 0..=0
    Last "last" 0..=0
    Name "name" 0..=1
    LocalName "local-name" 0..=1
    Contains "contains" 2..=2
    StartsWith "starts-with" 2..=2
    EndsWith "ends-with" 2..=2
    Concat "concat" 2..=100
    Substring "substring" 2..=3
    SubstringBefore "substring-before" 2..=2
    SubstringAfter "substring-after" 2..=2
    StringLength "string-length" 0..=1
    NormalizeSpace "normalize-space" 0..=1
    UpperCase "upper-case" 1..=1
    LowerCase "lower-case" 1..=1
    Sum "sum" 1..=1
    Min "min" 1..=1
    Max "max" 1..=1
    Average "avg" 1..=1
    Absolute "abs" 1..=1
    Floor "floor" 1..=1
    Ceiling "ceiling" 1..=1
    Round "round" 1..=1
}
