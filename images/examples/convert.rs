//! `convert IMAGE [BACKING...]`: converts once what QEMU cannot serve, says how fast, and, where
//! `qemu-img` can read the same source, how fast that is in the same run.
//!
//! Each is measured `RUNS` times, alternately, with the source in the page cache; the best counts.
//! Ours includes its hash; the conversion alone is told apart.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use lifeboat_images::{Confined, Conversions, ImageError, Reading, confined_main, import};

const READER: &str = "confined-reader";
const RUNS: usize = 3;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.peek().is_some_and(|word| word == READER) {
        return confined_main(args.skip(1));
    }
    let Some(path) = args.next().map(PathBuf::from) else {
        eprintln!("usage: convert IMAGE [BACKING...]");
        return ExitCode::from(2);
    };
    let chain: Vec<PathBuf> = args.map(PathBuf::from).collect();
    match measure(&path, &chain) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(path: &Path, chain: &[PathBuf]) -> Result<(), ImageError> {
    let folder = std::env::temp_dir().join(format!("lifeboat-convert-{}", std::process::id()));
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut size = 0;
    for _ in 0..RUNS {
        let (bytes, took) = convert(path, chain, &folder)?;
        size = bytes;
        ours.push(took);
        // The page cache is as full for the one as for the other.
        let _ = std::fs::remove_dir_all(&folder);
        theirs.extend(qemu_img(path, &folder));
        let _ = std::fs::remove_dir_all(&folder);
    }
    print("lifeboat", size, &ours);
    print("qemu-img", size, &theirs);
    Ok(())
}

fn print(who: &str, size: u64, took: &[Duration]) {
    match took.iter().min() {
        None => println!("{who}  cannot read this source"),
        Some(best) => {
            let mib = size as f64 / f64::from(1 << 20);
            let seconds = best.as_secs_f64();
            println!(
                "{who}  {seconds:.2} s, {:.0} MiB/s of the disk",
                mib / seconds
            );
        }
    }
}

/// The time from the first to the last word about the conversion itself: what comes before and after
/// it are the hashes.
fn convert(path: &Path, chain: &[PathBuf], folder: &Path) -> Result<(u64, Duration), ImageError> {
    let confined = Confined::this_program([READER]);
    let conversions = Conversions::new(folder);
    let never = AtomicBool::new(false);
    let phase = Cell::new((Instant::now(), 0_u64));
    let phases = std::cell::RefCell::new(Vec::new());
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
    let volume = import(&confined, path, chain, &conversions, None, &reading)?;
    let phases = phases.into_inner();
    // Hash, conversion, hash of what was converted.
    let took = phases.get(1).copied().unwrap_or_default();
    Ok((volume.virtual_size, took))
}

fn qemu_img(path: &Path, folder: &Path) -> Option<Duration> {
    std::fs::create_dir_all(folder).ok()?;
    let format = match path.extension()?.to_str()? {
        "vmdk" => "vmdk",
        "vhd" => "vpc",
        "vhdx" => "vhdx",
        _ => return None,
    };
    let began = Instant::now();
    let status = Command::new("qemu-img")
        .args(["convert", "-f", format, "-O", "raw"])
        .arg(path)
        .arg(folder.join("disk.raw"))
        .status();
    status.ok()?.success().then(|| began.elapsed())
}
