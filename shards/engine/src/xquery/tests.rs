use super::*;
use fletch_amqp::types::{Map, Value};

const WEATHER: &str = "<weather><station>Raleigh-Durham International Airport (KRDU)</station>\
    <wind_speed_mph>16</wind_speed_mph><temperature_f>70</temperature_f><dewpoint>35</dewpoint>\
    </weather>";
const ORDERS: &str = "<o:orders xmlns:o='urn:orders' day='3'>\
    <order id='1' side='buy'><price>10.5</price><n>100</n></order>\
    <order id='2' side='sell'><price> 9 </price><n>20</n><note>a&amp;b</note></order>\
    <order id='10'><price>n/a</price></order></o:orders>";

fn try_with(query: &str, content: &str, headers: &Map) -> bool {
    let query = Query::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let encoded = headers.encoded().expect("encodes");
    let headers: Vec<_> = encoded.view().iter().map(|entry| entry.expect("sound")).collect();
    query.matches(&Source::new(content.as_bytes()), &headers)
}

fn holds(query: &str) -> bool {
    try_with(query, ORDERS, &Map::new())
}

fn refused(query: &str) -> String {
    Query::parse(query).expect_err(query).to_string()
}

#[test]
fn queries_of_the_manual() {
    let weather = "let $w := ./weather return \
        $w/station = 'Raleigh-Durham International Airport (KRDU)' and $w/temperature_f > 50 \
        and $w/temperature_f - $w/dewpoint > 5 and $w/wind_speed_mph > 7 and \
        $w/wind_speed_mph < 20";
    assert!(try_with(weather, WEATHER, &Map::new()));
    assert!(!try_with(weather, &WEATHER.replace("70", "40"), &Map::new()));
    let control = "declare variable $control external; ./message/id mod 2 = 1 or $control = 'end'";
    let end = Map::new().with("control", "end");
    assert!(try_with(control, "<message><id>3</id></message>", &Map::new()));
    assert!(try_with(control, "<message><id>4</id></message>", &end));
    assert!(!try_with(control, "<message><id>4</id></message>", &Map::new()), "no such header");
}

#[test]
fn headers_are_variables() {
    let headers = Map::new()
        .with("n", 7i64)
        .with("half", Value::Float(0.5))
        .with("text", "7")
        .with("flag", true)
        .with("qpid.subject", "s");
    let declare = "declare variable $n external; declare variable $half as xs:double external; \
        declare variable $text external; declare variable $flag external; \
        declare variable $qpid.subject external; declare variable $no external;";
    for (query, expect) in [
        ("$n = 7 and $half * 2 = 1", true),
        ("$n eq 8", false),
        ("$text = '7'", true),
        ("$n + 1 = number($text) + 1", true),
        ("$flag = 1", true),
        ("$qpid.subject = \"s\"", true),
        ("$no = 1", false),
        ("not($no = 1)", false),
        ("$n = 7 or $no = 1", true),
    ] {
        // The content is never looked at, so it may be anything.
        assert_eq!(try_with(&format!("{declare} {query}"), "<no", &headers), expect, "{query}");
    }
}

#[test]
fn paths() {
    for (query, expect) in [
        ("/*/order", true),
        ("/orders", false),
        ("/*:orders/@day = 3", true),
        ("declare namespace x = 'urn:orders'; /x:orders/order/price = 10.5", true),
        ("declare namespace x = 'urn:orders'; /x:*/order", true),
        ("declare default element namespace 'urn:orders'; /orders and not(//order)", true),
        ("count(//order) = 3", true),
        ("//order[2]/@id = 2", true),
        ("//order[@side = 'sell']/price < 10", true),
        ("//order[price = 'n/a']/@id = '10'", true),
        ("//order[last()]/@id eq '10'", true),
        ("//order[position() = 1 and n > 99]", true),
        ("(//order/n)[2] = 20", true),
        ("//note/text() = 'a&amp;b'", true),
        ("//note/../@id = 2", true),
        ("//n/ancestor::order[1]/@id = 1", true),
        ("//order[@id = 2]/preceding-sibling::order/@id = 1", true),
        ("count(//order[1]/following-sibling::*) = 2", true),
        ("count(//n | //n | //price) = 5", true),
        ("//order/descendant-or-self::node()[local-name() = 'note']", true),
        ("count(//@*) = 6", true),
        ("//order/self::other", false),
        ("//price = 9 and //price != 9", true),
        ("//price eq 9", false),
    ] {
        assert_eq!(holds(query), expect, "{query}");
    }
}

