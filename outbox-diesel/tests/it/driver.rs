//! Connections of a store's own.

use std::time::Duration;

use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::{bb8 as pool_bb8, deadpool as pool_deadpool};
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection, SimpleAsyncConnection as _};
use outbox_core::Store as _;
use outbox_diesel::{DieselDriver, Error};
use outbox_sql::{Driver as _, DriverErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::cancelled::poll_times;
use crate::support::{AsyncSqlite, lease_request, message, relay};

macro_rules! pools {
    ($module:ident, $connection:ty) => {
        mod $module {
            use super::*;

            /// FAILURES row 12, the database's part. Seen to fail with a driver that takes its
            /// connections from the pool.
            #[tokio::test(flavor = "multi_thread")]
            async fn a_service_that_exhausts_its_pool_does_not_starve_the_relay() {
                let bed = crate::support::$module().await;
                let manager = AsyncDieselConnectionManager::<$connection>::new(bed.url.clone());
                let patience = Duration::from_millis(200);
                let tiny = pool_bb8::Pool::builder().max_size(1).connection_timeout(patience);
                let tiny = tiny.build(manager).await.unwrap();
                let _held = tiny.get().await.unwrap();
                assert!(tiny.get().await.is_err(), "the pool is exhausted");
                let store = bed.outbox.store(DieselDriver::like_bb8(&tiny)).await.unwrap();
                store.lease(&lease_request(relay(), &[0])).await.unwrap();

                let manager = AsyncDieselConnectionManager::<$connection>::new(bed.url.clone());
                let tiny = pool_deadpool::Pool::builder(manager).max_size(1).build().unwrap();
                let _held = tiny.get().await.unwrap();
                assert_eq!(tiny.status().available, 0, "the pool is exhausted");
                let store = bed.outbox.store(DieselDriver::like_deadpool(&tiny)).await.unwrap();
                store.lease(&lease_request(relay(), &[0])).await.unwrap();
            }

            /// FAILURES row 29, in pools: what they hand out next is in no transaction.
            #[tokio::test(flavor = "multi_thread")]
            async fn a_transaction_dropped_midway_does_not_poison_the_pool() {
                let bed = crate::support::$module().await;
                let partition = bed.table("_partition");
                let count = format!("UPDATE {partition} SET generation = generation + 1");
                let sum = format!("SELECT generation FROM {partition} WHERE partition_no = 0");
                let manager = || AsyncDieselConnectionManager::<$connection>::new(bed.url.clone());
                let bb8 = pool_bb8::Pool::builder().max_size(1).build(manager()).await.unwrap();
                let deadpool = pool_deadpool::Pool::builder(manager()).max_size(1).build().unwrap();
                let (mut dropped, mut counted) = (0, 0);
                for round in 1..=16 {
                    {
                        let mut connection = bb8.get().await.unwrap();
                        let transaction = bed
                            .outbox
                            .transaction(&mut *connection, async |mut tx| tx.emit(message("a")));
                        dropped += usize::from(!poll_times(transaction, round % 6).await);
                    }
                    bb8.get().await.unwrap().batch_execute(&count).await.unwrap();
                    {
                        let mut connection = deadpool.get().await.unwrap();
                        let transaction = bed
                            .outbox
                            .transaction(&mut connection, async |mut tx| tx.emit(message("a")));
                        dropped += usize::from(!poll_times(transaction, round % 6).await);
                    }
                    deadpool.get().await.unwrap().batch_execute(&count).await.unwrap();
                    counted += 2;
                    assert_eq!(bed.number(&sum).await, counted);
                }
                assert!(dropped > 0, "no call was dropped midway");
            }
        }
    };
}

pools!(postgres, AsyncPgConnection);
pools!(mariadb, AsyncMysqlConnection);
pools!(sqlite, AsyncSqlite);

#[test]
fn a_url_that_cannot_be_read_is_told_without_it() {
    let postgres = DieselDriver::<AsyncPgConnection>::from_url("postgres://u:canary@h:port/d");
    let mysql = DieselDriver::<AsyncMysqlConnection>::from_url("http://u:canary@h/d");
    for error in [postgres.unwrap_err(), mysql.unwrap_err()] {
        assert!(matches!(error, Error::Url));
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    let driver = DieselDriver::<AsyncPgConnection>::from_url("postgres://u:canary@h/d").unwrap();
    assert!(!format!("{driver:?}").contains("canary"));
}

/// Seen to fail with `sslmode` left to diesel-async, which speaks no TLS and doesn't even ask.
#[tokio::test(flavor = "multi_thread")]
async fn encryption_that_is_asked_for_is_not_left_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        client.read_exact(&mut request).await.unwrap();
        assert_eq!(request[4..], 80_877_103_u32.to_be_bytes(), "it asks for TLS");
        client.write_all(b"S").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), 22, "a handshake, and no password");
    };
    let url = format!("postgres://u:canary@127.0.0.1:{port}/d?sslmode=require");
    let driver = DieselDriver::<AsyncPgConnection>::from_url(&url).unwrap();
    let both = async { tokio::join!(server, driver.connect()).1 };
    let connected = tokio::time::timeout(Duration::from_mins(1), both).await;
    let error = connected.expect("it asks for TLS").unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::Connection, "{error:?}");
}
