import jakarta.jms.Connection;
import jakarta.jms.JMSException;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Session;
import jakarta.jms.TransactionRolledBackException;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/** Connections that break: a small proxy in between is cut, and the client goes on by itself. */
final class Reconnect {
    private static final int COUNT = 1200;
    private static final int CUTS = 4;

    static final List<Check> CHECKS =
            List.of(
                    Check.of("reconnect-sender", Reconnect::sender).within(60),
                    Check.of("reconnect-receiver", Reconnect::receiver).within(60),
                    Check.of("reconnect-transaction", Reconnect::transaction).within(60));

    private Reconnect() {}

    /** Forwards connections until they are cut. */
    private static final class Proxy implements AutoCloseable {
        private final ServerSocket listener;
        private final List<Socket> sockets = new ArrayList<>();

        Proxy(String target) throws IOException {
            String host = target.substring(0, target.lastIndexOf(':'));
            int port = Integer.parseInt(target.substring(host.length() + 1));
            listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
            spawn(
                    () -> {
                        while (true) {
                            Socket client = listener.accept();
                            Socket broker = new Socket(host, port);
                            synchronized (sockets) {
                                sockets.add(client);
                                sockets.add(broker);
                            }
                            spawn(() -> forward(client, broker));
                            spawn(() -> forward(broker, client));
                        }
                    });
        }

        private interface Work {
            void run() throws IOException;
        }

        private static void spawn(Work work) {
            Thread thread =
                    new Thread(
                            () -> {
                                try {
                                    work.run();
                                } catch (IOException e) {
                                    // The end of a connection, or of the proxy.
                                }
                            });
            thread.setDaemon(true);
            thread.start();
        }

        private static void forward(Socket from, Socket to) throws IOException {
            try (from;
                    to) {
                from.getInputStream().transferTo(to.getOutputStream());
            }
        }

        String address() {
            return "127.0.0.1:" + listener.getLocalPort();
        }

        void cut() throws IOException {
            synchronized (sockets) {
                for (Socket socket : sockets) {
                    socket.close();
                }
                sockets.clear();
            }
        }

        @Override
        public void close() throws IOException {
            listener.close();
            cut();
        }
    }

    /** A connection that is made again whenever it breaks. */
    private static Connection connect(Scene scene, Proxy proxy) throws JMSException {
        String url =
                "failover:(amqp://%s?amqp.saslMechanisms=ANONYMOUS)?failover.reconnectDelay=10"
                        + "&failover.initialReconnectDelay=0&failover.useReconnectBackOff=false";
        return Scene.start(scene.through(String.format(url, proxy.address())));
    }

    /** Cuts the proxy when so many are done. */
    private static void count(Proxy proxy, int done) throws IOException {
        if (done % (COUNT / (CUTS + 1)) == 0 && done / (COUNT / (CUTS + 1)) <= CUTS) {
            proxy.cut();
        }
    }

    /** What was sent is there, in order but for what the client sent again. */
    private static void sender(Scene scene) throws Exception {
        try (Proxy proxy = new Proxy(scene.address)) {
            Session session = connect(scene, proxy).createSession(Session.AUTO_ACKNOWLEDGE);
            MessageProducer producer =
                    session.createProducer(Scene.queueOf(session, "reconnect-sender"));
            int done = 0;
            for (String text : Scene.numbers(0, COUNT)) {
                producer.send(session.createTextMessage(text));
                count(proxy, ++done);
            }
        }
        Set<String> found = new LinkedHashSet<>(scene.contents("reconnect-sender"));
        Scene.equal(new ArrayList<>(found), Scene.numbers(0, COUNT), "what came first");
    }

    /** Everything arrives; what was not acknowledged before a cut comes again. */
    private static void receiver(Scene scene) throws Exception {
        Session filling = scene.session("jms.forceAsyncSend=true");
        String name = "reconnect-receiver";
        Scene.send(filling, Scene.queueOf(filling, name), Scene.numbers(0, COUNT));
        Set<String> seen = new TreeSet<>();
        try (Proxy proxy = new Proxy(scene.address)) {
            Session session = connect(scene, proxy).createSession(Session.AUTO_ACKNOWLEDGE);
            MessageConsumer consumer = session.createConsumer(Scene.queueOf(session, name));
            int done = 0;
            while (seen.size() < COUNT) {
                seen.add(Scene.text(Scene.next(consumer)));
                count(proxy, ++done);
            }
        }
        Scene.equal(seen, new TreeSet<>(Scene.numbers(0, COUNT)), "texts");
    }

    /** A transaction that the connection broke in is told so, and leaves nothing. */
    private static void transaction(Scene scene) throws Exception {
        String name = "reconnect-transaction";
        try (Proxy proxy = new Proxy(scene.address)) {
            Session session = connect(scene, proxy).createSession(Session.SESSION_TRANSACTED);
            MessageProducer producer = session.createProducer(Scene.queueOf(session, name));
            producer.send(session.createTextMessage("lost"));
            proxy.cut();
            boolean rolledBack = false;
            try {
                producer.send(session.createTextMessage("lost too"));
                session.commit();
            } catch (TransactionRolledBackException e) {
                rolledBack = true;
            }
            Scene.equal(rolledBack, true, "rolled back");
            // Until the connection is there again, transactions fail.
            boolean committed = false;
            while (!committed) {
                try {
                    producer.send(session.createTextMessage("kept"));
                    session.commit();
                    committed = true;
                } catch (TransactionRolledBackException e) {
                    Thread.sleep(10);
                }
            }
        }
        Scene.equal(scene.contents(name), List.of("kept"), "texts");
    }
}
