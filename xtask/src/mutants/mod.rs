//! `cargo xtask mutants`: takes out one protection at a time, and demands that a test notices.
//!
//! The code of the product has no switches. A [`Mutant`] is a text of one of its files and what
//! stands there instead, in a copy of the workspace that is built and tested apart.

mod brokers;
mod fence;
mod list;
mod parking;
mod relay;
mod sql;
mod tree;
mod trial;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

pub(crate) use self::list::tables;
use self::tree::Tree;
pub(crate) use self::tree::mutated;
use self::trial::{Found, Trial};
use crate::services;

/// A protection that is taken out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mutant {
    /// For `--only`.
    pub(crate) name: &'static str,
    /// What protects no longer, and what from.
    pub(crate) without: &'static str,
    /// From the root of the workspace.
    pub(crate) file: &'static str,
    /// What stands there, exactly once.
    pub(crate) text: &'static str,
    /// What stands there instead.
    pub(crate) instead: &'static str,
    /// What has to fail.
    pub(crate) test: Test,
}

/// A test, by the program that has it and its path there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) suite: Suite,
    pub(crate) name: &'static str,
}

/// A test program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(crate) package: &'static str,
    pub(crate) target: &'static str,
    /// Whether its tests ask servers.
    pub(crate) servers: bool,
    beside: Beside,
}

/// What is built together with a test program: dependencies have the features that all of it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// Much depends on what changes, and need not be built.
    Nothing,
    /// Nothing depends on what changes, and many share their dependencies.
    All,
}

impl Suite {
    const fn of(package: &'static str, target: &'static str) -> Self {
        Self { package, target, servers: true, beside: Beside::Nothing }
    }

    const fn test(self, name: &'static str) -> Test {
        Test { suite: self, name }
    }
}

/// All of them, by what they are about. What others are built on comes last: whatever is built on a
/// file that has changed is built again.
pub(crate) const AREAS: [(&str, &[Mutant]); 5] = [
    ("Publishers", brokers::MUTANTS),
    ("Databases: leases and verdicts", fence::MUTANTS),
    ("Databases: rows, producers, consumers, operators", sql::MUTANTS),
    ("Parked lanes", parking::MUTANTS),
    ("The relay machine and its driver", relay::MUTANTS),
];

#[derive(Debug, Args)]
pub(crate) struct MutantsArgs {
    /// Only these, by name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,

    /// Prints them all as `MUTANTS.md` has them, and runs nothing.
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(args: &MutantsArgs) -> Result<()> {
    if args.list {
        print!("{}", tables()?);
        return Ok(());
    }
    let chosen = chosen(&args.only)?;
    let needs_servers = chosen.iter().any(|mutant| mutant.test.suite.servers);
    let variables = if needs_servers { services::up_all()? } else { Vec::new() };
    let tree = Tree::refresh()?;
    let trial = Trial::new(&tree, variables);
    let began = Instant::now();
    let mut unnoticed = Vec::new();
    for suite in suites(&chosen) {
        let mutants: Vec<_> = chosen.iter().filter(|mutant| mutant.test.suite == suite).collect();
        unmutated(&trial, suite, &mutants)?;
        for mutant in mutants {
            let began = Instant::now();
            let found = without(&trial, &tree, mutant)?;
            if !told(mutant, found, began.elapsed()) {
                unnoticed.push(mutant.name);
            }
        }
    }
    tree.finish()?;
    let (all, left) = (chosen.len(), unnoticed.len());
    println!("{} of {all} mutants noticed in {} s", all - left, began.elapsed().as_secs());
    if left > 0 {
        bail!("nobody notices {}", unnoticed.join(", "));
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<Mutant>> {
    let all = || AREAS.iter().flat_map(|(_, mutants)| mutants.iter().copied());
    if let Some(unknown) = names.iter().find(|name| !all().any(|mutant| mutant.name == **name)) {
        bail!("no mutant is called `{unknown}`: `--list` says which there are");
    }
    let is_meant = |mutant: &Mutant| names.is_empty() || names.iter().any(|n| n == mutant.name);
    Ok(all().filter(is_meant).collect())
}

/// In the order of their first mutants.
fn suites(mutants: &[Mutant]) -> Vec<Suite> {
    let mut suites = Vec::new();
    for mutant in mutants {
        if !suites.contains(&mutant.test.suite) {
            suites.push(mutant.test.suite);
        }
    }
    suites
}

/// What fails anyway notices nothing.
fn unmutated(trial: &Trial<'_>, suite: Suite, mutants: &[&Mutant]) -> Result<()> {
    let began = Instant::now();
    let program = trial.build(suite)?;
    let mut tests: Vec<_> = mutants.iter().map(|mutant| mutant.test).collect();
    tests.sort_by_key(|test| test.name);
    tests.dedup();
    for test in &tests {
        if let Found::Failed(how) = trial.run(&program, *test)? {
            bail!("`{}` of {} fails without any mutant: {how}", test.name, suite.package);
        }
    }
    let took = began.elapsed();
    println!("{} unmutated: {} tests pass, {} s", suite.package, tests.len(), took.as_secs());
    Ok(())
}

/// What the test finds while the protection is out, or why it finds nothing.
fn without(trial: &Trial<'_>, tree: &Tree, mutant: &Mutant) -> Result<Result<Found>> {
    let original = tree.replace(mutant)?;
    let built = trial.build(mutant.test.suite);
    let found = built.and_then(|program| trial.run(&program, mutant.test));
    tree.restore(mutant, &original)?;
    Ok(found)
}

/// Prints what came of it. Returns whether the test has noticed.
fn told(mutant: &Mutant, found: Result<Found>, took: Duration) -> bool {
    let (word, how) = match found {
        Ok(Found::Failed(how)) => ("noticed", how),
        Ok(Found::Passed) => ("SURVIVED", String::new()),
        Err(error) => ("ERROR", format!("{error:#}")),
    };
    let Mutant { name, file, test, .. } = mutant;
    println!("{word:<9}{name:<27} {file:<38} {} {} s", test.name, took.as_secs());
    if !how.is_empty() {
        println!("         {how}");
    }
    word == "noticed"
}
