//! Measures how well the boot order is found, on synthetic sites with known truth.

mod application_files;
mod builder;
mod client_files;
mod failures;
mod history;
mod journal;
mod makespan;
mod messages;
mod methods;
mod metrics;
mod model;
mod names;
mod noise;
mod parameters;
mod programs;
mod server_files;
mod simulate;
mod speed;
mod stale_files;
mod syslog;
mod table;
#[cfg(test)]
mod tests;
mod topology;
mod tree;
mod truth;
mod write_site;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use methods::Method;
use parameters::Parameters;
use truth::Truth;

/// How well is the boot order found?
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the table of all methods.
    Table(TableArguments),
    /// Print how long reading and ordering take.
    Speed(SpeedArguments),
    /// Write sites with their truth, for people to look at.
    Write(WriteArguments),
}

#[derive(Debug, Args)]
struct TableArguments {
    /// tuning, held-out or all
    #[arg(long, default_value = "held-out")]
    set: String,
    /// Only so many sites of each set.
    #[arg(long)]
    sites: Option<u64>,
    /// Numbers of boots.
    #[arg(long, value_delimiter = ',')]
    boots: Option<Vec<usize>>,
    /// Only the site of that seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Leave out the runs with parts of the method.
    #[arg(long)]
    quick: bool,
    /// Show missed and false edges of each site.
    #[arg(long)]
    verbose: bool,
}

#[derive(Debug, Args)]
struct SpeedArguments {
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000")]
    machines: Vec<usize>,
    /// Records of each machine.
    #[arg(long, default_value_t = 10_000)]
    records: usize,
}

#[derive(Debug, Args)]
struct WriteArguments {
    /// Where; one folder a site when there are several.
    directory: PathBuf,
    #[arg(long, default_value_t = 1)]
    sites: u64,
    #[arg(long)]
    machines: Option<usize>,
    #[arg(long, default_value_t = 3)]
    boots: usize,
    #[arg(long, default_value_t = 1000)]
    seed: u64,
}

fn main() -> Result<()> {
    let parameters = Parameters::frozen()?;
    if journal::writer().is_none() {
        bail!(
            "systemd-journal-remote is needed to write real journals; on Debian it is the package of that name"
        );
    }
    match Cli::parse().command {
        Command::Table(arguments) => table::run(&request(&arguments, &parameters)?, &parameters),
        Command::Speed(arguments) => {
            speed::run(&arguments.machines, arguments.records, &parameters)
        }
        Command::Write(arguments) => write(&arguments, &parameters),
    }
}

fn request(arguments: &TableArguments, p: &Parameters) -> Result<table::Request> {
    let sets: Vec<&parameters::Set> = match arguments.set.as_str() {
        "all" => p.sets.values().collect(),
        name => vec![
            p.sets
                .get(name)
                .with_context(|| format!("no set is called `{name}`"))?,
        ],
    };
    let seeds = sets.iter().flat_map(|set| {
        let count = arguments.sites.unwrap_or(set.sites);
        set.first_seed..set.first_seed + count
    });
    Ok(table::Request {
        seeds: arguments
            .seed
            .map_or_else(|| seeds.collect(), |seed| vec![seed]),
        boots: arguments.boots.clone().unwrap_or_else(|| p.boots.clone()),
        methods: if arguments.quick {
            Method::quick()
        } else {
            Method::all()
        },
        verbose: arguments.verbose,
    })
}

fn write(arguments: &WriteArguments, p: &Parameters) -> Result<()> {
    for number in 0..arguments.sites {
        let folder = match arguments.sites {
            1 => arguments.directory.clone(),
            _ => arguments.directory.join(format!("site{number}")),
        };
        std::fs::create_dir_all(&folder)?;
        let request = write_site::Request {
            seed: arguments.seed + number,
            machines: arguments.machines,
            boots: arguments.boots,
            padding: 0,
        };
        let written = write_site::generate(&request, &folder, p)?;
        let truth = serde_json::to_string_pretty(&Truth::of(&written.site))?;
        std::fs::write(folder.join("truth.json"), truth)?;
        println!(
            "{}: {} machines, {} records",
            folder.display(),
            written.site.machines.len(),
            written.records
        );
    }
    Ok(())
}
