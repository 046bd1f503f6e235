import jakarta.jms.BytesMessage;
import jakarta.jms.CompletionListener;
import jakarta.jms.Connection;
import jakarta.jms.DeliveryMode;
import jakarta.jms.Destination;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Session;

import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/** Messages there and back: order, settlement, credit, size. */
final class Transfers {
    private static final int COUNT = 10_000;
    private static final int LARGE = 64 << 20;

    static final List<Check> CHECKS =
            List.of(
                    Check.of("order", Transfers::order),
                    Check.of("order-unacknowledged", Transfers::orderUnacknowledged),
                    Check.of("settle-presettled", Transfers::presettled),
                    Check.of("async-send", Transfers::asyncSend),
                    Check.of("prefetch-one", scene -> prefetch(scene, "prefetch-one", 1)),
                    Check.of("prefetch-none", scene -> prefetch(scene, "prefetch-none", 0)),
                    Check.of("drain", Transfers::drain),
                    Check.of("large", Transfers::large).within(60),
                    Check.of("many-sessions", Transfers::manySessions),
                    Check.of("heartbeats", Transfers::heartbeats));

    private Transfers() {}

    /** Sends without waiting for each, and receives, in order. */
    private static void order(Scene scene) throws Exception {
        Session session = scene.session("jms.forceAsyncSend=true");
        Destination queue = Scene.queueOf(session, "order");
        Scene.send(session, queue, Scene.numbers(0, COUNT));
        try (MessageConsumer consumer = session.createConsumer(queue)) {
            Scene.equal(Scene.texts(consumer, COUNT), Scene.numbers(0, COUNT), "texts");
        }
        Scene.equal(scene.contents("order"), List.of(), "what is left");
    }

    /** Not persistent, and acknowledged when the client pleases. */
    private static void orderUnacknowledged(Scene scene) throws Exception {
        Connection connection = scene.connect();
        Session session = connection.createSession(Session.DUPS_OK_ACKNOWLEDGE);
        Destination queue = Scene.queueOf(session, "order-unacknowledged");
        try (MessageProducer producer = session.createProducer(queue)) {
            producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
            for (String text : Scene.numbers(0, COUNT)) {
                producer.send(session.createTextMessage(text));
            }
        }
        try (MessageConsumer consumer = session.createConsumer(queue)) {
            Scene.equal(Scene.texts(consumer, COUNT), Scene.numbers(0, COUNT), "texts");
        }
        Scene.equal(scene.contents("order-unacknowledged"), List.of(), "what is left");
    }

    private static void presettled(Scene scene) throws Exception {
        Session session = scene.session("jms.presettlePolicy.presettleAll=true");
        Destination queue = Scene.queueOf(session, "settle-presettled");
        Scene.send(session, queue, Scene.numbers(0, 1000));
        try (MessageConsumer consumer = session.createConsumer(queue)) {
            Scene.equal(Scene.texts(consumer, 1000), Scene.numbers(0, 1000), "texts");
        }
        Scene.equal(scene.contents("settle-presettled"), List.of(), "what is left");
    }

    private static void asyncSend(Scene scene) throws Exception {
        Session session = scene.session();
        CountDownLatch done = new CountDownLatch(1000);
        AtomicReference<Exception> failure = new AtomicReference<>();
        CompletionListener listener =
                new CompletionListener() {
                    @Override
                    public void onCompletion(Message message) {
                        done.countDown();
                    }

                    @Override
                    public void onException(Message message, Exception exception) {
                        failure.set(exception);
                        done.countDown();
                    }
                };
        MessageProducer producer = session.createProducer(Scene.queueOf(session, "async-send"));
        for (String text : Scene.numbers(0, 1000)) {
            producer.send(session.createTextMessage(text), listener);
        }
        Scene.equal(done.await(Scene.PATIENCE, TimeUnit.MILLISECONDS), true, "all completed");
        Scene.equal(failure.get(), null, "failure");
        Scene.equal(scene.contents("async-send"), Scene.numbers(0, 1000), "texts");
    }

    /** Two consumers share a queue: neither holds more than it may while the other waits. */
    private static void prefetch(Scene scene, String name, int credit) throws Exception {
        String option = "jms.prefetchPolicy.all=" + credit;
        Session one = scene.session(option);
        Session two = scene.session(option);
        MessageConsumer first = one.createConsumer(Scene.queueOf(one, name));
        MessageConsumer second = two.createConsumer(Scene.queueOf(two, name));
        Session session = scene.session();
        Scene.send(session, Scene.queueOf(session, name), Scene.numbers(0, 10));
        int rest = 10 - credit;
        Scene.equal(Scene.texts(second, rest).size(), rest, "what the other does not hold");
        Scene.equal(Scene.texts(first, credit).size(), credit, "what it holds");
        Scene.nothing(first);
        Scene.nothing(second);
    }

    /** Without prefetching, a receive that does not wait drains: it knows that nothing is there. */
    private static void drain(Scene scene) throws Exception {
        Session session = scene.session("jms.prefetchPolicy.all=0");
        Destination queue = Scene.queueOf(session, "drain");
        MessageConsumer consumer = session.createConsumer(queue);
        Scene.equal(consumer.receiveNoWait(), null, "message of an empty queue");
        Scene.send(session, queue, Scene.numbers(0, 3));
        for (String text : Scene.numbers(0, 3)) {
            Message message = consumer.receiveNoWait();
            Scene.equal(message == null ? null : Scene.text(message), text, "text");
        }
        Scene.equal(consumer.receiveNoWait(), null, "message of an empty queue");
    }

    private static void large(Scene scene) throws Exception {
        byte[] content = new byte[LARGE];
        new Random(1).nextBytes(content);
        Session session = scene.session("amqp.maxFrameSize=16384");
        Destination queue = Scene.queueOf(session, "large");
        BytesMessage message = session.createBytesMessage();
        message.writeBytes(content);
        try (MessageProducer producer = session.createProducer(queue)) {
            producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
            producer.send(message);
        }
        BytesMessage came = (BytesMessage) Scene.next(session.createConsumer(queue));
        Scene.equal(came.getBodyLength(), (long) LARGE, "length");
        byte[] found = new byte[LARGE];
        came.readBytes(found);
        Scene.equal(sum(found), sum(content), "checksum");
    }

    private static String sum(byte[] octets) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(octets));
    }

    /** Ten sessions of a connection, each with ten producers. */
    private static void manySessions(Scene scene) throws Exception {
        Connection connection = scene.connect();
        for (int at = 0; at < 10; at++) {
            Session session = connection.createSession(Session.AUTO_ACKNOWLEDGE);
            for (int producer = 0; producer < 10; producer++) {
                Destination queue = Scene.queueOf(session, "many-sessions");
                Scene.send(session, queue, Scene.numbers(0, 3));
            }
        }
        Scene.equal(scene.contents("many-sessions").size(), 300, "messages");
    }

    /** A connection that is idle lives on empty frames, both ways. */
    private static void heartbeats(Scene scene) throws Exception {
        Session session = scene.session("amqp.idleTimeout=500");
        Thread.sleep(1500);
        Scene.send(session, Scene.queueOf(session, "heartbeats"), List.of("alive"));
        Scene.equal(scene.contents("heartbeats"), List.of("alive"), "texts");
    }
}
