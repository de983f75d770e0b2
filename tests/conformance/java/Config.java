import java.io.FileReader;
import java.io.Reader;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.Set;

/** A client's configuration, from a file. */
class Config {
    private static Set<String> ours;

    static Map<String, Object> read(String file) throws Exception {
        Properties properties = new Properties();
        try (Reader reader = new FileReader(file)) {
            properties.load(reader);
        }
        // The ports at which brokers may show themselves.
        ours = Set.of(properties.remove("test.ports").toString().split(","));
        Map<String, Object> config = new HashMap<>();
        properties.forEach((key, value) -> config.put(key.toString(), value));
        return config;
    }

    static boolean isOurs(int port) {
        return ours.contains(Integer.toString(port));
    }
}
