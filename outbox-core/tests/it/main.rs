//! Tests of the core that need the testkit.

mod answers;
mod behind;
mod bench;
mod blame;
mod driver;
mod machine;
mod metrics;
mod model;
mod parked_meanwhile;
mod parking;
mod regressions;
mod routes;
mod simulation;
