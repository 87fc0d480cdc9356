//! Changes of hostile hives: refused, or done so that the result is whole and a second run changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_hive::{EditError, Editor, kind};

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if bytes.len() < 8192 {
        return;
    }
    // Else nearly every input ends at the first check.
    bytes.copy_within(4..8, 8);
    let words = bytes[..508].chunks_exact(4);
    let sum = words.fold(0, |sum, word| {
        sum ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]])
    });
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
    let Ok(mut editor) = Editor::open(bytes, &[]) else {
        return;
    };
    if change(&mut editor).is_err() {
        return;
    }
    let once = editor.finish();
    let mut again = Editor::open(once.clone(), &[]).expect("an edited hive is whole");
    change(&mut again).expect("what was done once can be done again");
    assert!(again.finish() == once);
});

fn change(editor: &mut Editor) -> Result<(), EditError> {
    editor.set("a\\b", "v", kind::BINARY, &[1; 40])?;
    editor.set("", "v", kind::NUMBER, &[0; 4])?;
    editor.ensure_key("z\\y\\x")?;
    editor.remove_value("a", "gone")?;
    editor.remove_key("c\\d")?;
    Ok(())
}
