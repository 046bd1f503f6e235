"""Which node a link reaches, and what of the node: exchanges, filters, copies, dynamic nodes."""

from proton import Described, Endpoint, Message, Terminus, ulong, symbol
from proton.reactor import Container, Copy, DurableSubscription, Filter, Selector
from proton.utils import LinkDetached

from scene import (
    PATIENCE,
    Receiver,
    accepted,
    bodies,
    check,
    contents,
    equal,
    linger,
    outcome,
    queue,
    send,
)


def refusal(open_link):
    try:
        open_link()
    except LinkDetached as error:
        return error.condition
    raise AssertionError("the link was not refused")


@check("missing-node", queues={})
def missing_node(scene):
    connection = scene.connect()
    equal(refusal(lambda: connection.create_sender("not-there")), "amqp:not-found")
    equal(refusal(lambda: connection.create_receiver("not-there")), "amqp:not-found")
    # The connection lives on.
    connection.create_sender("amq.fanout").close()


@check("selector")
def selector(scene):
    connection = scene.connect()
    link = connection.create_sender(queue("selector")).link
    for number in range(20):
        properties = {"number": number, "colour": "red" if number % 2 else "blue"}
        outcome(connection, link, Message(properties=properties, body=number))
    chosen = Selector("colour = 'red' AND number BETWEEN 5 AND 11")
    receiver = Receiver(connection, queue("selector"), credit=20, options=chosen)
    for number in (5, 7, 9, 11):
        received = receiver.next()
        equal(received.message.body, number)
        receiver.settle(received)
    receiver.nothing()
    taken = receiver.link.remote_source.filter
    taken.rewind()
    taken.next()
    equal(len(taken.get_dict()), 1, "filters the broker took")
    receiver.close()
    equal(len(contents(connection, queue("selector"))), 16, "what is left")


@check("queue-subject")
def queue_subject(scene):
    """A filter of subjects selects from a queue: this very one, or those that match a pattern."""
    connection = scene.connect()
    name = queue("queue-subject")
    subjects = ["a.b", "a", "b", "a.c.d", "a.b"]
    publish(connection, name, subjects)
    for kind, code, wanted, expected in [
        ("direct", 0, "a.b", ["a.b", "a.b"]),
        ("topic", 1, "a.#", ["a", "a.c.d"]),
    ]:
        receiver = Receiver(connection, name, credit=20, options=Filter(legacy(kind, code, wanted)))
        for subject in expected:
            received = receiver.next()
            equal(received.message.body, subject)
            receiver.settle(received)
        receiver.nothing()
        taken = receiver.link.remote_source.filter
        taken.rewind()
        taken.next()
        equal(len(taken.get_dict()), 1, "filters the broker took")
        receiver.close()
    equal([message.body for message in contents(connection, name)], ["b"], "what is left")


GROUPED = {"qpid.group_header_key": "key", "qpid.shared_msg_group": 1}


@check("group-id", queues={"group-id": GROUPED})
def group_id(scene):
    """Messages of a group go to one receiver at a time, wherever the group is said."""
    connection = scene.connect()
    name = queue("group-id")
    link = connection.create_sender(name).link
    for number, group in enumerate(["a", "a", "b", "b"]):
        more = {"properties": {"key": group}} if number % 2 else {"group_id": group}
        outcome(connection, link, Message(body=number, **more))
    one = Receiver(connection, name, credit=1)
    first = one.next()
    equal(first.message.body, 0)
    other = Receiver(connection, name, credit=10)
    equal([received.message.body for received in other.take(2)], [2, 3], "the other group")
    other.nothing()
    one.flow(1)
    equal(one.next().message.body, 1)


@check("selector-bad")
def selector_bad(scene):
    """A selector that cannot be read is refused, with the link."""
    connection = scene.connect()
    bad = Selector("colour = = 'red'")
    name = queue("selector-bad")
    condition = refusal(lambda: connection.create_receiver(name, options=bad))
    equal(condition in ("amqp:invalid-field", "amqp:internal-error"), True, condition)


@check("selector-header")
def selector_header(scene):
    """Selectors see the header and the properties by JMS's names."""
    connection = scene.connect()
    name = queue("selector-header")
    link = connection.create_sender(name).link
    for priority in range(10):
        message = Message(priority=priority, subject="subject %d" % priority, body=priority)
        outcome(connection, link, message)
    receiver = Receiver(connection, name, credit=10, options=Selector("JMSPriority > 7"))
    equal([r.message.body for r in receiver.take(2)], [8, 9], "bodies")
    receiver.nothing()


