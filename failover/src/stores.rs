//! Steps 344 to 356: mounting a store, and proving it good.
//!
//! A mounted store is not a good store: directory blocks can be gone while mounting and a quick
//! check both succeed. So a store counts only after its contents were read; what a check repaired
//! is filled up from the other side's copy.

use serde::{Deserialize, Serialize};

/// What can be done to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attempt {
    /// Mount it (348).
    Mount,
    /// Read what is in it.
    Read,
    /// The soft recovery utility (352).
    SoftRecovery,
    /// The hard recovery utility, then fill up from the other copy (356).
    HardRecovery,
}

/// What an attempt gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Which.
    pub attempt: Attempt,
    /// Whether it succeeded.
    pub ok: bool,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextAttempt {
    /// Do this.
    Do(Attempt),
    /// It is mounted and good.
    Good,
    /// Nothing helps.
    Lost,
}

/// Mounts that are attempted before recovery (348: at least two).
const MOUNTS: usize = 2;

/// What comes next after `tried`, in order.
pub fn next_attempt(tried: &[Tried]) -> NextAttempt {
    match tried.last() {
        None => NextAttempt::Do(Attempt::Mount),
        Some(Tried {
            attempt: Attempt::Mount,
            ok: true,
        }) => NextAttempt::Do(Attempt::Read),
        Some(Tried {
            attempt: Attempt::Read,
            ok: true,
        }) => NextAttempt::Good,
        Some(Tried {
            attempt: Attempt::Mount,
            ok: false,
        }) if mounts(tried) < MOUNTS => NextAttempt::Do(Attempt::Mount),
        Some(Tried {
            attempt: Attempt::Mount | Attempt::Read,
            ok: false,
        }) => recover(tried),
        // A soft recovery that failed is followed by the hard one, one that succeeded by mounting.
        Some(Tried {
            attempt: Attempt::SoftRecovery,
            ok: false,
        }) => NextAttempt::Do(Attempt::HardRecovery),
        Some(Tried {
            attempt: Attempt::HardRecovery,
            ok: false,
        }) => NextAttempt::Lost,
        Some(Tried {
            attempt: Attempt::SoftRecovery | Attempt::HardRecovery,
            ok: true,
        }) => NextAttempt::Do(Attempt::Mount),
    }
}

/// Failed mounts since the last recovery.
fn mounts(tried: &[Tried]) -> usize {
    tried
        .iter()
        .rev()
        .take_while(|one| one.attempt == Attempt::Mount)
        .count()
}

fn recover(tried: &[Tried]) -> NextAttempt {
    let was = |attempt| tried.iter().any(|one| one.attempt == attempt);
    match () {
        () if !was(Attempt::SoftRecovery) && !was(Attempt::HardRecovery) => {
            NextAttempt::Do(Attempt::SoftRecovery)
        }
        () if !was(Attempt::HardRecovery) => NextAttempt::Do(Attempt::HardRecovery),
        () => NextAttempt::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is tried when each attempt gives what `outcome` says of it and of how often it was
    /// tried before.
    fn course(outcome: impl Fn(Attempt, usize) -> bool) -> (Vec<Attempt>, NextAttempt) {
        let mut tried = Vec::<Tried>::new();
        loop {
            match next_attempt(&tried) {
                NextAttempt::Do(attempt) => {
                    let before = tried.iter().filter(|one| one.attempt == attempt).count();
                    tried.push(Tried {
                        attempt,
                        ok: outcome(attempt, before),
                    });
                    assert!(tried.len() < 20, "{tried:?}");
                }
                end => return (tried.iter().map(|one| one.attempt).collect(), end),
            }
        }
    }

    #[test]
    fn a_good_store_is_mounted_and_read() {
        let (course, end) = course(|_, _| true);
        assert_eq!(
            (course, end),
            (vec![Attempt::Mount, Attempt::Read], NextAttempt::Good)
        );
    }

    #[test]
    fn two_mounts_then_soft_then_hard_then_it_is_lost() {
        use Attempt::{HardRecovery, Mount, SoftRecovery};
        let (course, end) = course(|attempt, _| attempt == SoftRecovery || attempt == HardRecovery);
        let expected = vec![
            Mount,
            Mount,
            SoftRecovery,
            Mount,
            Mount,
            HardRecovery,
            Mount,
            Mount,
        ];
        assert_eq!((course, end), (expected, NextAttempt::Lost));
    }

    #[test]
    fn a_store_that_mounts_and_cannot_be_read_is_recovered() {
        let (course, end) = course(|attempt, before| attempt != Attempt::Read || before > 1);
        assert_eq!(end, NextAttempt::Good);
        assert!(course.contains(&Attempt::SoftRecovery) && course.contains(&Attempt::HardRecovery));
    }
}
