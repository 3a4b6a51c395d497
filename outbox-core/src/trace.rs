//! The trace in which a message was made, in its headers.
//!
//! A message that is built in a span gets the headers [`TRACEPARENT`] and, if there is something to
//! say in it, [`TRACESTATE`] of the [W3C Trace Context](https://www.w3.org/TR/trace-context/), so
//! that its consumers can go on with the trace, however much later. The span is the current one of
//! `tracing`, or, where OpenTelemetry knows none for that, its own current context. A service sets
//! both up once:
//!
//! ```
//! use opentelemetry::trace::TracerProvider as _;
//! use tracing_subscriber::prelude::*;
//!
//! let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build(); // your exporter
//! let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
//! tracing_subscriber::registry().with(layer).init();
//! # let message = tracing::info_span!("order").in_scope(|| {
//! #     outbox_core::Message::bytes("orders", "").build()
//! # })?;
//! # assert!(message.header(outbox_core::trace::TRACEPARENT).is_some());
//! # Ok::<(), outbox_core::InvalidMessage>(())
//! ```
//!
//! The versions of `opentelemetry` and `tracing-opentelemetry` must be those of this crate: others
//! have a context of their own, of which it doesn't know.
//!
//! A trace that isn't sampled is told of, too, as such: consumers then don't sample it either, and
//! their logs show the same trace id. Nothing is added outside a trace, nor where the producer has
//! set the header, nor what the limits of the message would refuse: tracing makes no message
//! invalid.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{Limits, Message};

/// The header with the ids of trace and span.
pub const TRACEPARENT: &str = "traceparent";

/// The header with what the vendors of tracing systems add.
pub const TRACESTATE: &str = "tracestate";

/// Sampled, and, of the specification's second level, that the trace id is random. Who writes the
/// header must leave the others 0.
const KNOWN_FLAGS: u8 = 0b11;

/// Adds the current context's headers to `message`, which `limits` let pass.
pub(crate) fn add_context(mut message: Message, limits: &Limits) -> Message {
    let context = current();
    if !context.is_valid() {
        return message;
    }
    let flags = context.trace_flags().to_u8() & KNOWN_FLAGS;
    let parent = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    let state = context.trace_state().header();
    // A state belongs to its parent: beside the parent of somebody else, ours would be wrong.
    if add(&mut message, limits, TRACEPARENT, parent) && !state.is_empty() {
        add(&mut message, limits, TRACESTATE, state);
    }
    message
}

/// The context of the current span. A span that a filter keeps from OpenTelemetry has none, while
/// the one around it may.
fn current() -> SpanContext {
    let of = |context: Context| context.span().span_context().clone();
    let spans = of(tracing::Span::current().context());
    if spans.is_valid() { spans } else { of(Context::current()) }
}

