//! Each role's rights are enough, and none is too many.

use std::error::Error;
use std::time::Duration;

use outbox_core::{
    Admin as _, DeadChange, DeadFilter, Fate, LeaseRequest, SettleRequest, Store as _,
    VerdictAnswer,
};
use outbox_sqlx::{Dialect, Duty, Identifier, Names, Outbox, OutboxConfig, Receipt, grants};
use sqlx::{MySql, Postgres};

use crate::producers::documented;
use crate::roles::{self, Rights, Shared};
use crate::support::{
    Bed, Kind as _, fetch_all, lease_request, mariadb_place, relay, row_ref, verdict,
};

type Done = Result<(), Box<dyn Error + Send + Sync>>;

/// Does all that the duty is.
async fn work<DB: Rights>(shared: &Shared<DB>, duty: Duty) -> Done {
    match duty {
        Duty::Migrate => unreachable!("it was done before"),
        Duty::Enqueue => enqueue(shared).await,
        Duty::Receive => receive(shared).await,
        Duty::Relay => relay_all(shared).await,
        Duty::Operate => operate(shared).await,
    }
}

async fn enqueue<DB: Rights>(shared: &Shared<DB>) -> Done {
    let (pool, outbox) = (shared.pool(Duty::Enqueue), shared.outbox(Duty::Enqueue).await?);
    let mut tx = outbox.begin(pool).await?;
    tx.emit(crate::support::message("a"))?;
    tx.commit().await?;
    let routine = shared.bed.table("_enqueue");
    let call = match DB::DIALECT {
        Dialect::Postgres => format!("SELECT {routine}('orders', 'x')"),
        _ => format!("CALL {routine}('orders', NULL, NULL, NULL, 'x', NULL, NULL)"),
    };
    DB::sql(pool, call).await?;
    Ok(())
}

async fn receive<DB: Rights>(shared: &Shared<DB>) -> Done {
    let (pool, outbox) = (shared.pool(Duty::Receive), shared.outbox(Duty::Receive).await?);
    let inbox = outbox.inbox();
    let mut tx = outbox.begin(pool).await?;
    // Another each time: where one may not purge, the last is still there.
    let id = uuid::Uuid::now_v7().to_string();
    assert_eq!(inbox.accept(&mut tx, "billing", &id).await?, Receipt::First);
    assert_eq!(inbox.accept(&mut tx, "billing", &id).await?, Receipt::Duplicate);
    tx.commit().await?;
    let purged = inbox.purge(&mut *pool.acquire().await?, Duration::ZERO, 10).await?;
    assert!(purged > 0);
    Ok(())
}

/// Removes what work that was refused halfway has left behind.
async fn start_over<DB: Rights>(bed: &Bed<DB>) {
    for table in ["", "_dead", "_parked"] {
        bed.execute(format!("DELETE FROM {}", bed.table(table))).await;
    }
    bed.execute(format!("UPDATE {} SET owner = NULL, expires_at = NULL", bed.table("_lease")))
        .await;
}

