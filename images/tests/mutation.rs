//! Images with random damage in their metadata. The parent always gets an answer in time: the
//! image is taken, or refused with a sentence.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fixture::{qemu_img, qemu_io, writers};
use lifeboat_images::{ImageError, allocated_map, inspect};
use proptest::prelude::*;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

struct Originals {
    directory: TempDir,
    images: Vec<(&'static str, Vec<u8>)>,
}

/// Small images whose metadata are dense, made once.
fn originals() -> &'static Originals {
    static ORIGINALS: OnceLock<Originals> = OnceLock::new();
    ORIGINALS.get_or_init(|| {
        let directory = fixture::scratch();
        let kinds = [
            ("a.qcow2", "qcow2", ""),
            ("small.qcow2", "qcow2", "-o cluster_size=512"),
            ("extended.qcow2", "qcow2", "-o extended_l2=on"),
            ("a.vmdk", "vmdk", ""),
            ("a.vdi", "vdi", ""),
            ("a.vhd", "vpc", ""),
            ("a.vhdx", "vhdx", "-o block_size=1M"),
        ];
        let images = kinds.map(|(name, format, options)| {
            let path = directory.path().join(name);
            qemu_img(&format!("create -q -f {format} {options} @ 4M"), &path);
            qemu_io(format, &path, &["write -P 1 0 8k", "write -P 2 1M 8k"]);
            fixture::look(&path).unwrap();
            (name, std::fs::read(&path).unwrap())
        });
        let mut images = images.to_vec();
        images.extend(written(directory.path()));
        Originals { directory, images }
    })
}

/// Forms that are read here and not by QEMU.
fn written(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let disk = writers::disk(1);
    writers::ewf(&folder.join("e.x"), &disk, 1);
    let dirty = folder.join("dirty.vhdx");
    qemu_img("create -q -f vhdx -o block_size=1M @ 4M", &dirty);
    writers::dirty_vhdx(&dirty, &[(3 << 20, vec![5; 4096])], Some((2 << 20, 4096)));
    std::fs::write(folder.join("p.raw.gz"), writers::pack("gz", &disk)).unwrap();
    ["e.E01", "dirty.vhdx", "p.raw.gz"]
        .map(|name| (name, std::fs::read(folder.join(name)).unwrap()))
        .to_vec()
}

#[derive(Debug, Clone)]
enum Damage {
    Byte(f64, u8),
    Word(f64, u64),
    Header(usize, u64),
    Cut(f64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = 0.0..1.0_f64;
    let word = prop_oneof![
        any::<u64>(),
        Just(u64::MAX),
        Just(0),
        (0_u32..64).prop_map(|bit| 1 << bit),
    ];
    prop_oneof![
        2 => (place.clone(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        3 => (place.clone(), word.clone()).prop_map(|(at, word)| Damage::Word(at, word)),
        4 => (4_usize..600, word).prop_map(|(at, word)| Damage::Header(at, word)),
        1 => place.prop_map(Damage::Cut),
    ]
}

/// Most of a file is empty; damage goes where something is.
fn apply(bytes: &mut Vec<u8>, occupied: &[usize], damage: &Damage) {
    let pick = |at: f64| occupied[(at * occupied.len() as f64) as usize];
    match *damage {
        Damage::Byte(at, byte) => set(bytes, pick(at), &[byte]),
        Damage::Word(at, word) => set(bytes, pick(at) & !7, &word.to_be_bytes()),
        Damage::Header(at, word) => set(bytes, at, &word.to_be_bytes()),
        Damage::Cut(at) => bytes.truncate((at * bytes.len() as f64) as usize),
    }
}

fn set(bytes: &mut [u8], at: usize, new: &[u8]) {
    let end = (at + new.len()).min(bytes.len());
    if at < end {
        bytes[at..end].copy_from_slice(&new[..end - at]);
    }
}

fn damaged(which: usize, damages: &[Damage]) -> (TempDir, PathBuf) {
    let originals = originals();
    assert!(originals.directory.path().exists());
    let (name, bytes) = &originals.images[which % originals.images.len()];
    let occupied: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] > 2).collect();
    let mut bytes = bytes.clone();
    for damage in damages {
        apply(&mut bytes, &occupied, damage);
    }
    let directory = fixture::scratch();
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (directory, path)
}

#[track_caller]
fn judge<T>(path: &Path, started: Instant, result: Result<T, ImageError>) {
    assert!(
        started.elapsed() < PATIENCE,
        "it took {:?}",
        started.elapsed()
    );
    let Err(error) = result else {
        return;
    };
    let sentence = error.to_string();
    assert!(sentence.contains(&*path.to_string_lossy()), "{sentence}");
    let chosen = matches!(
        error,
        ImageError::Refused { .. } | ImageError::ReaderDied { .. }
    );
    assert!(chosen, "{sentence}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]
    #[test]
    fn a_damaged_image_is_taken_or_refused(
        which in 0_usize..10,
        damages in prop::collection::vec(damage(), 1..5),
    ) {
        let (_directory, path) = damaged(which, &damages);
        let started = Instant::now();
        judge(&path, started, inspect(&fixture::confined(), &path, &[]));
    }

    #[test]
    fn a_damaged_overlay_is_mapped_or_refused(
        which in 0_usize..3,
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let (_directory, path) = damaged(which, &damages);
        let started = Instant::now();
        judge(&path, started, allocated_map(&fixture::confined(), &path));
    }
}
