"""A client of the reference that says what it does, for a test that kills the broker under it.

    crash.py HOST:PORT publish PUBLISHER FIRST SEED ADDRESS...
    crash.py HOST:PORT consume SEED QUEUE

It ends when its connection does. Every line is written before the next step is taken:

    sending ADDRESS NUMBER      before a persistent message is sent
    confirmed NUMBER            the broker has confirmed it and all before it
    received 0|1 BODY-HEAD      a message came, flagged as redelivered or not
    accepting BODY-HEAD         before it is accepted
    accepted BODY-HEAD          the broker has confirmed that
    changed BODY-HEAD           its body is not what was sent
"""
import random
import socket
import sys

from qpid.messaging import Connection, ConnectionError, Empty, Message


def say(*words):
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def body(publisher, number, size):
    """What `Tag::body` of the tests makes."""
    head = "%d %d %d;" % (publisher, number, size)
    salt = number * 31 + publisher
    return head + "".join(chr((salt + at * 7 + (at >> 8)) & 255) for at in range(len(head), size))


def publish(session, publisher, first, seed, addresses):
    chance = random.Random(seed)
    senders = [session.sender(address) for address in addresses]
    number = first
    while True:
        waits = chance.choice([1, 1, 5, 20])
        for _ in range(waits):
            sender = chance.choice(senders)
            content = body(publisher, number, chance.choice([40, 100, 1000, 20000]))
            say("sending", sender.target, number)
            sender.send(Message(content=content, durable=True), sync=waits == 1)
            number += 1
        if waits > 1:
            for sender in senders:
                sender.sync()
        say("confirmed", number - 1)


def consume(session, seed, queue):
    chance = random.Random(seed)
    accepts = chance.random() < 0.7
    receiver = session.receiver(queue, capacity=20)
    while True:
        try:
            message = receiver.fetch(timeout=0.5)
        except Empty:
            continue
        head, _ = message.content.split(";", 1)
        publisher, number, size = [int(word) for word in head.split(" ")]
        if message.content != body(publisher, number, size):
            say("changed", head)
        say("received", int(bool(message.redelivered)), head)
        if accepts:
            say("accepting", head)
            session.acknowledge(message, sync=True)
            say("accepted", head)


def main(broker, what, *rest):
    try:
        connection = Connection.establish(broker, reconnect=False)
        session = connection.session()
        if what == "publish":
            publish(session, int(rest[0]), int(rest[1]), int(rest[2]), rest[3:])
        else:
            consume(session, int(rest[0]), rest[1])
    except (ConnectionError, socket.error):
        pass


main(*sys.argv[1:])
