import jakarta.jms.InvalidDestinationException;
import jakarta.jms.InvalidSelectorException;
import jakarta.jms.JMSException;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Queue;
import jakarta.jms.QueueBrowser;
import jakarta.jms.Session;
import jakarta.jms.TemporaryQueue;
import jakarta.jms.TemporaryTopic;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** Queues that are there, not there, temporary, browsed, and seen through selectors. */
final class Nodes {
    static final List<Check> CHECKS =
            List.of(
                    Check.bare("missing-node", Nodes::missing),
                    Check.of("selector", Nodes::selector),
                    Check.of("selector-headers", Nodes::selectorHeaders),
                    Check.of("selector-bad", Nodes::selectorBad),
                    Check.of("browse", Nodes::browse),
                    Check.of("browse-selector", Nodes::browseSelector),
                    Check.of("request-reply", Nodes::requestReply),
                    Check.bare("temporary-queue", Nodes::temporaryQueue),
                    Check.bare("temporary-topic", Nodes::temporaryTopic),
                    Check.of("anonymous-sender", Nodes::anonymous),
                    Check.of("delivery-delay", Nodes::deliveryDelay));

    private Nodes() {}

    private interface Attempt {
        void make() throws JMSException;
    }

    private static void refused(Class<? extends JMSException> with, Attempt attempt) {
        try {
            attempt.make();
        } catch (JMSException e) {
            if (with.isInstance(e)) {
                return;
            }
            throw new AssertionError("refused otherwise: " + e);
        }
        throw new AssertionError("not refused");
    }

    private static void missing(Scene scene) throws JMSException {
        Session session = scene.session();
        Queue queue = session.createQueue("not-there");
        refused(InvalidDestinationException.class, () -> session.createProducer(queue));
        refused(InvalidDestinationException.class, () -> session.createConsumer(queue));
        // The session lives on.
        session.createProducer(session.createTopic("amq.fanout")).close();
    }

    private static void coloured(Session session, String name) throws JMSException {
        MessageProducer producer = session.createProducer(Scene.queueOf(session, name));
        for (int number = 0; number < 20; number++) {
            Message message = session.createTextMessage("message " + number);
            message.setIntProperty("number", number);
            message.setStringProperty("colour", number % 2 == 0 ? "blue" : "red");
            producer.send(message, message.getJMSDeliveryMode(), number % 10, 0);
        }
        producer.close();
    }

    private static void selector(Scene scene) throws JMSException {
        Session session = scene.session();
        coloured(session, "selector");
        String selector = "colour = 'red' AND number BETWEEN 5 AND 11";
        MessageConsumer consumer =
                session.createConsumer(Scene.queueOf(session, "selector"), selector);
        List<String> wanted = List.of("message 5", "message 7", "message 9", "message 11");
        Scene.equal(Scene.texts(consumer, 4), wanted, "texts");
        Scene.nothing(consumer);
        consumer.close();
        Scene.equal(scene.contents("selector").size(), 16, "what is left");
    }

    private static void selectorHeaders(Scene scene) throws JMSException {
        Session session = scene.session();
        coloured(session, "selector-headers");
        MessageConsumer consumer =
                session.createConsumer(
                        Scene.queueOf(session, "selector-headers"),
                        "JMSPriority > 7 AND colour IS NOT NULL AND colour LIKE 'r%'");
        Scene.equal(Scene.texts(consumer, 2), List.of("message 9", "message 19"), "texts");
        Scene.nothing(consumer);
    }

    /** The client reads selectors itself and would refuse it, unless told not to. */
    private static void selectorBad(Scene scene) throws JMSException {
        Session session = scene.session("jms.validateSelector=false");
        Queue queue = session.createQueue(Scene.queue("selector-bad"));
        refused(JMSException.class, () -> session.createConsumer(queue, "colour = = 'red'"));
        Session strict = scene.session();
        refused(
                InvalidSelectorException.class,
                () -> strict.createConsumer(queue, "colour = = 'red'"));
    }

    private static List<String> browsed(Session session, String name, String selector)
            throws JMSException {
        Queue queue = session.createQueue(Scene.queue(name));
        try (QueueBrowser browser = session.createBrowser(queue, selector)) {
            List<String> texts = new ArrayList<>();
            for (Object message : Collections.list(browser.getEnumeration())) {
                texts.add(Scene.text((Message) message));
            }
            return texts;
        }
    }

