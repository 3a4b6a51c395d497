//! Who may do what: the rights with which each part of the work is done, and no others.

use std::fmt::Write as _;

use outbox_core::{StoreError, StoreErrorKind};

use crate::enqueue::COLUMNS;
use crate::migrate::quoted;
use crate::name::Tables;
use crate::{Dialect, Identifier, Names, VERSION};

/// A part of the work on an outbox, which may have a role of the database's for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Creates the tables, and on PostgreSQL owns them: it needs its rights before they are there.
    Migrate,
    /// Enqueues: services, and programs in other languages.
    Enqueue,
    /// Receives: the inbox of a service, for which it needs the rights to enqueue, too.
    Receive,
    /// Relays.
    Relay,
    /// Reads how the outbox stands, and looks after dead letters.
    Operate,
}

/// The roles (on MySQL and MariaDB, also users at any host) that share the work on an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    /// Migrates; `outbox_migrator`, unless set.
    pub migrator: Identifier,
    /// Enqueues; `outbox_application`, unless set.
    pub application: Identifier,
    /// The application receives, too, through the inbox; it doesn't, unless set.
    pub inbox: bool,
    /// Relays; `outbox_relay`, unless set.
    pub relay: Identifier,
    /// Looks after dead letters; `outbox_operator`, unless set.
    pub operator: Identifier,
}

impl Default for Roles {
    fn default() -> Self {
        let named = |name| Identifier::found(&format!("outbox_{name}"));
        Self {
            migrator: named("migrator"),
            application: named("application"),
            inbox: false,
            relay: named("relay"),
            operator: named("operator"),
        }
    }
}

/// The statements that give `role` the rights that `duty` needs. On PostgreSQL, an outbox without a
/// schema is taken to be in `public`; on MySQL and MariaDB, in the database in use.
///
/// SQLite, where who may write the file may do everything, is an error.
pub fn grants(
    dialect: Dialect,
    names: &Names,
    duty: Duty,
    role: &Identifier,
) -> Result<Vec<String>, StoreError> {
    let rights = match dialect {
        Dialect::Postgres => postgres(names, duty),
        Dialect::MySql => mysql(names, duty),
        Dialect::Sqlite => {
            let context = "SQLite has no roles: who may write the file may do everything";
            return Err(StoreError::new(StoreErrorKind::Schema, context));
        }
    };
    let role = quoted(dialect, role);
    Ok(rights.into_iter().map(|right| format!("GRANT {right} TO {role}")).collect())
}

/// The [`grants`] of all roles as plain SQL, for whoever owns the schema.
pub fn grants_script(dialect: Dialect, names: &Names, roles: &Roles) -> Result<String, StoreError> {
    let mut script = format!(
        "-- Rights on the outbox `{names}` in {}, version {VERSION}. The roles must exist.\n",
        dialect.name()
    );
    let (application, receive) = (&roles.application, roles.inbox.then_some(Duty::Receive));
    for (what, duty, role) in [
        ("Before the migration: who migrates.", Some(Duty::Migrate), &roles.migrator),
        ("After it: who enqueues.", Some(Duty::Enqueue), application),
        ("Who receives through the inbox, in addition.", receive, application),
        ("Who relays.", Some(Duty::Relay), &roles.relay),
        ("Who looks after dead letters.", Some(Duty::Operate), &roles.operator),
    ] {
        let Some(duty) = duty else { continue };
        writeln!(script, "\n-- {what}").expect("a string");
        for grant in grants(dialect, names, duty, role)? {
            writeln!(script, "{grant};").expect("a string");
        }
    }
    Ok(script)
}

/// The columns of a parked lane.
const LANE: &str = "partition_no, message_key, id, topic";

/// What an operator writes, beside what the servers see differently.
fn operates(tables: &Tables) -> Vec<String> {
    let Tables { outbox, partition, lease, relay, meta, audit, .. } = tables;
    vec![
        // Who puts a parked lane back gives its messages the places that they had.
        format!("SELECT (partition_no, created_at), INSERT (seq, {COLUMNS}) ON {outbox}"),
        format!("SELECT, UPDATE (generation) ON {partition}"),
        format!("SELECT, INSERT (done_by, action, meant, messages) ON {audit}"),
        format!("SELECT ON {lease}"),
        format!("SELECT ON {relay}"),
        format!("SELECT ON {meta}"),
    ]
}

/// What a relay does on every server.
fn relays(tables: &Tables) -> Vec<String> {
    let Tables { outbox, dead, partition, lease, relay, meta, .. } = tables;
    let known = "id, partition_no, seq, parked_behind";
    let buried = format!("seq, {COLUMNS}, attempts, error, parked_behind");
    vec![
        format!("SELECT, UPDATE (attempts, retry_at, last_error), DELETE ON {outbox}"),
        format!("SELECT ({known}), INSERT ({buried}) ON {dead}"),
        format!("SELECT ON {partition}"),
        format!("SELECT, UPDATE (owner, epoch, ttl, expires_at) ON {lease}"),
        // To insert or else update, MariaDB wants more than the columns that change.
        format!("SELECT, INSERT, UPDATE, DELETE ON {relay}"),
        format!("SELECT ON {meta}"),
    ]
}

