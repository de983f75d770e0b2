import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * What Java's Admin can ask, each question once, and what came back, as a line that is the same on every run: names, counts
 * and errors, no times. Whoever runs it directly and through kmend compares the lines.
 *
 * <p>{@code Admins CONFIG PREFIX}: PREFIX begins the names of all that it makes.
 */
public class Admins {
    interface Question {
        Object ask() throws Exception;
    }

    static String prefix;

    public static void main(String[] args) throws Exception {
        Map<String, Object> config = Config.read(args[0]);
        prefix = args[1];
        String topic = prefix + "topic";
        String group = prefix + "group";
        TopicPartition zero = new TopicPartition(topic, 0);
        TopicPartition one = new TopicPartition(topic, 1);
        ConfigResource ofTopic = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        try (Admin admin = Admin.create(config)) {
            line("createTopics", () -> admin.createTopics(List.of(new NewTopic(topic, 2, (short) 3))).numPartitions(topic).get());
            line("createTopics again", () -> get(admin.createTopics(List.of(new NewTopic(topic, 2, (short) 3))).all()));
            line("listTopics", () -> get(admin.listTopics().names()).contains(topic));
            settle(() -> get(admin.describeTopics(List.of(topic)).allTopicNames()));
            line("describeTopics", () -> {
                var partitions = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions();
                return partitions.size() + " partitions, replicas " + partitions.get(0).replicas().size() + ", at " + ports(partitions.get(0).replicas());
            });
            line("describeCluster", () -> {
                var nodes = get(admin.describeCluster().nodes());
                return nodes.size() + " nodes " + nodes.stream().map(Node::id).sorted().toList() + " at " + ports(nodes);
            });
            try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
                for (int i = 0; i < 20; i++) {
                    producer.send(new ProducerRecord<>(topic, i % 2, "key", "value " + i)).get();
                }
            }
            line("listOffsets", () -> get(admin.listOffsets(Map.of(zero, OffsetSpec.latest(), one, OffsetSpec.earliest())).all())
                .values().stream().map(o -> o.offset()).sorted().toList());
            line("deleteRecords", () -> get(admin.deleteRecords(Map.of(zero, RecordsToDelete.beforeOffset(4))).lowWatermarks().get(zero)).lowWatermark());
            line("listOffsets after it", () -> get(admin.listOffsets(Map.of(zero, OffsetSpec.earliest())).all()).get(zero).offset());
            line("createPartitions", () -> get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all()));
            settle(() -> get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size() == 4);
            line("describeTopics after it", () -> get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size());
            line("incrementalAlterConfigs", () -> get(admin.incrementalAlterConfigs(Map.of(ofTopic,
                List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "3600000"), AlterConfigOp.OpType.SET)))).all()));
            settle(() -> "3600000".equals(get(admin.describeConfigs(List.of(ofTopic)).all()).get(ofTopic).get("retention.ms").value()));
            line("describeConfigs", () -> get(admin.describeConfigs(List.of(ofTopic)).all()).get(ofTopic).get("retention.ms").value());
            line("describeConfigs of a broker", () -> get(admin.describeConfigs(List.of(new ConfigResource(ConfigResource.Type.BROKER, "1"))).all())
                .values().iterator().next().get("node.id").value());
            line("electLeaders", () -> get(admin.electLeaders(ElectionType.PREFERRED, Set.of(zero)).partitions()).get(zero).map(e -> e.getClass().getSimpleName()));
            line("alterPartitionReassignments", () -> get(admin.alterPartitionReassignments(
                Map.of(one, Optional.of(new NewPartitionReassignment(List.of(3, 2, 1))))).all()));
            settle(() -> get(admin.listPartitionReassignments(Set.of(one)).reassignments()).isEmpty());
            line("listPartitionReassignments", () -> get(admin.listPartitionReassignments(Set.of(one)).reassignments()).size());
            line("describeLogDirs", () -> get(admin.describeLogDirs(List.of(1, 2, 3)).allDescriptions()).keySet().stream().sorted().toList());
            line("alterConsumerGroupOffsets", () -> get(admin.alterConsumerGroupOffsets(group, Map.of(zero, new OffsetAndMetadata(7, "note"))).all()));
            line("listConsumerGroupOffsets", () -> get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(zero));
            line("listConsumerGroupOffsets of two", () -> get(admin.listConsumerGroupOffsets(Map.of(
                group, new ListConsumerGroupOffsetsSpec(), prefix + "nobody", new ListConsumerGroupOffsetsSpec())).all()).entrySet().stream()
                .map(e -> e.getKey().substring(prefix.length()) + " " + e.getValue().size()).sorted().toList());
            line("describeConsumerGroups", () -> {
                var found = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
                return found.groupState() + " " + found.members().size() + " at " + ports(List.of(found.coordinator()));
            });
            line("listConsumerGroups", () -> get(admin.listConsumerGroups().all()).stream().anyMatch(g -> g.groupId().equals(group)));
            line("deleteConsumerGroupOffsets", () -> get(admin.deleteConsumerGroupOffsets(group, Set.of(zero)).all()));
            line("deleteConsumerGroups", () -> get(admin.deleteConsumerGroups(List.of(group)).all()));
            line("deleteConsumerGroups again", () -> get(admin.deleteConsumerGroups(List.of(group)).all()));
            line("describeProducers", () -> get(admin.describeProducers(List.of(zero)).all()).get(zero).activeProducers().size());
            line("listTransactions", () -> get(admin.listTransactions().all()).stream().filter(t -> t.transactionalId().startsWith(prefix)).count());
            line("describeTransactions", () -> get(admin.describeTransactions(List.of(prefix + "nobody")).all()));
            line("fenceProducers", () -> get(admin.fenceProducers(List.of(prefix + "producer")).all()));
            line("describeTransactions after it", () -> get(admin.describeTransactions(List.of(prefix + "producer")).all()).values().iterator().next().state());
            ClientQuotaEntity entity = new ClientQuotaEntity(Map.of(ClientQuotaEntity.CLIENT_ID, prefix + "client"));
            line("alterClientQuotas", () -> get(admin.alterClientQuotas(List.of(
                new ClientQuotaAlteration(entity, List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1e6))))).all()));
            settle(() -> !get(admin.describeClientQuotas(ClientQuotaFilter.all()).entities()).isEmpty());
            line("describeClientQuotas", () -> get(admin.describeClientQuotas(ClientQuotaFilter.all()).entities()).get(entity));
            line("alterUserScramCredentials", () -> get(admin.alterUserScramCredentials(List.of(
                new UserScramCredentialUpsertion(prefix + "user", new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), "secret"))).all()));
            settle(() -> get(admin.describeUserScramCredentials(List.of(prefix + "user")).all()) != null);
            line("describeUserScramCredentials", () -> get(admin.describeUserScramCredentials(List.of(prefix + "user")).all()).values().iterator().next().credentialInfos().size());
            AclBinding acl = new AclBinding(new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL),
                new AccessControlEntry("User:somebody", "*", AclOperation.READ, AclPermissionType.ALLOW));
            line("createAcls", () -> get(admin.createAcls(List.of(acl)).all()));
            line("describeAcls", () -> get(admin.describeAcls(AclBindingFilter.ANY).values()));
            line("createDelegationToken", () -> get(admin.createDelegationToken().delegationToken()));
            line("describeFeatures", () -> get(admin.describeFeatures().featureMetadata()).supportedFeatures().keySet().stream().sorted().toList());
            line("updateFeatures", () -> get(admin.updateFeatures(Map.of("nothing", new FeatureUpdate((short) 1, FeatureUpdate.UpgradeType.UPGRADE)),
                new UpdateFeaturesOptions()).all()));
            line("describeMetadataQuorum", () -> get(admin.describeMetadataQuorum().quorumInfo()).voters().size());
            line("listGroups", () -> get(admin.listGroups().all()).stream().filter(g -> g.groupId().startsWith(prefix)).count());
            line("describeShareGroups", () -> get(admin.describeShareGroups(List.of(prefix + "nobody")).all()));
            line("deleteTopics", () -> get(admin.deleteTopics(List.of(topic)).all()));
            line("describeTopics of none", () -> {
                settle(() -> !get(admin.listTopics().names()).contains(topic));
                return get(admin.describeTopics(List.of(topic)).allTopicNames());
            });
        }
    }

    static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(30, TimeUnit.SECONDS);
    }

    /** What is asked for takes its time to be everywhere. */
    static void settle(Question question) throws Exception {
        for (int i = 0; i < 100; i++) {
            try {
                if (!Boolean.FALSE.equals(question.ask())) {
                    return;
                }
            } catch (ExecutionException error) {
                // Not yet.
            }
            Thread.sleep(100);
        }
    }

    /** Whose ports these are: a broker behind kmend is at one of kmend's. */
    static String ports(Collection<Node> nodes) {
        return nodes.stream().map(node -> Config.isOurs(node.port()) ? "ours" : "somebody else's " + node.port()).distinct().collect(Collectors.joining(", "));
    }

    static void line(String name, Question question) {
        String said;
        try {
            said = String.valueOf(question.ask());
        } catch (ExecutionException error) {
            said = error.getCause().getClass().getSimpleName() + ": " + error.getCause().getMessage();
        } catch (Exception error) {
            said = error.getClass().getSimpleName() + ": " + error.getMessage();
        }
        System.out.println(name + ": " + said.replace(prefix, ""));
    }
}
