//! Transaction logs: what Windows had not yet written into the hive file itself.
//!
//! Two formats: from Windows 8.1 on entries with hashes ("HvLE"), before that one bitmap of
//! dirty pages ("DIRT"). A machine whose disk was copied while it ran always has some.

use crate::format::{BASE, u32_at, u64_at};

const SECTOR: usize = 512;
const ENTRY_HEAD: usize = 40;
const HASH_SEED: u64 = 0x82ef_4d88_7a4e_55c5;
const MAX_HIVE: usize = 512 << 20;
const MAX_PAGES: usize = 1 << 20;

/// What a hive needed to be up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replay {
    /// Nothing: it was written out whole.
    Clean,
    /// Entries of the newer logs.
    Entries(Last),
    /// Sectors of an older log.
    Sectors,
    /// Changes that no log holds.
    Missing,
}

/// The last entry that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Last {
    pub sequence: u32,
    /// Size of the hive without its base block.
    pub bins: u32,
}

/// How much of what the logs should hold must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// All of it: the hive will be written.
    Whole,
    /// Whatever there is: the hive is only read.
    Some,
}

/// Brings a hive up to date as far as its logs allow.
pub(crate) fn apply(hive: &mut Vec<u8>, logs: &[Vec<u8>], demand: Demand) -> Replay {
    let is_sound = base_is_sound(hive);
    if is_sound && u32_at(hive, 4) == u32_at(hive, 8) {
        return Replay::Clean;
    }
    let are_all = are_all_there(logs);
    let mut logs: Vec<&[u8]> = logs
        .iter()
        .map(Vec::as_slice)
        .filter(|log| base_is_sound(log))
        .collect();
    logs.sort_by_key(|log| u32_at(log, 4));
    let entries: Vec<Vec<Entry<'_>>> = logs.iter().map(|log| entries(log)).collect();
    let chain = match demand {
        Demand::Whole if are_all => whole_chain(hive, &logs, &entries, is_sound),
        Demand::Whole => None,
        Demand::Some => any_chain(hive, &logs, &entries, is_sound),
    };
    if !is_sound {
        restore_base(hive, &logs);
    }
    if let Some(last) = put_all(hive, &chain.unwrap_or_default(), demand) {
        return Replay::Entries(last);
    }
    match replay_bitmap(hive, &logs) {
        0 => Replay::Missing,
        _ => Replay::Sectors,
    }
}

/// Windows keeps two of the newer logs and goes from one to the other: the sequence numbers of one
/// do not tell that changes in the other are lost. One that is not in use is empty.
fn are_all_there(logs: &[Vec<u8>]) -> bool {
    let is_unused = |log: &[u8]| log.iter().take(SECTOR).all(|byte| *byte == 0);
    logs.len() > 1 && logs.iter().all(|log| is_unused(log) || base_is_sound(log))
}

/// Whether logs are of the format before Windows 8.1, which is read but not written after.
pub(crate) fn are_old(logs: &[Vec<u8>]) -> bool {
    let mut tags = logs.iter().map(|log| log.get(SECTOR..SECTOR + 4));
    tags.any(|tag| tag == Some(b"DIRT"))
}

/// The checksum that a base block should have.
pub(crate) fn checksum(head: &[u8]) -> u32 {
    let sum = head[..508]
        .chunks_exact(4)
        .filter_map(|word| u32_at(word, 0))
        .fold(0, |sum, word| sum ^ word);
    match sum {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}

/// Whether a base block (of a hive or a log) has the checksum it says.
pub(crate) fn base_is_sound(bytes: &[u8]) -> bool {
    let head = bytes.get(..SECTOR).filter(|head| head.starts_with(b"regf"));
    head.is_some_and(|head| u32_at(head, 508) == Some(checksum(head)))
}

/// A base block that was torn while it was written is in each log too.
fn restore_base(hive: &mut [u8], logs: &[&[u8]]) {
    if let (Some(log), Some(head)) = (logs.last(), hive.get_mut(..SECTOR)) {
        head.copy_from_slice(&log[..SECTOR]);
        // The type of the file: the copy says that it is a log.
        head[28..32].fill(0);
        let sum = checksum(head);
        head[508..SECTOR].copy_from_slice(&sum.to_le_bytes());
    }
}

struct Entry<'a> {
    sequence: u32,
    bins: usize,
    pages: Vec<(usize, &'a [u8])>,
}

/// Entries of one log up to the first that is not whole.
fn entries(log: &[u8]) -> Vec<Entry<'_>> {
    let mut found = Vec::new();
    let mut at = SECTOR;
    while let Some((entry, next)) = entry(log, at) {
        found.push(entry);
        at = next;
    }
    found
}

