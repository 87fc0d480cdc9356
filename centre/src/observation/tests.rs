//! Reports in; causes, alerts and history out, over a real database.

use std::time::Duration;

use lifeboat_agent::wire::{Health, Metric};
use lifeboat_failover::Side;
use lifeboat_failover::health::Level;
use proptest::prelude::*;

use super::house::*;
use super::*;
use crate::alerts::Gravity;

#[tokio::test]
async fn healthy_reports_are_healthy_and_tell_nobody() {
    let mut house = house().await;
    house.rounds(50, |_| healthy()).await;
    let health = house.health().await;
    assert_eq!(health.causes, []);
    assert_eq!(health.hosts.len(), 2);
    let a = &health.hosts[0];
    assert!(a.serves);
    let imap = a
        .subjects
        .iter()
        .find(|one| one.subject.name == "access.imap");
    let imap = &imap.expect("looked at").metrics[0];
    assert_eq!(
        (imap.value, imap.unit.as_str(), imap.stale),
        (Some(0.1), "s", false)
    );
    assert!(imap.ordinary.is_some(), "twenty minutes are enough");
    assert_eq!(house.open_alerts().await, []);
}

#[tokio::test]
async fn the_first_departure_is_the_cause_of_the_others_and_the_only_alert() {
    let mut house = house().await;
    house.rounds(5, |_| healthy()).await;
    let begin = house.now;
    let broken = |round: u32| {
        let mut metrics = with(bad("store.mail.mounted", "the kernel says: I/O error"));
        if round >= 2 {
            metrics.retain(|metric| metric.name != "access.imap");
            metrics.push(bad("access.imap", "log-in: NO internal error"));
        }
        metrics
    };
    house.rounds(6, broken).await;
    let store = Some("mail-a/store.mail".to_owned());
    assert_eq!(
        house.causes().await,
        [
            ("mail-a/store.mail".to_owned(), None),
            ("mail-a/access.imap".to_owned(), store)
        ]
    );
    let health = house.health().await;
    assert_eq!(health.causes[0].trouble.since, begin);
    let primary = health.sides[&Side::Primary];
    assert_eq!(
        (primary.subsystems, primary.access),
        (Level::Failed, Level::Failed)
    );
    assert_eq!(health.sides[&Side::Secondary].subsystems, Level::Normal);
    let alerts = house.open_alerts().await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0].gravity, Gravity::Critical);
    assert!(
        alerts[0]
            .title
            .contains("mail-a/store.mail of the primary has failed")
    );
    assert!(alerts[0].text.contains("I/O error"));

    house.rounds(4, |_| healthy()).await;
    assert_eq!(house.causes().await, []);
    let past = house
        .observation
        .departures("mail", 10)
        .await
        .expect("read");
    assert_eq!(past.len(), 2);
    assert!(past.iter().all(|departure| departure.until.is_some()));
    let over = house
        .alerts
        .list(Some("mail"), false, 10)
        .await
        .expect("read");
    // The clock of delivery is not this test's: what settles is what was said to be over.
    assert_eq!(over[0].over_how.as_deref(), Some("It is well again."));
}

#[tokio::test]
async fn slower_log_ins_are_told_before_users_complain() {
    let mut house = house().await;
    house
        .rounds(60, |round| {
            with(metric(
                "access.imap",
                0.1 + f64::from(round % 3) / 100.0,
                "s",
            ))
        })
        .await;
    assert_eq!(house.causes().await, []);
    house
        .rounds(3, |_| with(metric("access.imap", 1.2, "s")))
        .await;
    let health = house.health().await;
    assert_eq!(health.sides[&Side::Primary].access, Level::Degrading);
    assert_eq!(health.sides[&Side::Primary].subsystems, Level::Normal);
    assert!(health.causes[0].trouble.reason.contains("unusual"));
    assert_eq!(house.open_alerts().await[0].gravity, Gravity::Warning);
}

