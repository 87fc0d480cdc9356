//! The tables of an E01 image: where its chunks are.
//!
//! An entry is an offset of 31 bits and one bit for "packed". Where a segment is larger than that,
//! the offsets of later chunks use all 32 bits, and none of those chunks is packed.

use super::ewf::{Section, verify};
use crate::error::Refusal;
use crate::structure::{Source, first_overlap};

const HEAD: u64 = 24;
const PACKED: u32 = 1 << 31;
/// Entries of all tables together: 4 TiB in chunks of 32 KiB.
const MOST_CHUNKS: u64 = 128 << 20;

/// Where a chunk is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChunkPlace {
    pub segment: usize,
    pub offset: u64,
    pub length: u64,
    pub compressed: bool,
}

/// One table.
struct Table {
    /// Number of its first chunk.
    first: u64,
    segment: usize,
    base: u64,
    entries: Vec<u32>,
    /// The first entry that uses all 32 bits.
    wide_from: usize,
    /// Where the data of its last chunk end.
    end: u64,
}

/// A table whose checksum is wrong, until its second copy was seen.
struct Broken {
    end: u64,
    refusal: Refusal,
}

/// All tables, in the order of the disk.
#[derive(Default)]
pub(super) struct Tables {
    tables: Vec<Table>,
    chunks: u64,
    data_end: Option<u64>,
    broken: Option<Broken>,
    second_copies: u64,
}

impl Tables {
    /// The section with the data of the next table.
    pub(super) fn data_until(&mut self, section: &Section) {
        self.data_end = Some(section.end());
    }

    /// Takes in a section `table`.
    pub(super) fn add(
        &mut self,
        source: &Source<'_>,
        segment: usize,
        section: &Section,
    ) -> Result<(), Refusal> {
        if let Some(broken) = self.broken.take() {
            return Err(broken.refusal);
        }
        // Old images have the data in the same section, after the table.
        let end = self.data_end.take().unwrap_or(section.end());
        match read(source, section) {
            Ok((base, entries)) => self.push(segment, base, entries, end),
            Err(refusal) => {
                self.broken = Some(Broken { end, refusal });
                Ok(())
            }
        }
    }

    /// Takes in a section `table2`, which repeats the one before it.
    pub(super) fn add_second(
        &mut self,
        source: &Source<'_>,
        segment: usize,
        section: &Section,
    ) -> Result<(), Refusal> {
        let Some(broken) = self.broken.take() else {
            return Ok(());
        };
        let (base, entries) = read(source, section).map_err(|_| broken.refusal)?;
        self.second_copies += 1;
        self.push(segment, base, entries, broken.end)
    }

    fn push(
        &mut self,
        segment: usize,
        base: u64,
        entries: Vec<u32>,
        end: u64,
    ) -> Result<(), Refusal> {
        let count = entries.len() as u64;
        if self.chunks + count > MOST_CHUNKS {
            return Err(Refusal::absurd(format!(
                "it has more than {MOST_CHUNKS} chunks of data"
            )));
        }
        self.tables.push(Table {
            first: self.chunks,
            segment,
            base,
            wide_from: wide_from(&entries, base, end),
            entries,
            end,
        });
        self.chunks += count;
        Ok(())
    }

    /// Chunks in all tables.
    pub(super) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Refuses tables over the same data.
    pub(super) fn refuse_shared(&self) -> Result<(), Refusal> {
        let ranges = self.tables.iter().filter_map(|table| {
            let start = table.base.checked_add(table.offset(0)?)?;
            Some((table.segment, start, table.end))
        });
        match first_overlap(ranges) {
            None => Ok(()),
            Some(_) => Err(Refusal::damaged(
                "two of its tables lead to the same chunks",
            )),
        }
    }

    /// How often the second copy of a table had to be used.
    pub(super) fn second_copies(&self) -> u64 {
        self.second_copies
    }

