//! The publisher suite on files, and what is particular to files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outbox_core::{Message, MessageParts, Outcome, Publisher};
use outbox_file::{FileConfig, FilePublisher};
use outbox_testkit::suite::publisher::PublisherHarness;
use serde::Deserialize;
use serde_json::value::RawValue;
use tempfile::TempDir;
use uuid::Uuid;

#[cfg(unix)]
mod replaced;
#[cfg(target_os = "linux")]
mod stream;

struct File(TempDir);

#[async_trait]
impl PublisherHarness for File {
    async fn open() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::new(FilePublisher::connect(FileConfig::file(self.path())).await.unwrap())
    }

    fn topic(&self) -> String {
        "topic".to_owned()
    }

    async fn arrived(&self) -> Vec<Message> {
        messages(&self.path())
    }

    fn ordering_proved_by(&self) -> Option<&'static str> {
        Some("failing::a_full_disk_takes_back_the_whole_batch")
    }
}

impl File {
    fn path(&self) -> PathBuf {
        self.0.path().join("events.jsonl")
    }
}

mod suite {
    use super::*;
    outbox_testkit::publisher_suite!(File);
}

#[derive(Deserialize)]
struct Line {
    id: Uuid,
    topic: String,
    key: Option<String>,
    r#type: Option<String>,
    content_type: String,
    headers: Vec<(String, String)>,
    created_at: u64,
    payload: Option<Box<RawValue>>,
    payload_base64: Option<String>,
}

fn messages(path: &Path) -> Vec<Message> {
    lines(path).iter().map(|line| parse(line).expect("a line of JSON")).collect()
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is complete");
    text.split_terminator('\n').map(str::to_owned).collect()
}

fn parse(line: &str) -> serde_json::Result<Message> {
    let line: Line = serde_json::from_str(line)?;
    let payload = match (line.payload, line.payload_base64) {
        // `null` is a payload, too.
        (json, None) => json.map_or("null".to_owned(), |json| json.get().to_owned()).into_bytes(),
        (_, Some(base64)) => STANDARD.decode(base64).expect("base64"),
    };
    Ok(Message::restore(MessageParts {
        id: line.id,
        topic: line.topic.into(),
        key: line.key.map(Into::into),
        message_type: line.r#type.map(Into::into),
        content_type: line.content_type.into(),
        payload: payload.into(),
        headers: line.headers,
        created_at: UNIX_EPOCH + Duration::from_micros(line.created_at),
    }))
}

fn batch(count: usize, bytes: usize) -> Vec<Arc<Message>> {
    let message = || Message::bytes("orders", "x".repeat(bytes)).key("k").build().unwrap();
    (0..count).map(|_| Arc::new(message())).collect()
}

async fn publish(publisher: &FilePublisher, batch: &[Arc<Message>]) -> Vec<Outcome> {
    let mut outcomes = vec![Outcome::Unknown; batch.len()];
    publisher.publish(batch, Instant::now() + Duration::from_secs(20), &mut outcomes).await;
    outcomes
}

async fn connect(path: &Path) -> FilePublisher {
    FilePublisher::connect(FileConfig::file(path)).await.unwrap()
}

fn ids(messages: &[Message]) -> Vec<Uuid> {
    messages.iter().map(Message::id).collect()
}

fn ids_of(batch: &[Arc<Message>]) -> Vec<Uuid> {
    batch.iter().map(|message| message.id()).collect()
}

mod file {
    use super::*;

