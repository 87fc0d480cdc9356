//! Segments of evidence (E01) that are not whole or not true.

use std::path::Path;

use lifeboat_images::RefusalKind as Kind;

use super::fixture::{self, assert_refused, look, take_in, take_in_chain, writers};
use super::{Made, same};

#[test]
fn segments_of_evidence_that_are_not_whole() {
    let made = Made::new();
    let fresh = |name: &str| {
        let path = made.path(name);
        writers::ewf(&path, &made.bytes, 3)
    };
    let first = fresh("lost-last.x");
    std::fs::remove_file(first.with_extension("E03")).unwrap();
    assert_refused(&first, Kind::Truncated, &["no further one", "E02"]);

    let first = fresh("lost-middle.x");
    std::fs::remove_file(first.with_extension("E02")).unwrap();
    assert_refused(&first, Kind::SplitOverFiles, &["number 2", "missing"]);

    let first = fresh("swapped.x");
    std::fs::rename(first.with_extension("E02"), first.with_extension("tmp")).unwrap();
    std::fs::rename(first.with_extension("E03"), first.with_extension("E02")).unwrap();
    std::fs::rename(first.with_extension("tmp"), first.with_extension("E03")).unwrap();
    assert_refused(&first, Kind::SplitOverFiles, &["is number 3"]);

    let first = fresh("second.x");
    assert_refused(
        &first.with_extension("E02"),
        Kind::SplitOverFiles,
        &["first part"],
    );

    let first = fresh("cut.x");
    let last = first.with_extension("E03");
    fixture::set_length(&last, last.metadata().unwrap().len() - 200);
    assert_refused(&first, Kind::Truncated, &[]);
}

fn find(path: &Path, needle: &[u8], nth: usize) -> u64 {
    let file = std::fs::read(path).unwrap();
    let mut found = file
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle);
    found.nth(nth).unwrap().0 as u64
}

#[test]
fn checksums_of_evidence() {
    let made = Made::new();
    let first = writers::ewf(&made.path("chunk.x"), &made.bytes, 1);
    let data = find(&first, b"sectors\0", 0) + 76;
    fixture::patch(&first, data + 200_000, b"rot");
    // Only the structure is read for a look; every byte is read for an import.
    let error = take_in_chain(&first, &[]).unwrap_err();
    fixture::assert_refusal(&error, &first, Kind::Damaged, &["checksum", "chunk"]);

    let first = writers::ewf(&made.path("table.x"), &made.bytes, 1);
    let table = find(&first, b"table\0\0", 0) + 76;
    fixture::patch(&first, table + 40, b"rot");
    let found = look(&first).unwrap();
    assert!(
        found
            .risks
            .iter()
            .any(|risk| risk.contains("second copies")),
        "{found:?}"
    );
    same(&take_in(&first), &made.bytes);
    let second = find(&first, b"table2\0", 0) + 76;
    fixture::patch(&first, second + 40, b"rot");
    assert_refused(&first, Kind::Damaged, &["checksum", "table"]);

    let first = writers::ewf(&made.path("volume.x"), &made.bytes, 1);
    let volume = find(&first, b"volume\0", 0);
    fixture::patch(&first, volume + 76 + 16, &[0xff; 3]);
    assert_refused(&first, Kind::Damaged, &["checksum"]);
    fixture::patch(&first, volume + 20, &[1]);
    assert_refused(&first, Kind::Damaged, &["checksum", "section"]);
}
