//! The brokers that a relay publishes to.

use std::sync::Arc;

use outbox::{LazyPublisher, Reason};

use crate::exit::{Exit, Failure};
use crate::output::tell;

/// Where topics go.
pub(crate) struct Brokers {
    pub(crate) default: Arc<LazyPublisher>,
    /// Each with the pattern of its topics.
    pub(crate) routes: Vec<(String, Arc<LazyPublisher>)>,
}

impl Brokers {
    /// Reads `--broker` and each `--route`. Nothing is connected yet.
    pub(crate) fn read(broker: &str, routes: &[String]) -> Result<Self, Failure> {
        let publisher = |url: &str| LazyPublisher::new(url).map(Arc::new);
        let route = |route: &String| {
            let (pattern, url) = route.split_once('=').ok_or_else(no_route)?;
            Ok((pattern.to_owned(), publisher(url)?))
        };
        let routes = routes.iter().map(route).collect::<Result<_, Failure>>()?;
        Ok(Self { default: publisher(broker)?, routes })
    }

    /// Connects to all of them at once. Those that can't be reached are connected to later, as
    /// long as there is another; what waiting doesn't help against is an error.
    pub(crate) async fn connect(&self) -> Result<(), Failure> {
        let all = self.routes.iter().map(|(_, publisher)| publisher);
        let connecting: Vec<_> = std::iter::once(&self.default)
            .chain(all)
            .map(Arc::clone)
            .map(|publisher| tokio::spawn(async move { publisher.connect().await }))
            .collect();
        let count = connecting.len();
        let mut unreachable = Vec::new();
        for connecting in connecting {
            match connecting.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => match &*error {
                    outbox::Error::Publisher { retryable: true, .. } => unreachable.push(error),
                    error => return Err(error.into()),
                },
                Err(_) => return Err(Failure::new(Exit::Failed, "connecting panicked")),
            }
        }
        if unreachable.len() == count {
            return Err((&*unreachable[0]).into());
        }
        for error in unreachable {
            let reason = Reason::of(&*error);
            tell(format_args!("{reason}; its messages wait until it can be connected to"));
        }
        Ok(())
    }
}

fn no_route() -> Failure {
    Failure::new(Exit::Usage, "a route is a pattern of topics, `=` and the URL of a broker")
        .remedy("write it as --route 'orders.*=nats://HOST:4222'")
}
