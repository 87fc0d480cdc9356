//! The life of a captured volume: taken in, put under an overlay, changed behind our back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use fixture::{confined, qemu_img, qemu_io};
use lifeboat_images::{
    CapturedVolume, Changed, Container, Damage, Effort, Extent, Format, ImageError, Position,
    Reading, Verification, allocated_map, create_overlay, import, is_untouched, open_read_only,
    quick_verify, readmit, verify,
};
use proptest::prelude::*;

static GO: AtomicBool = AtomicBool::new(false);

const QUIETLY: Reading<'_> = Reading {
    progress: &|_, _| {},
    cancelled: &GO,
    effort: Effort::Fast,
};

/// Beside the images of a test.
fn trees(path: &Path) -> PathBuf {
    path.with_file_name("trees")
}

fn take_in(path: &Path) -> CapturedVolume {
    import(
        &confined(),
        path,
        &[],
        &fixture::conversions(),
        Some(&trees(path)),
        &QUIETLY,
    )
    .unwrap()
}

fn changed(result: Result<(), ImageError>) -> Changed {
    match result {
        Err(ImageError::Changed { changed, .. }) => changed,
        other => panic!("{other:?}"),
    }
}

fn full(volume: &CapturedVolume) -> Result<(), ImageError> {
    looked_at(volume).into_result()
}

fn looked_at(volume: &CapturedVolume) -> Verification {
    verify(volume, &trees(&volume.path), Position::default(), &QUIETLY).unwrap()
}

#[test]
fn an_import_records_what_the_file_is() {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    fixture::raw_disk(&image);
    let link = directory.path().join("link.raw");
    symlink(&image, &link).unwrap();
    let last = Cell::new((0, 0));
    let progress = |done, all| {
        assert!(done >= last.get().0 && done <= all);
        last.set((done, all));
    };
    let reading = Reading {
        progress: &progress,
        ..QUIETLY
    };
    let volume = import(
        &confined(),
        &link,
        &[],
        &fixture::conversions(),
        None,
        &reading,
    )
    .unwrap();

    assert_eq!(last.get(), (8 << 20, 8 << 20));
    assert_eq!(volume.path, image.canonicalize().unwrap());
    assert_eq!(
        (volume.format, volume.virtual_size),
        (Container::Raw, 8 << 20)
    );
    let expected = blake3::hash(&std::fs::read(&image).unwrap());
    assert_eq!(volume.blake3, expected.to_hex().to_string());
    quick_verify(&volume).unwrap();
    full(&volume).unwrap();
    let text = serde_json::to_string(&volume).unwrap();
    assert_eq!(
        serde_json::from_str::<CapturedVolume>(&text).unwrap(),
        volume
    );
}

#[test]
fn a_volume_that_is_used_at_once_is_not_read() {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    fixture::raw_disk(&image);
    let take_in = |effort, progress: &dyn Fn(u64, u64)| {
        let reading = Reading {
            progress,
            effort,
            ..QUIETLY
        };
        let conversions = fixture::conversions();
        import(&confined(), &image, &[], &conversions, None, &reading).unwrap()
    };
    let read = Cell::new(0);
    let volume = take_in(Effort::Nothing, &|done, _| read.set(done));
    assert_eq!((read.get(), volume.blake3.as_str()), (0, ""));
    assert_eq!(open_read_only(&volume).unwrap().len(), 1);
    let whole = take_in(Effort::Fast, &|done, _| read.set(done));
    assert_eq!(read.get(), image.metadata().unwrap().len());
    let shape = |volume: &CapturedVolume| (volume.format, volume.virtual_size);
    assert_eq!(shape(&volume), shape(&whole));
}

