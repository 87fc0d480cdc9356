//! Process 400: switching without anybody's click.
//!
//! Called at every observation. It restarts first (408), waits as long as the operator said, and
//! then asks for the switch (414) - when there is a way to prove that the old side serves no more,
//! the other side is ready, and the application did not just come from there. In every other case
//! it says why it does nothing. In shadow mode it says what it would have done.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lease::Moment;
use crate::side::Side;

/// What the operator set (figure 9D).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether it acts or watches at all.
    pub enabled: bool,
    /// Whether it only says what it would have done.
    pub shadow: bool,
    /// How long the application has to be unavailable before the switch.
    pub wait: Duration,
    /// How often services are restarted before a switch.
    pub restarts: u32,
    /// How long a restart may take to show.
    pub restart_patience: Duration,
    /// How long after a switch it starts no other one.
    pub hold_down: Duration,
    /// So many switches of its own...
    pub lock_out_after: u32,
    /// ...within this time lock it out, until the operator unlocks it.
    pub lock_out_within: Duration,
    /// Whether it also switches back.
    pub switch_back: bool,
    /// How long the primary has to be well and complete before it switches back.
    pub well_before_back: Duration,
}

impl Settings {
    /// Switched off; five minutes of waiting, one restart, an hour of hold-down, locked out after
    /// three switches in a day.
    pub const DEFAULT: Self = Self {
        enabled: false,
        shadow: false,
        wait: Duration::from_secs(300),
        restarts: 1,
        restart_patience: Duration::from_secs(60),
        hold_down: Duration::from_secs(3600),
        lock_out_after: 3,
        lock_out_within: Duration::from_secs(24 * 3600),
        switch_back: false,
        well_before_back: Duration::from_secs(3600),
    };
}

/// How the application is, on the side that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Users are served.
    Well,
    /// They are not, or soon will not be, and its agent can be asked to restart services.
    Unavailable,
    /// Nothing is heard from its host.
    Silent,
}

/// How it can be proved that the serving side serves no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FencingProof {
    /// Its agent answers and can fence it.
    ByAgent,
    /// Its lease can be left to lapse: its agent has a watchdog.
    ByLease,
    /// Neither.
    None,
}

/// What is seen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The moment, on the control centre's clock.
    pub now: Moment,
    /// Which side serves; none while a switch is under way.
    pub active: Option<Side>,
    /// How it is there.
    pub condition: Condition,
    /// What a switch could prove.
    pub proof: FencingProof,
    /// Whether the other side is ready to serve.
    pub other_ready: bool,
    /// Whether data of the active side are complete on the other.
    pub other_complete: bool,
}

/// What it remembers; kept by the control centre.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Since when the application is not well.
    pub unwell_since: Option<Moment>,
    /// Since when the other side, where it belongs, is ready and complete.
    pub back_possible_since: Option<Moment>,
    /// Restarts in this trouble, and when the last was asked for.
    pub restarts: u32,
    /// When the last restart was asked for.
    pub restarted: Option<Moment>,
    /// When it switched; the newest last, no more than are needed.
    pub switches: Vec<Moment>,
    /// Whether it is locked out.
    pub locked_out: bool,
}

/// Why it does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Idle {
    /// It is switched off.
    #[error("auto pilot is off")]
    Off,
    /// All is well.
    #[error("the application is well")]
    Well,
    /// A switch is under way.
    #[error("a switch is under way")]
    Switching,
    /// The trouble has not lasted long enough.
    #[error("waiting whether the trouble passes")]
    Waiting,
    /// It switched lately.
    #[error("the last switch was too short a time ago")]
    HeldDown,
    /// It switched too often.
    #[error("locked out after too many switches: find the cause, then unlock it")]
    LockedOut,
    /// No proof can be had.
    #[error("there is no way to prove that the serving side serves no more: decide yourself")]
    NoProof,
    /// The other side could not serve.
    #[error("the other side is not ready")]
    OtherNotReady,
}

/// What it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// Nothing, and why.
    Nothing(Idle),
    /// Nothing, and somebody has to be told why.
    Alert(Idle),
    /// Services of this side restarted (408).
    Restart(Side),
    /// The other side to serve (414).
    Switch {
        /// Which one.
        to: Side,
    },
}

/// What it decided; in shadow mode nobody carries it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What it wants.
    pub wish: Wish,
    /// Whether it is only said.
    pub shadow: bool,
}

