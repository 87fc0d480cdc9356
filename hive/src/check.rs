//! Whether a hive is whole: bins and cells without gaps, every list and value where it should be.

use std::collections::HashSet;

use crate::edit::{EditError, damaged};
use crate::format::{BASE, Hive, u32_at};

const BIN_HEAD: usize = 32;
/// More keys than any hive has.
const MOST_KEYS: usize = 4_000_000;
const DEEPEST: usize = 512;

/// Refuses a hive in which anything is not as it must be.
pub(crate) fn whole(hive: &Hive) -> Result<(), EditError> {
    let end = u32_at(&hive.bytes, 40).unwrap_or(0);
    if BASE + end as usize > hive.bytes.len() || !end.is_multiple_of(4096) {
        return Err(damaged(0, "the file is shorter than it says"));
    }
    bins(hive, end)?;
    tree(hive)
}

fn bins(hive: &Hive, end: u32) -> Result<(), EditError> {
    let mut at = 0;
    while at < end {
        let head = &hive.bytes[BASE + at as usize..];
        let size = u32_at(head, 8).unwrap_or(0);
        let fits = size >= 4096 && size.is_multiple_of(4096) && size <= end - at;
        if !head.starts_with(b"hbin") || u32_at(head, 4) != Some(at) || !fits {
            return Err(damaged(at, "the head of a bin"));
        }
        cells(hive, at + BIN_HEAD as u32, at + size)?;
        at += size;
    }
    Ok(())
}

fn cells(hive: &Hive, mut at: u32, end: u32) -> Result<(), EditError> {
    while at < end {
        let size = u32_at(&hive.bytes, BASE + at as usize).unwrap_or(0);
        let size = (size as i32).unsigned_abs();
        if size < 8 || !size.is_multiple_of(8) || size > end - at {
            return Err(damaged(at, "the size of a cell"));
        }
        at += size;
    }
    Ok(())
}

fn tree(hive: &Hive) -> Result<(), EditError> {
    let root = u32_at(&hive.bytes, 36).unwrap_or(u32::MAX);
    let mut waiting = vec![(root, 0)];
    let mut known = HashSet::new();
    while let Some((node, depth)) = waiting.pop() {
        if !known.insert(node) || known.len() > MOST_KEYS || depth > DEEPEST {
            return Err(damaged(node, "a key that lies below itself"));
        }
        for value in values(hive, node)? {
            hive.value_at(value).ok_or(damaged(value, "a value"))?;
        }
        // The budget of a reader is per question; here every key is asked once.
        hive.renew();
        waiting.extend(
            subkeys(hive, node)?
                .into_iter()
                .map(|below| (below, depth + 1)),
        );
    }
    Ok(())
}

/// Offsets of the keys below a key; all that it says it has.
pub(crate) fn subkeys(hive: &Hive, node: u32) -> Result<Vec<u32>, EditError> {
    hive.renew();
    let key = hive.key(node).ok_or(damaged(node, "a key"))?;
    let count = u32_at(key.node, 20).unwrap_or(0) as usize;
    let mut found = Vec::new();
    if count > 0 {
        let list = u32_at(key.node, 28).unwrap_or(u32::MAX);
        hive.list(list, 0, &mut found);
    }
    if found.len() != count {
        return Err(damaged(node, "the list of the keys below a key"));
    }
    Ok(found)
}

/// Offsets of the values of a key.
pub(crate) fn values(hive: &Hive, node: u32) -> Result<Vec<u32>, EditError> {
    let key = hive.key(node).ok_or(damaged(node, "a key"))?;
    let count = u32_at(key.node, 36).unwrap_or(0) as usize;
    if count == 0 {
        return Ok(Vec::new());
    }
    let list = u32_at(key.node, 40).and_then(|list| hive.cell(list));
    let list = list.and_then(|list| list.get(..count.checked_mul(4)?));
    let list = list.ok_or(damaged(node, "the list of a key's values"))?;
    Ok(list
        .chunks_exact(4)
        .filter_map(|entry| u32_at(entry, 0))
        .collect())
}
