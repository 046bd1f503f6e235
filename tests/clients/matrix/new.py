"""The reference's client for AMQP 1.0: sends each case, or says what came.

    new.py send HOST:PORT QUEUE
    new.py receive HOST:PORT QUEUE COUNT

The cases are those of old.py, and so is the form of what is said.
"""

import json
import sys
import uuid

from proton import Message
from proton.utils import BlockingConnection

NIL = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
SCALARS = {
    "text": "caf\u00e9",
    "empty text": "",
    "true": True,
    "false": False,
    "small": 7,
    "negative": -7,
    "large": 2**40,
    "largest": 2**63 - 1,
    "float": 1.5,
    "uuid": NIL,
    "nothing": None,
}
CASES = [
    ("text", dict(body="caf\u00e9")),
    ("binary", dict(body=b"\x00\xff\x7f", inferred=True, content_type="application/octet-stream")),
    ("map", dict(body={"text": "a", "number": 1, "list": [1, "b"], "map": {"deep": True}})),
    ("list", dict(body=[1, "two", 3.5, [True], {"k": "v"}])),
    ("empty map", dict(body={})),
    ("empty list", dict(body=[])),
    ("properties", dict(body="x", properties=SCALARS)),
    # Only scalars are allowed there in 1.0.
    ("nested property", None),
    ("subject", dict(body="x", subject="news.sport")),
    ("reply-to", dict(body="x", reply_to="answers")),
    ("reply-to with subject", dict(body="x", reply_to="amq.direct/key")),
    ("ids", dict(body="x", id=NIL, correlation_id="c-1", user_id=b"me")),
    ("header", dict(body="x", durable=True, priority=7, ttl=60)),
]


def said(value):
    """A value as [TYPE, TEXT] or, of maps and lists, [TYPE, MEMBERS]."""
    if value is None:
        return ["null", ""]
    if isinstance(value, bool):
        return ["bool", "true" if value else "false"]
    if isinstance(value, int):
        return ["int", str(int(value))]
    if isinstance(value, float):
        return ["float", repr(float(value))]
    if isinstance(value, uuid.UUID):
        return ["uuid", str(value)]
    if isinstance(value, (bytes, memoryview)):
        return ["binary", bytes(value).hex()]
    if isinstance(value, str):
        return ["text", str(value)]
    if isinstance(value, dict):
        return ["map", {str(key): said(member) for key, member in value.items()}]
    if isinstance(value, (list, tuple)):
        return ["list", [said(member) for member in value]]
    return [type(value).__name__, repr(value)]


def text(value):
    if isinstance(value, bytes):
        return value.decode()
    # The client makes the text "None" of a content type that is not there.
    return "" if value in (None, "None") else str(value)


def send(connection, queue):
    sender = connection.create_sender(queue)
    for name, fields in CASES:
        if fields is None:
            continue
        fields = dict(fields)
        properties = dict(fields.pop("properties", {}), case=name)
        sender.send(Message(properties=properties, **fields))


def receive(connection, queue):
    receiver = connection.create_receiver(queue, credit=100)
    count = int(sys.argv[4])
    for _ in range(count):
        message = receiver.receive(timeout=10)
        receiver.accept()
        properties = dict(message.properties or {})
        case = properties.pop("case", None)
        print(
            json.dumps(
                {
                    "case": case,
                    "body": said(message.body),
                    "content-type": text(message.content_type),
                    "properties": {key: said(value) for key, value in properties.items()},
                    "subject": text(message.subject),
                    "reply-to": text(message.reply_to),
                    "message-id": said(message.id),
                    "correlation-id": text(message.correlation_id),
                    "user-id": text(message.user_id),
                    "durable": message.durable,
                    "priority": message.priority,
                    "ttl": bool(message.ttl),
                }
            )
        )


def main():
    action, address, queue = sys.argv[1:4]
    connection = BlockingConnection(address, timeout=20, allowed_mechs="ANONYMOUS")
    {"send": send, "receive": receive}[action](connection, queue)
    connection.close()


main()
