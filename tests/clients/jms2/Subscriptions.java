import jakarta.jms.Connection;
import jakarta.jms.InvalidClientIDException;
import jakarta.jms.InvalidDestinationException;
import jakarta.jms.JMSException;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Session;
import jakarta.jms.Topic;

import java.util.ArrayList;
import java.util.List;

/** Subscriptions of topics: plain, durable, shared, both. */
final class Subscriptions {
    static final List<Check> CHECKS =
            List.of(
                    Check.bare("topic", Subscriptions::plain),
                    Check.bare("topic-selector", Subscriptions::selector),
                    Check.bare("no-local", Subscriptions::noLocal),
                    Check.bare("durable-subscription", Subscriptions::durable),
                    Check.bare("durable-unsubscribe", Subscriptions::unsubscribe),
                    Check.bare("client-id-in-use", Subscriptions::clientId),
                    Check.bare("shared-subscription", Subscriptions::shared),
                    Check.bare("shared-durable-subscription", Subscriptions::sharedDurable));

    private Subscriptions() {}

    private static Topic topic(Session session) throws JMSException {
        return session.createTopic("amq.fanout");
    }

    private static void publish(Scene scene, List<String> texts) throws JMSException {
        Session session = scene.session();
        Scene.send(session, topic(session), texts);
    }

    /** A session of a connection with this client identifier. */
    private static Session named(Scene scene, String id) throws JMSException {
        Connection connection = scene.open();
        connection.setClientID(id);
        return Scene.start(connection).createSession(Session.AUTO_ACKNOWLEDGE);
    }

    /** A client identifier is one connection's, until that is closed. */
    private static void clientId(Scene scene) throws JMSException {
        for (int round = 0; round < 4; round++) {
            Session first = named(scene, "jms2-client-id");
            try {
                named(scene, "jms2-client-id");
                throw new AssertionError("two connections have it");
            } catch (InvalidClientIDException expected) {
                Scene.equal(first.createConsumer(topic(first)) != null, true, "a consumer");
            }
            scene.closeAll();
        }
    }

    /** Each subscriber gets everything, also of publishers it does not share a connection with. */
    private static void plain(Scene scene) throws JMSException {
        publish(scene, List.of("before anybody came"));
        List<MessageConsumer> consumers = new ArrayList<>();
        for (int at = 0; at < 3; at++) {
            Session session = scene.session();
            consumers.add(session.createConsumer(topic(session)));
        }
        publish(scene, Scene.numbers(0, 100));
        for (MessageConsumer consumer : consumers) {
            Scene.equal(Scene.texts(consumer, 100), Scene.numbers(0, 100), "texts");
            Scene.nothing(consumer);
        }
    }

    private static void selector(Scene scene) throws JMSException {
        Session session = scene.session();
        MessageConsumer consumer = session.createConsumer(topic(session), "number > 2");
        MessageProducer producer = session.createProducer(topic(session));
        for (int number = 0; number < 5; number++) {
            Message message = session.createTextMessage("message " + number);
            message.setIntProperty("number", number);
            producer.send(message);
        }
        Scene.equal(Scene.texts(consumer, 2), Scene.numbers(3, 5), "texts");
        Scene.nothing(consumer);
    }

    private static void noLocal(Scene scene) throws JMSException {
        Session session = scene.session();
        MessageConsumer consumer = session.createConsumer(topic(session), null, true);
        Scene.send(session, topic(session), List.of("own"));
        publish(scene, List.of("another's"));
        Scene.equal(Scene.texts(consumer, 1), List.of("another's"), "texts");
        Scene.nothing(consumer);
    }

    /** It collects while its subscriber is away. */
    private static void durable(Scene scene) throws JMSException {
        Session session = named(scene, "jms2-durable");
        MessageConsumer consumer = session.createDurableConsumer(topic(session), "durable");
        publish(scene, List.of("one"));
        Scene.equal(Scene.texts(consumer, 1), List.of("one"), "texts");
        consumer.close();
        publish(scene, List.of("two"));
        consumer = session.createDurableConsumer(topic(session), "durable");
        Scene.equal(Scene.texts(consumer, 1), List.of("two"), "texts after the consumer was away");
        consumer.close();
        session.unsubscribe("durable");
    }

    private static void unsubscribe(Scene scene) throws JMSException {
        Session session = named(scene, "jms2-unsubscribe");
        session.createDurableConsumer(topic(session), "unsubscribe").close();
        publish(scene, List.of("lost"));
        session.unsubscribe("unsubscribe");
        try {
            session.unsubscribe("unsubscribe");
            throw new AssertionError("unsubscribed twice");
        } catch (InvalidDestinationException e) {
            // There is none of the name.
        }
        MessageConsumer consumer = session.createDurableConsumer(topic(session), "unsubscribe");
        publish(scene, List.of("new"));
        Scene.equal(Scene.texts(consumer, 1), List.of("new"), "texts");
        consumer.close();
        session.unsubscribe("unsubscribe");
    }

    /** Takes from these consumers, turn by turn, until there is no more. */
    private static List<String> shares(List<MessageConsumer> consumers, int count)
            throws JMSException {
        List<String> texts = new ArrayList<>();
        long end = System.currentTimeMillis() + Scene.PATIENCE;
        while (texts.size() < count && System.currentTimeMillis() < end) {
            for (MessageConsumer consumer : consumers) {
                Message message = consumer.receive(20);
                if (message != null) {
                    texts.add(Scene.text(message));
                }
            }
        }
        for (MessageConsumer consumer : consumers) {
            Scene.nothing(consumer);
        }
        texts.sort(null);
        return texts;
    }

    private static List<String> sorted(List<String> texts) {
        return texts.stream().sorted().toList();
    }

    /** Its consumers, of two clients, share what one would get; another subscription gets all. */
    private static void shared(Scene scene) throws JMSException {
        List<MessageConsumer> consumers = new ArrayList<>();
        for (int at = 0; at < 2; at++) {
            Session session = scene.session("jms.prefetchPolicy.all=5");
            consumers.add(session.createSharedConsumer(topic(session), "jms2-shared"));
        }
        Session session = scene.session();
        MessageConsumer alone = session.createSharedConsumer(topic(session), "jms2-shared-other");
        publish(scene, Scene.numbers(0, 100));
        Scene.equal(shares(consumers, 100), sorted(Scene.numbers(0, 100)), "shared");
        Scene.equal(Scene.texts(alone, 100), Scene.numbers(0, 100), "the other's");
    }

    private static void sharedDurable(Scene scene) throws JMSException {
        String name = "jms2-shared-durable";
        List<MessageConsumer> consumers = new ArrayList<>();
        for (int at = 0; at < 2; at++) {
            Session session = scene.session("jms.prefetchPolicy.all=5");
            consumers.add(session.createSharedDurableConsumer(topic(session), name));
        }
        publish(scene, Scene.numbers(0, 50));
        Scene.equal(shares(consumers, 50), sorted(Scene.numbers(0, 50)), "shared");
        for (MessageConsumer consumer : consumers) {
            consumer.close();
        }
        publish(scene, Scene.numbers(50, 60));
        Session session = scene.session();
        MessageConsumer again = session.createSharedDurableConsumer(topic(session), name);
        Scene.equal(Scene.texts(again, 10), Scene.numbers(50, 60), "while both were away");
        again.close();
        session.unsubscribe(name);
    }
}
