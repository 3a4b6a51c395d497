//! Keeps payloads out of the log.

use std::cell::RefCell;

use tracing::Dispatch;
use tracing::dispatcher::{DefaultGuard, set_default};

thread_local! {
    static SILENCE: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// As long as the thread lives, nothing that the client logs on it reaches the program's log. The
/// client warns of every message that comes back, with its payload and headers, on the thread that
/// reads from the socket; it is also that which connects. All that matters of what it says there
/// is in the errors that it returns.
pub(crate) fn silence_this_thread() {
    // Should a later client connect elsewhere, a thread of the program's own is left alone.
    if std::thread::current().name() == Some("lapin-io-loop") {
        SILENCE.with_borrow_mut(|silence| {
            silence.get_or_insert_with(|| set_default(&Dispatch::none()));
        });
    }
}
