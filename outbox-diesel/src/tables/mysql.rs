//! On MySQL and MariaDB.

diesel::table! {
    /// What is pending.
    outbox (partition_no, seq) {
        /// The partition that its key belongs to.
        partition_no -> SmallInt,
        /// Its place in the order.
        seq -> BigInt,
        /// The message id, sixteen bytes.
        id -> Binary,
        /// Where it goes.
        topic -> Text,
        /// Messages of one key keep their order: its bytes.
        message_key -> Nullable<Binary>,
        /// What kind of event it is.
        message_type -> Nullable<Text>,
        /// The media type of the payload.
        content_type -> Text,
        /// Opaque bytes.
        payload -> Binary,
        /// Name and value pairs as JSON.
        headers -> Text,
        /// When the producer made it.
        created_at -> Datetime,
        /// How large the payload is.
        payload_bytes -> BigInt,
        /// How often it was tried.
        attempts -> Integer,
        /// When it is tried again.
        retry_at -> Nullable<Datetime>,
        /// Why it failed last.
        last_error -> Nullable<Text>,
    }
}

diesel::table! {
    /// Dead letters.
    outbox_dead (dead_no) {
        /// Its place in the order in which they died.
        dead_no -> BigInt,
        /// The partition that its key belongs to.
        partition_no -> SmallInt,
        /// Its place in the order when it was pending.
        seq -> BigInt,
        /// The message id, sixteen bytes.
        id -> Binary,
        /// Where it was to go.
        topic -> Text,
        /// Messages of one key keep their order: its bytes.
        message_key -> Nullable<Binary>,
        /// What kind of event it is.
        message_type -> Nullable<Text>,
        /// The media type of the payload.
        content_type -> Text,
        /// Opaque bytes.
        payload -> Binary,
        /// Name and value pairs as JSON.
        headers -> Text,
        /// When the producer made it.
        created_at -> Datetime,
        /// How often it was tried.
        attempts -> Integer,
        /// Why it died.
        error -> Text,
        /// When it died.
        died_at -> Datetime,
        /// The message that its lane is parked behind.
        parked_behind -> Nullable<Binary>,
    }
}
