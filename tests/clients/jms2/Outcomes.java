import jakarta.jms.Connection;
import jakarta.jms.JMSException;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Session;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** What a consumer makes of a message, and what becomes of the message then. */
final class Outcomes {
    /** A mode of the client's own: each message is acknowledged by itself. */
    private static final int INDIVIDUAL = 101;

    /** The property that says with which outcome, and its values. */
    private static final String TYPE = "JMS_AMQP_ACK_TYPE";

    private static final int ACCEPTED = 1;
    private static final int REJECTED = 2;
    private static final int RELEASED = 3;
    private static final int FAILED = 4;
    private static final int UNDELIVERABLE = 5;

    static final List<Check> CHECKS =
            List.of(
                    Check.of(
                            "outcome-accepted", scene -> gone(scene, "outcome-accepted", ACCEPTED)),
                    Check.of(
                            "outcome-rejected", scene -> gone(scene, "outcome-rejected", REJECTED)),
                    Check.with(
                            "outcome-rejected-alternate",
                            Map.of(
                                    "outcome-rejected-alternate",
                                    "{\"alternate-exchange\": \"amq.fanout\"}"),
                            Outcomes::alternate),
                    Check.of("outcome-released", Outcomes::released),
                    Check.of("outcome-modified", Outcomes::modified),
                    Check.of("outcome-undeliverable-here", Outcomes::undeliverable),
                    Check.of("client-acknowledge", Outcomes::clientAcknowledge),
                    Check.of("recover", Outcomes::recover),
                    Check.of("closed-unacknowledged", Outcomes::closed),
                    Check.of("competing", Outcomes::competing),
                    Check.with(
                            "full-queue",
                            Map.of(
                                    "full-queue",
                                    "{\"qpid.max_count\": 10, \"qpid.policy_type\": \"reject\","
                                            + " \"qpid.flow_stop_count\": 0}"),
                            Outcomes::fullQueue));

    private Outcomes() {}

    private static void settle(Message message, int outcome) throws JMSException {
        message.setIntProperty(TYPE, outcome);
        message.acknowledge();
    }

    private static MessageConsumer one(Scene scene, String name) throws JMSException {
        Session session = scene.connect().createSession(INDIVIDUAL);
        Scene.send(session, Scene.queueOf(session, name), List.of("first"));
        return session.createConsumer(Scene.queueOf(session, name));
    }

    /** Its text, whether it may have been delivered before, and the number of deliveries. */
    private static List<Object> state(Message message) throws JMSException {
        int count = message.getIntProperty("JMSXDeliveryCount");
        return List.of(Scene.text(message), message.getJMSRedelivered(), count);
    }

    private static void gone(Scene scene, String name, int outcome) throws JMSException {
        MessageConsumer consumer = one(scene, name);
        settle(Scene.next(consumer), outcome);
        Scene.nothing(consumer);
        consumer.close();
        Scene.equal(scene.contents(name), List.of(), "what is left");
    }

    private static void alternate(Scene scene) throws JMSException {
        Session session = scene.session();
        MessageConsumer dead = session.createConsumer(session.createTopic("amq.fanout"));
        settle(Scene.next(one(scene, "outcome-rejected-alternate")), REJECTED);
        Scene.equal(Scene.texts(dead, 1), List.of("first"), "texts");
    }

    private static void released(Scene scene) throws JMSException {
        MessageConsumer consumer = one(scene, "outcome-released");
        settle(Scene.next(consumer), RELEASED);
        Message again = Scene.next(consumer);
        Scene.equal(state(again), List.of("first", false, 1), "text, redelivered, deliveries");
        settle(again, ACCEPTED);
        consumer.close();
        Scene.equal(scene.contents("outcome-released"), List.of(), "what is left");
    }

    private static void modified(Scene scene) throws JMSException {
        MessageConsumer consumer = one(scene, "outcome-modified");
        Message message = Scene.next(consumer);
        for (int count = 2; count < 5; count++) {
            settle(message, FAILED);
            message = Scene.next(consumer);
            List<Object> wanted = List.of("first", true, count);
            Scene.equal(state(message), wanted, "text, redelivered, deliveries");
        }
        settle(message, ACCEPTED);
    }

