//! Hostile transaction logs: the first half of the input is a hive, the second a log of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_hive::{Editor, Hive};

fuzz_target!(|bytes: &[u8]| {
    let (hive, log) = bytes.split_at(bytes.len() / 2);
    // A dirty hive is edited only with both of its logs; the other one is not in use.
    let logs = [log.to_vec(), Vec::new()];
    if let Ok(read) = Hive::open(hive.to_vec(), &logs) {
        read.walk(&mut |_, key| {
            key.values();
        });
    }
    if let Ok(editor) = Editor::open(hive.to_vec(), &logs) {
        let clean = editor.finish();
        let again = Editor::open(clean.clone(), &[]).expect("a replayed hive is clean");
        assert!(!again.is_changed() && again.finish() == clean);
    }
});
