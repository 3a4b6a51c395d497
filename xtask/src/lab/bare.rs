//! The limit to measure a relay against: the same two statements in a loop, and nothing else.

use std::time::Instant;

use anyhow::{Result, ensure};
use outbox_core::relay::RelayConfig;
use outbox_core::{
    FetchRequest, Partition, PartitionRead, RelayId, RowRef, Seq, SettleRequest, Store,
};
use uuid::Uuid;

use super::figures::rate;
use super::target::Subject;

/// Drains all that is in the outbox, in a relay's pages. Returns how many messages a second, of
/// which there must be as many as said.
pub(super) async fn measure(subject: &dyn Subject, messages: u64) -> Result<f64> {
    let (store, _, _) = subject.store().await?;
    let began = Instant::now();
    let drained = drain(store.as_ref(), RelayConfig::default().window_messages / 4).await?;
    let took = began.elapsed();
    ensure!(drained == messages, "the bare loop drained {drained} of {messages}");
    Ok(rate(messages, took))
}

/// Reads a page, deletes it, and so on until nothing is left. Returns how many messages there were.
///
/// It has no leases, lanes or outcomes, and deletes before it reads on: what a relay may do with
/// its statements' time at best, if it did nothing else.
async fn drain(store: &dyn Store, page: usize) -> Result<u64> {
    let partitions = store.partitions();
    let limit = u32::try_from(page.div_ceil(usize::from(partitions)))?;
    let mut cursors = vec![Seq::START; usize::from(partitions)];
    let mut drained = 0;
    loop {
        let read = |(partition, after): (u16, &Seq)| PartitionRead {
            partition: Partition(partition),
            after: *after,
            limit,
            bytes: u64::MAX >> 1,
            parked: false,
        };
        let reads = (0..partitions).zip(&cursors).map(read).collect();
        let request = FetchRequest { reads, horizon: Seq(i64::MAX), look_limit: 1 };
        let page = store.fetch(&request).await?;
        if page.rows.is_empty() {
            return Ok(drained);
        }
        drained += page.rows.len() as u64;
        let mut delivered = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            cursors[usize::from(row.partition.0)] = row.seq;
            delivered.push(RowRef { partition: row.partition, seq: row.seq, id: row.message.id() });
        }
        let relay = RelayId(Uuid::nil());
        let report =
            store.settle(&SettleRequest { relay, delivered, verdicts: Vec::new() }).await?;
        ensure!(report.verdicts.is_empty(), "answers to questions nobody asked");
    }
}
