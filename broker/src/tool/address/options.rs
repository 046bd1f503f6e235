//! The options of an address and their meaning. What is not an option is an error, never ignored.

use fletch_amqp::types::{Map, Value};

use super::AddressError;
use super::parse::{Entry, Literal, Term, error_at, to_map};

/// For whom something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the words of the address syntax")]
pub enum Policy {
    #[default]
    Never,
    Sender,
    Receiver,
    Always,
}

/// How a receiver reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the words of the address syntax")]
pub enum Mode {
    #[default]
    Consume,
    Browse,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of the address syntax")]
pub enum NodeKind {
    Queue,
    Topic,
}

/// What is promised of each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of the address syntax")]
pub enum Reliability {
    Unreliable,
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

impl Reliability {
    /// Messages are not settled.
    pub fn is_unreliable(self) -> bool {
        matches!(self, Reliability::Unreliable | Reliability::AtMostOnce)
    }
}

/// All options.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// Who creates the node if it is not there.
    pub create: Policy,
    /// `create` was given.
    pub create_given: bool,
    /// Who checks that the node is as the options say.
    pub assert: Policy,
    /// Who deletes the node when done.
    pub delete: Policy,
    /// How a receiver reads a queue.
    pub mode: Mode,
    /// The node.
    pub node: NodeOptions,
    /// The link to it.
    pub link: LinkOptions,
}

/// `node: {...}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeOptions {
    /// A queue or a topic; otherwise the broker is asked.
    pub kind: Option<NodeKind>,
    /// Create it durable.
    pub durable: bool,
    /// How to declare it.
    pub declare: DeclareOptions,
    /// Bindings to make when it is created.
    pub bindings: Vec<BindingOptions>,
    /// AMQP 1.0: what the node must be able to do.
    pub capabilities: Vec<String>,
    /// AMQP 1.0: properties of a node that is made.
    pub properties: Map,
}

/// `link: {...}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinkOptions {
    /// The name of a topic's subscription queue.
    pub name: Option<String>,
    /// The subscription outlives its receiver.
    pub durable: bool,
    /// What is promised of each message.
    pub reliability: Option<Reliability>,
    /// Seconds that a subscription queue outlives its receiver.
    pub timeout: Option<u32>,
    /// How to declare the subscription queue.
    pub declare: DeclareOptions,
    /// Bindings for the time of the link.
    pub bindings: Vec<BindingOptions>,
    /// How to subscribe.
    pub subscribe: SubscribeOptions,
    /// Which messages to receive.
    pub selector: Option<String>,
    /// AMQP 1.0: which messages to receive, by more kinds of filter.
    pub filters: Vec<FilterOptions>,
}

/// `x-declare: {...}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeclareOptions {
    /// The type of an exchange.
    pub exchange_type: Option<String>,
    /// The `durable` of the command, above that of the node.
    pub durable: Option<bool>,
    /// The `auto-delete` of the command.
    pub auto_delete: Option<bool>,
    /// The `exclusive` of the command.
    pub exclusive: Option<bool>,
    /// The alternate exchange.
    pub alternate_exchange: Option<String>,
    /// Arguments.
    pub arguments: Map,
}

/// `x-subscribe: {...}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SubscribeOptions {
    /// The `exclusive` of the command.
    pub exclusive: Option<bool>,
    /// Arguments.
    pub arguments: Map,
}

/// `filter: {...}`, or one of a list of them.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the words of the address syntax")]
pub struct FilterOptions {
    pub name: String,
    pub descriptor: Value,
    pub value: Value,
}

/// One of `x-bindings: [...]`. What is not given is the node's own name.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "the words of the address syntax")]
pub struct BindingOptions {
    pub exchange: Option<String>,
    pub queue: Option<String>,
    pub key: Option<String>,
    pub arguments: Map,
}

