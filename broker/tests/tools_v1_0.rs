//! The tools in AMQP 1.0 against a real broker, as a user calls them, and beside those in 0-10.

mod support;

use support::Broker;

const V1_0: [&str; 2] = ["--protocol", "amqp1.0"];

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// The first line that `fletch receive` prints of a queue, without what differs from one to the next.
fn first(broker: &Broker, protocol: &[&str], address: &str) -> serde_json::Value {
    let receive = broker.tool("receive").args(protocol.iter().copied());
    let text = receive.args(["-a", address, "-m", "1", "--json"]).ok();
    let mut message = json(text.lines().next().unwrap_or_default());
    for varies in ["ttl", "redelivered"] {
        message[varies] = serde_json::Value::Null;
    }
    for derived in ["ts", "x-amqp-0-10.routing-key"] {
        message["properties"].as_object_mut().expect("a map").remove(derived);
    }
    message
}

#[test]
fn a_message_is_shown_the_same_however_it_came() {
    let broker = Broker::start();
    for sender in [&[][..], &V1_0] {
        let send = broker.tool("send").args(sender.iter().copied());
        let send = send.args(["-a", "q; {create: always}", "-m", "2", "--subject", "about"]);
        let send = send.args(["--durable", "yes", "--ttl", "600000", "--priority", "7"]);
        let send = send.args(["--id", "12345678-1234-1234-1234-123456789abc"]);
        let send = send.args(["--correlation-id", "corr", "--user-id", "anonymous@QPID"]);
        let send = send.args(["-P", "n=3", "-P", "t=text", "-P", "f=1.5", "-P", "b=true"]);
        assert_eq!(send.args(["--content-string", "hello", "--sequence", "no"]).ok(), "");
        let (old, new) = (first(&broker, &[], "q"), first(&broker, &V1_0, "q"));
        assert_eq!(old, new, "sent with {sender:?}");
        assert_eq!((&new["content"], &new["properties"]["n"]), (&"hello".into(), &3.into()));
    }
}

#[test]
fn maps_go_both_ways() {
    let broker = Broker::start();
    for (sender, receiver) in [(&V1_0[..], &[][..]), (&[], &V1_0), (&V1_0, &V1_0)] {
        let send = broker.tool("send").args(sender.iter().copied());
        send.args(["-a", "q; {create: always}", "-M", "k=v", "-M", "n=2"]).ok();
        let message = first(&broker, receiver, "q");
        assert_eq!(message["content"], json(r#"{"k": "v", "n": "2"}"#));
        assert_eq!(message["content_type"], "amqp/map");
    }
}

#[test]
fn the_protocol_may_be_a_connection_option() {
    let broker = Broker::start();
    let option = ["--connection-options", "{protocol: amqp1.0}"];
    broker.tool("send").args(option).args(["-a", "q; {create: always}"]).ok();
    let refused = broker.tool("receive").args(option).args(["-a", "q; {delete: always}"]).fails();
    assert!(refused.contains("delete: AMQP 1.0 has nothing like"), "{refused}");
    let differs = broker.tool("receive").args(option).args(["--protocol", "amqp0-10", "-a", "q"]);
    assert!(differs.fails().contains("differ"));
    let ping = broker.tool("ping").args(V1_0).fails();
    assert!(ping.contains("speaks AMQP 0-10 alone"), "{ping}");
}

#[test]
fn options_of_addresses_take_effect() {
    let broker = Broker::start();
    let send = |address: &str, text: &str| {
        let send = broker.tool("send").args(V1_0);
        send.args(["-a", address, "--content-string", text, "-P", &format!("name={text}")]).ok();
    };
    let receive = |address: &str, more: &[&str]| {
        let receive = broker.tool("receive").args(V1_0).args(["-a", address]);
        receive.args(more.iter().copied()).ok()
    };
    let nowhere = broker.tool("send").args(V1_0).args(["-a", "nowhere"]).fails();
    assert!(nowhere.contains("Node not found: nowhere (amqp:not-found)"), "{nowhere}");
    for text in ["one", "two", "three"] {
        send("q; {create: sender, node: {type: queue, x-declare: {arguments: {a: 1}}}}", text);
    }
    assert_eq!(receive("q; {mode: browse}", &[]), "one\ntwo\nthree\n");
    assert_eq!(receive("q; {link: {selector: \"name = 'two'\"}}", &[]), "two\n");
    assert_eq!(receive("q", &["--capacity", "0"]), "one\nthree\n");
    assert_eq!(receive("q; {link: {reliability: unreliable}}", &[]), "");
    // Whoever receives from a topic hears what is sent while it does.
    let waits = broker.tool("receive").args(V1_0);
    let ready = "ready; {create: always}";
    let waits = waits.args(["-a", "amq.topic/a.*", "-m", "1", "--timeout", "20"]);
    let waits = waits.args(["--ready-address", ready]).spawn();
    receive(ready, &["-m", "1", "--timeout", "20"]);
    send("amq.topic/b.c", "other");
    send("amq.topic/a.b", "wanted");
    let output = waits.wait_with_output().expect("ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "wanted\n");
}

#[test]
fn what_an_address_asserts_must_be_so() {
    let broker = Broker::start();
    let send = |address: &str| broker.tool("send").args(V1_0).args(["-a", address]);
    send("q; {create: always, node: {type: queue, durable: true}}").ok();
    send("q; {assert: always, node: {type: queue}}").ok();
    let refused = send("amq.fanout; {assert: sender, node: {x-declare: {type: topic}}}").fails();
    assert!(refused.contains("requested node properties not met: exchange-type"), "{refused}");
    send("amq.fanout; {assert: always, node: {x-declare: {type: fanout}}}").ok();
    let receive = broker.tool("receive").args(V1_0);
    let unheard_of = "{name: odd, descriptor: 'example:odd:string', value: x}";
    let refused =
        receive.args(["-a", &format!("q; {{assert: receiver, link: {{filter: {unheard_of}}}}}")]);
    let refused = refused.fails();
    assert!(refused.contains("desired filters not met: odd"), "{refused}");
    // Queues take filters of subjects.
    broker.tool("receive").args(V1_0).args(["-a", "q/about; {assert: receiver}"]).ok();
}

#[test]
fn replies_go_where_the_message_says() {
    let broker = Broker::start();
    let send = broker.tool("send").args(V1_0).args(["-a", "q; {create: always}"]);
    send.args(["--reply-to", "answers", "--content-string", "question"]).ok();
    let (_connection, session) = broker.session();
    let declare =
        fletch_amqp::v0_10::table::queue::Declare { queue: Some("answers"), ..Default::default() };
    session.call(&declare.into()).expect("declares");
    broker.tool("receive").args(V1_0).args(["-a", "q"]).ok();
    assert_eq!(first(&broker, &V1_0, "answers")["content"], "question");
}

#[test]
fn drain_and_spout_do_the_same() {
    let broker = Broker::start();
    broker.tool("spout").args(V1_0).args(["-c", "3", "-P", "a=b", "q; {create: always}"]).ok();
    let drained = broker.tool("drain").args(V1_0).args(["q"]).ok();
    assert_eq!(drained.lines().count(), 3);
    assert!(drained.starts_with("Message(properties={a:b, spout-id:"), "{drained}");
    assert_eq!(broker.tool("drain").args(V1_0).args(["q"]).ok(), "");
}
