import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Brings about on a real broker what retention does to a consumer that was away for too long: a
 * committed offset below the log start. It goes straight to the broker.
 */
public class Prepare {
    public static void main(String[] args) throws Exception {
        String bootstrap = args[0];
        long orders = Long.parseLong(args[1]);
        long committed = Long.parseLong(args[2]);
        long start = Long.parseLong(args[3]);
        TopicPartition partition = new TopicPartition("orders", 0);

        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        try (Admin admin = Admin.create(config)) {
            // The broker may still be starting: the client tries until its time is up.
            admin.createTopics(List.of(new NewTopic("orders", 1, (short) 1))).all().get(45, TimeUnit.SECONDS);
            try (KafkaProducer<String, String> producer =
                    new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
                for (long i = 0; i < orders; i++) {
                    producer.send(new ProducerRecord<>("orders", 0, null, "order " + i));
                }
            }
            System.out.println("topic orders: " + orders + " orders written");
            admin.alterConsumerGroupOffsets("billing", Map.of(partition, new OffsetAndMetadata(committed)))
                .all().get(30, TimeUnit.SECONDS);
            System.out.println("group billing: committed offset " + committed + ", then the app was away for a while");
            admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(start))).all().get(30, TimeUnit.SECONDS);
            System.out.println("topic orders: everything before offset " + start + " has expired");
        }
    }
}
