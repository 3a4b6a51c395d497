//! The packages of the lockfile: their Rust version, their doubles, and those that we keep out.

use std::collections::BTreeSet;

use super::workspace::{Package, Workspace};

/// Two of one of these mean two pools, two TLS stacks, lost traces, or a link error.
const SINGLE: [&str; 7] =
    ["sqlx", "rustls", "tokio", "libsqlite3-sys", "ring", "opentelemetry", "outbox-core"];

/// What must not be built, why, and who alone may bring it in.
const BANNED: [(&str, &str, Option<&str>); 4] = [
    ("aws-lc-rs", "with two crypto providers rustls panics at its first use; ring is ours", None),
    ("aws-lc-sys", "needs cmake, and ring is our crypto provider", None),
    ("openssl-sys", "TLS is rustls; only librdkafka can't use it", Some("rdkafka-sys")),
    ("rusqlite", "wants another libsqlite3-sys than sqlx", None),
];

/// `rust-version` of the workspace is a promise: no dependency may ask for more.
pub(super) fn check_rust(workspace: &Workspace) -> Vec<String> {
    let ours = workspace.crates.iter().map(|member| member.name.as_str()).collect::<BTreeSet<_>>();
    let (ours, theirs): (Vec<_>, Vec<_>) = workspace
        .packages
        .iter()
        .partition::<Vec<&Package>, _>(|package| ours.contains(package.name.as_str()));
    let Some(promised) = ours.iter().filter_map(|package| package.rust_version.as_ref()).max()
    else {
        return vec!["no crate of the workspace has a rust-version".to_owned()];
    };
    let newer = theirs.iter().filter_map(|package| {
        let wanted = package.rust_version.as_ref().filter(|wanted| *wanted > promised)?;
        let (name, version) = (&package.name, &package.version);
        Some(format!("{name} {version} asks for Rust {wanted}, the workspace promises {promised}"))
    });
    newer.collect()
}

pub(super) fn check_packages(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    for name in SINGLE {
        let versions: BTreeSet<_> = workspace
            .packages
            .iter()
            .filter(|package| package.name == name)
            .map(|package| package.version.to_string())
            .collect();
        if versions.len() > 1 {
            let versions = versions.into_iter().collect::<Vec<_>>().join(" and ");
            complaints.push(format!("{name} is there as {versions}"));
        }
    }
    for (name, reason, excused) in BANNED {
        let users = workspace.packages.iter().filter(|package| {
            package.dependencies.contains(name) && Some(package.name.as_str()) != excused
        });
        complaints.extend(users.map(|user| format!("{} brings in {name}: {reason}", user.name)));
    }
    let has = |name: &str| workspace.packages.iter().any(|package| package.name == name);
    if has("rustls") && !has("ring") {
        complaints.push("rustls is there without ring, its crypto provider here".to_owned());
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::house::workspace::Crate;

    fn package(name: &str, version: &str, rust: Option<&str>, dependencies: &[&str]) -> Package {
        Package {
            name: name.into(),
            version: version.parse().expect("a version"),
            rust_version: rust.map(|rust| rust.parse().expect("a version")),
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn workspace(packages: Vec<Package>) -> Workspace {
        let core = Crate {
            name: "outbox-core".into(),
            directory: "outbox-core".into(),
            normal: [].into(),
            dev: [].into(),
        };
        Workspace { crates: vec![core], packages }
    }

    #[test]
    fn a_dependency_that_wants_a_newer_rust_is_seen() {
        let core = package("outbox-core", "0.1.0", Some("1.94.0"), &[]);
        let old = package("old", "1.0.0", Some("1.60.0"), &[]);
        let newer = package("newer", "1.0.0", Some("1.94.1"), &[]);
        assert!(check_rust(&workspace(vec![core.clone(), old])).is_empty());
        assert_eq!(
            check_rust(&workspace(vec![core, newer])),
            ["newer 1.0.0 asks for Rust 1.94.1, the workspace promises 1.94.0"]
        );
        assert_eq!(check_rust(&workspace(vec![])).len(), 1, "no promise at all");
    }

    #[test]
    fn doubles_banned_packages_and_a_missing_provider_are_seen() {
        let complaints = check_packages(&workspace(vec![
            package("sqlx", "0.8.6", None, &[]),
            package("sqlx", "0.9.0", None, &[]),
            package("rustls", "0.23.0", None, &["aws-lc-rs"]),
            package("rdkafka-sys", "4.0.0", None, &["openssl-sys"]),
            package("native-tls", "0.2.0", None, &["openssl-sys"]),
        ]));
        assert_eq!(complaints.len(), 4, "{complaints:#?}");
        assert_eq!(complaints[0], "sqlx is there as 0.8.6 and 0.9.0");
    }
}
