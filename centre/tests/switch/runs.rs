//! Whole runs: over and back, without the primary, undone, by Auto Pilot.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use lifeboat_centre::AutoPilotChange;
use lifeboat_failover::Side;
use lifeboat_failover::process::{Ending, Kind, Phase};
use lifeboat_failover::state::State;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::bed::{Bed, LEASE, NAME, PATIENCE, request};
use crate::trial;

/// How often it is looked whether something is so.
const LOOK: Duration = Duration::from_millis(20);

pub fn trials() -> Vec<Trial> {
    vec![
        trial("over_and_back", over_and_back),
        trial("a_dead_primary_is_bypassed_and_comes_back_harmless", bypass),
        trial("a_no_undoes_everything", no_undoes),
        trial("an_abort_breaks_a_hanging_step_off", abort),
        trial("a_failed_step_undoes_everything", failed_step),
        trial("a_step_beyond_return_stops_and_is_taken_up", taken_up),
        trial("agents_killed_in_mid_switch_go_on", killed_agents),
        trial("the_application_outlives_the_control_centre", outlives),
        trial("auto_pilot_switches_when_the_primary_is_silent", auto_pilot),
        trial("auto_pilot_in_shadow_only_says_so", shadow),
    ]
}

const OLD: [&str; 7] = [
    "close-entrance",
    "dismount-stores",
    "stop",
    "drain-replication",
    "verify-replica",
    "stop-replication",
    "open-receiver",
];
const NEW: [&str; 7] = [
    "close-receiver",
    "start-replication-paused",
    "pause-replication",
    "ensure-stores",
    "start",
    "open-entrance",
    "resume-replication",
];

async fn numbers(bed: &Bed) -> Vec<u16> {
    let mut history = bed.centre().history(NAME, 100).await.expect("known");
    history.reverse();
    history.iter().filter_map(|one| one.number).collect()
}

fn ending(status: &lifeboat_centre::Status) -> Option<Ending> {
    status
        .process
        .as_ref()
        .and_then(|process| process.record.ending)
}

async fn over_and_back() {
    let bed = Bed::new("").await;
    let ready = bed.centre().ready(NAME).await.expect("known");
    assert!(ready.ready && ready.to == Side::Secondary, "{ready:#?}");
    let plan = bed
        .centre()
        .plan(NAME, Kind::SwitchOver)
        .await
        .expect("a plan");
    assert!(
        plan.obstacles.is_empty() && !plan.bypassed.contains(&true),
        "{plan:#?}"
    );
    assert_eq!(bed.a.effects(), [""; 0], "a dry run does nothing");

    bed.switch(Kind::SwitchOver).await;
    let status = bed.until_state(State::ResyncPrimary).await;
    assert_eq!(ending(&status), Some(Ending::Done), "{status:#?}");
    assert!(bed.b.runs() && !bed.a.runs());
    assert_eq!(bed.a.effects(), OLD, "{status:#?}\n{}", bed.a.log());
    assert_eq!(bed.b.effects(), NEW);
    assert_eq!(numbers(&bed).await, [204, 208, 212, 216]);

    bed.until_ready(Side::Secondary).await;
    bed.a.forget_effects();
    bed.b.forget_effects();
    bed.switch(Kind::SwitchBack).await;
    bed.until_state(State::ResyncSecondary).await;
    assert!(bed.a.runs() && !bed.b.runs());
    assert_eq!(bed.b.effects(), OLD);
    assert_eq!(bed.a.effects(), NEW);
    assert_eq!(numbers(&bed).await, [204, 208, 212, 216, 220, 224]);
}

async fn bypass() {
    let mut bed = Bed::new("").await;
    bed.a.kill();
    bed.until("the primary is gone", |status| {
        status.agents[0].connected_since.is_none()
    })
    .await;
    bed.switch(Kind::SwitchOver).await;
    let status = bed
        .until("the secondary serves", |status| ending(status).is_some())
        .await;
    assert_eq!(ending(&status), Some(Ending::Done), "{status:#?}");
    assert_eq!(status.state.name, State::SecondaryEngaged);
    assert!(bed.b.runs() && !bed.a.runs(), "its watchdog stopped it");
    assert_eq!(bed.a.effects(), [""; 0]);
    let process = status.process.expect("there");
    for (index, step) in process.record.plan.steps.iter().enumerate() {
        let skipped = process
            .journal
            .iter()
            .any(|line| line.step == index && matches!(line.phase, Phase::Skipped { .. }));
        assert_eq!(
            skipped, step.needs_old_side,
            "{} {}",
            step.number, step.title
        );
    }
    // It comes back and learns that it was replaced.
    bed.a.start();
    bed.until("the old primary is back", |status| {
        let agent = &status.agents[0];
        agent.connected_since.is_some()
            && agent
                .serving
                .is_some_and(|serving| serving.serving.epoch.is_none())
    })
    .await;
    assert!(!bed.a.runs() && bed.b.runs());
}

async fn no_undoes() {
    let bed = Bed::new("[switch]\nconfirmation_s = 60\n").await;
    let mut asked = request(Kind::SwitchOver);
    asked.wishes.go_on = None;
    bed.centre().switch(NAME, asked).await.expect("begun");
    let status = bed
        .until("it asks", |status| status.question.is_some())
        .await;
    assert_eq!(status.question.expect("asked").number, "314");
    assert!(!bed.a.runs());
    bed.centre()
        .answer(NAME, false, "test")
        .await
        .expect("asked");
    let status = bed.until_state(State::Normal).await;
    assert_eq!(ending(&status), Some(Ending::Reverted), "{status:#?}");
    assert!(bed.a.runs() && !bed.b.runs());
    let undone = [
        "start-replication",
        "start",
        "mount-stores",
        "open-entrance",
    ];
    assert_eq!(bed.a.effects()[6..], undone);
    assert_eq!(bed.b.effects(), ["close-receiver", "open-receiver"]);
    let nothing = bed.centre().answer(NAME, true, "test").await;
    assert!(
        nothing
            .expect_err("nobody asks")
            .to_string()
            .contains("nothing is being asked")
    );
}

