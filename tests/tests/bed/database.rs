//! The control centre moves the bed's database, with the profile that everybody has.

use std::collections::BTreeSet;
use std::time::Duration;

use lifeboat_tests::bed::{Bed, Host, PASSWORD};
use lifeboat_tests::{eventually, seconds_on_this_host};

use crate::services::SOON;

/// Numbers of other tests are below.
const FIRST: u32 = 1_000_000;

/// A client that writes numbers, and writes down those that were accepted.
struct Rows<'a> {
    client: Host<'a>,
}

impl<'a> Rows<'a> {
    fn start(bed: &'a Bed) -> Self {
        let client = bed.host("mta");
        let lines = format!(
            "mkdir -p /var/lib/bed; rm -f /run/rows-end /var/lib/bed/rows; touch /var/lib/bed/rows
             setsid --fork sh -c 'n={FIRST}; while [ ! -e /run/rows-end ]; do n=$((n + 1))
               PGCONNECT_TIMEOUT=2 timeout 5 psql -qc \"INSERT INTO ledger VALUES ($n)\" \
                 postgresql://app:{PASSWORD}@db.bed.example/postgres && echo $n >>/var/lib/bed/rows || sleep 0.1
             done; touch /run/rows-ended' </dev/null >/var/log/rows 2>&1"
        );
        client.shell(&lines);
        Self { client }
    }

    fn accepted(&self) -> BTreeSet<u32> {
        numbers(&self.client.read("/var/lib/bed/rows"))
    }

    #[track_caller]
    fn more(&self, count: usize) {
        let so_many = self.accepted().len() + count;
        eventually("accepted rows", SOON, || {
            (self.accepted().len() >= so_many).then_some(())
        });
    }

    /// Those that were accepted and are not there.
    #[track_caller]
    fn lost(&self) -> BTreeSet<u32> {
        let accepted = self.accepted();
        let url = format!("postgresql://app:{PASSWORD}@db.bed.example/postgres");
        let query = format!("SELECT number FROM ledger WHERE number > {FIRST}");
        let there = numbers(&self.client.run(&["psql", "-Atc", &query, &url]));
        assert!(!accepted.is_empty());
        accepted.difference(&there).copied().collect()
    }

    fn stop(self) {
        self.client
            .shell("rm -f /run/rows-ended; touch /run/rows-end");
        eventually("the client's end", SOON, || {
            self.client
                .ask(&["test", "-e", "/run/rows-ended"])
                .status
                .success()
                .then_some(())
        });
    }
}

fn numbers(text: &str) -> BTreeSet<u32> {
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

pub fn the_database_is_switched_and_lost(bed: &Bed) {
    let protected = bed.protect_database();
    let rows = Rows::start(bed);
    for (way, place) in [("switch-over", "pg-b"), ("switch-back", "pg-a")] {
        protected.wait_ready();
        rows.more(30);
        let switched = protected.switch_well(way);
        eprintln!("    | {way} in {:.2} s", switched.time.as_secs_f64());
        rows.more(30);
        assert_eq!(rows.lost(), BTreeSet::new());
        assert_eq!(protected.serving(), Some(place));
        assert_eq!(
            bed.name_server(2).addresses("db"),
            [bed.host(place).address()]
        );
    }
    protected.wait_ready();
    rows.more(30);
    let before = rows.accepted();
    bed.host("pg-a").cut_power();
    let switched = protected.switch_well("switch-over");
    eprintln!(
        "    | without the primary in {:.2} s",
        switched.time.as_secs_f64()
    );
    rows.more(30);
    let lost = rows.lost();
    eprintln!("    | {} of {} rows lost", lost.len(), before.len());
    assert!(
        lost.is_subset(&before),
        "what the new primary accepted is there"
    );
    // The old one comes back as a copy of the new one.
    bed.host("pg-a").start();
    let limit = Duration::from_secs(seconds_on_this_host(180));
    eventually("a standby", limit, || {
        let query = "SELECT pg_is_in_recovery()";
        let url = format!("postgresql://app:{PASSWORD}@10.61.1.30/postgres");
        (rows.client.ask(&["psql", "-Atc", query, &url]).stdout == "t").then_some(())
    });
    protected.wait_ready();
    protected.switch_well("switch-back");
    rows.more(30);
    assert_eq!(rows.lost(), lost, "nothing more was lost");
    rows.stop();
    protected.forget();
}
