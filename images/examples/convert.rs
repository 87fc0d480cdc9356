//! `convert [MIB]`: every form that is converted, made of a disk of so many MiB, against `qemu-img`
//! on the nearest thing that it can read. `convert IMAGE [BACKING...]`: one image.
//!
//! Each is measured `RUNS` times, alternately, with the source in the page cache; the best counts.
//! A ratio below 1 means that we are faster. `qemu-img` hashes nothing, so the conversion alone is
//! compared; what an import takes with all hashes stands beside it.

#![expect(clippy::unwrap_used, reason = "the writers of the tests panic as well")]

#[path = "../tests/fixture/writers.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod writers;

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use lifeboat_images::{Confined, Conversions, ImageError, Reading, confined_main, import};

const READER: &str = "confined-reader";
const RUNS: usize = 3;
const MIB: usize = 512;

/// What is converted, and what `qemu-img` reads instead.
struct Row {
    what: &'static str,
    path: PathBuf,
    chain: Vec<PathBuf>,
    against: Option<(PathBuf, &'static str)>,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.peek().is_some_and(|word| word == READER) {
        return confined_main(args.skip(1));
    }
    let work = tempfile::tempdir().unwrap();
    let rows = match rows(args.collect(), work.path()) {
        Ok(rows) => rows,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    println!("conversion  with hashes  qemu-img  ratio");
    for row in rows {
        if let Err(error) = measure(&row, work.path()) {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn rows(mut words: Vec<OsString>, work: &Path) -> Result<Vec<Row>, &'static str> {
    let mib = match words.as_slice() {
        [] => Some(MIB),
        [word] => word.to_str().and_then(|word| word.parse().ok()),
        _ => None,
    };
    if let Some(mib) = mib {
        return Ok(every_form(work, mib));
    }
    let path = PathBuf::from(words.remove(0));
    if !path.is_file() {
        return Err("usage: convert [MIB], or convert IMAGE [BACKING...]");
    }
    let format = match path.extension().and_then(|ending| ending.to_str()) {
        Some("vmdk") => Some("vmdk"),
        Some("vhd") => Some("vpc"),
        Some("vhdx") => Some("vhdx"),
        _ => None,
    };
    Ok(vec![Row {
        what: "this image",
        against: format.map(|format| (path.clone(), format)),
        path,
        chain: words.into_iter().map(PathBuf::from).collect(),
    }])
}

fn every_form(work: &Path, mib: usize) -> Vec<Row> {
    let bytes = writers::disk(mib);
    let at = |name: &str| work.join(name);
    let raw = at("disk.raw");
    std::fs::write(&raw, &bytes).unwrap();
    let by_qemu = |name: &str, format: &str, options: &str| {
        let words = ["convert", "-f", "raw", "-O", format, "-o", options];
        let made = Command::new("qemu-img")
            .args(words)
            .args([&raw, &at(name)])
            .status();
        assert!(made.unwrap().success());
        at(name)
    };
    let extents = by_qemu("extents.vmdk", "vmdk", "subformat=twoGbMaxExtentSparse");
    let parent = by_qemu("parent.vhd", "vpc", "force_size=on");
    let own: Vec<_> = (0..200).map(|number| (number * 4096, 0x21)).collect();
    let sectors = bytes.len() as u64 / 512;
    let own: Vec<_> = own
        .into_iter()
        .filter(|(sector, _)| *sector < sectors)
        .collect();
    writers::differencing_vhd(&at("child.vhd"), &parent, bytes.len() as u64, &own);
    let clean = by_qemu("clean.vhdx", "vhdx", "subformat=dynamic");
    std::fs::copy(&clean, at("log.vhdx")).unwrap();
    // Zeros over the last KiB of the log itself change nothing of the disk.
    let end = clean.metadata().unwrap().len();
    writers::dirty_vhdx(&at("log.vhdx"), &[(end - 4096, vec![0; 4096])], None);
    let mut rows = vec![
        (
            "VMDK in extents of 2 GB",
            extents.clone(),
            vec![],
            Some((extents, "vmdk")),
        ),
        (
            "VHD over its parent; qemu-img: the parent",
            at("child.vhd"),
            vec![parent.clone()],
            Some((parent, "vpc")),
        ),
        (
            "VHDX with a log; qemu-img: without",
            at("log.vhdx"),
            vec![],
            Some((clean, "vhdx")),
        ),
        (
            "E01; qemu-img: raw",
            writers::ewf(&at("disk.x"), &bytes, 1),
            vec![],
            Some((raw.clone(), "raw")),
        ),
        (
            "split raw; qemu-img: raw",
            writers::split(&at("split.x"), &bytes, 0, 64 << 20),
            vec![],
            Some((raw.clone(), "raw")),
        ),
    ];
    for (what, ending) in [
        ("gzip; qemu-img: raw", "gz"),
        ("zstd; qemu-img: raw", "zst"),
    ] {
        let path = at(&format!("packed.raw.{ending}"));
        std::fs::write(&path, writers::pack(ending, &bytes)).unwrap();
        rows.push((what, path, vec![], Some((raw.clone(), "raw"))));
    }
    let row = |(what, path, chain, against)| Row {
        what,
        path,
        chain,
        against,
    };
    rows.into_iter().map(row).collect()
}

fn measure(row: &Row, work: &Path) -> Result<(), ImageError> {
    let folder = work.join("converted");
    let (mut ours, mut whole, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let began = Instant::now();
        ours.push(convert(&row.path, &row.chain, &folder)?);
        whole.push(began.elapsed());
        // The page cache is as full for the one as for the other.
        let _ = std::fs::remove_dir_all(&folder);
        theirs.extend(
            row.against
                .as_ref()
                .and_then(|source| qemu_img(source, &folder)),
        );
        let _ = std::fs::remove_dir_all(&folder);
    }
    let best = |took: &[Duration]| took.iter().min().map(Duration::as_secs_f64);
    let seconds = |took: Option<f64>| took.map_or("-".to_owned(), |took| format!("{took:.2} s"));
    let (ours, whole, theirs) = (best(&ours), best(&whole), best(&theirs));
    let ratio = ours
        .zip(theirs)
        .map(|(ours, theirs)| format!("{:.2}", ours / theirs));
    println!(
        "{:>10}  {:>11}  {:>8}  {:>5}  {}",
        seconds(ours),
        seconds(whole),
        seconds(theirs),
        ratio.unwrap_or("-".to_owned()),
        row.what
    );
    Ok(())
}

/// The time from the first to the last word about the conversion itself: what comes before and after
/// it are the hashes.
fn convert(path: &Path, chain: &[PathBuf], folder: &Path) -> Result<Duration, ImageError> {
    let confined = Confined::this_program([READER]);
    let conversions = Conversions::new(folder);
    let never = AtomicBool::new(false);
    let phase = Cell::new((Instant::now(), 0_u64));
    let phases = RefCell::new(Vec::new());
    let progress = |done: u64, all: u64| {
        let (began, last) = phase.get();
        if done < last {
            phases.borrow_mut().push(began.elapsed());
            phase.set((Instant::now(), done));
        } else {
            phase.set((began, done));
        }
        if done == all {
            phases.borrow_mut().push(phase.get().0.elapsed());
            phase.set((Instant::now(), 0));
        }
    };
    let reading = Reading::fast(&progress, &never);
    import(&confined, path, chain, &conversions, None, &reading)?;
    // Before the last, which is the hash of what was converted.
    Ok(phases
        .into_inner()
        .into_iter()
        .nth_back(1)
        .unwrap_or_default())
}

fn qemu_img((path, format): &(PathBuf, &str), folder: &Path) -> Option<Duration> {
    std::fs::create_dir_all(folder).ok()?;
    let began = Instant::now();
    let status = Command::new("qemu-img")
        .args(["convert", "-f", format, "-O", "raw"])
        .arg(path)
        .arg(folder.join("disk.raw"))
        .status();
    status.ok()?.success().then(|| began.elapsed())
}
