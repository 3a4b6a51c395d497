//! Publishers by URL.

use std::sync::Arc;

use futures::future::BoxFuture;
use outbox_core::Publisher;

use crate::Error;
use crate::scheme::{Scheme, find, with_feature};

/// Makes the publisher that `url` names, and looks whether it can publish.
///
/// | URL | feature | publishes |
/// |---|---|---|
/// | `stdout:` | `file` | JSON lines to standard output |
/// | `file:PATH`, `file:PATH?sync=false` | `file` | JSON lines to the end of a file |
pub async fn connect_publisher(url: &str) -> Result<Arc<dyn Publisher>, Error> {
    find("publisher", TABLE, url)?(url).await
}

type Connect = for<'a> fn(&'a str) -> BoxFuture<'a, Result<Arc<dyn Publisher>, Error>>;

const TABLE: &[Scheme<Connect>] = &[
    Scheme { names: &["stdout"], feature: "file", adapter: with_feature!("file", file) },
    Scheme { names: &["file"], feature: "file", adapter: with_feature!("file", file) },
];

#[cfg(feature = "file")]
fn file(url: &str) -> BoxFuture<'_, Result<Arc<dyn Publisher>, Error>> {
    use outbox_file::{FileConfig, FileError, FilePublisher};

    use crate::redact;

    Box::pin(async move {
        let config: FileConfig = url.parse().map_err(|error: FileError| Error::Url {
            url: redact(url),
            problem: error.to_string(),
        })?;
        match FilePublisher::connect(config).await {
            Ok(publisher) => Ok(Arc::new(publisher) as Arc<dyn Publisher>),
            Err(error) => Err(Error::Publisher { url: redact(url), source: error.into() }),
        }
    })
}
