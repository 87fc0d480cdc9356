//! How long reading and ordering take, against reading alone.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use lifeboat_bootorder::{Options, order, read_directory, survey_log};

use crate::parameters::Parameters;
use crate::write_site::{Request, generate};

/// Prints one line for each number of machines.
pub fn run(machines: &[usize], records: usize, p: &Parameters) -> Result<()> {
    println!(
        "| machines | records | log bytes | reading alone | reading and ordering | ratio | records/s |"
    );
    println!("|---|---|---|---|---|---|---|");
    for count in machines {
        let folder = tempfile::tempdir()?;
        let request = Request {
            seed: 77,
            machines: Some(*count),
            boots: 3,
            padding: records,
        };
        generate(&request, folder.path(), p)?;
        let logs = log_files(folder.path())?;
        let mut bytes = 0;
        for log in &logs {
            bytes += std::fs::metadata(log)?.len();
        }
        // The first pass only warms the page cache for both.
        read_alone(&logs);
        let (read, bare_s) = read_alone(&logs);
        let begin = Instant::now();
        let found = order(&read_directory(folder.path())?, &[], &Options::default());
        let whole_s = begin.elapsed().as_secs_f64();
        println!(
            "| {} | {read} | {:.0} MiB | {bare_s:.2} s | {whole_s:.2} s | {:.2} | {:.0} |",
            found.machines.len(),
            bytes as f64 / f64::from(1 << 20),
            whole_s / bare_s,
            read as f64 / whole_s
        );
    }
    Ok(())
}

fn read_alone(logs: &[PathBuf]) -> (u64, f64) {
    let begin = Instant::now();
    let records = logs
        .iter()
        .filter_map(|log| survey_log(log).ok())
        .map(|survey| survey.records)
        .sum();
    (records, begin.elapsed().as_secs_f64())
}

/// Everything below `var/log` of every machine.
fn log_files(site: &Path) -> Result<Vec<PathBuf>> {
    let mut waiting: Vec<PathBuf> = Vec::new();
    for machine in std::fs::read_dir(site)? {
        waiting.push(machine?.path().join("var/log"));
    }
    let mut files = Vec::new();
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            match path.is_dir() {
                true => waiting.push(path),
                false => files.push(path),
            }
        }
    }
    Ok(files)
}
