import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A share group (KIP-932) of two members: each record is accepted once, one of ten is released the first time and delivered
 * again, one of a hundred is rejected and never comes again.
 *
 * <p>{@code Shares CONFIG PREFIX}.
 */
public class Shares {
    static final int RECORDS = 3000;
    static final Map<String, Integer> deliveries = new ConcurrentHashMap<>();
    static final AtomicInteger accepted = new AtomicInteger();
    static final AtomicInteger rejected = new AtomicInteger();
    static volatile String failed;

    public static void main(String[] args) throws Exception {
        Map<String, Object> config = Config.read(args[0]);
        String topic = args[1] + "share";
        String group = args[1] + "share-group";
        try (Admin admin = Admin.create(config)) {
            admin.createTopics(List.of(new NewTopic(topic, 3, (short) 3))).all().get(30, TimeUnit.SECONDS);
            admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.GROUP, group),
                List.of(new AlterConfigOp(new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET))))
                .all().get(30, TimeUnit.SECONDS);
        }
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < RECORDS; i++) {
                producer.send(new ProducerRecord<>(topic, i % 3, null, "value " + i));
            }
        }
        List<Thread> members = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            Thread member = new Thread(() -> consume(config, topic, group));
            member.start();
            members.add(member);
        }
        for (Thread member : members) {
            member.join();
        }
        Map<Integer, Integer> times = new TreeMap<>();
        deliveries.values().forEach(n -> times.merge(Math.min(n, 2), 1, Integer::sum));
        System.out.println("share group: " + deliveries.size() + " values, " + accepted.get() + " accepted, " + rejected.get() + " rejected");
        // More often than wanted is allowed (at least once), less often is not.
        System.out.println("share group: every released one came again: " + (times.getOrDefault(2, 0) >= RECORDS / 10));
        System.out.println("share group: " + (failed == null ? "no error" : failed));
    }

    static void consume(Map<String, Object> common, String topic, String group) {
        Map<String, Object> config = new HashMap<>(common);
        config.put("group.id", group);
        config.put("share.acknowledgement.mode", "explicit");
        try (var consumer = new KafkaShareConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(topic));
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
            while (accepted.get() + rejected.get() < RECORDS && System.nanoTime() < end) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                    int n = Integer.parseInt(record.value().substring(6));
                    int times = deliveries.merge(record.value(), 1, Integer::sum);
                    if (n % 100 == 7) {
                        consumer.acknowledge(record, AcknowledgeType.REJECT);
                        rejected.incrementAndGet();
                    } else if (n % 10 == 3 && times == 1) {
                        consumer.acknowledge(record, AcknowledgeType.RELEASE);
                    } else {
                        consumer.acknowledge(record, AcknowledgeType.ACCEPT);
                        accepted.incrementAndGet();
                    }
                }
                consumer.commitSync();
            }
        } catch (Exception error) {
            failed = error.toString();
        }
    }
}
