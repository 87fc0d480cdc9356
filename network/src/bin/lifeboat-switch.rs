//! The switch process of one session. Started by the daemon as root; serves as nobody, in a
//! network namespace without interfaces, with an empty root directory.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use nix::sys::signal::{SigSet, Signal};

use lifeboat_network::config::{PortKind, SwitchConfig, Topology};
use lifeboat_network::engine::{Command, Engine, EngineHandle};
use lifeboat_network::{control, sandbox, stream_port, vhost_port};

/// The network of one session: vhost-user switch, router, probes.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, as JSON.
    #[arg(long)]
    config: PathBuf,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match serve(&arguments.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&*error);
            ExitCode::FAILURE
        }
    }
}

fn report(error: &dyn std::error::Error) {
    let mut line = format!("lifeboat-switch: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    // Nowhere left to complain when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn serve(path: &Path) -> Result<(), Failure> {
    let config = SwitchConfig::load(path)?;
    let topology = config.validate()?;
    let log = config.log.as_deref().map(open_log).transpose()?;
    let sockets = Sockets::listen(&config)?;
    let interfaces = sandbox::enter_empty_namespaces()?;
    sandbox::forget_files(directory(&config.control_socket))?;
    sandbox::drop_privileges(config.run_as)?;
    if let Some(log) = log {
        nix::unistd::dup2_stderr(log)?;
    }
    start_log();
    end_on_panic();
    run(&config, topology, interfaces, sockets)
}

fn run(
    config: &SwitchConfig,
    topology: Topology,
    interfaces: File,
    sockets: Sockets,
) -> Result<(), Failure> {
    let signals = termination();
    // Before the first thread, so that every thread leaves these signals to the one below.
    signals.thread_block()?;
    let (engine, handle) = Engine::new(&config.session, topology, Some(interfaces))?;
    for (index, (port, listener)) in config.ports.iter().zip(sockets.ports).enumerate() {
        let serve = match port.kind {
            PortKind::VhostUser => vhost_port::spawn,
            PortKind::Stream => stream_port::spawn,
        };
        serve(index, port.id.clone(), listener, handle.clone())?;
    }
    control::spawn(sockets.control, handle.clone())?;
    end_on_signal(signals, handle)?;
    tracing::info!(
        session = config.session,
        ports = config.ports.len(),
        "serving"
    );
    println!("ready");
    engine.run()?;
    tracing::info!(session = config.session, "ended");
    Ok(())
}

struct Sockets {
    ports: Vec<UnixListener>,
    control: UnixListener,
}

impl Sockets {
    fn listen(config: &SwitchConfig) -> Result<Self, sandbox::SandboxError> {
        let ports = config
            .ports
            .iter()
            .map(|port| sandbox::listen(&port.socket, config.socket_owner));
        // The control socket stays the daemon's own.
        Ok(Self {
            ports: ports.collect::<Result<_, _>>()?,
            control: sandbox::listen(&config.control_socket, None)?,
        })
    }
}

fn directory(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn open_log(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| format!("failed to open the log `{}`: {error}", path.display()))
}

fn start_log() {
    let builder = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    builder.with_max_level(tracing::Level::INFO).init();
}

/// A panic in one thread must not leave a half-working switch: the daemon restarts a dead one.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(%panic, "internal error, ending");
        std::process::abort();
    }));
}

fn termination() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]
        .into_iter()
        .collect()
}

fn end_on_signal(signals: SigSet, engine: EngineHandle) -> std::io::Result<()> {
    let wait = move || {
        // Ends on the first signal, or when waiting is impossible.
        let _ = signals.wait();
        engine.tell(Command::Stop);
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .map(drop)
}
