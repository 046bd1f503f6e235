import java.util.ArrayList;
import java.util.Arrays;
import java.util.Enumeration;
import java.util.List;
import javax.jms.BytesMessage;
import javax.jms.Connection;
import javax.jms.DeliveryMode;
import javax.jms.Destination;
import javax.jms.MapMessage;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.QueueBrowser;
import javax.jms.Queue;
import javax.jms.Session;
import javax.jms.TextMessage;
import org.apache.qpid.client.AMQConnectionFactory;

/**
 * Sends and receives JMS messages over AMQP 0-10 and checks what arrives.
 *
 * <p>Usage: {@code JmsCheck HOST:PORT}. Each check has a connection of its own. The last line is
 * {@code N passed, N failed}; the exit status is 1 when anything failed.
 */
public final class JmsCheck {
    private static final long PATIENCE_MS = 10_000;
    private static final String QUEUE = "ADDR:jms-check; {create: always, delete: always}";
    private static final String TOPIC = "ADDR:amq.topic/jms.check";

    private interface Check {
        void run(Connection connection) throws Exception;
    }

    private interface Kind {
        Message make(Session session) throws Exception;

        void verify(Message message) throws Exception;
    }

    private final String url;
    private int passed;
    private int failed;

    private JmsCheck(String broker) {
        url = "amqp://guest:guest@jms-check/?brokerlist='tcp://" + broker
            + "?connecttimeout='10000'&retries='0''";
    }

    public static void main(String[] args) {
        JmsCheck checks = new JmsCheck(args[0]);
        checks.all();
        System.out.println(checks.passed + " passed, " + checks.failed + " failed");
        System.exit(checks.failed == 0 ? 0 : 1);
    }

    private void all() {
        Object[][] kinds = {{"text", text()}, {"bytes", bytes()}, {"map", map()}};
        for (Object[] kind : kinds) {
            check("queue " + kind[0], c -> roundTrip(c, true, (Kind) kind[1]));
            check("topic " + kind[0], c -> roundTrip(c, false, (Kind) kind[1]));
        }
        check("headers and properties", JmsCheck::headers);
        check("order of 1000 messages over two connections", this::order);
        check("recover redelivers", JmsCheck::recover);
        check("browse leaves the messages", JmsCheck::browse);
        check("topic reaches each subscriber, none without match", JmsCheck::fanOut);
        check("request and reply over a temporary queue", JmsCheck::requestReply);
    }

    private void check(String name, Check check) {
        try {
            Connection connection = new AMQConnectionFactory(url).createConnection();
            try {
                connection.start();
                check.run(connection);
            } finally {
                connection.close();
            }
            passed++;
            System.out.println("  jms " + name + ": pass");
        } catch (Throwable error) {
            failed++;
            System.out.println("  jms " + name + ": FAILED: " + error);
            error.printStackTrace();
        }
    }

    private static Kind text() {
        String text = "plain, \u00e4\u00f6\u00fc, \u65e5\u672c, \ud83d\ude80";
        return new Kind() {
            @Override
            public Message make(Session session) throws Exception {
                return session.createTextMessage(text);
            }

            @Override
            public void verify(Message message) throws Exception {
                same(text, ((TextMessage) message).getText());
            }
        };
    }

    private static Kind bytes() {
        byte[] body = new byte[100_000]; // more than one frame
        for (int i = 0; i < body.length; i++) {
            body[i] = (byte) (i * 31);
        }
        return new Kind() {
            @Override
            public Message make(Session session) throws Exception {
                BytesMessage message = session.createBytesMessage();
                message.writeBytes(body);
                return message;
            }

            @Override
            public void verify(Message message) throws Exception {
                BytesMessage bytes = (BytesMessage) message;
                byte[] arrived = new byte[(int) bytes.getBodyLength()];
                bytes.readBytes(arrived);
                require(Arrays.equals(body, arrived), "the bytes differ");
            }
        };
    }

    private static Kind map() {
        return new Kind() {
            @Override
            public Message make(Session session) throws Exception {
                MapMessage message = session.createMapMessage();
                message.setString("string", "value");
                message.setInt("int", -7);
                message.setLong("long", Long.MIN_VALUE);
                message.setDouble("double", 2.5);
                message.setBoolean("boolean", true);
                message.setBytes("bytes", new byte[] {0, 1, -1});
                return message;
            }

            @Override
            public void verify(Message message) throws Exception {
                MapMessage map = (MapMessage) message;
                same("value", map.getString("string"));
                same(-7, map.getInt("int"));
                same(Long.MIN_VALUE, map.getLong("long"));
                same(2.5, map.getDouble("double"));
                same(true, map.getBoolean("boolean"));
                require(Arrays.equals(new byte[] {0, 1, -1}, map.getBytes("bytes")), "bytes");
            }
        };
    }

    private static Session session(Connection connection) throws Exception {
        return connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
    }

    private static void roundTrip(Connection connection, boolean queue, Kind kind) throws Exception {
        Session session = session(connection);
        Destination node = queue ? session.createQueue(QUEUE) : session.createTopic(TOPIC);
        MessageConsumer consumer = session.createConsumer(node);
        MessageProducer producer = session.createProducer(node);
        producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
        for (int i = 0; i < 3; i++) {
            producer.send(kind.make(session));
        }
        for (int i = 0; i < 3; i++) {
            kind.verify(next(consumer));
        }
        require(consumer.receive(100) == null, "a message too many");
    }

