//! Tests of the core that need the testkit.

mod bench;
mod driver;
mod machine;
mod metrics;
mod model;
mod parking;
mod regressions;
mod routes;
mod simulation;
