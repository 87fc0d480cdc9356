//! Changing a hive: keys and values are added behind what is there, lists are kept sorted.
//!
//! Every change is "ensure": what holds already is left alone, and a hive in which nothing had to
//! change keeps its very bytes. The same input gives the same output, times included: new keys
//! carry the time of the hive's last writing.

use thiserror::Error;

use crate::check;
use crate::format::{BASE, Hive, Key, u16_at, u32_at};
use crate::replay::{self, Demand, Replay};

mod cells;
mod lists;

/// Largest value that is written; larger ones need another layout.
pub const LARGEST_VALUE: usize = 16_344;
const LONGEST_NAME: usize = 255;
const NONE: u32 = u32::MAX;
const NAME_IS_NARROW: u16 = 0x20;

/// Why a hive is not changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EditError {
    /// Not a hive at all.
    #[error("it is not a registry hive of Windows NT")]
    NotAHive,
    /// Pending changes are lost.
    #[error(
        "it was not written out completely when the disk was captured, and its transaction logs do not hold the rest; start and shut down the machine once, then capture it again"
    )]
    LogsMissing,
    /// Pending changes lie in a log of the format before Windows 8.1.
    #[error(
        "it was not written out completely when the disk was captured, and its transaction log has the format before Windows 8.1, which Lifeboat does not replay for writing; shut down the machine and capture it again"
    )]
    OldLog,
    /// The structure is damaged.
    #[error(
        "it is damaged at offset {offset:#x} ({what}); run `chkdsk` and restore the hive from a backup of the machine"
    )]
    Damaged {
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A key that must be there is not.
    #[error("it has no key `{path}`")]
    NoKey {
        /// Which.
        path: String,
    },
    /// What is to be written does not fit.
    #[error("`{name}` is too long for a registry hive")]
    TooLong {
        /// Which key or value.
        name: String,
    },
}

pub(crate) fn damaged(offset: u32, what: &'static str) -> EditError {
    EditError::Damaged {
        offset: BASE as u64 + u64::from(offset),
        what,
    }
}

/// One change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// What was done.
    pub action: Action,
    /// The key, below the root.
    pub path: String,
    /// The value, for changes of values; the default value has an empty name.
    pub value: Option<String>,
}

/// What was done to a key or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It was not there.
    Added,
    /// It had another type or other data.
    Changed,
    /// It is there no more.
    Removed,
}

/// A hive that is being changed.
#[derive(Debug)]
pub struct Editor {
    hive: Hive,
    edits: Vec<Edited>,
    /// Cells that earlier changes left, with their sizes.
    free: Vec<(u32, u32)>,
    is_changed: bool,
    is_replayed: bool,
}

impl Editor {
    /// Takes a hive and the logs beside it, in any sequence, empty ones too; applies the logs and
    /// checks the whole structure. A hive with pending changes needs both of its logs.
    pub fn open(mut bytes: Vec<u8>, logs: &[Vec<u8>]) -> Result<Self, EditError> {
        if bytes.get(..4) != Some(b"regf") || bytes.len() < BASE {
            return Err(EditError::NotAHive);
        }
        let is_replayed = match replay::apply(&mut bytes, logs, Demand::Whole) {
            Replay::Clean => false,
            Replay::Entries(last) => {
                put(&mut bytes, 40, &last.bins.to_le_bytes());
                set_sequence(&mut bytes, last.sequence.wrapping_add(1));
                true
            }
            Replay::Sectors => return Err(EditError::OldLog),
            Replay::Missing if replay::are_old(logs) => return Err(EditError::OldLog),
            Replay::Missing => return Err(EditError::LogsMissing),
        };
        let hive = Hive::of(bytes, false);
        check::whole(&hive)?;
        Ok(Self {
            hive,
            edits: Vec::new(),
            free: Vec::new(),
            is_changed: false,
            is_replayed,
        })
    }

    /// The hive as it is now.
    pub fn hive(&self) -> &Hive {
        &self.hive
    }

    /// Whether the logs held changes.
    pub fn is_replayed(&self) -> bool {
        self.is_replayed
    }

    /// Whether the bytes are others than those of the file.
    pub fn is_changed(&self) -> bool {
        self.is_changed || self.is_replayed
    }

    /// The whole file, marked as written out completely; its logs must be emptied.
    pub fn finish(mut self) -> Vec<u8> {
        if !self.is_changed() {
            return self.hive.bytes;
        }
        let sequence = u32_at(&self.hive.bytes, 4).unwrap_or(0);
        let next = sequence.wrapping_add(u32::from(self.is_changed));
        set_sequence(&mut self.hive.bytes, next);
        self.hive.bytes
    }

    /// The changes that were made, in order; what the logs held is not among them.
    pub fn edits(&self) -> &[Edited] {
        &self.edits
    }

    fn note(&mut self, action: Action, path: &str, value: Option<&str>) {
        self.edits.push(Edited {
            action,
            path: path.to_owned(),
            value: value.map(str::to_owned),
        });
    }

    /// Makes sure that a key exists, with those above it.
    pub fn ensure_key(&mut self, path: &str) -> Result<(), EditError> {
        self.key_made(path).map(|_| ())
    }

