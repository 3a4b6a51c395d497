//! Tests of the core that need the testkit.

mod driver;
mod machine;
mod simulation;
