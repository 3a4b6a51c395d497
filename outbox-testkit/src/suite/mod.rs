//! Conformance suites: one test for each sentence of a contract, one call for all of them.
//!
//! An adapter implements a harness and calls [`store_suite!`](crate::store_suite) or
//! [`publisher_suite!`](crate::publisher_suite), which expand to one `#[test]` per sentence. What
//! an adapter can't do, it declares; none picks its tests.

pub mod publisher;
pub mod store;

use std::future::Future;

/// Runs a test on a runtime of its own, with two threads, so that calls really meet.
fn block_on<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime starts");
    runtime.block_on(test)
}

/// A test that the macro in `list` doesn't name would never run.
#[cfg(test)]
fn assert_listed(list: &str, modules: &[(&str, &str)]) {
    for (module, source) in modules {
        let (_, listed) = list.split_once(&format!("            {module} {{\n")).unwrap();
        let (listed, _) = listed.split_once('}').unwrap();
        let listed: Vec<_> = listed.split(',').map(str::trim).collect();
        let functions: Vec<_> = source.split("\npub async fn ").skip(1).collect();
        assert!(!functions.is_empty(), "{module} has no tests");
        for function in functions {
            let (name, _) = function.split_once('(').unwrap();
            assert!(listed.contains(&name), "{module}::{name} is in no suite");
        }
    }
}
