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
    /// Whether one of them is standard output.
    pub(crate) print: bool,
}

impl Brokers {
    /// Reads `--broker` and each `--route`. Nothing is connected yet.
    pub(crate) fn read(broker: &str, routes: &[String]) -> Result<Self, Failure> {
        let mut print = false;
        let mut publisher = |url: &str| {
            print |= url.starts_with("stdout:");
            LazyPublisher::new(url).map(Arc::new)
        };
        let mut all = Vec::new();
        for route in routes {
            let route = route.split_once('=').filter(|(pattern, _)| !pattern.is_empty());
            let (pattern, url) = route.ok_or_else(no_route)?;
            if all.iter().any(|(other, _)| other == pattern) {
                return Err(twice(pattern));
            }
            all.push((pattern.to_owned(), publisher(url)?));
        }
        Ok(Self { default: publisher(broker)?, routes: all, print })
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

fn twice(pattern: &str) -> Failure {
    Failure::new(Exit::Usage, format!("there are two routes for `{pattern}`"))
        .remedy("leave one of them out: the second would get nothing")
}
