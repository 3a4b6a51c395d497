//! A server whose configuration changes while it runs.

use std::fs;
use std::process::Command;

use outbox_testkit::servers::Server;

use super::nats;

pub(crate) struct Reloadable {
    server: Server,
    /// The file with the server's process id.
    id: tempfile::NamedTempFile,
}

impl Reloadable {
    pub(crate) async fn start(settings: &str) -> Self {
        let id = tempfile::NamedTempFile::new().unwrap();
        let server = nats(&format!("{settings}\npid_file: \"{}\"", id.path().display())).await;
        Self { server, id }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// Replaces what stands in the configuration, which the server reads before long.
    pub(crate) fn reload(&self, from: &str, to: &str) {
        let file = self.server.directory().join("server.conf");
        fs::write(&file, fs::read_to_string(&file).unwrap().replace(from, to)).unwrap();
        let id = fs::read_to_string(self.id.path()).unwrap();
        assert!(Command::new("kill").args(["-s", "HUP", id.trim()]).status().unwrap().success());
    }
}
