//! Which of our crates may import which.

use std::collections::BTreeSet;

use super::workspace::{Crate, Workspace};

/// Finds every import that the role of its crate doesn't allow.
pub(super) fn check(crates: &[Crate]) -> Vec<String> {
    let ours: BTreeSet<&String> = crates.iter().map(|member| &member.name).collect();
    let mut complaints = Vec::new();
    for Crate { name, normal, dev, .. } in crates {
        let Some(role) = role(name) else {
            complaints.push(format!("{name} has no role: give it one in {}", file!()));
            continue;
        };
        for import in normal.iter().filter(|import| ours.contains(import)) {
            if !may_import(role, import) && !STANDS_ON.contains(&(name.as_str(), import.as_str())) {
                complaints.push(format!("{name} may not depend on {import}"));
            }
        }
        for import in dev.iter().filter(|import| ours.contains(import)) {
            if name != import && !may_test_with(role, import) {
                complaints
                    .push(format!("{name} may not depend on {import}, not even for its tests"));
            }
        }
    }
    complaints
}

/// What stands on an adapter. SeaORM is sqlx underneath, and its relay's connections are sqlx's, so
/// that their SQL plumbing is there once. The testkit makes temporary outboxes, with a feature.
const STANDS_ON: [(&str, &str); 2] =
    [("outbox-seaorm", "outbox-sqlx"), ("outbox-testkit", "outbox-sqlx")];

/// The core must build for those who want neither a database nor a broker.
pub(super) fn check_core(workspace: &Workspace) -> Vec<String> {
    let tree = workspace.tree("outbox-core");
    let foreign = tree.iter().filter(|name| {
        CLIENTS.iter().any(|client| *name == client || name.starts_with(&format!("{client}-")))
    });
    foreign.map(|name| format!("outbox-core is built with {name}")).collect()
}

/// Database and broker clients; what begins so, followed by a dash, is meant too.
const CLIENTS: [&str; 12] = [
    "sqlx",
    "diesel",
    "sea-orm",
    "mysql_async",
    "tokio-postgres",
    "libsqlite3-sys",
    "rdkafka",
    "async-nats",
    "lapin",
    "aws-sdk",
    "redis",
    "rustls",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Core,
    Sql,
    Orm,
    Publisher,
    Derive,
    Testkit,
    Facade,
    Program,
    Xtask,
}

pub(super) fn role(name: &str) -> Option<Role> {
    Some(match name {
        "outbox-core" => Role::Core,
        "outbox-sql" => Role::Sql,
        "outbox-sqlx" | "outbox-diesel" | "outbox-seaorm" => Role::Orm,
        "outbox-kafka" | "outbox-nats" | "outbox-rabbitmq" | "outbox-sqs" | "outbox-redis"
        | "outbox-file" => Role::Publisher,
        "outbox-derive" => Role::Derive,
        "outbox-testkit" => Role::Testkit,
        "outbox" => Role::Facade,
        "outbox-cli" | "outbox-examples" | "examples" => Role::Program,
        "xtask" => Role::Xtask,
        _ => return None,
    })
}

fn may_import(importer: Role, import: &str) -> bool {
    let below: &[Role] = match importer {
        Role::Core | Role::Derive => &[],
        Role::Sql | Role::Publisher | Role::Testkit => &[Role::Core],
        Role::Orm => &[Role::Core, Role::Sql],
        Role::Facade => &[Role::Core, Role::Orm, Role::Publisher, Role::Derive],
        Role::Program => &[Role::Facade],
        // The benchmarks measure the stores themselves.
        Role::Xtask => &[Role::Testkit, Role::Core, Role::Sql, Role::Orm, Role::Publisher],
    };
    role(import).is_some_and(|import| below.contains(&import))
}

fn may_test_with(importer: Role, import: &str) -> bool {
    // What the derive macro writes names the core.
    let names_core = importer == Role::Derive && role(import) == Some(Role::Core);
    // The README of an ORM, whose code is compiled with it, ends with a relay.
    let relays = importer == Role::Orm && role(import) == Some(Role::Facade);
    let tests = role(import) == Some(Role::Testkit);
    may_import(importer, import) || tests || names_core || relays
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::house::workspace::Package;

    fn member(name: &str, normal: &[&str], dev: &[&str]) -> Crate {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Crate { name: name.into(), directory: name.into(), normal: set(normal), dev: set(dev) }
    }

    #[test]
    fn what_lies_below_may_be_imported() {
        let crates = [
            member("outbox-core", &["tokio"], &["outbox-testkit"]),
            member("outbox-sql", &["outbox-core"], &[]),
            member("outbox-sqlx", &["outbox-core", "outbox-sql", "sqlx"], &["outbox-testkit"]),
            member("outbox-seaorm", &["outbox-sql", "outbox-sqlx", "sea-orm"], &["outbox"]),
            member("outbox-testkit", &["outbox-core"], &[]),
            member("outbox", &["outbox-core", "outbox-sqlx"], &["outbox-testkit"]),
            member("outbox-cli", &["outbox"], &[]),
            member("xtask", &["outbox-testkit"], &[]),
        ];
        assert_eq!(check(&crates), Vec::<String>::new());
    }

    #[test]
    fn what_stands_beside_or_above_may_not() {
        let crates = [
            member("outbox-core", &["outbox-testkit"], &[]),
            member("outbox-sqlx", &["outbox-file", "outbox-seaorm"], &["outbox-cli"]),
            member("outbox-seaorm", &["outbox-diesel"], &[]),
            member("outbox-diesel", &[], &["outbox-sqlx"]),
            member("outbox-file", &[], &["outbox-sqlx"]),
            member("outbox-testkit", &["outbox-sql"], &[]),
            member("outbox-sql", &[], &[]),
            member("outbox", &["outbox-testkit"], &[]),
            member("outbox-cli", &["outbox-core"], &[]),
            member("outbox-pigeon", &[], &[]),
        ];
        let complaints = check(&crates);
        assert_eq!(complaints.len(), 11, "{complaints:#?}");
    }

    #[test]
    fn a_database_in_the_cores_tree_is_seen() {
        let package = |name: &str, dependencies: &[&str]| Package {
            name: name.into(),
            version: "1.0.0".parse().expect("a version"),
            rust_version: None,
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
        };
        let packages = vec![
            package("outbox-core", &["innocent"]),
            package("innocent", &["sqlx-core", "innocent"]),
            package("sqlx-core", &[]),
        ];
        let workspace = Workspace { crates: Vec::new(), packages };
        assert_eq!(check_core(&workspace), ["outbox-core is built with sqlx-core"]);
    }
}
