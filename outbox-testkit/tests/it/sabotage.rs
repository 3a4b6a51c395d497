//! A protection taken out makes the suite fail: else it would prove nothing about real databases.

use outbox_core::Visibility;
use outbox_testkit::memory::Sabotage;
use outbox_testkit::suite::store::{lease, look, run, settle, verdict, visibility};

use crate::store::{Memory, Mode};

macro_rules! caught {
    ($name:ident, $sabotage:ident, $test:path, $message:literal) => {
        #[test]
        #[should_panic(expected = $message)]
        fn $name() {
            struct This;

            impl Mode for This {
                const VISIBILITY: Visibility = Visibility::Snapshot;
                const SABOTAGE: Option<Sabotage> = Some(Sabotage::$sabotage);
            }

            run::<Memory<This>>($test);
        }
    };
}

caught!(a_fence, NoFence, verdict::a_partition_of_another_owner_takes_no_verdict, "EpochLost");
caught!(a_look, NoLook, look::rows_behind_the_cursor_are_shown_exactly, "left == right");
caught!(a_late_row, NoLook, visibility::a_late_commit_is_seen_by_the_look, "left == right");
caught!(an_xmin, LyingXmin, visibility::xmin_waits_for_an_open_writer, "older and open");
caught!(a_live_lease, TakeLive, lease::a_live_lease_is_not_taken, "left == right");
caught!(
    an_id,
    DeleteBySeq,
    settle::only_the_row_of_that_id_and_partition_is_removed,
    "left == right"
);
caught!(
    a_held_head,
    HideWaiting,
    verdict::a_retry_comes_back_with_its_delay,
    "a row that waits is shown"
);
caught!(an_attempt, AddAttempts, verdict::attempts_are_set_not_added, "left == right");
