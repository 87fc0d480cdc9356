//! Hives of real machines: replayed, edited, and read again by another program.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_hive::{EditError, Editor, Hive, Value, kind};

const DIRTY: &str = "NewDirtyHive1_NewDirtyHive";

fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {what}");
}

fn data(name: &str) -> Option<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/registry");
    let Ok(bytes) = std::fs::read(folder.join(name)) else {
        skipped(&format!("real hive {name}: it is not there"));
        return None;
    };
    if !name.ends_with(".xz") {
        return Some(bytes);
    }
    let mut plain = Vec::new();
    xz2::read::XzDecoder::new(bytes.as_slice())
        .read_to_end(&mut plain)
        .unwrap();
    Some(plain)
}

type Tree = BTreeMap<String, Vec<Value>>;

fn tree(hive: &Hive) -> Tree {
    let mut tree = Tree::new();
    hive.walk(&mut |path, key| {
        tree.insert(path.to_owned(), key.values());
    });
    tree
}

fn dirty() -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let logs = ["LOG1", "LOG2"].map(|end| data(&format!("{DIRTY}.{end}")));
    Some((data(DIRTY)?, logs.into_iter().collect::<Option<_>>()?))
}

#[test]
fn logs_bring_a_dirty_hive_to_what_windows_made_of_it() {
    let (Some((hive, logs)), Some(expected)) =
        (dirty(), data("NewDirtyHive1_RecoveredHive_Windows10"))
    else {
        return;
    };
    let expected = tree(&Hive::open(expected, &[]).unwrap());
    let alone = Hive::open(hive.clone(), &[]).unwrap();
    assert!(alone.is_torn);
    assert_ne!(tree(&alone), expected, "the logs hold changes");
    let turned: Vec<Vec<u8>> = logs.iter().rev().cloned().collect();
    for logs in [logs, turned] {
        let read = Hive::open(hive.clone(), &logs).unwrap();
        assert!(!read.is_torn);
        assert_eq!(tree(&read), expected);
        let editor = Editor::open(hive.clone(), &logs).unwrap();
        assert!(editor.is_replayed());
        let clean = Hive::open(editor.finish(), &[]).unwrap();
        assert!(!clean.is_torn);
        assert_eq!(tree(&clean), expected);
    }
    assert_eq!(Editor::open(hive, &[]).unwrap_err(), EditError::LogsMissing);
}

