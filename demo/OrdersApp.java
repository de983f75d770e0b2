import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * An app like many: a consumer group, auto.offset.reset=none because nobody wants orders to be
 * skipped without a word. It knows nothing of kmend; only its bootstrap servers are given.
 *
 * <p>It ends with 0 once it has handled the order given as second argument, with 1 on any error.
 */
public class OrdersApp {
    public static void main(String[] args) {
        long last = Long.parseLong(args[1]);
        Properties config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("group.id", "billing");
        config.put("client.id", "orders-app");
        config.put("auto.offset.reset", "none");
        config.put("enable.auto.commit", "false");

        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of("orders"));
            long handled = 0;
            while (true) {
                for (ConsumerRecord<String, String> order : consumer.poll(Duration.ofMillis(500))) {
                    handled++;
                    if (handled == 1) {
                        System.out.println("app: first order handled: offset " + order.offset());
                    }
                    if (order.offset() == last) {
                        consumer.commitSync();
                        System.out.println("app: last order handled: offset " + last + ", " + handled + " orders in all");
                        return;
                    }
                }
            }
        } catch (Exception error) {
            System.out.println("app: died: " + error);
            System.exit(1);
        }
    }
}
