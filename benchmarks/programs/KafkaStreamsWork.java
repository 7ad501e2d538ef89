import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.function.Function;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * The suite's work with Kafka Streams, one thread. The job comes as JSON from stdin; SIGTERM ends it.
 *
 * <p>Decoders, encoders and records are used again: that is safe with one thread, and nothing is faster with Avro's own codec.
 */
public final class KafkaStreamsWork {
  private static final Map<Integer, Set<String>> PASSING =
      Map.of(1, Set.of("p1"), 10, Set.of("p1", "p10"), 50, Set.of("p1", "p10", "p50"));

  private final JsonNode job;
  private final Contract source;
  private final Contract output;
  private final ObjectMapper mapper;

  private KafkaStreamsWork(JsonNode job, ObjectMapper mapper) {
    this.job = job;
    this.mapper = mapper;
    source = new Contract(job.get("source"));
    output = new Contract(job.get("output"));
  }

  public static void main(String[] arguments) throws Exception {
    ObjectMapper mapper = new ObjectMapper();
    JsonNode job = mapper.readTree(System.in);
    StreamsBuilder builder = new StreamsBuilder();
    new KafkaStreamsWork(job, mapper).build(builder);
    KafkaStreams streams = new KafkaStreams(builder.build(), settings(job));
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          Runtime.getRuntime().halt(1);
          return StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
  }

  private static Properties settings(JsonNode job) {
    Properties settings = new Properties();
    settings.put("application.id", job.get("group").asText());
    settings.put("bootstrap.servers", job.get("servers").asText());
    settings.put("state.dir", job.get("state").asText());
    boolean exactlyOnce = job.get("guarantee").asText().equals("exactly_once");
    settings.put("processing.guarantee", exactlyOnce ? "exactly_once_v2" : "at_least_once");
    settings.put("commit.interval.ms", job.get("commit_interval_ms").asText());
    settings.put("consumer.auto.offset.reset", "earliest");
    job.get("java").properties().forEach(one -> settings.put(one.getKey(), one.getValue().asText()));
    return settings;
  }

  private void build(StreamsBuilder builder) {
    Serde<byte[]> bytes = Serdes.ByteArray();
    KStream<byte[], byte[]> frames = builder.stream(job.get("source").get("topic").asText(), Consumed.with(bytes, bytes));
    String topic = job.get("output").get("topic").asText();
    String deadLetters = job.get("dead_letters").asText();
    String kind = job.get("kind").asText();
    if (kind.equals("count")) {
      frames
          .groupByKey(Grouped.with(bytes, bytes))
          .aggregate(
              () -> 0L,
              (key, frame, posts) -> {
                source.decode(frame).get("author");
                return posts + 1;
              },
              Materialized.<byte[], Long, KeyValueStore<Bytes, byte[]>>as("counts")
                  .withKeySerde(bytes)
                  .withValueSerde(Serdes.Long()))
          .toStream()
          .mapValues(this::count)
          .to(topic, Produced.with(bytes, bytes));
      return;
    }
    Function<byte[], List<byte[]>> work = work(kind);
    if (kind.equals("poison")) {
      Serde<Framed> framed = Serdes.serdeFrom((name, one) -> one.frame, (name, frame) -> new Framed(frame, false));
      frames
          .flatMapValues(frame -> attempt(work, frame))
          .to((key, one, context) -> one.dead ? deadLetters : topic, Produced.with(bytes, framed));
    } else {
      frames.flatMapValues(work::apply).to(topic, Produced.with(bytes, bytes));
    }
  }

  private Function<byte[], List<byte[]>> work(String kind) {
    JsonNode options = job.get("options");
    switch (kind) {
      case "map":
      case "poison":
        return this::mapHalf;
      case "filter":
        Set<String> passing = PASSING.get(options.get("percent").asInt());
        return frame -> passes(frame, passing) ? List.of(frame) : List.of();
      case "fan_out":
        int copies = options.get("copies").asInt();
        return frame -> fanOut(frame, copies);
      case "convert":
        return this::convert;
      default:
        throw new IllegalArgumentException("no such work: " + kind);
    }
  }

