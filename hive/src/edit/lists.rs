//! Lists of the keys below a key, sorted by name without regard to case.

use super::{EditError, Editor, NONE, count_of, damaged, put, words};
use crate::format::u32_at;

/// As many as Windows puts into one list.
const MOST_IN_LIST: usize = 507;

/// One list: its tag and what it refers to.
struct List {
    tag: [u8; 2],
    /// Offset, and the hint that stands beside it in some lists.
    entries: Vec<(u32, u32)>,
}

impl Editor {
    /// Adds a key to the list of another.
    pub(super) fn link(&mut self, parent: u32, node: u32, name: &str) -> Result<(), EditError> {
        let count = self.field(parent, 20)?;
        let minor = u32_at(&self.hive.bytes, 24).unwrap_or(5);
        let list = match count {
            0 => {
                let tag = if minor >= 5 { *b"lh" } else { *b"lf" };
                let entries = vec![(node, hint(tag, name))];
                self.put_list(&List { tag, entries })?
            }
            _ => self.insert(self.field(parent, 28)?, node, name)?,
        };
        self.set_field(parent, 28, list)?;
        self.set_field(parent, 20, count + 1)
    }

    /// Takes a key out of the list of another.
    pub(super) fn unlink(&mut self, parent: u32, node: u32) -> Result<(), EditError> {
        let count = self.field(parent, 20)?;
        let list = self.without(self.field(parent, 28)?, node)?;
        self.set_field(parent, 28, list.unwrap_or(NONE))?;
        self.set_field(parent, 20, count - 1)
    }

    fn read_list(&self, at: u32) -> Result<List, EditError> {
        let cell = self.hive.cell(at).ok_or(damaged(at, "a list of keys"))?;
        let tag = match cell.get(..2) {
            Some(tag @ (b"lf" | b"lh" | b"li" | b"ri")) => [tag[0], tag[1]],
            _ => return Err(damaged(at, "a list of keys")),
        };
        let stride = stride(tag);
        let count = count_of(cell).unwrap_or(0);
        let entries = cell
            .get(4..4 + count * stride)
            .ok_or(damaged(at, "a short list of keys"))?;
        let entry = |bytes: &[u8]| Some((u32_at(bytes, 0)?, u32_at(bytes, 4).unwrap_or(0)));
        Ok(List {
            tag,
            entries: entries.chunks_exact(stride).filter_map(entry).collect(),
        })
    }

    fn put_list(&mut self, list: &List) -> Result<u32, EditError> {
        let mut cell = vec![0; 4];
        put(&mut cell, 0, &list.tag);
        put(&mut cell, 2, &(list.entries.len() as u16).to_le_bytes());
        for (offset, hint) in &list.entries {
            match stride(list.tag) {
                8 => cell.extend(words(&[*offset, *hint])),
                _ => cell.extend(offset.to_le_bytes()),
            }
        }
        self.allocate(&cell)
    }

    /// The list with a key more; a new one takes the place of the old.
    fn insert(&mut self, at: u32, node: u32, name: &str) -> Result<u32, EditError> {
        let mut list = self.read_list(at)?;
        let new = if list.tag == *b"ri" {
            self.insert_below(&mut list, node, name)?;
            self.put_list(&list)?
        } else {
            let place = self.place(&list, name)?;
            list.entries.insert(place, (node, hint(list.tag, name)));
            self.put_split(list)?
        };
        self.release(at)?;
        Ok(new)
    }

    fn insert_below(&mut self, index: &mut List, node: u32, name: &str) -> Result<(), EditError> {
        // The last list whose first key comes before the new one.
        let mut chosen = 0;
        for (number, (leaf, _)) in index.entries.iter().enumerate().skip(1) {
            let leaf = self.read_list(*leaf)?;
            if self.place(&leaf, name)? > 0 {
                chosen = number;
            }
        }
        let Some((old, _)) = index.entries.get(chosen).copied() else {
            return Err(damaged(node, "an empty list of lists"));
        };
        let mut leaf = self.read_list(old)?;
        if leaf.tag == *b"ri" {
            return Err(damaged(old, "a list of lists of lists"));
        }
        let place = self.place(&leaf, name)?;
        leaf.entries.insert(place, (node, hint(leaf.tag, name)));
        let leaves = self.put_leaves(leaf)?;
        self.release(old)?;
        index.entries.splice(chosen..=chosen, leaves);
        Ok(())
    }

