//! Plays many histories and prints what was seen.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use lifeboat_failover_simulation::{Verdict, play};

/// Plays the machines of switch-over through histories full of faults.
#[derive(Parser)]
struct Arguments {
    /// How many histories.
    #[arg(long, default_value_t = 1_000_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from.saturating_add(arguments.seeds);
    let sums: Vec<Sum> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&next, end)))
            .collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .collect()
    });
    let mut sum = Sum::default();
    sums.iter().for_each(|part| sum.merge(part));
    println!(
        "{} histories: {} promotions ({} after a lapse), {} crashes, {} stops by the watchdog, {} faults",
        sum.histories,
        sum.promotions,
        sum.lapsed,
        sum.crashes,
        sum.watchdog,
        sum.faults.len()
    );
    for (seed, fault) in sum.faults.iter().take(20) {
        println!("seed {seed}: {fault}");
    }
    let complete = sum.histories == arguments.seeds;
    if complete && sum.faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[derive(Default)]
struct Sum {
    histories: u64,
    promotions: u64,
    lapsed: u64,
    crashes: u64,
    watchdog: u64,
    faults: Vec<(u64, String)>,
}

impl Sum {
    fn add(&mut self, seed: u64, verdict: &Verdict) {
        self.histories += 1;
        self.promotions += verdict.promotions;
        self.lapsed += verdict.lapsed;
        self.crashes += verdict.crashes;
        self.watchdog += verdict.fenced_by_watchdog;
        self.faults
            .extend(verdict.fault.map(|fault| (seed, format!("{fault:?}"))));
    }

    fn merge(&mut self, other: &Self) {
        self.histories += other.histories;
        self.promotions += other.promotions;
        self.lapsed += other.lapsed;
        self.crashes += other.crashes;
        self.watchdog += other.watchdog;
        self.faults.extend(other.faults.iter().cloned());
    }
}

fn work(next: &AtomicU64, end: u64) -> Sum {
    let mut sum = Sum::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return sum;
        }
        sum.add(seed, &play(seed, None));
    }
}
