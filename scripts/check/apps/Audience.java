import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * For scripts/check-prometheus: somebody who reads the demo's visits, and retention that follows him.
 *
 * <p>{@code read BOOTSTRAP}: a member of the group audience, until it is stopped; it commits every
 * second, so that it always lags a little. {@code expire BROKER STEPS}: deletes ten records more every
 * three seconds, straight at the broker.
 */
public class Audience {
    static final TopicPartition VISITS = new TopicPartition("visits", 0);

    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", args[1]);
        if (args[0].equals("read")) {
            read(config);
        } else {
            expire(config, Integer.parseInt(args[2]));
        }
    }

    private static void read(Properties config) {
        config.put("group.id", "audience");
        config.put("client.id", "audience-app");
        config.put("auto.offset.reset", "earliest");
        config.put("auto.commit.interval.ms", "1000");
        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of("visits"));
            while (true) {
                ConsumerRecords<String, String> visits = consumer.poll(Duration.ofMillis(500));
                if (!visits.isEmpty()) {
                    System.out.println("app: " + visits.count() + " visits");
                }
            }
        }
    }

    private static void expire(Properties config, int steps) throws Exception {
        try (Admin admin = Admin.create(config)) {
            for (int step = 1; step <= steps; step++) {
                admin.deleteRecords(Map.of(VISITS, RecordsToDelete.beforeOffset(10L * step))).all().get(30, TimeUnit.SECONDS);
                Thread.sleep(3000);
            }
        }
    }
}
