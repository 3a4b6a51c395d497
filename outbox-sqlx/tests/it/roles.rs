//! Databases with roles, and an outbox whose work is shared among them.

use outbox_core::StoreError;
use outbox_sqlx::{Duty, Identifier, Names, Outbox, OutboxConfig, Store, grants};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::{MySql, Pool, Postgres};
use uuid::Uuid;

use crate::support::{self, Bed, Kind, Place};

/// A database with roles.
pub(crate) trait Rights: Kind {
    /// The codes by which it refuses what one may not do.
    const REFUSED: &'static [&'static str];

    fn create(role: &str) -> String;

    fn drop(role: &str) -> String;

    fn schema(name: &str) -> String;

    /// Connects as `role`.
    fn connect(place: &Place<Self>, role: &str) -> Pool<Self>;
}

impl Rights for Postgres {
    const REFUSED: &'static [&'static str] = &["42501"];

    fn create(role: &str) -> String {
        format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    }

    fn drop(role: &str) -> String {
        format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
    }

    fn schema(name: &str) -> String {
        format!("CREATE SCHEMA {name}")
    }

    fn connect(place: &Place<Self>, role: &str) -> Pool<Self> {
        let options = (*place.pool.connect_options()).clone();
        let options = options.username(role).password("secret");
        PgPoolOptions::new().connect_lazy_with(options)
    }
}

impl Rights for MySql {
    // For a table, for a column, for a database, for a procedure.
    const REFUSED: &'static [&'static str] = &["1142", "1143", "1044", "1370"];

    fn create(role: &str) -> String {
        format!("CREATE USER {role} IDENTIFIED BY 'secret'")
    }

    fn drop(role: &str) -> String {
        format!("DROP USER {role}")
    }

    fn schema(name: &str) -> String {
        format!("CREATE DATABASE {name}")
    }

    fn connect(place: &Place<Self>, role: &str) -> Pool<Self> {
        let options = (*place.pool.connect_options()).clone();
        let options = options.username(role).password("secret").database("information_schema");
        MySqlPoolOptions::new().connect_lazy_with(options)
    }
}

/// An outbox, and a role for each part of the work.
pub(crate) struct Shared<DB: Rights> {
    /// Whose pool is the administrator's.
    pub(crate) bed: Bed<DB>,
    roles: Vec<(Duty, Identifier, Pool<DB>)>,
}

const DUTIES: [(Duty, &str); 4] =
    [(Duty::Migrate, "mig"), (Duty::Enqueue, "app"), (Duty::Relay, "rel"), (Duty::Operate, "ops")];

impl<DB: Rights> Shared<DB> {
    /// Migrated by the role that does that, with four partitions.
    pub(crate) async fn new(place: Place<DB>) -> Self {
        let schema = place.names.schema.clone().unwrap();
        let roles = DUTIES.map(|(duty, name)| {
            // Names of MySQL's users have up to 32 characters.
            let unique = Uuid::new_v4().simple().to_string();
            let role = Identifier::new(&format!("t_{name}_{}", &unique[..16])).unwrap();
            let pool = DB::connect(&place, role.as_str());
            (duty, role, pool)
        });
        DB::sql(&place.pool, DB::schema(schema.as_str())).await.unwrap();
        for (_, role, _) in &roles {
            DB::sql(&place.pool, DB::create(role.as_str())).await.unwrap();
        }
        let [(_, migrator, pool), ..] = &roles;
        for grant in grants(DB::DIALECT, &place.names, Duty::Migrate, migrator).unwrap() {
            DB::sql(&place.pool, grant).await.unwrap();
        }
        let config = OutboxConfig { partitions: 4, ..OutboxConfig::named(place.names.clone()) };
        Outbox::<DB>::migrate_with(pool, &config).await.unwrap();
        let shared = Self { bed: Bed::new(place).await, roles: roles.into() };
        for (duty, _) in &DUTIES[1..] {
            for grant in shared.grants(*duty) {
                shared.bed.execute(grant).await;
            }
        }
        shared
    }

    pub(crate) fn names(&self) -> &Names {
        &self.bed.place.names
    }

    pub(crate) fn role(&self, duty: Duty) -> &(Duty, Identifier, Pool<DB>) {
        // Who receives is who enqueues.
        let duty = if duty == Duty::Receive { Duty::Enqueue } else { duty };
        self.roles.iter().find(|role| role.0 == duty).unwrap()
    }

    pub(crate) fn pool(&self, duty: Duty) -> &Pool<DB> {
        &self.role(duty).2
    }

    pub(crate) fn grants(&self, duty: Duty) -> Vec<String> {
        grants(DB::DIALECT, self.names(), duty, &self.role(duty).1).unwrap()
    }

    pub(crate) async fn outbox(&self, duty: Duty) -> Result<Outbox<DB>, outbox_sqlx::Error> {
        let config = OutboxConfig::named(self.names().clone());
        Outbox::open_with(self.pool(duty), config).await
    }

    pub(crate) async fn store(&self, duty: Duty) -> Result<Store<DB>, StoreError> {
        let config = outbox_sqlx::StoreConfig { names: self.names().clone(), ..<_>::default() };
        Store::open(outbox_sqlx::SqlxDriver::like(self.pool(duty)), config).await
    }

    /// The role of that duty may not do this.
    pub(crate) async fn refuses(&self, duty: Duty, sql: &str) {
        let done = DB::sql(self.pool(duty), sql.to_owned()).await;
        let error = done.expect_err(&format!("{duty:?} may do this: {sql}"));
        let code = outbox_sqlx::driver_error(DB::DIALECT, error);
        assert!(DB::REFUSED.contains(&code.code().unwrap_or_default()), "{sql}: {code:?}");
    }

    /// Removes the roles.
    pub(crate) async fn close(self) {
        for (_, role, pool) in &self.roles {
            pool.close().await;
            self.bed.execute(DB::drop(role.as_str())).await;
        }
    }
}

pub(crate) async fn postgres() -> Shared<Postgres> {
    Shared::new(support::postgres_place().await).await
}

pub(crate) async fn newest_postgres() -> Shared<Postgres> {
    Shared::new(support::newest_postgres_place().await).await
}

pub(crate) async fn mariadb() -> Shared<MySql> {
    Shared::new(support::mariadb_place().await).await
}
