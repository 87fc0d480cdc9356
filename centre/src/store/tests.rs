use std::time::{Duration, SystemTime};

use lifeboat_agent::ca::{Redeemed, Register};
use lifeboat_failover::process::Phase;

use super::*;
use crate::clock;

async fn store() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).await.expect("open");
    (store, folder)
}

fn soon() -> u64 {
    clock::unix() + 60_000
}

#[tokio::test]
async fn of_two_that_redeem_a_token_at_once_only_one_succeeds() {
    let (store, _folder) = store().await;
    store
        .put_token([1; 32], "mail-a", soon())
        .await
        .expect("kept");
    let now = SystemTime::now();
    let (one, other) = tokio::join!(
        store.redeem([1; 32], [8; 32], now),
        store.redeem([1; 32], [9; 32], now)
    );
    let (one, other) = (one.expect("asked"), other.expect("asked"));
    let host = Redeemed::Host("mail-a".to_owned());
    let good = [&one, &other]
        .into_iter()
        .filter(|one| **one == host)
        .count();
    assert_eq!(good, 1, "{one:?} {other:?}");
    assert!([&one, &other].contains(&&Redeemed::Used));
    let winner = store
        .key_of("mail-a")
        .await
        .expect("asked")
        .expect("joined");
    // The answer may have been lost: the same key may ask again.
    let again = store.redeem([1; 32], winner, now).await.expect("asked");
    assert_eq!(again, host);
}

#[tokio::test]
async fn old_and_foreign_tokens_count_for_nothing() {
    let (store, _folder) = store().await;
    store
        .put_token([1; 32], "mail-a", soon())
        .await
        .expect("kept");
    let late = SystemTime::now() + Duration::from_secs(120);
    let expired = store.redeem([1; 32], [8; 32], late).await.expect("asked");
    assert_eq!(expired, Redeemed::Expired);
    let unknown = store.redeem([2; 32], [8; 32], SystemTime::now()).await;
    assert_eq!(unknown.expect("asked"), Redeemed::Unknown);
    assert_eq!(store.key_of("mail-a").await.expect("asked"), None);
}

#[tokio::test]
async fn a_first_word_is_given_to_one_start_of_an_agent_only() {
    let (store, _folder) = store().await;
    let application = crate::application::example();
    let kept = KeptApplication {
        name: application.name.clone(),
        file: application.file.clone(),
        texts: crate::application::Texts {
            descriptor: String::new(),
            profile: String::new(),
            directory_profile: None,
        },
    };
    let standing = crate::centre::first_standing(&application);
    store.put_application(&kept, &standing).await.expect("kept");
    let give = async |incarnation| {
        let given = store.give_first_word("mail", "mail-a", incarnation);
        given.await.expect("asked")
    };
    assert!(give(u64::MAX).await);
    assert!(give(u64::MAX).await, "the welcome may have been lost");
    assert!(!give(7).await);
    store.remove_application("mail").await.expect("removed");
    store.put_application(&kept, &standing).await.expect("kept");
    assert!(give(7).await, "another life of the application");
}

#[tokio::test]
async fn what_was_written_is_there_when_it_is_opened_again() {
    let (store, folder) = store().await;
    store
        .audit("me", "look", "mail", "")
        .await
        .expect("written");
    store.put_thing("ca", &"secret").await.expect("written");
    store.close().await;
    let mode = std::fs::metadata(folder.path().join(DATABASE)).expect("there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600, "it holds a key");
    let store = Store::open(folder.path()).await.expect("open");
    assert_eq!(
        store.thing::<String>("ca").await.expect("asked").as_deref(),
        Some("secret")
    );
    assert_eq!(store.audit_of("mail", 10).await.expect("asked").len(), 1);
    let nowhere = store.put_entry("no such process", 0, &Phase::Begun).await;
    assert!(nowhere.is_err(), "a journal belongs to a process");
}
