//! Claiming a partition in a stream.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::client::RequestErrorKind;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{publish::PublishAck, response::Response};
use bytes::Bytes;
use outbox_core::{Epoch, Outcome, Reason};
use tokio::time::sleep;

use crate::NatsConfig;
use crate::fence::{Claim, Fence, Gate};
use crate::link::{Link, api};
use crate::lookup::{Home, look_up};
use crate::outcome::{bar, denied, refused};

/// The header of a claim: its epoch, a decimal number.
const EPOCH: &str = "outbox-epoch";

/// How long to wait for what another has under way at the same subject.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// The sequence of the claim under which messages pass, made if there is none of that epoch. It
/// isn't `refused`, unless the stream says so still.
///
/// The outcome is that of what doesn't pass: another has claimed the partition under a later epoch,
/// it can't be told who has, or the stream refuses the claim.
pub(crate) async fn claim(
    (link, config): (&Link, &NatsConfig),
    gate: &Gate,
    fence: &Fence,
    refused: Option<u64>,
) -> Result<u64, Outcome> {
    let mut last = gate.last.lock().await;
    // A later one than ours is asked for again: somebody may have put it away.
    let is_ours = |claim: &&Claim| claim.epoch == fence.epoch && Some(claim.sequence) != refused;
    if let Some(claim) = last.as_ref().filter(is_ours) {
        return Ok(claim.sequence);
    }
    let stream = stream(link, config, fence).await.map_err(Outcome::Unavailable)?;
    let _turn = link.questions().acquire().await;
    loop {
        *last = ask(link, config, &stream, fence).await.map_err(Outcome::Unavailable)?;
        if let Some(answer) = last.as_ref().and_then(|claim| judge(claim, fence)) {
            return answer;
        }
        let expected = last.map(|claim| claim.sequence).unwrap_or_default();
        if let Some(sequence) = make(link, fence, expected).await? {
            *last = Some(Claim { epoch: fence.epoch, sequence });
            return Ok(sequence);
        }
        sleep(PAUSE).await;
    }
}

/// `None` if the claim is of an epoch that is over.
fn judge(claim: &Claim, fence: &Fence) -> Option<Result<u64, Outcome>> {
    let (theirs, ours) = (claim.epoch, fence.epoch);
    if theirs > ours {
        let says = format!(
            "a relay with the later epoch {} has the partition by the fence `{}`; this one's is {}",
            theirs.0, fence.subject, ours.0
        );
        return Some(Err(Outcome::Fenced(says.into())));
    }
    (theirs == ours).then_some(Ok(claim.sequence))
}

async fn stream(link: &Link, config: &NatsConfig, fence: &Fence) -> Result<String, Reason> {
    let question = api(config.domain.as_deref(), "STREAM.NAMES");
    let home = permitted(link, &question, look_up(link, config, &fence.subject)).await?;
    if let Home::Stream(stream) = home {
        return Ok(stream);
    }
    Err(match home.verdict(&fence.subject, config) {
        Some(Outcome::Unavailable(reason) | Outcome::Rejected(reason)) => reason,
        _ => unanswered(&"JetStream doesn't answer".into()),
    })
}

/// The last claim in the stream. Its leader answers, which knows of every claim that was
/// acknowledged.
async fn ask(
    link: &Link,
    config: &NatsConfig,
    stream: &str,
    fence: &Fence,
) -> Result<Option<Claim>, Reason> {
    let question = api(config.domain.as_deref(), &format!("STREAM.MSG.GET.{stream}"));
    let asking = async {
        let stream = link.jetstream().get_stream_no_info(stream).await.map_err(|e| Reason::of(&e));
        let message = stream?.get_last_raw_message_by_subject(&fence.subject).await;
        match message {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unanswered(&Reason::of(&error))),
        }
    };
    let Some(message) = permitted(link, &question, asking).await?? else { return Ok(None) };
    let epoch = message.headers.get(EPOCH).and_then(|epoch| epoch.as_str().parse().ok());
    let Some(epoch) = epoch else {
        return Err(Reason::new(format!(
            "the last message of the fence's subject `{}` is no claim: remove it from the stream",
            fence.subject
        )));
    };
    Ok(Some(Claim { epoch: Epoch(epoch), sequence: message.sequence }))
}

/// Claims the partition after the last claim. `None` if there is another one by now.
async fn make(link: &Link, fence: &Fence, expected: u64) -> Result<Option<u64>, Outcome> {
    let mut headers = HeaderMap::new();
    headers.insert(EPOCH, fence.epoch.0.to_string());
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    let subject = fence.subject.clone();
    let asking = link.client().request_with_headers(subject, headers, Bytes::new());
    let answer = permitted(link, &fence.subject, asking).await.map_err(Outcome::Unavailable)?;
    let answer = answer.map_err(|error| {
        Outcome::Unavailable(unanswered(&match error.kind() {
            RequestErrorKind::NoResponders => "no stream answers".into(),
            _ => Reason::of(&error),
        }))
    })?;
    match serde_json::from_slice(&answer.payload) {
        Ok(Response::Ok(PublishAck { sequence, .. })) => Ok(Some(sequence)),
        Ok(Response::Err { error }) if bar(error.error_code()).is_some() => Ok(None),
        Ok(Response::Err { error }) => {
            let says = format!("the stream refuses the claim on the partition: {error}");
            Err(match refused(&error, says.into()) {
                // Neither would the stream take a message, and it may be set up otherwise.
                Outcome::Rejected(reason) => Outcome::Failed(reason),
                // It would take messages, so that none is to blame.
                Outcome::Failed(reason) => Outcome::Fenced(reason),
                outcome => outcome,
            })
        }
        Err(_) => Err(Outcome::Unavailable(unanswered(&"it is no stream that answers".into()))),
    }
}

fn unanswered(reason: &Reason) -> Reason {
    Reason::new(format!("it can't be told who has the partition: {reason}"))
}

/// The server says nothing to who may not publish a question, but that.
async fn permitted<T>(
    link: &Link,
    question: &str,
    asking: impl Future<Output = T>,
) -> Result<T, Reason> {
    let denials = link.denials();
    tokio::select! {
        answer = asking => Ok(answer),
        () = denied(denials, question) => Err(Reason::new(format!(
            "the account may not publish to the subject `{question}`, which the fence needs"
        ))),
    }
}
