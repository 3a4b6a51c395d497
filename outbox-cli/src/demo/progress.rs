//! How far the demo is: a bar on a terminal, lines elsewhere.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::stopwatch::Stopwatch;
use crate::output::tell;

pub(super) struct Progress {
    counter: Arc<AtomicU64>,
    bar: Option<ProgressBar>,
    task: JoinHandle<()>,
}

impl Progress {
    pub(super) fn start(orders: u64, published: Arc<Stopwatch>) -> Self {
        let counter = Arc::new(AtomicU64::new(0));
        let bar = io::stderr().is_terminal().then(|| bar(orders));
        let task = tokio::spawn({
            let (counter, bar) = (counter.clone(), bar.clone());
            async move {
                let every = Duration::from_millis(if bar.is_some() { 100 } else { 1000 });
                loop {
                    tokio::time::sleep(every).await;
                    let done = counter.load(Ordering::Relaxed);
                    let published = published.count();
                    match &bar {
                        Some(bar) => {
                            bar.set_position(done);
                            bar.set_message(format!("{published} events published"));
                        }
                        None => tell(format_args!(
                            "{done} of {orders} transactions, {published} events published"
                        )),
                    }
                }
            }
        });
        Self { counter, bar, task }
    }

    /// Counts the transactions that have ended.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.counter)
    }

    pub(super) fn finish(self) {
        self.task.abort();
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(orders: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} transactions, {msg}");
    ProgressBar::new(orders).with_style(style.expect("the template is well-formed"))
}
