use std::time::Duration;

use proptest::prelude::*;

use crate::lease::Epoch;

use super::engine::fate;
use super::*;

fn request(kind: Kind) -> Request {
    Request {
        kind,
        epoch: Epoch(6),
        identity: Identity::Rename,
        stores: Stores::ByServices,
        confirmation: Duration::from_secs(10),
        replicate_back: true,
    }
}

const THERE: Facts = Facts {
    old_side_there: true,
    abort: false,
};
const GONE: Facts = Facts {
    old_side_there: false,
    abort: false,
};

fn done() -> Phase {
    Phase::Done {
        evidence: "seen".to_owned(),
    }
}

/// A world in which every step has an effect that is there or not.
struct World {
    effects: Vec<bool>,
    asked: usize,
}

/// Where the control centre dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    BeforeEffect,
    AfterEffect,
    AfterEntry,
}

impl World {
    fn new(plan: &Plan) -> Self {
        Self {
            effects: vec![false; plan.steps.len()],
            asked: 0,
        }
    }

    /// Carries `next` out once, or as far as the cut allows.
    fn carry_out(
        &mut self,
        journal: &mut Journal,
        next: Next,
        yes: bool,
        cut: Option<Cut>,
    ) -> bool {
        let (step, effect, began, ended) = match next {
            Next::Do(step) => (step, Some(true), Some(Phase::Begun), done()),
            Next::Undo(step) => (step, Some(false), Some(Phase::UndoBegun), Phase::Undone),
            Next::Skip(step) => (
                step,
                None,
                None,
                Phase::Skipped {
                    reason: "gone".to_owned(),
                },
            ),
            Next::Ask(step) => (
                step,
                None,
                None,
                Phase::Answered {
                    yes,
                    by: "operator".to_owned(),
                },
            ),
            Next::End(_) => return false,
        };
        self.asked += 1;
        if let Some(began) = began {
            journal.push(step, began);
        }
        if cut == Some(Cut::BeforeEffect) {
            return true;
        }
        if let Some(effect) = effect {
            self.effects[step] = effect;
        }
        if cut != Some(Cut::AfterEffect) {
            journal.push(step, ended);
        }
        true
    }

    fn run(&mut self, plan: &Plan, journal: &mut Journal, facts: Facts, yes: bool) -> Ending {
        for _ in 0..200 {
            match next(plan, journal, facts) {
                Next::End(ending) => return ending,
                other => assert!(self.carry_out(journal, other, yes, None)),
            }
        }
        panic!("the process does not end: {journal:?}");
    }
}

fn begun_numbers(plan: &Plan, journal: &Journal) -> Vec<String> {
    journal
        .0
        .iter()
        .filter(|entry| matches!(entry.phase, Phase::Begun | Phase::Answered { .. }))
        .map(|entry| plan.steps[entry.step].number.clone())
        .collect()
}