#[tokio::test]
async fn a_lag_that_grows_is_told_before_its_limit() {
    let mut house = house().await;
    house
        .rounds(40, |round| {
            with(metric("replication.lag", 1.0 + f64::from(round) * 0.2, "s"))
        })
        .await;
    let flat = house.health().await.sides[&Side::Primary].replication;
    assert_eq!(flat, Level::Normal, "at this rate it takes a day");
    house
        .rounds(60, |round| {
            with(metric("replication.lag", 8.0 + f64::from(round) * 0.8, "s"))
        })
        .await;
    let health = house.health().await;
    assert_eq!(health.sides[&Side::Primary].replication, Level::Degrading);
    assert_eq!(health.causes[0].subject.name, "replication");
}

#[tokio::test]
async fn a_host_that_falls_silent_is_noticed_and_explains_its_metrics() {
    let mut house = house().await;
    house.rounds(5, |_| healthy()).await;
    for _ in 0..6 {
        house
            .report(&mail_b(), vec![metric("host.load", 0.1, "1")], false)
            .await;
        house.pass(EVERY).await;
    }
    assert_eq!(house.causes().await, [("mail-a/host".to_owned(), None)]);
    let health = house.health().await;
    assert!(
        health.causes[0]
            .trouble
            .reason
            .contains("nothing was heard")
    );
    assert!(
        health.hosts[0]
            .subjects
            .iter()
            .flat_map(|one| &one.metrics)
            .any(|metric| metric.stale)
    );
    house.rounds(5, |_| healthy()).await;
    assert_eq!(house.causes().await, []);
}

#[tokio::test]
async fn what_a_host_does_not_look_at_any_more_is_no_trouble() {
    let mut house = house().await;
    house
        .rounds(4, |_| with(bad("access.imap", "refused")))
        .await;
    assert_eq!(house.causes().await.len(), 1);
    // It serves no more: its log-ins are not tried.
    let mut passive = healthy();
    passive.retain(|metric| metric.name != "access.imap");
    house.rounds(8, |_| passive.clone()).await;
    assert_eq!(house.causes().await, []);
}

#[tokio::test]
async fn troubles_of_a_switch_are_told_only_if_they_remain() {
    let mut house = house().await;
    house.rounds(3, |_| healthy()).await;
    house
        .observation
        .expect_trouble("mail", true, house.now)
        .await
        .expect("kept");
    house
        .rounds(4, |_| with(bad("service.dovecot", "stopped")))
        .await;
    assert_eq!(house.causes().await.len(), 1, "it is seen");
    assert_eq!(house.open_alerts().await, [], "and nobody is told");
    house
        .observation
        .expect_trouble("mail", false, house.now)
        .await
        .expect("kept");
    assert_eq!(house.open_alerts().await.len(), 1);
}

#[tokio::test]
async fn a_restart_forgets_neither_ranges_nor_troubles_nor_alerts() {
    let mut house = house().await;
    house.rounds(50, |_| healthy()).await;
    house
        .rounds(3, |_| with(bad("access.imap", "refused")))
        .await;
    let before = house.health().await;
    house.pass(3 * records::HOUR).await;
    house.observation = open(&house.store, &house.alerts, house.now).await;
    let after = house.health().await;
    assert_eq!(after.causes.len(), 1);
    assert_eq!(after.causes[0].trouble, before.causes[0].trouble);
    house.rounds(5, |_| healthy()).await;
    let health = house.health().await;
    assert_eq!(health.causes, [], "nobody was silent while nobody listened");
    let ordinary = |health: &ApplicationHealth| {
        let metrics = health.hosts[0].subjects.iter().flat_map(|one| &one.metrics);
        metrics.filter(|metric| metric.ordinary.is_some()).count()
    };
    assert_eq!(ordinary(&health), ordinary(&before));
    assert!(ordinary(&before) > 0);
    let alerts = house
        .alerts
        .list(Some("mail"), false, 10)
        .await
        .expect("read");
    assert!(
        alerts.iter().all(|alert| alert.over_how.is_some()),
        "{alerts:?}"
    );
    assert!(house.folder.path().exists());
}

