//! What the options of an address ask for, in AMQP 1.0: capabilities, properties of the node, and filters, as the
//! reference's clients have it. An option that has no like is refused.

use anyhow::{Result, bail};
use fletch_amqp::types::{Map, Value as Old};
use fletch_amqp::v1_0::types::Value;
use fletch_client::v1_0::{Offered, Terminus};

use crate::tool::address::{Address, Mode, NodeKind, Policy};

/// Who attaches a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Sender,
    Receiver,
}

/// Seconds that what a durable link has at the broker waits for it, unless the address says otherwise.
const DURABLE_TIMEOUT: u32 = 120;

/// Descriptors of filters (`apache.org:legacy-amqp-direct-binding:string` and its like).
const DIRECT_FILTER: u64 = 0x0000_468C_0000_0000;
const TOPIC_FILTER: u64 = 0x0000_468C_0000_0001;
const SELECTOR_FILTER: u64 = 0x0000_468C_0000_0004;

/// How the specification names the policies of the reference.
const LIFETIMES: [(&str, &str); 4] = [
    ("delete-on-close", "amqp:delete-on-close:list"),
    ("delete-if-unused", "amqp:delete-on-no-links:list"),
    ("delete-if-empty", "amqp:delete-on-no-messages:list"),
    ("delete-if-unused-and-empty", "amqp:delete-on-no-links-or-messages:list"),
];

/// The terminus of an address.
pub(super) fn of(address: &Address, whose: For) -> Result<Terminus> {
    refuse(address)?;
    let options = &address.options;
    let create = applies(options.create, whose);
    let wants_node = address.temporary || create || applies(options.assert, whose);
    let link = &options.link;
    let mut terminus = Terminus {
        address: (!address.temporary).then(|| address.name.clone()),
        dynamic: address.temporary,
        capabilities: capabilities(address, create && !address.temporary),
        properties: if wants_node { properties(address)? } else { Vec::new() },
        durable: link.durable,
        ..Terminus::default()
    };
    if whose == For::Receiver {
        let reliable = link.reliability.is_some_and(|reliability| !reliability.is_unreliable());
        let usual = if link.durable && !reliable { DURABLE_TIMEOUT } else { 0 };
        terminus.timeout = link.timeout.unwrap_or(usual);
        terminus.browse = options.mode == Mode::Browse;
        terminus.filters = filters(address)?;
    }
    Ok(terminus)
}

/// Fails if the address has a policy to assert that the node is what it says, and it is not.
pub(super) fn assert(
    address: &Address,
    whose: For,
    asked: &Terminus,
    offered: &Offered,
) -> Result<()> {
    if !applies(address.options.assert, whose) {
        return Ok(());
    }
    let missing = |what: &str, names: Vec<&str>| match names.is_empty() {
        true => Ok(()),
        false => bail!("{address}: {what} not met: {}", names.join(", ")),
    };
    let wanted = asked.capabilities.iter().map(String::as_str);
    let wanted = wanted.filter(|name| *name != "create-on-demand");
    let lacks = |name: &&str| !offered.capabilities.iter().any(|offered| offered == name);
    missing("desired capabilities", wanted.filter(lacks).collect())?;
    missing("desired filters", unmet(&asked.filters, &offered.filters))?;
    missing("requested node properties", unmet(&asked.properties, &offered.properties))
}

/// The names of those that are not there, or not so.
fn unmet<'a>(asked: &'a [(String, Value)], offered: &[(String, Value)]) -> Vec<&'a str> {
    // Of flags only those that are set are offered.
    let met = |wanted: &(String, Value)| match offered.iter().find(|found| found.0 == wanted.0) {
        Some(found) => same(&found.1, &wanted.1),
        None => wanted.1 == Value::Boolean(false),
    };
    asked.iter().filter(|wanted| !met(wanted)).map(|(name, _)| name.as_str()).collect()
}

/// Whether two values are the same, though they may be of types that differ.
fn same(found: &Value, wanted: &Value) -> bool {
    match (integer(found), integer(wanted)) {
        (Some(found), Some(wanted)) => found == wanted,
        _ => match (found, wanted) {
            (Value::String(a) | Value::Symbol(a), Value::String(b) | Value::Symbol(b)) => a == b,
            // A policy has two names, of which one is a number.
            (Value::Described(_), Value::Described(_)) => true,
            _ => found == wanted,
        },
    }
}

