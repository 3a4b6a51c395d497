//! The rules of the house: what no compiler checks, and every contributor may rely on.
//!
//! Each is a function from what it looks at to the sentences that say what is wrong. The tests run them over this
//! workspace, and over an example that breaks them.

mod claims;
mod clients;
mod failures;
mod imports;
mod layout;
mod mutants;
mod purity;
mod source;
mod versions;
mod words;
mod workspace;

use anyhow::{Result, bail};

use self::source::Source;
use self::workspace::Workspace;

type Rule = fn(&House) -> Vec<String>;

const RULES: [(&str, Rule); 12] = [
    ("crates import only what lies below them", |house| imports::check(&house.workspace.crates)),
    ("the core's tree has no database and no broker", |house| {
        imports::check_core(&house.workspace)
    }),
    ("each adapter brings its own client, and no other", |_| clients::check()),
    ("adapters have the same files", |house| {
        layout::check(&house.workspace.crates, &house.sources)
    }),
    ("files are short", |house| source::check_length(&house.sources)),
    ("documents name tests that exist", |house| claims::check(&house.sources)),
    ("nothing is left for later", |house| words::check(&house.sources)),
    ("each failure is named by a test", |house| failures::check(&house.sources)),
    ("each mutant fits the code, and is listed", |house| mutants::check(&house.sources)),
    ("the relay machine has no clock, no I/O, no chance", |house| purity::check(&house.sources)),
    ("the promised Rust version suffices", |house| versions::check_rust(&house.workspace)),
    ("one version of what matters, nothing banned", |house| {
        versions::check_packages(&house.workspace)
    }),
];

/// All that the rules look at.
#[derive(Debug)]
struct House {
    workspace: Workspace,
    sources: Vec<Source>,
}

impl House {
    fn read() -> Result<Self> {
        Ok(Self { workspace: workspace::read()?, sources: source::read()? })
    }
}

/// Checks all rules; prints each, and fails after the last if any is broken.
pub(crate) fn check() -> Result<()> {
    let house = House::read()?;
    let mut broken = 0;
    for (name, rule) in RULES {
        let complaints = rule(&house);
        println!("{} {name}", if complaints.is_empty() { "kept:  " } else { "BROKEN:" });
        for complaint in &complaints {
            println!("    {complaint}");
        }
        broken += usize::from(!complaints.is_empty());
    }
    if broken > 0 {
        bail!("{broken} of {} house rules are broken", RULES.len());
    }
    Ok(())
}

#[cfg(test)]
#[test]
fn the_house_keeps_its_rules() {
    check().expect("the complaints stand above");
}
