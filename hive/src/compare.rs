//! What differs between two hives, read as Windows would read them.

use std::collections::BTreeMap;

use crate::check;
use crate::edit::{Action, EditError, Edited};
use crate::format::{Hive, Key, Value};

/// Every key and value that is not the same in both, in order of their paths;
/// a key that one side lacks is followed by all that is below it.
///
/// Names are compared as the registry does it, without regard to case. Both
/// hives must be whole: in a damaged one what cannot be read would count as
/// removed.
pub fn compare(before: &Hive, after: &Hive) -> Result<Vec<Edited>, EditError> {
    check::whole(before)?;
    check::whole(after)?;
    let mut differences = Differences(Vec::new());
    differences.keys("", before.root(), after.root());
    Ok(differences.0)
}

struct Differences(Vec<Edited>);

impl Differences {
    /// Goes down both trees, whose depth is checked; one side may be missing.
    fn keys(&mut self, path: &str, before: Option<Key>, after: Option<Key>) {
        self.values(path, before, after);
        let (before, mut after) = (below(before), below(after));
        for (name, old) in before {
            let new = after.remove(&name);
            self.key(path, Some(old), new);
        }
        for new in after.into_values() {
            self.key(path, None, Some(new));
        }
    }

    fn key(&mut self, above: &str, before: Option<Key>, after: Option<Key>) {
        let name = after.or(before).map(|key| key.name()).unwrap_or_default();
        let path = match above {
            "" => name,
            above => format!("{above}\\{name}"),
        };
        match (before, after) {
            (None, _) => self.note(Action::Added, &path, None),
            (_, None) => self.note(Action::Removed, &path, None),
            _ => {}
        }
        self.keys(&path, before, after);
    }

    fn values(&mut self, path: &str, before: Option<Key>, after: Option<Key>) {
        let (before, mut after) = (values(before), values(after));
        for (name, old) in before {
            match after.remove(&name) {
                Some(new) if (new.kind, &new.data) == (old.kind, &old.data) => {}
                Some(new) => self.note(Action::Changed, path, Some(new.name)),
                None => self.note(Action::Removed, path, Some(old.name)),
            }
        }
        for new in after.into_values() {
            self.note(Action::Added, path, Some(new.name));
        }
    }

    fn note(&mut self, action: Action, path: &str, value: Option<String>) {
        let path = path.to_owned();
        self.0.push(Edited {
            action,
            path,
            value,
        });
    }
}

/// By name; of several with the same one the first, the second...
type Named<T> = BTreeMap<(String, usize), T>;

fn below(key: Option<Key>) -> Named<Key> {
    let keys = key.into_iter().flat_map(|key| key.subkeys());
    named(keys.map(|key| (key.name(), key)))
}

fn values(key: Option<Key>) -> Named<Value> {
    let values = key.into_iter().flat_map(|key| key.all_values());
    named(values.map(|value| (value.name.clone(), value)))
}

fn named<T>(all: impl Iterator<Item = (String, T)>) -> Named<T> {
    let mut named = Named::new();
    for (name, item) in all {
        let name: String = name.chars().flat_map(folded).collect();
        let same = named.range((name.clone(), 0)..=(name.clone(), usize::MAX));
        let nth = same.count();
        named.insert((name, nth), item);
    }
    named
}

/// One letter for each: `ß` is not `SS` in the registry.
fn folded(letter: char) -> Option<char> {
    let mut upper = letter.to_uppercase();
    upper
        .next()
        .filter(|_| upper.next().is_none())
        .or(Some(letter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Editor, kind};

    fn edited(bytes: Vec<u8>, work: impl FnOnce(&mut Editor)) -> (Hive, Vec<Edited>) {
        let mut editor = Editor::open(bytes, &[]).unwrap();
        work(&mut editor);
        let notes = editor.edits().to_vec();
        (Hive::open(editor.finish(), &[]).unwrap(), notes)
    }

    fn base() -> Hive {
        let (hive, _) = edited(crate::edit::smallest_hive(), |editor| {
            editor.set("a\\b", "v", kind::BINARY, &[1]).unwrap();
            editor.set("a\\gone", "v", kind::BINARY, &[1]).unwrap();
            let large = vec![7; crate::LARGEST_VALUE];
            editor.set("large", "v", kind::BINARY, &large).unwrap();
            for number in 0..1010 {
                let name = format!("{number}");
                editor.set("many", &name, kind::BINARY, &[0]).unwrap();
            }
        });
        hive
    }

    #[test]
    fn every_difference_is_found_whoever_made_it() {
        let before = base();
        assert_eq!(compare(&before, &base()), Ok(vec![]));
        let (after, mut notes) = edited(before.bytes.clone(), |editor| {
            editor.set("A\\B", "V", kind::BINARY, &[2]).unwrap();
            editor.set("a\\b", "type", kind::BINARY, &[1]).unwrap();
            editor.set("a\\new\\deep", "", kind::TEXT, &[0, 0]).unwrap();
            editor.remove_key("a\\gone").unwrap();
            editor.remove_value("large", "v").unwrap();
            editor.set("many", "1009", kind::BINARY, &[9]).unwrap();
        });
        let order = |edit: &Edited| {
            let value = edit.value.as_deref().map(str::to_uppercase);
            (edit.path.to_uppercase(), value)
        };
        let mut found = compare(&before, &after).unwrap();
        // With a key that goes, its values go.
        let of_gone = |edit: &Edited| edit.path == "a\\gone" && edit.value.is_some();
        assert_eq!(found.iter().filter(|edit| of_gone(edit)).count(), 1);
        found.retain(|edit| !of_gone(edit));
        found.sort_by_key(order);
        notes.sort_by_key(order);
        let essence = |edits: &[Edited]| -> Vec<_> {
            let lines = edits.iter();
            lines
                .map(|edit| {
                    let value = edit.value.as_deref().map(str::to_uppercase);
                    (edit.action, edit.path.to_uppercase(), value)
                })
                .collect()
        };
        assert_eq!(essence(&found), essence(&notes));
    }

    #[test]
    fn what_no_editor_noted_is_found_too() {
        let before = base();
        let mut bytes = before.bytes.clone();
        // The value of `a\b`, changed in its place: small data lie in the value.
        let at = |tag: &[u8]| bytes.windows(tag.len()).position(|part| part == tag);
        let value = at(b"vk\x01\x00\x01\x00\x00\x80\x01").unwrap();
        bytes[value + 8] = 3;
        let after = Hive::open(bytes.clone(), &[]).unwrap();
        let found = compare(&before, &after).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].action, found[0].path.as_str()),
            (Action::Changed, "a\\b")
        );
        bytes[crate::format::BASE + 4] ^= 1;
        let damaged = Hive::open(bytes, &[]).unwrap();
        assert!(compare(&before, &damaged).is_err());
    }
}