    #[tokio::test]
    async fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let config = FileConfig::file(missing.join("events.jsonl"));
        let error = FilePublisher::connect(config).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the directory {} does not exist", missing.display())
        );
        assert!(error.is_retryable());
    }

    #[tokio::test]
    async fn a_directory_is_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let error = FilePublisher::connect(FileConfig::file(directory.path())).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{} can't be opened", directory.path().display()));
    }

    #[tokio::test]
    async fn what_was_there_is_appended_to() {
        let file = File::open().await;
        let (first, second) = (batch(2, 10), batch(2, 10));
        publish(&connect(&file.path()).await, &first).await;
        publish(&connect(&file.path()).await, &second).await;
        let expected = [ids_of(&first), ids_of(&second)].concat();
        assert_eq!(ids(&messages(&file.path())), expected);
    }

    #[tokio::test]
    async fn a_line_torn_by_a_crash_does_not_spoil_the_next() {
        let file = File::open().await;
        let publisher = connect(&file.path()).await;
        for _ in 0..2 {
            fs::write(file.path(), "{\"id\":\"torn").unwrap();
            let sent = batch(2, 10);
            assert_eq!(publish(&publisher, &sent).await, [Outcome::Delivered, Outcome::Delivered]);
            let lines = lines(&file.path());
            assert!(parse(&lines[0]).is_err());
            let rest: Vec<_> = lines[1..].iter().map(|line| parse(line).unwrap()).collect();
            assert_eq!(ids(&rest), ids_of(&sent));
        }
    }

    /// Left as unknown, the messages would count an attempt as soon as others are delivered.
    #[tokio::test]
    async fn a_publish_dropped_while_it_waits_writes_nothing() {
        let file = File::open().await;
        let publisher = connect(&file.path()).await;
        let other = fs::File::open(file.path()).unwrap();
        other.lock().unwrap();
        let sent = batch(2, 10);
        let mut outcomes = [(); 2].map(|()| vec![Outcome::Unknown; 2]);
        let [first, second] = &mut outcomes;
        let deadline = Instant::now() + Duration::from_mins(1);
        let waiting = async {
            tokio::join!(
                publisher.publish(&sent, deadline, first),
                publisher.publish(&sent, deadline, second),
            )
        };
        let soon = Duration::from_millis(200);
        tokio::time::timeout(soon, waiting).await.expect_err("another process has the file");
        assert_eq!(outcomes.concat(), vec![Outcome::Throttled(Duration::ZERO); 4]);
        other.unlock().unwrap();
        let next = batch(1, 10);
        assert_eq!(publish(&publisher, &next).await, [Outcome::Delivered]);
        assert_eq!(ids(&messages(&file.path())), ids_of(&next));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn several_writers_do_not_mix_their_lines() {
        let file = File::open().await;
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let path = file.path();
                tokio::spawn(async move {
                    let publisher = connect(&path).await;
                    for _ in 0..5 {
                        let sent = batch(50, 3_000);
                        let delivered = vec![Outcome::Delivered; 50];
                        assert_eq!(publish(&publisher, &sent).await, delivered);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(messages(&file.path()).len(), 4 * 5 * 50);
    }
}

mod stdout {
    use std::process::Command;

    use super::*;

    const CHILD: &str = "OUTBOX_FILE_PRINTS";

    /// Runs itself again in a process of its own, whose output it reads.
    #[tokio::test]
    async fn lines_are_printed() {
        if std::env::var_os(CHILD).is_some() {
            return print().await;
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "stdout::lines_are_printed", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        // The test harness prints, too, even at the beginning of a line.
        let printed = String::from_utf8(output.stdout).unwrap();
        let lines = printed.lines().filter_map(|line| line.find("{\"id\"").map(|at| &line[at..]));
        let keys: Vec<_> =
            lines.map(|line| parse(line).unwrap().key().map(str::to_owned)).collect();
        assert_eq!(keys, vec![Some("k".to_owned()); 3]);
    }

    async fn print() {
        let publisher = FilePublisher::connect(FileConfig::stdout()).await.unwrap();
        assert_eq!(publish(&publisher, &batch(3, 10)).await, vec![Outcome::Delivered; 3]);
        assert_eq!(publisher.close().await, Ok(()));
        let [Outcome::Unavailable(_)] = publish(&publisher, &batch(1, 10)).await[..] else {
            panic!("it is closed")
        };
    }
}

#[cfg(target_os = "linux")]
mod failing {
    use std::process::Command;

    use super::*;

    const LIMITED: &str = "OUTBOX_FILE_LIMITED";

    #[tokio::test]
    async fn a_device_that_takes_nothing_is_unavailable() {
        let publisher = connect(Path::new("/dev/full")).await;
        let outcomes = publish(&publisher, &batch(2, 10)).await;
        for outcome in outcomes {
            let Outcome::Unavailable(reason) = outcome else { panic!("{outcome:?}") };
            let expected = "/dev/full can't be written: No space left on device (os error 28)";
            assert_eq!(reason.as_str(), expected);
        }
        assert_eq!(publisher.check().await, Ok(()), "it can be opened again");
    }

    /// Runs itself again in a process whose files can't grow beyond 64 KiB, which ends a write
    /// in the middle of a line as a full disk does.
    #[tokio::test]
    async fn a_full_disk_takes_back_the_whole_batch() {
        if let Some(directory) = std::env::var_os(LIMITED) {
            return fill(PathBuf::from(directory)).await;
        }
        let directory = tempfile::tempdir().unwrap();
        let output = Command::new("bash")
            .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "limited"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "failing::a_full_disk_takes_back_the_whole_batch"])
            .env(LIMITED, directory.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{output:?}");
        // Lifted, the limit leaves a file that is as good as before.
        let path = directory.path().join("events.jsonl");
        assert_eq!(messages(&path).len(), 20);
    }

    async fn fill(directory: PathBuf) {
        let path = directory.join("events.jsonl");
        let publisher = connect(&path).await;
        let first = batch(10, 1_000);
        assert_eq!(publish(&publisher, &first).await, vec![Outcome::Delivered; 10]);
        let length = fs::metadata(&path).unwrap().len();
        for _ in 0..2 {
            let outcomes = publish(&publisher, &batch(100, 1_000)).await;
            let unavailable = |outcome: &Outcome| matches!(outcome, Outcome::Unavailable(_));
            assert!(outcomes.iter().all(unavailable), "{outcomes:?}");
            assert_eq!(fs::metadata(&path).unwrap().len(), length, "it is taken back");
        }
        let last = batch(10, 1_000);
        assert_eq!(publish(&publisher, &last).await, vec![Outcome::Delivered; 10]);
        let expected = [ids_of(&first), ids_of(&last)].concat();
        assert_eq!(ids(&messages(&path)), expected);
    }
}
