//! URLs as they may be shown.

use url::Url;

/// What of a URL may be shown: scheme, hosts, ports and path. User, password, query and fragment
/// are left out, and so is all but the scheme where a password might hide in another part.
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
        // Only files have a path there: of anything else it may be the password.
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        let is_path = matches!(scheme, "file" | "sqlite" | "stdout") && !path.contains('@');
        return if is_path { format!("{scheme}:{path}") } else { hidden() };
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    // An unencoded `/`, `?` or `#` in a password ends the authority too early: the password's
    // rest would pass for a path.
    if path.contains('@') {
        return hidden();
    }
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    show(scheme, hosts, path).unwrap_or_else(hidden)
}

/// Of brokers there may be several hosts, which no URL has by the standard: each is read as if it
/// were the only one.
fn show(scheme: &str, hosts: &str, path: &str) -> Option<String> {
    let parse = |host, path| Url::parse(&format!("{scheme}://{host}{path}")).ok();
    let host = |host| {
        let parsed = parse(host, "")?;
        let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}{port}", parsed.host_str().unwrap_or_default()))
    };
    let hosts = hosts.split(',').map(host).collect::<Option<Vec<_>>>()?.join(",");
    Some(format!("{scheme}://{hosts}{}", parse("host", path)?.path()))
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
            // Seen to fail before its fix: nothing told two brokers of several hosts apart.
            ("kafka://u:canary@a:9092,b.c:9093?acks=canary", "kafka://a:9092,b.c:9093"),
            ("nats://a,[::1]:4222/x#canary", "nats://a,[::1]:4222/x"),
            ("redis-cluster://u:can,ary@a:6379,b", "redis-cluster://a:6379,b"),
            ("sqlite:/var/lib/shop.db?mode=rwc", "sqlite:/var/lib/shop.db"),
            ("sqlite:///var/lib/shop.db", "sqlite:///var/lib/shop.db"),
            ("file:events.jsonl", "file:events.jsonl"),
            ("file:///tmp/events", "file:///tmp/events"),
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
            "kafka://u:canary,b:9092",
            "kafka://a:9092,u:canary",
            "kafka://a,u:12/canary@b",
            "postgres:u:canary@db/shop",
            "canary",
            "can ary://host",
            "u:canary@db",
            // Both seen to fail before their fix.
            "u:canary",
            "postgres:u:canary",
        ] {
            assert!(!redact(url).contains("canary"), "{url} gives {}", redact(url));
        }
    }
}
