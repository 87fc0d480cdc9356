//! The test bed of two sites tests itself: what it offers works, and what it makes fail fails.
//!
//! All tests share one bed and leave it working. They run in this order, one at a time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod life;
mod services;
mod switching;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use lifeboat_tests::bed::{Bed, Part};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

type Test = fn(&Bed);

const TESTS: [(&str, Test); 23] = [
    (
        "it_starts_soon_and_is_small",
        life::it_starts_soon_and_is_small,
    ),
    (
        "nothing_reaches_the_outside",
        life::nothing_reaches_the_outside,
    ),
    (
        "numbered_mail_is_sent_and_read",
        services::numbered_mail_is_sent_and_read,
    ),
    (
        "the_ledger_sees_what_is_lost_and_doubled",
        services::the_ledger_sees_what_is_lost_and_doubled,
    ),
    (
        "mail_is_copied_to_the_other_site",
        services::mail_is_copied_to_the_other_site,
    ),
    (
        "the_directory_replicates",
        services::the_directory_replicates,
    ),
    (
        "names_change_only_with_the_key",
        services::names_change_only_with_the_key,
    ),
    ("the_database_follows", services::the_database_follows),
    (
        "a_host_reboots_and_comes_back",
        life::a_host_reboots_and_comes_back,
    ),
    (
        "a_power_cut_loses_what_was_not_written",
        life::a_power_cut_loses_what_was_not_written,
    ),
    (
        "a_black_hole_swallows_everything",
        faults::a_black_hole_swallows_everything,
    ),
    ("a_line_can_fail_one_way", faults::a_line_can_fail_one_way),
    ("a_narrow_line_is_slow", faults::a_narrow_line_is_slow),
    (
        "a_slow_directory_slows_log_ins",
        faults::a_slow_directory_slows_log_ins,
    ),
    (
        "one_name_server_is_enough",
        faults::one_name_server_is_enough,
    ),
    (
        "a_store_breaks_in_four_ways",
        faults::a_store_breaks_in_four_ways,
    ),
    (
        "mail_is_switched_over_and_back_by_hand",
        services::mail_is_switched_over_and_back_by_hand,
    ),
    (
        "mail_is_switched_over_and_back",
        switching::mail_is_switched_over_and_back,
    ),
    (
        "a_no_leaves_everything_as_it_was",
        switching::a_no_leaves_everything_as_it_was,
    ),
    (
        "what_makes_no_sense_is_refused",
        switching::what_makes_no_sense_is_refused,
    ),
    (
        "the_primary_site_is_a_black_hole_and_heals",
        switching::the_primary_site_is_a_black_hole_and_heals,
    ),
    ("the_primary_is_killed", switching::the_primary_is_killed),
    (
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
    let soak: Option<(&str, Test)> = std::env::var_os("LIFEBOAT_SOAK").map(|_| {
        (
            "mail_is_switched_over_and_back_many_times",
            switching::mail_is_switched_over_and_back_many_times as Test,
        )
    });
    let trials = TESTS
        .into_iter()
        .chain(soak)
        .map(|(name, test)| Trial::test(name, move || run(name, test)));
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
