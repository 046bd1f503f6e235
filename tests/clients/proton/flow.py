"""Credit: never more than was given, drained when asked, none for those who must wait."""

from proton import Delivery, Message

from scene import Receiver, accepted, check, equal, linger, outcome, queue, send, send_on


@check("credit")
def credit(scene):
    connection = scene.connect()
    send(connection, queue("credit"), range(100))
    receiver = Receiver(connection, queue("credit"))
    receiver.nothing()
    given = 0
    for more in (1, 1, 2, 10, 0, 30):
        receiver.flow(more)
        for received in receiver.take(more):
            equal(received.message.body, given)
            receiver.settle(received)
            given += 1
        receiver.nothing()


@check("credit-before-messages")
def credit_before_messages(scene):
    """Credit that is there first is used as messages come, and not beyond its end."""
    connection = scene.connect()
    receiver = Receiver(connection, queue("credit-before-messages"), credit=5)
    receiver.nothing()
    send(connection, queue("credit-before-messages"), range(10))
    equal([r.message.body for r in receiver.take(5)], list(range(5)), "bodies")
    receiver.nothing()
    receiver.flow(5)
    equal([r.message.body for r in receiver.take(5)], list(range(5, 10)), "bodies")


@check("credit-sender")
def credit_sender(scene):
    """A sender has no credit before the broker gives some, and gets more as it is used up."""
    connection = scene.connect()
    session = connection.conn.session()
    session.open()
    link = session.sender("credit-sender")
    link.target.address = queue("credit-sender")
    link.open()
    equal(link.credit, 0, "credit before an attach is answered")
    connection.wait(lambda: link.credit > 0, msg="Waiting for credit")
    first = link.credit
    send_on(connection, link, [Message(body=n) for n in range(first * 3)])
    connection.wait(lambda: link.credit > 0, msg="Waiting for credit")


@check("drain")
def drain(scene):
    connection = scene.connect()
    name = queue("drain")
    receiver = Receiver(connection, name)
    equal(len(receiver.drain(10)), 0, "messages of an empty queue")
    equal(receiver.link.credit, 0, "credit")
    send(connection, name, range(5))
    receiver.nothing()
    equal([r.message.body for r in receiver.drain(10)], list(range(5)), "bodies")
    equal(receiver.link.credit, 0, "credit")
    # No more than the credit, though there is more.
    send(connection, name, range(5))
    equal([r.message.body for r in receiver.drain(3)], list(range(3)), "bodies")
    receiver.nothing()


# Without flow control, which would hold back outcomes before the queue is full.
FULL = {"qpid.max_count": 10, "qpid.policy_type": "reject", "qpid.flow_stop_count": 0}


@check("full-queue", queues={"full-queue": FULL})
def full_queue(scene):
    """What a full queue has no room for is rejected, and the link lives on."""
    connection = scene.connect()
    link = connection.create_sender(queue("full-queue")).link
    for number in range(10):
        accepted(outcome(connection, link, Message(body=number)))
    delivery = outcome(connection, link, Message(body=10))
    # The reference releases it, which says no reason.
    if delivery.remote_state != Delivery.RELEASED:
        equal(delivery.remote_state, Delivery.REJECTED, "outcome")
        equal(delivery.remote.condition.name, "amqp:resource-limit-exceeded", "condition")
    receiver = Receiver(connection, queue("full-queue"), credit=1)
    receiver.settle(receiver.next(), Delivery.ACCEPTED)
    linger(connection, 0.1)
    accepted(outcome(connection, link, Message(body=11)))


FLOW = {"qpid.flow_stop_count": 10, "qpid.flow_resume_count": 5}


@check("flow-stop", queues={"flow-stop": FLOW})
def flow_stop(scene):
    """A queue above its mark keeps the outcomes of its senders until it is emptier."""
    connection = scene.connect()
    link = connection.create_sender(queue("flow-stop")).link
    connection.wait(lambda: link.credit > 0, msg="Waiting for credit")
    deliveries = [link.send(Message(body=n)) for n in range(min(link.credit, 20))]
    linger(connection, 0.3)
    equal(all(delivery.settled for delivery in deliveries), False, "all settled")
    receiver = Receiver(scene.connect(), queue("flow-stop"), credit=20)
    for received in receiver.take(20):
        receiver.settle(received)
    linger(receiver.connection, 0.1)
    connection.wait(lambda: all(d.settled for d in deliveries), msg="Waiting for the outcomes")
