//! URLs as they may be shown.

use url::Url;

/// What of a URL may be shown: scheme, host, port and path. User, password, query and fragment are
/// left out, and so is all but the scheme where a password might hide in another part.
///
/// ```
/// assert_eq!(
///     outbox::redact("postgres://app:secret@db:5432/shop?password=secret"),
///     "postgres://db:5432/shop"
/// );
/// ```
pub fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return "(no URL)".to_owned();
    };
    let hidden = || format!("{scheme}:…");
    let Some(rest) = rest.strip_prefix("//") else {
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        return if path.contains('@') { hidden() } else { format!("{scheme}:{path}") };
    };
    let authority = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    // An unencoded `/`, `?` or `#` in a password ends the authority too early: the password's
    // rest would pass for a path.
    if rest[authority..].contains('@') {
        return hidden();
    }
    let Ok(parsed) = Url::parse(url) else { return hidden() };
    let host = parsed.host_str().unwrap_or_default();
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{}", parsed.path())
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn what_may_be_shown_is() {
        for (url, shown) in [
            ("postgres://u:canary@db:5432/shop?sslmode=require#canary", "postgres://db:5432/shop"),
            ("mysql://canary@db/shop", "mysql://db/shop"),
            ("postgres://[::1]:5432/shop", "postgres://[::1]:5432/shop"),
            ("sqlite:/var/lib/shop.db?mode=rwc", "sqlite:/var/lib/shop.db"),
            ("sqlite:///var/lib/shop.db", "sqlite:///var/lib/shop.db"),
            ("file:events.jsonl", "file:events.jsonl"),
            ("stdout:", "stdout:"),
        ] {
            assert_eq!(redact(url), shown);
        }
    }

    #[test]
    fn a_password_never_passes_for_another_part() {
        for url in [
            "postgres://canary:canary@db/shop?user=canary&password=canary",
            "postgres://canary:can/ary@db/shop",
            "postgres://u:12/canary@db/shop",
            "postgres://u:12#canary@db/shop",
            "postgres://u:12?canary@db/shop",
            "postgres://u:12\\canary@db/shop",
            "kafka://u:canary@a:9092,b:9092/topic",
            "postgres:u:canary@db/shop",
            "canary",
            "can ary://host",
            "u:canary@db",
        ] {
            assert!(!redact(url).contains("canary"), "{url} gives {}", redact(url));
        }
    }
}