/// Looks once. Changes the memory as if what it wishes were done; in shadow mode too, so that its
/// record shows what would have happened.
pub fn observe(settings: &Settings, memory: &mut Memory, seen: &Observation) -> Decision {
    let wish = decide(settings, memory, seen);
    match wish {
        Wish::Restart(_) => {
            memory.restarts += 1;
            memory.restarted = Some(seen.now);
        }
        Wish::Switch { .. } => switched(settings, memory, seen.now),
        Wish::Nothing(_) | Wish::Alert(_) => {}
    }
    Decision {
        wish,
        shadow: settings.shadow,
    }
}

fn decide(settings: &Settings, memory: &mut Memory, seen: &Observation) -> Wish {
    if !settings.enabled {
        *memory = Memory::default();
        return Wish::Nothing(Idle::Off);
    }
    let Some(active) = seen.active else {
        return Wish::Nothing(Idle::Switching);
    };
    if seen.condition == Condition::Well {
        memory.unwell_since = None;
        memory.restarts = 0;
        memory.restarted = None;
        return switch_back(settings, memory, seen, active);
    }
    memory.back_possible_since = None;
    let since = *memory.unwell_since.get_or_insert(seen.now);
    if let Some(wish) = restart(settings, memory, seen, active) {
        return wish;
    }
    if seen.now.saturating_sub(since) < settings.wait {
        return Wish::Nothing(Idle::Waiting);
    }
    match obstacle(settings, memory, seen) {
        Some(idle) => Wish::Alert(idle),
        None => Wish::Switch { to: active.other() },
    }
}

/// Step 408, as often as the operator allows; each gets its time to show.
fn restart(settings: &Settings, memory: &Memory, seen: &Observation, active: Side) -> Option<Wish> {
    if seen.condition == Condition::Silent {
        return None;
    }
    let shows = memory
        .restarted
        .is_some_and(|at| seen.now.saturating_sub(at) < settings.restart_patience);
    if shows {
        return Some(Wish::Nothing(Idle::Waiting));
    }
    (memory.restarts < settings.restarts).then_some(Wish::Restart(active))
}

fn obstacle(settings: &Settings, memory: &Memory, seen: &Observation) -> Option<Idle> {
    let held = memory
        .switches
        .last()
        .is_some_and(|at| seen.now.saturating_sub(*at) < settings.hold_down);
    match () {
        () if memory.locked_out => Some(Idle::LockedOut),
        () if held => Some(Idle::HeldDown),
        () if seen.proof == FencingProof::None => Some(Idle::NoProof),
        () if !seen.other_ready => Some(Idle::OtherNotReady),
        () => None,
    }
}

/// The application is well where it is; it may belong somewhere else.
fn switch_back(settings: &Settings, memory: &mut Memory, seen: &Observation, active: Side) -> Wish {
    let wanted = settings.switch_back && active == Side::Secondary;
    if !wanted || !seen.other_ready || !seen.other_complete {
        memory.back_possible_since = None;
        return Wish::Nothing(Idle::Well);
    }
    let since = *memory.back_possible_since.get_or_insert(seen.now);
    if seen.now.saturating_sub(since) < settings.well_before_back {
        return Wish::Nothing(Idle::Well);
    }
    match obstacle(settings, memory, seen) {
        Some(idle) => Wish::Nothing(idle),
        None => Wish::Switch { to: Side::Primary },
    }
}

