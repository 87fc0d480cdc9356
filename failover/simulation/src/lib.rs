//! The control centre and the two agents in a world that loses, delays, doubles and reorders
//! messages, cuts links in one direction, stops processes and hosts for many leases, kills them at
//! any point between two effects, and lets their clocks run at different speeds from different
//! beginnings. One seed is one history; the same seed gives the same history.
//!
//! What must never be seen: both sides serving at once. What must be seen: after all faults have
//! ended, exactly one side serves.
//!
//! What the world takes for granted, and a real host has to provide: the watchdog acts before the
//! application when a host goes on after a pause, and the application does not start with the host
//! but by its agent only.

mod host;
mod world;

pub use world::{Bug, Fault, Verdict, World};

/// Plays the history of one seed.
pub fn play(seed: u64, bug: Option<Bug>) -> Verdict {
    World::new(seed, bug).play()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_histories_without_two_serving() {
        for seed in 0..10_000 {
            let verdict = play(seed, None);
            assert_eq!(verdict.fault, None, "seed {seed}");
        }
    }

    #[test]
    fn the_histories_are_full_of_what_they_are_about() {
        let verdicts: Vec<Verdict> = (0..500).map(|seed| play(seed, None)).collect();
        let sum = |count: fn(&Verdict) -> u64| verdicts.iter().map(count).sum::<u64>();
        assert!(sum(|verdict| verdict.promotions) > 500, "promotions");
        assert!(
            sum(|verdict| verdict.lapsed) > 100,
            "promotions after a lapse"
        );
        assert!(sum(|verdict| verdict.fenced_by_watchdog) > 100, "watchdog");
        assert!(sum(|verdict| verdict.crashes) > 500, "crashes");
    }

    #[test]
    fn every_planted_bug_is_found() {
        for bug in Bug::ALL {
            let found =
                (0..20_000).find(|seed| play(*seed, Some(bug)).fault == Some(Fault::BothServe));
            assert!(found.is_some(), "{bug:?} was not found in 20,000 histories");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_history() {
        for seed in 0..50 {
            assert_eq!(play(seed, None), play(seed, None));
        }
    }
}
