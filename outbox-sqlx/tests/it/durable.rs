//! What a crash could take back is not published.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use outbox_core::{LaneRead, Partition, RereadRequest, Seq, Store as _, StoreErrorKind};
use sqlx::MySql;

use crate::server::{SCHEMA, Server};
use crate::support::{self, Kind as _, fetch_all, message};

/// FAILURES row 61: MariaDB shows a transaction to others while its log is on its way to the disk,
/// here for as long as the test wants. Seen to fail without `make_durable` in the fetch: the
/// message was read.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_on_the_disk_yet_is_not_fetched() {
    let server = Server::<MySql>::start().await;
    let outbox = server.outbox().await;
    let store = outbox.store().await.unwrap();
    store.fetch(&fetch_all()).await.unwrap();
    let disk = Standstill::of(server.process());
    let committing = tokio::spawn({
        let (outbox, pool) = (outbox.clone(), server.pool().clone());
        async move {
            let mut tx = outbox.begin(&pool).await.unwrap();
            tx.emit(message("a")).unwrap();
            tx.commit().await.unwrap();
        }
    });
    let until = Instant::now() + Duration::from_mins(1);
    let seen = format!("SELECT count(*) FROM {SCHEMA}.outbox");
    while MySql::number(server.pool(), seen.clone()).await == 0 {
        assert!(Instant::now() < until, "the transaction isn't shown before it is on the disk");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ask = async |column: &str| {
        MySql::number(server.pool(), format!("SELECT {column} FROM {SCHEMA}.outbox")).await
    };
    let seq = Seq(ask("seq").await);
    let partition = Partition(ask("partition_no").await.try_into().unwrap());
    let key = Some("a".into());
    let lane = LaneRead { partition, key, from: seq, to: seq, limit: 1, bytes: u64::MAX };
    let request = RereadRequest { lanes: vec![lane] };
    let reread = tokio::time::timeout(Duration::from_secs(1), store.reread(&request)).await;
    assert!(reread.is_err(), "{reread:?}");
    let fetched = tokio::time::timeout(Duration::from_secs(1), store.fetch(&fetch_all())).await;
    assert!(fetched.is_err(), "{fetched:?}");
    assert!(!committing.is_finished());
    drop(disk);
    committing.await.unwrap();
    assert_eq!(store.fetch(&fetch_all()).await.unwrap().rows.len(), 1);
    assert_eq!(store.reread(&request).await.unwrap().len(), 1);
}

/// As after a restore of single tables. Seen to fail when nobody looked: a commit that changes
/// nothing waits for nothing.
#[tokio::test]
async fn without_its_row_nothing_is_read() {
    let bed = support::mariadb().await;
    bed.enqueue(&["a"]).await;
    bed.execute(format!("DELETE FROM {}", bed.table("_flush"))).await;
    let error = bed.store.fetch(&fetch_all()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Schema, "{error:?}");
    let told = error.to_string();
    bed.execute(told[told.find("INSERT").unwrap()..].to_owned()).await;
    assert_eq!(bed.all().await.len(), 1);
}

/// A process whose writes come to no disk until this is dropped.
struct Standstill {
    strace: Child,
    /// It must find a reader for whatever else it says.
    _said: BufReader<ChildStderr>,
}

impl Standstill {
    fn of(process: u32) -> Self {
        let mut command = Command::new("strace");
        command.args(["--follow-forks", "--trace=fsync,fdatasync", "--output=/dev/null"]);
        command.arg("--inject=fsync,fdatasync:delay_enter=3600s");
        command.arg(format!("--attach={process}")).stderr(Stdio::piped());
        let mut strace = command.spawn().unwrap_or_else(|error| {
            panic!("this test needs `strace`: run `cargo xtask services up` ({error})")
        });
        let (mut reader, mut said) = (BufReader::new(strace.stderr.take().unwrap()), String::new());
        reader.read_line(&mut said).unwrap();
        assert!(said.contains("attached"), "{said}");
        Self { strace, _said: reader }
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        // Its end sets the process free. If it has ended already, that was told above.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}