fn postgres(names: &Names, duty: Duty) -> Vec<String> {
    let tables = Tables::new(Dialect::Postgres, names);
    let Tables { outbox, dead, parked, meta, sequence, inbox, .. } = &tables;
    let public = Identifier::found("public");
    let schema = quoted(Dialect::Postgres, names.schema.as_ref().unwrap_or(&public));
    let enter = format!("USAGE ON SCHEMA {schema}");
    match duty {
        Duty::Migrate => vec![format!("USAGE, CREATE ON SCHEMA {schema}")],
        // Nobody may give a number (`seq`): see the schema. The function returns the id.
        Duty::Enqueue => vec![
            enter,
            format!("INSERT ({COLUMNS}), SELECT (id) ON {outbox}"),
            format!("SELECT ON {meta}"),
            format!("USAGE ON SEQUENCE {sequence}"),
        ],
        // What is purged is locked first, for which one must be allowed to change something.
        Duty::Receive => {
            let lock = "UPDATE (received_at)";
            vec![format!("SELECT, INSERT (consumer, message_id), {lock}, DELETE ON {inbox}")]
        }
        Duty::Relay => {
            // To lock a parked lane, one must be allowed to change something.
            let park = format!("SELECT, INSERT ({LANE}), UPDATE (topic) ON {parked}");
            [vec![enter, park], relays(&tables)].concat()
        }
        Duty::Operate => {
            let rights = vec![
                enter,
                format!("USAGE ON SEQUENCE {sequence}"),
                // To lock, again: PostgreSQL lets nobody change a number that it has made itself.
                format!("SELECT, UPDATE (dead_no), DELETE ON {dead}"),
                format!("SELECT, UPDATE (topic), DELETE ON {parked}"),
            ];
            [rights, operates(&tables)].concat()
        }
    }
}

fn mysql(names: &Names, duty: Duty) -> Vec<String> {
    let tables = Tables::new(Dialect::MySql, names);
    let Tables { outbox, dead, parked, meta, inbox, flush, enqueue, .. } = &tables;
    match duty {
        // Who has made a procedure may change it; who may not make any can't migrate.
        Duty::Migrate => {
            let database = names.schema.as_ref().map(|name| quoted(Dialect::MySql, name) + ".");
            let all = "CREATE, SELECT, INSERT, UPDATE, CREATE ROUTINE, ALTER ROUTINE";
            vec![format!("{all} ON {}*", database.unwrap_or_default())]
        }
        Duty::Enqueue => vec![
            format!("EXECUTE ON PROCEDURE {enqueue}"),
            format!("INSERT ({COLUMNS}) ON {outbox}"),
            format!("SELECT ON {meta}"),
        ],
        Duty::Receive => {
            let columns = "SELECT (received_at), INSERT (consumer, message_id)";
            vec![format!("{columns}, DELETE ON {inbox}")]
        }
        Duty::Relay => {
            let durable = format!("SELECT (number), UPDATE (number) ON {flush}");
            let park = format!("SELECT, INSERT ({LANE}), UPDATE ON {parked}");
            [vec![durable, park], relays(&tables)].concat()
        }
        Duty::Operate => {
            let rights =
                vec![format!("SELECT, DELETE ON {dead}"), format!("SELECT, DELETE ON {parked}")];
            [rights, operates(&tables)].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_is_in_the_script_and_the_inbox_if_it_is_wanted() {
        let schema = Some(Identifier::new("billing").unwrap());
        let names = Names { schema, ..Names::default() };
        let roles = Roles { relay: Identifier::new("order").unwrap(), ..Roles::default() };
        let script = |inbox| {
            let roles = Roles { inbox, ..roles.clone() };
            grants_script(Dialect::Postgres, &names, &roles).unwrap()
        };
        for role in ["outbox_migrator", "outbox_application", "order", "outbox_operator"] {
            assert!(script(false).contains(&format!(" TO \"{role}\";\n")), "{role}");
        }
        let inbox = "ON \"billing\".\"outbox_inbox\" TO \"outbox_application\"";
        assert!(!script(false).contains(inbox));
        assert!(script(true).contains(inbox));
    }

    #[test]
    fn an_outbox_without_a_schema_is_where_the_database_looks_first() {
        let role = Identifier::new("migrator").unwrap();
        let of = |dialect| grants(dialect, &Names::default(), Duty::Migrate, &role);
        let postgres = of(Dialect::Postgres).unwrap();
        assert_eq!(postgres, ["GRANT USAGE, CREATE ON SCHEMA \"public\" TO \"migrator\""]);
        assert!(of(Dialect::MySql).unwrap()[0].ends_with(" ON * TO `migrator`"));
        assert!(of(Dialect::Sqlite).is_err());
    }
}
