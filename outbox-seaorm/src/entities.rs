//! The tables as entities, to look at: what waits, and the dead letters.
//!
//! They have the default names. Their column types differ between the databases, so each has a
//! module of its own. Saving and deleting models is refused: rows are written by enqueueing, and
//! removed by a relay; a row that anybody else removes is a message lost.
//!
//! ```
//! # #[cfg(feature = "postgres")]
//! # async fn example(db: sea_orm::DatabaseConnection) -> Result<(), sea_orm::DbErr> {
//! use outbox_seaorm::entities::postgres::{outbox, outbox_dead};
//! use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder};
//!
//! let waiting = outbox::Entity::find().count(&db).await?;
//! let dead = outbox_dead::Entity::find()
//!     .filter(outbox_dead::Column::Topic.eq("orders"))
//!     .order_by_desc(outbox_dead::Column::DiedAt)
//!     .all(&db)
//!     .await?;
//! # Ok(())
//! # }
//! ```

use sea_orm::DbErr;

/// PostgreSQL.
#[cfg(feature = "postgres")]
pub mod postgres {
    /// A key.
    pub type Key = String;
    /// An array of pairs of a name and a value.
    pub type Headers = sea_orm::prelude::Json;
    /// A moment.
    pub type Time = sea_orm::prelude::TimeDateTimeWithTimeZone;

    super::entities!();
}

/// MySQL and MariaDB.
#[cfg(feature = "mysql")]
pub mod mysql {
    /// A key, in UTF-8; its column is binary, so that keys compare as bytes.
    pub type Key = Vec<u8>;
    /// JSON: an array of pairs of a name and a value.
    pub type Headers = String;
    /// A moment, in UTC.
    pub type Time = sea_orm::prelude::TimeDateTime;

    super::entities!();
}

/// SQLite.
#[cfg(feature = "sqlite")]
pub mod sqlite {
    /// A key.
    pub type Key = String;
    /// JSON: an array of pairs of a name and a value.
    pub type Headers = String;
    /// A moment, in microseconds since 1970.
    pub type Time = i64;

    super::entities!();
}

#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
macro_rules! entities {
    () => {
        /// What waits to be published.
        pub mod outbox {
            use sea_orm::entity::prelude::*;

            use super::{Headers, Key, Time};

            /// A message that waits.
            #[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = "outbox")]
            pub struct Model {
                /// Its partition.
                #[sea_orm(primary_key, auto_increment = false)]
                pub partition_no: i16,
                /// Its place in the outbox.
                #[sea_orm(primary_key, auto_increment = false)]
                pub seq: i64,
                /// Its id, the same over every retry.
                pub id: Uuid,
                /// Where it goes.
                pub topic: String,
                /// Messages of one key keep their order.
                pub message_key: Option<Key>,
                /// What kind of message it is.
                pub message_type: Option<String>,
                /// The media type of the payload.
                pub content_type: String,
                /// The payload.
                pub payload: Vec<u8>,
                /// Its headers.
                pub headers: Headers,
                /// When it was made.
                pub created_at: Time,
                /// How often publishing it has failed.
                pub attempts: i32,
                /// When it is tried again, if it has failed.
                pub retry_at: Option<Time>,
                /// Why it failed the last time.
                pub last_error: Option<String>,
            }

            crate::entities::read_only!();
        }

        /// The dead letters.
        pub mod outbox_dead {
            use sea_orm::entity::prelude::*;

            use super::{Headers, Key, Time};

            /// A message that was given up.
            #[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = "outbox_dead")]
            pub struct Model {
                /// Counts the dead letters.
                #[sea_orm(primary_key)]
                pub dead_no: i64,
                /// The partition that it was in.
                pub partition_no: i16,
                /// The place that it had in the outbox.
                pub seq: i64,
                /// Its id.
                pub id: Uuid,
                /// Where it was to go.
                pub topic: String,
                /// Its key.
                pub message_key: Option<Key>,
                /// What kind of message it is.
                pub message_type: Option<String>,
                /// The media type of the payload.
                pub content_type: String,
                /// The payload.
                pub payload: Vec<u8>,
                /// Its headers.
                pub headers: Headers,
                /// When it was made.
                pub created_at: Time,
                /// How often publishing it has failed.
                pub attempts: i32,
                /// Why it was given up.
                pub error: String,
                /// When it was given up.
                pub died_at: Time,
                /// The message that its lane is parked behind: itself, or one that it waits for.
                pub parked_behind: Option<Uuid>,
            }

            crate::entities::read_only!();
        }
    };
}

#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
macro_rules! read_only {
    () => {
        /// Without the payload and what else could be secret.
        impl std::fmt::Debug for Model {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("Model")
                    .field("partition_no", &self.partition_no)
                    .field("seq", &self.seq)
                    .field("id", &self.id)
                    .field("topic", &self.topic)
                    .field("attempts", &self.attempts)
                    .finish_non_exhaustive()
            }
        }

        /// Nothing belongs to it.
        #[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
        pub enum Relation {}

        #[async_trait::async_trait]
        impl ActiveModelBehavior for ActiveModel {
            async fn before_save<C: ConnectionTrait>(self, _: &C, _: bool) -> Result<Self, DbErr> {
                Err(crate::entities::refused())
            }

            async fn before_delete<C: ConnectionTrait>(self, _: &C) -> Result<Self, DbErr> {
                Err(crate::entities::refused())
            }
        }
    };
}

#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
pub(crate) use {entities, read_only};

fn refused() -> DbErr {
    DbErr::Custom("the outbox's rows are written by enqueueing and removed by a relay".to_owned())
}
