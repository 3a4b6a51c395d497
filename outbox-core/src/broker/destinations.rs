//! From a topic to the name of a destination.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;

/// Says to which destination of a broker (a Kafka topic, a NATS subject, a queue, …) the messages
/// of a topic go.
///
/// In a URL or a configuration file it is a template, in which `{topic}` stands for the topic:
/// `{topic}` alone (the default) is the identity, `prod.{topic}` a prefix, `events` one
/// destination for all. In a configuration file it can also be a table from topics to destinations;
/// a topic that isn't in it has none, and its messages are rejected.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Source")]
pub struct Destinations(Rule);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// What stands around each `{topic}`.
    Template(Vec<String>),
    Table(BTreeMap<String, String>),
}

/// What a configuration file may hold.
#[derive(Deserialize)]
#[serde(untagged)]
enum Source {
    Template(String),
    Table(BTreeMap<String, String>),
}

/// A template that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a destination is a name in which only `{{topic}}` may stand in braces")]
pub struct InvalidDestinations;

const TOPIC: &str = "{topic}";

impl Destinations {
    /// Each topic is its own destination.
    pub fn identity() -> Self {
        Self(Rule::Template(vec![String::new(), String::new()]))
    }

    /// Exactly these topics have destinations.
    pub fn table(table: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(Rule::Table(table.into_iter().collect()))
    }

    /// Where messages of `topic` go, if anywhere.
    pub fn of<'a>(&'a self, topic: &'a str) -> Option<Cow<'a, str>> {
        match &self.0 {
            Rule::Table(table) => table.get(topic).map(|name| Cow::Borrowed(name.as_str())),
            Rule::Template(around) if around.iter().all(String::is_empty) && around.len() == 2 => {
                Some(Cow::Borrowed(topic))
            }
            Rule::Template(around) => Some(Cow::Owned(around.join(topic))),
        }
    }

    /// Whether messages of any topic go there.
    pub fn lead_to(&self, destination: &str) -> bool {
        let around = match &self.0 {
            Rule::Table(table) => return table.values().any(|name| name == destination),
            Rule::Template(around) => around,
        };
        let (start, times) = (around[0].len(), around.len() - 1);
        let rest = destination.len().saturating_sub(around.iter().map(String::len).sum());
        // Each `{topic}` stands for as much of the rest, and the first says for what.
        let topic = destination.get(start..start + rest.checked_div(times).unwrap_or_default());
        topic.is_some_and(|topic| {
            topic.is_empty() == (times == 0) && around.join(topic) == destination
        })
    }
}

impl Default for Destinations {
    fn default() -> Self {
        Self::identity()
    }
}

impl FromStr for Destinations {
    type Err = InvalidDestinations;

    fn from_str(template: &str) -> Result<Self, InvalidDestinations> {
        let around: Vec<String> = template.split(TOPIC).map(str::to_owned).collect();
        if template.is_empty() || around.iter().any(|text| text.contains(['{', '}'])) {
            return Err(InvalidDestinations);
        }
        Ok(Self(Rule::Template(around)))
    }
}

impl TryFrom<Source> for Destinations {
    type Error = InvalidDestinations;

    fn try_from(source: Source) -> Result<Self, InvalidDestinations> {
        match source {
            Source::Template(template) => template.parse(),
            Source::Table(table) => Ok(Self(Rule::Table(table))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        for (template, topic, destination) in [
            ("{topic}", "orders", "orders"),
            ("prod.{topic}", "orders", "prod.orders"),
            ("{topic}-{topic}.fifo", "a", "a-a.fifo"),
            ("events", "orders", "events"),
        ] {
            let destinations: Destinations = template.parse().unwrap();
            assert_eq!(destinations.of(topic).unwrap(), destination);
        }
        for bad in ["", "{key}", "a{", "{topic}}"] {
            assert_eq!(bad.parse::<Destinations>(), Err(InvalidDestinations), "{bad}");
        }
    }

    #[test]
    fn where_topics_lead() {
        for (destinations, leads, does_not) in [
            ("{topic}", &["orders", "é"][..], &[""][..]),
            (
                "prod.{topic}",
                &["prod.orders", "prod.prod."],
                &["prod.", "orders", "prod", "test.orders"],
            ),
            ("{topic}.fence", &["orders.fence"], &[".fence", "fence", "orders.fences"]),
            (
                "{topic}-{topic}.fifo",
                &["a-a.fifo", "a-a-a-a.fifo"],
                &["a-b.fifo", "a-aa.fifo", "-.fifo"],
            ),
            ("a{topic}{topic}", &["aéé"], &["a", "aa", "aé", "aaé"]),
            ("events", &["events"], &["", "event", "events.", "eventz"]),
        ] {
            let destinations: Destinations = destinations.parse().unwrap();
            assert!(leads.iter().all(|name| destinations.lead_to(name)), "{destinations:?}");
            assert!(!does_not.iter().any(|name| destinations.lead_to(name)), "{destinations:?}");
        }
        let table = Destinations::table([("orders".to_owned(), "shop".to_owned())]);
        assert!(table.lead_to("shop") && !table.lead_to("orders"));
    }

    #[test]
    fn a_table_knows_its_topics_only() {
        let table: Destinations = serde_json::from_str(r#"{"orders": "shop-orders"}"#).unwrap();
        assert_eq!(table.of("orders").unwrap(), "shop-orders");
        assert_eq!(table.of("payments"), None);
        let template: Destinations = serde_json::from_str(r#""prod.{topic}""#).unwrap();
        assert_eq!(template.of("orders").unwrap(), "prod.orders");
        assert!(serde_json::from_str::<Destinations>(r#""{nothing}""#).is_err());
    }
}
