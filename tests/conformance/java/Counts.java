import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Produced;

/**
 * Kafka Streams, exactly once: words are counted by two instances, of which one goes and comes back half way. The counts that
 * are committed in the end are those of the input.
 *
 * <p>{@code Counts CONFIG PREFIX [streams]}: with the third argument by the group protocol of KIP-1071.
 */
public class Counts {
    static final int WORDS = 20;
    static final int RECORDS = 6000;

    public static void main(String[] args) throws Exception {
        Map<String, Object> config = Config.read(args[0]);
        boolean broker = args.length > 2;
        String id = args[1] + (broker ? "streams-" : "counts-");
        String in = id + "in";
        String out = id + "out";
        try (Admin admin = Admin.create(config)) {
            admin.createTopics(List.of(new NewTopic(in, 4, (short) 3), new NewTopic(out, 4, (short) 3))).all().get(30, TimeUnit.SECONDS);
        }
        List<KafkaStreams> instances = new ArrayList<>(List.of(instance(config, id, in, out, broker), instance(config, id, in, out, broker)));
        produce(config, in, 0, RECORDS / 2);
        TimeUnit.SECONDS.sleep(5);
        instances.remove(0).close(Duration.ofSeconds(30));
        produce(config, in, RECORDS / 2, RECORDS);
        instances.add(instance(config, id, in, out, broker));
        Map<String, Long> counts = read(config, out);
        instances.forEach(instance -> instance.close(Duration.ofSeconds(30)));
        System.out.println("streams" + (broker ? ", KIP-1071" : "") + ": counts " + Set.copyOf(counts.values()) + " of " + counts.size() + " words");
    }

    static KafkaStreams instance(Map<String, Object> common, String id, String in, String out, boolean broker) throws Exception {
        Map<String, Object> config = new HashMap<>(common);
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, id + "app");
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 3);
        config.put(StreamsConfig.STATE_DIR_CONFIG, Files.createTempDirectory(Path.of(System.getProperty("java.io.tmpdir")), "counts").toString());
        if (broker) {
            config.put("group.protocol", "streams");
        } else {
            config.put("session.timeout.ms", "10000");
        }
        StreamsBuilder builder = new StreamsBuilder();
        builder.<String, String>stream(in, Consumed.with(Serdes.String(), Serdes.String()))
            .groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
            .count()
            .toStream()
            .to(out, Produced.with(Serdes.String(), Serdes.Long()));
        KafkaStreams streams = new KafkaStreams(builder.build(), new StreamsConfig(config));
        streams.start();
        return streams;
    }

    static void produce(Map<String, Object> config, String topic, int from, int to) throws Exception {
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int i = from; i < to; i++) {
                producer.send(new ProducerRecord<>(topic, i % 4, "key " + i, "word " + i % WORDS));
            }
        }
    }

    /** The newest count of each word that is committed, once they are as they should be, or after a minute and a half. */
    static Map<String, Long> read(Map<String, Object> common, String topic) {
        Map<String, Object> config = new HashMap<>(common);
        config.put("isolation.level", "read_committed");
        config.put("auto.offset.reset", "earliest");
        Map<String, Long> counts = new TreeMap<>();
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new LongDeserializer())) {
            Set<TopicPartition> partitions = new HashSet<>();
            for (int p = 0; p < 4; p++) {
                partitions.add(new TopicPartition(topic, p));
            }
            consumer.assign(partitions);
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(90);
            while (System.nanoTime() < end && !(counts.size() == WORDS && counts.values().stream().allMatch(n -> n == RECORDS / WORDS))) {
                for (ConsumerRecord<String, Long> record : consumer.poll(Duration.ofMillis(500))) {
                    counts.put(record.key(), record.value());
                }
            }
            // More than there was would come now.
            for (ConsumerRecord<String, Long> record : consumer.poll(Duration.ofSeconds(3))) {
                counts.put(record.key(), record.value());
            }
        }
        return counts;
    }
}
