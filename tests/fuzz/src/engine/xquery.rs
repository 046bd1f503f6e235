//! Queries of any text, for messages with any content.

use fletch_amqp::types::{Map, Value};
use fletch_engine::xquery::{Query, QueryError, Source};

/// The input up to its first zero octet is a query, the rest the content of a message. A query says the
/// same each time, also of a document that is read already, and never the same as its opposite; an
/// error points into the text.
pub fn xquery(data: &[u8]) {
    let end = data.iter().position(|octet| *octet == 0).unwrap_or(data.len());
    let text = String::from_utf8_lossy(&data[..end]);
    let content = data.get(end + 1..).unwrap_or_default();
    let query = match Query::parse(&text) {
        Ok(query) => query,
        Err(error) => return points_into(&text, &error),
    };
    assert_eq!(Query::parse(&text).as_ref(), Ok(&query));
    let headers = headers();
    let headers = headers.encoded().expect("a small map");
    let headers: Vec<_> = headers.view().iter().map(|entry| entry.expect("our own")).collect();
    let source = Source::new(content);
    let matches = query.matches(&source, &headers);
    assert_eq!(query.matches(&source, &headers), matches);
    assert_eq!(query.matches(&Source::new(content), &headers), matches);
    // Not one that begins with declarations; and it is deeper, so that it may be too much. One that fails
    // is no match, and neither is its opposite.
    if let Ok(opposite) = Query::parse(&format!("not(boolean(({text}\n)))")) {
        assert!(!(matches && opposite.matches(&Source::new(content), &headers)));
    }
}

fn points_into(text: &str, error: &QueryError) {
    // The end counts as a place.
    assert!(error.at <= text.chars().count(), "{error}");
    assert!(error.to_string().len() < 400, "{error}");
}

/// Headers of all types that there are for queries, and of one that there is not.
fn headers() -> Map {
    Map::new()
        .with("n", 7i64)
        .with("half", Value::Float(0.5))
        .with("text", "7")
        .with("flag", true)
        .with("long", "word ".repeat(1000))
        .with("map", Value::Map(Map::new().with("n", 1i64)))
}
