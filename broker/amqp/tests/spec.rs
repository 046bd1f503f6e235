//! The 0-10 table against the official XML, in both directions.
//!
//! The XML is the one with the Qpid errata. It is taken from `FLETCH_AMQP_SPEC`, or from
//! `shared/spec` beside the checkout, or from Debian's package `amqp-specs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fletch_amqp::types::code;
use fletch_amqp::v0_10::table::{DOMAINS_NOT_TYPED, TABLE};
use fletch_amqp::v0_10::{DOMAINS, EntryRow};
use roxmltree::{Document, Node};

/// The classes that no broker implements, and all that is in them.
const LEFT_OUT_CLASSES: [&str; 2] = ["file", "stream"];

fn spec_path() -> PathBuf {
    if let Some(path) = std::env::var_os("FLETCH_AMQP_SPEC") {
        return path.into();
    }
    let beside =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec/amqp-0-10-errata.xml");
    let debian =
        PathBuf::from("/usr/share/amqp/specs/0-10-qpid/amqp.0-10-qpid-errata.stripped.xml");
    [beside.clone(), debian.clone()].into_iter().find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "no AMQP 0-10 specification at {} or {}: install the Debian package amqp-specs, or \
             set FLETCH_AMQP_SPEC to the XML with the Qpid errata",
            beside.display(),
            debian.display()
        )
    })
}

fn with_spec(check: impl FnOnce(Node<'_, '_>)) {
    let path = spec_path();
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = Document::parse_with_options(&text, options)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let root = document.root_element();
    assert_eq!((root.attribute("major"), root.attribute("minor")), (Some("0"), Some("10")));
    check(root);
}

fn children<'a, 'i>(node: Node<'a, 'i>, tag: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name((child_namespace(*child), tag)))
}

fn child_namespace<'a>(node: Node<'a, '_>) -> &'a str {
    node.tag_name().namespace().unwrap_or("")
}

fn name<'a>(node: Node<'a, '_>) -> &'a str {
    node.attribute("name").expect("the node has a name")
}

fn number(text: &str) -> u32 {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).expect("a hexadecimal number"),
        None => text.parse().expect("a decimal number"),
    }
}

fn attribute(node: Node<'_, '_>, attribute: &str) -> Option<u32> {
    node.attribute(attribute).map(number)
}

/// Domains by `class.name` (or name alone, outside of classes): their type, and whether they
/// enumerate values.
type Domains = BTreeMap<String, (String, bool)>;

fn domains(root: Node<'_, '_>) -> Domains {
    let mut domains = Domains::new();
    let mut add = |scope: &str, node: Node<'_, '_>| {
        for domain in children(node, "domain") {
            let base = domain.attribute("type").expect("a domain has a type").to_owned();
            let enumerated = children(domain, "enum").next().is_some();
            domains.insert(format!("{scope}{}", name(domain)), (base, enumerated));
        }
    };
    add("", root);
    for class in children(root, "class") {
        add(&format!("{}.", name(class)), class);
    }
    domains
}

/// The wire type of a field: its enumerated domain if the table has that, else the type at the end
/// of its chain of domains.
fn resolve(domains: &Domains, class: &str, declared: &str) -> String {
    let scoped = format!("{class}.{declared}");
    let key = if domains.contains_key(&scoped) { scoped } else { declared.to_owned() };
    match domains.get(&key) {
        None => declared.replace('-', "_"),
        Some((base, enumerated)) => {
            let short = key.rsplit('.').next().unwrap_or(&key);
            let typed = *enumerated && DOMAINS.iter().any(|row| row.name == short);
            if typed {
                short.replace('-', "_")
            } else {
                let scope = key.split_once('.').map_or(class, |(scope, _)| scope);
                resolve(domains, scope, base)
            }
        }
    }
}

/// One entry as text, so that a difference shows what differs.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: String,
    code: Option<u32>,
    size: u32,
    pack: u32,
    fields: Vec<(String, String)>,
    result: Option<String>,
    segments: bool,
}

fn entry_of_row(row: &EntryRow) -> Entry {
    let short = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    Entry {
        name: row.name.to_owned(),
        code: row.code.map(u32::from),
        size: row.size as u32,
        pack: row.pack as u32,
        fields: row
            .fields
            .iter()
            .map(|field| (field.name.trim_start_matches("r#").to_owned(), field.kind.to_owned()))
            .collect(),
        result: row.result.map(short),
        segments: row.segments,
    }
}

