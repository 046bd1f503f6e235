"""Local transactions through the coordinator: sends and acceptances, committed and rolled back."""

from proton import Message
from proton.handlers import TransactionHandler

from scene import PATIENCE, Receiver, bodies, check, equal, linger, queue, send


class Coordinator(TransactionHandler):
    """Declares and discharges, one transaction at a time."""

    def __init__(self, connection):
        self.connection = connection
        self.said = None

    def on_transaction_declared(self, event):
        self.said = "declared"

    def on_transaction_committed(self, event):
        self.said = "committed"

    def on_transaction_aborted(self, event):
        self.said = "aborted"

    def on_transaction_declare_failed(self, event):
        self.said = "declare failed"

    def on_transaction_commit_failed(self, event):
        self.said = "commit failed"

    def wait(self, wanted):
        self.connection.wait(lambda: self.said, timeout=PATIENCE, msg="Waiting: " + wanted)
        said, self.said = self.said, None
        equal(said, wanted, "what the coordinator said")

    def declare(self, settle_before_discharge=False):
        transaction = self.connection.container.declare_transaction(
            self.connection.conn, self, settle_before_discharge
        )
        self.wait("declared")
        return transaction

    def commit(self, transaction):
        transaction.commit()
        self.wait("committed")

    def abort(self, transaction):
        transaction.abort()
        self.wait("aborted")


def sent(scene, name, end):
    connection = scene.connect()
    coordinator = Coordinator(connection)
    link = connection.create_sender(queue(name)).link
    connection.wait(lambda: link.credit > 0, msg="Waiting for credit")
    transaction = coordinator.declare()
    for number in range(10):
        transaction.send(link, Message(body=number))
    other = scene.connect()
    equal(bodies(other, queue(name)), [], "what is there before the end")
    end(coordinator, transaction)
    return bodies(other, queue(name))


@check("tx-commit-send")
def commit_send(scene):
    equal(sent(scene, "tx-commit-send", Coordinator.commit), list(range(10)), "committed")


@check("tx-rollback-send")
def rollback_send(scene):
    equal(sent(scene, "tx-rollback-send", Coordinator.abort), [], "rolled back")


def taken(scene, name, end, settle_before_discharge):
    connection = scene.connect()
    send(connection, queue(name), range(10))
    coordinator = Coordinator(connection)
    receiver = Receiver(connection, queue(name), credit=5)
    transaction = coordinator.declare(settle_before_discharge)
    for received in receiver.take(5):
        transaction.accept(received.delivery)
    end(coordinator, transaction)
    linger(connection, 0.1)
    receiver.close()
    return bodies(scene.connect(), queue(name))


@check("tx-commit-ack")
def commit_ack(scene):
    left = taken(scene, "tx-commit-ack", Coordinator.commit, False)
    equal(left, list(range(5, 10)), "what is left")


@check("tx-commit-settled-ack")
def commit_settled_ack(scene):
    left = taken(scene, "tx-commit-settled-ack", Coordinator.commit, True)
    equal(left, list(range(5, 10)), "what is left")


@check("tx-rollback-ack")
def rollback_ack(scene):
    left = taken(scene, "tx-rollback-ack", Coordinator.abort, False)
    equal(left, list(range(10)), "what is left")


@check("tx-move", queues={"tx-move-from": {}, "tx-move-to": {}})
def move(scene):
    """From queue to queue, every second transaction rolled back and tried again."""
    connection = scene.connect()
    send(connection, queue("tx-move-from"), range(20))
    coordinator = Coordinator(connection)
    link = connection.create_sender(queue("tx-move-to")).link
    receiver = Receiver(connection, queue("tx-move-from"))
    connection.wait(lambda: link.credit > 0, msg="Waiting for credit")
    for number in range(20):
        for end in (Coordinator.abort, Coordinator.commit):
            transaction = coordinator.declare()
            receiver.flow(1)
            received = receiver.next()
            equal(received.message.body, number)
            transaction.accept(received.delivery)
            transaction.send(link, Message(body=number))
            end(coordinator, transaction)
    other = scene.connect()
    equal(bodies(other, queue("tx-move-to")), list(range(20)), "moved")
    receiver.close()
    equal(bodies(other, queue("tx-move-from")), [], "what is left")


@check("tx-lost")
def lost(scene):
    """A transaction whose connection ends is rolled back."""
    connection = scene.connect()
    coordinator = Coordinator(connection)
    link = connection.create_sender(queue("tx-lost")).link
    connection.wait(lambda: link.credit > 0, msg="Waiting for credit")
    transaction = coordinator.declare()
    delivery = transaction.send(link, Message(body="lost"))
    connection.wait(lambda: delivery.remote_state or delivery.settled, msg="Waiting for a state")
    scene.drop(connection)
    equal(bodies(scene.connect(), queue("tx-lost")), [], "what is there")
