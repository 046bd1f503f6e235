"""What the checks share: their list, connections, links that are driven by hand."""

import collections
import itertools
import time

from proton import Delivery, Link, Message
from proton.handlers import MessagingHandler
from proton.utils import BlockingConnection

CHECKS = []

# How long anything may take on a busy machine, and how long nothing must come before a check
# believes that nothing will.
PATIENCE = 20
SILENCE = 0.25

Check = collections.namedtuple("Check", "name run queues seconds")
Received = collections.namedtuple("Received", "message delivery")


class Skip(Exception):
    """The check cannot be made with this client."""


def queue(name):
    return "proton-" + name


def check(name, queues=None, seconds=30):
    """Registers a check. `queues` are those it needs: names, or names with arguments."""

    def register(run):
        if queues is None:
            needed = {queue(name): {}}
        else:
            needed = {queue(each): options for each, options in dict(queues).items()}
        CHECKS.append(Check(name, run, needed, seconds))
        return run

    return register


def equal(found, wanted, what="value"):
    if type(found) is not type(wanted) or found != wanted:
        raise AssertionError("%s: %r is not %r" % (what, found, wanted))


# Proton would name a link by its address, and these are on several connections of a container.
LINK_NAMES = ("link %d" % number for number in itertools.count())


class Inbox(MessagingHandler):
    """Keeps what arrives, and gives no credit by itself."""

    def __init__(self, connection):
        super().__init__(prefetch=0, auto_accept=False)
        self.connection = connection
        self.received = collections.deque()

    def on_message(self, event):
        self.received.append(Received(event.message, event.delivery))
        self.connection.container.yield_()  # Wakes those who wait for it.


class Receiver:
    """A receiving link whose credit and settlement are the check's."""

    def __init__(self, connection, address, credit=0, **more):
        self.connection = connection
        self.inbox = Inbox(connection)
        more.setdefault("name", next(LINK_NAMES))
        self.blocking = connection.create_receiver(
            address, handler=self.inbox, credit=credit, **more
        )
        self.link = self.blocking.link

    def flow(self, credit):
        self.link.flow(credit)

    def next(self, timeout=PATIENCE):
        received = self.inbox.received
        self.connection.wait(lambda: received, timeout=timeout, msg="Waiting for a message")
        return received.popleft()

    def take(self, count):
        return [self.next() for _ in range(count)]

    def nothing(self):
        """Nothing comes for a while."""
        linger(self.connection, SILENCE)
        if self.inbox.received:
            body = self.inbox.received[0].message.body
            raise AssertionError("%r came and should not have" % (body,))

    def drain(self, credit):
        """Returns what comes before the broker says that there is no more."""
        self.link.drain(credit)
        self.connection.wait(
            # Messages may have been read with that word, and not been seen here yet.
            lambda: not self.link.draining() and not self.link.queued,
            timeout=PATIENCE,
            msg="Draining",
        )
        received = list(self.inbox.received)
        self.inbox.received.clear()
        return received

    def settle(self, received, state=Delivery.ACCEPTED):
        received.delivery.update(state)
        received.delivery.settle()

    def close(self):
        self.blocking.close()


class Scene:
    """The connections of a check."""

    def __init__(self, address):
        self.address = address
        self.connections = []

    def connect(self, **more):
        url = "amqp://" + self.address
        more.setdefault("allowed_mechs", "ANONYMOUS")
        connection = BlockingConnection(url, timeout=PATIENCE, **more)
        self.connections.append(connection)
        return connection

    def drop(self, connection):
        self.connections.remove(connection)
        connection.close()

    def close(self):
        for connection in self.connections:
            connection.close()


def linger(connection, seconds):
    """Lets the connection work for that long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection.container.timeout = 0.02
        connection.container.process()


def send(connection, address, bodies):
    """Sends messages with these bodies, waits until all are accepted and closes the link."""
    sender = connection.create_sender(address, name=next(LINK_NAMES))
    send_on(connection, sender.link, [Message(body=body) for body in bodies])
    sender.close()


def send_on(connection, link, messages):
    """Sends on a link as credit allows, and returns when the broker has accepted everything."""
    waiting = collections.deque()

    def settle():
        while waiting and waiting[0].settled:
            delivery = waiting.popleft()
            accepted(delivery)
            delivery.settle()
        return not waiting

    for message in messages:
        if not link.credit:
            settle()
            connection.wait(lambda: link.credit > 0, timeout=PATIENCE, msg="Waiting for credit")
        delivery = link.send(message)
        if link.snd_settle_mode != Link.SND_SETTLED:
            waiting.append(delivery)
    connection.wait(settle, timeout=PATIENCE, msg="Waiting for the outcomes")


def accepted(delivery):
    if delivery.remote_state != Delivery.ACCEPTED:
        raise AssertionError("not accepted but %r" % (delivery.remote_state,))


def outcome(connection, link, message):
    """Sends a message and returns its settled delivery."""
    connection.wait(lambda: link.credit > 0, timeout=PATIENCE, msg="Waiting for credit")
    delivery = link.send(message)
    connection.wait(lambda: delivery.settled, timeout=PATIENCE, msg="Waiting for the outcome")
    return delivery


def contents(connection, address):
    """All that a queue has, taken from it: what a drain of more credit than that brings."""
    receiver = Receiver(connection, address)
    received = receiver.drain(100000)
    for each in received:
        receiver.settle(each)
    receiver.close()
    return [each.message for each in received]


def bodies(connection, address):
    return [message.body for message in contents(connection, address)]