#[tokio::test]
async fn a_host_that_was_silent_before_a_restart_is_so_after_it() {
    let mut house = house().await;
    house.rounds(3, |_| healthy()).await;
    for _ in 0..5 {
        house.report(&mail_b(), healthy(), false).await;
        house.pass(EVERY).await;
    }
    house.observation = open(&house.store, &house.alerts, house.now).await;
    for _ in 0..10 {
        house.report(&mail_b(), healthy(), false).await;
        house.pass(EVERY).await;
        assert_eq!(house.causes().await, [("mail-a/host".to_owned(), None)]);
    }
    let alerts = house.alerts.list(None, false, 10).await.expect("read");
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].over_how, None);
    house.rounds(4, |_| healthy()).await;
    assert_eq!(house.causes().await, []);
    let past = house
        .observation
        .departures("mail", 10)
        .await
        .expect("read");
    assert!(past.len() == 1 && past[0].until.is_some(), "{past:?}");
}

#[tokio::test]
async fn samples_become_hours_and_history_reads_both() {
    let mut house = house().await;
    let origin = mail_a();
    for hour in 0..60u64 {
        for minute in [0, 20, 40] {
            house.now = BEGIN + hour * records::HOUR + minute * 60_000;
            let value = metric("access.imap", 0.1 * (1 + hour % 2) as f64, "s");
            house.report(&origin, vec![value], true).await;
        }
    }
    let count = async |table: &'static str| -> i64 {
        let query = match table {
            "samples" => "SELECT count(*) FROM metric_samples",
            _ => "SELECT count(*) FROM metric_hours",
        };
        let counted = sqlx::query_scalar(query).fetch_one(house.store.pool());
        counted.await.expect("counted")
    };
    let all = house
        .observation
        .history("mail", "mail-a", "access.imap", (0, u64::MAX / 2), 10_000);
    let before: u32 = all
        .await
        .expect("read")
        .iter()
        .map(|point| point.looks)
        .sum();
    assert_eq!(before, 180);
    for _ in 0..2 {
        house.observation.tidy(house.now).await.expect("tidied");
    }
    assert_eq!(
        count("samples").await,
        49 * 3,
        "48 hours and the one that runs"
    );
    assert_eq!(count("hours").await, 60);
    let between = (BEGIN, house.now);
    let history = async |most| {
        let read = house
            .observation
            .history("mail", "mail-a", "access.imap", between, most);
        read.await.expect("read")
    };
    let fine = history(10_000).await;
    assert_eq!(fine.iter().map(|point| point.looks).sum::<u32>(), 180);
    assert_eq!(fine.len(), 11 + 49 * 3);
    let coarse = history(10).await;
    assert!(coarse.len() <= 11, "{}", coarse.len());
    assert_eq!(coarse.iter().map(|point| point.looks).sum::<u32>(), 180);
    let mean = coarse[3].mean.expect("a mean");
    assert!((0.1..0.2).contains(&mean), "{mean}");
    let year = house.now + 500 * 24 * records::HOUR;
    house.observation.tidy(year).await.expect("tidied");
    assert_eq!((count("samples").await, count("hours").await), (0, 0));
}

#[tokio::test]
async fn a_lasting_change_becomes_ordinary_after_a_day() {
    let mut house = house().await;
    let origin = mail_a();
    let mut feed = async |hours: u64, value: f64| {
        for _ in 0..hours * 6 {
            house
                .report(&origin, vec![metric("access.imap", value, "s")], true)
                .await;
            house.now += 600_000;
            house.observation.sweep(house.now).await.expect("swept");
            house.observation.tidy(house.now).await.expect("tidied");
        }
        house.observation.health("mail", house.now).await.sides[&Side::Primary].access
    };
    assert_eq!(feed(30, 0.2).await, Level::Normal);
    assert_eq!(feed(6, 1.0).await, Level::Degrading);
    assert_eq!(feed(30, 1.0).await, Level::Normal);
}

