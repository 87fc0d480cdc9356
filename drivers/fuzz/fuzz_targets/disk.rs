//! Partition tables and superblocks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

use lifeboat_drivers::init::{raid_superblock, superblock};
use lifeboat_drivers::partition_table;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(entries) = partition_table::read(&mut Cursor::new(bytes)) {
        assert!(entries.len() <= 512);
    }
    let _ = superblock::recognise(bytes);
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    let _ = raid_superblock::raid_member(head, tail, bytes.len() as u64);
});
