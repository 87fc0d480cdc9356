//! Process 500: data flow from the active to the passive side, and only when they may.

use serde::{Deserialize, Serialize};

/// What the replication engine says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Session {
    /// There is none.
    Absent,
    /// It runs.
    Running {
        /// Whether it keeps up.
        healthy: bool,
    },
    /// It is kept and sends nothing.
    Paused,
}

/// What was tried already in this trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Un-pausing failed (518).
    pub unpause_failed: bool,
    /// How often the session was made anew because it did not keep up.
    pub remedies: u32,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Nothing (514, 522).
    Watch,
    /// Make a session, mirror everything with a check of every difference (506).
    EstablishAndMirror,
    /// Stop sending (510).
    Pause,
    /// Send again (516).
    Unpause,
    /// Make the session anew: it does not keep up.
    Remedy,
    /// Tell somebody: sending could not be resumed, or remedies do not help (520).
    Alert,
}

/// How often a session that does not keep up is made anew before somebody is told.
const REMEDIES: u32 = 2;

/// One round of process 500.
pub fn round(enabled: bool, session: Session, memory: Memory) -> Step {
    match (enabled, session) {
        // Nothing is sent while it is off, so a session is not made either.
        (false, Session::Absent | Session::Paused) => Step::Watch,
        (false, Session::Running { .. }) => Step::Pause,
        (true, Session::Absent) => Step::EstablishAndMirror,
        (true, Session::Paused) if memory.unpause_failed => Step::Alert,
        (true, Session::Paused) => Step::Unpause,
        (true, Session::Running { healthy: true }) => Step::Watch,
        (true, Session::Running { healthy: false }) if memory.remedies < REMEDIES => Step::Remedy,
        (true, Session::Running { healthy: false }) => Step::Alert,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Memory = Memory {
        unpause_failed: false,
        remedies: 0,
    };

    #[test]
    fn nothing_is_ever_sent_while_it_is_off() {
        for session in [
            Session::Absent,
            Session::Paused,
            Session::Running { healthy: true },
        ] {
            let step = round(false, session, FRESH);
            assert!(
                matches!(step, Step::Watch | Step::Pause),
                "{session:?} {step:?}"
            );
        }
        assert_eq!(
            round(false, Session::Running { healthy: false }, FRESH),
            Step::Pause
        );
    }

    #[test]
    fn a_session_that_lags_is_remedied_and_then_reported() {
        let lags = Session::Running { healthy: false };
        assert_eq!(round(true, lags, FRESH), Step::Remedy);
        let tried = Memory {
            remedies: REMEDIES,
            ..FRESH
        };
        assert_eq!(round(true, lags, tried), Step::Alert);
    }

    #[test]
    fn a_pause_ends_or_somebody_is_told() {
        assert_eq!(round(true, Session::Paused, FRESH), Step::Unpause);
        let failed = Memory {
            unpause_failed: true,
            ..FRESH
        };
        assert_eq!(round(true, Session::Paused, failed), Step::Alert);
    }
}
