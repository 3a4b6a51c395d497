//! Threads of librdkafka's that stand still.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use outbox_core::{Message, Outcome, Partition, Publisher};

use crate::broker::{PATIENCE, new_topic};
use crate::faults::settled;
use crate::fence_faults::{deliver_at_last, own};
use crate::fencing::publish_under;
use crate::publishing::{batch, connect, message, messages, publish_within};
use crate::server::Server;

/// Names a file: while there is one, a thread stands still.
const MARK: &str = "OUTBOX_TEST_STANDS_STILL";

/// Resolves as usual, but for that.
const RESOLVER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>
typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    const char *mark = getenv("OUTBOX_TEST_STANDS_STILL");
    while (mark && access(mark, F_OK) == 0) usleep(10000);
    return ((resolver *)dlsym(RTLD_NEXT, "getaddrinfo"))(name, service, hints, found);
}
"#;

/// Waits as usual, but for threads whose name begins so.
const WAITER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <threads.h>
#include <unistd.h>
typedef int waiter(cnd_t *, mtx_t *, const struct timespec *);
static atomic_int stood;
int cnd_timedwait(cnd_t *woken, mtx_t *lock, const struct timespec *until) {
    char thread[16] = "";
    const char *mark = getenv("OUTBOX_TEST_STANDS_STILL"), *name = getenv("OUTBOX_TEST_THREAD");
    prctl(PR_GET_NAME, thread);
    const char *most = getenv("OUTBOX_TEST_MOST");
    if (mark && name && strncmp(thread, name, strlen(name)) == 0 && access(mark, F_OK) == 0
        && most && stood++ < atoi(most)) {
        mtx_unlock(lock);
        while (access(mark, F_OK) == 0) usleep(10000);
        mtx_lock(lock);
        return thrd_success; /* as if woken: it may have missed that */
    }
    return ((waiter *)dlsym(RTLD_NEXT, "cnd_timedwait"))(woken, lock, until);
}
"#;

/// FAILURES row 48: neither a call that ends nor one that is dropped waits for it. Seen to stand
/// still for as long as the thread did, and all that runs on the same thread of the runtime with
/// them.
///
/// It runs itself again with a resolver of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_name_is_resolved_nobody_is_kept() {
    if let Some(mark) = std::env::var_os(MARK) {
        return resolve_nothing(Path::new(&mark)).await;
    }
    again("stuck::while_a_name_is_resolved_nobody_is_kept", RESOLVER, "", ALL).await;
}

/// FAILURES row 64: the same for the thread that begins transactions. It waits by the time of day, so that a clock
/// which is set back keeps it waiting. Seen to keep the runtime's own thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_of_librdkafkas_keeps_nobody() {
    if let Some(mark) = std::env::var_os(MARK) {
        return begin_nothing(Path::new(&mark)).await;
    }
    again("stuck::a_wait_of_librdkafkas_keeps_nobody", WAITER, "rdk:main", ALL).await;
}

/// FAILURES row 64: and for whoever asks librdkafka, or makes another client. Seen to hang both
/// threads of the runtime after a jump of the clock, and with them the relay: its leases ran out, and
/// it didn't end when it was asked to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_librdkafka_keeps_nobody() {
    if let Some(mark) = std::env::var_os(MARK) {
        return answer_nothing(Path::new(&mark)).await;
    }
    again("stuck::a_wait_for_librdkafka_keeps_nobody", WAITER, "tokio", ALL).await;
}

/// FAILURES row 64: nor the next call for its partition, with a fence. Seen to publish nothing more of a
/// partition for as long as a clock had been set back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_is_never_opened_keeps_no_partition() {
    if let Some(mark) = std::env::var_os(MARK) {
        return open_nothing(Path::new(&mark)).await;
    }
    let test = "stuck::a_producer_that_is_never_opened_keeps_no_partition";
    again(test, WAITER, "tokio", 1).await;
}

const ALL: u32 = 1_000_000;

