//! Certificates of an authority of a test's own.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// An authority `ca`, and certificates signed by it for `server` and `client` on 127.0.0.1, made by
/// `openssl`: `NAME.pem`, its key `NAME.key`, and both in `NAME.both.pem`.
#[derive(Debug)]
pub struct Certificates(TempDir);

const SCRIPT: &str = "
    key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out $1.key; }
    key ca
    openssl req -x509 -new -key ca.key -subj /CN=authority -days 2 -out ca.pem
    printf 'subjectAltName=IP:127.0.0.1' > extensions
    for name in server client; do
        key $name
        openssl req -new -key $name.key -subj /CN=$name -out $name.csr
        openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \\
            -extfile extensions -out $name.pem
        cat $name.key $name.pem > $name.both.pem
    done";

impl Certificates {
    /// Makes them.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = Command::new("sh").args(["-ec", SCRIPT]).current_dir(&directory).output();
        let made = made.expect("`openssl` is run by a shell");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(directory)
    }

    /// A file by its name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}
