//! How long reading and ordering take, against reading alone.

use std::path::{Path, PathBuf};

use anyhow::Result;
use lifeboat_bootorder::{Options, order, read_directory, survey_log};

use crate::parameters::Parameters;
use crate::write_site::{Request, generate};

/// The kernel reports in these whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;

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
        read_alone(&logs)?;
        let (read, bare_s) = read_alone(&logs)?;
        let begin = cpu_seconds()?;
        let found = order(&read_directory(folder.path())?, &[], &Options::default());
        let whole_s = cpu_seconds()? - begin;
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

fn read_alone(logs: &[PathBuf]) -> Result<(u64, f64)> {
    let begin = cpu_seconds()?;
    let surveys = logs.iter().filter_map(|log| survey_log(log).ok());
    let records = surveys.map(|survey| survey.records).sum();
    Ok((records, cpu_seconds()? - begin))
}

/// Processor time of this program so far: other work on the machine does not count.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let mut fields = after_name.split(' ').skip(11);
    let mut ticks = 0.0;
    for field in fields.by_ref().take(2) {
        ticks += field.parse::<f64>()?;
    }
    Ok(ticks / TICKS_PER_SECOND)
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
