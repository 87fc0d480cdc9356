//! The registry file format ("regf"): keys and values of one hive held in memory.
//!
//! Every offset in a hive is hostile: each is checked before it is used, what does not fit is
//! taken as absent, and the number of keys and values looked at is bounded.

use std::cell::Cell;
use std::collections::HashSet;

use thiserror::Error;

use crate::replay::{self, Demand, Replay};

pub(crate) const BASE: usize = 4096;
const MAX_SUBKEYS: usize = 1_000_000;
const MAX_VALUES: usize = 1_000;
const MAX_DATA: usize = 64 << 10;
/// Bytes that are looked at in one hive: a hostile one leads to the same places again and again.
const MAX_WORK: usize = 1 << 30;
const SEGMENT: usize = 16_344;
const MAX_KEYS: usize = 1_000_000;

/// Why a file is not a hive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HiveError {
    /// The file is something else.
    #[error("it is not a registry hive of Windows NT")]
    NotAHive,
    /// Its first key is not there.
    #[error("the registry hive is damaged: it has no root key")]
    NoRoot,
}

/// A hive with its transaction logs applied.
#[derive(Debug)]
pub struct Hive {
    pub(crate) bytes: Vec<u8>,
    pub(crate) work_left: Cell<usize>,
    /// Whether changes are missing because no log held them.
    pub is_torn: bool,
}

/// One key of a hive.
#[derive(Debug, Clone, Copy)]
pub struct Key<'h> {
    hive: &'h Hive,
    pub(crate) node: &'h [u8],
}

/// One value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its name; empty for the default value.
    pub name: String,
    /// One of [`crate::kind`], or another.
    pub kind: u32,
    /// What it holds, as it lies in the hive.
    pub data: Vec<u8>,
}

impl Hive {
    /// Takes a hive file and the logs beside it, in any sequence.
    pub fn open(mut bytes: Vec<u8>, logs: &[Vec<u8>]) -> Result<Self, HiveError> {
        if bytes.get(..4) != Some(b"regf") {
            return Err(HiveError::NotAHive);
        }
        let is_torn = replay::apply(&mut bytes, logs, Demand::Some) == Replay::Missing;
        let hive = Self::of(bytes, is_torn);
        hive.root().ok_or(HiveError::NoRoot)?;
        Ok(hive)
    }

    pub(crate) fn of(bytes: Vec<u8>, is_torn: bool) -> Self {
        Self {
            bytes,
            work_left: Cell::new(MAX_WORK),
            is_torn,
        }
    }

