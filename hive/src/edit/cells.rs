//! Cells: the places that a hive is divided into. New ones come from a bin added at the end, or
//! from what earlier changes left; the hive's own free cells are not touched.

use super::{EditError, Editor, damaged, put};
use crate::format::{BASE, u32_at};

const BIN: usize = 4096;
const BIN_HEAD: usize = 32;
const SMALLEST: u32 = 8;
/// A hive of this size is none that Windows loads.
const LARGEST_HIVE: usize = 512 << 20;

impl Editor {
    /// A number in a cell.
    pub(super) fn field(&self, at: u32, field: usize) -> Result<u32, EditError> {
        let cell = self.hive.cell(at).ok_or(damaged(at, "a cell"))?;
        u32_at(cell, field).ok_or(damaged(at, "a short cell"))
    }

    pub(super) fn set_field(&mut self, at: u32, field: usize, to: u32) -> Result<(), EditError> {
        if self.field(at, field)? != to {
            put(
                &mut self.hive.bytes,
                BASE + at as usize + 4 + field,
                &to.to_le_bytes(),
            );
            self.is_changed = true;
        }
        Ok(())
    }

    /// Puts content into a new cell.
    pub(super) fn allocate(&mut self, content: &[u8]) -> Result<u32, EditError> {
        let size = (content.len() as u32 + 4).next_multiple_of(8).max(SMALLEST);
        let fitting = |(_, free): &(u32, u32)| *free >= size;
        let index = match self.free.iter().position(fitting) {
            Some(index) => index,
            None => self.add_bin(size as usize)?,
        };
        let (at, free) = self.free.remove(index);
        let rest = free - size;
        let size = if rest < SMALLEST { free } else { size };
        if rest >= SMALLEST {
            self.mark_free(at + size, rest);
        }
        let start = BASE + at as usize;
        self.hive.bytes[start + 4..start + size as usize].fill(0);
        put(&mut self.hive.bytes, start, &(-(size as i32)).to_le_bytes());
        put(&mut self.hive.bytes, start + 4, content);
        self.is_changed = true;
        Ok(at)
    }

    /// Lets a cell go.
    pub(super) fn release(&mut self, at: u32) -> Result<(), EditError> {
        let length = self.hive.cell(at).ok_or(damaged(at, "a cell"))?.len();
        // Behind the last bin a new one is put: nothing there may be used again.
        let end = u32_at(&self.hive.bytes, 40).unwrap_or(0) as usize;
        if at as usize + 4 + length > end {
            return Err(damaged(at, "a cell behind the last bin"));
        }
        self.mark_free(at, length as u32 + 4);
        self.is_changed = true;
        Ok(())
    }

    fn mark_free(&mut self, at: u32, size: u32) {
        put(
            &mut self.hive.bytes,
            BASE + at as usize,
            &(size as i32).to_le_bytes(),
        );
        self.free.push((at, size));
    }

    fn add_bin(&mut self, room: usize) -> Result<usize, EditError> {
        let start = u32_at(&self.hive.bytes, 40).unwrap_or(0) as usize;
        let size = (room + BIN_HEAD).next_multiple_of(BIN);
        if BASE + start + size > LARGEST_HIVE {
            return Err(damaged(start as u32, "a hive that is too large"));
        }
        // What lies behind the last bin belongs to nobody.
        self.hive.bytes.truncate(BASE + start);
        self.hive.bytes.resize(BASE + start + size, 0);
        let bytes = &mut self.hive.bytes;
        let time = bytes[12..20].to_vec();
        put(bytes, BASE + start, b"hbin");
        put(bytes, BASE + start + 4, &(start as u32).to_le_bytes());
        put(bytes, BASE + start + 8, &(size as u32).to_le_bytes());
        put(bytes, BASE + start + 20, &time);
        put(bytes, 40, &((start + size) as u32).to_le_bytes());
        self.mark_free((start + BIN_HEAD) as u32, (size - BIN_HEAD) as u32);
        Ok(self.free.len() - 1)
    }
}
