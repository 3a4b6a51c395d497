//! Where the headers of a message stand in SQS.

use std::collections::BTreeMap;

/// All headers, where they can't be attributes: see the crate's documentation.
pub const HEADERS: &str = "outbox-headers";

/// What tools for tracing look for, wherever the other headers stand.
const TRACE: &str = "traceparent";

/// Where headers go.
#[derive(Debug, PartialEq)]
pub(crate) enum Place<'a> {
    /// Each is an attribute.
    Attributes(&'a [(String, String)]),
    /// All stand in one.
    Together {
        /// JSON, pairs of name and value.
        all: String,
        /// Stands beside it as well.
        trace: Option<&'a (String, String)>,
    },
}

/// Attributes are a map without an order. So headers can be attributes if their names are in
/// ascending order, each there once, and if names and values are such as SQS takes. `free` is how
/// many attributes there can be, and must be 2 or more.
pub(crate) fn place(headers: &[(String, String)], free: usize) -> Place<'_> {
    let sorted = headers.is_sorted_by(|(one, _), (next, _)| one < next);
    if sorted && headers.len() <= free && headers.iter().all(is_attribute) {
        return Place::Attributes(headers);
    }
    let all = serde_json::to_string(headers).expect("pairs of text are JSON");
    let mut traces = headers.iter().filter(|(name, _)| name == TRACE);
    // What there is twice is for nobody to choose from.
    let trace = match (traces.next(), traces.next()) {
        (Some(trace), None) if is_attribute(trace) => Some(trace),
        _ => None,
    };
    Place::Together { all, trace }
}

/// Whether SQS takes it for an attribute. Characters that it refuses in a value are no obstacle.
fn is_attribute((name, value): &(String, String)) -> bool {
    let taken =
        |start: &str| name.get(..start.len()).is_some_and(|of| of.eq_ignore_ascii_case(start));
    let of_letters = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let dots = name.split('.').any(str::is_empty);
    let fits = (1..=256).contains(&name.len());
    fits && of_letters && !dots && !taken("aws.") && !taken("amazon.") && !value.is_empty()
}

/// The headers as they were enqueued, from all attributes.
pub(crate) fn restored(attributes: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let together = attributes.get(HEADERS).and_then(|all| serde_json::from_str(all).ok());
    together.unwrap_or_else(|| {
        let foreign = attributes.iter().filter(|(name, _)| !name.starts_with("outbox-"));
        foreign.map(|(name, value)| (name.clone(), value.clone())).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn headers_are_attributes_where_that_says_all() {
        for pairs in [
            &[][..],
            &[("tenant", "acme"), ("traceparent", "00-1-2-3")],
            &[("A", "1"), ("a", "1"), ("b.c_d-e", "\u{1}")],
        ] {
            let headers = headers(pairs);
            assert_eq!(place(&headers, 3), Place::Attributes(&headers));
        }
    }

    #[test]
    fn else_they_stand_together() {
        let long = "n".repeat(257);
        for pairs in [
            &[("b", "1"), ("a", "2")][..],
            &[("a", "1"), ("a", "2")],
            &[("a", "")],
            &[("", "1")],
            &[("a b", "1")],
            &[("ä", "1")],
            &[(".a", "1")],
            &[("a..b", "1")],
            &[("a.", "1")],
            &[("AWS.a", "1")],
            &[("amazon.a", "1")],
            &[(long.as_str(), "1")],
            &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")],
        ] {
            let headers = headers(pairs);
            let Place::Together { all, trace: None } = place(&headers, 3) else {
                panic!("{pairs:?}")
            };
            let attributes = BTreeMap::from([(HEADERS.to_owned(), all)]);
            assert_eq!(restored(&attributes), headers);
        }
    }

    #[test]
    fn the_trace_is_found_all_the_same() {
        let unsorted = headers(&[("user", "7"), ("traceparent", "00-1-2-3")]);
        let Place::Together { all, trace } = place(&unsorted, 3) else { panic!() };
        assert_eq!(trace, Some(&unsorted[1]));
        let attributes = [(HEADERS, &*all), (TRACE, "00-1-2-3")];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(restored(&attributes), unsorted);
        let twice = headers(&[("traceparent", "1"), ("traceparent", "2")]);
        assert!(matches!(place(&twice, 3), Place::Together { trace: None, .. }));
    }
}