/// Entries of all logs that follow each other without a gap from a sequence number on; what lies
/// before it was written to the hive long ago.
fn chain<'e, 'l>(logs: &'e [Vec<Entry<'l>>], first: u32) -> Vec<&'e Entry<'l>> {
    let mut chain = Vec::new();
    let mut expected = Some(first);
    for log in logs {
        for entry in log {
            if expected == Some(entry.sequence) {
                expected = entry.sequence.checked_add(1);
                chain.push(entry);
            } else if expected.is_none_or(|expected| entry.sequence > expected) {
                break;
            }
        }
    }
    chain
}

/// All that is not in the hive yet. The first entry bears the hive's secondary sequence number,
/// the last leads to its primary one or beyond, and no log goes on after it. A hive whose base
/// block is torn says nothing: there the oldest log counts that leads to the end without a gap;
/// entries hold whole pages, so that what was written before may be written again.
fn whole_chain<'e, 'l>(
    hive: &[u8],
    logs: &[&[u8]],
    entries: &'e [Vec<Entry<'l>>],
    is_sound: bool,
) -> Option<Vec<&'e Entry<'l>>> {
    let (beginnings, primary) = match is_sound {
        true => (vec![u32_at(hive, 8)?], u32_at(hive, 4)?),
        false => (logs.iter().filter_map(|log| u32_at(log, 8)).collect(), 0),
    };
    let chains = beginnings.into_iter().map(|first| chain(entries, first));
    let newest = logs.iter().flat_map(|log| sequences(log)).max();
    chains.into_iter().find(|chain| {
        let last = chain.last().map(|entry| entry.sequence);
        last >= newest && last.is_some_and(|last| last.saturating_add(1) >= primary)
    })
}

/// What follows the first entry that there is.
fn any_chain<'e, 'l>(
    hive: &[u8],
    logs: &[&[u8]],
    entries: &'e [Vec<Entry<'l>>],
    is_sound: bool,
) -> Option<Vec<&'e Entry<'l>>> {
    if !is_sound && let Some(chain) = whole_chain(hive, logs, entries, is_sound) {
        return Some(chain);
    }
    let base = if is_sound { hive } else { logs.last()? };
    let least = u32_at(base, 8)?;
    let sequences = entries.iter().flatten().map(|entry| entry.sequence);
    let first = sequences.filter(|sequence| *sequence >= least).min()?;
    Some(chain(entries, first))
}

/// Sequence numbers of all entries whose head is whole, those behind a damaged one too.
fn sequences(log: &[u8]) -> impl Iterator<Item = u32> {
    let heads = log.chunks(SECTOR).skip(1);
    let heads = heads.filter(|head| head.starts_with(b"HvLE"));
    let whole = heads.filter(|head| {
        head.get(..32).map(hash) == u64_at(head, 32).filter(|_| head.len() >= ENTRY_HEAD)
    });
    whole.filter_map(|head| u32_at(head, 12))
}

