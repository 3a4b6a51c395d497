//! The suite for publishers. [`publisher_suite!`](crate::publisher_suite) calls what is here.

mod fixture;
mod harness;

#[doc(hidden)]
pub mod content;
#[doc(hidden)]
pub mod ending;
#[doc(hidden)]
pub mod failing;
#[doc(hidden)]
pub mod publish;

pub use fixture::{Fixture, tokens};
pub use harness::PublisherHarness;

/// Opens a fresh destination and runs one test on it.
#[doc(hidden)]
pub fn run<H: PublisherHarness>(test: impl AsyncFnOnce(&Fixture)) {
    super::block_on(async {
        let fixture = Fixture::new(Box::new(H::open().await)).await;
        test(&fixture).await;
        fixture.close().await;
    });
}

/// Expands to a `#[test]` for each sentence of the contract of
/// [`Publisher`](outbox_core::Publisher), in modules named after what they are about.
///
/// Its argument is a type that implements [`PublisherHarness`].
#[macro_export]
macro_rules! publisher_suite {
    ($harness:ty) => {
        $crate::publisher_suite! { @expand $harness;
            publish {
                each_message_has_its_outcome,
                an_empty_batch_is_nothing,
                a_full_batch_is_taken,
                a_key_keeps_its_order_in_a_batch,
                a_key_keeps_its_order_over_batches,
                several_calls_go_on_at_once,
                a_second_publish_sends_again,
                a_publisher_that_works_says_so,
            }
            content {
                every_part_arrives,
                payloads_arrive_byte_for_byte,
                keys_and_headers_arrive_as_they_are,
            }
            failing {
                a_failure_in_the_middle_keeps_what_ordering_declares,
                what_is_too_large_is_rejected_alone,
            }
            ending {
                after_the_close_all_is_unavailable,
                what_was_delivered_outlives_the_close,
                what_was_never_polled_is_never_sent,
                a_dropped_publish_sends_nothing_more,
                a_deadline_that_has_passed_is_no_delivery,
            }
        }
    };
    (@expand $harness:ty; $($module:ident { $($test:ident,)* })*) => {
        $(mod $module {
            use super::*;
            $(#[test]
            fn $test() {
                $crate::suite::publisher::run::<$harness>(
                    $crate::suite::publisher::$module::$test,
                );
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
            ("content", include_str!("content.rs")),
            ("ending", include_str!("ending.rs")),
            ("failing", include_str!("failing.rs")),
            ("publish", include_str!("publish.rs")),
        ];
        assert_listed(include_str!("mod.rs"), &modules);
    }
}
