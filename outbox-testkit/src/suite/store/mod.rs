//! The suite for stores. [`store_suite!`](crate::store_suite) calls what is here.

mod fixture;
mod harness;

#[doc(hidden)]
pub mod admin;
#[doc(hidden)]
pub mod content;
#[doc(hidden)]
pub mod fetch;
#[doc(hidden)]
pub mod lease;
#[doc(hidden)]
pub mod look;
#[doc(hidden)]
pub mod parking;
#[doc(hidden)]
pub mod reread;
#[doc(hidden)]
pub mod settle;
#[doc(hidden)]
pub mod verdict;
#[doc(hidden)]
pub mod visibility;

pub use fixture::Fixture;
pub use harness::{StoreHarness, Writer};

/// Opens a fresh outbox and runs one test on it.
#[doc(hidden)]
pub fn run<H: StoreHarness>(test: impl AsyncFnOnce(&Fixture)) {
    super::block_on(async {
        let fixture = Fixture::new(Box::new(H::open().await)).await;
        test(&fixture).await;
        fixture.close().await;
    });
}

/// Expands to a `#[test]` for each sentence of the contracts of [`Store`](outbox_core::Store) and
/// [`Admin`](outbox_core::Admin), in modules named after what they are about.
///
/// Its argument is a type that implements [`StoreHarness`].
#[macro_export]
macro_rules! store_suite {
    ($harness:ty) => {
        $crate::store_suite! { @expand $harness;
            fetch {
                rows_come_ascending_after_the_cursor,
                a_limit_bounds_the_rows_of_each_partition,
                bytes_bound_the_rows_but_a_first_comes,
                only_partitions_asked_for_are_read,
                every_partition_asked_for_has_a_generation,
                reading_the_same_again_gives_the_same,
                an_empty_request_tells_whether_partitions_are_vacant,
            }
            look {
                rows_behind_the_cursor_are_shown_exactly,
                rows_up_to_the_horizon_are_left_out,
                a_limit_counts_over_all_partitions,
                only_more_than_the_limit_is_truncated,
                rows_waiting_for_a_retry_are_shown,
            }
            visibility {
                uncommitted_rows_are_seen_by_nobody,
                rolled_back_rows_are_never_seen,
                a_transaction_appears_at_once,
                places_ascend_in_the_order_of_insertion,
                a_late_commit_is_seen_by_the_look,
                xmin_waits_for_an_open_writer,
                only_snapshots_carry_transaction_ids,
            }
            reread {
                a_lane_is_read_between_its_bounds,
                a_lane_without_a_key_is_one_row,
                limits_and_bytes_bound_each_lane,
                several_lanes_are_read_in_one_call,
                keys_compare_as_bytes,
                attempts_and_delays_come_along,
            }
            content {
                every_part_of_a_message_is_kept,
                payloads_are_opaque_bytes,
                keys_and_headers_may_hold_any_text,
                the_widest_parts_are_kept,
                times_are_kept_to_the_microsecond,
                a_key_is_in_the_partition_of_its_hash,
                a_row_that_cannot_be_read_says_so,
            }
            settle {
                a_delivered_row_is_removed,
                only_the_row_of_that_id_and_partition_is_removed,
                delivered_needs_no_lease,
                delivered_twice_is_no_error,
                a_thousand_are_settled_at_once,
                nothing_to_settle_is_no_error,
            }
            verdict {
                a_retry_comes_back_with_its_delay,
                attempts_are_set_not_added,
                the_dead_are_moved_with_their_reason,
                a_row_that_has_gone_is_told_apart,
                a_row_of_another_id_is_left_alone,
                without_the_epoch_nothing_is_written,
                a_released_partition_takes_no_verdict,
                a_partition_of_another_owner_takes_no_verdict,
                answers_come_in_the_order_of_the_verdicts,
            }
            parking {
                a_parked_lane_waits_and_comes_back_at_its_places,
                only_the_lanes_asked_for_are_told,
                a_verdict_that_parked_is_as_good_again,
                nothing_is_parked_behind_what_was_put_back,
                a_follower_of_another_key_is_not_parked,
                a_stale_owner_parks_nothing,
                a_redrive_brings_the_whole_lane,
                a_discard_frees_what_waits,
                a_purge_leaves_parked_lanes,
                a_dry_run_leaves_them_parked,
                lanes_of_several_partitions_come_back_at_once,
            }
            lease {
                the_report_lists_every_partition_and_the_asking_relay,
                what_is_free_is_taken_under_the_next_epoch,
                one_of_two_takers_wins_each_partition,
                a_live_lease_is_not_taken,
                a_renewal_keeps_the_epoch,
                a_lease_that_ran_out_is_taken_under_the_next_epoch,
                a_lease_that_ran_out_and_was_not_taken_is_renewed,
                a_released_lease_is_free_at_once,
                only_the_epoch_named_is_released,
                who_leaves_gives_up_everything,
                who_falls_silent_stops_being_live,
                the_sick_are_told,
            }
            admin {
                stats_count_what_is_pending_and_dead,
                stats_tell_the_age_of_the_oldest,
                stats_tell_owners_and_relays,
                dead_letters_are_listed_the_oldest_first,
                filters_must_all_hold,
                filters_go_by_error_and_age,
                a_dry_run_changes_nothing,
                every_change_is_audited,
                a_redriven_message_starts_again_behind_all_others,
                a_redriven_message_can_die_again,
                redrive_takes_only_what_matches,
                discard_takes_only_what_matches,
                purge_goes_by_age_in_bounded_steps,
            }
        }
    };
    (@expand $harness:ty; $($module:ident { $($test:ident,)* })*) => {
        $(mod $module {
            use super::*;
            $(#[test]
            fn $test() {
                $crate::suite::store::run::<$harness>($crate::suite::store::$module::$test);
            })*
        })*
    };
}

#[cfg(test)]
mod tests {
    use crate::suite::assert_listed;

    #[test]
    fn the_macro_names_every_test() {
        let modules = [
            ("admin", include_str!("admin.rs")),
            ("content", include_str!("content.rs")),
            ("fetch", include_str!("fetch.rs")),
            ("lease", include_str!("lease.rs")),
            ("look", include_str!("look.rs")),
            ("parking", include_str!("parking.rs")),
            ("reread", include_str!("reread.rs")),
            ("settle", include_str!("settle.rs")),
            ("verdict", include_str!("verdict.rs")),
            ("visibility", include_str!("visibility.rs")),
        ];
        assert_listed(include_str!("mod.rs"), &modules);
    }
}
