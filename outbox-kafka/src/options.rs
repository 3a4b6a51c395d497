//! From the configuration to librdkafka's options.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::types::RDKafkaConfRes;

use crate::KafkaError;
use crate::config::{Compression, KafkaConfig, Partitioner, SaslMechanism, exposed};

/// What every connection needs: where, and as whom.
pub(crate) fn connection(config: &KafkaConfig) -> ClientConfig {
    let mut options = ClientConfig::new();
    // A client that says nothing has lost nothing: see `Client::is_calm`.
    options.set_log_level(RDKafkaLogLevel::Info);
    options.set("log.connection.close", "true");
    options.set("bootstrap.servers", config.servers.join(","));
    options.set("client.id", &config.client_id);
    options.set("allow.auto.create.topics", "false");
    let protocol = match (config.tls, config.user.is_some()) {
        (false, false) => "plaintext",
        (false, true) => "sasl_plaintext",
        (true, false) => "ssl",
        (true, true) => "sasl_ssl",
    };
    options.set("security.protocol", protocol);
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        options.set("sasl.mechanism", mechanism(config.sasl_mechanism));
        options.set("sasl.username", user).set("sasl.password", exposed(password));
    }
    let files = [
        ("ssl.ca.location", &config.ca),
        ("ssl.certificate.location", &config.certificate),
        ("ssl.key.location", &config.certificate_key),
    ];
    for (option, path) in files {
        if let Some(path) = path {
            options.set(option, path.to_string_lossy());
        }
    }
    // Defaults of ours: a broker that restarts is found soon.
    options.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
    options.set("socket.nagle.disable", "true");
    for (option, value) in &config.librdkafka {
        options.set(option, exposed(value));
    }
    options
}

/// What a producer needs besides.
pub(crate) fn producer(config: &KafkaConfig, transactional_id: Option<&str>) -> ClientConfig {
    let mut options = connection(config);
    options.set("acks", "all").set("enable.idempotence", "true");
    options.set("message.max.bytes", config.max_message_bytes.to_string());
    options.set("linger.ms", config.linger_ms.to_string());
    options.set("compression.codec", codec(config.compression));
    options.set("partitioner", partitioner(config.partitioner));
    // The broker waits for its replicas as long as we do, and we until the deadline: it must not
    // answer "timed out" to what may yet be written.
    options.set("request.timeout.ms", "900000");
    // Topics are looked up before: one that is unknown now has been deleted, and its messages are
    // told so rather than kept for half a minute.
    options.set("topic.metadata.propagation.max.ms", "0");
    match transactional_id {
        // Messages end when their call does, by its deadline.
        None => options.set("message.timeout.ms", "0"),
        Some(id) => {
            options.set("transactional.id", id);
            options.set("transaction.timeout.ms", config.transaction_timeout_ms.to_string())
        }
    };
    options
}

/// Refuses what would break a promise, or has a name of its own here.
pub(crate) fn check<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<(), KafkaError> {
    for name in names {
        if let Some((_, reason)) = FIXED.iter().find(|(fixed, _)| fixed == name) {
            return Err(KafkaError::Fixed { option: name.clone(), reason });
        }
    }
    Ok(())
}

/// What librdkafka said to its options.
pub(crate) fn refused(error: ClientError) -> KafkaError {
    match error {
        ClientError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, option, _) => {
            KafkaError::Option { option, problem: "there is none of that name" }
        }
        ClientError::ClientConfig(_, _, option, _) => {
            KafkaError::Option { option, problem: "its value can't be used" }
        }
        ClientError::ClientCreation(problem) => KafkaError::Client(problem),
        other => KafkaError::Client(other.to_string()),
    }
}

const DURABILITY: &str = "a message counts as delivered only once all replicas in sync have it";
const DUPLICATES: &str = "without it the client itself would repeat or reorder messages";
const DEADLINE: &str = "messages end with the call that publishes them, at its deadline";
const LOST: &str = "from its silence the adapter knows that nothing was sent twice";
const ROOM: &str = "the queue holds a batch of the relay's, whole";
const OUR_OWN: &str = "use the adapter's own option";