async fn relay_all<DB: Rights>(shared: &Shared<DB>) -> Done {
    let bed = &shared.bed;
    start_over(bed).await;
    let me = relay();
    bed.enqueue(&["a", "a", "a"]).await;
    let store = shared.store(Duty::Relay).await?;
    let report = store.lease(&lease_request(me, &[0, 1, 2, 3])).await?;
    let rows = store.fetch(&fetch_all()).await?.rows;
    let epoch = report.leases[usize::from(rows[0].partition.0)].epoch;
    let fates = [Fate::Retry(Duration::ZERO), Fate::Dead];
    let verdicts = rows.iter().zip(fates).map(|(row, fate)| verdict(row, epoch, 1, fate));
    let verdicts = verdicts.collect();
    let delivered = vec![row_ref(&rows[2])];
    let settled = store.settle(&SettleRequest { relay: me, delivered, verdicts }).await?;
    assert_eq!(settled.verdicts, [VerdictAnswer::Applied; 2]);
    bed.enqueue(&["b", "b"]).await;
    let mut request = fetch_all();
    request.reads.iter_mut().for_each(|read| read.parked = true);
    let rows = store.fetch(&request).await?.rows;
    let mut lane = rows.iter().filter(|row| row.message.key() == Some("b"));
    let (head, follower) = (lane.next().unwrap(), lane.next().unwrap());
    let fate = Fate::Parked { behind: head.message.id() };
    let epoch = report.leases[usize::from(head.partition.0)].epoch;
    // The second time as if the answer to the first had been lost.
    for row in [head, follower, head] {
        let verdicts = vec![verdict(row, epoch, 1, fate)];
        let request = SettleRequest { relay: me, delivered: vec![], verdicts };
        let settled = store.settle(&request).await?;
        assert_eq!(settled.verdicts, [VerdictAnswer::Applied]);
    }
    store.lease(&LeaseRequest { leaving: true, ..lease_request(me, &[]) }).await?;
    Ok(())
}

async fn operate<DB: Rights>(shared: &Shared<DB>) -> Done {
    let bed = &shared.bed;
    start_over(bed).await;
    let me = relay();
    bed.enqueue(&["a", "a", "b", "b"]).await;
    let report = bed.lease(me, &[0, 1, 2, 3]).await;
    let rows = bed.all().await;
    let head = rows.iter().find(|row| row.message.key() == Some("b")).unwrap().message.id();
    for row in &rows {
        let epoch = report.leases[usize::from(row.partition.0)].epoch;
        let parked = row.message.key() == Some("b");
        let fate = if parked { Fate::Parked { behind: head } } else { Fate::Dead };
        bed.decide(me, vec![verdict(row, epoch, 1, fate)]).await;
    }
    let store = shared.store(Duty::Operate).await?;
    let dead = store.dead_letters(&DeadFilter::default(), 100).await?;
    let stats = store.stats().await?;
    assert_eq!((stats.dead, stats.parked, dead.len()), (3, 1, 4));
    let by_key = |key: &str| DeadFilter { key: Some(key.into()), ..DeadFilter::default() };
    let change = |key| DeadChange { limit: 1, ..DeadChange::new("test", by_key(key)) };
    assert_eq!(store.redrive(&change("a")).await?, 1);
    assert_eq!(store.redrive(&change("b")).await?, 2);
    store.discard(&change("a")).await?;
    assert!(!store.audit(1).await?.is_empty());
    store.purge(Duration::ZERO, 100).await?;
    Ok(())
}

/// What `GRANT a, b (c, d) ON t TO r` gives, one by one, as `a` and `b (c, d)`; and `t`, and `r`.
fn privileges(grant: &str) -> (Vec<String>, &str, &str) {
    let (all, rest) = grant.strip_prefix("GRANT ").unwrap().split_once(" ON ").unwrap();
    let (object, role) = rest.split_once(" TO ").unwrap();
    let mut privileges: Vec<String> = Vec::new();
    for part in all.split(", ") {
        match privileges.last_mut() {
            Some(last) if last.contains('(') && !last.contains(')') => {
                *last = format!("{last}, {part}");
            }
            _ => privileges.push(part.to_owned()),
        }
    }
    (privileges, object, role)
}

async fn none_is_too_many<DB: Rights>(shared: Shared<DB>) {
    for grant in shared.grants(Duty::Receive) {
        shared.bed.execute(grant).await;
    }
    for duty in [Duty::Enqueue, Duty::Receive, Duty::Relay, Duty::Operate] {
        work(&shared, duty).await.unwrap_or_else(|error| panic!("{duty:?}: {error:?}"));
        for grant in shared.grants(duty) {
            let (privileges, object, role) = privileges(&grant);
            for privilege in privileges {
                let execute = |sql| shared.bed.execute(sql);
                execute(format!("REVOKE {privilege} ON {object} FROM {role}")).await;
                let done = work(&shared, duty).await;
                assert!(done.is_err(), "{duty:?} doesn't need {privilege} ON {object}");
                execute(format!("GRANT {privilege} ON {object} TO {role}")).await;
            }
        }
        work(&shared, duty).await.unwrap();
    }
    shared.close().await;
}

