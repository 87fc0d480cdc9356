//! Conversions that are stopped, killed, bounded, or found damaged.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use fixture::writers::{self, disk};
use fixture::{SmallDisk, confined, limits};
use lifeboat_images::{
    CapturedVolume, ConversionLimits, Conversions, ImageError, Reading, RefusalKind as Kind, import,
};

/// Many checkpoints, each forced to the disk.
fn small_steps() -> ConversionLimits {
    ConversionLimits {
        step: 512 << 10,
        sync_every: 1,
        ..limits()
    }
}

fn bring_in(
    path: &Path,
    folder: &Path,
    limits: ConversionLimits,
    progress: &dyn Fn(u64, u64),
    stop: &AtomicBool,
) -> Result<CapturedVolume, ImageError> {
    let conversions = Conversions::new(folder).with_limits(limits);
    let reading = Reading::fast(progress, stop);
    import(&confined(), path, &[], &conversions, None, &reading)
}

fn quietly(
    path: &Path,
    folder: &Path,
    limits: ConversionLimits,
) -> Result<CapturedVolume, ImageError> {
    bring_in(path, folder, limits, &|_, _| {}, &AtomicBool::new(false))
}

fn images(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut images = vec![
        writers::split(&folder.join("split.x"), bytes, 0, 3_000_320),
        writers::ewf(&folder.join("evidence.x"), bytes, 2),
    ];
    for ending in ["gz", "zst"] {
        let path = folder.join(format!("disk.raw.{ending}"));
        let members: Vec<u8> = bytes
            .chunks(1_700_000)
            .flat_map(|member| writers::pack(ending, member))
            .collect();
        std::fs::write(&path, members).unwrap();
        images.push(path);
    }
    images
}

