//! `import FILE`: takes in one volume, verifies it again, and says how fast that was.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use lifeboat_images::{
    Confined, Conversions, Effort, ImageError, Position, Reading, confined_main, import, verify,
};

const READER: &str = "confined-reader";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.peek().is_some_and(|word| word == READER) {
        return confined_main(args.skip(1));
    }
    let Some(path) = args.next().map(PathBuf::from) else {
        eprintln!("usage: import FILE");
        return ExitCode::from(2);
    };
    match take_in(path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn take_in(path: PathBuf) -> Result<(), ImageError> {
    let confined = Confined::this_program([READER]);
    let go_on = AtomicBool::new(false);
    let trees = std::env::temp_dir().join("lifeboat-example-trees");
    let reading = Reading {
        progress: &|_, _| {},
        cancelled: &go_on,
        effort: Effort::Fast,
    };
    let conversions = Conversions::new(std::env::temp_dir().join("lifeboat-example-converted"));
    let started = Instant::now();
    let volume = import(&confined, &path, &[], &conversions, Some(&trees), &reading)?;
    let imported = started.elapsed();
    verify(&volume, &trees, Position::default(), &reading)?.into_result()?;
    let verified = started.elapsed() - imported;
    let bytes: u64 = volume.files().map(|file| file.file_size).sum();
    let mib = bytes as f64 / f64::from(1 << 20);
    println!("{bytes} bytes, BLAKE3 {}", volume.blake3);
    eprintln!("import {:.0} MiB/s", mib / imported.as_secs_f64());
    eprintln!("verify {:.0} MiB/s", mib / verified.as_secs_f64());
    Ok(())
}