    private static void headers(Connection connection) throws Exception {
        Session session = session(connection);
        Queue queue = session.createQueue(QUEUE);
        MessageConsumer consumer = session.createConsumer(queue);
        TextMessage message = session.createTextMessage("headers");
        message.setJMSCorrelationID("correlation");
        message.setJMSType("type");
        message.setStringProperty("colour", "blue");
        message.setIntProperty("number", 42);
        message.setBooleanProperty("flag", true);
        session.createProducer(queue).send(message, DeliveryMode.NON_PERSISTENT, 7, 60_000);
        Message arrived = next(consumer);
        same("correlation", arrived.getJMSCorrelationID());
        same("type", arrived.getJMSType());
        same("blue", arrived.getStringProperty("colour"));
        same(42, arrived.getIntProperty("number"));
        same(true, arrived.getBooleanProperty("flag"));
        same(7, arrived.getJMSPriority());
        same(DeliveryMode.NON_PERSISTENT, arrived.getJMSDeliveryMode());
        same(message.getJMSMessageID(), arrived.getJMSMessageID());
        same(false, arrived.getJMSRedelivered());
    }

    private void order(Connection connection) throws Exception {
        Connection other = new AMQConnectionFactory(url).createConnection();
        try {
            Session receiving = session(connection);
            MessageConsumer consumer = receiving.createConsumer(receiving.createQueue(QUEUE));
            Session sending = session(other);
            MessageProducer producer =
                sending.createProducer(sending.createQueue("ADDR:jms-check"));
            producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
            for (int i = 0; i < 1000; i++) {
                producer.send(sending.createTextMessage("message " + i));
            }
            for (int i = 0; i < 1000; i++) {
                same("message " + i, ((TextMessage) next(consumer)).getText());
            }
        } finally {
            other.close();
        }
    }

    private static void recover(Connection connection) throws Exception {
        Session session = connection.createSession(false, Session.CLIENT_ACKNOWLEDGE);
        Queue queue = session.createQueue(QUEUE);
        MessageConsumer consumer = session.createConsumer(queue);
        session.createProducer(queue).send(session.createTextMessage("again"));
        same("again", ((TextMessage) next(consumer)).getText());
        session.recover();
        Message again = next(consumer);
        same("again", ((TextMessage) again).getText());
        require(again.getJMSRedelivered(), "redelivered is not set");
        again.acknowledge();
        require(consumer.receive(100) == null, "delivered after the acknowledgement");
    }

    private static void browse(Connection connection) throws Exception {
        Session session = session(connection);
        Queue queue = session.createQueue(QUEUE);
        MessageProducer producer = session.createProducer(queue);
        producer.send(session.createTextMessage("one"));
        producer.send(session.createTextMessage("two"));
        QueueBrowser browser = session.createBrowser(session.createQueue("ADDR:jms-check"));
        List<String> seen = new ArrayList<>();
        for (Enumeration<?> e = browser.getEnumeration(); e.hasMoreElements(); ) {
            seen.add(((TextMessage) e.nextElement()).getText());
        }
        browser.close();
        same(Arrays.asList("one", "two"), seen);
        MessageConsumer consumer = session.createConsumer(queue);
        same("one", ((TextMessage) next(consumer)).getText());
        same("two", ((TextMessage) next(consumer)).getText());
    }

    private static void fanOut(Connection connection) throws Exception {
        Session session = session(connection);
        List<MessageConsumer> matching = new ArrayList<>();
        for (String key : new String[] {"jms.fan.*", "jms.#", "jms.fan.out"}) {
            matching.add(session.createConsumer(session.createTopic("ADDR:amq.topic/" + key)));
        }
        MessageConsumer other = session.createConsumer(session.createTopic("ADDR:amq.topic/jms"));
        session.createProducer(session.createTopic("ADDR:amq.topic/jms.fan.out"))
            .send(session.createTextMessage("to all"));
        for (MessageConsumer consumer : matching) {
            same("to all", ((TextMessage) next(consumer)).getText());
        }
        require(other.receive(100) == null, "delivered without a match");
    }

    private static void requestReply(Connection connection) throws Exception {
        Session session = session(connection);
        Queue queue = session.createQueue(QUEUE);
        MessageConsumer server = session.createConsumer(queue);
        Queue reply = session.createTemporaryQueue();
        MessageConsumer client = session.createConsumer(reply);
        TextMessage request = session.createTextMessage("request");
        request.setJMSReplyTo(reply);
        session.createProducer(queue).send(request);
        Message asked = next(server);
        session.createProducer(asked.getJMSReplyTo()).send(session.createTextMessage("reply"));
        same("reply", ((TextMessage) next(client)).getText());
    }

    private static Message next(MessageConsumer consumer) throws Exception {
        Message message = consumer.receive(PATIENCE_MS);
        require(message != null, "no message within " + PATIENCE_MS + " ms");
        return message;
    }

    private static void same(Object expected, Object actual) {
        require(expected.equals(actual), "expected " + expected + ", got " + actual);
    }

    private static void require(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
