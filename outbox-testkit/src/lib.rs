//! Conformance suites, a reference store and broker, a simulator and a history checker for outboxes.
