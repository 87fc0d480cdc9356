//! Lifeboat boots a whole site on one host from the captured volumes of its
//! machines. `ARCHITECTURE.md` is the map.

mod accelerator;
mod check;
mod cli;
mod confined;
mod daemon;
mod drafting;
mod events;
mod firmware;
mod hardware;
mod history;
mod host;
mod hypervisor;
mod imports;
mod injection;
mod integrity;
mod leftovers;
mod names;
mod notices;
mod operator;
mod order_graph;
mod prepare;
mod report;
mod schedules;
mod scratch;
mod screens;
mod session;
mod site;
mod store;
mod telling;
mod uploads;

fn main() -> std::process::ExitCode {
    cli::main()
}
