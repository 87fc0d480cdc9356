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
    let words = hive[..508].chunks_exact(4);
    let sum = words.fold(0, |sum, word| {
        sum ^ u32::from_le_bytes(word.try_into().unwrap())
    });
    hive[508..512].copy_from_slice(&sum.to_le_bytes());
    hive
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
