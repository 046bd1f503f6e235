# The reference's client for AMQP 0-10, which needs Python 2.7: sends each case, or says what came.
#
#   old.py send HOST:PORT QUEUE
#   old.py receive HOST:PORT QUEUE COUNT
#
# What came is a line of JSON for each message; see `said` for the form of values.

import json
import sys
from uuid import UUID

from qpid.messaging import Connection, Message

NIL = UUID("01234567-89ab-cdef-0123-456789abcdef")
SCALARS = {
    u"text": u"caf\u00e9",
    u"empty text": u"",
    u"true": True,
    u"false": False,
    u"small": 7,
    u"negative": -7,
    u"large": 2 ** 40,
    u"largest": 2 ** 63 - 1,
    u"float": 1.5,
    u"uuid": NIL,
    u"nothing": None,
}
CASES = [
    ("text", dict(content=u"caf\u00e9", content_type="text/plain")),
    ("binary", dict(content="\x00\xff\x7f", content_type="application/octet-stream")),
    ("map", dict(content={u"text": u"a", u"number": 1, u"list": [1, u"b"], u"map": {u"deep": True}})),
    ("list", dict(content=[1, u"two", 3.5, [True], {u"k": u"v"}])),
    ("empty map", dict(content={})),
    ("empty list", dict(content=[])),
    ("properties", dict(content=u"x", content_type="text/plain", properties=SCALARS)),
    ("nested property", dict(content=u"x", content_type="text/plain",
                             properties={u"map": {u"a": 1}, u"list": [1, 2]})),
    ("subject", dict(content=u"x", content_type="text/plain", subject=u"news.sport")),
    ("reply-to", dict(content=u"x", content_type="text/plain", reply_to="answers")),
    ("reply-to with subject", dict(content=u"x", content_type="text/plain", reply_to="amq.direct/key")),
    ("ids", dict(content=u"x", content_type="text/plain", id=NIL, correlation_id="c-1", user_id="me")),
    ("header", dict(content=u"x", content_type="text/plain", durable=True, priority=7, ttl=60)),
]


def said(value):
    """A value as [TYPE, TEXT] or, of maps and lists, [TYPE, MEMBERS]."""
    if value is None:
        return ["null", ""]
    if isinstance(value, bool):
        return ["bool", "true" if value else "false"]
    if isinstance(value, (int, long)):
        return ["int", str(value)]
    if isinstance(value, float):
        return ["float", repr(value)]
    if isinstance(value, UUID):
        return ["uuid", str(value)]
    if isinstance(value, unicode):
        return ["text", value]
    if isinstance(value, str):
        return ["binary", value.encode("hex")]
    if isinstance(value, dict):
        return ["map", {key: said(member) for key, member in value.items()}]
    if isinstance(value, (list, tuple)):
        return ["list", [said(member) for member in value]]
    return [type(value).__name__, repr(value)]


def text(value):
    return "" if value is None else str(value)


# What the client puts among the properties by itself.
OWN = ("x-amqp-0-10.routing-key", "qpid.subject", "x-amqp-0-10.app-id", "x-amqp-0-10.content-encoding")


def send(session, queue):
    sender = session.sender(queue)
    for name, fields in CASES:
        fields = dict(fields)
        properties = dict(fields.pop("properties", {}))
        # With u: text, and not octets.
        properties[u"case"] = unicode(name)
        sender.send(Message(properties=properties, **fields))
    session.sync()


def receive(session, queue):
    receiver = session.receiver(queue)
    receiver.capacity = 100
    for _ in range(int(sys.argv[4])):
        message = receiver.fetch(timeout=10)
        properties = {k: v for k, v in message.properties.items() if k not in OWN}
        case = properties.pop("case", None)
        print(json.dumps({
            "case": case,
            "body": said(message.content),
            "content-type": text(message.content_type),
            "properties": {key: said(value) for key, value in properties.items()},
            "subject": text(message.subject),
            "reply-to": text(message.reply_to).split(";")[0].strip(),
            "message-id": said(message.id) if message.id else ["null", ""],
            "correlation-id": text(message.correlation_id),
            "user-id": text(message.user_id),
            "durable": bool(message.durable),
            "priority": 4 if message.priority is None else message.priority,
            "ttl": bool(message.ttl),
        }))
        session.acknowledge()


def main():
    action, address, queue = sys.argv[1:4]
    connection = Connection(address, sasl_mechanisms="ANONYMOUS")
    connection.open()
    {"send": send, "receive": receive}[action](connection.session(), queue)
    connection.close()


main()
