//! What `cargo metadata` tells, in the shape that the rules need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use cargo_metadata::semver::Version;
use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand};

use crate::process;

#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub(super) crates: Vec<Crate>,
    /// Every package of the lockfile that some feature reaches, ours too.
    pub(super) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug)]
pub(super) struct Crate {
    pub(super) name: String,
    /// Its directory, from the root of the workspace.
    pub(super) directory: PathBuf,
    /// What it depends on, by name; also what only a feature or a target brings in.
    pub(super) normal: BTreeSet<String>,
    pub(super) dev: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) rust_version: Option<Version>,
    /// The names of the packages that it is built with, its dev-dependencies left out.
    pub(super) dependencies: BTreeSet<String>,
}

impl Workspace {
    /// The names of all packages that `name` is built with.
    pub(super) fn tree(&self, name: &str) -> BTreeSet<String> {
        let mut tree = BTreeSet::new();
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            for package in self.packages.iter().filter(|package| package.name == name) {
                let new = package.dependencies.iter().filter(|name| !tree.contains(*name));
                open.extend(new.cloned().collect::<Vec<_>>());
            }
            tree.insert(name);
        }
        tree.remove(name);
        tree
    }
}

pub(super) fn read() -> Result<Workspace> {
    let metadata = MetadataCommand::new()
        .manifest_path(process::workspace().join("Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .exec()
        .context("cargo metadata failed")?;
    Ok(Workspace { crates: crates(&metadata), packages: packages(&metadata)? })
}

fn crates(metadata: &Metadata) -> Vec<Crate> {
    let root = &metadata.workspace_root;
    let members = metadata.workspace_packages().into_iter();
    members
        .map(|member| {
            let directory = member.manifest_path.parent().expect("a manifest is in a directory");
            let names = |dev: bool| {
                let dependencies = member.dependencies.iter();
                dependencies
                    .filter(|dependency| (dependency.kind == DependencyKind::Development) == dev)
                    .map(|dependency| dependency.name.clone())
                    .collect()
            };
            Crate {
                name: member.name.to_string(),
                directory: directory.strip_prefix(root).unwrap_or(directory).into(),
                normal: names(false),
                dev: names(true),
            }
        })
        .collect()
}

fn packages(metadata: &Metadata) -> Result<Vec<Package>> {
    let resolve = metadata.resolve.as_ref().context("cargo metadata resolved nothing")?;
    let by_id: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let nodes = resolve.nodes.iter();
    Ok(nodes
        .map(|node| {
            let package = by_id[&node.id];
            let built = node.deps.iter().filter(|dependency| {
                let kinds = &mut dependency.dep_kinds.iter();
                kinds.any(|kind| kind.kind != DependencyKind::Development)
            });
            Package {
                name: package.name.to_string(),
                version: package.version.clone(),
                rust_version: package.rust_version.clone(),
                dependencies: built
                    .map(|dependency| by_id[&dependency.pkg].name.to_string())
                    .collect(),
            }
        })
        .collect())
}
