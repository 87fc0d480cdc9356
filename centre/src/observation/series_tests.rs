//! Tests of one series.

use proptest::prelude::*;

use super::rules::judging;
use super::series::*;
use lifeboat_agent::wire::Health;
use lifeboat_failover::health::{Level, Range};

const SERVES: Circumstances = Circumstances {
    whole: None,
    serves: true,
};

fn good(at: u64, value: f64) -> Look {
    Look {
        at,
        value: Some(value),
        state: Health::Good,
        text: None,
    }
}

fn failed(at: u64, why: &str) -> Look {
    Look {
        at,
        value: None,
        state: Health::Bad,
        text: Some(why.to_owned()),
    }
}

fn feed(series: &mut Series, metric: &str, around: Circumstances, unit: &str, looks: Vec<Look>) {
    for look in looks {
        series.look(judging(metric), around, unit, look);
    }
}

fn trouble(series: &Series) -> (Level, u64, &str) {
    let trouble = series.judged.trouble.as_ref();
    trouble.map_or((Level::Normal, 0, ""), |trouble| {
        (trouble.level, trouble.since, trouble.reason.as_str())
    })
}

#[test]
fn a_failing_check_counts_from_its_first_sight_and_its_text_is_the_reason() {
    let mut series = Series::default();
    feed(
        &mut series,
        "access.imap",
        SERVES,
        "s",
        vec![good(1000, 0.1)],
    );
    assert!(!series.look(
        judging("access.imap"),
        SERVES,
        "bool",
        failed(31_000, "refused")
    ));
    assert_eq!(trouble(&series).0, Level::Normal, "once is a flicker");
    assert!(series.look(
        judging("access.imap"),
        SERVES,
        "bool",
        failed(61_000, "refused")
    ));
    assert_eq!(trouble(&series), (Level::Failed, 31_000, "refused"));
    assert_eq!(series.value(), Some(0.1), "a failure is no number");
    feed(
        &mut series,
        "access.imap",
        SERVES,
        "s",
        (3..6).map(|n| good(n * 30_000, 0.1)).collect(),
    );
    assert_eq!(trouble(&series).0, Level::Normal);
}

#[test]
fn a_store_that_fills_is_told_while_there_is_room() {
    const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
    let around = Circumstances {
        whole: Some(100.0 * GIB),
        serves: true,
    };
    let mut series = Series::default();
    let falling =
        (0..60u32).map(|n| good(u64::from(n) * 30_000, (60.0 - 0.05 * f64::from(n)) * GIB));
    feed(
        &mut series,
        "store.mail.free",
        around,
        "bytes",
        falling.collect(),
    );
    let (level, _, reason) = trouble(&series);
    assert_eq!(level, Level::Degrading, "57 of 100 GiB are free");
    assert!(reason.contains("at this rate it reaches 2"), "{reason}");
    let mut steady = Series::default();
    let level_store = (0..60u32).map(|n| good(u64::from(n) * 30_000, 57.0 * GIB));
    feed(
        &mut steady,
        "store.mail.free",
        around,
        "bytes",
        level_store.collect(),
    );
    assert_eq!(trouble(&steady).0, Level::Normal);
}

#[test]
fn log_ins_that_slow_down_leave_their_range_before_any_limit() {
    let mut series = Series::remembered("s".to_owned(), Judged::default());
    series.judged.range = Some(Range {
        low: 0.05,
        high: 0.4,
    });
    feed(
        &mut series,
        "access.imap",
        SERVES,
        "s",
        vec![good(30_000, 1.5), good(60_000, 1.6)],
    );
    let (level, since, reason) = trouble(&series);
    assert_eq!((level, since), (Level::Degrading, 30_000));
    assert!(reason.contains("unusual"), "{reason}");
    let mut quick = Series::remembered("s".to_owned(), Judged::default());
    quick.judged.range = series
        .judged
        .range
        .map(|range| Range { high: 0.2, ..range });
    feed(
        &mut quick,
        "access.imap",
        SERVES,
        "s",
        vec![good(30_000, 0.45), good(60_000, 0.45)],
    );
    assert_eq!(trouble(&quick).0, Level::Normal, "too quick to matter");
}

#[test]
fn the_side_that_does_not_serve_need_not_replicate() {
    let passive = Circumstances {
        whole: None,
        serves: false,
    };
    let stopped = || (1..4).map(|n| good(n * 30_000, 0.0)).collect();
    let (mut here, mut there) = (Series::default(), Series::default());
    feed(&mut here, "replication.running", SERVES, "bool", stopped());
    feed(
        &mut there,
        "replication.running",
        passive,
        "bool",
        stopped(),
    );
    assert_eq!(trouble(&here).0, Level::Degrading);
    assert_eq!(trouble(&there).0, Level::Normal);
}

#[test]
fn what_is_not_looked_at_any_more_is_no_trouble() {
    let mut series = Series::default();
    let looks = (1..4).map(|n| failed(n * 1000, "no")).collect();
    feed(&mut series, "access.imap", SERVES, "bool", looks);
    assert!(series.forget());
    assert_eq!(trouble(&series).0, Level::Normal);
    assert!(!series.forget());
}

#[test]
fn amounts_are_for_people() {
    assert_eq!(amount(2147483648.0, "bytes"), "2 GiB");
    assert_eq!(amount(0.254, "s"), "0.25 s");
    assert_eq!(amount(7200.0, "s"), "2 hours");
    assert_eq!(amount(12.0, "count"), "12");
}

proptest! {
    #[test]
    fn any_looks_are_taken(
        looks in prop::collection::vec((any::<u64>(), any::<Option<f64>>(), 0..3u8, any::<bool>()), 0..100),
        whole in any::<Option<f64>>(),
    ) {
        let mut series = Series::default();
        for (at, value, state, serves) in looks {
            let state = [Health::Good, Health::Bad, Health::Unknown][usize::from(state)];
            let look = Look { at, value, state, text: None };
            for metric in ["store.a.free", "access.imap", "replication.lag"] {
                series.look(judging(metric), Circumstances { whole, serves }, "s", look.clone());
            }
        }
    }
}
