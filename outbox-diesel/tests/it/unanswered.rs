//! Commits that nobody answers.

use diesel::Connection as _;
use outbox_diesel::{Error, OutboxTransaction};

use crate::support::{Bed, Kind, behind_proxy, mariadb, message, newest_postgres, postgres};

/// Both of Diesel's kinds of connections, cut when they have sent their `COMMIT`.
async fn cut_in_the_commit<C: Kind>(bed: &Bed<C>) -> [Error; 2] {
    let (proxy, url) = behind_proxy(&bed.url);
    // Else the client goes on over the server's socket, without the proxy.
    let tcp = if C::QUOTE == '`' { "?prefer_socket=false" } else { "" };
    let mut connection = C::establish(&format!("{url}{tcp}")).await.unwrap();
    let mut blocking = C::Blocking::establish(&url).unwrap();
    proxy.cut_at(b"COMMIT");
    let work = async |mut tx: OutboxTransaction<'_, C>| tx.emit(message("a"));
    let asynchronous = bed.outbox.transaction(&mut connection, work).await;
    let synchronous = bed.sync_outbox().transaction(&mut blocking, |mut tx| tx.emit(message("a")));
    [asynchronous.unwrap_err(), synchronous.unwrap_err()]
}

/// Seen to fail with synchronous Diesel on MariaDB when the server was asked for the code of what
/// Diesel makes of it, a rollback that failed after the commit: it looked like a refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_nobody_answered_is_unknown() {
    let mut errors = Vec::new();
    errors.extend(cut_in_the_commit(&postgres().await).await);
    errors.extend(cut_in_the_commit(&newest_postgres().await).await);
    errors.extend(cut_in_the_commit(&mariadb().await).await);
    for error in errors {
        assert!(matches!(error, Error::CommitUnknown(_)) && !error.is_retryable(), "{error:?}");
    }
}
