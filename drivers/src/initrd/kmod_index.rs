//! The binary index files that libkmod reads (`modules.dep.bin` and others).
//!
//! A prefix tree: big-endian offsets point backwards to nodes that were written
//! before; the upper bits of an offset say which parts a node has.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;

/// A key with its values and their priorities.
type Entry<'a> = (&'a [u8], &'a [(u32, Vec<u8>)]);

/// Builds an index. Equal input gives equal bytes.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    values: BTreeMap<Vec<u8>, Vec<(u32, Vec<u8>)>>,
}

impl IndexBuilder {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value; among several of one key the lowest priority comes first.
    ///
    /// The format holds ASCII without zero bytes only, and quietly leaving out
    /// another key is what depmod does too.
    pub fn insert(&mut self, key: &str, value: &str, priority: u32) {
        if !is_storable(key) || !is_storable(value) {
            return;
        }
        let values = self.values.entry(key.as_bytes().to_vec()).or_default();
        let entry = (priority, value.as_bytes().to_vec());
        if let Err(place) = values.binary_search(&entry) {
            values.insert(place, entry);
        }
    }

    /// The whole file.
    pub fn build(&self) -> Vec<u8> {
        let entries: Vec<Entry> = self
            .values
            .iter()
            .map(|(key, values)| (key.as_slice(), values.as_slice()))
            .collect();
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        let root = write_node(&entries, 0, &mut out);
        out[8..12].copy_from_slice(&root.to_be_bytes());
        out
    }
}

fn is_storable(text: &str) -> bool {
    text.bytes().all(|byte| byte != 0 && byte < 128)
}

/// Writes the node of all `entries`, which agree in their first `depth` bytes.
fn write_node(entries: &[Entry], depth: usize, out: &mut Vec<u8>) -> u32 {
    let prefix = common_prefix(entries, depth);
    let below = depth + prefix.len();
    let (own, rest) = match entries.split_first() {
        Some((first, rest)) if first.0.len() == below => (first.1, rest),
        _ => (&[][..], entries),
    };
    let children = write_children(rest, below, out);
    let mut offset = out.len() as u32;
    if !prefix.is_empty() {
        offset |= HAS_PREFIX;
        out.extend_from_slice(prefix);
        out.push(0);
    }
    if let (Some(first), Some(last)) = (children.first(), children.last()) {
        offset |= HAS_CHILDREN;
        out.extend_from_slice(&[first.0, last.0]);
        let by_byte: BTreeMap<u8, u32> = children.iter().copied().collect();
        for byte in first.0..=last.0 {
            out.extend_from_slice(&by_byte.get(&byte).copied().unwrap_or(0).to_be_bytes());
        }
    }
    if !own.is_empty() {
        offset |= HAS_VALUES;
        out.extend_from_slice(&(own.len() as u32).to_be_bytes());
        for (priority, value) in own {
            out.extend_from_slice(&priority.to_be_bytes());
            out.extend_from_slice(value);
            out.push(0);
        }
    }
    offset
}

fn write_children(entries: &[Entry], depth: usize, out: &mut Vec<u8>) -> Vec<(u8, u32)> {
    entries
        .chunk_by(|one, other| one.0[depth] == other.0[depth])
        .map(|group| (group[0].0[depth], write_node(group, depth + 1, out)))
        .collect()
}

fn common_prefix<'a>(entries: &[Entry<'a>], depth: usize) -> &'a [u8] {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
        return &[];
    };
    let length = first[depth..]
        .iter()
        .zip(&last[depth..])
        .take_while(|(a, b)| a == b)
        .count();
    &first[depth..depth + length]
}

/// All values of exactly this key, or nothing where the file is damaged.
pub fn lookup(index: &[u8], key: &str) -> Option<Vec<String>> {
    if read_word(index, 0)? != MAGIC || read_word(index, 4)? != VERSION {
        return None;
    }
    let mut node = read_word(index, 8)?;
    let mut rest = key.as_bytes();
    loop {
        let mut at = (node & 0x0fff_ffff) as usize;
        if node & HAS_PREFIX != 0 {
            let prefix = read_text(index, at)?;
            let Some(remaining) = rest.strip_prefix(prefix) else {
                return Some(Vec::new());
            };
            rest = remaining;
            at += prefix.len() + 1;
        }
        let Some((&byte, remaining)) = rest.split_first() else {
            return read_values(index, node, at);
        };
        if node & HAS_CHILDREN == 0 {
            return Some(Vec::new());
        }
        let (first, last) = (*index.get(at)?, *index.get(at + 1)?);
        if !(first..=last).contains(&byte) {
            return Some(Vec::new());
        }
        node = read_word(index, at + 2 + usize::from(byte - first) * 4)?;
        if node == 0 {
            return Some(Vec::new());
        }
        rest = remaining;
    }
}

fn read_values(index: &[u8], node: u32, mut at: usize) -> Option<Vec<String>> {
    if node & HAS_VALUES == 0 {
        return Some(Vec::new());
    }
    if node & HAS_CHILDREN != 0 {
        let (first, last) = (*index.get(at)?, *index.get(at + 1)?);
        at += 2 + (usize::from(last.checked_sub(first)?) + 1) * 4;
    }
    let count = read_word(index, at)?;
    at += 4;
    let mut values = Vec::new();
    for _ in 0..count {
        let value = read_text(index, at + 4)?;
        values.push(String::from_utf8_lossy(value).into_owned());
        at += 4 + value.len() + 1;
    }
    Some(values)
}

fn read_word(index: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(
        index.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn read_text(index: &[u8], at: usize) -> Option<&[u8]> {
    let rest = index.get(at..)?;
    Some(&rest[..rest.iter().position(|byte| *byte == 0)?])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn empty_index_has_a_header_and_an_empty_root() {
        let bytes = IndexBuilder::new().build();
        assert_eq!(bytes.len(), 12);
        assert_eq!(lookup(&bytes, "anything"), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn every_key_is_found(keys in proptest::collection::btree_map("[a-d*_:]{1,8}", "[a-z]{1,6}", 0..40)) {
            let mut builder = IndexBuilder::new();
            for (key, value) in &keys {
                builder.insert(key, value, 1);
            }
            let bytes = builder.build();
            for (key, value) in &keys {
                prop_assert_eq!(lookup(&bytes, key), Some(vec![value.clone()]));
            }
            prop_assert_eq!(lookup(&bytes, "zzz"), Some(Vec::new()));
        }

        #[test]
        fn damaged_indexes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), key in "[a-z]{0,4}") {
            let mut head = MAGIC.to_be_bytes().to_vec();
            head.extend(VERSION.to_be_bytes());
            head.append(&mut bytes);
            let _ = lookup(&head, &key);
        }
    }
}
