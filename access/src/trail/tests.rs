use std::path::{Path, PathBuf};

use super::{Entry, Head, Trail};
use crate::clock::Clock;
use crate::store::Store;

struct Bed {
    folder: tempfile::TempDir,
    store: Store,
    trail: Trail,
}

impl Bed {
    /// A trail of five entries.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, trail) = open(&file(folder.path())).await;
        for number in 0..5 {
            write(&trail, number).await;
        }
        Self {
            folder,
            store,
            trail,
        }
    }

    /// Does what only an attacker does.
    async fn attack(&self, statements: &[&'static str]) {
        let freeing = [
            "DROP TRIGGER trail_is_not_changed",
            "DROP TRIGGER trail_is_not_shortened",
        ];
        for statement in freeing.iter().chain(statements) {
            sqlx::query(*statement)
                .execute(&self.store.pool)
                .await
                .unwrap();
        }
    }

    async fn faults(&self) -> Vec<(Option<i64>, String)> {
        let verdict = self.trail.verify(None).await.unwrap();
        assert_eq!(verdict.ok, verdict.faults.is_empty());
        let faults = verdict.faults.into_iter();
        faults.map(|fault| (fault.seq, fault.text)).collect()
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("access.db")
}

async fn open(file: &Path) -> (Store, Trail) {
    let store = Store::open(file).await.unwrap();
    let trail = Trail::open(store.pool.clone(), file, Clock::default()).await;
    (store, trail.unwrap())
}

async fn write(trail: &Trail, number: usize) -> i64 {
    let entry = Entry::event("ann", "10.0.0.1", "log-in", format!("number {number}"));
    trail.append(entry).await.unwrap()
}

#[tokio::test]
async fn an_untouched_trail_is_whole_and_goes_on_after_a_restart() {
    let bed = Bed::new().await;
    assert_eq!(bed.faults().await, []);
    bed.store.close().await;
    let (_store, trail) = open(&file(bed.folder.path())).await;
    assert_eq!(write(&trail, 5).await, 6);
    let verdict = trail.verify(None).await.unwrap();
    assert!(verdict.ok, "{verdict:?}");
    assert_eq!(verdict.entries, 6);
    assert_eq!(verdict.head.unwrap().seq, 6);
}

#[tokio::test]
async fn an_empty_trail_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, trail) = open(&file(folder.path())).await;
    let verdict = trail.verify(None).await.unwrap();
    assert!(verdict.ok, "{verdict:?}");
    assert_eq!((verdict.entries, verdict.head), (0, None));
}

#[tokio::test]
async fn entries_are_not_changed_by_mistake() {
    let bed = Bed::new().await;
    for statement in ["UPDATE trail SET who = 'bob'", "DELETE FROM trail"] {
        let done = sqlx::query(statement).execute(&bed.store.pool).await;
        assert!(done.is_err(), "{statement}");
    }
}

#[tokio::test]
async fn every_change_of_every_word_is_seen() {
    for column in [
        "at", "kind", "of_seq", "who", "role", "address", "what", "text", "hash",
    ] {
        let bed = Bed::new().await;
        let value = match column {
            "at" | "of_seq" => "7",
            "kind" => "'detail'",
            "hash" => "zeroblob(32)",
            _ => "'x'",
        };
        let statement = format!("UPDATE trail SET {column} = {value} WHERE seq = 3");
        let statement: &'static str = statement.leak();
        bed.attack(&[statement]).await;
        let faults = bed.faults().await;
        assert!(
            faults.iter().any(|(seq, _)| *seq == Some(3)),
            "{column}: {faults:?}"
        );
    }
}

#[tokio::test]
async fn words_do_not_flow_into_each_other() {
    let bed = Bed::new().await;
    bed.attack(&["UPDATE trail SET who = 'an', role = 'n' WHERE seq = 2"])
        .await;
    assert_ne!(bed.faults().await, []);
}

#[tokio::test]
async fn removed_inserted_and_swapped_entries_are_seen() {
    let attacks = [
        "DELETE FROM trail WHERE seq = 3",
        "DELETE FROM trail WHERE seq = 1",
        "UPDATE trail SET seq = CASE seq WHEN 2 THEN 1003 ELSE 1002 END WHERE seq IN (2, 3)",
        "INSERT INTO trail SELECT 6, at, kind, of_seq, who, role, address, what, text, hash FROM trail WHERE seq = 5",
    ];
    for attack in attacks {
        let bed = Bed::new().await;
        bed.attack(&[attack]).await;
        assert_ne!(bed.faults().await, [], "{attack}");
    }
}

#[tokio::test]
async fn a_trail_that_was_cut_off_is_seen_and_stays_so() {
    for cut in ["DELETE FROM trail WHERE seq > 3", "DELETE FROM trail"] {
        let bed = Bed::new().await;
        bed.attack(&[cut]).await;
        assert_ne!(bed.faults().await, [], "{cut}");
        bed.store.close().await;
        let (_store, trail) = open(&file(bed.folder.path())).await;
        write(&trail, 9).await;
        let verdict = trail.verify(None).await.unwrap();
        let words: Vec<_> = verdict
            .faults
            .iter()
            .map(|fault| fault.text.as_str())
            .collect();
        assert!(
            words.iter().any(|text| text.contains("are missing")),
            "{cut}: {words:?}"
        );
        let told = trail.list(None, 10).await.unwrap();
        assert!(
            told.iter()
                .any(|one| one.entry.text.contains("to 5 are missing")),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn a_head_noted_elsewhere_must_still_be_there() {
    let bed = Bed::new().await;
    let head = bed.trail.verify(None).await.unwrap().head.unwrap();
    write(&bed.trail, 6).await;
    assert!(bed.trail.verify(Some(&head)).await.unwrap().ok);
    for wrong in [
        Head {
            seq: 4,
            ..head.clone()
        },
        Head {
            hash: "00".repeat(32),
            ..head.clone()
        },
        Head {
            hash: "nonsense".to_owned(),
            ..head
        },
    ] {
        assert!(
            !bed.trail.verify(Some(&wrong)).await.unwrap().ok,
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn an_asker_who_leaves_does_not_break_the_chain() {
    let bed = Bed::new().await;
    for number in 0..20 {
        let entry = Entry::event("ann", "", "log-in", number.to_string());
        let mut append = Box::pin(bed.trail.append(entry));
        // Asked for once, and dropped.
        tokio::select! {
            biased;
            _ = &mut append => {}
            () = std::future::ready(()) => {}
        }
    }
    write(&bed.trail, 99).await;
    let verdict = bed.trail.verify(None).await.unwrap();
    assert!(verdict.ok, "{verdict:?}");
    assert_eq!(verdict.entries, 26);
}

#[tokio::test]
async fn words_of_strangers_are_cut_between_letters() {
    let bed = Bed::new().await;
    let entry = Entry::event(
        &"\u{e4}".repeat(10_000),
        "",
        "log-in",
        "\u{1f6f6}".repeat(10_000),
    );
    bed.trail.append(entry).await.unwrap();
    let last = bed.trail.list(None, 1).await.unwrap().remove(0).entry;
    assert!(last.who.len() <= 512 && last.text.len() <= 4096);
    assert_eq!(bed.faults().await, []);
}