#[test]
fn expressions() {
    for (query, expect) in [
        ("1 + 2 * 3 - -1 = 8", true),
        ("7 idiv 2 = 3 and 7 mod 4 = 3 and 1 div 4 = .25 and 1e3 = 1000", true),
        ("-7 idiv 2 = -3", true),
        ("(1, 2, 3) = (3, 4)", true),
        ("() = 1", false),
        ("() eq 1", false),
        ("'b' > 'a' and 'it''s' = \"it's\"", true),
        ("if (//order) then false() else true()", false),
        ("some $p in //price satisfies $p > 10", true),
        ("every $o in //order satisfies $o/price and $o/@id", true),
        ("every $x in (1, 2), $y in (3, 4) satisfies $x < $y", true),
        ("for $o in //order where $o/n > 50 return $o/price", true),
        ("for $o in //order where $o/n > 500 return $o/price", false),
        ("let $a := 1, $b := $a + 1 return $b = 2", true),
        ("let $a := 1 return (let $a := 2 return $a) = 2 and $a = 1", true),
        ("declare variable $x := count(//order); $x = 3", true),
        ("xquery version \"1.0\"; (: a (: nested :) comment :) true()", true),
        ("sum(//n) = 120 and max(//n) = 100 and min(//n) = 20 and avg(//n) = 60", true),
        (
            "contains(//note, 'a&#38;') and starts-with('abc', 'ab') and ends-with('abc', 'bc')",
            true,
        ),
        ("concat('a', 1, true()) = 'a1true' and string-length('äö') = 2", true),
        ("substring('12345', 2, 3) = '234' and substring('12345', 4) = '45'", true),
        ("substring-before('a=b', '=') = 'a' and substring-after('a=b', '=') = 'b'", true),
        (
            "normalize-space('  a  b ') = 'a b' and upper-case('a') = 'A' and lower-case('B') = 'b'",
            true,
        ),
        ("fn:round(-2.5) = -2 and abs(-1) = 1 and floor(1.5) = 1 and ceiling(1.5) = 2", true),
        ("xs:integer('7') = 7 and xs:string(7) = '7' and string(1.5) = '1.5'", true),
        ("exists(//note) and empty(//nothing) and boolean('x') and not(boolean(''))", true),
        ("number('nothing') = number('nothing')", false),
        ("data(//note) = 'a&amp;b'", true),
    ] {
        assert_eq!(holds(query), expect, "{query}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (query, error) in [
        ("1 +", "an expression expected at 3, found the end"),
        ("", "an expression expected at 0, found the end"),
        ("$x = 1", "a variable that is declared expected at 0, found \"$x = 1\""),
        ("doc('file:///etc/passwd')", "a function that is available expected at 0, found"),
        ("fn:collection('x')", "a function that is available expected at 0, found"),
        ("unparsed-text('http://x')", "a function that is available expected at 0, found"),
        ("contains('a')", "a call with 2 arguments expected at 0, found"),
        ("//p:a", "a prefix that is declared expected at 2, found \"p:a\""),
        ("'open", "a text that ends expected at 0"),
        ("a b", "an operator or the end expected at 2, found \"b\""),
        ("1 to 1000000000", "an operator or the end expected at 2"),
        ("<a/>", "an expression expected at 0"),
        ("following::a", "an axis that is available expected at 0"),
        ("for $x in //a", "\"return\" expected at 13"),
        ("declare function local:f() { 1 }; 1", "an operator or the end expected at 8"),
        ("(: open", "the end of a comment expected"),
        ("//n/data(.)", "an operator or the end expected at 8"),
        ("12abc", "a number expected at 0"),
        ("'&bomb;'", "a character reference expected at 1"),
    ] {
        let said = refused(query);
        assert!(said.starts_with(error), "{query}: {said}");
    }
}

#[test]
fn content_that_is_no_document_matches_nothing() {
    let bomb = "<!DOCTYPE a [<!ENTITY b 'bbbbbbbb'><!ENTITY c '&b;&b;&b;&b;'>]><a>&c;</a>";
    let outside = "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>";
    let large = format!("<a>{}</a>", "x".repeat(CONTENT_MAX));
    let many = format!("<a>{}</a>", "<b/>".repeat(NODES_MAX as usize));
    for content in ["", "text", "<a>", "<a></b>", "<a>&b;</a>", bomb, outside, &large, &many] {
        assert!(!try_with("/a", content, &Map::new()), "{:.40}", content);
        assert!(try_with("true()", content, &Map::new()));
    }
    let bytes = Source::new(b"<a>\xff</a>");
    assert!(!Query::parse("/a").expect("reads").matches(&bytes, &[]));
}

#[test]
fn queries_that_use_up_their_steps_leave_some_for_others() {
    let wide = format!("<a><c>1</c>{}</a>", "<b>x</b>".repeat(20_000));
    let source = Source::new(wide.as_bytes());
    let hungry = Query::parse("//b[//b[. = 'y']]").expect("reads");
    let plain = Query::parse("/a/c[1] = 1").expect("reads");
    for _ in 0..20 {
        assert!(!hungry.matches(&source, &[]));
    }
    assert_eq!(source.purse(), STEPS_THEN);
    assert!(
        !plain.matches(&source, &[]),
        "it looks at all children of a, which is beyond the rest"
    );
    let small = Source::new(b"<a><c>1</c></a>");
    small.spend(STEPS_OF_ALL);
    assert!(plain.matches(&small, &[]));
}

#[test]
fn hostile_queries_and_documents_come_to_an_end() {
    // As deep as there is room for.
    let deep = "<a>".repeat(30_000) + &"</a>".repeat(30_000);
    assert!(try_with("count(//a) = 30000", &deep, &Map::new()));
    let wide = format!("<a>{}</a>", "<b>x</b>".repeat(20_000));
    for query in [
        "exists(for $x in //b for $y in //b for $z in //b return $x = $y)",
        "//b[//b[//b[. = ..]]]",
        "some $x in //b satisfies some $y in //b satisfies $x/. = 'y'",
        "let $a := //b let $b := ($a, $a, $a, $a) let $c := ($b, $b, $b, $b) return count($c) = 1",
    ] {
        assert!(!try_with(query, &wide, &Map::new()), "{query}");
    }
    for nested in ["(", "not(", "a[", "-(", "if (", "let $a := "] {
        let query = nested.repeat(10_000);
        assert!(Query::parse(&query).is_err(), "{nested}");
    }
    // Chains do not nest.
    let chain = |op: &str| format!("1{}", format!(" {op} 1").repeat(9_000));
    for op in ["or", "and", "+", "*"] {
        assert!(try_with(&chain(op), "", &Map::new()), "{op}");
    }
    let _ = try_with(&format!("{}1", "-".repeat(60_000)), "", &Map::new());
    let _ = Query::parse(&"a/".repeat(30_000));
    let _ = Query::parse(&"(:".repeat(30_000));
}