    /// Gives a value this type and data; makes key and value if they are not there.
    pub fn set(&mut self, path: &str, name: &str, kind: u32, data: &[u8]) -> Result<(), EditError> {
        if data.len() > LARGEST_VALUE || name.len() > LONGEST_NAME {
            return Err(EditError::TooLong {
                name: format!("{path}\\{name}"),
            });
        }
        let node = self.key_made(path)?;
        let done = match self.find_value(node, name)? {
            Some((_, at)) => self.replace_value(node, at, kind, data)?,
            None => Some(self.add_value(node, name, kind, data)?),
        };
        if let Some(action) = done {
            self.note(action, path, Some(name));
        }
        Ok(())
    }

    /// Takes a value away; whether it was there.
    pub fn remove_value(&mut self, path: &str, name: &str) -> Result<bool, EditError> {
        let Some(node) = self.find(path)? else {
            return Ok(false);
        };
        let Some((index, at)) = self.find_value(node, name)? else {
            return Ok(false);
        };
        self.drop_value(node, index, at)?;
        self.note(Action::Removed, path, Some(name));
        Ok(true)
    }

    /// Takes away a key that has no keys below it; whether it was there.
    pub fn remove_key(&mut self, path: &str) -> Result<bool, EditError> {
        let Some(node) = self.find(path)?.filter(|node| *node != self.root()) else {
            return Ok(false);
        };
        let above = path.rsplit_once('\\').map_or("", |(above, _)| above);
        if self.field(node, 20)? != 0 {
            return Err(damaged(
                node,
                "a key with keys below it cannot be taken away",
            ));
        }
        let parent = self.existing(above)?;
        while self.field(node, 36)? > 0 {
            let (index, at) = (0, self.value_offsets(node)?[0]);
            self.drop_value(node, index, at)?;
        }
        self.unlink(parent, node)?;
        self.share_security(self.field(node, 44)?, -1)?;
        self.release(node)?;
        self.note(Action::Removed, path, None);
        Ok(true)
    }

