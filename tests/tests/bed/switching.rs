//! The control centre moves the bed's mail, asked through its command line.

use std::time::Duration;

use lifeboat_tests::bed::{Bed, Direction, Protected, Site};
use lifeboat_tests::{eventually, seconds_on_this_host};

use crate::services::SOON;

const RATE: f64 = 20.0;
const SIZE: u32 = 2_000;

/// Mail under load, before and after something.
pub fn under_load(bed: &Bed, work: impl FnOnce()) {
    let sender = bed.sender();
    let before = sender.accepted();
    let more = |number: u64| {
        let so_many = before + number;
        eventually("accepted mail", SOON, || {
            (sender.accepted() >= so_many).then_some(())
        });
    };
    sender.start(RATE, SIZE);
    more(40);
    work();
    let after = sender.accepted() - before;
    more(after + 40);
    sender.stop();
}

/// Names of both sites as everybody sees them.
#[track_caller]
pub fn expect_names(bed: &Bed, serving: &str) {
    let address = bed.host(serving).address();
    for number in [1, 2] {
        for name in ["mx", "imap"] {
            assert_eq!(
                bed.name_server(number).addresses(name),
                std::slice::from_ref(&address)
            );
        }
    }
    // One that is gone has that name, too, until it is back.
    assert_eq!(bed.host(serving).run(&["hostname"]), "mail");
}

pub fn mail_is_switched_over_and_back(bed: &Bed) {
    over_and_back(bed, &bed.protect());
}

pub fn mail_is_switched_over_and_back_many_times(bed: &Bed) {
    let runs = std::env::var("LIFEBOAT_SOAK").unwrap_or_default();
    let runs: u32 = runs.parse().expect("LIFEBOAT_SOAK is a number of runs");
    let protected = bed.protect();
    for run in 1..=runs {
        eprintln!("    | run {run} of {runs}");
        over_and_back(bed, &protected);
    }
}

fn over_and_back(bed: &Bed, protected: &Protected<'_>) {
    for (way, serving) in [("switch-over", "mail-b"), ("switch-back", "mail-a")] {
        protected.wait_ready();
        under_load(bed, || {
            let switched = protected.switch_well(way);
            eprintln!("    | {way} in {:.2} s", switched.time.as_secs_f64());
        });
        bed.sender().count().expect_whole();
        expect_names(bed, serving);
        assert_eq!(protected.serving(), Some(serving));
    }
}

/// Everything stays as it was when somebody says no.
pub fn a_no_leaves_everything_as_it_was(bed: &Bed) {
    let protected = bed.protect();
    protected.wait_ready();
    let serving = protected.serving().expect("a side serves");
    under_load(bed, || {
        protected.tell(&["switch-over", "--no-wait", "--confirmation", "60s"]);
        eventually("the question", SOON, || {
            (!protected.status()["question"].is_null()).then_some(())
        });
        protected.tell(&["answer", "no"]);
        eventually(
            "the old order",
            Duration::from_secs(seconds_on_this_host(60)),
            || (protected.serving() == Some(serving)).then_some(()),
        );
    });
    bed.sender().count().expect_whole();
    let last = protected.tell(&["history", "--switches", "--limit", "1"]);
    assert_eq!(last[0]["ending"], "reverted", "{last}");
}

/// What is asked at the wrong time, or of nobody, changes nothing.
pub fn what_makes_no_sense_is_refused(bed: &Bed) {
    let protected = bed.protect();
    let before = protected.state();
    let cases: [(&[&str], i32, &str); 8] = [
        (&["status", "nobody"], 2, "no application `nobody`"),
        (&["answer", "yes"], 1, "nothing is being asked"),
        (&["abort"], 1, "no process"),
        (&["switch-back", "--yes"], 1, ""),
        (&["agent", "token", "Not_A_Name"], 2, ""),
        (&["alerts", "--acknowledge", "99999"], 2, "no alert 99999"),
        (&["changes", "--accept", "99999"], 2, "no difference 99999"),
        (&["application", "add", "/etc/hostname"], 2, "hostname"),
    ];
    for (words, code, text) in cases {
        let said = protected.ask(words);
        assert_eq!(said.status.code(), Some(code), "{words:?}: {said:?}");
        assert!(said.stderr.contains(text), "{words:?}: {said:?}");
    }
    assert_eq!(protected.state(), before);
}

pub fn the_primary_is_killed(bed: &Bed) {
    lose_the_primary(
        bed,
        |bed| bed.host("mail-a").cut_power(),
        |bed| bed.host("mail-a").start(),
    );
}

pub fn the_primary_site_is_a_black_hole_and_heals(bed: &Bed) {
    lose_the_primary(
        bed,
        |bed| bed.cut(Site::A, Direction::Both),
        |bed| bed.heal(Site::A),
    );
}

/// Switches over without the primary; afterwards it comes back and does no harm.
fn lose_the_primary(bed: &Bed, lose: impl FnOnce(&Bed), come_back: impl FnOnce(&Bed)) {
    let protected = bed.protect();
    protected.wait_ready();
    assert_eq!(protected.serving(), Some("mail-a"));
    let sender = bed.sender();
    sender.start(RATE, SIZE);
    eventually("accepted mail", SOON, || {
        (sender.accepted() >= 40).then_some(())
    });
    lose(bed);
    let switched = protected.switch_well("switch-over");
    eprintln!(
        "    | without the primary in {:.2} s",
        switched.time.as_secs_f64()
    );
    expect_names(bed, "mail-b");
    eventually("mail at the new side", SOON, || {
        sender
            .log_in(lifeboat_tests::bed::Protocol::Imap, "user01")
            .ok()
    });
    let there = messages(bed, "mail-b");
    come_back(bed);
    eventually(
        "the agent of the old primary",
        Duration::from_secs(seconds_on_this_host(60)),
        || is_connected(&protected, "mail-a").then_some(()),
    );
    sender.stop();
    assert!(
        !serves(bed, "mail-a"),
        "a primary that was replaced serves nobody"
    );
    let later = messages(bed, "mail-b");
    assert!(
        there.iter().all(|one| later.contains(one)),
        "the new primary lost mail"
    );
    // What only the old primary had is fetched; what its queue still held goes out when it serves.
    protected.wait_ready();
    protected.switch_well("switch-back");
    sender.count().expect_whole();
    assert_eq!(protected.serving(), Some("mail-a"));
}

fn messages(bed: &Bed, place: &str) -> Vec<String> {
    let list = bed
        .host(place)
        .shell("cd /srv/mail && find . -path '*/Maildir/cur/*' -o -path '*/Maildir/new/*'");
    // Flags may change, and `new` becomes `cur`.
    let name = |line: &str| {
        line.rsplit('/')
            .next()
            .and_then(|name| name.split(':').next())
            .map(str::to_owned)
    };
    list.lines().filter_map(name).collect()
}

pub fn serves(bed: &Bed, place: &str) -> bool {
    ["dovecot", "postfix", "lsyncd"]
        .iter()
        .any(|service| bed.host(place).service(service, "status").status.success())
}

pub fn is_connected(protected: &Protected<'_>, host: &str) -> bool {
    let agents = protected.tell(&["agent", "list"]);
    let list = agents.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .any(|agent| agent["host"] == host && !agent["connected_since"].is_null())
}