/// Reads the options of an address; `text` is all of it.
pub(super) fn read(text: &str, term: &Term) -> Result<Options, AddressError> {
    let reader = Reader { text };
    let mut options = Options::default();
    reader.each(term, "an address", |entry| {
        let term = &entry.term;
        match entry.key.as_str() {
            "create" => {
                options.create = reader.choice(term, &POLICIES)?;
                options.create_given = true;
            }
            "assert" => options.assert = reader.choice(term, &POLICIES)?,
            "delete" => options.delete = reader.choice(term, &POLICIES)?,
            "mode" => options.mode = reader.choice(term, &MODES)?,
            "node" => options.node = reader.node(term)?,
            "link" => options.link = reader.link(term)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(options)
}

const POLICIES: [(&str, Policy); 4] = [
    ("always", Policy::Always),
    ("sender", Policy::Sender),
    ("receiver", Policy::Receiver),
    ("never", Policy::Never),
];
const MODES: [(&str, Mode); 2] = [("browse", Mode::Browse), ("consume", Mode::Consume)];
const KINDS: [(&str, NodeKind); 2] = [("queue", NodeKind::Queue), ("topic", NodeKind::Topic)];
const RELIABILITIES: [(&str, Reliability); 4] = [
    ("unreliable", Reliability::Unreliable),
    ("at-most-once", Reliability::AtMostOnce),
    ("at-least-once", Reliability::AtLeastOnce),
    ("exactly-once", Reliability::ExactlyOnce),
];

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn error<T>(&self, at: usize, message: impl Into<String>) -> Result<T, AddressError> {
        Err(error_at(self.text, at, message))
    }

    fn wanted<T>(&self, term: &Term, what: &str) -> Result<T, AddressError> {
        self.error(term.at, format!("expected {what}, found {}", term.literal.kind()))
    }

    /// Calls `read` with each entry; false means that there is no such option.
    fn each(
        &self,
        term: &Term,
        whose: &str,
        mut read: impl FnMut(&Entry) -> Result<bool, AddressError>,
    ) -> Result<(), AddressError> {
        let Literal::Map(entries) = &term.literal else { return self.wanted(term, "a map") };
        for entry in entries {
            if !read(entry)? {
                return self.error(entry.at, format!("{whose} has no option '{}'", entry.key));
            }
        }
        Ok(())
    }

    fn choice<T: Copy>(&self, term: &Term, choices: &[(&str, T)]) -> Result<T, AddressError> {
        let Literal::Text(word) = &term.literal else { return self.wanted(term, "a word") };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| name == word) {
            return Ok(*choice);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.error(term.at, format!("'{word}' is none of {}", names.join(", ")))
    }

    /// Text; a number is its digits, since names may look like one.
    fn text(&self, term: &Term) -> Result<String, AddressError> {
        match &term.literal {
            Literal::Text(text) => Ok(text.clone()),
            Literal::Int(number) => Ok(number.to_string()),
            Literal::Uint(number) => Ok(number.to_string()),
            _ => self.wanted(term, "text"),
        }
    }

    fn boolean(&self, term: &Term) -> Result<bool, AddressError> {
        match &term.literal {
            Literal::Boolean(value) => Ok(*value),
            Literal::Int(0) => Ok(false),
            Literal::Int(1) => Ok(true),
            // The reference's Python client writes its own defaults as quoted text.
            Literal::Text(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Literal::Text(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => self.wanted(term, "true or false"),
        }
    }

    fn seconds(&self, term: &Term) -> Result<u32, AddressError> {
        match term.literal {
            Literal::Int(seconds) if u32::try_from(seconds).is_ok() => Ok(seconds as u32),
            _ => self.wanted(term, "seconds"),
        }
    }

    fn arguments(&self, term: &Term) -> Result<Map, AddressError> {
        match &term.literal {
            Literal::Map(entries) => Ok(to_map(entries)),
            _ => self.wanted(term, "a map"),
        }
    }

    fn node(&self, term: &Term) -> Result<NodeOptions, AddressError> {
        let mut node = NodeOptions::default();
        self.each(term, "node", |entry| {
            match entry.key.as_str() {
                "type" => node.kind = Some(self.choice(&entry.term, &KINDS)?),
                "durable" => node.durable = self.boolean(&entry.term)?,
                "x-declare" => node.declare = self.declare(&entry.term)?,
                "x-bindings" => node.bindings = self.bindings(&entry.term)?,
                "capabilities" => node.capabilities = self.texts(&entry.term)?,
                "properties" => node.properties = self.arguments(&entry.term)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(node)
    }

    fn link(&self, term: &Term) -> Result<LinkOptions, AddressError> {
        let mut link = LinkOptions::default();
        self.each(term, "link", |entry| {
            let term = &entry.term;
            match entry.key.as_str() {
                "name" => link.name = Some(self.text(term)?),
                "durable" => link.durable = self.boolean(term)?,
                "reliability" => link.reliability = Some(self.choice(term, &RELIABILITIES)?),
                "timeout" => link.timeout = Some(self.seconds(term)?),
                "x-declare" => link.declare = self.declare(term)?,
                "x-bindings" => link.bindings = self.bindings(term)?,
                "x-subscribe" => link.subscribe = self.subscribe(term)?,
                "selector" => link.selector = Some(self.text(term)?),
                "filter" => link.filters = self.filters(term)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(link)
    }

    fn declare(&self, term: &Term) -> Result<DeclareOptions, AddressError> {
        let mut declare = DeclareOptions::default();
        self.each(term, "x-declare", |entry| {
            let term = &entry.term;
            match entry.key.replace('_', "-").as_str() {
                "type" => declare.exchange_type = Some(self.text(term)?),
                "durable" => declare.durable = Some(self.boolean(term)?),
                "auto-delete" => declare.auto_delete = Some(self.boolean(term)?),
                "exclusive" => declare.exclusive = Some(self.boolean(term)?),
                "alternate-exchange" => declare.alternate_exchange = Some(self.text(term)?),
                "arguments" => declare.arguments = self.arguments(term)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(declare)
    }

    fn subscribe(&self, term: &Term) -> Result<SubscribeOptions, AddressError> {
        let mut subscribe = SubscribeOptions::default();
        self.each(term, "x-subscribe", |entry| {
            match entry.key.as_str() {
                "exclusive" => subscribe.exclusive = Some(self.boolean(&entry.term)?),
                "arguments" => subscribe.arguments = self.arguments(&entry.term)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(subscribe)
    }

    /// A text, or a list of them.
    fn texts(&self, term: &Term) -> Result<Vec<String>, AddressError> {
        match &term.literal {
            Literal::List(terms) => terms.iter().map(|term| self.text(term)).collect(),
            _ => Ok(vec![self.text(term)?]),
        }
    }

    fn filters(&self, term: &Term) -> Result<Vec<FilterOptions>, AddressError> {
        match &term.literal {
            Literal::List(terms) => terms.iter().map(|term| self.filter(term)).collect(),
            _ => Ok(vec![self.filter(term)?]),
        }
    }

    fn filter(&self, term: &Term) -> Result<FilterOptions, AddressError> {
        let (mut name, mut descriptor, mut value) = (None, None, None);
        self.each(term, "a filter", |entry| {
            match entry.key.as_str() {
                "name" => name = Some(self.text(&entry.term)?),
                "descriptor" => descriptor = Some(entry.term.literal.to_value()),
                "value" => value = Some(entry.term.literal.to_value()),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        match (name, descriptor, value) {
            (Some(name), Some(descriptor), Some(value)) => {
                Ok(FilterOptions { name, descriptor, value })
            }
            _ => self.error(term.at, "a filter needs name, descriptor and value"),
        }
    }

    fn bindings(&self, term: &Term) -> Result<Vec<BindingOptions>, AddressError> {
        let Literal::List(terms) = &term.literal else { return self.wanted(term, "a list") };
        terms.iter().map(|term| self.binding(term)).collect()
    }

    fn binding(&self, term: &Term) -> Result<BindingOptions, AddressError> {
        let mut binding = BindingOptions::default();
        self.each(term, "a binding", |entry| {
            let term = &entry.term;
            match entry.key.as_str() {
                "exchange" => binding.exchange = Some(self.text(term)?),
                "queue" => binding.queue = Some(self.text(term)?),
                "key" => binding.key = Some(self.text(term)?),
                "arguments" => binding.arguments = self.arguments(term)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(binding)
    }
}
