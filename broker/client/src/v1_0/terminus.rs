//! The broker's end of a link, as it is asked for.

use fletch_amqp::EncodeError;
use fletch_amqp::v1_0::table::{Source, Target};
use fletch_amqp::v1_0::types::{MapRef, Symbol, Value, ValueRef, put_map, put_symbol};
use fletch_amqp::v1_0::{
    Composite, Multiple, TerminusDurability, std_dist_mode, terminus_expiry_policy,
};
use fletch_amqp::wire::{Reader, length32};

use super::unsettled::Unsettled;

/// A node of the broker's, and what a link does to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Terminus {
    /// The node's name. None leaves it to each message, or to the broker if `dynamic`.
    pub address: Option<String>,
    /// The broker makes a node for the link, and names it.
    pub dynamic: bool,
    /// What the node must be able to do, such as `create-on-demand`, `queue` or `topic`.
    pub capabilities: Vec<String>,
    /// What a node that is made is to be like.
    pub properties: Vec<(String, Value)>,
    /// What the link leaves behind when it is gone outlives the broker.
    pub durable: bool,
    /// What the link leaves behind never goes by itself.
    pub lasting: bool,
    /// Seconds for which what the link leaves behind waits for it.
    pub timeout: u32,
    /// Source: which messages are wanted: names and described values.
    pub filters: Vec<(String, Value)>,
    /// Source: messages are looked at, and stay.
    pub browse: bool,
}

impl Terminus {
    /// A node that is there.
    pub fn of(address: impl Into<String>) -> Terminus {
        Terminus { address: Some(address.into()), ..Terminus::default() }
    }

    pub(super) fn put_target(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (mut properties, symbols) = (Vec::new(), self.symbols()?);
        let target = Target {
            address: self.address.as_deref().map(ValueRef::of_str),
            durable: self.durability(),
            expiry_policy: self.expiry(),
            timeout: self.timeout,
            dynamic: self.dynamic,
            dynamic_node_properties: map(&self.properties, &mut properties)?,
            capabilities: Multiple::from(&symbols[..]),
        };
        target.encode(out)
    }

    pub(super) fn put_source(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (mut properties, mut filters, symbols) = (Vec::new(), Vec::new(), self.symbols()?);
        let source = Source {
            address: self.address.as_deref().map(ValueRef::of_str),
            durable: self.durability(),
            expiry_policy: self.expiry(),
            timeout: self.timeout,
            dynamic: self.dynamic,
            dynamic_node_properties: map(&self.properties, &mut properties)?,
            distribution_mode: self.browse.then_some(std_dist_mode::COPY),
            filter: map(&self.filters, &mut filters)?,
            capabilities: Multiple::from(&symbols[..]),
            ..Source::default()
        };
        source.encode(out)
    }

    fn durability(&self) -> TerminusDurability {
        if self.durable { TerminusDurability::UNSETTLED_STATE } else { TerminusDurability::NONE }
    }

    fn expiry(&self) -> Symbol<'static> {
        if self.lasting {
            terminus_expiry_policy::NEVER
        } else {
            terminus_expiry_policy::SESSION_END
        }
    }

    fn symbols(&self) -> Result<Vec<Symbol<'_>>, EncodeError> {
        self.capabilities.iter().map(|name| symbol(name)).collect()
    }
}

/// The broker's end of a link, as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Offered {
    /// What the broker calls the node.
    pub address: String,
    /// Which of what was asked for the node can do.
    pub capabilities: Vec<String>,
    /// What the node is like, as far as it was asked for.
    pub properties: Vec<(String, Value)>,
    /// Source: the filters that have an effect.
    pub filters: Vec<(String, Value)>,
    /// What the broker knows of deliveries of an earlier life of the link.
    pub unsettled: Unsettled,
}

impl Offered {
    pub(super) fn of_source(source: &Source<'_>) -> Offered {
        Offered {
            address: address(source.address),
            capabilities: source.capabilities.iter().map(|name| name.to_string()).collect(),
            properties: entries(source.dynamic_node_properties),
            filters: entries(source.filter),
            unsettled: Unsettled::default(),
        }
    }

    pub(super) fn of_target(target: &Target<'_>) -> Offered {
        Offered {
            address: address(target.address),
            capabilities: target.capabilities.iter().map(|name| name.to_string()).collect(),
            properties: entries(target.dynamic_node_properties),
            filters: Vec::new(),
            unsettled: Unsettled::default(),
        }
    }
}

fn address(value: Option<ValueRef<'_>>) -> String {
    value.and_then(ValueRef::as_str).unwrap_or_default().to_owned()
}

/// The entries of a map, up to the first that is malformed.
fn entries(map: Option<MapRef<'_>>) -> Vec<(String, Value)> {
    let all = map.into_iter().flat_map(|map| map.iter()).map_while(Result::ok);
    all.filter_map(|(key, value)| Some((key.as_text()?.to_owned(), value.to_value().ok()?)))
        .collect()
}

pub(super) fn symbol(name: &str) -> Result<Symbol<'_>, EncodeError> {
    Symbol::new(name).ok_or(EncodeError::NotAscii)
}

/// Entries as a map in `buffer`; none if there are none.
pub(super) fn map<'b>(
    entries: &[(String, Value)],
    buffer: &'b mut Vec<u8>,
) -> Result<Option<MapRef<'b>>, EncodeError> {
    if entries.is_empty() {
        return Ok(None);
    }
    put_map(buffer, |out| {
        for (name, value) in entries {
            put_symbol(symbol(name)?, out)?;
            value.encode(out)?;
        }
        length32(entries.len() * 2)
    })?;
    Ok(view(buffer).and_then(ValueRef::as_map))
}

/// A value that was encoded here.
pub(super) fn view(octets: &[u8]) -> Option<ValueRef<'_>> {
    ValueRef::decode(&mut Reader::new(octets)).ok()
}