fn put_all(hive: &mut Vec<u8>, chain: &[&Entry<'_>], demand: Demand) -> Option<Last> {
    let mut last = None;
    for entry in chain {
        if !put(hive, entry) {
            return last.filter(|_| demand == Demand::Some);
        }
        last = Some(Last {
            sequence: entry.sequence,
            bins: entry.bins as u32,
        });
    }
    last
}

fn entry(log: &[u8], at: usize) -> Option<(Entry<'_>, usize)> {
    let size = u32_at(log, at.checked_add(4)?)? as usize;
    let whole = log.get(at..at.checked_add(size)?)?;
    if !whole.starts_with(b"HvLE") || size < ENTRY_HEAD || !size.is_multiple_of(SECTOR) {
        return None;
    }
    let body = hash(&whole[ENTRY_HEAD..]) == u64_at(whole, 24)?;
    let head = hash(&whole[..32]) == u64_at(whole, 32)?;
    if !body || !head {
        return None;
    }
    let count = u32_at(whole, 20)? as usize;
    let mut data = ENTRY_HEAD.checked_add(count.checked_mul(8)?)?;
    let mut pages = Vec::new();
    for reference in whole.get(ENTRY_HEAD..data)?.chunks_exact(8) {
        let (offset, length) = (
            u32_at(reference, 0)? as usize,
            u32_at(reference, 4)? as usize,
        );
        pages.push((offset, whole.get(data..data.checked_add(length)?)?));
        data += length;
    }
    let entry = Entry {
        sequence: u32_at(whole, 12)?,
        bins: u32_at(whole, 16)? as usize,
        pages,
    };
    Some((entry, at + size))
}

/// Writes the pages of an entry; refuses one that does not fit into the hive that it describes.
fn put(hive: &mut Vec<u8>, entry: &Entry<'_>) -> bool {
    let end = BASE.saturating_add(entry.bins);
    let fits = |(offset, page): &(usize, &[u8])| {
        BASE.saturating_add(*offset).saturating_add(page.len()) <= end
    };
    if end > MAX_HIVE || !entry.pages.iter().all(fits) {
        return false;
    }
    if hive.len() < end {
        hive.resize(end, 0);
    }
    for (offset, page) in &entry.pages {
        hive[BASE + offset..BASE + offset + page.len()].copy_from_slice(page);
    }
    true
}

/// The older format: one bit for each sector of the hive, then the sectors that are set.
fn replay_bitmap(hive: &mut Vec<u8>, logs: &[&[u8]]) -> usize {
    let newest = logs
        .iter()
        .rev()
        .find(|log| log.get(SECTOR..SECTOR + 4) == Some(b"DIRT"));
    newest.map_or(0, |log| put_sectors(hive, log).unwrap_or(0))
}

fn put_sectors(hive: &mut Vec<u8>, log: &[u8]) -> Option<usize> {
    // A log that was itself being written holds nothing complete.
    if u32_at(log, 4) != u32_at(log, 8) {
        return None;
    }
    let bins = u32_at(log, 40)? as usize;
    let sectors = (bins / SECTOR).min(MAX_PAGES);
    let bitmap = log.get(SECTOR + 4..SECTOR + 4 + sectors.div_ceil(8))?;
    if BASE.saturating_add(bins) > MAX_HIVE {
        return None;
    }
    let dirty: Vec<usize> = (0..sectors)
        .filter(|sector| bitmap[sector / 8] & (1 << (sector % 8)) != 0)
        .collect();
    let first = (SECTOR + 4 + bitmap.len()).next_multiple_of(SECTOR);
    let data = log.get(first..first.checked_add(dirty.len() * SECTOR)?)?;
    if hive.len() < BASE + bins {
        hive.resize(BASE + bins, 0);
    }
    for (sector, content) in dirty.iter().zip(data.chunks_exact(SECTOR)) {
        let at = BASE + sector * SECTOR;
        hive.get_mut(at..at + SECTOR)?.copy_from_slice(content);
    }
    Some(dirty.len())
}

/// The hash that log entries carry of themselves (Marvin32 with a fixed seed).
pub fn hash(data: &[u8]) -> u64 {
    let mut state = (HASH_SEED as u32, (HASH_SEED >> 32) as u32);
    let words = data.chunks_exact(4);
    let rest = words.remainder();
    for word in words {
        state.0 = state.0.wrapping_add(u32_at(word, 0).unwrap_or(0));
        mix(&mut state);
    }
    let tail = rest
        .iter()
        .rev()
        .fold(0x80_u32, |tail, byte| tail << 8 | u32::from(*byte));
    state.0 = state.0.wrapping_add(tail);
    mix(&mut state);
    mix(&mut state);
    u64::from(state.1) << 32 | u64::from(state.0)
}

fn mix((low, high): &mut (u32, u32)) {
    *high ^= *low;
    *low = low.rotate_left(20).wrapping_add(*high);
    *high = high.rotate_left(9) ^ *low;
    *low = low.rotate_left(27).wrapping_add(*high);
    *high = high.rotate_left(19);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_of_the_older_format_are_put_back() {
        let mut log = vec![0; 3 * SECTOR];
        log[..4].copy_from_slice(b"regf");
        log[40..44].copy_from_slice(&(4096_u32).to_le_bytes());
        log[SECTOR..SECTOR + 4].copy_from_slice(b"DIRT");
        log[SECTOR + 4] = 0b10;
        log[2 * SECTOR..].fill(7);
        let mut hive = vec![0; BASE + 4096];
        assert_eq!(put_sectors(&mut hive, &log), Some(1));
        assert!(hive[BASE + 512..BASE + 1024].iter().all(|byte| *byte == 7));
        assert!(hive[BASE + 1024..].iter().all(|byte| *byte == 0));
        log[4] = 1;
        assert_eq!(put_sectors(&mut hive, &log), None, "torn log");
    }
}
