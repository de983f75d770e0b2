// The Java test app. The contract (environment, stdin, output lines) is in tests/clients/README.md.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Partitioner;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Cluster;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class App {
    static volatile boolean closing, paused, holding;
    /** Of which partitions the next pause is: "" for all, "0,3" for some. */
    static volatile String which = "";
    static volatile int code;
    static final CountDownLatch ended = new CountDownLatch(1);

    static String env(String name, String otherwise) {
        String v = System.getenv("APP_" + name);
        return v == null || v.isEmpty() ? otherwise : v;
    }

    static synchronized void say(String line) {
        System.out.println(line.replace('\n', ' '));
    }

    public static void main(String[] args) {
        listen();
        try {
            switch (env("MODE", "consume")) {
                case "consume": consume(); break;
                case "transact": transact(); break;
                case "ctp": ctp(); break;
                default: produce();
            }
            say("CLOSED");
        } catch (Throwable e) {
            say("DIED " + e);
            code = 3;
        }
        ended.countDown();
        // halt: exit would wait for the hook below, which waits for this very thread.
        Runtime.getRuntime().halt(code);
    }

    /** Commands from stdin; its end means that the test is gone. SIGTERM closes politely. */
    static void listen() {
        Thread t = new Thread(() -> {
            try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in))) {
                for (String l; (l = in.readLine()) != null; ) {
                    if (l.equals("close")) closing = true;
                    if (l.equals("pause") || l.startsWith("pause ")) {
                        which = l.substring(5).trim();
                        paused = true;
                    }
                    if (l.equals("resume") || l.startsWith("resume ")) paused = false;
                    if (l.equals("pause-handler")) holding = true;
                    if (l.equals("resume-handler")) holding = false;
                }
            } catch (Exception ignored) {
            }
            Runtime.getRuntime().halt(4);
        });
        t.setDaemon(true);
        t.start();
        if (env("SIGNALS", "").equals("default")) return;
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            closing = true;
            try {
                // Else the JVM would end with 143 when this hook returns before main's own halt.
                if (ended.await(10, TimeUnit.SECONDS)) Runtime.getRuntime().halt(code);
            } catch (InterruptedException ignored) {
            }
            // Else the JVM says 143 for a SIGTERM, however politely it was obeyed.
            Runtime.getRuntime().halt(code);
        }));
    }

    static Properties common() {
        Properties p = new Properties();
        p.put("bootstrap.servers", env("BOOTSTRAP", ""));
        if (!env("CLIENT_ID", "").equals("-")) p.put("client.id", env("CLIENT_ID", "java"));
        boolean login = !env("USER", "").isEmpty(), tls = !env("CA", "").isEmpty();
        if (login) login(p, "org.apache.kafka.common.security.", env("SASL", "PLAIN"));
        if (tls) tls(p);
        if (login || tls) p.put("security.protocol", !login ? "SSL" : tls ? "SASL_SSL" : "SASL_PLAINTEXT");
        return p;
    }

    static void login(Properties p, String packages, String mechanism) {
        String user = env("USER", "");
        String secret = "required username=\"" + user + "\" password=\"" + env("PASSWORD", "") + "\";";
        p.put("sasl.mechanism", mechanism);
        // The client makes an unsecured token by itself.
        if (mechanism.equals("OAUTHBEARER")) p.put("sasl.jaas.config", packages
            + "oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"" + user + "\";");
        else if (mechanism.equals("PLAIN")) p.put("sasl.jaas.config", packages + "plain.PlainLoginModule " + secret);
        else p.put("sasl.jaas.config", packages + "scram.ScramLoginModule " + secret);
    }

    static void tls(Properties p) {
        try {
            p.put("ssl.truststore.type", "PEM");
            p.put("ssl.truststore.certificates", Files.readString(Path.of(env("CA", ""))));
            if (env("CERT", "").isEmpty()) return;
            p.put("ssl.keystore.type", "PEM");
            p.put("ssl.keystore.certificate.chain", Files.readString(Path.of(env("CERT", ""))));
            p.put("ssl.keystore.key", Files.readString(Path.of(env("KEY", ""))));
        } catch (java.io.IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    static void passThrough(Properties p) {
        for (String kv : env("PROPS", "").split(";")) {
            int i = kv.indexOf('=');
            if (i > 0) p.put(kv.substring(0, i), kv.substring(i + 1));
        }
    }

    static void consume() throws Exception {
        Properties p = common();
        String commit = env("COMMIT", "auto");
        String group = env("GROUP", "");
        if (!group.isEmpty()) p.put("group.id", group);
        if (env("PROTOCOL", "classic").equals("consumer")) p.put("group.protocol", "consumer");
        p.put("auto.offset.reset", env("RESET", "earliest"));
        p.put("isolation.level", env("ISOLATION", "read_uncommitted"));
        boolean auto = commit.equals("auto") || commit.equals("default");
        p.put("enable.auto.commit", String.valueOf(auto && !group.isEmpty()));
        if (!commit.equals("default")) p.put("auto.commit.interval.ms", "1000");
        p.put("fetch.max.wait.ms", "500");
        if (!env("FETCH_BYTES", "").isEmpty()) p.put("max.partition.fetch.bytes", env("FETCH_BYTES", ""));
        passThrough(p);
        long handler = Long.parseLong(env("HANDLER_MS", "0"));
        try (KafkaConsumer<byte[], byte[]> c =
                 new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            Map<TopicPartition, OffsetAndMetadata> done = new HashMap<>();
            if (!env("ASSIGN", "").isEmpty()) assign(c);
            else if (env("CALLBACKS", "").isEmpty()) c.subscribe(Arrays.asList(env("TOPICS", "").split(",")));
            else c.subscribe(Arrays.asList(env("TOPICS", "").split(",")), new Callbacks(c, done));
            say("READY");
            boolean held = false;
            long last = System.nanoTime();
            while (!closing) {
                if (paused != held) {
                    held = paused;
                    if (held) c.pause(some(c.assignment(), which)); else c.resume(c.paused());
                    say(held ? "PAUSED" : "RESUMED");
                }
                for (ConsumerRecord<byte[], byte[]> r : c.poll(Duration.ofMillis(100))) {
                    if (handler > 0) Thread.sleep(handler);
                    hold(r);
                    say("HANDLED " + r.topic() + " " + r.partition() + " " + r.offset() + " "
                        + (r.key() == null ? "-" : new String(r.key())));
                    done.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
                    // With auto commit close() commits the position, so what was polled is handled to its end.
                    if (closing && !auto) break;
                    if (commit.equals("each")) commit(c, done);
                }
                if (commit.equals("manual") && !done.isEmpty()) commit(c, done);
                // Somebody else reads; this member only says how far.
                if (commit.equals("only") && System.nanoTime() - last > 1_000_000_000L) {
                    last = System.nanoTime();
                    c.endOffsets(c.assignment()).forEach((tp, end) -> done.put(tp, new OffsetAndMetadata(end)));
                    if (!done.isEmpty()) commit(c, done);
                }
            }
            // What was handled, not what was fetched: with auto commit close() itself would commit the position.
            boolean own = !commit.equals("none") && !commit.equals("default") && !commit.equals("only");
            if (own && !done.isEmpty() && !group.isEmpty()) commit(c, done);
        }
    }

    /** Of these partitions those with the numbers in a list; all where there is none. */
    static List<TopicPartition> some(Collection<TopicPartition> all, String numbers) {
        List<TopicPartition> found = new ArrayList<>(all);
        List<String> wanted = Arrays.asList(numbers.split(","));
        found.removeIf(tp -> !numbers.isEmpty() && !wanted.contains(String.valueOf(tp.partition())));
        return found;
    }

    /** Says what it is called with: the generation and the partitions. Pauses those of PAUSE_AT when they are assigned. */
    static class Callbacks implements ConsumerRebalanceListener {
        final KafkaConsumer<byte[], byte[]> c;
        final Map<TopicPartition, OffsetAndMetadata> done;

        Callbacks(KafkaConsumer<byte[], byte[]> c, Map<TopicPartition, OffsetAndMetadata> done) {
            this.c = c;
            this.done = done;
        }

        void heard(String what, Collection<TopicPartition> all) {
            TreeSet<Integer> numbers = new TreeSet<>();
            all.forEach(tp -> numbers.add(tp.partition()));
            String list = numbers.toString().replaceAll("[\\[\\] ]", "");
            say((what + " " + c.groupMetadata().generationId() + " " + list).trim());
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> all) {
            String which = env("PAUSE_AT", "");
            if (!which.isEmpty()) c.pause(which.equals("all") ? all : some(all, which));
            heard("ASSIGNED", all);
        }

        /** What is given back is not committed at the end: somebody else may be further by then. */
        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> all) {
            heard("REVOKED", all);
            done.keySet().removeAll(all);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> all) {
            heard("LOST", all);
            done.keySet().removeAll(all);
        }
    }

    /** Stays in the handler of this record while the test wants it. */
    static void hold(ConsumerRecord<byte[], byte[]> r) throws InterruptedException {
        if (holding) say("HOLDING " + r.topic() + " " + r.partition() + " " + r.offset());
        while (holding) Thread.sleep(10);
    }

    static void commit(KafkaConsumer<byte[], byte[]> c, Map<TopicPartition, OffsetAndMetadata> done) {
        c.commitSync(done);
        done.forEach((tp, o) -> say("COMMITTED " + tp.topic() + " " + tp.partition() + " " + o.offset()));
        done.clear();
    }

    static void assign(KafkaConsumer<byte[], byte[]> c) {
        List<TopicPartition> all = new ArrayList<>();
        for (String a : env("ASSIGN", "").split(",")) all.add(new TopicPartition(a.split(":")[0], Integer.parseInt(a.split(":")[1])));
        c.assign(all);
        for (String a : env("ASSIGN", "").split(",")) {
            String[] w = a.split(":");
            TopicPartition tp = new TopicPartition(w[0], Integer.parseInt(w[1]));
            if (w[2].equals("earliest")) c.seekToBeginning(List.of(tp));
            else if (w[2].equals("latest")) c.seekToEnd(List.of(tp));
            else c.seek(tp, Long.parseLong(w[2]));
        }
    }

    /** What people write themselves: {@code partitioner.class=App$Counting}. */
    public static class Counting implements Partitioner {
        private final AtomicInteger next = new AtomicInteger();

        @Override
        public int partition(String topic, Object k, byte[] key, Object v, byte[] value, Cluster cluster) {
            return next.getAndIncrement() % cluster.partitionCountForTopic(topic);
        }

        @Override
        public void configure(Map<String, ?> configs) {
        }

        @Override
        public void close() {
        }
    }

    /** Record i, said once it has been answered. */
    static void send(KafkaProducer<byte[], byte[]> to, long i) {
        String[] topics = env("TOPICS", "").split(",");
        byte[] key = env("KEYS", "vary").equals("none") ? null : ("k" + i).getBytes();
        ProducerRecord<byte[], byte[]> r = new ProducerRecord<>(topics[(int) (i % topics.length)], key, ("r" + i).getBytes());
        to.send(r, (m, e) ->
            say(e != null ? "ERR " + e : "SENT " + m.topic() + " " + m.partition() + " " + m.offset() + " r" + i));
    }

    /** Waits until it is record i's turn. */
    static void pace(long began, long i) throws InterruptedException {
        long ahead = (long) (i * 1000 / Double.parseDouble(env("RATE", "20"))) - (System.nanoTime() - began) / 1_000_000;
        if (ahead > 0) Thread.sleep(ahead);
    }

    static void produce() throws Exception {
        Properties p = common();
        p.put("acks", env("ACKS", "all"));
        p.put("enable.idempotence", env("IDEMPOTENCE", "false"));
        passThrough(p);
        long count = Long.parseLong(env("COUNT", "0"));
        try (KafkaProducer<byte[], byte[]> pr =
                 new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer())) {
            say("READY");
            long began = System.nanoTime();
            for (long i = 0; !closing && (count == 0 || i < count); i++) {
                long held = System.nanoTime();
                for (; paused && !closing; began += System.nanoTime() - held, held = System.nanoTime()) Thread.sleep(20);
                send(pr, i);
                pace(began, i + 1);
            }
        }
    }

    /** Transactions of TXN_SIZE records each; COMMITTED comes after the commit, with the number of the next record. */
    static void transact() throws Exception {
        Properties p = common();
        p.put("transactional.id", env("TRANSACTIONAL", "java"));
        passThrough(p);
        long count = Long.parseLong(env("COUNT", "0"));
        long size = Long.parseLong(env("TXN_SIZE", "100"));
        try (KafkaProducer<byte[], byte[]> pr =
                 new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer())) {
            pr.initTransactions();
            say("READY");
            long began = System.nanoTime();
            for (long i = 0; !closing && (count == 0 || i < count); ) {
                pr.beginTransaction();
                for (long end = i + size; i < end; i++) {
                    send(pr, i);
                    pace(began, i + 1);
                }
                pr.commitTransaction();
                say("COMMITTED " + env("TOPICS", "") + " -1 " + i);
            }
        }
    }

    /**
     * Consume, transform, produce: each poll is one transaction, which writes a record to OUT for each that was read
     * (its key names where it came from) and commits the offsets. The loop of the producer's own documentation.
     */
    static void ctp() throws Exception {
        Properties in = common();
        in.put("group.id", env("GROUP", ""));
        in.put("enable.auto.commit", "false");
        in.put("auto.offset.reset", env("RESET", "earliest"));
        in.put("isolation.level", "read_committed");
        in.put("max.poll.records", env("TXN_SIZE", "100"));
        Properties out = common();
        out.put("transactional.id", env("TRANSACTIONAL", "java"));
        passThrough(in);
        ByteArrayDeserializer d = new ByteArrayDeserializer();
        try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(in, d, d);
             KafkaProducer<byte[], byte[]> pr =
                 new KafkaProducer<>(out, new ByteArraySerializer(), new ByteArraySerializer())) {
            pr.initTransactions();
            c.subscribe(Arrays.asList(env("TOPICS", "").split(",")));
            say("READY");
            while (!closing) {
                Map<TopicPartition, OffsetAndMetadata> done = new HashMap<>();
                var some = c.poll(Duration.ofMillis(100));
                if (some.isEmpty()) continue;
                pr.beginTransaction();
                try {
                    for (ConsumerRecord<byte[], byte[]> r : some) {
                        hold(r);
                        byte[] from = (r.topic() + "/" + r.partition() + "/" + r.offset()).getBytes();
                        pr.send(new ProducerRecord<>(env("OUT", ""), from, from));
                        done.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
                    }
                    pr.sendOffsetsToTransaction(done, c.groupMetadata());
                    pr.commitTransaction();
                } catch (CommitFailedException e) {
                    // The group has gone on without this member: what it has read belongs to somebody else.
                    say("NOTE aborted: " + e);
                    pr.abortTransaction();
                    for (TopicPartition tp : done.keySet()) {
                        if (!c.assignment().contains(tp)) continue;
                        OffsetAndMetadata at = c.committed(java.util.Set.of(tp)).get(tp);
                        if (at == null) c.seekToBeginning(List.of(tp)); else c.seek(tp, at.offset());
                    }
                    continue;
                }
                done.forEach((tp, o) -> say("COMMITTED " + tp.topic() + " " + tp.partition() + " " + o.offset()));
            }
        }
    }
}
