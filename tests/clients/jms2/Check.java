import java.util.LinkedHashMap;
import java.util.Map;

/**
 * A check, and the queues it needs with their arguments as JSON. One that is {@code web} needs the
 * broker's HTTP listener.
 */
record Check(String name, Map<String, String> queues, int seconds, boolean web, Body body) {
    interface Body {
        void run(Scene scene) throws Exception;
    }

    /** A check with a queue of its own name. */
    static Check of(String name, Body body) {
        return with(name, Map.of(name, "{}"), body);
    }

    /** A check that needs no queue. */
    static Check bare(String name, Body body) {
        return with(name, Map.of(), body);
    }

    /** A check with these queues. */
    static Check with(String name, Map<String, String> queues, Body body) {
        Map<String, String> named = new LinkedHashMap<>();
        queues.forEach((queue, options) -> named.put(Scene.queue(queue), options));
        return new Check(name, named, 30, false, body);
    }

    /** The same, which may take longer. */
    Check within(int longer) {
        return new Check(name, queues, longer, web, body);
    }

    /** The same, over WebSocket. */
    Check overWeb() {
        return new Check(name, queues, seconds, true, body);
    }
}
