//! The command line: what can be asked, and how the answer is shown. Data goes
//! to standard output, progress to standard error.

mod access;
mod connect;
mod drivers;
mod failover;
mod image;
mod inject;
mod knobs;
mod local;
mod order;
mod output;
mod progress;
mod remote;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use image::ImageCommand;
use nix::sys::stat::{Mode, umask};

use crate::daemon::HttpsOptions;
use crate::imports::{ImportFolder, import_folder};
use crate::integrity::{BeforeBoot, Settings};

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
    Image(image::ImageCommand),
    /// Drivers for Windows guests.
    #[command(subcommand)]
    Drivers(drivers::DriversCommand),
    /// Inject drivers into the disks of one machine, which stay untouched, or into a stream.
    Inject(inject::Inject),
    /// The document of the whole API (OpenAPI), for programs that make clients of it.
    Openapi,
    /// Two sites: watch an application's primary and secondary, and move it between them.
    #[command(subcommand)]
    Failover(failover::FailoverCommand),
    /// Who may use the console and the API over HTTPS: users, tokens, the audit trail.
    #[command(subcommand)]
    Access(access::AccessCommand),
}

#[derive(Debug, Args)]
struct Serve {
    /// Address for HTTPS, for example 127.0.0.1:8443.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// A name by which browsers ask for this machine, besides its host name;
    /// may be given several times.
    #[arg(long = "name")]
    names: Vec<String>,
    /// Certificate for HTTPS with its chain (PEM), instead of the one that the
    /// machine makes for itself.
    #[arg(long, requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// TLS 1.2, too, for clients that cannot do better than that.
    #[arg(long)]
    tls12: bool,
    /// How long after its last reading a captured volume is read again in the
    /// background, for example `7d`, `36h`; `never` to leave it.
    #[arg(long, env = "LIFEBOAT_VERIFY_EVERY", default_value = "7d", value_parser = span)]
    verify_every: Span,
    /// How old the last reading of a captured volume may be when a session
    /// starts; an older volume is read first. `never`: it is never too old.
    #[arg(long, env = "LIFEBOAT_VERIFY_MAX_AGE", default_value = "8d", value_parser = span)]
    verify_max_age: Span,
    /// Where agents of protected machines dial, for example 0.0.0.0:7443.
    #[arg(long, env = "LIFEBOAT_AGENTS")]
    agents: Option<SocketAddr>,
    /// A folder from which volumes may be taken over the network, as NAME=DIR; may be given
    /// several times.
    #[arg(long, env = "LIFEBOAT_IMPORTS", value_delimiter = ',', value_parser = import_folder)]
    imports: Vec<ImportFolder>,
    /// Ends with standard input; used by commands that find no daemon.
    #[arg(long, hide = true)]
    private: bool,
}

/// A time, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(Option<Duration>);

fn span(text: &str) -> Result<Span, String> {
    if text == "never" {
        return Ok(Span(None));
    }
    let wrong = || "expected a time such as `7d`, `36h`, `90m`, `10s`, or `never`".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let duration = span.to_duration(days).map_err(|_| wrong())?;
    Duration::try_from(duration)
        .map(|time| Span(Some(time)))
        .map_err(|_| wrong())
}

impl Serve {
    fn https(&self) -> HttpsOptions {
        let certificate = self.tls_certificate.clone();
        HttpsOptions {
            listen: self.listen,
            names: self.names.clone(),
            certificate: certificate.zip(self.tls_key.clone()),
            tls12: self.tls12,
        }
    }

    fn integrity(&self) -> Settings {
        Settings {
            every: self.verify_every.0,
            max_age: self.verify_max_age.0.unwrap_or(Duration::MAX),
        }
    }
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
        /// An OVF package (`.ovf`, `.ova`) brings its machines along.
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
    /// Which captured volumes are read, and compared with their import, before
    /// any machine starts.
    #[arg(long, value_enum, default_value_t)]
    verify: BeforeBoot,
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
        /// Start over the captured volumes as they are now, though they may
        /// have changed or be damaged.
        #[arg(long)]
        accept_changed: bool,
        /// Which captured volumes are read, and compared with their import,
        /// before.
        #[arg(long, value_enum, default_value_t)]
        verify: BeforeBoot,
    },
    /// End a session and remove everything it made.
    Stop {
        /// Its id.
        session: String,
    },
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
    // Guests' disks, configuration, consoles and pictures are nobody else's,
    // whichever command writes them. QEMU needs no way to them: it gets its
    // disks as descriptors.
    umask(Mode::from_bits_truncate(0o077));
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
    crate::host::close_to_others(&state_dir).with_context(|| {
        format!(
            "failed to keep others out of the state directory `{}`",
            state_dir.display()
        )
    })?;
    let remote = remote::Remote {
        state_dir: state_dir.clone(),
        format,
    };
    match command {
        Command::Check => local::check(&state_dir, format).await,
        Command::Serve(serve) => {
            let options = crate::daemon::ServeOptions {
                state_dir,
                integrity: serve.integrity(),
                https: serve.https(),
                agents: serve.agents,
                imports: serve.imports,
                private: serve.private,
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
        Command::Image(ImageCommand::Inspect {
            file,
            backing,
            no_os,
        }) => {
            let look = image::inspect(&state_dir, &file, backing, !no_os, format);
            local::interruptible(look).await
        }
        Command::Image(ImageCommand::Verify { what, resume, .. }) => match what {
            Some(what) => remote.verify(&what, resume).await,
            None => remote.volumes().await,
        },
        Command::Drivers(command) => drivers::run(&state_dir, &command, format).map(|()| true),
        Command::Inject(inject) => {
            local::interruptible(inject::run(&state_dir, inject, format)).await
        }
        Command::Openapi => {
            output::write_out(&crate::daemon::api::printed()?)?;
            Ok(true)
        }
        Command::Failover(command) => failover::run(&remote, command).await,
        Command::Access(command) => access::run(&remote, command).await,
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
    fn times_are_words_of_people() {
        let seconds = |text: &str| span(text).unwrap().0.map(|time| time.as_secs());
        assert_eq!(seconds("7d"), Some(604_800));
        assert_eq!(seconds("36h"), Some(129_600));
        assert_eq!(seconds("10s"), Some(10));
        assert_eq!(seconds("0s"), Some(0));
        assert_eq!(seconds("never"), None);
        for wrong in ["", "7", "soon", "-1d", "1y"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn order_takes_a_site_or_logs_but_not_both() {
        assert!(Cli::try_parse_from(["lifeboat", "order"]).is_err());
        assert!(Cli::try_parse_from(["lifeboat", "order", "s", "--logs", "d"]).is_err());
        assert!(Cli::try_parse_from(["lifeboat", "order", "--logs", "d"]).is_ok());
    }
}
