//! The 1.0 table against the official XML, in both directions.
//!
//! The five files are taken from the directory `FLETCH_AMQP_1_0_SPEC` or from `shared/spec` beside the
//! checkout, where they are named `amqp-1.0-types.xml` and so on, or from Debian's package
//! `amqp-specs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fletch_amqp::v1_0::table::{ARCHETYPES, TABLE};
use fletch_amqp::v1_0::types::{Width, code};
use fletch_amqp::v1_0::{ALIASES, CompositeRow, NUMBERS, SECTIONS, SYMBOLS};
use roxmltree::{Document, Node};

const PARTS: [&str; 5] = ["types", "transport", "messaging", "transactions", "security"];

/// Restricted types that name no values and that no field has.
const NO_FIELDS: [&str; 7] = [
    "annotations",
    "message-id-ulong",
    "message-id-uuid",
    "message-id-binary",
    "message-id-string",
    "address-string",
    "transaction-id",
];

/// Archetypes that the table has no enum for: sections are read one by one, conditions, capabilities
/// and modes are symbols, and the others are values of primitive types.
const NO_ENUMS: [&str; 7] = [
    "section",
    "error-condition",
    "message-id",
    "address",
    "txn-id",
    "txn-capability",
    "distribution-mode",
];

fn path(part: &str) -> PathBuf {
    let named = format!("amqp-1.0-{part}.xml");
    if let Some(directory) = std::env::var_os("FLETCH_AMQP_1_0_SPEC") {
        return Path::new(&directory).join(named);
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec").join(named);
    let debian = PathBuf::from(format!("/usr/share/amqp/specs/1-0/{part}.bare.xml"));
    [beside.clone(), debian.clone()].into_iter().find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "no AMQP 1.0 specification at {} or {}: install the Debian package amqp-specs, or set \
             FLETCH_AMQP_1_0_SPEC to the directory with the XML",
            beside.display(),
            debian.display()
        )
    })
}

/// Calls `check` with every `type` of the five files.
fn each_type(mut check: impl FnMut(Node<'_, '_>)) {
    for part in PARTS {
        let path = path(part);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        let document = Document::parse_with_options(&text, options)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(document.root_element().attribute("name"), Some(part));
        let mut found = false;
        for node in document.descendants().filter(|node| node.tag_name().name() == "type") {
            found = true;
            check(node);
        }
        assert!(found, "{} has no types", path.display());
    }
}

fn children<'a, 'i>(node: Node<'a, 'i>, tag: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.tag_name().name() == tag)
}

fn attribute<'a>(node: Node<'a, '_>, name: &str) -> &'a str {
    node.attribute(name).unwrap_or("")
}

fn name<'a>(node: Node<'a, '_>) -> &'a str {
    node.attribute("name").expect("the node has a name")
}

fn descriptor(node: Node<'_, '_>) -> Option<(String, u64)> {
    let descriptor = children(node, "descriptor").next()?;
    let code = attribute(descriptor, "code").replace("0x", "");
    let (domain, id) = code.split_once(':').expect("domain and id");
    let number = |text| u64::from_str_radix(text, 16).expect("a hexadecimal number");
    Some((name(descriptor).to_owned(), number(domain) << 32 | number(id)))
}

fn hyphens(text: &str) -> String {
    text.replace('_', "-")
}

/// A field as text: name, type, archetype, attributes, default.
type Field = [String; 5];

/// A composite type as text.
type Entry = (String, u64, Vec<Field>);

fn entry_of_row(row: &CompositeRow) -> Entry {
    let fields = row.fields.iter().map(|field| {
        let kind = if field.kind == "any" { "*".to_owned() } else { hyphens(field.kind) };
        // A default that is a named value is the path of its constant.
        let default = field.default.rsplit("::").next().unwrap_or_default().trim();
        [
            hyphens(field.name),
            kind,
            hyphens(field.requires),
            field.attributes.join(" "),
            hyphens(&default.to_lowercase()),
        ]
    });
    (row.descriptor.to_owned(), row.code, fields.collect())
}

fn entry_of_node(node: Node<'_, '_>) -> Entry {
    let fields = children(node, "field").map(|field| {
        let attributes: Vec<_> = ["mandatory", "multiple"]
            .into_iter()
            .filter(|name| match attribute(field, name) {
                "true" => true,
                "" | "false" => false,
                other => panic!("{name} is {other}"),
            })
            .collect();
        [
            name(field).to_owned(),
            attribute(field, "type").to_owned(),
            attribute(field, "requires").to_owned(),
            attributes.join(" "),
            attribute(field, "default").to_owned(),
        ]
    });
    let (descriptor, code) = descriptor(node).expect("a composite type has a descriptor");
    (descriptor, code, fields.collect())
}