#[test]
fn a_planned_switch_over_takes_every_step_in_the_order_of_the_reference() {
    let plan = switch(&request(Kind::SwitchOver));
    let mut journal = Journal::default();
    let ending = World::new(&plan).run(&plan, &mut journal, THERE, true);
    assert_eq!(ending, Ending::Done);
    let numbers = begun_numbers(&plan, &journal);
    let main: Vec<&str> = numbers
        .iter()
        .map(String::as_str)
        .filter(|number| !number.ends_with('+'))
        .collect();
    let expected = "306 308 310 312 314 320 322 324a 324b 326a 326b 328a 328b 330a 330b 332 334 \
                    336a 336b 338 340 342 344-356 358 362 364 366";
    assert_eq!(main, expected.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn without_the_old_side_its_steps_are_bypassed_and_no_other() {
    let plan = switch(&request(Kind::SwitchOver));
    let mut journal = Journal::default();
    assert_eq!(
        World::new(&plan).run(&plan, &mut journal, GONE, true),
        Ending::Done
    );
    for (index, step) in plan.steps.iter().enumerate() {
        let skipped = journal
            .0
            .iter()
            .any(|entry| entry.step == index && matches!(entry.phase, Phase::Skipped { .. }));
        assert_eq!(skipped, step.needs_old_side, "step {}", step.number);
    }
}

#[test]
fn switch_back_is_the_mirror_image() {
    let over = switch(&request(Kind::SwitchOver));
    let back = switch(&request(Kind::SwitchBack));
    assert_eq!((over.from, over.to), (back.to, back.from));
    for (one, other) in over.steps.iter().zip(&back.steps) {
        assert_eq!(one.number, other.number);
        assert_eq!(one.actor.side().map(crate::Side::other), other.actor.side());
    }
}

#[test]
fn nothing_is_promoted_before_there_is_proof_and_no_old_side_step_follows_that_can_hold_it_up() {
    let plan = switch(&request(Kind::SwitchOver));
    let promote = plan.point_of_no_return();
    let proof = plan.steps.iter().position(|step| {
        matches!(
            step.task,
            Task::Act {
                action: Action::AwaitFence,
                ..
            }
        )
    });
    assert!(proof.is_some_and(|proof| proof < promote));
    assert!(
        !plan.steps[promote - 1].needs_old_side,
        "proof is needed of a dead side as well"
    );
    for step in &plan.steps[promote..] {
        assert!(
            !step.needs_old_side || step.failure == Failure::GoOn,
            "{}",
            step.number
        );
    }
}

#[test]
fn the_old_side_takes_data_before_they_flow_and_after_it_was_replaced() {
    for kind in [Kind::SwitchOver, Kind::SwitchBack] {
        let plan = switch(&request(kind));
        let place = |actor: Actor, wanted: Action| {
            let is =
                |step: &Step| matches!(step.task, Task::Act { action, .. } if action == wanted);
            plan.steps
                .iter()
                .position(|step| step.actor == actor && is(step))
        };
        let old = Actor::Application(plan.from);
        let opened = place(old, Action::OpenReceiver).expect("opened");
        assert!(plan.point_of_no_return() < opened);
        assert!(
            place(old, Action::Reboot) < Some(opened),
            "a restart may close it"
        );
        let flows = place(Actor::Application(plan.to), Action::ResumeReplication);
        assert!(Some(opened) < flows);
    }
}

#[test]
fn an_old_side_that_was_not_compared_and_comes_back_is_sent_nothing() {
    let plan = switch(&request(Kind::SwitchOver));
    let is = |index: usize, wanted: Action| matches!(plan.steps[index].task, Task::Act { action, .. } if action == wanted);
    let place = |wanted: Action| {
        (0..plan.steps.len())
            .find(|&index| is(index, wanted))
            .expect("in the plan")
    };
    let (compare, resume) = (
        place(Action::VerifyReplica),
        place(Action::ResumeReplication),
    );
    for compared in [true, false] {
        let mut journal = Journal::default();
        for index in 0..resume {
            journal.push(index, Phase::Begun);
            journal.push(
                index,
                match index == compare && !compared {
                    true => Phase::Skipped {
                        reason: "gone".to_owned(),
                    },
                    false => done(),
                },
            );
        }
        let expected = if compared {
            Next::Do(resume)
        } else {
            Next::Skip(resume)
        };
        assert_eq!(next(&plan, &journal, THERE), expected);
    }
}

#[test]
fn a_no_takes_everything_back_in_reverse() {
    let plan = switch(&request(Kind::SwitchOver));
    let (mut journal, mut world) = (Journal::default(), World::new(&plan));
    assert_eq!(
        world.run(&plan, &mut journal, THERE, false),
        Ending::Reverted
    );
    let undone: Vec<usize> = journal
        .0
        .iter()
        .filter(|entry| entry.phase == Phase::Undone)
        .map(|entry| entry.step)
        .collect();
    assert!(
        undone.len() >= 4 && undone.is_sorted_by(|a, b| a > b),
        "{undone:?}"
    );
    for (index, step) in plan.steps.iter().enumerate() {
        if matches!(step.task, Task::Act { undo: Some(_), .. }) {
            assert!(
                !world.effects[index],
                "step {} is still in effect",
                step.number
            );
        }
    }
}

#[test]
fn a_failure_after_promotion_stops_and_can_be_taken_up_again() {
    let plan = switch(&request(Kind::SwitchOver));
    let mut journal = Journal::default();
    let servers = plan
        .steps
        .iter()
        .position(|step| step.number == "358")
        .expect("step 358");
    let mut world = World::new(&plan);
    while next(&plan, &journal, THERE) != Next::Do(servers) {
        let step = next(&plan, &journal, THERE);
        assert!(world.carry_out(&mut journal, step, true, None));
    }
    journal.push(servers, Phase::Begun);
    let reason = "no answer from 2 of 2".to_owned();
    journal.push(
        servers,
        Phase::Failed {
            reason,
            lost: false,
        },
    );
    assert_eq!(
        next(&plan, &journal, THERE),
        Next::End(Ending::Stopped(servers))
    );
    let aborted = Facts {
        abort: true,
        ..THERE
    };
    assert_eq!(
        next(&plan, &journal, aborted),
        Next::End(Ending::Stopped(servers)),
        "too late to abort"
    );
    journal.push(servers, Phase::Begun);
    assert_eq!(world.run(&plan, &mut journal, THERE, true), Ending::Done);
}

#[test]
fn an_old_side_that_is_lost_on_the_way_is_bypassed_from_there_on() {
    let plan = switch(&request(Kind::SwitchOver));
    let mut journal = Journal::default();
    journal.push(0, Phase::Begun);
    journal.push(
        0,
        Phase::Failed {
            reason: "no route".to_owned(),
            lost: true,
        },
    );
    assert_eq!(next(&plan, &journal, GONE), Next::Skip(1));
    assert_eq!(
        World::new(&plan).run(&plan, &mut journal, GONE, true),
        Ending::Done
    );
}

#[test]
fn the_answer_no_to_replication_leaves_it_off() {
    let plan = switch(&request(Kind::SwitchOver));
    let (mut journal, mut world) = (Journal::default(), World::new(&plan));
    loop {
        match next(&plan, &journal, THERE) {
            Next::End(ending) => {
                assert_eq!(ending, Ending::Done);
                break;
            }
            step => {
                let to_replicate =
                    matches!(step, Next::Ask(index) if plan.steps[index].number == "364");
                world.carry_out(&mut journal, step, !to_replicate, None);
            }
        }
    }
    assert_eq!(world.effects.last(), Some(&false));
}

/// Every place where the control centre can die, in doing and in undoing.
#[test]
fn a_crash_at_any_step_changes_neither_the_end_nor_the_effects() {
    for (yes, old_side_there) in [(true, true), (true, false), (false, true)] {
        let facts = Facts {
            old_side_there,
            abort: false,
        };
        let plan = switch(&request(Kind::SwitchOver));
        let (mut whole, mut world) = (Journal::default(), World::new(&plan));
        let ending = world.run(&plan, &mut whole, facts, yes);
        for at in 0..world.asked {
            for cut in [Cut::BeforeEffect, Cut::AfterEffect, Cut::AfterEntry] {
                let (mut journal, mut other) = (Journal::default(), World::new(&plan));
                for asked in 0..=at {
                    let step = next(&plan, &journal, facts);
                    let here = (asked == at).then_some(cut);
                    other.carry_out(&mut journal, step, yes, here);
                }
                assert_eq!(
                    other.run(&plan, &mut journal, facts, yes),
                    ending,
                    "{at} {cut:?}"
                );
                assert_eq!(other.effects, world.effects, "{at} {cut:?}");
            }
        }
    }
}

proptest! {
    /// Whatever is written into a journal, asking is total and never goes back over what passed.
    #[test]
    fn any_journal_has_an_answer(entries in prop::collection::vec((0usize..30, 0u8..8, any::<bool>()), 0..60), there: bool, abort: bool) {
        let plan = switch(&request(Kind::SwitchBack));
        let mut journal = Journal::default();
        for (step, kind, flag) in entries {
            let reason = String::new();
            journal.push(step % plan.steps.len(), match kind {
                0 => Phase::Begun,
                1 => done(),
                2 => Phase::Failed { reason, lost: flag },
                3 => Phase::Skipped { reason },
                4 => Phase::Answered { yes: flag, by: reason },
                5 => Phase::UndoBegun,
                6 => Phase::Undone,
                _ => Phase::UndoFailed { reason },
            });
        }
        match next(&plan, &journal, Facts { old_side_there: there, abort }) {
            Next::Do(step) | Next::Ask(step) | Next::Skip(step) => {
                prop_assert!((0..step).all(|before| fate(&plan, &journal, before) == Fate::Passed));
            }
            Next::Undo(step) => prop_assert!(step < plan.point_of_no_return()),
            Next::End(_) => {}
        }
    }
}
