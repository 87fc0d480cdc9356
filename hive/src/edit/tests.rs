use proptest::prelude::*;

use super::*;
use crate::kind;

/// The smallest hive: a root key with a security descriptor.
pub(crate) fn smallest() -> Vec<u8> {
    let mut bytes = vec![0; 2 * BASE];
    put(&mut bytes, 0, b"regf");
    put(&mut bytes, 20, &1u32.to_le_bytes());
    put(&mut bytes, 24, &5u32.to_le_bytes());
    put(&mut bytes, 36, &32u32.to_le_bytes());
    put(&mut bytes, 40, &4096u32.to_le_bytes());
    put(&mut bytes, BASE, b"hbin");
    put(&mut bytes, BASE + 8, &4096u32.to_le_bytes());
    let mut cell = |at: usize, size: i32, content: &[u8]| {
        put(&mut bytes, BASE + at, &size.to_le_bytes());
        put(&mut bytes, BASE + at + 4, content);
    };
    let mut root = vec![0; 80];
    put(&mut root, 0, b"nk");
    put(&mut root, 2, &0x2cu16.to_le_bytes());
    put(&mut root, 28, &[0xff; 8]);
    put(&mut root, 40, &[0xff; 4]);
    put(&mut root, 44, &120u32.to_le_bytes());
    put(&mut root, 48, &[0xff; 4]);
    put(&mut root, 72, &4u16.to_le_bytes());
    put(&mut root, 76, b"ROOT");
    cell(32, -88, &root);
    let mut security = vec![0; 20];
    put(&mut security, 0, b"sk");
    put(&mut security, 4, &120u32.to_le_bytes());
    put(&mut security, 8, &120u32.to_le_bytes());
    put(&mut security, 12, &1u32.to_le_bytes());
    cell(120, -32, &security);
    cell(152, 4096 - 152, &[]);
    set_sequence(&mut bytes, 1);
    bytes
}

fn edit(bytes: Vec<u8>, work: impl FnOnce(&mut Editor)) -> Vec<u8> {
    let mut editor = Editor::open(bytes, &[]).unwrap();
    work(&mut editor);
    editor.finish()
}

#[test]
fn what_is_written_is_read_again_and_nothing_else_changes() {
    let number = 7u32.to_le_bytes();
    let write = |editor: &mut Editor| {
        editor.set("A\\b", "n", kind::NUMBER, &number).unwrap();
        editor
            .set("a\\B", "", kind::TEXT, b"l\0o\0n\0g\0\0\0")
            .unwrap();
        editor
            .set("\u{e4}\u{df}", "\u{fc}", kind::BINARY, &[1; LARGEST_VALUE])
            .unwrap();
        editor.ensure_key("A\\empty").unwrap();
    };
    let once = edit(smallest(), write);
    let hive = Hive::open(once.clone(), &[]).unwrap();
    let root = hive.root().unwrap();
    assert_eq!(root.at("A\\b").unwrap().number("N"), Some(7));
    assert_eq!(root.at("a\\b").unwrap().text(""), Some("long".to_owned()));
    let wide = root.subkey("\u{e4}\u{df}").unwrap();
    assert_eq!(wide.value("\u{fc}").unwrap().data.len(), LARGEST_VALUE);
    assert!(root.at("A\\empty").unwrap().values().is_empty());
    assert_eq!(root.subkeys().len(), 2);
    assert!(crate::replay::base_is_sound(&once));
    assert_eq!(edit(once.clone(), write), once, "a second run");
}

#[test]
fn changes_are_noted() {
    let bytes = edit(smallest(), |editor| {
        editor.set("a", "v", kind::NUMBER, &[0; 4]).unwrap();
        editor.ensure_key("b\\c").unwrap();
    });
    let mut editor = Editor::open(bytes, &[]).unwrap();
    editor.set("a", "v", kind::NUMBER, &[0; 4]).unwrap();
    assert_eq!(editor.edits(), []);
    editor.set("a", "V", kind::NUMBER, &[1; 4]).unwrap();
    editor.set("b\\d", "", kind::NUMBER, &[1; 4]).unwrap();
    editor.remove_value("a", "v").unwrap();
    editor.remove_key("b\\c").unwrap();
    let seen: Vec<_> = editor
        .edits()
        .iter()
        .map(|edit| (edit.action, edit.path.as_str(), edit.value.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            (Action::Changed, "a", Some("V")),
            (Action::Added, "b\\d", None),
            (Action::Added, "b\\d", Some("")),
            (Action::Removed, "a", Some("v")),
            (Action::Removed, "b\\c", None),
        ]
    );
}

