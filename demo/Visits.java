import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * An app like many: it writes a record with a key every 50 ms, with a producer's default settings. It
 * knows nothing of kmend; only its bootstrap servers and its topic are given.
 *
 * <p>It runs until it is stopped, and ends with 1 on the first record that could not be written.
 */
public class Visits {
    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("client.id", "visits-app");

        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (long i = 0; ; i++) {
                producer.send(new ProducerRecord<>(args[1], "visitor " + i % 1000, "visit " + i), (where, error) -> {
                    if (error != null) {
                        System.out.println("app: a visit could not be written: " + error);
                        Runtime.getRuntime().halt(1);
                    }
                });
                Thread.sleep(50);
            }
        }
    }
}