#[tokio::test]
async fn none_is_too_many_on_postgres() {
    none_is_too_many(roles::postgres().await).await;
}

#[tokio::test]
async fn none_is_too_many_on_the_newest_postgres() {
    none_is_too_many(roles::newest_postgres().await).await;
}

#[tokio::test]
async fn none_is_too_many_on_mariadb() {
    none_is_too_many(roles::mariadb().await).await;
}

/// What would let one do another's work, or read what is none of one's business.
async fn others_work_is_refused<DB: Rights>(shared: Shared<DB>) {
    let table = |suffix| shared.bed.table(suffix);
    let (outbox, dead, lease, meta) = (table(""), table("_dead"), table("_lease"), table("_meta"));
    let inbox = table("_inbox");
    let mine = shared.bed.beside("mine");
    let all = [Duty::Enqueue, Duty::Relay, Duty::Operate];
    for duty in all {
        for tables in [&outbox, &dead, &lease, &meta, &inbox] {
            shared.refuses(duty, &format!("DROP TABLE {tables}")).await;
            shared.refuses(duty, &format!("ALTER TABLE {tables} ADD COLUMN more int")).await;
            shared.refuses(duty, &format!("TRUNCATE TABLE {tables}")).await;
        }
        shared.refuses(duty, &format!("CREATE TABLE {mine} (id int)")).await;
        shared.refuses(duty, &format!("UPDATE {meta} SET partitions = 1")).await;
        shared.refuses(duty, &format!("UPDATE {outbox} SET payload = 'x'")).await;
        shared.refuses(duty, &format!("UPDATE {dead} SET payload = 'x'")).await;
        // Nobody chooses a place in the order but who puts a parked lane back.
        let place = "(partition_no, seq, id, topic, payload) \
                     VALUES (0, 1, '00000000-0000-0000-0000-000000000000', 'a', 'x')";
        if duty != Duty::Operate {
            shared.refuses(duty, &format!("INSERT INTO {outbox} {place}")).await;
        }
        shared.refuses(duty, &format!("SELECT * FROM {inbox}")).await;
    }
    for duty in [Duty::Enqueue, Duty::Operate] {
        shared.refuses(duty, &format!("SELECT payload FROM {outbox}")).await;
        shared.refuses(duty, &format!("DELETE FROM {outbox}")).await;
        shared.refuses(duty, &format!("UPDATE {outbox} SET attempts = 1")).await;
        shared.refuses(duty, &format!("UPDATE {lease} SET epoch = 1")).await;
    }
    for duty in [Duty::Enqueue, Duty::Relay] {
        shared.refuses(duty, &format!("SELECT payload FROM {dead}")).await;
        shared.refuses(duty, &format!("DELETE FROM {dead}")).await;
    }
    shared.refuses(Duty::Enqueue, &format!("SELECT owner FROM {lease}")).await;
    shared.refuses(Duty::Operate, &format!("INSERT INTO {dead} (id) SELECT id FROM {dead}")).await;
    let insert = "(partition_no, id, topic, payload) SELECT 0, id, 'a', 'x'";
    shared.refuses(Duty::Relay, &format!("INSERT INTO {outbox} {insert} FROM {outbox}")).await;
    shared.close().await;
}

#[tokio::test]
async fn others_work_is_refused_on_postgres() {
    others_work_is_refused(roles::postgres().await).await;
}

#[tokio::test]
async fn others_work_is_refused_on_mariadb() {
    others_work_is_refused(roles::mariadb().await).await;
}