async fn abort() {
    let bed = Bed::new("").await;
    bed.a.make("hangs", "drain-replication");
    bed.switch(Kind::SwitchOver).await;
    bed.until("it drains", |_| {
        bed.a.effects().last().is_some_and(|last| last == "stop")
    })
    .await;
    bed.centre().abort(NAME, "test").await.expect("running");
    bed.a.heal("hangs", "drain-replication");
    let status = bed.until_state(State::Normal).await;
    assert_eq!(ending(&status), Some(Ending::Reverted), "{status:#?}");
    assert!(bed.a.runs());
    let nothing = bed.centre().abort(NAME, "test").await;
    assert!(
        nothing
            .expect_err("nothing runs")
            .to_string()
            .contains("no process")
    );
}

async fn failed_step() {
    let bed = Bed::new("").await;
    bed.a.make("fails", "verify-replica");
    bed.switch(Kind::SwitchOver).await;
    let status = bed.until_state(State::Normal).await;
    assert_eq!(ending(&status), Some(Ending::Reverted), "{status:#?}");
    assert!(bed.a.runs() && !bed.b.runs());
    assert_eq!(bed.b.effects(), [""; 0]);
}

async fn taken_up() {
    let mut bed = Bed::new("").await;
    bed.b.make("fails", "ensure-stores");
    bed.switch(Kind::SwitchOver).await;
    let status = bed
        .until("it stops", |status| ending(status).is_some())
        .await;
    assert!(
        matches!(ending(&status), Some(Ending::Stopped(_))),
        "{status:#?}"
    );
    assert_eq!(status.state.name, State::EngagingSecondary);
    let late = bed.centre().abort(NAME, "test").await;
    assert!(late.is_err());
    let twice = bed.centre().switch(NAME, request(Kind::SwitchOver)).await;
    assert!(
        twice
            .expect_err("one is under way")
            .to_string()
            .contains("under way")
    );
    // A control centre that starts anew leaves it stopped.
    bed.reopen().await;
    bed.until_ready(Side::Secondary).await;
    assert!(matches!(
        ending(&bed.status().await),
        Some(Ending::Stopped(_))
    ));
    bed.b.heal("fails", "ensure-stores");
    bed.centre().take_up(NAME, "test").await.expect("stopped");
    let status = bed.until_state(State::ResyncPrimary).await;
    assert_eq!(ending(&status), Some(Ending::Done), "{status:#?}");
    assert!(bed.b.runs() && !bed.a.runs());
}

async fn killed_agents() {
    let mut bed = Bed::new("").await;
    bed.switch(Kind::SwitchOver).await;
    bed.until("it has begun", |_| !bed.a.effects().is_empty())
        .await;
    bed.b.kill();
    bed.b.start();
    bed.until("the new side has begun", |_| !bed.b.effects().is_empty())
        .await;
    bed.b.kill();
    bed.b.start();
    bed.until_state(State::ResyncPrimary).await;
    bed.until("the new side serves", |_| bed.b.runs()).await;
    assert!(!bed.a.runs());
}

/// As soon as both agents are there, neither needs the control centre for what is served.
async fn outlives() {
    let mut bed = Bed::new("").await;
    bed.close().await;
    let end = Instant::now() + LEASE * 3;
    while Instant::now() < end {
        assert!(bed.a.runs(), "{}", bed.a.log());
        sleep(LOOK).await;
    }
    assert_eq!(bed.a.effects(), [""; 0]);
    // The control: it was the other agent that renewed the lease.
    bed.b.kill();
    let begin = Instant::now();
    while bed.a.runs() {
        assert!(begin.elapsed() < PATIENCE, "{}", bed.a.log());
        sleep(LOOK).await;
    }
}

const PILOT: &str = "[autopilot]\nenabled = true\nwait_s = 1\n";

async fn auto_pilot() {
    let bed = Bed::new(PILOT).await;
    // Stopped, not killed: silent.
    bed.a.signal(Signal::SIGSTOP);
    let status = bed.until("the secondary serves", |_| bed.b.runs()).await;
    assert!(!bed.a.runs());
    let process = status.process.expect("there").record;
    assert_eq!(process.who, "auto pilot");
    bed.a.signal(Signal::SIGCONT);
    bed.until("the old primary is back", |status| {
        status.agents[0]
            .serving
            .is_some_and(|serving| serving.serving.epoch.is_none())
    })
    .await;
    assert!(!bed.a.runs() && bed.b.runs());
}

async fn shadow() {
    let mut bed = Bed::new(PILOT).await;
    let change = AutoPilotChange {
        shadow: Some(true),
        ..AutoPilotChange::default()
    };
    bed.centre()
        .set_autopilot(NAME, change, "test")
        .await
        .expect("known");
    bed.a.kill();
    let said = |audit: &[lifeboat_centre::AuditRecord]| {
        audit
            .iter()
            .any(|one| one.action == "would have" && one.detail.contains("switch to the secondary"))
    };
    loop {
        let audit = bed.centre().audit(NAME, 100).await.expect("known");
        if said(&audit) {
            break;
        }
        bed.until("it looks again", |_| true).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(bed.status().await.process.is_none());
    assert_eq!(bed.b.effects(), [""; 0]);
}
