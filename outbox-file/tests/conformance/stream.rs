//! What reads a pipe slowly, or not at all.

use std::io::{BufRead, BufReader};
use std::process::Command;

use super::*;

/// A named pipe, whose reader is the test. Standard output is written in the same way.
struct Pipe {
    _directory: TempDir,
    publisher: FilePublisher,
    reader: BufReader<fs::File>,
}

impl Pipe {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Opening it for writing, too, waits for nobody.
        let reader = fs::File::options().read(true).write(true).open(&path).unwrap();
        let publisher = connect(&path).await;
        Self { _directory: directory, publisher, reader: BufReader::new(reader) }
    }
}

fn read_line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

fn count(outcomes: &[Outcome], expected: &Outcome) -> usize {
    outcomes.iter().filter(|outcome| *outcome == expected).count()
}

const UNTOUCHED: Outcome = Outcome::Throttled(Duration::ZERO);

/// When it waited for the reader, dropping held this thread, and so the test, for ever.
#[tokio::test]
async fn what_a_reader_that_stands_still_did_not_take_waits_for_the_next() {
    let mut pipe = Pipe::new().await;
    let sent = batch(100, 2_000);
    let mut outcomes = vec![Outcome::Unknown; sent.len()];
    let deadline = Instant::now() + Duration::from_mins(5);
    let publishing = pipe.publisher.publish(&sent, deadline, &mut outcomes);
    tokio::time::timeout(Duration::from_millis(500), publishing).await.expect_err("nobody reads");
    let delivered = count(&outcomes, &Outcome::Delivered);
    assert!(delivered > 0, "each counts as soon as it is written");
    assert_eq!(outcomes[..delivered], vec![Outcome::Delivered; delivered]);
    assert_eq!(outcomes[delivered..], vec![UNTOUCHED; sent.len() - delivered]);

    let read = tokio::task::spawn_blocking(move || {
        let mut line = || parse(&read_line(&mut pipe.reader)).unwrap();
        // The reader is kept until all is written.
        ((0..100).map(|_| line()).collect::<Vec<_>>(), pipe.reader)
    });
    let rest = vec![Outcome::Delivered; sent.len() - delivered];
    assert_eq!(publish(&pipe.publisher, &sent[delivered..]).await, rest);
    let (arrived, _) = read.await.unwrap();
    assert_eq!(ids(&arrived), ids_of(&sent), "each once");
}

/// At the deadline it comes back by itself, and the next publish isn't held up.
#[tokio::test]
async fn a_message_that_was_taken_in_part_is_unknown_and_its_line_is_ended() {
    let mut pipe = Pipe::new().await;
    let sent = [batch(1, 10), batch(1, 300_000), batch(2, 10)].concat();
    let mut outcomes = vec![Outcome::Unknown; sent.len()];
    let deadline = Instant::now() + Duration::from_millis(300);
    pipe.publisher.publish(&sent, deadline, &mut outcomes).await;
    assert_eq!(outcomes, [Outcome::Delivered, Outcome::Unknown, UNTOUCHED, UNTOUCHED]);
    assert_eq!(parse(&read_line(&mut pipe.reader)).unwrap().id(), sent[0].id());
    let next = sent[2..].to_vec();
    let read = tokio::task::spawn_blocking(move || {
        let [torn, first, second] = [(); 3].map(|()| read_line(&mut pipe.reader));
        assert!(parse(&torn).is_err(), "it is torn");
        [first, second].map(|line| parse(&line).unwrap())
    });
    assert_eq!(publish(&pipe.publisher, &next).await, vec![Outcome::Delivered; 2]);
    assert_eq!(ids(&read.await.unwrap()), ids_of(&next));
}

/// What fails takes back nothing that was written before it.
#[tokio::test]
async fn when_the_reader_goes_away_what_it_had_stays_delivered() {
    let pipe = Pipe::new().await;
    let sent = batch(100, 2_000);
    let publishing = publish(&pipe.publisher, &sent);
    let leave = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(pipe.reader);
    };
    let (outcomes, ()) = tokio::join!(publishing, leave);
    let delivered = count(&outcomes, &Outcome::Delivered);
    assert!(delivered > 0);
    let gone = |outcome: &Outcome| matches!(outcome, Outcome::Unavailable(_));
    assert!(outcomes[delivered..].iter().all(gone) && delivered < sent.len(), "{outcomes:?}");
}
