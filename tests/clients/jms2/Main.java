import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Checks of a broker with the JMS client for AMQP 1.0.
 *
 * <pre>
 * Main --list                  the names of the checks
 * Main --queues                the queues they need, one a line: NAME {ARGUMENTS}
 * Main HOST:PORT [NAME...]     runs all, or those named, or whose names contain NAME
 * </pre>
 *
 * <p>A line for each check, {@code NAME pass|fail|skip REASON}, then {@code N passed, N failed};
 * exit status 1 when anything failed. {@code AMQP_WEB=HOST:PORT} in the environment is the broker's
 * HTTP listener, for AMQP over WebSocket.
 */
public final class Main {
    private final String address;
    private int passed;
    private int failed;

    private Main(String address) {
        this.address = address;
    }

    static List<Check> checks() {
        List<Check> checks = new ArrayList<>();
        checks.addAll(Transfers.CHECKS);
        checks.addAll(Outcomes.CHECKS);
        checks.addAll(Values.CHECKS);
        checks.addAll(Nodes.CHECKS);
        checks.addAll(Subscriptions.CHECKS);
        checks.addAll(Transactions.CHECKS);
        checks.addAll(Reconnect.CHECKS);
        checks.addAll(Web.CHECKS);
        return checks;
    }

    public static void main(String[] args) {
        if (args[0].equals("--list")) {
            checks().forEach(check -> System.out.println(check.name()));
        } else if (args[0].equals("--queues")) {
            for (Check check : checks()) {
                check.queues().forEach((name, options) -> System.out.println(name + " " + options));
            }
        } else {
            Main main = new Main(args[0]);
            main.all(Arrays.asList(args).subList(1, args.length));
            System.out.println(main.passed + " passed, " + main.failed + " failed");
            System.exit(main.failed == 0 ? 0 : 1);
        }
        System.exit(0);
    }

    private void all(List<String> names) {
        List<String> exact = checks().stream().map(Check::name).toList();
        for (Check check : checks()) {
            boolean wanted =
                    names.isEmpty()
                            || names.stream()
                                    .anyMatch(
                                            name ->
                                                    check.name().equals(name)
                                                            || !exact.contains(name)
                                                                    && check.name().contains(name));
            if (wanted) {
                String outcome = run(check);
                if (outcome.equals("pass")) {
                    passed++;
                } else if (outcome.startsWith("fail")) {
                    failed++;
                }
                System.out.println(check.name() + " " + outcome);
            }
        }
    }

    /** Runs a check in a thread of its own, which is left behind when it takes too long. */
    private String run(Check check) {
        if (check.web() && Scene.HTTP == null) {
            return "skip AMQP_WEB names no HTTP listener";
        }
        ExecutorService thread =
                Executors.newSingleThreadExecutor(
                        body -> {
                            Thread daemon = new Thread(body, check.name());
                            daemon.setDaemon(true);
                            return daemon;
                        });
        Scene scene = new Scene(address);
        Future<?> done =
                thread.submit(
                        () -> {
                            check.body().run(scene);
                            return null;
                        });
        try {
            done.get(check.seconds(), TimeUnit.SECONDS);
            return "pass";
        } catch (TimeoutException e) {
            done.cancel(true);
            return "fail took too long";
        } catch (ExecutionException e) {
            return "fail " + reason(e.getCause());
        } catch (InterruptedException e) {
            return "fail interrupted";
        } finally {
            Future<?> closed = Executors.newCachedThreadPool(Main::daemon).submit(scene::close);
            try {
                closed.get(5, TimeUnit.SECONDS);
            } catch (ExecutionException | InterruptedException | TimeoutException e) {
                // What is left of a failed check says nothing new.
            }
            thread.shutdownNow();
        }
    }

    private static Thread daemon(Runnable body) {
        Thread thread = new Thread(body);
        thread.setDaemon(true);
        return thread;
    }

    /** One line that says what went wrong and where in the check. */
    private static String reason(Throwable error) {
        String where = "";
        for (StackTraceElement at : error.getStackTrace()) {
            if (!at.getClassName().contains(".") && !at.getClassName().equals("Scene")) {
                where = at.getFileName() + ":" + at.getLineNumber() + ": ";
                break;
            }
        }
        String text = String.valueOf(error).replaceAll("\\s+", " ");
        return where + text.substring(0, Math.min(300, text.length()));
    }
}
