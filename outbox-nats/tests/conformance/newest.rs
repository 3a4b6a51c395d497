//! The newest version.

#[path = "answers.rs"]
mod answers;
#[path = "elsewhere.rs"]
mod elsewhere;
#[path = "faults.rs"]
mod faults;
#[path = "limits.rs"]
mod limits;
#[path = "reloadable.rs"]
mod reloadable;
#[path = "security.rs"]
mod security;
#[path = "silence.rs"]
mod silence;

use outbox_testkit::servers::{self, Server};

use crate::OnShared;

/// A server of a test's own.
async fn nats(settings: &str) -> Server {
    servers::nats_newest(settings).await
}

outbox_testkit::publisher_suite!(OnShared<true>);
