//! What the programs for the brokers share: a service that takes some orders, and a relay that ends when
//! all is published. What is particular to each broker stands in its program.

mod billing;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use outbox::sqlx::{Database, Outbox};
use outbox::{Admin as _, CancellationToken, Ending, Message, Publisher, Relay};
use sqlx::Pool;

pub use billing::{Billing, QUIET};

/// The value of a variable of the environment.
///
/// # Errors
/// It isn't set.
pub fn variable(name: &str) -> Result<String, Box<dyn Error>> {
    std::env::var(name).map_err(|_| format!("set {name}: see the head of this program").into())
}

/// Takes three orders, of which the second is never paid for.
///
/// # Errors
/// What the database says.
pub async fn take_orders<DB: Database>(
    outbox: &Outbox<DB>,
    pool: &Pool<DB>,
) -> Result<(), Box<dyn Error>> {
    for (order, is_paid) in [(1, true), (2, false), (3, true)] {
        let mut tx = outbox.begin(pool).await?;
        // A service would write the order itself here, in the same transaction.
        let message = Message::json("orders", &order).key("customer-7");
        tx.emit(message.message_type("order.placed").build()?)?;
        if is_paid { tx.commit().await? } else { tx.rollback().await? }
    }
    Ok(())
}

/// Relays until nothing waits any more. A service lets its relay run as long as it runs itself.
///
/// # Errors
/// The database or the settings; an outage of the broker is none, as a relay waits for its end.
pub async fn relay_all<DB: Database>(
    outbox: &Outbox<DB>,
    publisher: Arc<dyn Publisher>,
) -> Result<(), Box<dyn Error>> {
    let store = Arc::new(outbox.store().await?);
    let relay = Relay::builder(store.clone(), publisher).waker(outbox.waker()).build()?;
    let stop = CancellationToken::new();
    let relaying = tokio::spawn({
        let stop = stop.clone();
        async move { relay.run(stop).await }
    });
    while store.stats().await?.depth > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    match relaying.await? {
        Ending::Clean => Ok(()),
        Ending::Abrupt => Err("the relay could not finish in time".into()),
    }
}