/// All names of each option: librdkafka has several for some.
const FIXED: [(&str, &str); 49] = [
    ("acks", DURABILITY),
    ("request.required.acks", DURABILITY),
    ("enable.idempotence", DUPLICATES),
    ("enable.gapless.guarantee", DUPLICATES),
    ("max.in.flight", DUPLICATES),
    ("max.in.flight.requests.per.connection", DUPLICATES),
    ("retries", DUPLICATES),
    ("message.send.max.retries", DUPLICATES),
    ("queuing.strategy", DUPLICATES),
    ("queue.buffering.backpressure.threshold", DUPLICATES),
    ("message.timeout.ms", DEADLINE),
    ("delivery.timeout.ms", DEADLINE),
    ("request.timeout.ms", DEADLINE),
    ("topic.metadata.propagation.max.ms", "use `topic_wait_ms`"),
    ("queue.buffering.max.messages", ROOM),
    ("queue.buffering.max.kbytes", ROOM),
    ("test.mock.num.brokers", "it would publish to a cluster that isn't there"),
    ("debug", LOST),
    ("delivery.report.only.error", "each message has its own outcome"),
    ("log_level", LOST),
    ("log.queue", LOST),
    ("log.connection.close", LOST),
    ("allow.auto.create.topics", "use `create_topics`"),
    ("transactional.id", "use `transactional_id`"),
    ("transaction.timeout.ms", "use `transaction_timeout_ms`"),
    ("message.max.bytes", "use `max_message_bytes`"),
    ("linger.ms", "use `linger_ms`"),
    ("queue.buffering.max.ms", "use `linger_ms`"),
    ("compression.codec", "use `compression`"),
    ("compression.type", "use `compression`"),
    ("partitioner", OUR_OWN),
    ("bootstrap.servers", "use `servers`"),
    ("metadata.broker.list", "use `servers`"),
    ("client.id", "use `client_id`"),
    ("security.protocol", "use `kafkas://`, and a user, or `tls` and `user`"),
    ("sasl.username", "use `user`"),
    ("sasl.password", "use `password`"),
    ("sasl.mechanism", "use `sasl_mechanism`"),
    ("sasl.mechanisms", "use `sasl_mechanism`"),
    ("ssl.ca.location", "use `ca`"),
    ("ssl.certificate.location", "use `certificate`"),
    ("ssl.key.location", "use `certificate_key`"),
    ("group.id", "a tail has no group"),
    ("group.instance.id", "a tail has no group"),
    ("enable.auto.commit", "a tail keeps no position"),
    ("enable.auto.offset.store", "a tail keeps no position"),
    ("isolation.level", "a tail reads what is committed"),
    ("auto.offset.reset", "a tail begins with what arrives"),
    ("enable.partition.eof", "a tail has no end"),
];

fn mechanism(mechanism: SaslMechanism) -> &'static str {
    match mechanism {
        SaslMechanism::Plain => "PLAIN",
        SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
    }
}

fn codec(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

fn partitioner(partitioner: Partitioner) -> &'static str {
    match partitioner {
        Partitioner::Murmur2Random => "murmur2_random",
        Partitioner::Murmur2 => "murmur2",
        Partitioner::ConsistentRandom => "consistent_random",
        Partitioner::Consistent => "consistent",
        Partitioner::Fnv1aRandom => "fnv1a_random",
        Partitioner::Fnv1a => "fnv1a",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn librdkafka_knows_what_is_fixed() {
        for (name, _) in FIXED {
            let mut options = ClientConfig::new();
            let known = options.set(name, "canary").create_native_config();
            let unknown = matches!(
                known,
                Err(ClientError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..))
            );
            // Some are rdkafka's own names.
            assert!(!unknown, "{name}");
        }
    }

    #[test]
    fn what_would_break_a_promise_is_named() {
        for name in [
            "acks",
            "enable.idempotence",
            "max.in.flight",
            "transactional.id",
            "retries",
            "topic.metadata.propagation.max.ms",
            "queue.buffering.max.messages",
            "queue.buffering.max.kbytes",
            "test.mock.num.brokers",
            "debug",
        ] {
            let error = check([&name.to_owned()]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the option `{name}` can't be set: ")), "{error}");
        }
        assert!(check([&"socket.keepalive.enable".to_owned()]).is_ok());
    }

    #[test]
    fn options_come_from_their_fields() {
        let url = "kafkas://u:p@h?ca=/ca&compression=zstd&partitioner=fnv1a&linger_ms=7\
                   &sasl_mechanism=scram-sha-512&socket.timeout.ms=5000&max_message_bytes=2000";
        let config: KafkaConfig = url.parse().unwrap();
        let options = producer(&config, None);
        for (name, value) in [
            ("bootstrap.servers", "h:9092"),
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "u"),
            ("sasl.password", "p"),
            ("ssl.ca.location", "/ca"),
            ("compression.codec", "zstd"),
            ("partitioner", "fnv1a"),
            ("linger.ms", "7"),
            ("message.max.bytes", "2000"),
            ("socket.timeout.ms", "5000"),
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("message.timeout.ms", "0"),
            ("topic.metadata.propagation.max.ms", "0"),
        ] {
            assert_eq!(options.get(name), Some(value), "{name}");
        }
        let options = producer(&config, Some("shop-1"));
        assert_eq!(options.get("transactional.id"), Some("shop-1"));
        assert_eq!(options.get("message.timeout.ms"), None, "it ends with the transaction");
    }

    #[test]
    fn every_value_of_ours_is_one_of_librdkafkas() {
        let partitioners = [
            Partitioner::Murmur2Random,
            Partitioner::Murmur2,
            Partitioner::ConsistentRandom,
            Partitioner::Consistent,
            Partitioner::Fnv1aRandom,
            Partitioner::Fnv1a,
        ];
        for choice in partitioners {
            let mut options = ClientConfig::new();
            options.set("partitioner", partitioner(choice)).create_native_config().unwrap();
        }
        for choice in [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let mut options = ClientConfig::new();
            options.set("compression.codec", codec(choice)).create_native_config().unwrap();
        }
    }
}