    /** Not to this link again; to another it may go. */
    private static void undeliverable(Scene scene) throws JMSException {
        MessageConsumer consumer = one(scene, "outcome-undeliverable-here");
        settle(Scene.next(consumer), UNDELIVERABLE);
        Scene.nothing(consumer);
        Scene.equal(scene.contents("outcome-undeliverable-here"), List.of("first"), "texts");
    }

    /** Acknowledges all that the session has been given. */
    private static void clientAcknowledge(Scene scene) throws JMSException {
        Connection connection = scene.connect();
        Session session = connection.createSession(Session.CLIENT_ACKNOWLEDGE);
        String name = "client-acknowledge";
        Scene.send(session, Scene.queueOf(session, name), Scene.numbers(0, 20));
        MessageConsumer consumer = session.createConsumer(Scene.queueOf(session, name));
        Scene.texts(consumer, 9);
        Scene.next(consumer).acknowledge();
        Scene.texts(consumer, 5);
        connection.close();
        Scene.equal(scene.contents(name), Scene.numbers(10, 20), "what is left");
    }

    private static void recover(Scene scene) throws JMSException {
        Session session = scene.connect().createSession(Session.CLIENT_ACKNOWLEDGE);
        Scene.send(session, Scene.queueOf(session, "recover"), Scene.numbers(0, 3));
        MessageConsumer consumer = session.createConsumer(Scene.queueOf(session, "recover"));
        Scene.texts(consumer, 3);
        session.recover();
        Message message = null;
        for (int at = 0; at < 3; at++) {
            message = Scene.next(consumer);
            List<Object> wanted = List.of("message " + at, true, 2);
            Scene.equal(state(message), wanted, "text, redelivered, deliveries");
        }
        message.acknowledge();
        consumer.close();
        Scene.equal(scene.contents("recover"), List.of(), "what is left");
    }

    /** What a consumer had and did not acknowledge is another's. */
    private static void closed(Scene scene) throws JMSException {
        String name = "closed-unacknowledged";
        Connection connection = scene.connect();
        Session session = connection.createSession(Session.CLIENT_ACKNOWLEDGE);
        Scene.send(session, Scene.queueOf(session, name), Scene.numbers(0, 10));
        Scene.texts(session.createConsumer(Scene.queueOf(session, name)), 5);
        connection.close();
        Scene.equal(scene.contents(name), Scene.numbers(0, 10), "what is left");
    }

    /** Two consumers share the messages of a queue; neither gets what the other has. */
    private static void competing(Scene scene) throws JMSException {
        Session session = scene.session();
        MessageConsumer[] consumers = new MessageConsumer[2];
        for (int at = 0; at < 2; at++) {
            Session own = scene.session("jms.prefetchPolicy.all=10");
            consumers[at] = own.createConsumer(Scene.queueOf(own, "competing"));
        }
        Scene.send(session, Scene.queueOf(session, "competing"), Scene.numbers(0, 1000));
        List<String> seen = new ArrayList<>();
        while (seen.size() < 1000) {
            for (MessageConsumer consumer : consumers) {
                Message message = consumer.receive(20);
                if (message != null) {
                    seen.add(Scene.text(message));
                }
            }
        }
        List<String> wanted = new ArrayList<>(Scene.numbers(0, 1000));
        wanted.sort(null);
        seen.sort(null);
        Scene.equal(seen, wanted, "all of them, once");
    }

    /** What a full queue has no room for is refused, and the producer lives on. */
    private static void fullQueue(Scene scene) throws JMSException {
        Session session = scene.session();
        MessageProducer producer = session.createProducer(Scene.queueOf(session, "full-queue"));
        for (String text : Scene.numbers(0, 10)) {
            producer.send(session.createTextMessage(text));
        }
        boolean refused = false;
        try {
            producer.send(session.createTextMessage("too many"));
        } catch (JMSException e) {
            refused = true;
        }
        Scene.equal(refused, true, "refused");
        Scene.equal(scene.contents("full-queue"), Scene.numbers(0, 10), "texts");
        producer.send(session.createTextMessage("more"));
        Scene.equal(scene.contents("full-queue"), List.of("more"), "texts");
    }
}