    /// The first key.
    pub fn root(&self) -> Option<Key<'_>> {
        self.key(u32_at(&self.bytes, 36)?)
    }

    /// Starts the budget of work anew.
    pub(crate) fn renew(&self) {
        self.work_left.set(MAX_WORK);
    }

    /// The content of an allocated cell.
    pub(crate) fn cell(&self, offset: u32) -> Option<&[u8]> {
        let start = BASE.checked_add(offset as usize)?;
        let size = i32::from_le_bytes(self.bytes.get(start..start + 4)?.try_into().ok()?);
        let length = usize::try_from(size.checked_neg()?).ok()?;
        // What is read of a cell is bounded by its size, and by the limits of lists and data.
        let work = 64 + length.min(MAX_DATA);
        self.work_left.set(self.work_left.get().checked_sub(work)?);
        self.bytes.get(start + 4..start.checked_add(length)?)
    }

    pub(crate) fn key(&self, offset: u32) -> Option<Key<'_>> {
        let node = self.cell(offset)?;
        (node.get(..2)? == b"nk" && node.len() >= 76).then_some(Key { hive: self, node })
    }

    /// All keys that can be reached, each once.
    pub fn walk(&self, seen: &mut dyn FnMut(&str, Key<'_>)) {
        let root = self.root().map(|key| (String::new(), key));
        let mut waiting: Vec<(String, Key<'_>)> = root.into_iter().collect();
        let mut known = HashSet::new();
        while let Some((path, key)) = waiting.pop() {
            if !known.insert(key.node.as_ptr()) || known.len() > MAX_KEYS {
                continue;
            }
            seen(&path, key);
            let below = key.subkeys().into_iter();
            waiting.extend(below.map(|sub| (format!("{path}\\{}", sub.name()), sub)));
        }
    }
}

impl<'h> Key<'h> {
    /// Its name.
    pub fn name(&self) -> String {
        let length = u16_at(self.node, 72).unwrap_or(0);
        let is_narrow = u16_at(self.node, 2).unwrap_or(0) & 0x20 != 0;
        text_of(self.node, 76, length, is_narrow)
    }

    /// The keys directly below.
    pub fn subkeys(&self) -> Vec<Key<'h>> {
        let mut offsets = Vec::new();
        if let Some(list) = u32_at(self.node, 28).filter(|_| u32_at(self.node, 20) != Some(0)) {
            self.hive.list(list, 0, &mut offsets);
        }
        offsets
            .into_iter()
            .filter_map(|offset| self.hive.key(offset))
            .collect()
    }

    /// The key of this name directly below; its name may be in any case.
    pub fn subkey(&self, name: &str) -> Option<Key<'h>> {
        self.subkeys()
            .into_iter()
            .find(|key| key.name().eq_ignore_ascii_case(name))
    }

    /// The key below a path of names separated by `\`.
    pub fn at(&self, path: &str) -> Option<Key<'h>> {
        path.split('\\')
            .try_fold(*self, |key, name| key.subkey(name))
    }

    /// Its values, in the order of the hive; a thousand at most, each cut off
    /// at 64 KiB.
    pub fn values(&self) -> Vec<Value> {
        self.some_values(MAX_VALUES, MAX_DATA)
    }

    /// All of them in full, for hives that are known to be whole.
    pub(crate) fn all_values(&self) -> Vec<Value> {
        self.hive.renew();
        self.some_values(usize::MAX, usize::MAX)
    }

    fn some_values(&self, most: usize, longest: usize) -> Vec<Value> {
        let count = u32_at(self.node, 36).unwrap_or(0) as usize;
        let list = u32_at(self.node, 40).and_then(|list| self.hive.cell(list));
        let Some(list) = list.filter(|_| count > 0) else {
            return Vec::new();
        };
        let offsets = list.chunks_exact(4).take(count.min(most));
        offsets
            .filter_map(|offset| self.hive.value(u32_at(offset, 0)?, longest))
            .collect()
    }

    /// The value of this name; its name may be in any case.
    pub fn value(&self, name: &str) -> Option<Value> {
        self.values()
            .into_iter()
            .find(|value| value.name.eq_ignore_ascii_case(name))
    }

    /// The text of a value, unless it is empty.
    pub fn text(&self, name: &str) -> Option<String> {
        let text = self.value(name)?.text();
        (!text.is_empty()).then_some(text)
    }

    /// The number of a value.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.value(name)?.number()
    }

    /// The texts of a value.
    pub fn texts(&self, name: &str) -> Vec<String> {
        self.value(name)
            .map(|value| value.texts())
            .unwrap_or_default()
    }
}

impl Hive {
    pub(crate) fn list(&self, offset: u32, depth: usize, out: &mut Vec<u32>) {
        let Some(cell) = self.cell(offset) else {
            return;
        };
        let (Some(kind), Some(count)) = (cell.get(..2), u16_at(cell, 2)) else {
            return;
        };
        let stride = match kind {
            b"lf" | b"lh" => 8,
            b"li" | b"ri" => 4,
            _ => return,
        };
        let entries = cell
            .get(4..)
            .unwrap_or_default()
            .chunks_exact(stride)
            .take(count.into());
        for entry in entries.filter_map(|entry| u32_at(entry, 0)) {
            if out.len() >= MAX_SUBKEYS {
                return;
            }
            if kind != b"ri" {
                out.push(entry);
            } else if depth == 0 {
                self.list(entry, 1, out);
            }
        }
    }

