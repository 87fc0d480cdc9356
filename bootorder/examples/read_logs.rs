//! Reads single log files as the order of a site does, and says what is in them and how fast.
//!
//! `cargo run --release -p lifeboat-bootorder --example read_logs FILE...`

use std::path::PathBuf;
use std::time::Instant;

use lifeboat_bootorder::survey_log;

fn main() {
    for path in std::env::args_os().skip(1).map(PathBuf::from) {
        let start = Instant::now();
        match survey_log(&path) {
            Ok(log) => {
                let seconds = start.elapsed().as_secs_f64();
                println!(
                    "{}: {}, {} records, {} boots ({} from their beginning), {} kept, {seconds:.2} s, {:.0} records/s, at most {} KiB of memory",
                    path.display(),
                    if log.format.is_empty() {
                        "no log"
                    } else {
                        log.format
                    },
                    log.records,
                    log.boots,
                    log.beginnings,
                    log.kept,
                    log.records as f64 / seconds,
                    most_memory_kib().unwrap_or(0),
                );
                for problem in log.problems {
                    println!("    {problem}");
                }
            }
            Err(error) => eprintln!("{}: failed to read it: {error}", path.display()),
        }
    }
}

fn most_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
