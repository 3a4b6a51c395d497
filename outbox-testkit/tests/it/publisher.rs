//! The reference publisher, with both orderings.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use outbox_core::{Message, Ordering, Outcome, Publisher, Reason};
use outbox_testkit::memory::{Broker, MemoryPublisher};
use outbox_testkit::suite::publisher::PublisherHarness;

struct Memory<const PREFIX: bool> {
    broker: Arc<Mutex<Broker>>,
    publishers: Mutex<Vec<Arc<MemoryPublisher>>>,
}

#[async_trait]
impl<const PREFIX: bool> PublisherHarness for Memory<PREFIX> {
    async fn open() -> Self {
        Self { broker: Arc::default(), publishers: Mutex::default() }
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        let ordering = if PREFIX { Ordering::PrefixPerKey } else { Ordering::Independent };
        let publisher = Arc::new(MemoryPublisher::to(self.broker.clone(), ordering, 1));
        self.publishers.lock().unwrap().push(publisher.clone());
        publisher
    }

    fn topic(&self) -> String {
        "topic".to_owned()
    }

    async fn arrived(&self) -> Vec<Message> {
        let broker = self.broker.lock().unwrap();
        broker.log().iter().map(|acceptance| Message::clone(&acceptance.message)).collect()
    }

    async fn fail_next(&self, message: &Message) -> bool {
        for publisher in self.publishers.lock().unwrap().iter() {
            publisher.refuse(message.id(), Outcome::Failed(Reason::new("refused")));
        }
        true
    }
}

mod prefix {
    use super::*;
    outbox_testkit::publisher_suite!(Memory<true>);
}

mod independent {
    use super::*;
    outbox_testkit::publisher_suite!(Memory<false>);
}
