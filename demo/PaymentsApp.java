import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * An app like many: handles a payment, commits, takes the next one. It knows nothing of kmend; only its
 * bootstrap servers and its group are given. The payment given as third argument takes 2 s.
 *
 * <p>It ends with 0 once the last payment, given as fourth argument, is handled and committed, with 1 on
 * any error.
 */
public class PaymentsApp {
    public static void main(String[] args) {
        long slow = Long.parseLong(args[2]);
        long last = Long.parseLong(args[3]);
        Properties config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("group.id", args[1]);
        config.put("client.id", args[1]);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", "false");
        config.put("max.poll.records", "1");
        // The shortest that a broker allows by default: nobody wants to watch 45 s.
        config.put("session.timeout.ms", "6000");
        config.put("heartbeat.interval.ms", "1000");

        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of("payments"));
            int handled = 0;
            while (true) {
                for (ConsumerRecord<String, String> payment : consumer.poll(Duration.ofMillis(500))) {
                    System.out.println("app: handles payment " + payment.offset());
                    if (payment.offset() == slow) {
                        Thread.sleep(2000);
                    }
                    handled++;
                    consumer.commitSync();
                    if (payment.offset() == last) {
                        System.out.println("app: all payments handled, " + handled + " in all");
                        return;
                    }
                }
            }
        } catch (Exception error) {
            System.out.println("app: died: " + error.getClass().getName());
            System.exit(1);
        }
    }
}