fn switched(settings: &Settings, memory: &mut Memory, now: Moment) {
    memory.unwell_since = None;
    memory.back_possible_since = None;
    memory.restarts = 0;
    memory.restarted = None;
    memory
        .switches
        .retain(|at| now.saturating_sub(*at) < settings.lock_out_within);
    memory.switches.push(now);
    let count = u32::try_from(memory.switches.len()).unwrap_or(u32::MAX);
    memory.locked_out = count >= settings.lock_out_after;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ON: Settings = Settings {
        enabled: true,
        ..Settings::DEFAULT
    };

    fn seen(second: u64, condition: Condition) -> Observation {
        Observation {
            now: Duration::from_secs(second),
            active: Some(Side::Primary),
            condition,
            proof: FencingProof::ByLease,
            other_ready: true,
            other_complete: true,
        }
    }

    fn wish(memory: &mut Memory, observation: Observation) -> Wish {
        observe(&ON, memory, &observation).wish
    }

    #[test]
    fn it_restarts_first_and_switches_after_the_wait() {
        let mut memory = Memory::default();
        assert_eq!(
            wish(&mut memory, seen(1000, Condition::Unavailable)),
            Wish::Restart(Side::Primary)
        );
        assert_eq!(
            wish(&mut memory, seen(1030, Condition::Unavailable)),
            Wish::Nothing(Idle::Waiting)
        );
        assert_eq!(
            wish(&mut memory, seen(1299, Condition::Unavailable)),
            Wish::Nothing(Idle::Waiting)
        );
        let switch = Wish::Switch {
            to: Side::Secondary,
        };
        assert_eq!(
            wish(&mut memory, seen(1300, Condition::Unavailable)),
            switch
        );
    }

    #[test]
    fn a_restart_that_helped_ends_it() {
        let mut memory = Memory::default();
        wish(&mut memory, seen(1000, Condition::Unavailable));
        assert_eq!(
            wish(&mut memory, seen(1030, Condition::Well)),
            Wish::Nothing(Idle::Well)
        );
        assert_eq!(
            wish(&mut memory, seen(9000, Condition::Unavailable)),
            Wish::Restart(Side::Primary)
        );
    }

    #[test]
    fn without_proof_it_tells_somebody_and_does_nothing() {
        let mut memory = Memory::default();
        let silent = |second| Observation {
            proof: FencingProof::None,
            ..seen(second, Condition::Silent)
        };
        wish(&mut memory, silent(0));
        assert_eq!(
            wish(&mut memory, silent(10_000)),
            Wish::Alert(Idle::NoProof)
        );
        assert!(memory.switches.is_empty());
    }

    #[test]
    fn an_application_that_flaps_is_held_down_and_then_locked_out() {
        let mut memory = Memory::default();
        let (mut switches, mut active) = (Vec::new(), Side::Primary);
        for second in (0..48 * 3600).step_by(30) {
            let seen = Observation {
                active: Some(active),
                ..seen(second, Condition::Silent)
            };
            if let Wish::Switch { to } = wish(&mut memory, seen) {
                switches.push(second);
                active = to;
            }
        }
        assert_eq!(switches.len(), 3);
        assert!(switches.windows(2).all(|two| two[1] - two[0] >= 3600));
        assert!(memory.locked_out);
    }

    #[test]
    fn it_switches_back_only_when_told_to_and_after_a_long_time_of_health() {
        let back = Settings {
            switch_back: true,
            ..ON
        };
        let there = |second| Observation {
            active: Some(Side::Secondary),
            ..seen(second, Condition::Well)
        };
        let mut memory = Memory::default();
        assert_eq!(
            observe(&back, &mut memory, &there(10_000)).wish,
            Wish::Nothing(Idle::Well)
        );
        assert_eq!(
            observe(&back, &mut memory, &there(13_600)).wish,
            Wish::Switch { to: Side::Primary }
        );
        let mut memory = Memory::default();
        wish(&mut memory, there(10_000));
        assert_eq!(wish(&mut memory, there(90_000)), Wish::Nothing(Idle::Well));
    }

    fn condition() -> impl Strategy<Value = Condition> {
        prop_oneof![
            Just(Condition::Well),
            Just(Condition::Unavailable),
            Just(Condition::Silent)
        ]
    }

    fn proof() -> impl Strategy<Value = FencingProof> {
        prop_oneof![
            Just(FencingProof::None),
            Just(FencingProof::ByAgent),
            Just(FencingProof::ByLease)
        ]
    }

    proptest! {
        #[test]
        fn it_never_switches_without_proof_readiness_and_permission(
            steps in prop::collection::vec((0u64..2000, condition(), proof(), any::<(bool, bool)>()), 1..200),
            enabled: bool,
        ) {
            let settings = Settings { enabled, switch_back: true, ..Settings::DEFAULT };
            let (mut memory, mut second, mut last) = (Memory::default(), 0, None::<u64>);
            for (passed, condition, proof, (ready, primary)) in steps {
                second += passed;
                let active = if primary { Side::Primary } else { Side::Secondary };
                let seen = Observation { active: Some(active), proof, other_ready: ready, ..seen(second, condition) };
                if let Wish::Switch { to } = observe(&settings, &mut memory, &seen).wish {
                    prop_assert!(enabled && ready && proof != FencingProof::None && to == active.other());
                    prop_assert!(last.is_none_or(|last| second - last >= 3600));
                    last = Some(second);
                }
            }
        }
    }
}
