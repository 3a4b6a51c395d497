//! A file that is renamed or deleted while it is open.

use super::*;

/// Without the look at the path, the second message is delivered into a file without a name.
#[tokio::test]
async fn after_a_rename_or_a_removal_a_new_file_is_written() {
    let file = File::open().await;
    let old = file.0.path().join("events.1");
    let publisher = connect(&file.path()).await;
    let sent = [batch(1, 10), batch(1, 10), batch(1, 10)];
    assert_eq!(publish(&publisher, &sent[0]).await, [Outcome::Delivered]);
    fs::rename(file.path(), &old).unwrap();
    assert_eq!(publish(&publisher, &sent[1]).await, [Outcome::Delivered]);
    assert_eq!(ids(&messages(&old)), ids_of(&sent[0]));
    assert_eq!(ids(&messages(&file.path())), ids_of(&sent[1]));
    fs::remove_file(file.path()).unwrap();
    assert_eq!(publish(&publisher, &sent[2]).await, [Outcome::Delivered]);
    assert_eq!(ids(&messages(&file.path())), ids_of(&sent[2]));
}

/// Looking at the path only before taking the lock, it would append to the renamed file.
#[tokio::test]
async fn whoever_renames_a_file_and_has_its_lock_has_all_of_it() {
    let file = File::open().await;
    let old = file.0.path().join("events.1");
    let publisher = connect(&file.path()).await;
    let rotating = fs::File::open(file.path()).unwrap();
    rotating.lock().unwrap();
    let sent = batch(1, 10);
    let publishing = publish(&publisher, &sent);
    let rename = async {
        // Time enough to have begun to wait for the lock.
        tokio::time::sleep(Duration::from_millis(300)).await;
        fs::rename(file.path(), &old).unwrap();
        rotating.unlock().unwrap();
    };
    let (outcomes, ()) = tokio::join!(publishing, rename);
    assert_eq!(outcomes, [Outcome::Delivered]);
    assert_eq!(messages(&old), []);
    assert_eq!(ids(&messages(&file.path())), ids_of(&sent));
}

#[tokio::test]
async fn a_directory_that_was_removed_is_named() {
    let file = File::open().await;
    let publisher = connect(&file.path()).await;
    fs::remove_dir_all(file.0.path()).unwrap();
    let outcomes = publish(&publisher, &batch(1, 10)).await;
    let [Outcome::Unavailable(reason)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(reason.as_str().ends_with("does not exist"), "{reason}");
}
