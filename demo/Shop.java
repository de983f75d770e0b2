import java.time.Duration;
import java.time.LocalTime;
import java.time.temporal.ChronoUnit;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Apps like many, for the status page: a shop that writes orders and clicks, a group that bills orders
 * with a commit after each batch, a report that reads orders with auto.offset.reset=none, a count of
 * clicks. They know nothing of kmend; only their bootstrap servers are given.
 *
 * <p>{@code Shop APPS BROKER}: APPS is what the apps connect to. Straight at the broker retention deletes
 * orders that the report has not read, and the clicks get more partitions; and the process that bills
 * ({@code Shop APPS}) is frozen for longer than its session, again and again. Runs until it is stopped;
 * ends with 1 on the first error that reaches an app.
 */
public class Shop {
    static final int ORDERS = 3;
    static final int MOST_CLICKS = 12;
    /** Seconds. */
    static final int PAUSE = 8;
    static final int FROZEN = 8;

    static String servers;
    static final AtomicBoolean away = new AtomicBoolean();

    public static void main(String[] args) throws Exception {
        servers = args[0];
        if (args.length == 1) {
            app("billing-0", () -> bill("billing-0"));
            app("billing-1", () -> bill("billing-1"));
            // Until the process that started this one has gone.
            System.in.read();
            Runtime.getRuntime().halt(0);
        }
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", args[1]))) {
            NewTopic orders = new NewTopic("orders", ORDERS, (short) 1);
            NewTopic clicks = new NewTopic("clicks", 2, (short) 1);
            admin.createTopics(List.of(orders, clicks)).all().get(45, TimeUnit.SECONDS);
            Map<TopicPartition, OffsetAndMetadata> begin = new HashMap<>();
            orders().forEach(partition -> begin.put(partition, new OffsetAndMetadata(0)));
            admin.alterConsumerGroupOffsets("report", begin).all().get(30, TimeUnit.SECONDS);

            app("shop", Shop::sell);
            Process billing = billing();
            app("report", Shop::report);
            app("clicks", Shop::count);
            say("at work: the shop, two members of billing, the report, the count of clicks");
            for (int clicksNow = 2; ; clicksNow = Math.min(clicksNow + 1, MOST_CLICKS)) {
                TimeUnit.SECONDS.sleep(PAUSE);
                evict(admin);
                TimeUnit.SECONDS.sleep(PAUSE);
                if (clicksNow < MOST_CLICKS) {
                    admin.createPartitions(Map.of("clicks", NewPartitions.increaseTo(clicksNow + 1))).all().get();
                    say("the topic clicks has " + (clicksNow + 1) + " partitions now, instead of " + clicksNow);
                }
                TimeUnit.SECONDS.sleep(PAUSE);
                freeze(billing);
            }
        }
    }

    static List<TopicPartition> orders() {
        return IntStream.range(0, ORDERS).mapToObj(p -> new TopicPartition("orders", p)).toList();
    }

    /** What retention does to who is away for too long. */
    static void evict(Admin admin) throws Exception {
        away.set(true);
        TimeUnit.SECONDS.sleep(3);
        Map<TopicPartition, OffsetSpec> question = new HashMap<>();
        orders().forEach(partition -> question.put(partition, OffsetSpec.latest()));
        Map<TopicPartition, RecordsToDelete> gone = new HashMap<>();
        admin.listOffsets(question).all().get().forEach((at, end) -> gone.put(at, RecordsToDelete.beforeOffset(end.offset())));
        admin.deleteRecords(gone).all().get();
        away.set(false);
        say("the report was away, and the orders that it had not read have expired");
    }

    /** The billing, as a process of its own. */
    static Process billing() throws Exception {
        String java = ProcessHandle.current().info().command().orElseThrow();
        String classes = System.getProperty("java.class.path");
        Process process = new ProcessBuilder(java, "-XX:TieredStopAtLevel=1", "-cp", classes, "Shop", servers)
            .redirectOutput(ProcessBuilder.Redirect.INHERIT)
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
        Runtime.getRuntime().addShutdownHook(new Thread(process::destroyForcibly));
        process.onExit().thenRun(() -> Runtime.getRuntime().halt(1));
        return process;
    }

    /** As by a long pause of its machine. */
    static void freeze(Process process) throws Exception {
        signal("STOP", process);
        TimeUnit.SECONDS.sleep(FROZEN);
        signal("CONT", process);
        say("the billing was frozen for " + FROZEN + " s: the broker took it for dead, and refuses what it commits");
    }

    static void signal(String name, Process process) throws Exception {
        new ProcessBuilder("kill", "-" + name, Long.toString(process.pid())).inheritIO().start().waitFor();
    }

    static void sell() throws Exception {
        Properties config = config("shop");
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (long i = 0; ; i++) {
                String customer = "customer " + i % 1000;
                Future<?> order = producer.send(new ProducerRecord<>("orders", customer, "order " + i));
                Future<?> click = producer.send(new ProducerRecord<>("clicks", customer, "click " + i));
                order.get();
                click.get();
                TimeUnit.MILLISECONDS.sleep(25);
            }
        }
    }

    static void bill(String id) throws Exception {
        try (var consumer = consumer(id, "billing", "earliest", "orders")) {
            while (true) {
                if (!consumer.poll(Duration.ofMillis(500)).isEmpty()) {
                    TimeUnit.MILLISECONDS.sleep(1500);
                    consumer.commitSync();
                }
            }
        }
    }

    static void report() throws Exception {
        try (var consumer = consumer("report", "report", "none", "orders")) {
            while (true) {
                if (away.get()) {
                    TimeUnit.MILLISECONDS.sleep(100);
                } else if (!consumer.poll(Duration.ofMillis(500)).isEmpty()) {
                    consumer.commitSync();
                }
            }
        }
    }

    static void count() throws Exception {
        try (var consumer = consumer("clicks", "clicks", "earliest", "clicks")) {
            while (true) {
                if (!consumer.poll(Duration.ofMillis(500)).isEmpty()) {
                    consumer.commitSync();
                }
            }
        }
    }

    static KafkaConsumer<String, String> consumer(String id, String group, String reset, String topic) {
        Properties config = config(id);
        config.put("group.id", group);
        config.put("auto.offset.reset", reset);
        config.put("enable.auto.commit", "false");
        // The shortest that a broker allows by default.
        config.put("session.timeout.ms", "6000");
        config.put("heartbeat.interval.ms", "1000");
        var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
        consumer.subscribe(List.of(topic));
        return consumer;
    }

    static Properties config(String id) {
        Properties config = new Properties();
        config.put("bootstrap.servers", servers);
        config.put("client.id", id);
        return config;
    }

    interface App {
        void run() throws Exception;
    }

    static void app(String name, App app) {
        Thread thread = new Thread(() -> {
            try {
                app.run();
            } catch (Exception error) {
                System.out.println(name + ": died: " + error);
                Runtime.getRuntime().halt(1);
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    static void say(String text) {
        System.out.println(LocalTime.now().truncatedTo(ChronoUnit.SECONDS) + " " + text);
    }
}
