//! Every store with every publisher: what was committed arrives, in order, and nothing else.

mod brokers;
mod databases;
mod files;
mod lazy;
mod run;
mod service;
mod urls;
mod watch;