/// Not a test of its own: the program that the next test kills.
#[test]
fn the_one_that_is_killed() {
    let Some(path) = std::env::var_os("LIFEBOAT_TEST_IMPORT").map(PathBuf::from) else {
        return;
    };
    let folder = path.with_file_name("converted");
    let progress = |done, all| eprintln!("PROGRESS {done} {all}");
    bring_in(
        &path,
        &folder,
        small_steps(),
        &progress,
        &AtomicBool::new(false),
    )
    .unwrap();
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_one_that_is_killed", "--nocapture"])
        .env("LIFEBOAT_TEST_IMPORT", path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the import after so many words of it; gives whether it ended by itself before.
fn kill_after(path: &Path, words: usize) -> bool {
    let mut child = start(path);
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let heard = lines
        .map_while(Result::ok)
        .filter(|line| line.starts_with("PROGRESS"));
    let heard = heard.take(words).count();
    child.kill().unwrap();
    child.wait().unwrap();
    heard < words
}

fn entries(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).into_iter().flatten();
    let paths = all.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect()
}

#[test]
fn a_killed_conversion_goes_on_and_gives_the_same_bytes() {
    let place = fixture::scratch();
    let bytes = disk(9);
    for path in images(place.path(), &bytes) {
        let converted = path.with_file_name("converted");
        let mut killed_in_the_middle = 0;
        for words in [2, 9, 5, 14, 11, 17, 23] {
            let ended = kill_after(&path, words);
            killed_in_the_middle += usize::from(!ended && !entries(&converted, "part").is_empty());
            for whole in entries(&converted, "raw") {
                assert!(
                    std::fs::read(whole).unwrap() == bytes,
                    "half a disk has the name of a whole one"
                );
            }
        }
        assert!(
            killed_in_the_middle > 0,
            "no kill met a conversion of {}",
            path.display()
        );
        let volume = quietly(&path, &converted, small_steps()).unwrap();
        assert!(
            std::fs::read(&volume.served[0].file.path).unwrap() == bytes,
            "{}",
            path.display()
        );
        assert!(entries(&converted, "part").is_empty());
        std::fs::remove_dir_all(converted).unwrap();
    }
}

#[test]
fn a_stopped_conversion_does_not_begin_anew() {
    let place = fixture::scratch();
    let bytes = disk(9);
    for path in images(place.path(), &bytes) {
        let converted = place.path().join("converted");
        let stop = AtomicBool::new(false);
        // The hash of the sources comes first.
        let conversion = Cell::new(false);
        let until_half = |done: u64, all: u64| {
            conversion.set(conversion.get() || !entries(&converted, "part").is_empty());
            stop.store(conversion.get() && done > all / 2, Ordering::Relaxed);
        };
        let stopped = bring_in(&path, &converted, small_steps(), &until_half, &stop);
        assert!(matches!(stopped, Err(ImageError::Stopped)), "{stopped:?}");
        assert_eq!(entries(&converted, "part").len(), 1);
        // Stale bytes behind the checkpoint, as a crash may leave them, are thrown away.
        let part = entries(&converted, "part").remove(0);
        fixture::set_length(&part, bytes.len() as u64);
        fixture::patch(&part, bytes.len() as u64 - 70_000, &[0x77; 70_000]);
        // What is before it is not done again, or this byte would be right again.
        fixture::patch(&part, 0, &[0x99]);
        let volume = quietly(&path, &converted, small_steps()).unwrap();
        let mut expected = bytes.clone();
        expected[0] = 0x99;
        let found = std::fs::read(&volume.served[0].file.path).unwrap();
        assert!(found == expected, "{}", path.display());
        std::fs::remove_dir_all(&converted).unwrap();
    }
}

#[test]
fn the_same_bytes_are_converted_once() {
    let place = fixture::scratch();
    let bytes = disk(5);
    let converted = place.path().join("converted");
    let path = place.path().join("a.raw.gz");
    std::fs::write(&path, writers::pack("gz", &bytes)).unwrap();
    let first = quietly(&path, &converted, limits()).unwrap();
    let copy = place.path().join("b.raw.gz");
    std::fs::copy(&path, &copy).unwrap();
    let second = quietly(&copy, &converted, limits()).unwrap();
    assert_eq!(first.served, second.served);
    assert_eq!(entries(&converted, "raw").len(), 1);
    let metadata = std::fs::metadata(&first.served[0].file.path).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert!(
        metadata.blocks() * 512 < bytes.len() as u64,
        "holes are not written"
    );
}

#[test]
fn bombs_are_refused_and_leave_nothing() {
    let place = fixture::scratch();
    let converted = place.path().join("converted");
    let check = |name: &str, bytes: &[u8], limits: ConversionLimits, words: &[&str]| {
        let ending = name.rsplit('.').next().unwrap();
        let path = place.path().join(name);
        std::fs::write(&path, writers::pack(ending, bytes)).unwrap();
        let error = quietly(&path, &converted, limits.clone()).unwrap_err();
        fixture::assert_refusal(&error, &path, Kind::TooLarge, words);
        assert!(entries(&converted, "part").is_empty() && entries(&converted, "raw").is_empty());
    };
    let tight = ConversionLimits {
        always: 1 << 20,
        step: 1 << 20,
        ..limits()
    };
    let repeated = vec![0x41_u8; 24 << 20];
    check(
        "content.gz",
        &repeated,
        tight.clone(),
        &["100 times", "LIFEBOAT_UNPACK_RATIO"],
    );
    check("content.xz", &repeated, tight.clone(), &["100 times"]);
    let small = ConversionLimits {
        largest_disk: 8 << 20,
        ..limits()
    };
    let zeros = vec![0_u8; 24 << 20];
    check(
        "zeros.zst",
        &zeros,
        small.clone(),
        &["8388608 bytes", "LIFEBOAT_LARGEST_DISK"],
    );
    // The control: what the operator allows is taken.
    let allowed = ConversionLimits {
        ratio: 100_000,
        ..tight
    };
    quietly(&place.path().join("content.gz"), &converted, allowed).unwrap();
    quietly(&place.path().join("zeros.zst"), &converted, limits()).unwrap();
    // Declared sizes are bounded as well.
    let split = writers::split(&place.path().join("s.x"), &disk(9), 0, 3_000_320);
    let error = quietly(&split, &converted, small).unwrap_err();
    fixture::assert_refusal(&error, &split, Kind::TooLarge, &["8388608"]);
}

/// Changes a source when its conversion begins, and sets its time back.
#[test]
fn a_source_that_changes_meanwhile_is_noticed() {
    let place = fixture::scratch();
    let path = writers::split(&place.path().join("s.x"), &disk(5), 0, 3_000_320);
    let converted = place.path().join("converted");
    let change = |_, _| {
        if entries(&converted, "part").is_empty() {
            return;
        }
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let before = file.metadata().unwrap().modified().unwrap();
        fixture::patch(&path, 1_000_000, b"written to");
        file.set_modified(before).unwrap();
    };
    let go_on = AtomicBool::new(false);
    let error = bring_in(&path, &converted, small_steps(), &change, &go_on).unwrap_err();
    assert!(matches!(error, ImageError::Changed { .. }), "{error}");
    quietly(&path, &converted, small_steps()).unwrap();
}

#[test]
fn packed_evidence_is_bounded() {
    let place = fixture::scratch();
    let converted = place.path().join("converted");
    let path = writers::ewf(&place.path().join("e.x"), &vec![0x41; 24 << 20], 1);
    let tight = ConversionLimits {
        always: 1 << 20,
        step: 1 << 20,
        ratio: 3,
        ..limits()
    };
    let error = quietly(&path, &converted, tight).unwrap_err();
    fixture::assert_refusal(&error, &path, Kind::TooLarge, &["3 times"]);
    assert!(entries(&converted, "part").is_empty() && entries(&converted, "raw").is_empty());
    quietly(&path, &converted, limits()).unwrap();
}

#[test]
fn waiting_for_another_import_can_be_stopped() {
    let place = fixture::scratch();
    let converted = place.path().join("converted");
    let path = place.path().join("a.raw.gz");
    std::fs::write(&path, writers::pack("gz", &disk(2))).unwrap();
    quietly(&path, &converted, limits()).unwrap();
    let lock = std::fs::File::open(&entries(&converted, "lock")[0]).unwrap();
    let lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let (ended, end) = std::sync::mpsc::channel();
    let (image, folder) = (path.clone(), converted.clone());
    std::thread::spawn(move || {
        let stop = AtomicBool::new(false);
        // Set when the source is hashed, before which nobody waits.
        let hashed = |done: u64, all: u64| stop.store(done == all, Ordering::Relaxed);
        let _ = ended.send(bring_in(&image, &folder, limits(), &hashed, &stop));
    });
    let stopped = end.recv_timeout(std::time::Duration::from_secs(60));
    let error = stopped.expect("it waits for ever").unwrap_err();
    assert!(matches!(error, ImageError::Stopped), "{error}");
    drop(lock);
    quietly(&path, &converted, limits()).unwrap();
}

#[test]
fn a_disk_that_fills_while_converting_ends_it() {
    let place = fixture::scratch();
    let path = place.path().join("a.raw.gz");
    std::fs::write(&path, writers::pack("gz", &disk(24))).unwrap();
    // What a packed file unfolds to is not known before.
    for (reserve, size) in [(4 << 20, 11 << 20), (0, 8 << 20)] {
        let Some(small) = SmallDisk::mount(size) else {
            return;
        };
        let converted = small.path().join("converted");
        let limits = ConversionLimits {
            reserve,
            ..small_steps()
        };
        let error = quietly(&path, &converted, limits.clone()).unwrap_err();
        fixture::assert_refusal(&error, &path, Kind::NoSpace, &["not enough room"]);
        assert!(entries(&converted, "part").is_empty() && entries(&converted, "raw").is_empty());
        // The control: the same where there is room.
        let large = SmallDisk::mount(64 << 20).unwrap();
        quietly(&path, &large.path().join("converted"), limits).unwrap();
    }
}

#[test]
fn room_is_needed_before() {
    let place = fixture::scratch();
    let converted = place.path().join("converted");
    let path = writers::split(&place.path().join("s.x"), &disk(5), 0, 3_000_320);
    let greedy = ConversionLimits {
        reserve: 1 << 60,
        ..limits()
    };
    let error = quietly(&path, &converted, greedy).unwrap_err();
    assert!(matches!(error, ImageError::NoRoom { .. }), "{error}");
    assert!(error.to_string().contains("free space"), "{error}");
    quietly(&path, &converted, limits()).unwrap();
}
