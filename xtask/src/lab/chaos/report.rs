//! The report, as JSON and as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use outbox_testkit::history::Violation;
use serde_json::{Value, json};

use super::judge::{Evidence, Verdict};
use super::plan::{Fault, Step};
use super::recovery::percentile;
use super::{Pair, Run};

/// What became of one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Happened {
    pub(super) step: Step,
    /// How many messages were pending when it struck.
    pub(super) in_flight: u64,
    /// From its end until all that was pending then had been delivered.
    pub(super) recovery: Option<Duration>,
}

/// A run that was judged.
pub(super) struct Judged {
    pub(super) pair: Pair,
    pub(super) run: Run,
    pub(super) evidence: Evidence,
    pub(super) verdict: Verdict,
}

/// How often a fault struck.
#[derive(Default)]
struct Count {
    struck: u64,
    in_flight: u64,
    longest: Duration,
}

impl Judged {
    pub(super) fn passed(&self) -> bool {
        self.verdict.broken.is_empty()
    }

    fn counts(&self) -> BTreeMap<Fault, Count> {
        let mut counts = BTreeMap::<_, Count>::new();
        for happened in &self.run.happened {
            let count = counts.entry(happened.step.fault).or_default();
            count.struck += 1;
            count.in_flight += u64::from(happened.in_flight > 0);
            count.longest = count.longest.max(happened.recovery.unwrap_or_default());
        }
        counts
    }

    /// Of faults alone: what operators do is no fault.
    fn recoveries(&self) -> Vec<Duration> {
        let faults =
            self.run.happened.iter().filter(|happened| !happened.step.fault.is_operation());
        let mut recoveries: Vec<_> = faults.filter_map(|happened| happened.recovery).collect();
        recoveries.sort_unstable();
        recoveries
    }

    fn violations(&self, kind: fn(&Violation) -> bool) -> usize {
        self.verdict.report.violations.iter().filter(|violation| kind(violation)).count()
    }

    fn found(&self) -> [(&'static str, usize); 3] {
        [
            ("lost", self.violations(|violation| matches!(violation, Violation::Lost { .. }))),
            ("ghosts", self.violations(|violation| matches!(violation, Violation::Ghost { .. }))),
            ("order_breaks", self.violations(|found| matches!(found, Violation::Order { .. }))),
        ]
    }

    pub(super) fn json(&self) -> Value {
        let Self { pair, run, evidence, verdict } = self;
        let counts = self.counts();
        let sum = |of: fn(&Count) -> u64| counts.values().map(of).sum::<u64>();
        let faults: Vec<_> = counts
            .iter()
            .map(|(fault, count)| {
                json!({
                    "fault": fault.to_string(),
                    "struck": count.struck,
                    "in_flight": count.in_flight,
                    "longest_recovery_seconds": count.longest.as_secs_f64(),
                })
            })
            .collect();
        let recoveries = self.recoveries();
        let seconds = |percent| percentile(&recoveries, percent).map(|span| span.as_secs_f64());
        let [(_, lost), (_, ghosts), (_, order_breaks)] = self.found();
        let report = &verdict.report;
        json!({
            "store": pair.store_name(),
            "broker": pair.broker_name(),
            "seed": pair.seed,
            "minutes": pair.minutes,
            "relays": pair.relays,
            "again": pair.again(),
            "versions": { "store": run.versions[0], "broker": run.versions[1] },
            "durability": { "store": run.durability[0], "broker": run.durability[1] },
            "seconds": run.took.as_secs_f64(),
            "transactions": evidence.written.len(),
            "committed": report.committed,
            "delivered": report.delivered,
            "dead": report.dead_lettered,
            "purged": evidence.purged.len(),
            "redriven": run.put_back,
            "faults": faults,
            "faults_struck": sum(|count| count.struck),
            "faults_in_flight": sum(|count| count.in_flight),
            "lost": lost,
            "ghosts": ghosts,
            "order_breaks": order_breaks,
            "duplicates": report.duplicates,
            "duplicates_bound": verdict.bounds.duplicates(),
            "stale_writes": {
                "attempted": evidence.stale.attempted,
                "refused": evidence.stale.refused,
            },
            "losses_of_leases": evidence.told.lost,
            "recovery_seconds": {
                "p50": seconds(50), "p99": seconds(99), "max": seconds(100),
            },
            "broken": verdict.broken,
            "passed": self.passed(),
        })
    }

    pub(super) fn table(&self) -> String {
        let Self { pair, run, evidence, verdict } = self;
        let report = &verdict.report;
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            writeln!(text, "  {name:<24}{value}").expect("a string");
        };
        row("seed", pair.seed.to_string());
        row("store", format!("{}; {}", run.versions[0], run.durability[0]));
        row("broker", format!("{}; {}", run.versions[1], run.durability[1]));
        row(
            "transactions",
            format!("{} in {:.0} s", evidence.written.len(), run.took.as_secs_f64()),
        );
        row("messages committed", report.committed.to_string());
        row("delivered", report.delivered.to_string());
        row("dead letters", format!("{} ({} purged)", report.dead_lettered, evidence.purged.len()));
        row("redriven", run.put_back.to_string());
        for (name, found) in self.found() {
            row(&name.replace('_', " "), found.to_string());
        }
        let bound = verdict.bounds.duplicates();
        row("duplicates", format!("{}, faults explain {bound}", report.duplicates));
        let stale = evidence.stale;
        row("stale writes", format!("{} attempted, {} refused", stale.attempted, stale.refused));
        row("losses of leases", evidence.told.lost.to_string());
        let recoveries = self.recoveries();
        let at = |percent| {
            let span = percentile(&recoveries, percent).unwrap_or_default();
            format!("{:.2} s", span.as_secs_f64())
        };
        row("recovery", format!("p50 {}, p99 {}, max {}", at(50), at(99), at(100)));
        writeln!(
            text,
            "  {:<32}{:>7}{:>11}{:>18}",
            "fault", "struck", "in flight", "longest recovery"
        )
        .expect("a string");
        for (fault, count) in self.counts() {
            let Count { struck, in_flight, longest } = count;
            let (fault, longest) = (fault.to_string(), longest.as_secs_f64());
            writeln!(text, "  {fault:<32}{struck:>7}{in_flight:>11}{longest:>16.2} s")
                .expect("a string");
        }
        for broken in &verdict.broken {
            writeln!(text, "  BROKEN: {broken}").expect("a string");
        }
        write!(text, "  again: {}", pair.again()).expect("a string");
        text
    }
}