@check("browse")
def browse(scene):
    connection = scene.connect()
    name = queue("browse")
    send(connection, name, range(10))
    for _ in range(2):
        browser = Receiver(connection, name, credit=20, options=Copy())
        equal([r.message.body for r in browser.take(10)], list(range(10)), "bodies")
        browser.nothing()
        mode = browser.link.remote_source.distribution_mode
        equal(mode, Terminus.DIST_MODE_COPY, "distribution mode")
        browser.close()
    equal(bodies(connection, name), list(range(10)), "what is left")


@check("browse-selector")
def browse_selector(scene):
    connection = scene.connect()
    link = connection.create_sender(queue("browse-selector")).link
    for number in range(10):
        outcome(connection, link, Message(properties={"number": number}, body=number))
    options = [Copy(), Selector("number > 6")]
    browser = Receiver(connection, queue("browse-selector"), credit=20, options=options)
    equal([r.message.body for r in browser.take(3)], [7, 8, 9], "bodies")
    browser.nothing()


@check("request-reply")
def request_reply(scene):
    asking, answering = scene.connect(), scene.connect()
    replies = Receiver(asking, None, dynamic=True, credit=10)
    address = replies.link.remote_source.address
    equal(isinstance(address, str) and address != "", True, "address of a dynamic node")
    server = Receiver(answering, queue("request-reply"), credit=10)
    reply = answering.create_sender(None).link
    ask = asking.create_sender(queue("request-reply")).link
    for number in range(10):
        request = Message(body=number, reply_to=address, correlation_id="id %d" % number)
        outcome(asking, ask, request)
        received = server.next()
        server.settle(received)
        question = received.message
        answer = Message(address=question.reply_to, correlation_id=question.correlation_id)
        answer.body = question.body * 2
        outcome(answering, reply, answer)
        came = replies.next()
        equal(came.message.body, number * 2)
        equal(came.message.correlation_id, "id %d" % number)
        replies.settle(came)
    # The node is gone with its link.
    replies.close()
    linger(asking, 0.1)
    equal(refusal(lambda: answering.create_sender(address)), "amqp:not-found")


@check("anonymous-sender")
def anonymous_sender(scene):
    connection = scene.connect()
    equal(symbol("ANONYMOUS-RELAY") in connection.conn.remote_offered_capabilities, True, "offered")
    link = connection.create_sender(None).link
    for number in range(10):
        message = Message(address=queue("anonymous-sender"), body=number)
        accepted(outcome(connection, link, message))
    equal(bodies(connection, queue("anonymous-sender")), list(range(10)), "bodies")
    # Nowhere to go, which the reference tells nobody: the link lives on.
    outcome(connection, link, Message(address="not-there", body="x"))
    message = Message(address=queue("anonymous-sender"), body="more")
    accepted(outcome(connection, link, message))


def legacy(kind, code, value):
    name = symbol("apache.org:legacy-amqp-%s-binding:string" % kind)
    return {name: Described(ulong(0x0000468C00000000 + code), value)}


def publish(connection, exchange, subjects):
    link = connection.create_sender(exchange).link
    for subject in subjects:
        outcome(connection, link, Message(subject=subject, body=subject))


@check("topic", queues={})
def topic(scene):
    connection = scene.connect()
    patterns = ["news.*", "news.#", "*.sport", "#", "weather"]
    receivers = [
        Receiver(connection, "amq.topic", credit=20, options=Filter(legacy("topic", 1, pattern)))
        for pattern in patterns
    ]
    publish(connection, "amq.topic", ["news.sport", "news.a.b", "weather", "news", "x.sport"])
    wanted = [
        ["news.sport"],
        ["news.sport", "news.a.b", "news"],
        ["news.sport", "x.sport"],
        ["news.sport", "news.a.b", "weather", "news", "x.sport"],
        ["weather"],
    ]
    for receiver, bodies_wanted in zip(receivers, wanted):
        found = [r.message.body for r in receiver.take(len(bodies_wanted))]
        equal(found, bodies_wanted)
        receiver.nothing()


