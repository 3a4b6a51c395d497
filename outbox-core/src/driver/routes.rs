//! Which topics go to which publisher.

use std::fmt;
use std::sync::Arc;

use crate::relay::{Destination, DestinationSpec, InvalidConfig};
use crate::{Publisher, Reason};

/// The publishers of a relay by name, and the patterns of topics that lead to them.
#[derive(Clone)]
pub(super) struct Routes {
    publishers: Vec<(Arc<str>, Arc<dyn Publisher>)>,
    /// A pattern of topics, and the name of a publisher.
    rules: Vec<(String, Arc<str>)>,
}

/// The name of the publisher that takes every topic that no rule names.
const DEFAULT: &str = "default";

impl Routes {
    pub(super) fn to(publisher: Arc<dyn Publisher>) -> Self {
        Self { publishers: vec![(DEFAULT.into(), publisher)], rules: Vec::new() }
    }

    pub(super) fn publisher(&mut self, name: Arc<str>, publisher: Arc<dyn Publisher>) {
        self.publishers.push((name, publisher));
    }

    pub(super) fn rule(&mut self, pattern: String, name: Arc<str>) {
        self.rules.push((pattern, name));
    }

    pub(super) fn check(&self) -> Result<(), InvalidConfig> {
        let names = self.names();
        let is_twice = |(at, name): (usize, &Arc<str>)| names[..at].contains(name);
        if names.iter().enumerate().any(is_twice) || u16::try_from(names.len()).is_err() {
            return Err(InvalidConfig::new("publisher", "each must have a name of its own"));
        }
        if self.rules.iter().any(|(_, name)| !names.contains(name)) {
            return Err(InvalidConfig::new("route", "names a publisher that there isn't"));
        }
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.publishers.iter().map(|(name, _)| Arc::clone(name)).collect()
    }

    pub(super) fn get(&self, destination: Destination) -> &Arc<dyn Publisher> {
        &self.publishers[usize::from(destination.0)].1
    }

    pub(super) fn specs(&self) -> Vec<DestinationSpec> {
        let spec = |publisher: &Arc<dyn Publisher>| DestinationSpec {
            ordering: publisher.ordering(),
            limits: publisher.limits(),
        };
        self.publishers.iter().map(|(_, publisher)| spec(publisher)).collect()
    }

    /// Where a topic goes: the first rule whose pattern it matches decides.
    pub(super) fn of(&self, topic: &str) -> Destination {
        let rule = self.rules.iter().find(|(pattern, _)| matches(pattern, topic));
        let at = rule.and_then(|(_, to)| self.publishers.iter().position(|(name, _)| name == to));
        Destination(u16::try_from(at.unwrap_or(0)).expect("they were counted"))
    }

    /// Closes all of them, and says what went wrong.
    pub(super) async fn close(&self) -> Result<(), Reason> {
        let mut closed = Ok(());
        for (name, publisher) in &self.publishers {
            if let Err(reason) = publisher.close().await {
                closed = closed.and(Err(Reason::new(format!("{name}: {reason}"))));
            }
        }
        closed
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes")
            .field("publishers", &self.names())
            .field("rules", &self.rules)
            .finish()
    }
}

/// In a pattern, `*` stands for any number of characters.
fn matches(pattern: &str, topic: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return pattern == topic };
    let Some(rest) = topic.strip_prefix(first) else { return false };
    let Some(mut rest) = rest.strip_suffix(last) else { return false };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, topic, holds) in [
            ("orders", "orders", true),
            ("orders", "orders.eu", false),
            ("orders.*", "orders.eu", true),
            ("orders.*", "orders", false),
            ("*", "", true),
            ("*.eu", "orders.eu", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*a", "a", false),
            ("*é*", "caféx", true),
            ("a**b", "ab", true),
        ] {
            assert_eq!(matches(pattern, topic), holds, "{pattern} {topic}");
        }
    }
}
