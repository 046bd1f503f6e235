import jakarta.jms.BytesMessage;
import jakarta.jms.DeliveryMode;
import jakarta.jms.Destination;
import jakarta.jms.JMSException;
import jakarta.jms.MapMessage;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.ObjectMessage;
import jakarta.jms.Queue;
import jakarta.jms.Session;
import jakarta.jms.StreamMessage;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Bodies, properties and headers of every kind come back as they were sent. */
final class Values {
    private static final byte[] OCTETS = {0, 1, 127, -128, -1};
    private static final String TEXT = "text: \u00e4\u20ac\ud83d\ude00";

    private static final Map<String, Object> PRIMITIVES =
            Map.of(
                    "boolean",
                    true,
                    "byte",
                    (byte) -100,
                    "short",
                    (short) -30000,
                    "int",
                    -2_000_000_000,
                    "long",
                    -9_000_000_000_000_000_000L,
                    "float",
                    0.25f,
                    "double",
                    0.1,
                    "string",
                    TEXT,
                    "empty",
                    "");

    static final List<Check> CHECKS =
            List.of(
                    Check.of("body-text", Values::text),
                    Check.of("body-bytes", Values::bytes),
                    Check.of("body-map", Values::map),
                    Check.of("body-stream", Values::stream),
                    Check.of("body-object", Values::object),
                    Check.of("body-none", Values::none),
                    Check.of("properties", Values::properties),
                    Check.of("headers", Values::headers),
                    Check.of("time-to-live", Values::timeToLive),
                    Check.of("message-ids", Values::messageIds));

    private Values() {}

    private interface Maker {
        Message make(Session session) throws JMSException;
    }

    /** Sends a message and gets it back. */
    private static Message back(Scene scene, String name, Maker maker) throws JMSException {
        Session session = scene.session();
        Destination queue = Scene.queueOf(session, name);
        session.createProducer(queue).send(maker.make(session));
        try (MessageConsumer consumer = session.createConsumer(queue)) {
            return Scene.next(consumer);
        }
    }

    private static void text(Scene scene) throws JMSException {
        for (String text : List.of("", TEXT, "long ".repeat(100_000))) {
            Message came = back(scene, "body-text", session -> session.createTextMessage(text));
            Scene.equal(Scene.text(came), text, "text");
        }
        Message came = back(scene, "body-text", Session::createTextMessage);
        Scene.equal(Scene.text(came), null, "text");
    }

    private static void bytes(Scene scene) throws JMSException {
        for (byte[] octets : List.of(new byte[0], OCTETS, new byte[1 << 20])) {
            Maker maker =
                    session -> {
                        BytesMessage message = session.createBytesMessage();
                        message.writeBytes(octets);
                        return message;
                    };
            byte[] found = back(scene, "body-bytes", maker).getBody(byte[].class);
            Scene.equal(found == null ? new byte[0] : found, octets, "octets");
        }
    }

    private static void map(Scene scene) throws JMSException {
        Maker maker =
                session -> {
                    MapMessage message = session.createMapMessage();
                    for (Map.Entry<String, Object> entry : PRIMITIVES.entrySet()) {
                        message.setObject(entry.getKey(), entry.getValue());
                    }
                    message.setChar("char", '\u20ac');
                    message.setBytes("octets", OCTETS);
                    message.setObject("null", null);
                    return message;
                };
        MapMessage came = (MapMessage) back(scene, "body-map", maker);
        for (Map.Entry<String, Object> entry : PRIMITIVES.entrySet()) {
            Scene.equal(came.getObject(entry.getKey()), entry.getValue(), entry.getKey());
        }
        Scene.equal(came.getChar("char"), '\u20ac', "char");
        Scene.equal(came.getBytes("octets"), OCTETS, "octets");
        Scene.equal(came.itemExists("null"), true, "null");
        Scene.equal(came.getObject("null"), null, "null");
    }

    private static void stream(Scene scene) throws JMSException {
        List<Object> values = new ArrayList<>(PRIMITIVES.values());
        values.add('c');
        values.add(null);
        Maker maker =
                session -> {
                    StreamMessage message = session.createStreamMessage();
                    for (Object value : values) {
                        message.writeObject(value);
                    }
                    message.writeBytes(OCTETS);
                    return message;
                };
        StreamMessage came = (StreamMessage) back(scene, "body-stream", maker);
        for (Object value : values) {
            Scene.equal(came.readObject(), value, "value");
        }
        Scene.equal(came.readObject(), OCTETS, "octets");
    }

    /** Serialized, and as a value of AMQP's types. */
    private static void object(Scene scene) throws JMSException {
        HashMap<String, Object> object = new HashMap<>(PRIMITIVES);
        object.put("list", new ArrayList<>(List.of(1, "two", new HashMap<>(Map.of("three", 4L)))));
        for (boolean typed : new boolean[] {false, true}) {
            Maker maker =
                    session -> {
                        ObjectMessage message = session.createObjectMessage(object);
                        message.setBooleanProperty("JMS_AMQP_TYPED_ENCODING", typed);
                        return message;
                    };
            Session session = scene.session("jms.deserializationPolicy.allowList=java");
            Destination queue = Scene.queueOf(session, "body-object");
            session.createProducer(queue).send(maker.make(session));
            Message came = Scene.next(session.createConsumer(queue));
            Scene.equal(((ObjectMessage) came).getObject(), object, "object");
            session.close();
        }
    }