    private static void browse(Scene scene) throws JMSException {
        Session session = scene.session();
        Scene.equal(browsed(session, "browse", null), List.of(), "an empty queue");
        Scene.send(session, Scene.queueOf(session, "browse"), Scene.numbers(0, 2000));
        for (int turn = 0; turn < 2; turn++) {
            Scene.equal(browsed(session, "browse", null), Scene.numbers(0, 2000), "browsed");
        }
        Scene.equal(scene.contents("browse"), Scene.numbers(0, 2000), "what is left");
    }

    private static void browseSelector(Scene scene) throws JMSException {
        Session session = scene.session();
        coloured(session, "browse-selector");
        List<String> found = browsed(session, "browse-selector", "number > 17");
        Scene.equal(found, Scene.numbers(18, 20), "browsed");
        Scene.equal(scene.contents("browse-selector").size(), 20, "what is left");
    }

    private static void requestReply(Scene scene) throws JMSException {
        Session asking = scene.session();
        Session answering = scene.session();
        TemporaryQueue replies = asking.createTemporaryQueue();
        MessageConsumer came = asking.createConsumer(replies);
        MessageConsumer server =
                answering.createConsumer(Scene.queueOf(answering, "request-reply"));
        MessageProducer ask = asking.createProducer(Scene.queueOf(asking, "request-reply"));
        MessageProducer reply = answering.createProducer(null);
        for (String text : Scene.numbers(0, 10)) {
            Message request = asking.createTextMessage(text);
            request.setJMSReplyTo(replies);
            ask.send(request);
            Message question = Scene.next(server);
            Message answer = answering.createTextMessage("re: " + Scene.text(question));
            answer.setJMSCorrelationID(question.getJMSMessageID());
            reply.send(question.getJMSReplyTo(), answer);
            Message answered = Scene.next(came);
            Scene.equal(Scene.text(answered), "re: " + text, "text");
            Scene.equal(answered.getJMSCorrelationID(), request.getJMSMessageID(), "correlation");
        }
    }

    /** It ends with its connection, and when it is deleted. */
    private static void temporaryQueue(Scene scene) throws JMSException {
        Session other = scene.session();
        Session session = scene.session();
        TemporaryQueue deleted = session.createTemporaryQueue();
        Queue deletedQueue = other.createQueue(deleted.getQueueName());
        other.createProducer(deletedQueue).close();
        deleted.delete();
        refused(InvalidDestinationException.class, () -> other.createProducer(deletedQueue));

        jakarta.jms.Connection connection = scene.connect();
        Session closing = connection.createSession(Session.AUTO_ACKNOWLEDGE);
        Queue closed = other.createQueue(closing.createTemporaryQueue().getQueueName());
        other.createProducer(closed).close();
        connection.close();
        refused(InvalidDestinationException.class, () -> other.createProducer(closed));
    }

    private static void temporaryTopic(Scene scene) throws JMSException {
        Session session = scene.session();
        TemporaryTopic topic = session.createTemporaryTopic();
        MessageConsumer[] consumers = {
            session.createConsumer(topic), session.createConsumer(topic)
        };
        Session other = scene.session();
        Scene.send(other, other.createTopic(topic.getTopicName()), Scene.numbers(0, 5));
        for (MessageConsumer consumer : consumers) {
            Scene.equal(Scene.texts(consumer, 5), Scene.numbers(0, 5), "texts");
            consumer.close();
        }
        topic.delete();
    }

    private static void anonymous(Scene scene) throws JMSException {
        Session session = scene.session();
        MessageProducer producer = session.createProducer(null);
        for (String text : Scene.numbers(0, 10)) {
            Queue queue = session.createQueue(Scene.queue("anonymous-sender"));
            producer.send(queue, session.createTextMessage(text));
        }
        Scene.equal(scene.contents("anonymous-sender"), Scene.numbers(0, 10), "texts");
    }

    /** A message is nobody's before its time. */
    private static void deliveryDelay(Scene scene) throws JMSException {
        Session session = scene.session();
        Queue queue = session.createQueue(Scene.queue("delivery-delay"));
        MessageProducer producer = session.createProducer(queue);
        MessageConsumer consumer = session.createConsumer(queue);
        long before = System.currentTimeMillis();
        producer.setDeliveryDelay(700);
        producer.send(session.createTextMessage("late"));
        producer.setDeliveryDelay(0);
        producer.send(session.createTextMessage("at once"));
        Scene.equal(Scene.texts(consumer, 1), List.of("at once"), "texts");
        Message late = Scene.next(consumer);
        Scene.equal(Scene.text(late), "late", "text");
        long waited = System.currentTimeMillis() - before;
        Scene.equal(waited >= 700, true, "not before its time: after " + waited + " ms");
        Scene.equal(late.getJMSDeliveryTime() >= before + 700, true, "delivery time");
    }
}