fn with_sum(mut bytes: Vec<u8>) -> Vec<u8> {
    let words = bytes[..508].chunks_exact(4);
    let sum = words.fold(0, |sum, word| {
        sum ^ u32::from_le_bytes(word.try_into().unwrap())
    });
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Windows wrote one entry into the first log, then three into the second.
#[test]
fn a_hive_whose_logs_are_not_all_there_is_not_edited() {
    let Some((hive, logs)) = dirty() else { return };
    let [first, second] = <[Vec<u8>; 2]>::try_from(logs).unwrap();
    let third_entry = 512 + 7_680 + 24_576;
    let damaged = |at: usize| {
        let mut log = second.clone();
        log[at] ^= 1;
        log
    };
    // Two more changes were begun than the logs hold.
    let mut ahead = hive.clone();
    ahead[4..8].copy_from_slice(&8u32.to_le_bytes());
    let ahead = with_sum(ahead);
    let refused = [
        ("the first alone", hive.as_slice(), vec![first.clone()]),
        ("the second alone", &hive, vec![second.clone()]),
        ("the first empty", &hive, vec![vec![], second.clone()]),
        ("a hole", &hive, vec![first.clone(), damaged(8_192 + 100)]),
        ("a damaged log", &hive, vec![first.clone(), damaged(508)]),
        ("too short", &ahead, vec![first.clone(), second.clone()]),
        (
            "a hole at the start",
            &hive,
            vec![first.clone(), damaged(700)],
        ),
    ];
    for (what, hive, logs) in refused {
        let verdict = Editor::open(hive.to_vec(), &logs).map(|_| ());
        assert_eq!(verdict, Err(EditError::LogsMissing), "{what}");
        assert!(!tree(&Hive::open(hive.to_vec(), &logs).unwrap()).is_empty());
    }
    // The last entry was being written when the machine lost its power.
    let torn = [first.clone(), damaged(third_entry + 10)];
    assert!(Editor::open(hive.clone(), &torn).is_ok());
    // One change only: the other log was never used.
    assert!(Editor::open(hive, &[first, vec![]]).is_ok());
}

#[test]
fn a_torn_base_block_comes_from_the_logs() {
    let (Some((mut hive, logs)), Some(expected)) =
        (dirty(), data("NewDirtyHive1_RecoveredHive_Windows10"))
    else {
        return;
    };
    hive[100..512].fill(0xaa);
    for alone in &logs {
        let verdict = Editor::open(hive.clone(), std::slice::from_ref(alone));
        assert_eq!(verdict.map(|_| ()), Err(EditError::LogsMissing));
    }
    let clean = Editor::open(hive.clone(), &logs).unwrap().finish();
    assert_eq!(clean[..48], expected[..48], "sequence numbers, type, size");
    let expected = tree(&Hive::open(expected, &[]).unwrap());
    assert_eq!(tree(&Hive::open(clean, &[]).unwrap()), expected);
    assert_eq!(tree(&Hive::open(hive.clone(), &logs).unwrap()), expected);
    // Entries from before the log's base block are of no account, and do not hide a gap.
    let [mut first, second] = <[Vec<u8>; 2]>::try_from(logs).unwrap();
    for at in [4, 8] {
        first[at..at + 4].copy_from_slice(&1u32.to_le_bytes());
    }
    let first = with_sum(first);
    let mut stale = second.clone();
    for at in [4, 8] {
        stale[at..at + 4].copy_from_slice(&5u32.to_le_bytes());
    }
    let stale = with_sum(stale);
    let last = Editor::open(hive.clone(), &[vec![], stale])
        .unwrap()
        .finish();
    assert_ne!(tree(&Hive::open(last, &[]).unwrap()), expected);
    let newer = Editor::open(hive, &[first, second]).unwrap().finish();
    assert!(!Hive::open(newer, &[]).unwrap().is_torn);
}

#[test]
fn clean_and_dirty_with_logs_end_equal() {
    let Some((hive, logs)) = dirty() else { return };
    let clean = Editor::open(hive.clone(), &logs).unwrap().finish();
    let change = |mut editor: Editor| {
        editor
            .set("New\\Key", "v", kind::NUMBER, &[1, 0, 0, 0])
            .unwrap();
        editor.finish()
    };
    let from_dirty = change(Editor::open(hive, &logs).unwrap());
    let from_clean = change(Editor::open(clean, &[]).unwrap());
    assert!(from_dirty == from_clean, "the bytes differ");
    assert!(
        change(Editor::open(from_clean.clone(), &[]).unwrap()) == from_clean,
        "a second run"
    );
}

/// The hive with the two sequence numbers made equal, as a machine that was
/// switched off leaves them: some real samples were copied from running machines.
fn as_if_clean(mut hive: Vec<u8>) -> Vec<u8> {
    hive.copy_within(4..8, 8);
    with_sum(hive)
}

/// Adds below keys that exist, where lists are long, and changes one value.
fn changes(editor: &mut Editor, below: &str) {
    for number in 0..40 {
        let path = format!("{below}\\lifeboat{}", number * 7 % 40);
        editor
            .set(&path, "ImagePath", kind::EXPANDABLE, b"x\0\0\0")
            .unwrap();
        editor.set(&path, "Start", kind::NUMBER, &[0; 4]).unwrap();
    }
}

#[test]
fn edits_of_real_hives_are_additions_only_and_repeat() {
    for (name, below) in [
        ("SYSTEM.xz", "ControlSet001\\Services"),
        ("SYSTEM_WIN_10_1709.xz", "ControlSet001\\Services"),
        ("SYSTEM_WIN_10_1709.xz", "DriverDatabase\\DeviceIds\\PCI"),
        ("BCD.xz", "Objects"),
        ("hivex_minimal", ""),
        ("hivex_special", ""),
        ("plaso_100_sub_keys.hiv", ""),
    ] {
        let Some(bytes) = data(name) else { return };
        let bytes = as_if_clean(bytes);
        let mut editor =
            Editor::open(bytes.clone(), &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!editor.is_changed());
        changes(&mut editor, below);
        let once = editor.finish();
        let before = tree(&Hive::open(bytes.clone(), &[]).unwrap());
        let after = tree(&Hive::open(once.clone(), &[]).unwrap());
        let (old, new): (Tree, Tree) = after
            .into_iter()
            .partition(|(path, _)| before.contains_key(path));
        assert!(old == before, "{name}: what was there has changed");
        assert!(new.len() >= 40, "{name}: {}", new.len());
        let mut again = Editor::open(once.clone(), &[]).unwrap();
        changes(&mut again, below);
        assert!(again.finish() == once, "{name}: a second run");
        another_reader_agrees(&bytes, &once, name);
    }
}

fn exported(bytes: &[u8], name: &str) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("hive");
    std::fs::write(&path, bytes).unwrap();
    let mut command = Command::new("hivexregedit");
    command
        .arg("--export")
        .arg("--unsafe-printable-strings")
        .arg("--prefix=P")
        .arg(&path)
        .arg("\\");
    let Ok(output) = command.output() else {
        skipped("comparison with hivexregedit: it is not installed");
        return None;
    };
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().map(str::to_owned).collect())
}

/// hivex sees everything that was there, in the same order, and what was added.
fn another_reader_agrees(before: &[u8], after: &[u8], name: &str) {
    if name.starts_with("SYSTEM")
        && cfg!(debug_assertions)
        && std::env::var_os("LIFEBOAT_LONG_TESTS").is_none()
    {
        return; // Exporting a whole SYSTEM hive takes that program half a minute.
    }
    let (Some(before), Some(after)) = (exported(before, name), exported(after, name)) else {
        return;
    };
    let mut rest = after.iter();
    for line in &before {
        assert!(
            rest.any(|other| other == line),
            "{name}: hivex misses {line}"
        );
    }
    assert!(
        after
            .iter()
            .filter(|line| line.contains("lifeboat"))
            .count()
            >= 40
    );
}

#[test]
fn a_real_hive_copied_from_a_running_machine_is_refused_without_its_logs() {
    let Some(bytes) = data("SYSTEM_WIN_10_1709.xz") else {
        return;
    };
    assert_eq!(
        Editor::open(bytes, &[]).unwrap_err(),
        EditError::LogsMissing
    );
}

#[test]
fn damaged_and_foreign_hives_are_refused() {
    let Some(bytes) = data("plaso_corrupt_sub_key_list.hiv") else {
        return;
    };
    assert!(matches!(
        Editor::open(bytes, &[]),
        Err(EditError::Damaged { .. })
    ));
    let Some(bytes) = data("win9x_SYSTEM.DAT") else {
        return;
    };
    assert_eq!(Editor::open(bytes, &[]).unwrap_err(), EditError::NotAHive);
}
