//! Noticing that another server answers.

use std::sync::Mutex;

use outbox_core::{StoreError, StoreErrorKind};

/// Which server answered last.
#[derive(Debug, Default)]
pub(crate) struct Server(Mutex<Option<i64>>);

impl Server {
    /// A server that took over may lack the last commits of the one before, and give out their
    /// numbers again: whoever reads must start over, which this error, told once, makes it do.
    pub(crate) fn recognise(&self, server: Option<i64>) -> Result<(), StoreError> {
        let mut known = self.0.lock().expect("nothing here panics");
        if std::mem::replace(&mut *known, server).is_none_or(|known| server == Some(known)) {
            return Ok(());
        }
        let context = "another server answers than before, or it was restarted";
        Err(StoreError::new(StoreErrorKind::Unavailable, context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_server_is_told_once() {
        let server = Server::default();
        let told = |id| server.recognise(id).map_err(|error| error.kind());
        assert_eq!([told(Some(1)), told(Some(1))], [Ok(()), Ok(())]);
        assert_eq!([told(Some(2)), told(Some(2))], [Err(StoreErrorKind::Unavailable), Ok(())]);
        let single = Server::default();
        assert!(single.recognise(None).is_ok() && single.recognise(None).is_ok());
    }
}