    /// Offset of a key's node.
    fn find(&self, path: &str) -> Result<Option<u32>, EditError> {
        let mut node = self.root();
        for name in path.split('\\').filter(|name| !name.is_empty()) {
            match self.find_below(node, name)? {
                Some(below) => node = below,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    fn existing(&self, path: &str) -> Result<u32, EditError> {
        self.find(path)?.ok_or_else(|| EditError::NoKey {
            path: path.to_owned(),
        })
    }

    fn root(&self) -> u32 {
        u32_at(&self.hive.bytes, 36).unwrap_or(0)
    }

    fn key(&self, node: u32) -> Result<Key<'_>, EditError> {
        self.hive.key(node).ok_or(damaged(node, "a key"))
    }

    fn find_below(&self, node: u32, name: &str) -> Result<Option<u32>, EditError> {
        for below in check::subkeys(&self.hive, node)? {
            if lists::same_name(&self.key(below)?.name(), name) {
                return Ok(Some(below));
            }
        }
        Ok(None)
    }

    fn key_made(&mut self, path: &str) -> Result<u32, EditError> {
        let mut node = self.root();
        let mut walked = String::new();
        for name in path.split('\\').filter(|name| !name.is_empty()) {
            if !walked.is_empty() {
                walked.push('\\');
            }
            walked.push_str(name);
            node = match self.find_below(node, name)? {
                Some(below) => below,
                None => {
                    let below = self.add_key(node, name)?;
                    self.note(Action::Added, &walked, None);
                    below
                }
            };
        }
        Ok(node)
    }

    fn add_key(&mut self, parent: u32, name: &str) -> Result<u32, EditError> {
        let (text, is_narrow) = encode_name(name)?;
        let security = self.field(parent, 44)?;
        let mut node = vec![0; 76];
        put(&mut node, 0, b"nk");
        put(
            &mut node,
            2,
            &(if is_narrow { NAME_IS_NARROW } else { 0 }).to_le_bytes(),
        );
        let time: Vec<u8> = self.hive.bytes[12..20].to_vec();
        put(&mut node, 4, &time);
        put(&mut node, 16, &parent.to_le_bytes());
        for offset in [28, 32, 40, 48] {
            put(&mut node, offset, &NONE.to_le_bytes());
        }
        put(&mut node, 44, &security.to_le_bytes());
        put(&mut node, 72, &(text.len() as u16).to_le_bytes());
        node.extend(text);
        let at = self.allocate(&node)?;
        self.share_security(security, 1)?;
        self.link(parent, at, name)?;
        self.raise(parent, 52, wide_length(name))?;
        Ok(at)
    }

    /// Keys share descriptors of who may do what; each counts its users.
    fn share_security(&mut self, at: u32, by: i32) -> Result<(), EditError> {
        if at == NONE {
            return Ok(());
        }
        let is_one = self
            .hive
            .cell(at)
            .is_some_and(|cell| cell.starts_with(b"sk") && cell.len() >= 20);
        if !is_one {
            return Err(damaged(at, "a security descriptor"));
        }
        let users = self.field(at, 12)?;
        self.set_field(at, 12, users.saturating_add_signed(by))
    }

    fn value_offsets(&self, node: u32) -> Result<Vec<u32>, EditError> {
        check::values(&self.hive, node)
    }

    /// A value's place in its list and its offset.
    fn find_value(&self, node: u32, name: &str) -> Result<Option<(usize, u32)>, EditError> {
        for (index, at) in self.value_offsets(node)?.into_iter().enumerate() {
            let value = self.hive.value_at(at).ok_or(damaged(at, "a value"))?;
            if lists::same_name(&value.name, name) {
                return Ok(Some((index, at)));
            }
        }
        Ok(None)
    }

    fn add_value(
        &mut self,
        node: u32,
        name: &str,
        kind: u32,
        data: &[u8],
    ) -> Result<Action, EditError> {
        let (text, is_narrow) = encode_name(name)?;
        let mut offsets = self.value_offsets(node)?;
        let mut value = vec![0; 20];
        put(&mut value, 0, b"vk");
        put(&mut value, 2, &(text.len() as u16).to_le_bytes());
        put(&mut value, 16, &u16::from(is_narrow).to_le_bytes());
        value.extend(text);
        let at = self.allocate(&value)?;
        self.put_data(at, kind, data)?;
        offsets.push(at);
        self.put_values(node, &offsets)?;
        self.raise(node, 60, wide_length(name))?;
        self.raise(node, 64, data.len() as u32)?;
        Ok(Action::Added)
    }

    fn replace_value(
        &mut self,
        node: u32,
        at: u32,
        kind: u32,
        data: &[u8],
    ) -> Result<Option<Action>, EditError> {
        let now = self.hive.value_at(at).ok_or(damaged(at, "a value"))?;
        if now.kind == kind && now.data == data {
            return Ok(None);
        }
        self.release_data(at)?;
        self.put_data(at, kind, data)?;
        self.raise(node, 64, data.len() as u32)?;
        Ok(Some(Action::Changed))
    }

    fn drop_value(&mut self, node: u32, index: usize, at: u32) -> Result<(), EditError> {
        let mut offsets = self.value_offsets(node)?;
        offsets.remove(index);
        self.release_data(at)?;
        self.release(at)?;
        self.put_values(node, &offsets)
    }

    /// Up to four bytes stand in the value itself.
    fn put_data(&mut self, at: u32, kind: u32, data: &[u8]) -> Result<(), EditError> {
        let size = data.len() as u32;
        let (size, place) = if data.len() <= 4 {
            let mut short = [0; 4];
            short[..data.len()].copy_from_slice(data);
            (size | 0x8000_0000, u32::from_le_bytes(short))
        } else {
            (size, self.allocate(data)?)
        };
        self.set_field(at, 4, size)?;
        self.set_field(at, 8, place)?;
        self.set_field(at, 12, kind)
    }

    fn release_data(&mut self, at: u32) -> Result<(), EditError> {
        let size = self.field(at, 4)?;
        // The parts of a large value stay where they are, used by nobody.
        if size & 0x8000_0000 == 0 && size != 0 && size as usize <= LARGEST_VALUE {
            let data = self.field(at, 8)?;
            self.release(data)?;
        }
        Ok(())
    }

    fn put_values(&mut self, node: u32, offsets: &[u32]) -> Result<(), EditError> {
        if self.field(node, 36)? > 0 {
            let old = self.field(node, 40)?;
            self.release(old)?;
        }
        let place = match offsets {
            [] => NONE,
            offsets => self.allocate(&words(offsets))?,
        };
        self.set_field(node, 36, offsets.len() as u32)?;
        self.set_field(node, 40, place)
    }

    /// Raises a number that says how long the longest of something is.
    fn raise(&mut self, node: u32, field: usize, to: u32) -> Result<(), EditError> {
        let now = self.field(node, field)?;
        // The upper half of the first such number holds flags.
        let length = if field == 52 { now & 0xffff } else { now };
        if length < to {
            self.set_field(node, field, (now - length) | to)?;
        }
        Ok(())
    }
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// Bytes of a name, and whether each character took one.
fn encode_name(name: &str) -> Result<(Vec<u8>, bool), EditError> {
    if name.chars().count() > LONGEST_NAME {
        return Err(EditError::TooLong {
            name: name.to_owned(),
        });
    }
    if name.is_ascii() {
        return Ok((name.as_bytes().to_vec(), true));
    }
    let wide = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    Ok((wide, false))
}

fn wide_length(name: &str) -> u32 {
    name.encode_utf16().count() as u32 * 2
}

fn put(bytes: &mut [u8], at: usize, content: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + content.len()) {
        place.copy_from_slice(content);
    }
}

fn set_sequence(hive: &mut [u8], sequence: u32) {
    put(hive, 4, &sequence.to_le_bytes());
    put(hive, 8, &sequence.to_le_bytes());
    let sum = replay::checksum(hive);
    put(hive, 508, &sum.to_le_bytes());
}

pub(crate) fn count_of(list: &[u8]) -> Option<usize> {
    u16_at(list, 2).map(usize::from)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::smallest as smallest_hive;
