//! Images that use one piece of data for many places of the disk: kilobytes that would become
//! gigabytes without a single packed byte.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::path::{Path, PathBuf};

use fixture::writers::{self, disk};
use fixture::{assert_refusal, assert_refused, take_in};
use lifeboat_images::{Conversions, Reading, RefusalKind as Kind, import};
use tempfile::TempDir;

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(fixture::scratch())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn made(&self, name: &str, words: &str) -> PathBuf {
        let raw = self.path("made.raw");
        std::fs::write(&raw, disk(9)).unwrap();
        let path = self.path(name);
        let convert = format!("convert -f raw -O {words} {} @", raw.display());
        fixture::qemu_img(&convert, &path);
        path
    }

    /// Refused when it is looked at and when it is imported, and nothing is left of it.
    #[track_caller]
    fn refused(&self, path: &Path, words: &[&str]) {
        assert_refused(path, Kind::Damaged, words);
        let folder = self.path("converted");
        let conversions = Conversions::new(&folder).with_limits(fixture::limits());
        let go_on = std::sync::atomic::AtomicBool::new(false);
        let reading = Reading::fast(&|_, _| {}, &go_on);
        let confined = fixture::confined();
        let error = import(&confined, path, &[], &conversions, None, &reading).unwrap_err();
        assert_refusal(&error, path, Kind::Damaged, words);
        let left = std::fs::read_dir(&folder).map_or(0, Iterator::count);
        assert_eq!(left, 0, "something is left of {}", path.display());
    }
}

fn descriptor(path: &Path, lines: &[String]) {
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
         createType=\"twoGbMaxExtentFlat\"\n{}\n",
        lines.join("\n")
    );
    std::fs::write(path, text).unwrap();
}

#[test]
fn flat_extents_over_each_other() {
    let bench = Bench::new();
    let path = bench.path("x.vmdk");
    std::fs::write(bench.path("x-f001.vmdk"), disk(3)).unwrap();
    let line = |sectors: u64, first: u64| format!("RW {sectors} FLAT \"x-f001.vmdk\" {first}");
    descriptor(&path, &vec![line(6144, 0); 800]);
    bench.refused(&path, &["x-f001.vmdk", "twice"]);
    descriptor(&path, &[line(100, 0), line(100, 99)]);
    bench.refused(&path, &["from 50688 on", "twice"]);
    // The control: side by side, in any order.
    descriptor(&path, &[line(100, 100), line(100, 0)]);
    take_in(&path);
}

#[test]
fn sparse_extents_over_each_other() {
    let bench = Bench::new();
    let path = bench.made("s.vmdk", "vmdk -o subformat=twoGbMaxExtentSparse");
    let text = std::fs::read_to_string(&path).unwrap();
    take_in(&path);
    let line = text.lines().find(|line| line.starts_with("RW")).unwrap();
    std::fs::write(&path, text.replace(line, &format!("{line}\n{line}"))).unwrap();
    bench.refused(&path, &["s-s001.vmdk", "twice"]);
    std::fs::write(&path, &text).unwrap();

    let extent = bench.path("s-s001.vmdk");
    let bytes = std::fs::read(&extent).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let table = word(word(56) as usize * 512) as usize * 512;
    let first = word(table);
    assert!(first > 1);
    let all: Vec<u8> = (0..140).flat_map(|_| first.to_le_bytes()).collect();
    fixture::patch(&extent, table as u64, &all);
    bench.refused(&path, &["share a grain"]);
}

#[test]
fn blocks_over_each_other() {
    let bench = Bench::new();
    let vhd = bench.made("d.vhd", "vpc -o subformat=dynamic");
    take_in(&vhd);
    let bytes = std::fs::read(&vhd).unwrap();
    let table = u64::from_be_bytes(bytes[528..536].try_into().unwrap());
    let first = &bytes[table as usize..table as usize + 4];
    assert_ne!(first, [0xff; 4]);
    fixture::patch(&vhd, table + 4, first);
    bench.refused(&vhd, &["share a block"]);

    let vhdx = bench.made("d.vhdx", "vhdx -o block_size=1M");
    let bytes = std::fs::read(&vhdx).unwrap();
    let id = [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42];
    let place = bytes[0x3_0000..0x4_0000].windows(8).position(|at| at == id);
    let entry = 0x3_0000 + place.unwrap();
    let table = u64::from_le_bytes(bytes[entry + 16..entry + 24].try_into().unwrap());
    let first = bytes[table as usize..table as usize + 8].to_vec();
    assert_eq!(first[0] & 7, 6);
    let untouched = u64::from_le_bytes(first.as_slice().try_into().unwrap()) & !0xf_ffff;
    writers::dirty_vhdx(&vhdx, &[(untouched, vec![7; 4096])], None);
    take_in(&vhdx);
    fixture::patch(&vhdx, table + 8, &first);
    bench.refused(&vhdx, &["share a block"]);
}

#[test]
fn tables_of_evidence_over_each_other() {
    let bench = Bench::new();
    let path = bench.path("e.E01");
    let chunks = &disk(1)[..1 << 19];
    writers::ewf_of_shared_chunks(&path, chunks, 1);
    take_in(&path);
    writers::ewf_of_shared_chunks(&path, chunks, 40);
    bench.refused(&path, &["same chunks"]);
}
