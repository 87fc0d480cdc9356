//! Process 400 wired to what is seen.

use std::time::Duration;

use lifeboat_agent::wire::UnixMillis;
use lifeboat_failover::Side;
use lifeboat_failover::autopilot::{
    Condition, Decision, FencingProof, Memory, Observation, Settings, Wish, observe,
};
use lifeboat_failover::lease::Moment;
use serde::{Deserialize, Serialize};

use crate::clock;

/// What is kept of Auto Pilot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// What the operator set.
    pub settings: Settings,
    /// What it remembers, on the clock of one boot.
    pub memory: Memory,
    /// That boot.
    pub boot: String,
    /// The two clocks at the moment of keeping, so that another boot can count on.
    pub at: (Moment, UnixMillis),
}

/// A change of what the operator set; what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Whether it acts.
    pub enabled: Option<bool>,
    /// Whether it only says what it would do.
    pub shadow: Option<bool>,
    /// How long it waits, in seconds.
    pub wait_s: Option<u64>,
    /// How often it restarts services first.
    pub restarts: Option<u32>,
    /// Whether it also switches back.
    pub switch_back: Option<bool>,
    /// Ends a lock-out.
    #[serde(default)]
    pub unlock: bool,
}

/// What is known now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    pub(crate) active: Option<Side>,
    pub(crate) condition: Condition,
    pub(crate) proof: FencingProof,
    pub(crate) other_ready: bool,
    pub(crate) other_complete: bool,
}

impl Kept {
    /// At the beginning.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            memory: Memory::default(),
            boot: clock::boot_id(),
            at: (clock::now(), clock::unix()),
        }
    }

    /// Taken up by a control centre that starts: after a reboot of its host, moments are counted
    /// on the new clock. Waiting begins anew, and what was counted stays counted.
    pub(crate) fn take_up(&mut self) {
        let boot = clock::boot_id();
        if self.boot != boot {
            let passed = Duration::from_millis(clock::unix().saturating_sub(self.at.1));
            rebase(&mut self.memory, self.at.0, passed, clock::now());
            self.boot = boot;
        }
        self.stamp();
    }

    fn stamp(&mut self) {
        self.at = (clock::now(), clock::unix());
    }

    /// Looks once. Says what it decided, and whether what is kept changed.
    pub(crate) fn look(&mut self, sight: Sight) -> (Decision, bool) {
        let before = self.memory.clone();
        let seen = Observation {
            now: clock::now(),
            active: sight.active,
            condition: sight.condition,
            proof: sight.proof,
            other_ready: sight.other_ready,
            other_complete: sight.other_complete,
        };
        let decision = observe(&self.settings, &mut self.memory, &seen);
        let changed = before != self.memory;
        if changed {
            self.stamp();
        }
        (decision, changed)
    }

    pub(crate) fn change(&mut self, change: &Change) {
        let settings = &mut self.settings;
        settings.enabled = change.enabled.unwrap_or(settings.enabled);
        settings.shadow = change.shadow.unwrap_or(settings.shadow);
        settings.wait = change.wait_s.map_or(settings.wait, Duration::from_secs);
        settings.restarts = change.restarts.unwrap_or(settings.restarts);
        settings.switch_back = change.switch_back.unwrap_or(settings.switch_back);
        if change.unlock {
            self.memory.locked_out = false;
            self.memory.switches.clear();
        }
        self.stamp();
    }
}

/// Moments of a clock that stood at `then` when `passed` time ago they were kept, on a clock that
/// stands at `now`. A moment before its beginning becomes its beginning, which is later: whatever
/// has to wait waits longer.
fn rebase(memory: &mut Memory, then: Moment, passed: Duration, now: Moment) {
    memory.unwell_since = None;
    memory.back_possible_since = None;
    memory.restarted = None;
    for at in &mut memory.switches {
        let age = then.saturating_sub(*at).saturating_add(passed);
        *at = now.saturating_sub(age);
    }
}

/// A wish in words.
pub(crate) fn words(wish: Wish) -> String {
    match wish {
        Wish::Nothing(idle) | Wish::Alert(idle) => idle.to_string(),
        Wish::Restart(side) => format!("restart the services of the {side}"),
        Wish::Switch { to } => format!("switch to the {to}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_of_the_control_centre_shortens_no_hold_down() {
        let second = Duration::from_secs(1);
        let mut memory = Memory {
            unwell_since: Some(second * 900),
            switches: vec![second * 100, second * 990],
            locked_out: true,
            ..Memory::default()
        };
        rebase(&mut memory, second * 1000, second * 60, second * 200);
        assert_eq!(memory.unwell_since, None, "waiting begins anew");
        assert_eq!(memory.switches, [Duration::ZERO, second * 130]);
        assert!(memory.locked_out);
    }
}