/// PRODUCERS.md shows what is printed for a role `legacy`.
#[test]
fn the_documented_rights_are_those_that_are_printed() {
    let shown = |dialect, schema, duty, role: &str| {
        let names = Names { schema: Some(Identifier::new(schema).unwrap()), ..Names::default() };
        let grants = grants(dialect, &names, duty, &Identifier::new(role).unwrap()).unwrap();
        grants.into_iter().map(|grant| grant + ";\n").collect::<String>()
    };
    let postgres = shown(Dialect::Postgres, "public", Duty::Enqueue, "legacy");
    assert_eq!(documented("Rights on PostgreSQL"), postgres);
    let mysql = shown(Dialect::MySql, "shop", Duty::Enqueue, "legacy");
    assert_eq!(documented("Rights on MySQL and MariaDB"), mysql);
    let (_, migration) = crate::producers::TEXT.split_once("A migration needs these").unwrap();
    let (_, migration) = migration.split_once("```sql\n").unwrap();
    let (migration, _) = migration.split_once("```").unwrap();
    assert_eq!(migration, shown(Dialect::MySql, "shop", Duty::Migrate, "migrator"));
}

#[tokio::test]
async fn a_migration_of_mariadb_needs_these() {
    let place = mariadb_place().await;
    let schema = place.names.schema.as_ref().unwrap().as_str();
    let role = Identifier::new(&format!("u{}", &schema[schema.len() - 24..])).unwrap();
    MySql::sql(&place.pool, MySql::create(role.as_str())).await.unwrap();
    let pool = MySql::connect(&place, role.as_str());
    let grant = grants(Dialect::MySql, &place.names, Duty::Migrate, &role).unwrap().remove(0);
    let (privileges, object, role) = privileges(&grant);
    let config = OutboxConfig::named(place.names.clone());
    let migrate = async |privileges: &[&str]| {
        let privileges = privileges.join(", ");
        let prepare = format!(
            "DROP DATABASE IF EXISTS {schema}; CREATE DATABASE {schema};
             GRANT {privileges} ON {object} TO {role}"
        );
        MySql::sql(&place.pool, prepare).await.unwrap();
        let migrated = Outbox::migrate_with(&pool, &config).await;
        let revoke = format!("REVOKE {privileges} ON {object} FROM {role}");
        MySql::sql(&place.pool, revoke).await.unwrap();
        migrated
    };
    // The full set comes last: who has made a procedure keeps rights on its name.
    let all: Vec<&str> = privileges.iter().map(String::as_str).collect();
    for &left_out in &all {
        let others = all.iter().copied().filter(|&other| other != left_out);
        let migrated = migrate(&others.collect::<Vec<_>>()).await;
        assert!(migrated.is_err(), "{left_out}: nobody needs it");
    }
    migrate(&all).await.unwrap();
    pool.close().await;
    MySql::sql(&place.pool, MySql::drop(role)).await.unwrap();
}

#[tokio::test]
async fn a_migration_of_postgres_needs_these() {
    let shared = roles::postgres().await;
    let pool = shared.pool(Duty::Migrate);
    let schema = shared.names().schema.clone().unwrap();
    let prefix = Identifier::new("other").unwrap();
    let names = Names { schema: Some(schema), prefix };
    let config = OutboxConfig::named(names);
    for grant in shared.grants(Duty::Migrate) {
        let (privileges, object, role) = privileges(&grant);
        for privilege in privileges {
            shared.bed.execute(format!("REVOKE {privilege} ON {object} FROM {role}")).await;
            assert!(Outbox::<Postgres>::migrate_with(pool, &config).await.is_err(), "{privilege}");
            shared.bed.execute(format!("GRANT {privilege} ON {object} TO {role}")).await;
        }
    }
    Outbox::<Postgres>::migrate_with(pool, &config).await.unwrap();
    shared.close().await;
}
