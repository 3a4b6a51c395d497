//! The rights that PRODUCERS.md names: they are enough, and none is too many.

use outbox_core::Partition;
use outbox_sqlx::{Outbox, OutboxConfig};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::{MySql, MySqlPool, PgPool, Postgres};

use crate::producers::documented;
use crate::support::{self, Kind, Place, mariadb_place};

/// The documented statements under that heading, without their ends.
fn grants(heading: &str) -> Vec<&'static str> {
    let lines = documented(heading).lines().map(|line| line.trim_end_matches(';'));
    lines.filter(|line| !line.is_empty()).collect()
}

/// The statement that takes back what `grant` gives.
fn revoke(grant: &str) -> String {
    grant.replacen("GRANT ", "REVOKE ", 1).replace(" TO ", " FROM ")
}

#[tokio::test]
async fn the_callers_of_the_function_need_these() {
    let bed = support::postgres().await;
    let schema = bed.place.names.schema.as_ref().unwrap().as_str();
    let legacy = format!("{schema}_legacy");
    let options = (*bed.pool().connect_options()).clone().options([("search_path", schema)]);
    let owner = PgPool::connect_with(options.clone()).await.unwrap();
    Postgres::sql(&owner, format!("CREATE ROLE {legacy}")).await.unwrap();
    let grants = grants("Rights on PostgreSQL").into_iter().map(|grant| {
        let grant = grant.replace("SCHEMA public", &format!("SCHEMA {schema}"));
        grant.replace("TO legacy", &format!("TO {legacy}"))
    });
    let grants: Vec<String> = grants.collect();
    for grant in &grants {
        Postgres::sql(&owner, grant.clone()).await.unwrap();
    }
    let caller = PgPool::connect_with(options.options([("role", &legacy)])).await.unwrap();
    let call = || Postgres::sql(&caller, "SELECT outbox_enqueue('orders', 'x')".to_owned());
    call().await.unwrap();
    assert_eq!(bed.all().await.len(), 1);
    for grant in &grants {
        Postgres::sql(&owner, revoke(grant)).await.unwrap();
        assert!(call().await.is_err(), "{grant}: nobody needs it");
        Postgres::sql(&owner, grant.clone()).await.unwrap();
    }
    caller.close().await;
    Postgres::sql(&owner, format!("DROP OWNED BY {legacy}; DROP ROLE {legacy}")).await.unwrap();
}

/// A user with no rights yet, and who he is in a `GRANT`.
async fn user(place: &Place<MySql>) -> (MySqlPool, String) {
    let schema = place.names.schema.as_ref().unwrap().as_str();
    // MySQL's names of users have up to 32 characters.
    let name = format!("u{}", &schema[schema.len() - 24..]);
    let user = format!("'{name}'@'%'");
    let create = format!("CREATE USER {user} IDENTIFIED BY 'secret'");
    MySql::sql(&place.pool, create).await.unwrap();
    let options = (*place.pool.connect_options()).clone().username(&name).password("secret");
    let pool = MySqlPoolOptions::new().connect_lazy_with(options.database("information_schema"));
    (pool, user)
}

async fn drop_user(place: &Place<MySql>, pool: MySqlPool, user: &str) {
    pool.close().await;
    MySql::sql(&place.pool, format!("DROP USER {user}")).await.unwrap();
}

#[tokio::test]
async fn the_callers_of_the_procedure_need_these() {
    let bed = support::mariadb().await;
    let schema = bed.place.names.schema.as_ref().unwrap();
    let (pool, user) = user(&bed.place).await;
    let grants = grants("Rights on MySQL and MariaDB")
        .into_iter()
        .map(|grant| grant.replace("shop.", &format!("{schema}.")).replace("legacy", &user));
    let grants: Vec<String> = grants.collect();
    for grant in &grants {
        bed.execute(grant.clone()).await;
    }
    let id = "0190163d-8694-739b-8a1e-9b7a3f9c1a2b";
    let call = format!(
        "CALL {schema}.outbox_enqueue('orders', NULL, NULL, NULL, 'x', NULL, \
         UNHEX(REPLACE('{id}', '-', '')))"
    );
    let call = || MySql::sql(&pool, call.clone());
    call().await.unwrap();
    let row = bed.all().await.remove(0);
    assert_eq!(row.message.id().to_string(), id);
    assert_eq!(row.partition, Partition(9 % 4));
    for grant in &grants {
        bed.execute(revoke(grant)).await;
        assert!(call().await.is_err(), "{grant}: nobody needs it");
        bed.execute(grant.clone()).await;
    }
    drop_user(&bed.place, pool, &user).await;
}

#[tokio::test]
async fn a_migration_of_mariadb_needs_these() {
    let place = mariadb_place().await;
    let schema = place.names.schema.as_ref().unwrap();
    let (pool, user) = user(&place).await;
    let (_, section) = crate::producers::TEXT.split_once("A migration needs these").unwrap();
    let (_, privileges) = section.split_once("GRANT ").unwrap();
    let (privileges, _) = privileges.split_once(" ON shop.* TO migrator;").unwrap();
    let privileges: Vec<&str> = privileges.split(", ").collect();
    let config = OutboxConfig::named(place.names.clone());
    let migrate = async |privileges: &[&str]| {
        let privileges = privileges.join(", ");
        let prepare = format!(
            "DROP DATABASE IF EXISTS {schema}; CREATE DATABASE {schema};
             GRANT {privileges} ON {schema}.* TO {user}"
        );
        MySql::sql(&place.pool, prepare).await.unwrap();
        let migrated = Outbox::migrate_with(&pool, &config).await;
        let revoke = format!("REVOKE {privileges} ON {schema}.* FROM {user}");
        MySql::sql(&place.pool, revoke).await.unwrap();
        migrated
    };
    // The full set comes last: who has made a procedure keeps rights on its name.
    for &left_out in &privileges {
        let others = privileges.iter().copied().filter(|&other| other != left_out);
        let migrated = migrate(&others.collect::<Vec<_>>()).await;
        assert!(migrated.is_err(), "{left_out}: nobody needs it");
    }
    migrate(&privileges).await.unwrap();
    drop_user(&place, pool, &user).await;
}