#[tokio::test]
async fn hostile_reports_are_bounded() {
    let mut house = house().await;
    for round in 0..3u32 {
        let metrics = (0..5000).map(|index| Metric {
            value: f64::NAN,
            text: Some("y\u{7}".repeat(10_000)),
            unit: "z".repeat(1000),
            time: u64::MAX,
            ..metric(&format!("{round}.{index}.{}", "x".repeat(300)), 0.0, "s")
        });
        house.report(&mail_a(), metrics.collect(), true).await;
    }
    house
        .report(
            &mail_a(),
            vec![metric("host.heard", 0.0, "bool"), metric("", 0.0, "s")],
            true,
        )
        .await;
    let health = house.health().await;
    let metrics: Vec<_> = health.hosts[0]
        .subjects
        .iter()
        .flat_map(|one| &one.metrics)
        .collect();
    assert_eq!(metrics.len(), 1000);
    assert!(metrics.iter().all(|metric| {
        metric.value.is_none()
            && metric.name.len() <= 128
            && metric
                .text
                .as_ref()
                .is_some_and(|text| text.len() <= 300 && !text.contains('\u{7}'))
            && metric.at <= house.now
    }));
}

#[tokio::test]
async fn what_users_see_from_outside_is_explained_by_their_side() {
    let mut house = house().await;
    house
        .rounds(4, |_| with(bad("network.router", "no answer")))
        .await;
    for _ in 0..3 {
        let seen = [Metric {
            time: house.now,
            ..bad("access.smtp", "no answer within 10 s")
        }];
        let taken = house
            .observation
            .take_from_outside("mail", Side::Primary, &seen, house.now);
        taken.await.expect("taken");
        house
            .rounds(1, |_| with(bad("network.router", "no answer")))
            .await;
    }
    let router = Some("mail-a/network.router".to_owned());
    assert_eq!(
        house.causes().await,
        [
            ("mail-a/network.router".to_owned(), None),
            ("users/access.smtp".to_owned(), router)
        ]
    );
    let levels = house.health().await.sides[&Side::Primary];
    assert_eq!(
        (levels.access, levels.subsystems),
        (Level::Failed, Level::Normal)
    );
}

#[tokio::test]
async fn an_application_that_goes_leaves_nothing_open() {
    let mut house = house().await;
    house
        .rounds(4, |_| with(bad("access.imap", "refused")))
        .await;
    assert_eq!(house.open_alerts().await.len(), 1);
    house
        .observation
        .forget("mail", house.now)
        .await
        .expect("forgotten");
    let past = house
        .observation
        .departures("mail", 10)
        .await
        .expect("read");
    assert!(past.iter().all(|departure| departure.until.is_some()));
    assert!(
        house
            .alerts
            .list(None, true, 10)
            .await
            .expect("read")
            .iter()
            .all(|alert| alert.over_how.is_some())
    );
    assert_eq!(house.health().await.hosts, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever agents say, in whatever order: memory and database agree after a restart.
    #[test]
    fn memory_and_database_agree(
        reports in prop::collection::vec((0..5usize, any::<bool>(), 0..3u8, -1.0..100.0f64, 0..200_000u64), 1..25),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut house = house().await;
            let names = ["access.imap", "store.mail.free", "replication.lag", "host.load", "service.dovecot"];
            for (name, serves, state, value, pause) in reports {
                let state = [Health::Good, Health::Bad, Health::Unknown][usize::from(state)];
                let one = Metric { state, ..metric(names[name], value, "s") };
                house.report(&mail_a(), vec![one], serves).await;
                house.now += pause;
            }
            let before = house.health().await;
            let again = open(&house.store, &house.alerts, house.now).await;
            let after = again.health("mail", house.now).await;
            let named = |health: &ApplicationHealth| -> Vec<_> {
                health.causes.iter().map(|cause| (cause.subject.clone(), cause.trouble.level)).collect()
            };
            prop_assert_eq!(named(&before), named(&after));
            Ok(())
        })?;
    }
}

#[test]
fn settings_are_those_of_the_reference() {
    assert_eq!(Settings::default().report_every, Duration::from_secs(30));
}