fn integer(value: &Value) -> Option<i128> {
    Some(match *value {
        Value::Ubyte(number) => number.into(),
        Value::Ushort(number) => number.into(),
        Value::Uint(number) => number.into(),
        Value::Ulong(number) => number.into(),
        Value::Byte(number) => number.into(),
        Value::Short(number) => number.into(),
        Value::Int(number) => number.into(),
        Value::Long(number) => number.into(),
        _ => return None,
    })
}

fn refuse(address: &Address) -> Result<()> {
    let (options, node, link) = (&address.options, &address.options.node, &address.options.link);
    for (name, given) in [
        ("delete", options.delete != Policy::Never),
        ("node: {x-bindings}", !node.bindings.is_empty()),
        ("link: {x-bindings}", !link.bindings.is_empty()),
        ("link: {x-declare}", link.declare != Default::default()),
        ("link: {x-subscribe}", link.subscribe != Default::default()),
    ] {
        if given {
            bail!("{name}: AMQP 1.0 has nothing like this option of an address");
        }
    }
    Ok(())
}

fn applies(policy: Policy, whose: For) -> bool {
    match policy {
        Policy::Always => true,
        Policy::Sender => whose == For::Sender,
        Policy::Receiver => whose == For::Receiver,
        Policy::Never => false,
    }
}

fn capabilities(address: &Address, create: bool) -> Vec<String> {
    let node = &address.options.node;
    let mut capabilities = node.capabilities.clone();
    let kind = node.kind.map(|kind| match kind {
        NodeKind::Queue => "queue",
        NodeKind::Topic => "topic",
    });
    let more = [create.then_some("create-on-demand"), kind, node.durable.then_some("durable")];
    capabilities.extend(more.into_iter().flatten().map(str::to_owned));
    capabilities
}

fn properties(address: &Address) -> Result<Vec<(String, Value)>> {
    let node = &address.options.node;
    let mut properties = Vec::new();
    let mut put = |name: &str, value| properties.push((name.to_owned(), value));
    if let Some(kind) = node.kind {
        let modes = if kind == NodeKind::Topic { "copy" } else { "move" };
        put("supported-dist-modes", Value::String(modes.into()));
    }
    if node.durable && node.declare.durable.is_none() {
        put("durable", Value::Boolean(true));
    }
    let declare = &node.declare;
    let flags = [
        ("durable", declare.durable),
        ("auto-delete", declare.auto_delete),
        ("exclusive", declare.exclusive),
    ];
    for (name, flag) in flags {
        flag.into_iter().for_each(|flag| put(name, Value::Boolean(flag)));
    }
    let texts = [
        ("exchange-type", &declare.exchange_type),
        ("alternate-exchange", &declare.alternate_exchange),
    ];
    for (name, text) in texts {
        text.iter().for_each(|text| put(name, Value::String(text.clone())));
    }
    for (name, value) in declare.arguments.iter().chain(node.properties.iter()) {
        let value = match (name, value.view_text()) {
            ("lifetime-policy", Some(policy)) => lifetime(&policy),
            _ => modern(value)?,
        };
        put(name, value);
    }
    let said = |name: &str| properties.iter().any(|(known, _)| known == name);
    if address.temporary && !said("lifetime-policy") && !said("auto-delete") {
        properties.push(("lifetime-policy".into(), lifetime("delete-on-close")));
    }
    Ok(properties)
}

fn lifetime(policy: &str) -> Value {
    let known = LIFETIMES.iter().find(|(name, _)| *name == policy);
    let symbol = known.map_or(policy, |(_, symbol)| symbol);
    described(Value::Symbol(symbol.into()), Value::List(Vec::new()))
}

fn described(descriptor: Value, value: Value) -> Value {
    Value::Described(Box::new((descriptor, value)))
}

fn filters(address: &Address) -> Result<Vec<(String, Value)>> {
    let link = &address.options.link;
    let mut filters = Vec::new();
    let mut put = |name: &str, descriptor, value| {
        filters.push((name.to_owned(), described(descriptor, value)));
    };
    if let Some(selector) = &link.selector {
        put("selector", Value::Ulong(SELECTOR_FILTER), Value::String(selector.clone()));
    }
    if let Some(subject) = address.subject.as_ref().filter(|subject| !subject.is_empty()) {
        let code = if subject.contains(['*', '#']) { TOPIC_FILTER } else { DIRECT_FILTER };
        put("subject-filter", Value::Ulong(code), Value::String(subject.clone()));
    }
    for filter in &link.filters {
        let descriptor = match modern(&filter.descriptor)? {
            Value::String(name) => match name.parse() {
                Ok(number) => Value::Ulong(number),
                Err(_) => Value::Symbol(name),
            },
            Value::Int(number) if number >= 0 => Value::Ulong(number as u64),
            Value::Long(number) if number >= 0 => Value::Ulong(number as u64),
            number @ Value::Ulong(_) => number,
            other => bail!("link: {{filter}}: {other:?} is no descriptor"),
        };
        put(&filter.name, descriptor, modern(&filter.value)?);
    }
    Ok(filters)
}

