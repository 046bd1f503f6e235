import jakarta.jms.BytesMessage;
import jakarta.jms.Connection;
import jakarta.jms.Destination;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Session;

import java.util.List;
import java.util.Random;

/** AMQP over WebSocket, by the client's own transport for it. */
final class Web {
    private static final int COUNT = 10_000;
    private static final int MEGABYTE = 1 << 20;

    static final List<Check> CHECKS =
            List.of(
                    Check.of("web-order", Web::order).within(60).overWeb(),
                    Check.of("web-large", Web::large).overWeb(),
                    Check.of("web-transaction", Web::transaction).overWeb());

    private Web() {}

    private static Session session(Scene scene, String path, int mode, String... options)
            throws Exception {
        Connection connection = scene.connectWeb(path, options);
        return Scene.start(connection).createSession(mode);
    }

    /** Sends without waiting for each, and receives, in order. */
    private static void order(Scene scene) throws Exception {
        Session session =
                session(scene, "/", Session.AUTO_ACKNOWLEDGE, "jms.forceAsyncSend=true");
        Destination queue = Scene.queueOf(session, "web-order");
        Scene.send(session, queue, Scene.numbers(0, COUNT));
        try (MessageConsumer consumer = session.createConsumer(queue)) {
            Scene.equal(Scene.texts(consumer, COUNT), Scene.numbers(0, COUNT), "texts");
        }
        Scene.equal(scene.contents("web-order"), List.of(), "what is left");
    }

    /** One message in many frames of AMQP, which the client puts into messages as it likes. */
    private static void large(Scene scene) throws Exception {
        byte[] content = new byte[MEGABYTE];
        new Random(1).nextBytes(content);
        Session session =
                session(scene, "/amqp", Session.AUTO_ACKNOWLEDGE, "amqp.maxFrameSize=16384");
        Destination queue = Scene.queueOf(session, "web-large");
        BytesMessage message = session.createBytesMessage();
        message.writeBytes(content);
        try (MessageProducer producer = session.createProducer(queue)) {
            producer.send(message);
        }
        BytesMessage came = (BytesMessage) Scene.next(session.createConsumer(queue));
        byte[] found = new byte[(int) came.getBodyLength()];
        came.readBytes(found);
        Scene.equal(found, content, "octets");
    }

    private static void transaction(Scene scene) throws Exception {
        Session session = session(scene, "/any/path", Session.SESSION_TRANSACTED);
        Destination queue = Scene.queueOf(session, "web-transaction");
        Scene.send(session, queue, Scene.numbers(0, 10));
        session.rollback();
        Scene.send(session, queue, Scene.numbers(10, 20));
        session.commit();
        Scene.equal(scene.contents("web-transaction"), Scene.numbers(10, 20), "texts");
    }
}
