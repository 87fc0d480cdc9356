//! Real agents with leases of two seconds on loopback, against the real control centre.
//!
//! The same program is the tests, the agents (`agent`), their watchdogs (`watchdog`, as agents
//! start it), and control centres that are killed at every moment that matters (`centre`).

mod bed;
mod keeping;
mod mortal;
mod refusals;
mod runs;

use std::path::PathBuf;

use libtest_mimic::{Arguments, Failed, Trial};
use lifeboat_agent::run::{self, Config, Places};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("agent") => agent(&words[2..]),
        Some("watchdog") => watchdog(&words[2..]),
        Some("centre") => mortal::child(&words[2..]),
        _ => {
            let mut trials = Vec::new();
            trials.extend(runs::trials());
            trials.extend(refusals::trials());
            trials.extend(keeping::trials());
            trials.extend(mortal::trials());
            libtest_mimic::run(&Arguments::from_args(), trials).exit();
        }
    }
}

/// A test that runs in a runtime of its own.
fn trial<F>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()> + 'static,
{
    Trial::test(name, move || {
        let runtime = runtime();
        runtime.block_on(test());
        Ok::<(), Failed>(())
    })
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    runtime.expect("a runtime")
}

/// `agent FOLDER`
fn agent(words: &[String]) {
    let folder = PathBuf::from(&words[0]);
    let config = Config::read(&folder.join("agent.toml")).expect("settings");
    let done = runtime().block_on(run::run(bed::places(&folder), config));
    done.expect("the agent runs");
}

/// `watchdog --state-dir PATH --run-dir PATH`
fn watchdog(words: &[String]) {
    let after = |name: &str| {
        let place = words.iter().position(|word| word == name);
        PathBuf::from(&words[place.expect("given") + 1])
    };
    let places = Places {
        state: after("--state-dir"),
        run: after("--run-dir"),
    };
    run::watchdog(&places).expect("the watchdog runs");
}