#[test]
fn table_is_the_specification() {
    let mut theirs = BTreeMap::new();
    each_type(|node| {
        if attribute(node, "class") == "composite" {
            assert_eq!(attribute(node, "source"), "list");
            assert!(theirs.insert(name(node).to_owned(), entry_of_node(node)).is_none());
        }
    });
    let mut ours: BTreeMap<_, _> =
        TABLE.iter().map(|row| (row.name.to_owned(), entry_of_row(row))).collect();
    // The copy in Debian is a draft, which did not have the defaults of this one type.
    if theirs["header"].2.iter().all(|field| field[4].is_empty()) {
        let header = ours.get_mut("header").expect("the table has a header");
        header.2.iter_mut().for_each(|field| field[4].clear());
    }
    assert_eq!(ours.len(), TABLE.len(), "a name occurs twice");
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, entry) in &ours {
        assert_eq!(entry, &theirs[name], "{name}");
    }
}

#[test]
fn archetypes_are_the_specification() {
    let mut theirs = BTreeMap::<String, BTreeSet<String>>::new();
    each_type(|node| {
        for archetype in attribute(node, "provides").split(',').map(str::trim) {
            if !archetype.is_empty() {
                theirs.entry(archetype.to_owned()).or_default().insert(name(node).to_owned());
            }
        }
    });
    for name in NO_ENUMS {
        assert!(theirs.remove(name).is_some(), "{name} is not in the specification");
    }
    let ours: BTreeMap<_, _> = ARCHETYPES
        .iter()
        .map(|row| (row.name.to_owned(), row.types.iter().map(|name| (*name).to_owned()).collect()))
        .collect();
    assert_eq!(ours, theirs);
}

#[test]
fn restricted_types_are_the_specification() {
    let (mut named, mut aliases, mut sections) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    each_type(|node| {
        if attribute(node, "class") != "restricted" {
            return;
        }
        let (name, source) = (name(node).to_owned(), attribute(node, "source").to_owned());
        let choices: Vec<_> = children(node, "choice")
            .map(|choice| (self::name(choice).to_owned(), attribute(choice, "value").to_owned()))
            .collect();
        match (descriptor(node), choices.is_empty()) {
            (Some(descriptor), true) => drop(sections.insert(name, (descriptor, source))),
            (None, true) => drop(aliases.insert(name, source)),
            (None, false) => drop(named.insert(name, (source, choices))),
            (Some(_), false) => panic!("{name} has a descriptor and choices"),
        }
    });
    let rows = NUMBERS.iter().chain(SYMBOLS);
    let ours: BTreeMap<_, _> = rows
        .map(|row| {
            let choices = row.choices.iter();
            let choices =
                choices.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            (row.name.to_owned(), (row.source.to_owned(), choices))
        })
        .collect();
    assert_eq!(ours, named);

    let ours: BTreeMap<_, _> = SECTIONS
        .iter()
        .map(|(name, symbol, code, source)| {
            ((*name).to_owned(), (((*symbol).to_owned(), *code), (*source).to_owned()))
        })
        .collect();
    assert_eq!(ours, sections);

    // It has a Rust type of its own.
    assert_eq!(aliases.remove("sequence-no").as_deref(), Some("uint"));
    for name in NO_FIELDS {
        assert!(aliases.remove(name).is_some(), "{name} is not in the specification");
    }
    let ours: BTreeMap<_, _> =
        ALIASES.iter().map(|(name, source)| ((*name).to_owned(), (*source).to_owned())).collect();
    assert_eq!(ours, aliases);
}

#[test]
fn encodings_are_the_specification() {
    let mut theirs = BTreeSet::new();
    each_type(|node| {
        for encoding in children(node, "encoding") {
            let code = attribute(encoding, "code").trim_start_matches("0x");
            let code = u8::from_str_radix(code, 16).expect("a code of one octet");
            let width = attribute(encoding, "width").parse().expect("a number");
            let width = match attribute(encoding, "category") {
                "fixed" => Width::Fixed(width),
                "variable" | "compound" | "array" => Width::Variable(width),
                other => panic!("an encoding of category {other}"),
            };
            assert_eq!(Width::of(code), Ok(width), "{}", name(node));
            assert_eq!(code::type_name(code), Some(name(node)));
            theirs.insert((name(node).to_owned(), attribute(encoding, "name").to_owned(), code));
        }
    });
    let ours: BTreeSet<_> = code::ALL
        .iter()
        .map(|(name, encoding, code)| ((*name).to_owned(), (*encoding).to_owned(), *code))
        .collect();
    assert_eq!(ours, theirs);
}
