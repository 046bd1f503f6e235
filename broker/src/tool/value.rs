//! Values as the tools show them: in the reference's form for people, and as JSON for programs.

use std::fmt;

use fletch_amqp::types::{Map, Value};

/// A value in the reference's form: `{a:1, b:[x, y]}`, with the keys of maps in order.
pub(super) struct Shown<'a>(pub(super) &'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        match value {
            Value::Void => f.write_str("<void>"),
            Value::Boolean(true) | Value::Bit => f.write_str("True"),
            Value::Boolean(false) => f.write_str("False"),
            Value::Map(map) => fmt::Display::fmt(&ShownMap(map), f),
            Value::List(list) => show_all(f, &list.0),
            Value::Array(array) => show_all(f, array.values()),
            Value::Uuid(uuid) => uuid.fmt(f),
            Value::Float(number) => number.fmt(f),
            Value::Double(number) => number.fmt(f),
            value => {
                if let Some(number) = value.as_i64() {
                    return number.fmt(f);
                }
                if let Some(number) = value.as_u64() {
                    return number.fmt(f);
                }
                match (value.view_text(), value.as_bytes()) {
                    (Some(text), _) => f.write_str(&text),
                    (None, Some(bytes)) => f.write_str(&String::from_utf8_lossy(bytes)),
                    (None, None) => write!(f, "<{:#04x}>", value.code()),
                }
            }
        }
    }
}

/// A map in the reference's form.
pub(super) struct ShownMap<'a>(pub(super) &'a Map);

impl fmt::Display for ShownMap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        f.write_str("{")?;
        for (index, (key, value)) in entries.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{key}:{}", Shown(value))?;
        }
        f.write_str("}")
    }
}

fn show_all(f: &mut fmt::Formatter<'_>, values: &[Value]) -> fmt::Result {
    f.write_str("[")?;
    for (index, value) in values.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{}", Shown(value))?;
    }
    f.write_str("]")
}

/// The reference's name for the type of a value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Map(_) => "map",
        Value::List(_) | Value::Array(_) => "list",
        Value::Void => "void",
        _ => "string",
    }
}

/// A value as JSON; what JSON has no word for is text.
pub(super) fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Void => serde_json::Value::Null,
        Value::Boolean(value) => (*value).into(),
        Value::Map(map) => map_to_json(map),
        Value::List(list) => list.0.iter().map(to_json).collect(),
        Value::Array(array) => array.values().iter().map(to_json).collect(),
        Value::Float(number) => f64::from(*number).into(),
        Value::Double(number) => (*number).into(),
        value => match (value.as_i64(), value.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => Shown(value).to_string().into(),
        },
    }
}

/// A map as a JSON object.
pub(super) fn map_to_json(map: &Map) -> serde_json::Value {
    let entries = map.iter().map(|(key, value)| (key.to_owned(), to_json(value)));
    serde_json::Value::Object(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletch_amqp::types::List;

    #[test]
    fn values_look_as_in_the_reference() {
        let list: List = ["x", "y"].into_iter().collect();
        let map = Map::new()
            .with("z", true)
            .with("a", 1u8)
            .with("l", list)
            .with("b", Value::Vbin16(b"raw".to_vec()))
            .with("n", Value::Void)
            .with("d", 1.5);
        let shown = "{a:1, b:raw, d:1.5, l:[x, y], n:<void>, z:True}";
        assert_eq!(ShownMap(&map).to_string(), shown);
        let json = r#"{"a":1,"b":"raw","d":1.5,"l":["x","y"],"n":null,"z":true}"#;
        assert_eq!(map_to_json(&map).to_string(), json);
    }
}