fn entry_of_node(node: Node<'_, '_>, class: &str, domains: &Domains) -> Entry {
    let method = !node.has_tag_name((child_namespace(node), "struct"));
    let fields = children(node, "field").map(|field| {
        let declared = field.attribute("type").expect("a field has a type");
        (name(field).replace('-', "_"), resolve(domains, class, declared))
    });
    let result = children(node, "result").next().map(|result| match result.attribute("type") {
        Some(named) => named.to_owned(),
        None => name(children(result, "struct").next().expect("a result has a struct")).to_owned(),
    });
    Entry {
        name: name(node).to_owned(),
        code: attribute(node, "code"),
        // Controls and commands have no size and two octets of flags: the specification says so
        // in its text, not in attributes.
        size: attribute(node, "size").unwrap_or(if method { 0 } else { u32::MAX }),
        pack: attribute(node, "pack").unwrap_or(if method { 2 } else { u32::MAX }),
        fields: fields.collect(),
        result,
        segments: children(node, "segments").next().is_some(),
    }
}

/// Compares what a class has of one kind, whatever its order.
fn compare(what: &str, mut ours: Vec<Entry>, mut theirs: Vec<Entry>) {
    ours.sort();
    theirs.sort();
    let names =
        |entries: &[Entry]| entries.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs), "{what}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{what}.{}", ours.name);
    }
}

#[test]
fn table_is_the_specification() {
    with_spec(|root| {
        let domains = domains(root);
        let mut classes = BTreeSet::new();
        for class in children(root, "class") {
            let class_name = name(class);
            if LEFT_OUT_CLASSES.contains(&class_name) {
                continue;
            }
            classes.insert(class_name.to_owned());
            let row = TABLE
                .iter()
                .find(|row| row.name == class_name)
                .unwrap_or_else(|| panic!("the table lacks the class {class_name}"));
            assert_eq!(Some(u32::from(row.code)), attribute(class, "code"), "{class_name}");

            let entries = |nodes: Vec<Node<'_, '_>>| {
                nodes.into_iter().map(|node| entry_of_node(node, class_name, &domains)).collect()
            };
            let rows = |rows: &[EntryRow]| rows.iter().map(entry_of_row).collect();
            // Results hold structs of their own: look at all depths.
            let structs = class
                .descendants()
                .filter(|node| node.has_tag_name((child_namespace(*node), "struct")));
            compare(
                &format!("structs of {class_name}"),
                rows(row.structs),
                entries(structs.collect()),
            );
            compare(
                &format!("controls of {class_name}"),
                rows(row.controls),
                entries(children(class, "control").collect()),
            );
            compare(
                &format!("commands of {class_name}"),
                rows(row.commands),
                entries(children(class, "command").collect()),
            );
        }
        let ours: BTreeSet<String> = TABLE.iter().map(|row| row.name.to_owned()).collect();
        assert_eq!(ours, classes);
        for class in LEFT_OUT_CLASSES {
            assert!(
                children(root, "class").any(|node| name(node) == class),
                "{class} is left out but is not in the specification"
            );
        }
    });
}

#[test]
fn enumerated_domains_are_the_specification() {
    with_spec(|root| {
        let mut theirs = BTreeMap::new();
        let scopes = std::iter::once(root).chain(
            children(root, "class").filter(|class| !LEFT_OUT_CLASSES.contains(&name(*class))),
        );
        for domain in scopes.flat_map(|scope| children(scope, "domain")) {
            let Some(values) = children(domain, "enum").next() else { continue };
            let choices: Vec<(String, u32)> = children(values, "choice")
                .map(|choice| {
                    (name(choice).to_owned(), attribute(choice, "value").expect("has a value"))
                })
                .collect();
            let base = domain.attribute("type").expect("a domain has a type").to_owned();
            theirs.insert(name(domain).to_owned(), (base, choices));
        }
        for name in DOMAINS_NOT_TYPED {
            assert!(theirs.remove(*name).is_some(), "{name} is not in the specification");
        }
        let ours: BTreeMap<_, _> = DOMAINS
            .iter()
            .map(|row| {
                let choices =
                    row.choices.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
                (row.name.to_owned(), (row.base.to_owned(), choices))
            })
            .collect();
        assert_eq!(ours, theirs);
    });
}

#[test]
fn type_codes_are_the_specification() {
    use fletch_amqp::types::Width;
    with_spec(|root| {
        let mut codes = BTreeSet::new();
        for node in children(root, "type") {
            // Types without a code do not occur as values of maps, lists and arrays.
            let Some(found) = attribute(node, "code") else { continue };
            let found = u8::try_from(found).expect("a code is one octet");
            let width = attribute(node, "fixed-width").map_or_else(
                || Width::Variable(attribute(node, "variable-width").expect("a width") as usize),
                |width| Width::Fixed(width as usize),
            );
            assert_eq!(Width::of(found), Ok(width), "{}", name(node));
            assert!(codes.insert((name(node).replace('-', "_"), found)));
        }
        let ours: BTreeSet<(String, u8)> =
            code::ALL.iter().map(|(name, code)| (name.to_lowercase(), *code)).collect();
        assert_eq!(ours, codes);
    });
}
