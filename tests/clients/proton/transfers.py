"""Messages there and back: order, settlement modes, size."""

import hashlib
import random

from proton import Delivery, Link, Message
from proton.reactor import AtLeastOnce, AtMostOnce, LinkOption

from scene import Receiver, accepted, check, contents, equal, linger, queue, send, send_on

COUNT = 10000
LARGE = 64 * 1024 * 1024


class Modes(LinkOption):
    def __init__(self, sender, receiver):
        self.sender, self.receiver = sender, receiver

    def apply(self, link):
        link.snd_settle_mode = self.sender
        link.rcv_settle_mode = self.receiver


@check("order")
def order(scene):
    connection = scene.connect()
    send(connection, queue("order"), ("message %d" % n for n in range(COUNT)))
    receiver = Receiver(connection, queue("order"), credit=500)
    for number in range(COUNT):
        received = receiver.next()
        equal(received.message.body, "message %d" % number)
        receiver.settle(received)
        if receiver.link.credit < 250:
            receiver.flow(250)
    linger(connection, 0.1)
    receiver.close()
    equal(contents(connection, queue("order")), [], "what is left")


def both_ways(scene, name, options):
    """A thousand messages in this mode, there and back."""
    connection = scene.connect()
    sender = connection.create_sender(queue(name), options=options)
    send_on(connection, sender.link, [Message(body=n) for n in range(1000)])
    # What was sent settled has no answer; the order of a session says that it is there by then.
    sender.close()
    receiver = Receiver(connection, queue(name), credit=1000, options=options)
    for number in range(1000):
        received = receiver.next()
        equal(received.message.body, number)
        yield receiver, received
    receiver.close()
    equal(contents(connection, queue(name)), [], "what is left")


@check("settle-presettled")
def presettled(scene):
    for _, received in both_ways(scene, "settle-presettled", AtMostOnce()):
        equal(received.delivery.settled, True, "settled")


@check("settle-unsettled")
def unsettled(scene):
    for receiver, received in both_ways(scene, "settle-unsettled", AtLeastOnce()):
        equal(received.delivery.settled, False, "settled")
        receiver.settle(received)


@check("settle-mixed")
def mixed(scene):
    connection = scene.connect()
    modes = Modes(Link.SND_MIXED, Link.RCV_FIRST)
    link = connection.create_sender(queue("settle-mixed"), options=modes).link
    deliveries = []
    for number in range(400):
        connection.wait(lambda: link.credit > 0, msg="Waiting for credit")
        delivery = link.delivery("tag %d" % number)
        link.stream(Message(body=number).encode())
        link.advance()
        if number % 2:
            delivery.settle()
        else:
            deliveries.append(delivery)
    connection.wait(lambda: all(d.settled for d in deliveries), msg="Waiting for the outcomes")
    for delivery in deliveries:
        accepted(delivery)
    receiver = Receiver(connection, queue("settle-mixed"), credit=400, options=modes)
    for number in range(400):
        received = receiver.next()
        equal(received.message.body, number)
        receiver.settle(received)


@check("settle-second")
def second(scene):
    """The receiver settles when the broker has: a message is settled twice, by both."""
    connection = scene.connect()
    send(connection, queue("settle-second"), range(100))
    modes = Modes(Link.SND_UNSETTLED, Link.RCV_SECOND)
    receiver = Receiver(connection, queue("settle-second"), credit=100, options=modes)
    received = receiver.take(100)
    for number, each in enumerate(received):
        equal(each.message.body, number)
        equal(each.delivery.settled, False, "settled by the broker before the receiver's outcome")
        each.delivery.update(Delivery.ACCEPTED)
    connection.wait(lambda: all(r.delivery.settled for r in received), msg="Waiting to settle")
    for each in received:
        each.delivery.settle()
    receiver.close()
    equal(contents(connection, queue("settle-second")), [], "what is left")


@check("large", seconds=60)
def large(scene):
    content = random.Random(1).randbytes(LARGE)
    connection = scene.connect(max_frame_size=16 * 1024)
    send(connection, queue("large"), [content])
    wanted = hashlib.sha256(content).hexdigest()
    receiver = Receiver(connection, queue("large"), credit=1)
    received = receiver.next()
    equal(len(received.message.body), LARGE, "length")
    equal(hashlib.sha256(received.message.body).hexdigest(), wanted, "checksum")
    receiver.settle(received)


@check("many-links")
def many_links(scene):
    """Ten senders and ten receivers on each of ten sessions, mixed."""
    connection = scene.connect()
    name = queue("many-links")
    links = []
    for turn in range(10):
        session = connection.conn.session()
        session.open()
        for number in range(10):
            # A container has one link of a name, on whichever session.
            link = session.sender("sender %d of %d" % (number, turn))
            link.target.address = name
            link.open()
            links.append(link)
    connection.wait(lambda: all(link.credit for link in links), msg="Waiting for credit")
    deliveries = []
    for link in links:
        deliveries += [link.send(Message(body=n)) for n in range(10)]
    connection.wait(lambda: all(d.settled for d in deliveries), msg="Waiting for the outcomes")
    receivers = [Receiver(connection, name, credit=100) for _ in range(10)]
    equal(sum(len(receiver.take(100)) for receiver in receivers), 1000, "messages")