@check("direct", queues={})
def direct(scene):
    connection = scene.connect()
    receivers = [
        Receiver(connection, "amq.direct", credit=20, options=Filter(legacy("direct", 0, key)))
        for key in ("red", "blue")
    ]
    publish(connection, "amq.direct", ["red", "blue", "green", "red"])
    equal([r.message.body for r in receivers[0].take(2)], ["red", "red"])
    equal([r.message.body for r in receivers[1].take(1)], ["blue"])
    for receiver in receivers:
        receiver.nothing()


@check("fanout", queues={})
def fanout(scene):
    connection = scene.connect()
    receivers = [Receiver(connection, "amq.fanout", credit=20) for _ in range(3)]
    publish(connection, "amq.fanout", ["a", "b"])
    for receiver in receivers:
        equal([r.message.body for r in receiver.take(2)], ["a", "b"])
        receiver.nothing()


@check("headers", queues={})
def headers(scene):
    connection = scene.connect()
    name = symbol("apache.org:legacy-amqp-headers-binding:map")
    wanted = {"x-match": "all", "colour": "red", "size": 5}
    option = Filter({name: Described(ulong(0x0000468C00000002), wanted)})
    receiver = Receiver(connection, "amq.match", credit=20, options=option)
    link = connection.create_sender("amq.match").link
    for number, properties in enumerate(
        [{"colour": "red", "size": 5}, {"colour": "red"}, {"colour": "red", "size": 5, "x": 1}]
    ):
        outcome(connection, link, Message(properties=properties, body=number))
    equal([r.message.body for r in receiver.take(2)], [0, 2], "bodies")
    receiver.nothing()


@check("topic-selector", queues={})
def topic_selector(scene):
    connection = scene.connect()
    both = Filter({**legacy("topic", 1, "a.#"), **Selector("number > 2").filter_set})
    receiver = Receiver(connection, "amq.topic", credit=20, options=both)
    link = connection.create_sender("amq.topic").link
    for number in range(5):
        subject = "a.b" if number != 3 else "b.a"
        message = Message(subject=subject, properties={"number": number}, body=number)
        outcome(connection, link, message)
    equal(receiver.next().message.body, 4)
    receiver.nothing()


def resubscribed(scene, name, leave):
    """A subscription that never expires goes on collecting while its link is away."""

    def subscribe():
        # A subscription is known by the names of its link and of its container.
        connection = scene.connect(container=Container(container_id=name))
        options = [DurableSubscription(), Filter(legacy("topic", 1, "durable.#"))]
        return Receiver(connection, "amq.topic", name=name, options=options)

    receiver = subscribe()
    leave(receiver)
    scene.drop(receiver.connection)
    publish(scene.connect(), "amq.topic", ["durable.one", "other", "durable.two"])
    again = subscribe()
    again.flow(10)
    equal([r.message.body for r in again.take(2)], ["durable.one", "durable.two"], "bodies")
    again.nothing()
    again.close()


@check("durable-subscription", queues={})
def durable_subscription(scene):
    resubscribed(scene, "proton-durable", lambda receiver: None)


@check("durable-subscription-detach", queues={})
def durable_subscription_detach(scene):
    """Detached and not closed. The reference takes the one for the other and forgets it."""

    def leave(receiver):
        receiver.link.detach()
        linger(receiver.connection, 0.1)

    resubscribed(scene, "proton-durable-detach", leave)


@check("link-stolen")
def link_stolen(scene):
    """A link that is attached elsewhere is taken from whoever has it, with what that one holds."""

    def attach():
        connection = scene.connect(container=Container(container_id="proton-stolen"))
        return Receiver(connection, queue("link-stolen"), name="stolen", credit=10)

    send(scene.connect(), queue("link-stolen"), range(3))
    holder = attach()
    equal([r.message.body for r in holder.take(3)], [0, 1, 2], "bodies")
    for turn in range(4):
        thief = attach()
        again = thief.take(3)
        equal([r.message.body for r in again], [0, 1, 2], "bodies")
        equal([r.message.delivery_count for r in again], [1 + turn] * 3, "delivery counts")
        link = holder.link
        gone = lambda: link.state & Endpoint.REMOTE_CLOSED  # noqa: E731
        holder.connection.wait(gone, timeout=PATIENCE, msg="Waiting for the end of the link")
        equal(link.remote_condition.name, "amqp:link:stolen", "condition")
        holder = thief
