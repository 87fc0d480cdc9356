//! Whole recoveries of the example site, kills and failures included, on real
//! guests: one after the other, never more than three guests at a time.
//!
//! All tests share one appliance, so that each machine is prepared once. After
//! each test nothing of it may be left on the host.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod failures;
mod formats;
mod hardware;
mod interrupts;
mod kept;
mod kills;
mod preparing;
mod refused;
mod side_by_side;
mod whole;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use bench::Bench;
use libtest_mimic::{Arguments, Failed, Trial};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

type Test = fn(&Bench);

/// In the order in which they run: what is cheap and what others need first.
const TESTS: [(&str, Test); 23] = [
    (
        "the_draft_describes_the_example",
        preparing::the_draft_describes_the_example,
    ),
    ("one_disk_is_injected", preparing::one_disk_is_injected),
    (
        "a_stream_is_written_once_and_injected",
        preparing::a_stream_is_written_once_and_injected,
    ),
    (
        "an_injection_is_taken_back",
        preparing::an_injection_is_taken_back,
    ),
    (
        "an_injection_may_be_killed_at_any_moment",
        kills::an_injection_may_be_killed_at_any_moment,
    ),
    (
        "a_preparation_may_be_killed_at_any_moment",
        kills::a_preparation_may_be_killed_at_any_moment,
    ),
    (
        "an_interrupted_preparation_is_cancelled",
        kills::an_interrupted_preparation_is_cancelled,
    ),
    (
        "a_guest_without_an_initramfs_is_refused",
        refused::a_guest_without_an_initramfs_is_refused,
    ),
    (
        "a_changed_volume_is_refused",
        refused::a_changed_volume_is_refused,
    ),
    (
        "the_order_has_evidence_and_no_guest_runs",
        preparing::the_order_has_evidence_and_no_guest_runs,
    ),
    (
        "the_example_site_recovers",
        whole::the_example_site_recovers,
    ),
    (
        "a_machine_boots_on_other_hardware",
        hardware::a_machine_boots_on_other_hardware,
    ),
    (
        "a_machine_without_virtio_falls_back",
        hardware::a_machine_without_virtio_falls_back,
    ),
    (
        "a_converted_volume_boots",
        formats::a_converted_volume_boots,
    ),
    (
        "a_failed_machine_blocks_only_hard_dependents",
        failures::a_failed_machine_blocks_only_hard_dependents,
    ),
    (
        "web1_alone_shows_whom_it_asked_for",
        failures::web1_alone_shows_whom_it_asked_for,
    ),
    (
        "a_killed_daemon_is_cleaned_up_by_the_next",
        interrupts::a_killed_daemon_is_cleaned_up_by_the_next,
    ),
    (
        "a_daemon_may_be_killed_at_any_step",
        interrupts::a_daemon_may_be_killed_at_any_step,
    ),
    (
        "an_interrupt_tears_down",
        interrupts::an_interrupt_tears_down,
    ),
    (
        "a_killed_command_leaves_nothing",
        interrupts::a_killed_command_leaves_nothing,
    ),
    ("the_switch_may_die", interrupts::the_switch_may_die),
    (
        "two_sessions_with_the_same_addresses_run_side_by_side",
        side_by_side::two_sessions_with_the_same_addresses_run_side_by_side,
    ),
    (
        "a_recovery_is_kept_and_survives_the_daemon",
        kept::a_recovery_is_kept_and_survives_the_daemon,
    ),
];

/// Made by the first test that runs, removed at the end.
static BENCH: Mutex<Option<Arc<Bench>>> = Mutex::new(None);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Guests share the host's few processors and memory.
    arguments.test_threads = Some(1);
    remove_all_at_interrupt();
    let trials = TESTS
        .into_iter()
        .map(|(name, test)| Trial::test(name, move || run(name, test)));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    remove_bench();
    conclusion.exit_code()
}

fn run(name: &str, test: Test) -> Result<(), Failed> {
    let bench = bench()?;
    let begin = std::time::Instant::now();
    eprintln!("--- {name}");
    // Sweeps when it goes, also when the test panics.
    let guard = bench.guard();
    test(&bench);
    guard.expect_nothing_left();
    eprintln!("--- {name}: {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn bench() -> Result<Arc<Bench>, Failed> {
    let mut bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bench) = &*bench {
        return Ok(bench.clone());
    }
    let made = Arc::new(Bench::new()?);
    *bench = Some(made.clone());
    Ok(made)
}

/// Its folders and whatever else is left vanish with it.
fn remove_bench() {
    let bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(bench);
}

/// An interrupt ends this program, and what it started must not survive that.
fn remove_all_at_interrupt() {
    let mut signals = Signals::new([SIGINT, SIGTERM]).unwrap();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            eprintln!("interrupted: removing what the tests made");
            if let Some(bench) = &*BENCH.lock().unwrap_or_else(PoisonError::into_inner) {
                bench.appliance.remove_wholly();
            }
            std::process::exit(130);
        }
    });
}