#[test]
fn replacing_and_removing() {
    let long = [3; 100];
    let bytes = edit(smallest(), |editor| {
        for name in ["a", "b", "c"] {
            editor.set(name, "v", kind::BINARY, &long).unwrap();
            editor.set(name, "w", kind::NUMBER, &[0; 4]).unwrap();
        }
    });
    let size = bytes.len();
    let bytes = edit(bytes, |editor| {
        editor.set("b", "V", kind::TEXT, b"").unwrap();
        assert!(editor.remove_value("a", "W").unwrap());
        assert!(!editor.remove_value("a", "W").unwrap());
        assert!(!editor.remove_value("x", "W").unwrap());
        assert!(editor.remove_key("c").unwrap());
    });
    let bytes = edit(bytes, |editor| {
        editor.ensure_key("top\\below").unwrap();
        editor.remove_key("top").unwrap_err();
        assert!(editor.remove_key("top\\below").unwrap());
        assert!(!editor.remove_key("top\\below").unwrap());
    });
    let editor = Editor::open(bytes.clone(), &[]).unwrap();
    let root = editor.hive().root().unwrap();
    assert_eq!(root.at("b").unwrap().value("v").unwrap().kind, kind::TEXT);
    assert_eq!(root.at("a").unwrap().values().len(), 1);
    assert!(root.subkey("top").unwrap().subkeys().is_empty());
    assert!(bytes.len() >= size);
}

#[test]
fn long_lists_are_split_and_stay_sorted() {
    let mut editor = Editor::open(smallest(), &[]).unwrap();
    for number in 0..1_200u32 {
        let scattered = number.wrapping_mul(2_654_435_761);
        editor.ensure_key(&format!("k\\{scattered:08x}")).unwrap();
    }
    let bytes = editor.finish();
    let editor = Editor::open(bytes, &[]).unwrap();
    let keys = editor.hive().root().unwrap().at("k").unwrap().subkeys();
    let names: Vec<String> = keys.iter().map(Key::name).collect();
    assert_eq!(names.len(), 1_200);
    assert!(names.is_sorted());
}

#[test]
fn what_is_not_whole_is_refused() {
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let open = |change: Change| {
        let mut bytes = smallest();
        change(&mut bytes);
        set_sequence(&mut bytes, 1);
        Editor::open(bytes, &[]).map(|_| ())
    };
    assert_eq!(open(&|_| {}), Ok(()));
    let damage: [Change; 6] = [
        &|bytes| bytes.truncate(BASE + 100),
        &|bytes| bytes[BASE] = b'x',
        &|bytes| bytes[BASE + 152] = 1,
        &|bytes| bytes[BASE + 36] = b'x',
        &|bytes| bytes[BASE + 36 + 20] = 1,
        &|bytes| bytes[BASE + 36 + 36] = 1,
    ];
    for (number, change) in damage.into_iter().enumerate() {
        let error = open(change).unwrap_err();
        assert!(
            matches!(error, EditError::Damaged { .. }),
            "{number}: {error}"
        );
    }
    assert_eq!(
        Editor::open(b"CREG".to_vec(), &[]).unwrap_err(),
        EditError::NotAHive
    );
}

#[test]
fn a_dirty_hive_needs_its_logs() {
    let mut dirty = smallest();
    put(&mut dirty, 4, &2u32.to_le_bytes());
    let sum = replay::checksum(&dirty);
    put(&mut dirty, 508, &sum.to_le_bytes());
    let refusal = |logs: &[Vec<u8>]| Editor::open(dirty.clone(), logs).unwrap_err();
    assert_eq!(refusal(&[]), EditError::LogsMissing);
    assert_eq!(
        refusal(&[vec![0; 4096], Vec::new()]),
        EditError::LogsMissing
    );
    let mut old = dirty[..512].to_vec();
    old.extend(b"DIRT");
    old.resize(1024, 0);
    assert_eq!(refusal(&[old]), EditError::OldLog);
    let mut wrong_sum = smallest();
    wrong_sum[508] ^= 1;
    assert_eq!(
        Editor::open(wrong_sum, &[]).unwrap_err(),
        EditError::LogsMissing
    );
}