    pub(crate) fn value_at(&self, offset: u32) -> Option<Value> {
        self.value(offset, MAX_DATA)
    }

    fn value(&self, offset: u32, longest: usize) -> Option<Value> {
        let cell = self.cell(offset)?;
        if cell.get(..2)? != b"vk" {
            return None;
        }
        let is_narrow = u16_at(cell, 16)? & 1 != 0;
        let name = text_of(cell, 20, u16_at(cell, 2)?, is_narrow);
        let size = u32_at(cell, 4)?;
        let data = match size & 0x8000_0000 {
            0 => self.data(u32_at(cell, 8)?, (size as usize).min(longest)),
            // Up to four bytes stand in place of their offset.
            _ => {
                let length = (size & 0x7fff_ffff).min(4) as usize;
                Some(cell.get(8..8 + length)?.to_vec())
            }
        };
        Some(Value {
            name,
            kind: u32_at(cell, 12)?,
            data: data.unwrap_or_default(),
        })
    }

    fn data(&self, offset: u32, size: usize) -> Option<Vec<u8>> {
        let cell = self.cell(offset)?;
        if size <= SEGMENT || cell.get(..2)? != b"db" {
            return Some(cell[..size.min(cell.len())].to_vec());
        }
        let segments = self.cell(u32_at(cell, 4)?)?;
        let mut data = Vec::new();
        for entry in segments.chunks_exact(4).take(u16_at(cell, 2)?.into()) {
            let segment = self.cell(u32_at(entry, 0)?)?;
            let wanted = (size - data.len()).min(SEGMENT).min(segment.len());
            data.extend_from_slice(&segment[..wanted]);
            if wanted == 0 || data.len() >= size {
                break;
            }
        }
        Some(data)
    }
}

impl Value {
    /// One line of text; numbers are written out.
    pub fn text(&self) -> String {
        match self.kind {
            1 | 2 | 6 => {
                let text = wide(&self.data);
                text.split('\0').next().unwrap_or("").to_owned()
            }
            7 => self.texts().join(" "),
            4 => self
                .number()
                .map(|number| number.to_string())
                .unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// Every line of a value that holds several.
    pub fn texts(&self) -> Vec<String> {
        match self.kind {
            1 | 2 | 7 => wide(&self.data)
                .split('\0')
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The number that it holds.
    pub fn number(&self) -> Option<u32> {
        match self.kind {
            4 | 11 => u32_at(&self.data, 0),
            5 => Some(u32::from_be_bytes(self.data.get(..4)?.try_into().ok()?)),
            _ => None,
        }
    }
}

fn text_of(cell: &[u8], at: usize, length: u16, is_narrow: bool) -> String {
    let bytes = cell.get(at..at + usize::from(length)).unwrap_or_default();
    if is_narrow {
        bytes.iter().map(|byte| char::from(*byte)).collect()
    } else {
        wide(bytes)
    }
}

fn wide(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Editor, kind};

    #[test]
    fn work_on_a_hive_is_bounded() {
        let mut editor = Editor::open(crate::edit::smallest_hive(), &[]).unwrap();
        for number in 0..50 {
            let path = format!("a\\{number}");
            editor.set(&path, "v", kind::BINARY, &[1; 9]).unwrap();
        }
        let hive = Hive::open(editor.finish(), &[]).unwrap();
        let count = |hive: &Hive| {
            let mut count = 0;
            hive.walk(&mut |_, key| count += 1 + key.values().len());
            count
        };
        let whole = count(&hive);
        let used = MAX_WORK - hive.work_left.get();
        assert!(used > 1_000, "{used}");
        hive.work_left.set(used / 2);
        assert!(count(&hive) < whole);
    }
}
