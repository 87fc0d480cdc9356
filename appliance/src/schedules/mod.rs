//! Tests that the daemon runs by itself.
//!
//! What is due is written to the store before it begins, together with when the
//! next one is, so that no test runs twice; one that was due while no daemon ran is
//! told, not made up for: it would load the host when nobody expects it.

mod rhythm;

use std::sync::Arc;
use std::time::Duration;

pub use rhythm::ScheduleSettings;

use crate::daemon::{Appliance, Beginning, Operation, OperationKind, OperationState};
use crate::notices::{Notice, ScheduleChange, What};
use crate::prepare::PrepareOptions;
use crate::report::Mode;
use crate::session::unix_ms;
use crate::store::{RunEnd, RunState, Schedule, Store};
use crate::telling::Heard;

/// A test may begin so late; later ones are missed.
const GRACE_MS: u64 = 10 * 60 * 1_000;
/// The longest sleep: the wall clock may be set.
const LOOK: Duration = Duration::from_secs(30);

/// Runs what is due until the daemon ends.
pub fn start(appliance: &Appliance) {
    let appliance = appliance.clone();
    tokio::spawn(async move {
        if let Err(error) = appliance.store.end_left_runs().await {
            tracing::error!(%error, "schedules");
        }
        loop {
            // Before looking, so that no change is overlooked.
            let changed = changed(&appliance);
            let pause = run_due(&appliance, unix_ms())
                .await
                .unwrap_or_else(|error| {
                    tracing::error!(error = format!("{error:#}"), "schedules cannot be followed");
                    LOOK
                });
            tokio::select! {
                () = appliance.ending() => return,
                () = changed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    });
}

/// Ready when a schedule was set or removed after this call.
fn changed(appliance: &Appliance) -> impl Future<Output = ()> + use<> {
    let (mut follower, _) = appliance.store.notices().follow(None);
    let is_new = |heard: &Heard<Notice>| match heard {
        Heard::One(_, notice) => matches!(
            notice.what,
            What::Schedule {
                change: ScheduleChange::Set | ScheduleChange::Removed,
                ..
            }
        ),
        Heard::Missed(..) => true,
    };
    async move {
        while let Some(heard) = follower.next().await {
            if is_new(&heard) {
                return;
            }
        }
        std::future::pending().await
    }
}

/// Begins what is due; returns how long nothing will be.
async fn run_due(appliance: &Appliance, now_ms: u64) -> anyhow::Result<Duration> {
    let mut pause = LOOK;
    for schedule in appliance.store.schedules(None).await? {
        let Some(due_ms) = schedule.next_ms else {
            continue;
        };
        if due_ms > now_ms {
            pause = pause.min(Duration::from_millis(due_ms - now_ms));
            continue;
        }
        begin(appliance, schedule, due_ms, now_ms).await?;
    }
    Ok(pause)
}

async fn begin(
    appliance: &Appliance,
    schedule: Schedule,
    due_ms: u64,
    now_ms: u64,
) -> anyhow::Result<()> {
    let calendar = schedule.settings.calendar()?;
    let next_ms = calendar.next_after(now_ms);
    let run = appliance
        .store
        .begin_run(schedule.id, due_ms, next_ms)
        .await?;
    if now_ms - due_ms <= GRACE_MS {
        return test(appliance, schedule, run).await;
    }
    let count = calendar.due_between(due_ms, now_ms) + 1;
    let detail = format!("{count} of its tests were due while the daemon did not run");
    let end = RunEnd {
        state: RunState::Missed,
        ..failed(None, detail)
    };
    tracing::warn!(site = schedule.site, count, "tests were missed");
    Ok(appliance.store.end_run(schedule.id, run, &end).await?)
}

async fn test(appliance: &Appliance, schedule: Schedule, run: i64) -> anyhow::Result<()> {
    let beginning = Beginning {
        kind: OperationKind::Session,
        subject: schedule.site.clone(),
        asynchronous: true,
    };
    let (worker, name) = (appliance.clone(), schedule.site.clone());
    let options = PrepareOptions {
        accept_changed: schedule.settings.accept_changed,
        ..PrepareOptions::default()
    };
    let begun = appliance
        .operations
        .begin(appliance, beginning, move |events| async move {
            let site = worker.site(&name).await?;
            let report = worker.run_session(&site, Mode::Test, options, &events);
            Ok(serde_json::to_value(report.await?)?)
        });
    match begun {
        Ok(operation) => {
            tokio::spawn(record(appliance.store.clone(), operation, schedule.id, run));
            Ok(())
        }
        Err(error) => {
            let end = failed(None, format!("{error:#}"));
            Ok(appliance.store.end_run(schedule.id, run, &end).await?)
        }
    }
}

/// Writes down how a test ended.
async fn record(store: Store, operation: Arc<Operation>, schedule: i64, run: i64) {
    operation.ended().await;
    let view = operation.view();
    let passed = operation
        .result()
        .is_some_and(|report| report["ok"] == true);
    let end = match (view.state, passed) {
        (OperationState::Succeeded, true) => RunEnd {
            state: RunState::Passed,
            session: view.session,
            detail: None,
        },
        (OperationState::Succeeded, false) => {
            failed(view.session, "not all was well; its report tells".into())
        }
        _ => {
            let chain = view.failure.map(|failure| failure.chain.join(": "));
            failed(view.session, chain.unwrap_or_default())
        }
    };
    if let Err(error) = store.end_run(schedule, run, &end).await {
        tracing::error!(%error, "how a scheduled test ended was not recorded");
    }
}

fn failed(session: Option<String>, detail: String) -> RunEnd {
    RunEnd {
        state: RunState::Failed,
        session,
        detail: Some(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::rhythm::Rhythm;
    use super::*;
    use crate::daemon::testing;

    const DAY_MS: u64 = 24 * 3600 * 1_000;

    async fn with_schedule(due_ms: u64) -> (testing::Bed, i64) {
        let bed = testing::Bed::with_site().await;
        let settings = ScheduleSettings {
            rhythm: Rhythm::Day,
            at: "02:30".into(),
            zone: "UTC".into(),
            enabled: true,
            accept_changed: false,
        };
        let store = &bed.appliance.store;
        let id = store.add_schedule("small", &settings, Some(due_ms)).await;
        (bed, id.unwrap())
    }

    #[tokio::test]
    async fn what_was_due_without_a_daemon_is_told_and_not_made_up_for() {
        let now_ms = unix_ms();
        let (bed, id) = with_schedule(now_ms - 3 * DAY_MS).await;
        let store = &bed.appliance.store;
        run_due(&bed.appliance, now_ms).await.unwrap();
        let runs = store.schedule_runs(id, 9).await.unwrap();
        assert_eq!((runs.len(), runs[0].state), (1, RunState::Missed));
        let detail = runs[0].detail.as_deref().unwrap_or_default();
        assert!(detail.contains("tests were due"), "{detail}");
        assert!(bed.appliance.operations.list().is_empty());
        let next_ms = store.schedule(id).await.unwrap().unwrap().next_ms.unwrap();
        assert!(next_ms > now_ms && next_ms <= now_ms + DAY_MS);
        // Nothing more is due.
        run_due(&bed.appliance, now_ms).await.unwrap();
        assert_eq!(store.schedule_runs(id, 9).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_is_due_runs_once_and_what_came_of_it_is_kept() {
        let now_ms = unix_ms();
        let (bed, id) = with_schedule(now_ms - 1).await;
        let store = &bed.appliance.store;
        // Its volume holds nothing, so that it cannot pass.
        run_due(&bed.appliance, now_ms).await.unwrap();
        let operation = bed.appliance.operations.list().remove(0);
        assert_eq!(operation.subject, "small");
        let operation = bed.appliance.operations.find(&operation.id).unwrap();
        let mut notices = store.notices().follow(None).0;
        operation.ended().await;
        while store.schedule_runs(id, 9).await.unwrap()[0].state == RunState::Running {
            notices.next().await.unwrap();
        }
        let runs = store.schedule_runs(id, 9).await.unwrap();
        assert_eq!((runs.len(), runs[0].state), (1, RunState::Failed));
        assert!(!runs[0].detail.as_ref().unwrap().is_empty());
        run_due(&bed.appliance, now_ms).await.unwrap();
        assert_eq!(store.schedule_runs(id, 9).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_test_in_the_middle_of_which_the_daemon_ended_has_failed() {
        let (bed, id) = with_schedule(1).await;
        let store = &bed.appliance.store;
        store.begin_run(id, 1, None).await.unwrap();
        assert_eq!(store.end_left_runs().await.unwrap(), 1);
        let last = store.schedule(id).await.unwrap().unwrap().last.unwrap();
        assert_eq!(last.state, RunState::Failed);
        assert!(store.remove_site("small").await.unwrap());
        assert_eq!(store.schedule(id).await.unwrap(), None);
    }
}