#[test]
fn a_list_behind_the_last_bin_is_not_used_again() {
    let mut bytes = edit(smallest(), |editor| {
        editor.set("a", "v", kind::NUMBER, &[0; 4]).unwrap();
    });
    let end = u32_at(&bytes, 40).unwrap();
    let hive = Hive::open(bytes.clone(), &[]).unwrap();
    let key = hive.root().unwrap().at("a").unwrap();
    let place = key.node.as_ptr() as usize - hive.bytes.as_ptr() as usize;
    let list = u32_at(key.node, 40).unwrap();
    let value = hive.cell(list).unwrap()[..4].to_vec();
    put(&mut bytes, place + 40, &(end + 40_960).to_le_bytes());
    let beyond = BASE + end as usize + 40_960;
    bytes.resize(beyond + 12_000, 0);
    put(&mut bytes, beyond, &(-12_000_i32).to_le_bytes());
    put(&mut bytes, beyond + 4, &value);
    set_sequence(&mut bytes, 3);
    let mut editor = Editor::open(bytes, &[]).unwrap();
    let verdict = editor.remove_value("a", "v");
    assert!(
        matches!(verdict, Err(EditError::Damaged { .. })),
        "{verdict:?}"
    );
}

#[derive(Debug, Clone)]
enum Step {
    Set(u8, u8, Vec<u8>),
    RemoveValue(u8, u8),
    RemoveKey(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..12u8;
    let name = 0..4u8;
    prop_oneof![
        (
            key.clone(),
            name.clone(),
            prop::collection::vec(any::<u8>(), 0..40)
        )
            .prop_map(|(key, name, data)| Step::Set(key, name, data)),
        (key.clone(), name).prop_map(|(key, name)| Step::RemoveValue(key, name)),
        key.prop_map(Step::RemoveKey),
    ]
}

type Model = std::collections::BTreeMap<u8, std::collections::BTreeMap<u8, Vec<u8>>>;

fn perform(step: Step, editor: &mut Editor, model: &mut Model) {
    match step {
        Step::Set(key, name, data) => {
            let path = format!("top\\key{key}");
            editor
                .set(&path, &format!("v{name}"), kind::BINARY, &data)
                .unwrap();
            model.entry(key).or_default().insert(name, data);
        }
        Step::RemoveValue(key, name) => {
            let was = model
                .get_mut(&key)
                .is_some_and(|values| values.remove(&name).is_some());
            let path = format!("top\\key{key}");
            assert_eq!(
                editor.remove_value(&path, &format!("v{name}")).unwrap(),
                was
            );
        }
        Step::RemoveKey(key) => {
            let was = model.remove(&key).is_some();
            assert_eq!(editor.remove_key(&format!("top\\key{key}")).unwrap(), was);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_sequence_of_changes(steps in prop::collection::vec(step(), 0..60)) {
        let mut editor = Editor::open(smallest(), &[]).unwrap();
        let mut model = Model::new();
        for step in steps {
            perform(step, &mut editor, &mut model);
        }
        let editor = Editor::open(editor.finish(), &[]).unwrap();
        let root = editor.hive().root().unwrap();
        let keys = root.at("top").map(|top| top.subkeys()).unwrap_or_default();
        prop_assert_eq!(keys.len(), model.len());
        for (key, values) in model {
            let key = root.at(&format!("top\\key{key}")).unwrap();
            prop_assert_eq!(key.values().len(), values.len());
            for (name, data) in values {
                prop_assert_eq!(key.value(&format!("v{name}")).unwrap().data, data);
            }
        }
    }

    #[test]
    fn damaged_hives_never_panic(places in prop::collection::vec((0_usize..8_192, any::<u8>()), 0..12)) {
        let mut bytes = edit(smallest(), |editor| {
            for name in ["a", "b\\c", "d"] {
                editor.set(name, "v", kind::BINARY, &[7; 30]).unwrap();
            }
        });
        for (at, byte) in places {
            bytes[at] = byte;
        }
        set_sequence(&mut bytes, 3);
        if let Ok(mut editor) = Editor::open(bytes, &[]) {
            let _ = editor.set("b\\c", "v", kind::TEXT, &[1; 300]);
            let _ = editor.ensure_key("new\\below");
            let _ = editor.remove_value("a", "v");
            let _ = editor.remove_key("d");
            let _ = editor.finish();
        }
    }
}
