//! Nothing is sent once a publish has ended.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::link::{Link, PAUSE};

/// Cuts the connection if at the end some of the messages may not have reached the broker: what
/// waits in the client, or in a buffer of TLS or of the kernel, would be sent later.
pub(crate) struct Guard<'a> {
    link: &'a Link,
    unwritten: AtomicUsize,
    unanswered: AtomicUsize,
    all_read: AtomicBool,
}

/// How long what the broker has of a batch may still be confirmed after it has blocked the rest.
const GRACE: Duration = Duration::from_millis(200);

impl<'a> Guard<'a> {
    /// For so many messages.
    pub(crate) fn new(link: &'a Link, count: usize) -> Self {
        let (unwritten, unanswered) = (AtomicUsize::new(count), AtomicUsize::new(count));
        Self { link, unwritten, unanswered, all_read: AtomicBool::new(false) }
    }

    /// The client has written one more.
    pub(crate) fn written(&self) {
        self.unwritten.fetch_sub(1, Ordering::Relaxed);
    }

    /// There is one answer more, whatever it is.
    pub(crate) fn answered(&self) {
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
    }

    /// The broker has answered what was written after all of the messages.
    pub(crate) fn all_read(&self) {
        self.all_read.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_all_written(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn is_all_read(&self) -> bool {
        self.all_read.load(Ordering::Relaxed)
    }

    pub(crate) fn is_all_answered(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) == 0
    }

    /// Waits for the broker to block the connection while something isn't written, which then need
    /// not wait any longer. Cut off from it, the client says what it has not written.
    pub(crate) async fn cut_when_blocked(&self) {
        while !self.link.is_blocked() || self.is_all_written() {
            sleep(PAUSE).await;
        }
        self.link.stop_writing();
        sleep(GRACE).await;
        self.link.cut();
        pending::<()>().await;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.is_all_answered() && !self.is_all_read() {
            self.link.cut();
        }
    }
}