/// Runs the test again with that in front of the system's libraries, for so many waits of threads of
/// that name.
async fn again(test: &str, source: &str, thread: &str, most: u32) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("still.c"), source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(at("still.so")).arg(at("still.c"));
    assert!(compiler.arg("-ldl").status().unwrap().success());
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", test]).env("LD_PRELOAD", at("still.so")).env(MARK, at("mark"));
    again.env("OUTBOX_TEST_THREAD", thread).env("OUTBOX_TEST_MOST", most.to_string());
    let run = tokio::task::spawn_blocking(move || again.output().unwrap()).await.unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    assert!(String::from_utf8_lossy(&run.stdout).contains("1 passed"), "{run:?}");
}

async fn resolve_nothing(mark: &Path) {
    let server = Server::start().await;
    let topic = new_topic(&server.direct(), &[]).await;
    for is_dropped in [false, true] {
        let publisher = settled(&server, "", &topic).await;
        // An address is looked up anew when it is older than a second.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let held = server.proxy.hold();
        let marked = Mark::put(mark);
        let sent = messages(&topic, 5);
        let call = tokio::spawn(async move {
            if is_dropped {
                let (sent, mut outcomes) = (batch(&sent), vec![Outcome::Unknown; 5]);
                let by = Instant::now() + PATIENCE * 2;
                let call = publisher.publish(&sent, by, &mut outcomes);
                tokio::time::timeout(Duration::from_secs(2), call).await.unwrap_err();
            } else {
                let outcomes = publish_within(&publisher, &sent, Duration::from_secs(2)).await;
                assert_eq!(outcomes, vec![Outcome::Unknown; 5]);
            }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.proxy.cut();
        call.await.unwrap();
        assert!(mark.exists(), "it returns while the thread stands still");
        drop((marked, held));
    }
}

async fn begin_nothing(mark: &Path) {
    let server = Server::start().await;
    let topic = new_topic(&server.direct(), &[]).await;
    let publisher = settled(&server, "?transactional_id=still", &topic).await;
    let marked = Mark::put(mark);
    // Its thread comes by within a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sent = messages(&topic, 5);
    let outcomes = publish_within(&publisher, &sent, Duration::from_secs(2)).await;
    assert!(outcomes.iter().all(is_unavailable), "{outcomes:?}");
    assert!(mark.exists(), "it returns while the thread stands still");
    drop(marked);
}

async fn answer_nothing(mark: &Path) {
    let server = Server::start().await;
    let topic = new_topic(&server.direct(), &[]).await;
    let publisher = settled(&server, "", &topic).await;
    let other = new_topic(&server.direct(), &[]).await;
    let marked = Mark::put(mark);
    // First nobody says whether there is such a topic; who asks again makes a client for it.
    for _ in 0..2 {
        let sent = messages(&other, 5);
        let outcomes = publish_within(&publisher, &sent, Duration::from_secs(2)).await;
        assert!(outcomes.iter().all(is_unavailable), "{outcomes:?}");
    }
    assert!(mark.exists(), "it returns while the thread stands still");
    drop(marked);
}

async fn open_nothing(mark: &Path) {
    let (server, url, topic) = own().await;
    let publisher = connect(&url).await;
    let mut keys = (0..).map(|n| message(&topic, &format!("key-{n}"), 10));
    let first = keys.next().unwrap();
    let partition = |message: &Message| Partition::of_message(message, 16);
    let second = keys.find(|other| partition(other) != partition(&first)).unwrap();
    // The topic is known by this.
    deliver_at_last(&publisher, 1, &[first]).await;
    let marked = Mark::put(mark);
    let outcomes =
        publish_under(&publisher, 1, std::slice::from_ref(&second), Duration::from_secs(2)).await;
    assert_ne!(outcomes, [Outcome::Delivered]);
    deliver_at_last(&publisher, 1, &[second]).await;
    assert!(mark.exists(), "it is delivered while the thread stands still");
    drop((marked, server));
}

fn is_unavailable(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unavailable(_))
}

/// The file is there while this lives, but not for ever: whoever waits for its end must come back
/// to be found out.
struct Mark {
    path: PathBuf,
    _ends: Sender<()>,
}

impl Mark {
    fn put(at: &Path) -> Self {
        fs::write(at, "").unwrap();
        let (ends, ended) = channel::<()>();
        let path = at.to_owned();
        std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = fs::remove_file(path);
            }
        });
        Self { path: at.to_owned(), _ends: ends }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
