import java.util.List;
import java.util.Optional;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringSerializer;

/** Directly on the broker: makes the topic of payments, or says what groups have committed in it. */
public class Payments {
    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", args[1]);
        if (args[0].equals("create")) {
            create(config, Integer.parseInt(args[2]));
        } else {
            for (int i = 2; i < args.length; i++) {
                System.out.println(args[i] + " " + committed(config, args[i]));
            }
        }
    }

    private static void create(Properties config, int payments) throws Exception {
        try (Admin admin = Admin.create(config)) {
            admin.createTopics(List.of(new NewTopic("payments", Optional.of(1), Optional.empty()))).all().get();
        }
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < payments; i++) {
                producer.send(new ProducerRecord<>("payments", "payment " + i));
            }
        }
        System.out.println("topic payments: offsets 0 to " + (payments - 1));
    }

    private static long committed(Properties config, String group) throws Exception {
        try (Admin admin = Admin.create(config)) {
            var offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
            var offset = offsets.get(new TopicPartition("payments", 0));
            return offset == null ? -1 : offset.offset();
        }
    }
}
