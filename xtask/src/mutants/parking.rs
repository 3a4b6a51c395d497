//! Protections of parked lanes.

use super::Mutant;
use super::relay::CORE;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "parked-since-asked",
        without: "a page that was asked for before something was parked hides it",
        file: "outbox-core/src/relay/parking.rs",
        text: "if tells && asked.parked.parked != self.parked.now.parked {",
        instead: "if false {",
        test: CORE.test("parked_meanwhile::a_page_from_before_a_verdict_hides_no_parked_lane"),
    },
    Mutant {
        name: "told-since-asked",
        without: "a lane that was put back before its verdict was answered stays parked",
        file: "outbox-core/src/relay/parking.rs",
        text: "if refused || asked.parked.told != self.parked.now.told {",
        instead: "if refused {",
        test: CORE
            .test("parked_meanwhile::a_redrive_before_the_answer_to_a_verdict_strands_nothing"),
    },
    Mutant {
        name: "refused-starts-over",
        without: "a follower that was refused is not read again",
        file: "outbox-core/src/relay/parking.rs",
        text: "if refused || asked.parked.told != self.parked.now.told {",
        instead: "if asked.parked.told != self.parked.now.told {",
        test: CORE.test("parked_meanwhile::a_follower_that_was_refused_is_read_again"),
    },
    Mutant {
        name: "told-behind-cursor",
        without: "rows that were put back behind a cursor are not read",
        file: "outbox-core/src/relay/parking.rs",
        text: "changed |= after > Seq::START;",
        instead: "let _ = after;",
        test: CORE
            .test("parked_meanwhile::what_was_put_back_behind_a_forgotten_generation_is_read"),
    },
    Mutant {
        name: "generation",
        without: "rows that were put back in front of the cursors are not read",
        file: "outbox-core/src/relay/parking.rs",
        text: "} else if cursor.generation != Some(*generation) {",
        instead: "} else if false {",
        test: CORE.test("parking::whatever_happens_a_parked_lane_keeps_its_order"),
    },
    Mutant {
        name: "lane-parked",
        without: "a relay goes on with a lane that it has parked",
        file: "outbox-core/src/relay/parking.rs",
        text: "self.parked.lanes.insert(self.lanes.get(lane).key.clone(), row.id);",
        instead: "let _ = lane;",
        test: CORE.test("parking::a_parked_lane_waits_and_comes_back_in_front_of_newer_messages"),
    },
    Mutant {
        name: "put-back",
        without: "a message that was put back is parked behind itself",
        file: "outbox-core/src/relay/rereading.rs",
        text: "} else if behind == Some(row.message.id()) {",
        instead: "} else if false {",
        test: CORE.test("parking::whatever_happens_a_parked_lane_keeps_its_order"),
    },
    Mutant {
        name: "parking-goes-first",
        without: "what follows goes on before what is being parked",
        file: "outbox-core/src/relay/reading.rs",
        text: "if crowded || lane.parking > 0 ||",
        instead: "if crowded ||",
        test: CORE.test("parking::whatever_happens_a_parked_lane_keeps_its_order"),
    },
    Mutant {
        name: "twice-enqueued",
        without: "a message that follows itself counts as the one that died",
        file: "outbox-core/src/relay/parking.rs",
        text: "entry.follows = true;",
        instead: "entry.follows = entry.row.id != behind;",
        test: CORE.test("parking::a_message_that_was_enqueued_twice_is_parked_too"),
    },
    Mutant {
        name: "parked-of-others",
        without: "what was parked is remembered of a partition that was lost",
        file: "outbox-core/src/relay/ownership.rs",
        text: "self.parked.forget(partition);",
        instead: "",
        test: CORE.test("parked_meanwhile::parked_lanes_of_others_are_forgotten"),
    },
    Mutant {
        name: "policy-park",
        without: "a lane goes on behind a dead message, though it should wait",
        file: "outbox-core/src/relay/parking.rs",
        text: "Fate::Parked { behind: entry.row.id }",
        instead: "Fate::Dead",
        test: CORE.test("parking::a_parked_lane_waits_and_comes_back_in_front_of_newer_messages"),
    },
];