/// Adds a header that is neither set nor refused; says whether it did.
fn add(message: &mut Message, limits: &Limits, name: &str, value: String) -> bool {
    // As brokers' and HTTP's names of headers do, these compare without their case.
    if message.headers().iter().any(|(set, _)| set.eq_ignore_ascii_case(name)) {
        return false;
    }
    message.headers_mut().push((name.to_owned(), value));
    let fits = limits.check(message).is_ok();
    if !fits {
        message.headers_mut().pop();
    }
    fits
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState, TracerProvider};
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing::Span;
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::prelude::*;

    use super::*;
    use crate::MessageBuilder;

    const PARENT: &str = "00-0000000000000000000000000000000a-000000000000000b-01";

    /// Runs `test` in a subscriber with OpenTelemetry behind it, which it tells of spans from INFO.
    fn traced(sampler: Sampler, test: impl FnOnce()) {
        let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let layer = layer.with_filter(LevelFilter::INFO);
        let everything = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(layer).with(everything),
            test,
        );
    }

    fn message() -> MessageBuilder {
        Message::bytes("orders", "")
    }

    fn headers(message: MessageBuilder) -> Vec<(String, String)> {
        message.build().unwrap().headers().to_vec()
    }

    /// What was received from another service.
    fn remote(trace: u128, flags: TraceFlags, state: &str) -> Context {
        let state = TraceState::from_key_value((!state.is_empty()).then_some(("vendor", state)));
        let (trace, span) = (TraceId::from(trace), SpanId::from(11_u64));
        let remote = SpanContext::new(trace, span, flags, true, state.unwrap());
        Context::new().with_remote_span_context(remote)
    }

    #[test]
    fn a_message_carries_the_span_in_which_it_is_built() {
        traced(Sampler::AlwaysOn, || {
            let outer = tracing::info_span!("outer");
            outer.set_parent(remote(10, TraceFlags::SAMPLED, "opaque")).unwrap();
            let _outer = outer.enter();
            let built_later = message().header("tenant", "acme");
            tracing::info_span!("inner").in_scope(|| {
                let span = Span::current().context().span().span_context().span_id();
                let parent = format!("00-0000000000000000000000000000000a-{span}-01");
                assert_ne!(span, outer.context().span().span_context().span_id());
                let pairs =
                    [("tenant", "acme"), (TRACEPARENT, &parent), (TRACESTATE, "vendor=opaque")];
                let expected = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
                assert_eq!(headers(built_later), expected);
            });
            assert_eq!(headers(message()).len(), 2);
        });
    }

    #[test]
    fn without_a_state_there_is_only_the_parent() {
        traced(Sampler::AlwaysOn, || {
            let _span = tracing::info_span!("span").entered();
            let names: Vec<_> = headers(message()).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, [TRACEPARENT]);
        });
    }

    /// Seen to fail without the question whether the header is set, and with one that minds case.
    #[test]
    fn what_the_producer_set_stays() {
        traced(Sampler::AlwaysOn, || {
            let span = tracing::info_span!("span");
            span.set_parent(remote(10, TraceFlags::SAMPLED, "opaque")).unwrap();
            let _span = span.entered();
            for name in ["traceparent", "TraceParent"] {
                assert_eq!(headers(message().header(name, "mine")), [(name.into(), "mine".into())]);
            }
            let state = message().header("Tracestate", "mine").build().unwrap();
            assert_eq!(state.headers().len(), 2, "its own state, and our parent");
            assert_eq!(
                (state.header("Tracestate"), state.header(TRACESTATE)),
                (Some("mine"), None)
            );
        });
    }

    /// Seen to fail without the question after validity.
    #[test]
    fn outside_a_trace_nothing_is_added() {
        let nothing = || assert_eq!(headers(message()), []);
        nothing();
        tracing::info_span!("span").in_scope(nothing);
        traced(Sampler::AlwaysOn, nothing);
        let _context = remote(0, TraceFlags::SAMPLED, "opaque").attach();
        nothing();
    }

    /// Seen to fail where only sampled traces are told of: consumers decided anew.
    #[test]
    fn that_a_trace_is_not_sampled_is_told() {
        traced(Sampler::AlwaysOff, || {
            let span = tracing::info_span!("span");
            span.set_parent(remote(10, TraceFlags::NOT_SAMPLED, "opaque")).unwrap();
            let headers = span.in_scope(|| headers(message()));
            let [(parent_name, parent), (state_name, state)] = &headers[..] else {
                panic!("{headers:?}")
            };
            assert_eq!((&**parent_name, &**state_name), (TRACEPARENT, TRACESTATE));
            assert!(parent.starts_with("00-0000000000000000000000000000000a-"), "{parent}");
            assert!(parent.ends_with("-00"), "{parent}");
            assert_eq!(state, "vendor=opaque");
        });
    }

    /// Seen to fail with `01` for all, and when every flag is passed on.
    #[test]
    fn the_flags_are_those_of_the_context() {
        for (flags, told) in [(0, "00"), (1, "01"), (2, "02"), (3, "03"), (0xff, "03")] {
            let _context = remote(10, TraceFlags::new(flags), "").attach();
            let expected = format!("{}{told}", PARENT.strip_suffix("01").unwrap());
            assert_eq!(headers(message()), [(TRACEPARENT.into(), expected)]);
        }
    }

    /// Seen to fail with the current span of `tracing` alone.
    #[test]
    fn where_tracing_knows_no_context_that_of_opentelemetry_counts() {
        traced(Sampler::AlwaysOn, || {
            let _seen = tracing::info_span!("seen").entered();
            let outer = headers(message());
            let unseen = tracing::debug_span!("unseen").in_scope(|| headers(message()));
            assert_eq!((outer.len(), unseen), (1, outer));
        });
        let _context = remote(10, TraceFlags::SAMPLED, "").attach();
        assert_eq!(headers(message()), [(TRACEPARENT.into(), PARENT.into())]);
    }

    /// Seen to fail when OpenTelemetry's own context is asked first.
    #[test]
    fn the_current_span_comes_before_opentelemetrys_context() {
        traced(Sampler::AlwaysOn, || {
            let _span = tracing::info_span!("span").entered();
            let _context = remote(10, TraceFlags::SAMPLED, "").attach();
            let traceparent = &headers(message())[0].1;
            assert_ne!(traceparent, PARENT);
        });
    }

    /// Seen to fail when the headers are added without a look at the limits.
    #[test]
    fn a_trace_makes_no_message_invalid() {
        let _context = remote(10, TraceFlags::SAMPLED, "line\nbreak").attach();
        assert_eq!(headers(message()), [(TRACEPARENT.into(), PARENT.into())]);
        let full = Limits { headers: 1, ..Limits::default() };
        let tight = Limits { header_bytes: PARENT.len(), ..Limits::default() };
        for limits in [full, tight] {
            let message = message().header("a", "b").build_within(&limits).unwrap();
            assert_eq!(message.headers().len(), 1);
        }
    }
}
