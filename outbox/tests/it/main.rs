//! Every store with every publisher: what was committed arrives, in order, and nothing else.

mod brokers;
mod databases;
mod files;
mod run;
mod urls;