    private static void none(Scene scene) throws JMSException {
        Message came = back(scene, "body-none", Session::createMessage);
        Scene.equal(came.isBodyAssignableTo(String.class), true, "no body");
        Scene.equal(came.getBody(String.class), null, "body");
    }

    private static void properties(Scene scene) throws JMSException {
        Maker maker =
                session -> {
                    Message message = session.createMessage();
                    for (Map.Entry<String, Object> entry : PRIMITIVES.entrySet()) {
                        message.setObjectProperty("a_" + entry.getKey(), entry.getValue());
                    }
                    message.setStringProperty("JMSXGroupID", "group");
                    message.setIntProperty("JMSXGroupSeq", 17);
                    return message;
                };
        Message came = back(scene, "properties", maker);
        for (Map.Entry<String, Object> entry : PRIMITIVES.entrySet()) {
            Object found = came.getObjectProperty("a_" + entry.getKey());
            Scene.equal(found, entry.getValue(), entry.getKey());
        }
        Scene.equal(came.getStringProperty("JMSXGroupID"), "group", "group");
        Scene.equal(came.getIntProperty("JMSXGroupSeq"), 17, "group sequence");
        long ours =
                Collections.list(came.getPropertyNames()).stream()
                        .filter(name -> String.valueOf(name).startsWith("a_"))
                        .count();
        Scene.equal(ours, (long) PRIMITIVES.size(), "properties");
    }

    private static void headers(Scene scene) throws JMSException {
        Session session = scene.session();
        Destination queue = Scene.queueOf(session, "headers");
        Message message = session.createTextMessage("body");
        message.setJMSCorrelationID("correlation");
        message.setJMSReplyTo(session.createQueue("somewhere"));
        message.setJMSType("type");
        MessageProducer producer = session.createProducer(queue);
        long before = System.currentTimeMillis();
        producer.send(message, DeliveryMode.NON_PERSISTENT, 7, 60_000);
        MessageConsumer consumer = session.createConsumer(queue);
        Message came = Scene.next(consumer);
        Scene.equal(came.getJMSMessageID(), message.getJMSMessageID(), "message-id");
        Scene.equal(came.getJMSCorrelationID(), "correlation", "correlation-id");
        Scene.equal(((Queue) came.getJMSReplyTo()).getQueueName(), "somewhere", "reply-to");
        Scene.equal(
                ((Queue) came.getJMSDestination()).getQueueName(), Scene.queue("headers"), "to");
        Scene.equal(came.getJMSType(), "type", "type");
        Scene.equal(came.getJMSPriority(), 7, "priority");
        Scene.equal(came.getJMSDeliveryMode(), DeliveryMode.NON_PERSISTENT, "delivery mode");
        Scene.equal(came.getJMSTimestamp() >= before, true, "timestamp");
        Scene.equal(came.getJMSExpiration() >= before + 60_000, true, "expiration");
        producer.send(session.createMessage(), DeliveryMode.PERSISTENT, 4, 0);
        Message persistent = Scene.next(consumer);
        Scene.equal(persistent.getJMSDeliveryMode(), DeliveryMode.PERSISTENT, "delivery mode");
        Scene.equal(persistent.getJMSExpiration(), 0L, "expiration");
    }

    /** What has expired is not delivered. */
    private static void timeToLive(Scene scene) throws Exception {
        // The client would drop what has expired by itself.
        Session session = scene.session("jms.localMessageExpiry=false");
        Destination queue = Scene.queueOf(session, "time-to-live");
        MessageProducer producer = session.createProducer(queue);
        producer.send(session.createTextMessage("short"), DeliveryMode.PERSISTENT, 4, 100);
        producer.send(session.createTextMessage("long"), DeliveryMode.PERSISTENT, 4, 60_000);
        Thread.sleep(300);
        MessageConsumer consumer = session.createConsumer(queue);
        Scene.equal(Scene.texts(consumer, 1), List.of("long"), "texts");
        Scene.nothing(consumer);
    }

    /** All four types of a message-id, as correlations: the client writes them with a prefix. */
    private static void messageIds(Scene scene) throws JMSException {
        List<String> ids =
                List.of(
                        "text",
                        "ID:AMQP_ULONG:18446744073709551615",
                        "ID:AMQP_UUID:01234567-89ab-cdef-0123-456789abcdef",
                        "ID:AMQP_BINARY:00FF7F");
        for (String id : ids) {
            Maker maker =
                    session -> {
                        Message message = session.createMessage();
                        message.setJMSCorrelationID(id);
                        return message;
                    };
            Message came = back(scene, "message-ids", maker);
            Scene.equal(came.getJMSCorrelationID(), id, "correlation-id");
        }
        for (String type : List.of("DEFAULT", "UUID", "UUID_STRING", "PREFIXED_UUID_STRING")) {
            Session session = scene.session("jms.messageIDPolicy.messageIDType=" + type);
            Destination queue = Scene.queueOf(session, "message-ids");
            Message message = session.createMessage();
            session.createProducer(queue).send(message);
            Message came = Scene.next(session.createConsumer(queue));
            Scene.equal(came.getJMSMessageID(), message.getJMSMessageID(), "message-id " + type);
            session.close();
        }
    }
}