    /// Where chunk `number` is.
    pub(super) fn place(&self, number: u64) -> Option<ChunkPlace> {
        let after = self.tables.partition_point(|table| table.first <= number);
        let table = self.tables.get(after.checked_sub(1)?)?;
        table.place(usize::try_from(number - table.first).ok()?)
    }
}

impl Table {
    fn place(&self, index: usize) -> Option<ChunkPlace> {
        let entry = *self.entries.get(index)?;
        let compressed = index < self.wide_from && entry & PACKED != 0;
        let offset = self.base.checked_add(self.offset(index)?)?;
        let next = match self.offset(index + 1) {
            Some(next) => self.base.checked_add(next)?,
            None => self.end,
        };
        Some(ChunkPlace {
            segment: self.segment,
            offset,
            length: next.checked_sub(offset)?,
            compressed,
        })
    }

    fn offset(&self, index: usize) -> Option<u64> {
        let entry = *self.entries.get(index)?;
        let narrow = if index < self.wide_from {
            entry & !PACKED
        } else {
            entry
        };
        Some(u64::from(narrow))
    }
}

/// Offsets rise. Where the lower 31 bits fall, the upper bit has become part of them.
fn wide_from(entries: &[u32], base: u64, end: u64) -> usize {
    let falls = |pair: &[u32]| (pair[1] & !PACKED) < (pair[0] & !PACKED);
    let beyond = end.saturating_sub(base) > u64::from(PACKED);
    match entries.windows(2).position(falls) {
        Some(before) if beyond => before + 1,
        _ => entries.len(),
    }
}

fn read(source: &Source<'_>, section: &Section) -> Result<(u64, Vec<u32>), Refusal> {
    let what = "a table of chunks";
    let head = source.read(section.body(), HEAD, what)?;
    verify(&head, 0, 20, what)?;
    let count = u64::from(head.le32(0));
    if count > MOST_CHUNKS || section.body_length() < HEAD + count * 4 {
        return Err(Refusal::damaged(
            "a table of chunks is longer than its section",
        ));
    }
    let has_sum = section.body_length() >= HEAD + count * 4 + 4;
    let length = count * 4 + if has_sum { 4 } else { 0 };
    let body = source.read(section.body() + HEAD, length, what)?;
    // The oldest images have data where the checksum would be, and no second copy.
    if has_sum && section.body_length() < HEAD + count * 4 + 64 {
        verify(&body, 0, count as usize * 4, what)?;
    }
    let entries = (0..count as usize)
        .map(|index| body.le32(index * 4))
        .collect();
    Ok((head.le64(8), entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(entries: &[u32], end: u64) -> Tables {
        let mut tables = Tables::default();
        tables.push(0, 100, entries.to_vec(), end).unwrap();
        tables
    }

    #[track_caller]
    fn check(tables: &Tables, number: u64, expected: Option<(u64, u64, bool)>) {
        let place = tables.place(number);
        let found = place.map(|place| (place.offset, place.length, place.compressed));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_chunk_ends_where_the_next_begins() {
        let tables = tables(&[PACKED | 10, 50, 90], 300);
        check(&tables, 0, Some((110, 40, true)));
        check(&tables, 1, Some((150, 40, false)));
        check(&tables, 2, Some((190, 110, false)));
        check(&tables, 3, None);
    }

    #[test]
    fn offsets_beyond_31_bits_are_wide() {
        let wide = PACKED + 5;
        let tables = tables(
            &[PACKED | 10, PACKED - 30_000, wide],
            u64::from(PACKED) + 40_000,
        );
        check(
            &tables,
            1,
            Some((u64::from(PACKED) - 29_900, 30_005, false)),
        );
        check(&tables, 2, Some((u64::from(wide) + 100, 39_895, false)));
    }

    #[test]
    fn offsets_that_fall_are_no_place() {
        check(&tables(&[50, 10], 300), 0, None);
        check(&tables(&[50], 20), 0, None);
    }
}
