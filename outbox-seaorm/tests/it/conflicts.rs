//! Conflicts between the service's own transactions.

use outbox_seaorm::Error;
use sea_orm::{IsolationLevel, TransactionTrait};

use crate::support::{Bed, keys, message, newest_postgres, postgres, run};

/// FAILURES row 33. Seen to fail with an `error::sort` that keeps no code.
async fn a_serialization_failure_may_be_tried_again(bed: Bed) {
    let counter = bed.table("_partition");
    let serializable = async || {
        let level = Some(IsolationLevel::Serializable);
        bed.outbox.attach(bed.db().begin_with_config(level, None).await.unwrap())
    };
    let (mut one, mut two) = (serializable().await, serializable().await);
    // Each changes what the other has read.
    for (tx, from, to) in [(&one, 0, 1), (&two, 1, 0)] {
        let read = format!("(SELECT generation + 1 FROM {counter} WHERE partition_no = {from})");
        let change = format!("UPDATE {counter} SET generation = {read} WHERE partition_no = {to}");
        run(tx, &change).await;
    }
    one.emit(message("one")).unwrap();
    two.emit(message("two")).unwrap();
    one.commit().await.unwrap();
    let error = two.commit().await.unwrap_err();
    assert!(matches!(error, Error::Database { .. }) && error.is_retryable(), "{error:?}");
    assert_eq!(keys(&bed.all().await), ["one"]);
}

#[tokio::test]
async fn a_serialization_failure_may_be_tried_again_on_postgres() {
    a_serialization_failure_may_be_tried_again(postgres().await).await;
}

#[tokio::test]
async fn a_serialization_failure_may_be_tried_again_on_the_newest_postgres() {
    a_serialization_failure_may_be_tried_again(newest_postgres().await).await;
}