    /// One list, or a list of two when it has grown too long.
    fn put_split(&mut self, list: List) -> Result<u32, EditError> {
        let leaves = self.put_leaves(list)?;
        match leaves.as_slice() {
            [(only, _)] => Ok(*only),
            _ => self.put_list(&List {
                tag: *b"ri",
                entries: leaves,
            }),
        }
    }

    fn put_leaves(&mut self, list: List) -> Result<Vec<(u32, u32)>, EditError> {
        if list.entries.len() <= MOST_IN_LIST {
            return Ok(vec![(self.put_list(&list)?, 0)]);
        }
        let (first, second) = list.entries.split_at(list.entries.len() / 2);
        let mut leaves = Vec::new();
        for half in [first, second] {
            let entries = half.to_vec();
            leaves.push((
                self.put_list(&List {
                    tag: list.tag,
                    entries,
                })?,
                0,
            ));
        }
        Ok(leaves)
    }

    /// Where a name belongs in a list.
    fn place(&self, list: &List, name: &str) -> Result<usize, EditError> {
        let wanted = upper(name);
        for (place, (node, _)) in list.entries.iter().enumerate() {
            if upper(&self.key(*node)?.name()) > wanted {
                return Ok(place);
            }
        }
        Ok(list.entries.len())
    }

    /// The list with a key less, or nothing when it was the only one.
    fn without(&mut self, at: u32, node: u32) -> Result<Option<u32>, EditError> {
        let mut list = self.read_list(at)?;
        if list.tag == *b"ri" {
            let holding = self.leaf_with(&list, node)?;
            match self.without(list.entries[holding].0, node)? {
                Some(leaf) => list.entries[holding].0 = leaf,
                None => drop(list.entries.remove(holding)),
            }
        } else {
            list.entries.retain(|(entry, _)| *entry != node);
        }
        self.release(at)?;
        match list.entries.is_empty() {
            true => Ok(None),
            false => self.put_list(&list).map(Some),
        }
    }

    fn leaf_with(&self, index: &List, node: u32) -> Result<usize, EditError> {
        for (number, (leaf, _)) in index.entries.iter().enumerate() {
            let list = self.read_list(*leaf)?;
            if list.tag != *b"ri" && list.entries.iter().any(|(entry, _)| *entry == node) {
                return Ok(number);
            }
        }
        Err(damaged(node, "a key in no list"))
    }
}

fn stride(tag: [u8; 2]) -> usize {
    match &tag {
        b"lf" | b"lh" => 8,
        _ => 4,
    }
}

/// Case does not count, as Windows sorts: by UTF-16 unit, in capitals.
fn upper(name: &str) -> Vec<u16> {
    let capital = |character: char| {
        let mut capital = character.to_uppercase();
        match (capital.next(), capital.next()) {
            (Some(one), None) => one,
            _ => character,
        }
    };
    let capitals: String = name.chars().map(capital).collect();
    capitals.encode_utf16().collect()
}

pub(super) fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!(a.is_ascii() && b.is_ascii()) && upper(a) == upper(b))
}

/// What stands beside an offset, to find names fast.
fn hint(tag: [u8; 2], name: &str) -> u32 {
    match &tag {
        b"lh" => upper(name).into_iter().fold(0u32, |hash, unit| {
            hash.wrapping_mul(37).wrapping_add(u32::from(unit))
        }),
        b"lf" => {
            let mut start = [0; 4];
            for (place, unit) in start.iter_mut().zip(name.encode_utf16()) {
                *place = u8::try_from(unit).unwrap_or(0);
            }
            u32::from_le_bytes(start)
        }
        _ => 0,
    }
}