  private List<byte[]> mapHalf(byte[] frame) {
    GenericRecord post = source.decode(frame);
    return post.get("audience").toString().equals("PUBLIC") ? List.of(headline(post, post.get("post_id"))) : List.of();
  }

  private boolean passes(byte[] frame, Set<String> passing) {
    return passing.contains(((List<?>) source.decode(frame).get("tags")).get(0).toString());
  }

  private List<byte[]> fanOut(byte[] frame, int copies) {
    GenericRecord post = source.decode(frame);
    List<byte[]> made = new ArrayList<>(copies);
    for (int copy = 0; copy < copies; copy++) {
      made.add(headline(post, post.get("post_id") + "-" + copy));
    }
    return made;
  }

  private byte[] headline(GenericRecord post, Object postId) {
    GenericRecord headline = output.fresh();
    headline.put("post_id", postId);
    headline.put("author", post.get("author"));
    headline.put("text", post.get("text"));
    headline.put("posted_at", post.get("posted_at"));
    return output.encode(headline);
  }

  private List<byte[]> convert(byte[] frame) {
    GenericRecord power = source.decode(frame);
    String identifier = power.get("identifier").toString();
    ObjectNode document = mapper.createObjectNode();
    document.put("identifier", identifier);
    document.put("timestamp", (long) power.get("timestamp"));
    document.put("valueInW", (double) power.get("valueInW"));
    GenericRecord stored = output.fresh();
    stored.put("identifier", identifier);
    stored.put("document", document.toString());
    return List.of(output.encode(stored));
  }

  private byte[] count(byte[] author, long posts) {
    GenericRecord count = output.fresh();
    count.put("author", new String(author, StandardCharsets.UTF_8));
    count.put("posts", posts);
    return output.encode(count);
  }

  private static List<Framed> attempt(Function<byte[], List<byte[]>> work, byte[] frame) {
    try {
      List<Framed> made = new ArrayList<>(1);
      work.apply(frame).forEach(one -> made.add(new Framed(one, false)));
      return made;
    } catch (UncheckedIOException | AvroRuntimeException | UnsupportedOperationException error) {
      return List.of(new Framed(frame, true));
    }
  }

  private record Framed(byte[] frame, boolean dead) {}

  /** One schema under its id in the registry. */
  private static final class Contract {
    private static final int HEADER = 5;
    private final Schema schema;
    private final byte[] header;
    private final GenericDatumReader<GenericRecord> reader;
    private final GenericDatumWriter<GenericRecord> writer;
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private GenericRecord read;
    private final GenericRecord written;
    private BinaryDecoder decoder;
    private BinaryEncoder encoder;

    private Contract(JsonNode contract) {
      schema = new Schema.Parser().parse(contract.get("schema").asText());
      header = ByteBuffer.allocate(HEADER).put((byte) 0).putInt(contract.get("id").asInt()).array();
      reader = new GenericDatumReader<>(schema);
      writer = new GenericDatumWriter<>(schema);
      written = new GenericData.Record(schema);
    }

    private GenericRecord fresh() {
      return written;
    }

    private GenericRecord decode(byte[] frame) {
      for (int at = 0; at < HEADER; at++) {
        if (frame[at] != header[at]) {
          throw new IllegalArgumentException("another schema");
        }
      }
      try {
        decoder = DecoderFactory.get().binaryDecoder(frame, HEADER, frame.length - HEADER, decoder);
        read = reader.read(read, decoder);
        return read;
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }

    private byte[] encode(GenericRecord record) {
      try {
        out.reset();
        out.write(header, 0, HEADER);
        encoder = EncoderFactory.get().binaryEncoder(out, encoder);
        writer.write(record, encoder);
        encoder.flush();
        return out.toByteArray();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }
}
