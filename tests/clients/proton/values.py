"""Bodies, properties and headers of every kind come back as they were sent."""

import time
import uuid

from proton import (
    UNDESCRIBED,
    Array,
    Data,
    Described,
    Message,
    byte,
    char,
    decimal32,
    decimal64,
    decimal128,
    float32,
    int32,
    short,
    symbol,
    timestamp,
    ubyte,
    uint,
    ulong,
    ushort,
)

from scene import Receiver, accepted, check, equal, outcome, queue

SCALARS = {
    "null": None,
    "true": True,
    "false": False,
    "ubyte": ubyte(200),
    "ushort": ushort(60000),
    "uint": uint(4000000000),
    "small uint": uint(7),
    "zero uint": uint(0),
    "ulong": ulong(18000000000000000000),
    "small ulong": ulong(7),
    "byte": byte(-100),
    "short": short(-30000),
    "int": int32(-2000000000),
    "small int": int32(-7),
    "long": -9000000000000000000,
    "small long": -7,
    "float": float32(0.25),
    "double": 0.1,
    "timestamp": timestamp(1700000000123),
    "timestamp before 1970": timestamp(-123),
    "uuid": uuid.UUID("01234567-89ab-cdef-0123-456789abcdef"),
    "binary": bytes(range(256)),
    "empty binary": b"",
    "string": "text: \u00e4\u20ac\U0001f600",
    "long string": "long " * 1000,
    "empty string": "",
    "symbol": symbol("a-symbol"),
}

RARE = {
    "char": char("\U0001f600"),
    "decimal32": decimal32(0x12345678),
    "decimal64": decimal64(0x123456789ABCDEF0),
    "decimal128": decimal128(bytes(range(16))),
}

COMPOUND = {
    "list": ["a", 1, None, True, [2, ["deep", []]], {"in": "map"}],
    "empty list": [],
    "long list": list(range(1000)),
    "map": {"a": 1, "list": [1, 2, {"deeper": b"binary"}], symbol("key"): None, 7: "number"},
    "empty map": {},
    "large map": {"key %d" % n: "value " * n for n in range(300)},
    "array": Array(UNDESCRIBED, Data.INT, int32(1), int32(2), int32(3)),
    "array of strings": Array(UNDESCRIBED, Data.STRING, "one", "two"),
    "described": Described(symbol("x:point:list"), [1, 2]),
    "described by number": Described(ulong(0xABCD00000001), {"x": 1}),
}


def back(scene, name, messages):
    """Sends the messages and yields each with the one that came back."""
    connection = scene.connect()
    link = connection.create_sender(queue(name)).link
    receiver = Receiver(connection, queue(name))
    for message in messages:
        accepted(outcome(connection, link, message))
        receiver.flow(1)
        received = receiver.next()
        receiver.settle(received)
        yield message, received.message


def same(found, wanted, what):
    """Equal in value and type, all the way down."""
    # Proton's binary is a view of it.
    found, wanted = (bytes(v) if isinstance(v, memoryview) else v for v in (found, wanted))
    if isinstance(wanted, dict):
        equal(len(found), len(wanted), what)
        keys = {key: key for key in found}
        for key, value in wanted.items():
            same(keys[key], key, what)
            same(found[key], value, "%s, %r" % (what, key))
    elif isinstance(wanted, list):
        equal(len(found), len(wanted), what)
        for at, value in enumerate(wanted):
            same(found[at], value, "%s, %d" % (what, at))
    else:
        equal(found, wanted, what)


def body_types(scene, name, values):
    messages = [Message(body=value, inferred=False) for value in values.values()]
    for what, (sent, came) in zip(values, back(scene, name, messages)):
        same(came.body, sent.body, what)


@check("body-scalars")
def body_scalars(scene):
    body_types(scene, "body-scalars", SCALARS)


@check("body-rare-scalars")
def body_rare_scalars(scene):
    """Apart from the others: the reference cannot read them."""
    body_types(scene, "body-rare-scalars", RARE)


@check("body-compound")
def body_compound(scene):
    body_types(scene, "body-compound", COMPOUND)


@check("body-sections")
def body_sections(scene):
    """Data and sequence sections, and none that would make it a value."""
    bodies = [b"", b"data", b"x" * 100000, [], [1, "two", [3]]]
    messages = [Message(body=body, inferred=True) for body in bodies]
    for sent, came in back(scene, "body-sections", messages):
        same(came.body, sent.body, "body")
        equal(came.inferred, True, "inferred")


@check("application-properties")
def application_properties(scene):
    wanted = {**SCALARS, **RARE}
    for _, came in back(scene, "application-properties", [Message(properties=wanted, body="body")]):
        same(came.properties, wanted, "property")


@check("message-ids")
def message_ids(scene):
    ids = ["text", ulong(18000000000000000000), uuid.uuid4(), b"\x00\xffbinary"]
    messages = [Message(id=one, correlation_id=one, body="body") for one in ids]
    for sent, came in back(scene, "message-ids", messages):
        same(came.id, sent.id, "message-id")
        same(came.correlation_id, sent.correlation_id, "correlation-id")


@check("properties")
def properties(scene):
    now = int(time.time())
    wanted = {
        "id": "id",
        "user_id": b"anonymous",
        "address": queue("properties"),
        "subject": "subject",
        "reply_to": "somewhere",
        "correlation_id": "correlation",
        "content_type": symbol("text/plain"),
        "content_encoding": symbol("utf-8"),
        "expiry_time": now + 3600.0,
        "creation_time": now - 1.0,
        "group_id": "group",
        "group_sequence": 17,
        "reply_to_group_id": "reply group",
    }
    sent = Message(body="body", **wanted)
    for _, came in back(scene, "properties", [sent]):
        for name, value in wanted.items():
            same(getattr(came, name), value, name)


@check("no-properties")
def no_properties(scene):
    for _, came in back(scene, "no-properties", [Message()]):
        equal(came.body, None, "body")
        equal(came.id, None, "message-id")
        equal(came.subject, None, "subject")
        equal(came.properties, None, "application-properties")


@check("header")
def header(scene):
    sent = Message(durable=True, priority=7, ttl=60.0, body="body")
    for _, came in back(scene, "header", [sent, Message(body="plain")]):
        if came.body == "plain":
            equal((came.durable, came.priority), (False, 4), "durable, priority")
        else:
            equal((came.durable, came.priority), (True, 7), "durable, priority")
            equal(59.0 < came.ttl <= 60.0, True, "ttl of %r" % came.ttl)


@check("annotations")
def annotations(scene):
    wanted = {symbol("x-opt-text"): "text", symbol("x-opt-list"): [1, {"deep": True}]}
    sent = Message(annotations=wanted, body="body")
    for _, came in back(scene, "annotations", [sent]):
        same(came.annotations, wanted, "annotation")


@check("time-to-live")
def time_to_live(scene):
    """What has expired is not delivered."""
    connection = scene.connect()
    link = connection.create_sender(queue("time-to-live")).link
    for body, ttl in (("short", 0.1), ("long", 60.0)):
        outcome(connection, link, Message(body=body, ttl=ttl))
    time.sleep(0.3)
    receiver = Receiver(connection, queue("time-to-live"), credit=10)
    equal(receiver.next().message.body, "long")
    receiver.nothing()
