// What an admin does: describes the cluster, a topic and the groups. Arguments: bootstrap servers, topic, groups.

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;

public class Describe {
    public static void main(String[] args) throws Exception {
        List<String> groups = Arrays.asList(args).subList(2, args.length);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0], "client.id", "admin"))) {
            System.out.println("NODES " + admin.describeCluster().nodes().get());
            System.out.println("TOPICS " + admin.describeTopics(List.of(args[1])).allTopicNames().get().keySet());
            System.out.println("GROUPS " + admin.describeConsumerGroups(groups).all().get().keySet());
            for (String group : groups)
                System.out.println("OFFSETS " + admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get());
        }
    }
}
