//! Which stream takes a subject.

use async_nats::jetstream::context::{GetStreamByNameError, GetStreamByNameErrorKind};
use outbox_core::{Outcome, Reason};

use crate::NatsConfig;
use crate::link::Link;

/// What `JetStream` says of a subject.
#[derive(Debug)]
pub(crate) enum Home {
    /// This stream takes it.
    Stream(String),
    /// The stream that the configuration names has been created just now, and takes it.
    Created,
    /// No stream does, of those that this account has in this domain.
    Nowhere,
    /// It can't be asked.
    Unknown,
    /// The stream that the configuration names can't be created.
    Uncreated(Reason),
}

/// Asks `JetStream`. Where it knows no stream, the one that the configuration names is created.
pub(crate) async fn look_up(link: &Link, config: &NatsConfig, subject: &str) -> Home {
    let Ok(_turn) = link.questions().acquire().await else { return Home::Unknown };
    let home = ask(link, subject).await;
    if config.create_stream.is_none() || !matches!(home, Home::Nowhere) {
        return home;
    }
    if let Err(error) = link.create_stream(config).await {
        return Home::Uncreated(Reason::of(&error));
    }
    match ask(link, subject).await {
        Home::Stream(_) => Home::Created,
        home => home,
    }
}

async fn ask(link: &Link, subject: &str) -> Home {
    let answer = link.jetstream().stream_by_subject(subject).await;
    match answer.as_ref().map_err(GetStreamByNameError::kind) {
        Ok(stream) => Home::Stream(stream.clone()),
        Err(GetStreamByNameErrorKind::NotFound) => Home::Nowhere,
        Err(_) => Home::Unknown,
    }
}

impl Home {
    /// What becomes of a message that nobody answers for; `None` if nothing is known.
    ///
    /// During an election nobody answers either, and which streams there are is known all the
    /// same. A stream of another domain or account, though, isn't known here at any time: that
    /// there is none means something only where the configuration says so.
    pub(crate) fn verdict(&self, subject: &str, config: &NatsConfig) -> Option<Outcome> {
        let unavailable = |says: String| Some(Outcome::Unavailable(says.into()));
        match self {
            Self::Stream(stream) => unavailable(format!(
                "the stream `{stream}` does not answer: it has no leader just now"
            )),
            Self::Created => unavailable(format!(
                "the stream of the subject `{subject}` has been created just now"
            )),
            Self::Nowhere => {
                let says = format!("no stream takes the subject `{subject}`: create one");
                if config.reject_without_stream {
                    return Some(Outcome::Rejected(says.into()));
                }
                unavailable(format!("{says}, or see that the one elsewhere can be reached"))
            }
            Self::Unknown => None,
            Self::Uncreated(reason) => Some(Outcome::Unavailable(reason.clone())),
        }
    }
}
