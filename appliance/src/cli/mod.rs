//! The command line: what can be asked, and how the answer is shown. Data goes
//! to standard output, progress to standard error.

mod connect;
mod knobs;
mod local;
mod order;
mod output;
mod progress;
mod remote;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Boots a whole site on one host from the captured volumes of its machines.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, arg_required_else_help = true)]
pub struct Cli {
    /// Where sites, prepared images, sessions and the database live.
    #[arg(
        long,
        global = true,
        env = "LIFEBOAT_STATE_DIR",
        default_value = "/var/lib/lifeboat"
    )]
    state_dir: PathBuf,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(subcommand)]
    command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// A graph for Graphviz (`order` only).
    Dot,
    /// A picture (`order` only).
    Svg,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Is this host fit: accelerator, libvirt, memory, disk, and what to do if not.
    Check,
    /// The daemon: REST on a UNIX socket, and on HTTPS with `--listen`.
    Serve(Serve),
    /// The sites that this appliance knows.
    #[command(subcommand)]
    Site(SiteCommand),
    /// Import, verify and inject every machine of a site.
    Prepare(Prepare),
    /// The boot order of a site, or of a folder of logs, with its evidence.
    Order(Box<order::OrderArguments>),
    /// Non-disruptive recovery test: boot the site isolated, prove it, report, tear down.
    Test(Run),
    /// Recovery for production: boot the site and keep it.
    Recover(Run),
    /// Sessions, running and past.
    #[command(subcommand)]
    Session(SessionCommand),
    /// The report of a session again.
    Report {
        /// Id of the session.
        session: String,
    },
    /// Captured images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Inject virtio drivers into one disk; the disk stays untouched.
    Inject(Inject),
}

#[derive(Debug, Args)]
struct Serve {
    /// Address for HTTPS, for example 127.0.0.1:8443.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Ends with standard input; used by commands that find no daemon.
    #[arg(long, hide = true)]
    private: bool,
}

#[derive(Debug, Subcommand)]
enum SiteCommand {
    /// Register a site by its `site.toml`.
    Add {
        /// The file, or its folder.
        file: PathBuf,
    },
    /// Write a first `site.toml` from what the captured volumes say.
    Draft {
        /// The captured volumes, one machine each; join several disks of one machine by a comma.
        #[arg(required = true)]
        volumes: Vec<String>,
        /// Name of the site.
        #[arg(long, default_value = "site")]
        name: String,
    },
    /// All registered sites.
    List,
    /// One site as it was understood.
    Show {
        /// Its name or file.
        site: String,
    },
    /// Forget a site; its files stay.
    Remove {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Args)]
struct Prepare {
    /// A registered name, a `site.toml`, or its folder.
    site: String,
    /// Take a captured volume that changed since its import as a new one.
    #[arg(long)]
    accept_changed: bool,
}

#[derive(Debug, Args)]
struct Run {
    /// A registered name, a `site.toml`, or its folder.
    site: String,
    /// Also write the report as JSON to this file.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Take a captured volume that changed since its import as a new one.
    #[arg(long)]
    accept_changed: bool,
}

#[derive(Debug, Subcommand)]
enum SessionCommand {
    /// All sessions, newest first.
    List,
    /// One session and what it has made.
    Show {
        /// Its id.
        session: String,
    },
    /// The serial console of a machine of a session, as far as it was recorded.
    Console {
        /// Id of the session.
        session: String,
        /// The machine.
        machine: String,
    },
    /// Start the machines of a kept recovery that are off, in order.
    Start {
        /// Its id.
        session: String,
    },
    /// End a session and remove everything it made.
    Stop {
        /// Its id.
        session: String,
    },
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Format, size, chain, partitions, risks; refuses hostile images.
    Inspect {
        /// The image; of several files the first, or the descriptor.
        file: PathBuf,
        /// A file below the image, nearest first; may be repeated.
        #[arg(long)]
        backing: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Inject {
    /// The captured disk; it stays untouched. What QEMU cannot serve as it is, is converted into the
    /// state directory, which the overlay then needs.
    disk: PathBuf,
    /// A file below the disk, nearest first; may be repeated.
    #[arg(long)]
    backing: Vec<PathBuf>,
    /// The qcow2 overlay to create.
    #[arg(long)]
    overlay: PathBuf,
    /// A network card to keep, as `MAC` or `MAC=ADDRESS`; may be repeated.
    #[arg(long = "nic")]
    nics: Vec<String>,
}

/// Runs one command to its exit code: 0 ok, 1 the work failed, 2 wrong use.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    start_log(&cli.command);
    let is_private = matches!(cli.command, Command::Serve(Serve { private: true, .. }));
    match run(cli) {
        Err(error) if is_private && error.is::<crate::daemon::InUse>() => {
            ExitCode::from(crate::daemon::IN_USE)
        }
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let causes = crate::events::chain(error);
    for (depth, cause) in causes.iter().enumerate() {
        let lead = if depth == 0 { "error: " } else { "  because: " };
        eprintln!(
            "{lead}{}",
            cause
                .lines()
                .map(crate::report::printable)
                .collect::<Vec<_>>()
                .join("\n")
        );
    }
    ExitCode::from(if crate::daemon::is_wrong_use(error) {
        2
    } else {
        1
    })
}

/// A daemon logs what it does; a command shows progress instead.
fn start_log(command: &Command) {
    let default = match command {
        Command::Serve(Serve { private: false, .. }) => "info",
        _ => "error",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("LIFEBOAT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
}

fn run(cli: Cli) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(dispatch(cli));
    // A reader of standard input cannot be cancelled and must not hold the end.
    runtime.shutdown_background();
    result
}

async fn dispatch(cli: Cli) -> anyhow::Result<bool> {
    let Cli {
        state_dir,
        format,
        command,
    } = cli;
    let remote = remote::Remote {
        state_dir: state_dir.clone(),
        format,
    };
    match command {
        Command::Check => local::check(&state_dir, format).await,
        Command::Serve(Serve { listen, private }) => {
            let options = crate::daemon::ServeOptions {
                state_dir,
                listen,
                private,
            };
            crate::daemon::serve(options).await.map(|()| true)
        }
        Command::Site(SiteCommand::Draft { volumes, name }) => {
            local::interruptible(local::draft(&state_dir, &name, &volumes, format)).await
        }
        Command::Site(command) => remote.site(command).await,
        Command::Prepare(Prepare {
            site,
            accept_changed,
        }) => remote.prepare(&site, accept_changed).await,
        Command::Order(asked) => match &asked.logs {
            Some(logs) => order::of_logs(logs, &asked, format),
            None => remote.order(&asked).await,
        },
        Command::Test(run) => remote.session(run, crate::report::Mode::Test).await,
        Command::Recover(run) => remote.session(run, crate::report::Mode::Recovery).await,
        Command::Session(command) => remote.sessions(command).await,
        Command::Report { session } => remote.report(&session).await,
        Command::Image(ImageCommand::Inspect { file, backing }) => {
            local::inspect(&file, &backing, format)
        }
        Command::Inject(inject) => {
            local::interruptible(local::inject(&state_dir, inject, format)).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn order_takes_a_site_or_logs_but_not_both() {
        assert!(Cli::try_parse_from(["lifeboat", "order"]).is_err());
        assert!(Cli::try_parse_from(["lifeboat", "order", "s", "--logs", "d"]).is_err());
        assert!(Cli::try_parse_from(["lifeboat", "order", "--logs", "d"]).is_ok());
    }
}
