//! Lifeboat boots a whole site on one host from the captured volumes of its
//! machines. `ARCHITECTURE.md` is the map.

mod accelerator;
mod check;
mod cli;
mod confined;
mod daemon;
mod events;
mod firmware;
mod hardware;
mod host;
mod hypervisor;
mod injection;
mod integrity;
mod leftovers;
mod names;
mod notices;
mod operator;
mod prepare;
mod report;
mod scratch;
mod session;
mod site;
mod store;
mod telling;

fn main() -> std::process::ExitCode {
    cli::main()
}
