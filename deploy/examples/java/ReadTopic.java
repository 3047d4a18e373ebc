import com.fasterxml.jackson.core.io.JsonStringEncoder;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.io.JsonEncoder;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads a topic of Quell, as far as it is committed now, and prints one JSON document a record:
 *
 * <pre>{"partition":0,"offset":3,"key":"…","schema":"quell.v1.Delta","id":17,"value":{…},"headers":{"receipt-id":"…"}}</pre>
 *
 * A tombstone has the value null and neither schema nor id. Exit code 0 once the end is reached, 2 where something cannot
 * be read.
 */
public final class ReadTopic {
    private static final int MAGIC = 0;
    private static final int ANSWER_BYTES_MAX = 1024 * 1024;
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private final HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10)).build();
    private final String registry;
    private final String authorization;
    private final Map<Integer, Schema> schemas = new HashMap<>();

    private ReadTopic(String registry, String credentials) {
        this.registry = registry.replaceAll("/+$", "");
        this.authorization = credentials == null
            ? null
            : "Basic " + Base64.getEncoder().encodeToString(credentials.getBytes(StandardCharsets.UTF_8));
    }

    public static void main(String[] args) {
        if (args.length != 3) {
            System.err.println("usage: java -cp 'lib/*' ReadTopic.java BOOTSTRAP REGISTRY_URL TOPIC");
            System.err.println("REGISTRY_CREDENTIALS=user:password where the registry asks for them");
            System.exit(2);
        }
        try {
            var out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
            new ReadTopic(args[1], System.getenv("REGISTRY_CREDENTIALS")).read(args[0], args[2], out);
            out.flush();
        } catch (Exception error) {
            System.err.println("ReadTopic: " + error);
            System.exit(2);
        }
    }

    private void read(String bootstrap, String topic, PrintStream out) throws IOException, InterruptedException {
        var settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        // Only what is committed: without this, aborted transactions are read too.
        settings.put("isolation.level", "read_committed");
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<byte[], byte[]>(settings, bytes, bytes)) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic, PATIENCE).stream()
                .map(info -> new TopicPartition(topic, info.partition()))
                .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            // Where everything before is committed or aborted.
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions, PATIENCE);
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                var records = consumer.poll(Duration.ofMillis(500));
                for (var record : records) {
                    if (record.offset() < ends.get(new TopicPartition(topic, record.partition()))) {
                        out.println(show(record));
                    }
                }
                if (!records.isEmpty()) {
                    deadline = System.nanoTime() + PATIENCE.toNanos();
                } else if (System.nanoTime() > deadline) {
                    throw new IOException("nothing came for " + PATIENCE.toSeconds() + " s before the end");
                }
            }
        }
    }

    private String show(ConsumerRecord<byte[], byte[]> record) throws IOException, InterruptedException {
        var headers = new StringBuilder();
        for (Header header : record.headers()) {
            headers.append(headers.isEmpty() ? "" : ",").append(quote(header.key())).append(':').append(text(header.value()));
        }
        var shown = new StringBuilder("{\"partition\":" + record.partition() + ",\"offset\":" + record.offset());
        shown.append(",\"key\":").append(text(record.key()));
        if (record.value() == null) {
            shown.append(",\"value\":null");
        } else {
            ByteBuffer value = ByteBuffer.wrap(record.value());
            if (value.remaining() < 5 || value.get() != MAGIC) {
                throw new IOException("offset " + record.offset() + " is not in the Confluent wire format");
            }
            int id = value.getInt();
            Schema schema = schema(id);
            shown.append(",\"schema\":").append(quote(schema.getFullName())).append(",\"id\":").append(id);
            shown.append(",\"value\":").append(json(schema, record.value(), value.position()));
        }
        return shown.append(",\"headers\":{").append(headers).append("}}").toString();
    }

    /** Avro's own JSON: a union's value other than null stands as {"type": value}. */
    private static String json(Schema schema, byte[] bytes, int from) throws IOException {
        BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(bytes, from, bytes.length - from, null);
        Object datum = new GenericDatumReader<>(schema).read(null, decoder);
        if (!decoder.isEnd()) {
            throw new IOException("bytes are left after a " + schema.getFullName());
        }
        var out = new ByteArrayOutputStream();
        JsonEncoder encoder = EncoderFactory.get().jsonEncoder(schema, out);
        new GenericDatumWriter<>(schema).write(datum, encoder);
        encoder.flush();
        return out.toString(StandardCharsets.UTF_8);
    }

    /** The schema behind an id. An id stands for one schema for ever, so each is asked for once. */
    private Schema schema(int id) throws IOException, InterruptedException {
        Schema known = schemas.get(id);
        if (known != null) {
            return known;
        }
        var request = HttpRequest.newBuilder(URI.create(registry + "/schemas/ids/" + id)).timeout(Duration.ofSeconds(10));
        request.header("Accept", "application/vnd.schemaregistry.v1+json, application/json");
        if (authorization != null) {
            request.header("Authorization", authorization);
        }
        var answer = http.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
        byte[] body;
        try (var stream = answer.body()) {
            body = stream.readNBytes(ANSWER_BYTES_MAX);
        }
        if (answer.statusCode() != 200) {
            throw new IOException("the registry answers " + answer.statusCode() + " for schema " + id);
        }
        // The answer is {"schema": "<the schema's JSON as text>"}. Jackson comes with Avro.
        String text = new ObjectMapper().readTree(body).path("schema").asText();
        Schema schema = new Schema.Parser().parse(text);
        schemas.put(id, schema);
        return schema;
    }

    private static String text(byte[] bytes) {
        return bytes == null ? "null" : quote(new String(bytes, StandardCharsets.UTF_8));
    }

    private static String quote(String text) {
        return '"' + new String(JsonStringEncoder.getInstance().quoteAsString(text)) + '"';
    }
}