#[test]
fn the_descriptor_can_not_write() {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    fixture::raw_disk(&image);
    let layer = open_read_only(&take_in(&image)).unwrap().remove(0);
    let mut file = File::from(layer.file);
    let error = file.write_all(b"x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EBADF));
}

#[test]
fn every_change_is_found() {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    fixture::raw_disk(&image);
    let volume = take_in(&image);
    let time = image.metadata().unwrap().modified().unwrap();
    let set_time = || {
        let file = File::options().write(true).open(&image).unwrap();
        file.set_modified(time).unwrap();
    };
    assert!(is_untouched(&volume));

    fixture::patch(&image, 5_000_000, b"bit rot");
    assert_eq!(changed(quick_verify(&volume)), Changed::Modified);
    set_time();
    // Only the time that nobody can set tells it, and reading every byte.
    quick_verify(&volume).unwrap();
    assert!(!is_untouched(&volume));
    let range = Extent {
        start: 4 << 20,
        length: 1 << 20,
    };
    assert_eq!(
        changed(full(&volume)),
        Changed::Content {
            ranges: vec![range]
        }
    );
    let file = volume.path.clone();
    assert_eq!(looked_at(&volume).damaged, [Damage { file, range }]);

    fixture::set_length(&image, 1 << 20);
    set_time();
    let cut = Changed::Size {
        was: 8 << 20,
        is: 1 << 20,
    };
    assert_eq!(changed(quick_verify(&volume)), cut);
    assert!(open_read_only(&volume).is_err());

    std::fs::remove_file(&image).unwrap();
    let gone = verify(&volume, &trees(&image), Position::default(), &QUIETLY);
    assert!(gone.unwrap_err().refusal().is_some());
    let target = directory.path().join("target.raw");
    fixture::raw_disk(&target);
    symlink(&target, &image).unwrap();
    assert_eq!(changed(quick_verify(&volume)), Changed::Replaced);
    std::fs::remove_file(&image).unwrap();
    nix::unistd::mkfifo(&image, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(quick_verify(&volume).is_err());
}

#[test]
fn a_lost_tree_is_made_again_and_without_one_the_whole_file_is_suspect() {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    fixture::raw_disk(&image);
    let volume = take_in(&image);
    let time = image.metadata().unwrap().modified().unwrap();
    let kept = || {
        std::fs::read_dir(trees(&image))
            .into_iter()
            .flatten()
            .count()
    };
    assert_eq!(kept(), 1);
    std::fs::remove_dir_all(trees(&image)).unwrap();
    full(&volume).unwrap();
    assert_eq!(kept(), 1);

    std::fs::remove_dir_all(trees(&image)).unwrap();
    fixture::patch(&image, 5_000_000, b"bit rot");
    File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_modified(time)
        .unwrap();
    let whole = Extent {
        start: 0,
        length: 8 << 20,
    };
    assert_eq!(
        changed(full(&volume)),
        Changed::Content {
            ranges: vec![whole]
        }
    );
    assert_eq!(kept(), 0, "a tree of other bytes was kept");
}

#[test]
fn a_copy_is_the_same_volume_and_a_changed_one_is_not() {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    fixture::raw_disk(&image);
    let volume = take_in(&image);
    let again = || readmit(&volume, &trees(&image), &QUIETLY);
    let copy = directory.path().join("copy.raw");
    std::fs::copy(&image, &copy).unwrap();
    std::fs::rename(&copy, &image).unwrap();
    assert!(!is_untouched(&volume));
    let now = again().unwrap();
    assert!(is_untouched(&now) && now.blake3 == volume.blake3);
    assert_ne!(now.sources[0].inode, volume.sources[0].inode);
    assert_eq!(now.sources[0], now.served[0].file);

    fixture::patch(&image, 99, b"other");
    let range = Extent {
        start: 0,
        length: 1 << 20,
    };
    let ranges = vec![range];
    assert_eq!(changed(again().map(|_| ())), Changed::Content { ranges });
    fixture::set_length(&image, 1 << 20);
    assert!(matches!(changed(again().map(|_| ())), Changed::Size { .. }));
}

#[test]
fn a_verification_goes_on_where_it_was_stopped() {
    let directory = fixture::scratch();
    let base = directory.path().join("base.raw");
    fixture::raw_disk(&base);
    let top = directory.path().join("top.qcow2");
    qemu_img(
        &format!("create -q -f qcow2 -F raw -b {} @", base.display()),
        &top,
    );
    let chain = std::slice::from_ref(&base);
    let volume = import(
        &confined(),
        &top,
        chain,
        &fixture::conversions(),
        Some(&trees(&top)),
        &QUIETLY,
    )
    .unwrap();
    let all: u64 = volume.sources.iter().map(|source| source.file_size).sum();

    let mut position = Position::default();
    let mut stops = 0;
    let mut reached = 0;
    loop {
        let stop = AtomicBool::new(false);
        let last = Cell::new(0);
        let progress = |done, total| {
            assert_eq!(total, all);
            stop.store(done > reached, Ordering::Relaxed);
            last.set(done);
        };
        let reading = Reading {
            progress: &progress,
            cancelled: &stop,
            effort: Effort::Medium,
        };
        let found = verify(&volume, &trees(&top), position, &reading).unwrap();
        assert_eq!(found.damaged, []);
        assert!(last.get() > reached, "it began anew");
        reached = last.get();
        match found.stopped_at {
            Some(at) => position = at,
            None => break,
        }
        stops += 1;
    }
    assert!(
        stops >= 4 && reached == all,
        "{stops} stops, {reached} of {all}"
    );
}

/// Reads in slices that end as soon as something was read; says how often it was stopped.
fn in_slices(volume: &CapturedVolume, trees: &Path, most: usize) -> (usize, Verification) {
    let mut position = Position::default();
    for stops in 0..most {
        let (stop, first) = (AtomicBool::new(false), Cell::new(None));
        let progress = |done, _| {
            let begin = first.get().unwrap_or(done);
            first.set(Some(begin));
            stop.store(done > begin, Ordering::Relaxed);
        };
        let reading = Reading {
            progress: &progress,
            cancelled: &stop,
            effort: Effort::Medium,
        };
        let found = verify(volume, trees, position, &reading).unwrap();
        match found.stopped_at {
            Some(at) => position = at,
            None => return (stops, found),
        }
    }
    panic!("it reads for ever, and is at {position:?}");
}

#[test]
fn a_file_without_a_tree_is_read_in_slices_to_its_end_and_has_one_then() {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    fixture::raw_disk(&image);
    let volume = take_in(&image);
    let trees = trees(&image);
    let tree = trees.join(format!("{}.tree", volume.blake3));
    let whole = std::fs::read(&tree).unwrap();
    let rotten: Vec<u8> = whole.iter().map(|byte| byte ^ 1).collect();
    for lost in [None, Some(rotten)] {
        match lost {
            None => std::fs::remove_file(&tree).unwrap(),
            Some(bytes) => std::fs::write(&tree, bytes).unwrap(),
        }
        let (stops, found) = in_slices(&volume, &trees, 20);
        assert!(stops >= 4 && found.damaged.is_empty(), "{stops} {found:?}");
        assert_eq!(std::fs::read(&tree).unwrap(), whole);
        assert_eq!(std::fs::read_dir(&trees).unwrap().count(), 1);
    }

    std::fs::remove_file(&tree).unwrap();
    fixture::patch(&image, 5_000_000, b"bit rot");
    let (_, found) = in_slices(&volume, &trees, 20);
    assert_eq!(found.damaged[0].range.length, 8 << 20);
    assert_eq!(std::fs::read_dir(&trees).unwrap().count(), 0);
}

#[test]
fn an_import_can_be_stopped() {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let stop = AtomicBool::new(false);
    let calls = Cell::new(0);
    let progress = |_, _| {
        calls.set(calls.get() + 1);
        stop.store(calls.get() == 2, Ordering::Relaxed);
    };
    let reading = Reading {
        progress: &progress,
        cancelled: &stop,
        effort: Effort::Fast,
    };
    let stopped = import(
        &confined(),
        &image,
        &[],
        &fixture::conversions(),
        None,
        &reading,
    );
    assert!(matches!(stopped, Err(ImageError::Stopped)), "{stopped:?}");
    assert_eq!(calls.get(), 2);
}

#[test]
fn a_write_during_the_import_is_found() {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    fixture::raw_disk(&image);
    let write = |_, _| fixture::patch(&image, 4096, b"still in use");
    let reading = Reading {
        progress: &write,
        ..QUIETLY
    };
    let taken = import(
        &confined(),
        &image,
        &[],
        &fixture::conversions(),
        None,
        &reading,
    );
    assert_eq!(changed(taken.map(|_| ())), Changed::Modified);
}

#[test]
fn an_overlay_takes_the_writes_and_its_map_tells_them() {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    fixture::raw_disk(&image);
    let volume = take_in(&image);
    let overlay = directory.path().join("run.qcow2");
    create_overlay(
        &volume.path,
        volume.served[0].format,
        volume.virtual_size,
        &overlay,
    )
    .unwrap();

    let fresh = allocated_map(&confined(), &overlay).unwrap();
    assert_eq!((fresh.virtual_size, fresh.written), (8 << 20, 0));
    qemu_io(
        "qcow2",
        &overlay,
        &["write -P 5 1M 64k", "write -P 5 5M 128k", "flush"],
    );
    let map = allocated_map(&confined(), &overlay).unwrap();
    assert_eq!(map.written, 3 * 65_536);
    assert_eq!(map.extents.len(), 2);
    assert_eq!(map.extents[1].start, 5 << 20);
    // What was not written shines through.
    let output = fixture::run(
        "qemu-io",
        &[
            "-r",
            "-f",
            "qcow2",
            "-c",
            "read -v 510 2",
            overlay.to_str().unwrap(),
        ],
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("55 aa"));
    full(&volume).unwrap();
}

#[test]
fn an_overlay_is_made_whole_or_not_at_all() {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    fixture::raw_disk(&image);
    let overlay = directory.path().join("run.qcow2");
    std::fs::write(&overlay, "precious").unwrap();
    create_overlay(&image, Format::Raw, 8 << 20, &overlay).unwrap_err();
    assert_eq!(std::fs::read(&overlay).unwrap(), b"precious");

    let nowhere = directory.path().join("nowhere/run.qcow2");
    let error = create_overlay(&image, Format::Raw, 8 << 20, &nowhere).unwrap_err();
    assert!(matches!(error, ImageError::Tool { .. }), "{error}");
    let absurd = directory.path().join("absurd.qcow2");
    create_overlay(&image, Format::Raw, u64::MAX, &absurd).unwrap_err();
    let mut left: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["a.raw", "run.qcow2"]);
}

#[test]
fn names_are_never_options_or_protocols() {
    let directory = fixture::scratch();
    for name in [
        "-f.raw",
        "nbd:host.raw",
        "json:{}.raw",
        "a,b=c.raw",
        "a\nb.raw",
        "ä ö.raw",
    ] {
        let image = directory.path().join(name);
        fixture::raw_disk(&image);
        let overlay = directory.path().join(format!("{name}.qcow2"));
        create_overlay(&image, Format::Raw, 8 << 20, &overlay).unwrap();
        let found = fixture::look(&image).unwrap();
        assert_eq!(found.partitions.len(), 2, "{name:?}");
        let map = allocated_map(&confined(), &overlay).unwrap();
        assert_eq!(map.virtual_size, 8 << 20);
    }
}

#[test]
fn a_chain_is_taken_in_and_verified_as_a_whole() {
    let directory = fixture::scratch();
    let base = directory.path().join("base.raw");
    fixture::raw_disk(&base);
    let top = directory.path().join("top.qcow2");
    qemu_img(
        &format!("create -q -f qcow2 -F raw -b {} @", base.display()),
        &top,
    );
    let chain = std::slice::from_ref(&base);
    let volume = import(
        &confined(),
        &top,
        chain,
        &fixture::conversions(),
        Some(&trees(&top)),
        &QUIETLY,
    )
    .unwrap();
    assert_eq!((volume.sources.len(), volume.served.len()), (2, 2));
    full(&volume).unwrap();
    fixture::patch(&base, 0, b"x");
    assert_eq!(changed(quick_verify(&volume)), Changed::Modified);
}

/// Bytes that `qemu-img map` counts as being in the top layer.
fn qemu_map(image: &Path) -> u64 {
    let path = image.to_str().unwrap();
    let output = fixture::run("qemu-img", &["map", "-f", "qcow2", "--output=json", path]);
    let ranges: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let in_top = |range: &&serde_json::Value| range["depth"] == 0 && range["present"] == true;
    let lengths = ranges
        .iter()
        .filter(in_top)
        .map(|range| range["length"].as_u64().unwrap());
    lengths.sum()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]
    #[test]
    fn the_map_agrees_with_qemu(
        writes in prop::collection::vec((0_u64..8190, 1_u64..40, 0_u8..3), 1..12),
        cluster in prop::sample::select(vec![4096_u64, 65_536, 1 << 20]),
    ) {
        let directory = fixture::scratch();
        let base = directory.path().join("base.raw");
        File::create(&base).unwrap().set_len(33 << 20).unwrap();
        let image = directory.path().join("a.qcow2");
        let base = base.display();
        qemu_img(&format!("create -q -f qcow2 -F raw -b {base} -o cluster_size={cluster} @"), &image);
        let commands: Vec<String> = writes
            .iter()
            .map(|(page, pages, kind)| {
                let zero = if *kind == 0 { "-z" } else { "-P 3" };
                format!("write {zero} {} {}", page * 4096, pages * 4096)
            })
            .collect();
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        qemu_io("qcow2", &image, &commands);
        let map = allocated_map(&confined(), &image).unwrap();
        prop_assert_eq!(map.written, qemu_map(&image));
        let sum: u64 = map.extents.iter().map(|extent| extent.length).sum();
        prop_assert_eq!(map.written, sum);
    }
}
