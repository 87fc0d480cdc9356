use std::time::Duration;

use crate::lease::{Epoch, GrantorRecord, Moment, Terms};
use crate::side::Side;

use super::*;

const TERMS: Terms = Terms::DEFAULT;

/// Three parties whose messages arrive at once and in order.
struct Three {
    centre: Centre,
    agents: [Agent; 2],
    now: Moment,
    cut: Vec<Party>,
}

impl Three {
    fn new() -> Self {
        let grantor = GrantorRecord {
            epoch: Epoch(1),
            ..GrantorRecord::default()
        };
        let primary = AgentRecord {
            serves: Some(Epoch(1)),
            ..AgentRecord::default()
        };
        let secondary = AgentRecord {
            grantor,
            ..AgentRecord::default()
        };
        let start = |side, record| {
            let start = Start {
                now: Moment::ZERO,
                incarnation: 1,
                armed_until: Moment::ZERO,
            };
            Agent::start(side, TERMS, record, start)
        };
        let mut three = Self {
            centre: Centre::start(TERMS, CentreRecord::first(), Moment::ZERO),
            agents: [
                start(Side::Primary, primary),
                start(Side::Secondary, secondary),
            ],
            now: Moment::ZERO,
            cut: Vec::new(),
        };
        three.pass(Duration::ZERO);
        three
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let effects = self.centre.tick(self.now);
            self.act(Party::Centre, effects);
            for side in Side::BOTH {
                let now = self.now;
                let effects = self.agent(side).tick(now);
                self.act(Party::Agent(side), effects);
            }
            if self.now >= end {
                return;
            }
            self.now += Duration::from_millis(100);
        }
    }

    fn agent(&mut self, side: Side) -> &mut Agent {
        &mut self.agents[usize::from(side == Side::Secondary)]
    }

    fn act<R>(&mut self, from: Party, effects: Vec<Effect<R>>) {
        for effect in effects {
            if let Effect::Send(to, message) = effect
                && !self.cut.contains(&from)
                && !self.cut.contains(&to)
            {
                self.deliver(from, to, message);
            }
        }
    }

    fn deliver(&mut self, from: Party, to: Party, message: Message) {
        let now = self.now;
        match to {
            Party::Centre => {
                let effects = self.centre.hear(from, message, now);
                self.act(to, effects);
            }
            Party::Agent(side) => {
                let effects = self.agent(side).hear(from, message, now);
                self.act(to, effects);
            }
        }
    }

    fn serving(&mut self) -> Vec<Side> {
        let now = self.now;
        Side::BOTH
            .into_iter()
            .filter(|side| self.agent(*side).may_serve(now))
            .collect()
    }

    fn switch(&mut self, to: Side) {
        let (begun, effects) = self.centre.begin(to, self.now);
        assert!(begun);
        self.act(Party::Centre, effects);
    }
}

#[test]
fn the_primary_serves_and_goes_on_when_the_control_centre_is_lost() {
    let mut three = Three::new();
    assert_eq!(three.serving(), [Side::Primary]);
    three.cut.push(Party::Centre);
    three.pass(Duration::from_secs(60));
    assert_eq!(
        three.serving(),
        [Side::Primary],
        "the other agent renews the lease"
    );
}

#[test]
fn a_control_centre_that_is_there_for_a_moment_leaves_an_agent_that_renews_the_lease() {
    for met in [false, true] {
        let mut three = Three::new();
        let start = Start {
            now: Moment::ZERO,
            incarnation: 1,
            armed_until: Moment::ZERO,
        };
        let nothing = AgentRecord::default();
        three.agents[1] = Agent::start(Side::Secondary, TERMS, nothing, start);
        if met {
            three.centre.meet(three.now);
        }
        three.pass(Duration::ZERO);
        three.cut.push(Party::Centre);
        three.pass(Duration::from_secs(60));
        let serving = three.serving();
        assert_eq!(serving == [Side::Primary], met, "{serving:?}");
    }
}

#[test]
fn a_lease_is_asked_for_whenever_somebody_who_renews_it_comes() {
    let moment = Duration::from_millis(100);
    for met in [false, true] {
        let mut three = Three::new();
        three.cut.push(Party::Agent(Side::Secondary));
        let mut lapsed = false;
        // The control centre comes and goes, and is never there when the turn comes.
        for _ in 0..10 {
            three.cut.push(Party::Centre);
            while three.now + moment < three.agents[0].wakes() {
                three.pass(moment);
            }
            three.cut.pop();
            if met {
                three.agents[0].meet(three.now);
                let effects = three.agents[0].tick(three.now);
                three.act(Party::Agent(Side::Primary), effects);
            }
            three.cut.push(Party::Centre);
            three.pass(moment);
            lapsed |= three.serving().is_empty();
            three.cut.pop();
        }
        assert_eq!(lapsed, !met);
    }
}

#[test]
fn a_planned_switch_needs_no_waiting() {
    let mut three = Three::new();
    three.switch(Side::Secondary);
    assert_eq!(three.serving(), [Side::Secondary]);
    three.pass(Duration::from_secs(20));
    three.switch(Side::Primary);
    assert_eq!(three.serving(), [Side::Primary]);
    assert_eq!(three.centre.record().grantor.epoch, Epoch(3));
}

#[test]
fn a_primary_that_is_cut_off_stops_by_itself_before_the_secondary_serves() {
    let mut three = Three::new();
    three.cut.push(Party::Agent(Side::Primary));
    three.switch(Side::Secondary);
    assert_eq!(three.serving(), [Side::Primary], "it cannot know yet");
    let mut gap = false;
    for _ in 0..300 {
        three.pass(Duration::from_millis(100));
        let serving = three.serving();
        assert!(serving.len() <= 1, "both serve at {:?}", three.now);
        gap |= serving.is_empty();
    }
    assert!(gap);
    assert_eq!(three.serving(), [Side::Secondary]);
    three.cut.clear();
    three.pass(Duration::from_secs(5));
    assert_eq!(
        three.serving(),
        [Side::Secondary],
        "the returning primary does no harm"
    );
    assert!(three.agent(Side::Primary).record().fenced >= Epoch(1));
}

#[test]
fn a_switch_given_up_in_time_leaves_everything_as_it_was() {
    let mut three = Three::new();
    three.cut.push(Party::Agent(Side::Secondary));
    three.cut.push(Party::Agent(Side::Primary));
    three.switch(Side::Secondary);
    let (given_up, effects) = three.centre.abandon(three.now);
    assert!(given_up);
    three.act(Party::Centre, effects);
    three.cut.clear();
    three.pass(Duration::from_secs(30));
    assert_eq!(three.serving(), [Side::Primary]);
}

#[test]
fn without_the_candidate_nobody_is_promoted() {
    let mut three = Three::new();
    three.cut.push(Party::Agent(Side::Secondary));
    three.cut.push(Party::Agent(Side::Primary));
    three.switch(Side::Secondary);
    three.pass(Duration::from_secs(120));
    assert_eq!(three.centre.record().active, Side::Primary);
    assert!(matches!(
        three.centre.record().switching,
        Some(Switching {
            waiting: Waiting::Promise,
            ..
        })
    ));
}
