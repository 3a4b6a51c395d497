//! Databases.

use outbox::{Error, Message, StoreUrl};
use outbox_testkit::servers::shared;

use crate::{CANARY, assert_shows_nothing, assert_silent, message, odd_messages, told, witness};

async fn all_fail(url: &str) {
    let store: StoreUrl = match url.parse() {
        Ok(store) => store,
        Err(error) => return assert_silent(url, &told(&error)),
    };
    assert_shows_nothing(url, &store);
    for error in [store.migrate(4).await.err(), store.connect().await.err()] {
        let error: Error = error.unwrap_or_else(|| panic!("nothing fails"));
        assert_silent("a store", &(told(&error) + &error.remedy()));
    }
}

#[tokio::test]
async fn a_store_that_can_not_be_used_tells_no_secret() {
    witness::watch();
    for server in ["OUTBOX_TEST_POSTGRES", "OUTBOX_TEST_MARIADB"].map(shared) {
        let (scheme, rest) = server.split_once("://").unwrap();
        let (_, place) = rest.split_once('@').unwrap();
        let (address, _) = place.split_once('/').unwrap();
        for url in [
            format!("{scheme}://outbox:{CANARY}@{place}"),
            format!("{scheme}://nobody:{CANARY}@{place}"),
            format!("{scheme}://outbox:{CANARY}@127.0.0.1:1/outbox"),
            format!("{scheme}://outbox:{CANARY}@{address}/outbox?passwort={CANARY}"),
            format!("{scheme}://outbox:{CANARY}@{place}:x/"),
        ] {
            all_fail(&url).await;
        }
    }
    witness::assert_nothing_seen();
}

#[tokio::test]
async fn what_is_stored_is_told_by_nobody() {
    witness::watch();
    for server in ["OUTBOX_TEST_POSTGRES", "OUTBOX_TEST_MARIADB"].map(shared) {
        let schema = format!("t_{}", uuid::Uuid::now_v7().simple());
        let url: StoreUrl = format!("{server}?outbox_schema={schema}").parse().unwrap();
        url.migrate(4).await.unwrap();
        let store = url.connect().await.unwrap();
        assert_shows_nothing("a store", &store);
        store.enqueue_all(&[message("orders"), message("orders")]).await.unwrap();
        for odd in odd_messages("orders") {
            if let Err(error) = store.enqueue_all(std::slice::from_ref(&odd)).await {
                assert_silent("enqueueing", &told(&error));
            }
        }
        // What the database itself refuses, and quotes.
        let mut parts = message("orders").parts().clone();
        parts.topic = CANARY.repeat(50).into();
        let refused = store.enqueue_all(&[Message::restore(parts)]).await.unwrap_err();
        assert_silent("enqueueing", &told(&refused));
        remove(&server, &schema).await;
    }
    witness::assert_nothing_seen();
}

async fn remove(server: &str, schema: &str) {
    use sqlx::{Connection as _, MySqlConnection, PgConnection, raw_sql};

    if server.starts_with("postgres") {
        let mut connection = PgConnection::connect(server).await.unwrap();
        let drop = sqlx::AssertSqlSafe(format!("DROP SCHEMA \"{schema}\" CASCADE"));
        raw_sql(drop).execute(&mut connection).await.unwrap();
    } else {
        let mut connection = MySqlConnection::connect(server).await.unwrap();
        let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE `{schema}`"));
        raw_sql(drop).execute(&mut connection).await.unwrap();
    }
}