/// A value of an address, as one of AMQP 1.0.
fn modern(value: &Old) -> Result<Value> {
    let map = |map: &Map| -> Result<Value> {
        let entries =
            map.iter().map(|(key, value)| Ok((Value::String(key.into()), modern(value)?)));
        Ok(Value::Map(entries.collect::<Result<_>>()?))
    };
    Ok(match value {
        Old::Void => Value::Null,
        Old::Boolean(value) => Value::Boolean(*value),
        Old::Map(entries) => map(entries)?,
        Old::List(list) => Value::List(list.0.iter().map(modern).collect::<Result<_>>()?),
        Old::Float(number) => Value::Float(*number),
        Old::Double(number) => Value::Double(*number),
        value => match (value.as_i64(), value.as_u64(), value.view_text()) {
            (Some(number), ..) => match i32::try_from(number) {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Long(number),
            },
            (None, Some(number), _) => Value::Ulong(number),
            (None, None, Some(text)) => Value::String(text.into_owned()),
            _ => bail!("AMQP 1.0 has nothing like the value {value:?}"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminus(text: &str, whose: For) -> Result<Terminus> {
        of(&Address::parse(text, || "unique".into())?, whose)
    }

    #[test]
    fn options_become_capabilities_properties_and_filters() -> Result<()> {
        let made = "q; {create: sender, node: {type: queue, durable: true, x-declare: \
            {auto-delete: true, arguments: {'qpid.max_count': 7}}}}";
        let target = terminus(made, For::Sender)?;
        assert_eq!(target.address.as_deref(), Some("q"));
        assert_eq!(target.capabilities, ["create-on-demand", "queue", "durable"]);
        let names: Vec<_> = target.properties.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["supported-dist-modes", "durable", "auto-delete", "qpid.max_count"]);
        assert_eq!(target.properties[3].1, Value::Int(7));
        let source = terminus(made, For::Receiver)?;
        assert_eq!(source.capabilities, ["queue", "durable"]);
        assert!(source.properties.is_empty(), "nothing is made by a receiver");
        let source = terminus("t/a.#; {mode: browse, link: {selector: 'x=1'}}", For::Receiver)?;
        assert!(source.browse);
        let selector = described(Value::Ulong(SELECTOR_FILTER), Value::String("x=1".into()));
        let subject = described(Value::Ulong(TOPIC_FILTER), Value::String("a.#".into()));
        let expected = [("selector".into(), selector), ("subject-filter".into(), subject)];
        assert_eq!(source.filters, expected);
        Ok(())
    }

    #[test]
    fn a_temporary_node_goes_with_its_link() -> Result<()> {
        let target = terminus("#", For::Sender)?;
        assert!(target.dynamic && target.address.is_none());
        let policy = lifetime("delete-on-close");
        assert_eq!(target.properties, [("lifetime-policy".into(), policy)]);
        Ok(())
    }

    #[test]
    fn durable_links_wait_and_filters_have_descriptors() -> Result<()> {
        let durable = "t; {link: {durable: true, filter: {name: f, descriptor: 'a:b', value: c}}}";
        let source = terminus(durable, For::Receiver)?;
        assert!(source.durable && source.timeout == DURABLE_TIMEOUT);
        let filter = described(Value::Symbol("a:b".into()), Value::String("c".into()));
        assert_eq!(source.filters, [("f".into(), filter)]);
        Ok(())
    }

    #[test]
    fn what_has_no_like_is_refused_by_name() {
        for (text, name) in [
            ("q; {delete: always}", "delete"),
            ("q; {node: {x-bindings: [{exchange: e}]}}", "node: {x-bindings}"),
            ("q; {link: {x-bindings: [{exchange: e}]}}", "link: {x-bindings}"),
            ("q; {link: {x-declare: {exclusive: true}}}", "link: {x-declare}"),
            ("q; {link: {x-subscribe: {exclusive: true}}}", "link: {x-subscribe}"),
        ] {
            let error = terminus(text, For::Receiver).expect_err(text).to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
