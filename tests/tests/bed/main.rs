//! The test bed of two sites tests itself: what it offers works, and what it makes fail fails.
//!
//! All tests share one bed and leave it working. They run in this order, one at a time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod database;
mod faults;
mod life;
mod services;
mod switching;
mod trouble;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use lifeboat_tests::bed::{Bed, Part};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

type Test = fn(&Bed);

/// Whether a test runs when nobody asks for it: all of them take too long for every change.
/// `--include-ignored` asks for all, `--ignored NAME` for one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Always,
    OnRequest,
}

use Run::{Always, OnRequest};

const TESTS: [(Run, &str, Test); 29] = [
    (
        Always,
        "it_starts_soon_and_is_small",
        life::it_starts_soon_and_is_small,
    ),
    (
        Always,
        "nothing_reaches_the_outside",
        life::nothing_reaches_the_outside,
    ),
    (
        Always,
        "numbered_mail_is_sent_and_read",
        services::numbered_mail_is_sent_and_read,
    ),
    (
        Always,
        "the_ledger_sees_what_is_lost_and_doubled",
        services::the_ledger_sees_what_is_lost_and_doubled,
    ),
    (
        OnRequest,
        "mail_is_copied_to_the_other_site",
        services::mail_is_copied_to_the_other_site,
    ),
    (
        OnRequest,
        "the_directory_replicates",
        services::the_directory_replicates,
    ),
    (
        OnRequest,
        "names_change_only_with_the_key",
        services::names_change_only_with_the_key,
    ),
    (
        OnRequest,
        "the_database_follows",
        services::the_database_follows,
    ),
    (
        OnRequest,
        "a_host_reboots_and_comes_back",
        life::a_host_reboots_and_comes_back,
    ),
    (
        OnRequest,
        "a_power_cut_loses_what_was_not_written",
        life::a_power_cut_loses_what_was_not_written,
    ),
    (
        OnRequest,
        "a_black_hole_swallows_everything",
        faults::a_black_hole_swallows_everything,
    ),
    (
        OnRequest,
        "a_line_can_fail_one_way",
        faults::a_line_can_fail_one_way,
    ),
    (
        OnRequest,
        "a_narrow_line_is_slow",
        faults::a_narrow_line_is_slow,
    ),
    (
        OnRequest,
        "a_slow_directory_slows_log_ins",
        faults::a_slow_directory_slows_log_ins,
    ),
    (
        OnRequest,
        "one_name_server_is_enough",
        faults::one_name_server_is_enough,
    ),
    (
        OnRequest,
        "a_store_breaks_in_four_ways",
        faults::a_store_breaks_in_four_ways,
    ),
    (
        OnRequest,
        "mail_is_switched_over_and_back_by_hand",
        services::mail_is_switched_over_and_back_by_hand,
    ),
    (
        Always,
        "mail_is_switched_over_and_back",
        switching::mail_is_switched_over_and_back,
    ),
    (
        Always,
        "a_no_leaves_everything_as_it_was",
        switching::a_no_leaves_everything_as_it_was,
    ),
    (
        Always,
        "what_makes_no_sense_is_refused",
        switching::what_makes_no_sense_is_refused,
    ),
    (
        OnRequest,
        "the_primary_site_is_a_black_hole_and_heals",
        switching::the_primary_site_is_a_black_hole_and_heals,
    ),
    (
        Always,
        "the_primary_is_killed",
        switching::the_primary_is_killed,
    ),
    (
        OnRequest,
        "a_dead_name_server_and_a_slow_directory_hold_nobody_up",
        trouble::a_dead_name_server_and_a_slow_directory_hold_nobody_up,
    ),
    (
        OnRequest,
        "a_store_that_breaks_in_the_middle_of_a_switch_is_mended",
        trouble::a_store_that_breaks_in_the_middle_of_a_switch_is_mended,
    ),
    (
        OnRequest,
        "a_line_that_flaps_moves_nothing_and_a_lost_site_is_left",
        trouble::a_line_that_flaps_moves_nothing_and_a_lost_site_is_left,
    ),
    (
        OnRequest,
        "nothing_is_lost_however_often_daemon_and_agents_die",
        trouble::nothing_is_lost_however_often_daemon_and_agents_die,
    ),
    (
        OnRequest,
        "changes_of_hosts_are_told",
        trouble::changes_of_hosts_are_told,
    ),
    (
        OnRequest,
        "the_database_is_switched_and_lost",
        database::the_database_is_switched_and_lost,
    ),
    (
        OnRequest,
        "beds_stand_side_by_side_and_orphans_go",
        life::beds_stand_side_by_side_and_orphans_go,
    ),
];

/// Made by the first test that runs, removed at the end.
static BED: Mutex<Option<Arc<Bed>>> = Mutex::new(None);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    remove_bed_at_interrupt();
    // Only when asked for: it takes an hour.
    let soak: Option<(Run, &str, Test)> = std::env::var_os("LIFEBOAT_SOAK").map(|_| {
        (
            Always,
            "mail_is_switched_over_and_back_many_times",
            switching::mail_is_switched_over_and_back_many_times as Test,
        )
    });
    let trials = TESTS.into_iter().chain(soak).map(|(when, name, test)| {
        Trial::test(name, move || run(name, test)).with_ignored_flag(when == OnRequest)
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let id = BED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .map(|bed| bed.id().to_owned());
    if let Some(id) = id {
        life::expect_nothing_left(&id);
    }
    conclusion.exit_code()
}

fn run(name: &str, test: Test) -> Result<(), Failed> {
    let bed = bed();
    let begin = std::time::Instant::now();
    eprintln!("--- {name}");
    test(&bed);
    eprintln!("--- {name}: {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn bed() -> Arc<Bed> {
    let mut bed = BED.lock().unwrap_or_else(PoisonError::into_inner);
    bed.get_or_insert_with(|| Arc::new(Bed::up(&[Part::Mail, Part::Postgresql])))
        .clone()
}

fn remove_bed_at_interrupt() {
    let mut signals = Signals::new([SIGINT, SIGTERM]).unwrap();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            eprintln!("interrupted: removing the bed");
            // One that is just being made is removed by its own script, which the
            // terminal's interrupt reaches too, or by the next start.
            if let Ok(mut bed) = BED.try_lock()
                && let Some(bed) = bed.take()
            {
                let _ = std::process::Command::new(lifeboat_tests::bed::script("down"))
                    .arg(bed.id())
                    .status();
            }
            std::process::exit(130);
        }
    });
}
