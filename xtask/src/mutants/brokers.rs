//! Protections of the publishers.

use super::{Beside, Mutant, Suite};

const fn of(package: &'static str) -> Suite {
    Suite { beside: Beside::All, ..Suite::of(package, "conformance") }
}

const KAFKA: Suite = of("outbox-kafka");
const NATS: Suite = of("outbox-nats");
const RABBITMQ: Suite = of("outbox-rabbitmq");
const REDIS: Suite = of("outbox-redis");
const SQS: Suite = of("outbox-sqs");

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "kafka-acks",
        without: "a message counts as delivered before the replicas have it",
        file: "outbox-kafka/src/options.rs",
        text: r#"options.set("acks", "all").set("enable.idempotence", "true");"#,
        instead: r#"options.set("acks", "0");"#,
        test: KAFKA.test("faults::a_message_whose_answer_is_lost_is_unknown_and_written"),
    },
    Mutant {
        name: "kafka-idempotence",
        without: "the client repeats what was written",
        file: "outbox-kafka/src/options.rs",
        text: r#".set("enable.idempotence", "true");"#,
        instead: r#".set("enable.idempotence", "false");"#,
        test: KAFKA.test("faults::a_connection_cut_in_mid_batch_makes_no_duplicate"),
    },
    Mutant {
        name: "kafka-fence-turn",
        without: "a producer that is never opened keeps its partition for ever",
        file: "outbox-kafka/src/pool/lent.rs",
        text: "guarded(self.turn.take(), patience + LATE, open)",
        instead: "guarded(self.turn.take(), LATE * 3600, open)",
        test: KAFKA.test("stuck::a_producer_that_is_never_opened_keeps_no_partition"),
    },
    Mutant {
        name: "kafka-purge",
        without: "what was given up is sent later",
        file: "outbox-kafka/src/call.rs",
        text: "client.purge(self.deadline).await;",
        instead: "",
        test: KAFKA.test("faults::what_has_not_been_sent_by_the_deadline_never_is"),
    },
    Mutant {
        name: "kafka-in-flight",
        without: "what may be written already counts as not sent",
        file: "outbox-kafka/src/outcome.rs",
        text: "Code::PurgeQueue if calm => {",
        instead: "Code::PurgeQueue | Code::PurgeInflight => {",
        test: KAFKA.test("faults::what_waits_to_be_sent_again_is_unknown"),
    },
    Mutant {
        name: "kafka-topics",
        without: "a message to no topic loops",
        file: "outbox-kafka/src/publisher.rs",
        text: "call.look_up(&self.topics).await;",
        instead: "",
        test: KAFKA.test("topics::an_unknown_topic_is_rejected_and_others_are_not_affected"),
    },
    Mutant {
        name: "nats-confirms",
        without: "what was handed over counts as delivered",
        file: "outbox-nats/src/call.rs",
        text: "self.subjects[subject].pending += 1;",
        instead: "self.subjects[subject].pending += 1;\n                outcomes[index] = Outcome::Delivered;",
        test: NATS.test("oldest::faults::a_cut_connection_leaves_unknown_what_was_not_answered"),
    },
    Mutant {
        name: "nats-message-id",
        without: "a message that is sent again is stored again",
        file: "outbox-nats/src/mapping.rs",
        text: "map.insert(NATS_MESSAGE_ID, message.id().to_string());",
        instead: "",
        test: NATS
            .test("oldest::answers::a_duplicate_is_delivered_and_after_the_window_stored_again"),
    },
    Mutant {
        name: "nats-refusals",
        without: "what JetStream refuses counts as delivered",
        file: "outbox-nats/src/outcome.rs",
        text: "None => Answer::Outcome(refused(&error, reason)),",
        instead: "None => Answer::Outcome(Outcome::Delivered),",
        test: NATS.test("oldest::limits::a_sealed_stream_rejects"),
    },
    Mutant {
        name: "kafka-fence-register",
        without: "a relay that has lost its partition writes on with a new producer",
        file: "outbox-kafka/src/fence.rs",
        text: "Some(epoch) if epoch > self.token.epoch => {",
        instead: "Some(epoch) if epoch > self.token.epoch && epoch.0 < 0 => {",
        test: KAFKA.test("fencing::what_a_former_owner_sends_after_its_successor_is_refused"),
    },
    Mutant {
        name: "kafka-fence-id",
        without: "a relay that has lost its partition ends the transaction that it is in",
        file: "outbox-kafka/src/fence.rs",
        text: "options::producer(&self.config, Some(&claim.id))",
        instead: "options::producer(&self.config, Some(&uuid::Uuid::new_v4().to_string()))",
        test: KAFKA.test("fencing::a_successor_ends_what_its_predecessor_is_in_the_middle_of"),
    },
    Mutant {
        name: "nats-fence",
        without: "a relay that has lost its partition sends on",
        file: "outbox-nats/src/mapping.rs",
        text: "self.headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string());\n        self.headers.insert(EXPECTED_SUBJECT, subject);",
        instead: "let _ = (sequence, subject, EXPECTED_SUBJECT);",
        test: NATS.test("standstill::a_relay_that_stood_still_beyond_its_lease_breaks_no_order"),
    },
    Mutant {
        name: "nats-fence-epoch",
        without: "a relay that has lost its partition claims it again",
        file: "outbox-nats/src/claim.rs",
        text: "if theirs > ours {",
        instead: "if false {",
        test: NATS.test("fencing::a_former_owner_is_refused_after_its_successor"),
    },
    Mutant {
        name: "nats-fence-order",
        without: "what is refused for a moment is overtaken by what follows it",
        file: "outbox-nats/src/rounds.rs",
        text: "lanes.insert((message.topic(), key))",
        instead: "lanes.insert((message.topic(), key)) || true",
        test: NATS.test("replicated::a_stream_with_replicas_keeps_the_order_of_a_key"),
    },
    Mutant {
        name: "rabbitmq-mandatory",
        without: "what no queue takes is confirmed and dropped",
        file: "outbox-rabbitmq/src/flight.rs",
        text: "mandatory: true",
        instead: "mandatory: false",
        test: RABBITMQ.test("destination::what_no_queue_takes_is_rejected"),
    },
    Mutant {
        name: "rabbitmq-confirms",
        without: "what was written counts as delivered",
        file: "outbox-rabbitmq/src/flight.rs",
        text: "*outcome = Outcome::Unknown;",
        instead: "*outcome = Outcome::Delivered;",
        test: RABBITMQ.test("restart::a_broker_that_stands_still_makes_it_unknown_at_the_deadline"),
    },
    Mutant {
        name: "rabbitmq-nack",
        without: "a refusal counts like a confirmation",
        file: "outbox-rabbitmq/src/record.rs",
        text: "self.is(n, Outcome::Failed(reason.into()));",
        instead: "let _ = reason;\n                self.is(n, Outcome::Delivered);",
        test: RABBITMQ.test("queue::what_a_full_queue_refuses_has_failed"),
    },
    Mutant {
        name: "rabbitmq-blocked",
        without: "messages are sent to a broker that takes none",
        file: "outbox-rabbitmq/src/publisher.rs",
        text: "if link.is_blocked() {",
        instead: "if false {",
        test: RABBITMQ.test("alarm::while_the_broker_blocks_nothing_is_sent"),
    },
    Mutant {
        name: "redis-wait",
        without: "what replicas must have counts as delivered without them",
        file: "outbox-redis/src/call.rs",
        text: "if have >= self.config.wait_replicas {",
        instead: "if have <= u32::MAX {",
        test: REDIS.test("replicas::delivered_can_mean_that_replicas_have_it"),
    },
    Mutant {
        name: "redis-lost",
        without: "what a lost connection did not answer counts as answered",
        file: "outbox-redis/src/outcome.rs",
        text: "return Reply::unusable(Outcome::Unknown)",
        instead: "return Reply::unusable(Outcome::Delivered)",
        test: REDIS.test("faults::a_cut_connection_leaves_unknown_what_was_not_answered"),
    },
    Mutant {
        name: "redis-given-up",
        without: "a message is handed over after the deadline",
        file: "outbox-redis/src/call.rs",
        text: "Ok(()) if Instant::now() >= self.deadline => true,",
        instead: "",
        test: REDIS.test("faults::nothing_is_sent_after_the_deadline"),
    },
    Mutant {
        name: "sqs-entries",
        without: "the status of a request counts for all its messages",
        file: "outbox-sqs/src/publisher.rs",
        text: "(index(entry.id()), outcome::entry(entry)));",
        instead: "(index(entry.id()), delivered()));",
        test: SQS.test("faults::each_entry_of_an_answer_counts_for_itself"),
    },
    Mutant {
        name: "sqs-unknown",
        without: "what was sent and not answered counts as not sent",
        file: "outbox-sqs/src/publisher.rs",
        text: "Err(_) if handed.is_set() => Vec::new(),",
        instead: "",
        test: SQS.test("faults::late_answers_are_waited_for_until_the_deadline"),
    },
    Mutant {
        name: "sqs-cut",
        without: "what was given up is sent later",
        file: "outbox-sqs/src/http.rs",
        text: "drop(lock(&socket).take());",
        instead: "drop(socket);",
        test: SQS.test("unsent::a_request_that_is_given_up_is_cut_off_at_once"),
    },
];
