import jakarta.jms.Connection;
import jakarta.jms.Destination;
import jakarta.jms.JMSException;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Session;

import java.util.List;
import java.util.Map;

/** Local transactions: sends and acknowledgements, committed and rolled back. */
final class Transactions {
    static final List<Check> CHECKS =
            List.of(
                    Check.of("tx-commit-send", scene -> sent(scene, "tx-commit-send", true)),
                    Check.of("tx-rollback-send", scene -> sent(scene, "tx-rollback-send", false)),
                    Check.of("tx-commit-ack", Transactions::commitAck),
                    Check.of("tx-rollback-ack", Transactions::rollbackAck),
                    Check.with(
                            "tx-move",
                            Map.of("tx-move-from", "{}", "tx-move-to", "{}"),
                            Transactions::move),
                    Check.of("tx-lost", Transactions::lost),
                    Check.of("tx-many", Transactions::many));

    private Transactions() {}

    private static Session transacted(Scene scene) throws JMSException {
        return scene.connect().createSession(Session.SESSION_TRANSACTED);
    }

    private static void sent(Scene scene, String name, boolean commit) throws JMSException {
        Session session = transacted(scene);
        Scene.send(session, Scene.queueOf(session, name), Scene.numbers(0, 10));
        Scene.equal(scene.contents(name), List.of(), "what is there before the end");
        if (commit) {
            session.commit();
        } else {
            session.rollback();
        }
        List<String> wanted = commit ? Scene.numbers(0, 10) : List.of();
        Scene.equal(scene.contents(name), wanted, "what is there after it");
    }

    private static void fill(Scene scene, String name, int count) throws JMSException {
        Session session = scene.session();
        Scene.send(session, Scene.queueOf(session, name), Scene.numbers(0, count));
    }

    private static void commitAck(Scene scene) throws JMSException {
        fill(scene, "tx-commit-ack", 10);
        Session session = transacted(scene);
        MessageConsumer consumer = session.createConsumer(Scene.queueOf(session, "tx-commit-ack"));
        Scene.equal(Scene.texts(consumer, 5), Scene.numbers(0, 5), "texts");
        session.commit();
        session.close();
        Scene.equal(scene.contents("tx-commit-ack"), Scene.numbers(5, 10), "what is left");
    }

    private static void rollbackAck(Scene scene) throws JMSException {
        fill(scene, "tx-rollback-ack", 10);
        Session session = transacted(scene);
        Destination queue = Scene.queueOf(session, "tx-rollback-ack");
        MessageConsumer consumer = session.createConsumer(queue);
        Scene.equal(Scene.texts(consumer, 5), Scene.numbers(0, 5), "texts");
        session.rollback();
        for (int at = 0; at < 10; at++) {
            Message message = Scene.next(consumer);
            Scene.equal(Scene.text(message), "message " + at, "text");
            Scene.equal(message.getJMSRedelivered(), at < 5, "redelivered " + at);
        }
        session.commit();
        session.close();
        Scene.equal(scene.contents("tx-rollback-ack"), List.of(), "what is left");
    }

    /** From queue to queue, every second transaction rolled back and tried again. */
    private static void move(Scene scene) throws JMSException {
        fill(scene, "tx-move-from", 20);
        Session session = transacted(scene);
        MessageConsumer consumer = session.createConsumer(Scene.queueOf(session, "tx-move-from"));
        MessageProducer producer = session.createProducer(Scene.queueOf(session, "tx-move-to"));
        for (int at = 0; at < 20; at++) {
            for (boolean commit : new boolean[] {false, true}) {
                Message message = Scene.next(consumer);
                Scene.equal(Scene.text(message), "message " + at, "text");
                producer.send(session.createTextMessage(Scene.text(message)));
                if (commit) {
                    session.commit();
                } else {
                    session.rollback();
                }
            }
        }
        session.close();
        Scene.equal(scene.contents("tx-move-to"), Scene.numbers(0, 20), "moved");
        Scene.equal(scene.contents("tx-move-from"), List.of(), "what is left");
    }

    /** A transaction whose connection ends is rolled back. */
    private static void lost(Scene scene) throws JMSException {
        fill(scene, "tx-lost", 3);
        Connection connection = scene.connect();
        Session session = connection.createSession(Session.SESSION_TRANSACTED);
        Destination queue = Scene.queueOf(session, "tx-lost");
        Scene.texts(session.createConsumer(queue), 2);
        Scene.send(session, queue, List.of("lost"));
        connection.close();
        Scene.equal(scene.contents("tx-lost"), Scene.numbers(0, 3), "what is there");
    }

    /** A thousand messages, a hundred in each transaction. */
    private static void many(Scene scene) throws JMSException {
        Session session = transacted(scene);
        MessageProducer producer = session.createProducer(Scene.queueOf(session, "tx-many"));
        for (int at = 0; at < 1000; at++) {
            producer.send(session.createTextMessage("message " + at));
            if (at % 100 == 99) {
                session.commit();
            }
        }
        MessageConsumer consumer = session.createConsumer(Scene.queueOf(session, "tx-many"));
        for (int at = 0; at < 1000; at++) {
            Scene.equal(Scene.text(Scene.next(consumer)), "message " + at, "text");
            if (at % 100 == 99) {
                session.commit();
            }
        }
        session.close();
        Scene.equal(scene.contents("tx-many"), List.of(), "what is left");
    }
}
