//! Which adapter serves which URL.

use crate::{Error, redact};

/// An adapter, found by a URL's scheme.
#[derive(Clone, Copy)]
pub(crate) struct Scheme<T> {
    /// What stands before the colon: the first is the usual one.
    pub(crate) names: &'static [&'static str],
    /// The feature that compiles it in.
    pub(crate) feature: &'static str,
    /// The adapter, if it is compiled in.
    pub(crate) adapter: Option<T>,
}

/// `Some` of the expression if the feature is enabled.
macro_rules! with_feature {
    ($feature:literal, $adapter:expr) => {{
        #[cfg(feature = $feature)]
        {
            Some($adapter)
        }
        #[cfg(not(feature = $feature))]
        {
            None
        }
    }};
}
pub(crate) use with_feature;

/// Finds the adapter for `url` in a table of `what`, such as "store".
pub(crate) fn find<T>(
    what: &'static str,
    table: impl Iterator<Item = Scheme<T>> + Clone,
    url: &str,
) -> Result<T, Error> {
    let Some((scheme, _)) = url.split_once(':') else {
        return Err(Error::Url { url: redact(url), problem: "it has no scheme".into() });
    };
    let scheme = scheme.to_ascii_lowercase();
    let is_meant = |entry: &Scheme<T>| entry.names.contains(&scheme.as_str());
    let Some(found) = table.clone().find(is_meant) else {
        let known = table.map(|entry| format!("`{}:`", entry.names[0]));
        let known = known.collect::<Vec<_>>().join(", ");
        return Err(Error::Scheme { what, scheme: scheme.chars().take(20).collect(), known });
    };
    found.adapter.ok_or(Error::Feature { scheme, feature: found.feature })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Scheme<u8>; 2] = [
        Scheme { names: &["postgres", "postgresql"], feature: "sqlx-postgres", adapter: Some(1) },
        Scheme { names: &["mysql"], feature: "sqlx-mysql", adapter: None },
    ];

    #[test]
    fn finds_by_every_name() {
        assert_eq!(find("store", TABLE.into_iter(), "postgres://h/d").unwrap(), 1);
        assert_eq!(find("store", TABLE.into_iter(), "POSTGRESQL://h/d").unwrap(), 1);
    }

    #[test]
    fn says_which_feature_is_missing() {
        let error = find("store", TABLE.into_iter(), "mysql://u:canary@h/d").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`mysql:` needs the feature `sqlx-mysql` of the crate `outbox`, which is not enabled"
        );
        assert_eq!(error.remedy(), "build with `cargo add outbox --features sqlx-mysql`");
    }

    #[test]
    fn says_which_schemes_there_are() {
        let error = find("store", TABLE.into_iter(), "oracle://u:canary@h/d").unwrap_err();
        assert_eq!(error.to_string(), "`oracle:` names no store");
        assert_eq!(error.remedy(), "use one of `postgres:`, `mysql:`");
        let error = find("store", TABLE.into_iter(), "canary").unwrap_err();
        assert_eq!(error.to_string(), "the URL `(no URL)` can't be used: it has no scheme");
    }
}
