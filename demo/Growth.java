import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;

/**
 * Gives topics more partitions on a real broker, and shows which partitions their records go to. It
 * goes straight to the broker.
 *
 * <p>{@code create BROKER TOPIC...}: topics with one partition. {@code grow BROKER SECONDS TOPIC...}:
 * waits until every topic is written to, grows all of them to three partitions, and prints every two
 * seconds how many records each partition has.
 */
public class Growth {
    static final int PARTITIONS = 3;
    static final int STEP = 2;

    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", args[1]);
        try (Admin admin = Admin.create(config)) {
            if (args[0].equals("create")) {
                List<NewTopic> topics = rest(args, 2).stream().map(name -> new NewTopic(name, 1, (short) 1)).toList();
                admin.createTopics(topics).all().get(45, TimeUnit.SECONDS);
                System.out.println("topics " + String.join(" and ", rest(args, 2)) + ": 1 partition each");
            } else {
                grow(admin, Integer.parseInt(args[2]), rest(args, 3));
            }
        }
    }

    static void grow(Admin admin, int seconds, List<String> topics) throws Exception {
        while (counts(admin, topics, 1).stream().anyMatch(count -> count < 20)) {
            Thread.sleep(100);
        }
        Map<String, NewPartitions> more = new HashMap<>();
        topics.forEach(topic -> more.put(topic, NewPartitions.increaseTo(PARTITIONS)));
        admin.createPartitions(more).all().get(30, TimeUnit.SECONDS);
        long begin = System.nanoTime();

        StringBuilder head = new StringBuilder("seconds");
        StringBuilder partitions = new StringBuilder("       ");
        for (String topic : topics) {
            head.append(String.format(" | %-" + (7 * PARTITIONS - 1) + "s", topic));
            partitions.append(" |");
            for (int p = 0; p < PARTITIONS; p++) {
                partitions.append(String.format(" %6s", "[" + p + "]"));
            }
        }
        System.out.println(head.toString().stripTrailing() + "\n" + partitions);
        for (int at = 0; at <= seconds; at += STEP) {
            long wait = begin + TimeUnit.SECONDS.toNanos(at) - System.nanoTime();
            TimeUnit.NANOSECONDS.sleep(wait);
            List<Long> counts = counts(admin, topics, PARTITIONS);
            StringBuilder line = new StringBuilder(String.format("%7d", at));
            for (int i = 0; i < counts.size(); i++) {
                line.append(i % PARTITIONS == 0 ? " |" : "").append(String.format(" %6d", counts.get(i)));
            }
            System.out.println(line);
        }
    }

    /** How many records each partition has, topic by topic. */
    static List<Long> counts(Admin admin, List<String> topics, int partitions) throws Exception {
        List<TopicPartition> all = new ArrayList<>();
        for (String topic : topics) {
            for (int p = 0; p < partitions; p++) {
                all.add(new TopicPartition(topic, p));
            }
        }
        Map<TopicPartition, OffsetSpec> question = new HashMap<>();
        all.forEach(partition -> question.put(partition, OffsetSpec.latest()));
        var answer = admin.listOffsets(question).all().get(30, TimeUnit.SECONDS);
        return all.stream().map(partition -> answer.get(partition).offset()).toList();
    }

    static List<String> rest(String[] args, int from) {
        return List.of(args).subList(from, args.length);
    }
}
