"""What a receiver makes of a message, and what becomes of the message then."""

from proton import Condition, Delivery, Message, symbol

from scene import Receiver, check, contents, equal, linger, queue, send


def one(scene, name):
    """A receiver that was given the only message of its queue."""
    connection = scene.connect()
    send(connection, queue(name), ["first"])
    receiver = Receiver(connection, queue(name), credit=1)
    received = receiver.next()
    equal(received.message.delivery_count, 0, "delivery-count")
    return connection, receiver, received


@check("outcome-accepted")
def accepted(scene):
    connection, receiver, received = one(scene, "outcome-accepted")
    equal(received.message.first_acquirer, True, "first-acquirer")
    receiver.settle(received)
    receiver.close()
    equal(contents(connection, queue("outcome-accepted")), [], "what is left")


@check("outcome-settled-without-state")
def without_state(scene):
    """The reference takes a settlement without an outcome for an acceptance."""
    connection, receiver, received = one(scene, "outcome-settled-without-state")
    received.delivery.settle()
    receiver.close()
    equal(contents(connection, queue("outcome-settled-without-state")), [], "what is left")


@check("outcome-rejected")
def rejected(scene):
    connection, receiver, received = one(scene, "outcome-rejected")
    received.delivery.local.condition = Condition("amqp:decode-error", "cannot be read")
    receiver.settle(received, Delivery.REJECTED)
    receiver.close()
    equal(contents(connection, queue("outcome-rejected")), [], "what is left")


ALTERNATE = {"outcome-rejected-alternate": {"alternate-exchange": "amq.fanout"}}


@check("outcome-rejected-alternate", queues=ALTERNATE)
def rejected_to_alternate(scene):
    dead = Receiver(scene.connect(), "amq.fanout", credit=10)
    _, receiver, received = one(scene, "outcome-rejected-alternate")
    receiver.settle(received, Delivery.REJECTED)
    linger(receiver.connection, 0.1)
    equal(dead.next().message.body, "first")


@check("outcome-released")
def released(scene):
    connection, receiver, received = one(scene, "outcome-released")
    receiver.settle(received, Delivery.RELEASED)
    receiver.flow(1)
    again = receiver.next()
    equal(again.message.body, "first")
    equal(again.message.delivery_count, 0, "delivery-count of a released message")
    receiver.settle(again)
    receiver.close()
    equal(contents(connection, queue("outcome-released")), [], "what is left")


@check("outcome-released-order")
def released_order(scene):
    """Released messages come back in their places."""
    connection = scene.connect()
    name = queue("outcome-released-order")
    send(connection, name, range(20))
    receiver = Receiver(connection, name, credit=10)
    for received in receiver.take(10):
        receiver.settle(received, Delivery.RELEASED)
    receiver.close()
    equal([message.body for message in contents(connection, name)], list(range(20)), "order")


@check("outcome-modified")
def modified(scene):
    _, receiver, received = one(scene, "outcome-modified")
    for count in range(1, 4):
        received.delivery.local.failed = True
        received.delivery.local.annotations = {symbol("x-try"): count}
        receiver.settle(received, Delivery.MODIFIED)
        receiver.flow(1)
        received = receiver.next()
        equal(received.message.body, "first")
        equal(received.message.delivery_count, count, "delivery-count")
        equal(received.message.annotations[symbol("x-try")], count, "annotation")
    receiver.settle(received)


@check("outcome-undeliverable-here")
def undeliverable_here(scene):
    """Not to this link again; to another it may go."""
    connection, receiver, received = one(scene, "outcome-undeliverable-here")
    received.delivery.local.failed = True
    received.delivery.local.undeliverable = True
    receiver.settle(received, Delivery.MODIFIED)
    receiver.flow(1)
    receiver.nothing()
    other = Receiver(connection, queue("outcome-undeliverable-here"), credit=1)
    again = other.next()
    equal(again.message.body, "first")
    equal(again.message.delivery_count, 1, "delivery-count")
    other.settle(again)


@check("outcome-none")
def none(scene):
    """Messages of a link that is closed without an outcome are another's."""
    connection = scene.connect()
    send(connection, queue("outcome-none"), range(10))
    receiver = Receiver(connection, queue("outcome-none"), credit=10)
    receiver.take(10)
    receiver.close()
    again = contents(connection, queue("outcome-none"))
    equal([message.body for message in again], list(range(10)), "order")
    equal({message.delivery_count for message in again}, {1}, "delivery-counts")


@check("competing")
def competing(scene):
    """Two receivers share the messages of a queue; neither gets what the other has."""
    name = queue("competing")
    one, two = (Receiver(scene.connect(), name) for _ in range(2))
    connection = scene.connect()
    send(connection, name, range(1000))
    seen = []
    for turn in range(20):
        for receiver in (one, two):
            receiver.flow(25)
            for received in receiver.take(25):
                seen.append(received.message.body)
                receiver.settle(received)
            linger(receiver.connection, 0.001)
    equal(sorted(seen), list(range(1000)), "all of them, once")
