"""Connections that break: a small proxy in between is cut, and the client goes on by itself."""

import select
import socket
import threading

from proton import Message
from proton.handlers import MessagingHandler
from proton.reactor import Backoff, Container

from scene import bodies, check, equal, queue, send

COUNT = 3000
CUTS = 5
IN_FLIGHT = 50


class Proxy:
    """Forwards connections until they are cut."""

    def __init__(self, target):
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.pairs = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                broker = socket.create_connection(self.target)
            except OSError:
                return
            self.pairs.append((client, broker))
            threading.Thread(target=self.forward, args=(client, broker), daemon=True).start()

    def forward(self, client, broker):
        other = {client: broker, broker: client}
        try:
            while True:
                for ready in select.select([client, broker], [], [])[0]:
                    octets = ready.recv(65536)
                    if not octets:
                        return
                    other[ready].sendall(octets)
        except (OSError, ValueError):
            pass
        finally:
            client.close()
            broker.close()

    def cut(self):
        pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.listener.close()
        self.cut()


class Client(MessagingHandler):
    """Connects through the proxy, and cuts it every so often."""

    def __init__(self, proxy, address, **more):
        super().__init__(**more)
        self.proxy, self.address = proxy, address
        self.done = 0
        self.cuts = 0
        self.reconnected = 0

    def on_start(self, event):
        backoff = Backoff(initial=0.01, max_delay=0.1)
        self.connection = event.container.connect(
            "amqp://" + self.proxy.address, reconnect=backoff, allowed_mechs="ANONYMOUS"
        )
        self.link(event.container)

    def on_connection_opened(self, event):
        self.reconnected += 1

    def count(self):
        """Another one is done; cuts the connection when it is time."""
        self.done += 1
        # What came before a cut may still be counted after it: only a connection that is there is cut.
        due = self.done >= (self.cuts + 1) * (COUNT // (CUTS + 1))
        if due and self.cuts < CUTS and self.reconnected > self.cuts:
            self.cuts += 1
            self.proxy.cut()


class Publisher(Client):
    """Sends numbers until each has been acknowledged; again those whose outcome was lost."""

    def link(self, container):
        self.numbers = {}
        self.todo = list(range(COUNT))[::-1]
        self.acknowledged = set()
        container.create_sender(self.connection, self.address)

    def on_sendable(self, event):
        self.fill(event.sender)

    def fill(self, sender):
        # Few at a time, so that cuts come between their outcomes.
        while self.todo and sender.credit and len(self.numbers) < IN_FLIGHT:
            number = self.todo.pop()
            self.numbers[sender.send(Message(body=number, durable=True))] = number

    def on_accepted(self, event):
        self.acknowledged.add(self.numbers.pop(event.delivery))
        self.count()
        self.fill(event.link)
        if len(self.acknowledged) == COUNT:
            event.connection.close()

    def on_disconnected(self, event):
        self.todo += sorted(self.numbers.values(), reverse=True)
        self.numbers = {}


class Consumer(Client):
    """Takes numbers until it has seen each."""

    def __init__(self, proxy, address):
        super().__init__(proxy, address, prefetch=50, auto_accept=True)
        self.seen = set()

    def link(self, container):
        container.create_receiver(self.connection, self.address)

    def on_message(self, event):
        self.seen.add(event.message.body)
        self.count()
        if len(self.seen) == COUNT:
            event.connection.close()


def through_proxy(scene, kind, name):
    proxy = Proxy(scene.address)
    try:
        client = kind(proxy, queue(name))
        Container(client).run()
    finally:
        proxy.close()
    equal(client.cuts, CUTS, "cuts")
    equal(client.reconnected, CUTS + 1, "connections")
    return client


@check("reconnect-sender", seconds=60)
def reconnect_sender(scene):
    """What was acknowledged is there, in order but for what was sent again."""
    through_proxy(scene, Publisher, "reconnect-sender")
    found = bodies(scene.connect(), queue("reconnect-sender"))
    equal(sorted(set(found)), list(range(COUNT)), "numbers")
    first = list(dict.fromkeys(found))
    equal(first, sorted(first), "order of what came first")


@check("reconnect-receiver", seconds=60)
def reconnect_receiver(scene):
    """Everything arrives; what was not acknowledged before a cut comes again."""
    send(scene.connect(), queue("reconnect-receiver"), range(COUNT))
    client = through_proxy(scene, Consumer, "reconnect-receiver")
    equal(sorted(client.seen), list(range(COUNT)), "numbers")
