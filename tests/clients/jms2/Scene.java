import jakarta.jms.Connection;
import jakarta.jms.Destination;
import jakarta.jms.JMSException;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Session;
import jakarta.jms.TextMessage;

import org.apache.qpid.jms.JmsConnectionFactory;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;

/** What the checks share: connections, and sending and receiving texts. */
final class Scene {
    /** How long anything may take on a busy machine, in milliseconds. */
    static final long PATIENCE = 15_000;

    /** How long nothing must come before a check believes that nothing will. */
    static final long SILENCE = 250;

    /** The broker's HTTP listener. */
    static final String HTTP = System.getenv("AMQP_WEB");

    final String address;
    private final List<Connection> connections = new ArrayList<>();

    Scene(String address) {
        this.address = address;
    }

    static String queue(String name) {
        return "jms2-" + name;
    }

    /** A started connection with these options of the client, as in an URL's query. */
    Connection connect(String... options) throws JMSException {
        return start(open(options));
    }

    /** One that is not started, and may be given a name first. */
    Connection open(String... options) throws JMSException {
        return through(url("amqp://" + address, options));
    }

    /** One over WebSocket, at this path, that is not started. */
    Connection connectWeb(String path, String... options) throws JMSException {
        return through(url("amqpws://" + HTTP + path, options));
    }

    private static String url(String start, String... options) {
        StringBuilder url = new StringBuilder(start + "?amqp.saslMechanisms=ANONYMOUS");
        for (String option : options) {
            url.append('&').append(option);
        }
        return url.toString();
    }

    Connection through(String url) throws JMSException {
        Connection connection = new JmsConnectionFactory(url).createConnection();
        synchronized (connections) {
            connections.add(connection);
        }
        return connection;
    }

    static Connection start(Connection connection) throws JMSException {
        connection.start();
        return connection;
    }

    /** A session with automatic acknowledgement on a connection of its own. */
    Session session(String... options) throws JMSException {
        return connect(options).createSession(Session.AUTO_ACKNOWLEDGE);
    }

    /** In order: what goes wrong is told. */
    void closeAll() throws JMSException {
        synchronized (connections) {
            for (Connection connection : connections) {
                connection.close();
            }
            connections.clear();
        }
    }

    void close() {
        synchronized (connections) {
            for (Connection connection : connections) {
                try {
                    connection.close();
                } catch (JMSException e) {
                    // It may be what the check broke.
                }
            }
        }
    }

    static Destination queueOf(Session session, String name) throws JMSException {
        return session.createQueue(queue(name));
    }

    static void send(Session session, Destination to, List<String> texts) throws JMSException {
        try (MessageProducer producer = session.createProducer(to)) {
            for (String text : texts) {
                producer.send(session.createTextMessage(text));
            }
        }
    }

    static Message next(MessageConsumer consumer) throws JMSException {
        Message message = consumer.receive(PATIENCE);
        if (message == null) {
            throw new AssertionError("a message that should have come did not");
        }
        return message;
    }

    static List<String> texts(MessageConsumer consumer, int count) throws JMSException {
        List<String> texts = new ArrayList<>();
        while (texts.size() < count) {
            texts.add(text(next(consumer)));
        }
        return texts;
    }

    static String text(Message message) throws JMSException {
        return ((TextMessage) message).getText();
    }

    static void nothing(MessageConsumer consumer) throws JMSException {
        Message message = consumer.receive(SILENCE);
        if (message != null) {
            throw new AssertionError(message + " came and should not have");
        }
    }

    /** All that a queue has, taken from it. */
    List<String> contents(String name) throws JMSException {
        // The client drains before it says that there is nothing.
        try (Connection connection = start(open("jms.prefetchPolicy.all=0"))) {
            Session session = connection.createSession(Session.AUTO_ACKNOWLEDGE);
            List<String> texts = new ArrayList<>();
            try (MessageConsumer consumer = session.createConsumer(queueOf(session, name))) {
                Message message = consumer.receiveNoWait();
                for (; message != null; message = consumer.receiveNoWait()) {
                    texts.add(text(message));
                }
            }
            return texts;
        }
    }

    static List<String> numbers(int from, int to) {
        return IntStream.range(from, to).mapToObj(n -> "message " + n).toList();
    }

    static void equal(Object found, Object wanted, String what) {
        if (!Objects.deepEquals(found, wanted)) {
            throw new AssertionError(what + ": " + difference(found, wanted));
        }
    }

    /** Of long lists where they part: all that is in them would be cut off. */
    private static String difference(Object found, Object wanted) {
        if (!(found instanceof List<?> have && wanted instanceof List<?> want)) {
            return found + " is not " + wanted;
        }
        int at = 0;
        while (at < Math.min(have.size(), want.size()) && have.get(at).equals(want.get(at))) {
            at++;
        }
        String there = at < have.size() ? String.valueOf(have.get(at)) : "the end";
        String instead = at < want.size() ? String.valueOf(want.get(at)) : "the end";
        return have.size() + " of " + want.size() + ", at " + at + " " + there + " is not " + instead;
    }
}
