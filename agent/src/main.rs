//! `lifeboat-agent`: the agent, its watchdog, and joining.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use lifeboat_agent::profile::Profile;
use lifeboat_agent::run::{self, Config, Places};
use lifeboat_agent::wire::{Outcome, Token};
use lifeboat_failover::process::Action;

/// Watches a protected machine and carries out the named actions of its profile.
#[derive(Parser)]
#[command(name = "lifeboat-agent", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Joins a control centre.
    Join {
        /// Where the control centre is, as HOST:PORT.
        #[arg(long)]
        centre: String,
        /// What `lifeboat agent token` printed there.
        #[arg(long, env = "LIFEBOAT_TOKEN", hide_env_values = true)]
        token: Token,
        #[command(flatten)]
        folders: Folders,
    },
    /// Runs the agent.
    Run {
        /// The settings of this host.
        #[arg(long, default_value = "/etc/lifeboat/agent.toml")]
        config: PathBuf,
        #[command(flatten)]
        folders: Folders,
    },
    /// Runs the watchdog; the agent does that by itself.
    #[command(hide = true)]
    Watchdog {
        #[command(flatten)]
        folders: Folders,
    },
    /// Carries one action of this host's profile out, here and now, for whoever writes a profile.
    /// Says whether it changed anything; not on a host that holds a lease.
    Try {
        /// Which, as in `close-entrance`.
        #[arg(value_parser = action)]
        action: Action,
        /// Values for the profile's parameters, as NAME=VALUE.
        #[arg(value_parser = value)]
        values: Vec<(String, String)>,
        /// The settings of this host.
        #[arg(long, default_value = "/etc/lifeboat/agent.toml")]
        config: PathBuf,
        #[command(flatten)]
        folders: Folders,
    },
    /// Checks a profile.
    CheckProfile {
        /// Its file.
        file: PathBuf,
    },
}

#[derive(Args)]
struct Folders {
    /// What survives a reboot.
    #[arg(
        long,
        env = "LIFEBOAT_AGENT_STATE",
        default_value = "/var/lib/lifeboat-agent"
    )]
    state_dir: PathBuf,
    /// What does not.
    #[arg(
        long,
        env = "LIFEBOAT_AGENT_RUN",
        default_value = "/run/lifeboat-agent"
    )]
    run_dir: PathBuf,
}

impl From<Folders> for Places {
    fn from(folders: Folders) -> Self {
        Self {
            state: folders.state_dir,
            run: folders.run_dir,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .init();
    match carry_out(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                eprintln!("  because {inner}");
                cause = inner.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Watchdog { folders } => run::watchdog(&folders.into())?,
        Command::CheckProfile { file } => {
            let text = std::fs::read_to_string(&file)?;
            let profile = Profile::parse(&file, &text)?;
            println!(
                "{}: {} (SHA-256 {})",
                profile.name,
                profile.title,
                Profile::hash(&text)
            );
        }
        Command::Try {
            action,
            values,
            config,
            folders,
        } => {
            let config = Config::read(&config)?;
            let values = values.into_iter().collect();
            let places = folders.into();
            let trial = run::try_action(&places, &config, action, &values);
            tell(runtime()?.block_on(trial)?)?;
        }
        Command::Join {
            centre,
            token,
            folders,
        } => {
            let host = runtime()?.block_on(run::join(&folders.into(), &centre, &token))?;
            println!("joined as {host}");
        }
        Command::Run { config, folders } => {
            let config = Config::read(&config)?;
            runtime()?.block_on(run::run(folders.into(), config))?;
        }
    }
    Ok(())
}

fn action(word: &str) -> Result<Action, String> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|_| "there is no such action; the profiles' README names them".to_owned())
}

fn value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What became of an action: its evidence on standard output, its failure as an error.
fn tell(outcome: Outcome) -> Result<(), String> {
    let (evidence, end) = match outcome {
        Outcome::Done {
            changed: true,
            evidence,
        } => (evidence, Ok("changed")),
        Outcome::Done { evidence, .. } => (evidence, Ok("nothing changed")),
        Outcome::Failed { reason, evidence } => (evidence, Err(reason)),
        Outcome::Refused { reason } => (Vec::new(), Err(reason)),
    };
    evidence.iter().for_each(|line| println!("{line}"));
    end.map(|word| println!("{word}"))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_stack_size(256 * 1024)
        .build()
}
