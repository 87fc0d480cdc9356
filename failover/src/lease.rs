//! Epochs and leases: who may serve, and until when.
//!
//! An epoch is a number that only grows; at most one side holds it. Serving needs a *lease* on the
//! epoch, which the active side's agent renews all the time. Two parties can renew it, and one of
//! them is enough: the control centre, and the agent of the passive side. So the application goes
//! on when either of them is lost, and stops by itself when its host is cut off from both.
//!
//! Promotion turns that round: the control centre and the candidate (the passive side, which must
//! be alive to be promoted) both stop renewing, and the candidate serves only once the old holder
//! *said* that it is fenced, or every lease that either of them gave has run out.
//!
//! Clocks are never compared between hosts. A holder counts its lease from the moment it *sent*
//! the request, a grantor from the moment it *answered*, both on their own monotonic clock, and
//! both allow for clocks that run at different speeds ([`Terms::drift_permille`]). Hence a lease
//! ends at its holder before it ends at its grantor, whatever the network does to the messages.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A ticket to serve; greater is newer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The one after this.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "epoch {}", self.0)
    }
}

/// A moment on one host's own monotonic clock, which also runs while the host sleeps
/// (`CLOCK_BOOTTIME`). Meaningless on any other host and after a reboot.
pub type Moment = Duration;

/// What both ends of a lease agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How long a lease lasts.
    pub length: Duration,
    /// By how many thousandths clocks may run faster or slower than real time.
    pub drift_permille: u32,
}

impl Terms {
    /// Ten seconds, five thousandths: oscillators of servers stay far below that.
    pub const DEFAULT: Self = Self {
        length: Duration::from_secs(10),
        drift_permille: 5,
    };

    /// How long a holder trusts a lease after it asked for it.
    pub fn held(self) -> Duration {
        self.length.saturating_sub(self.allowance())
    }

    /// How long a grantor has to wait after its last answer.
    pub fn granted(self) -> Duration {
        self.length.saturating_add(self.allowance())
    }

    /// How often a holder asks.
    pub fn renewal(self) -> Duration {
        self.length / 3
    }

    fn allowance(self) -> Duration {
        self.length.saturating_mul(self.drift_permille) / 1000
    }
}

/// The agent's end of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    terms: Terms,
    epoch: Epoch,
    valid_until: Moment,
    fenced: bool,
}

impl Holder {
    /// A holder that was told to serve in `epoch` and has no lease yet.
    pub fn new(terms: Terms, epoch: Epoch) -> Self {
        Self {
            terms,
            epoch,
            valid_until: Moment::ZERO,
            fenced: false,
        }
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// A grant arrived for the request that was sent at `asked`.
    pub fn granted(&mut self, epoch: Epoch, asked: Moment) {
        if epoch == self.epoch && !self.fenced {
            self.valid_until = self
                .valid_until
                .max(asked.saturating_add(self.terms.held()));
        }
    }

    /// Gives the lease up for good: this epoch is never served again here.
    pub fn fence(&mut self) {
        self.fenced = true;
        self.valid_until = Moment::ZERO;
    }

    /// Takes over what an earlier start of the agent, in the same boot of the host, was granted.
    pub fn take_over(&mut self, valid_until: Moment) {
        self.valid_until = valid_until;
    }

    /// Forgets a lease that ran out; a new one may come.
    pub fn lapse(&mut self) {
        self.valid_until = Moment::ZERO;
    }

    /// Whether it gave the lease up.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// Until when the application may serve; the watchdog is armed for this moment.
    pub fn valid_until(&self) -> Moment {
        self.valid_until
    }

    /// Whether the application may serve now.
    pub fn may_serve(&self, now: Moment) -> bool {
        !self.fenced && now < self.valid_until
    }
}

/// Counts the attempts of the control centre to replace an epoch, so that a word of an earlier
/// attempt that was late on its way is not taken for one of the present.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Attempt(pub u64);

/// What a grantor must not forget, whatever happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct GrantorRecord {
    /// The newest epoch it knows of.
    pub epoch: Epoch,
    /// Whether it promised to renew that epoch no more.
    pub stopped: bool,
    /// The newest attempt that it heard of.
    pub attempt: Attempt,
}

/// The end of a lease that renews it: the control centre, and the passive side's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grantor {
    terms: Terms,
    record: GrantorRecord,
    lapses: Moment,
}

/// Why a renewal is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotGranted {
    /// A newer epoch exists: whoever asks has been replaced and must fence itself.
    #[error("{0} is the newer one: fence the application, it was moved")]
    Superseded(Epoch),
    /// The epoch is about to be replaced.
    #[error("a switch is under way: the lease is not renewed")]
    Stopped,
    /// This party never heard of the epoch.
    #[error("this epoch is not known here")]
    Unknown,
}

impl Grantor {
    /// A grantor that starts at `now` with what it had written down. It does not know what it
    /// granted before, so it assumes the most.
    pub fn restart(terms: Terms, record: GrantorRecord, now: Moment) -> Self {
        Self {
            terms,
            record,
            lapses: now.saturating_add(terms.granted()),
        }
    }

    /// What has to be written down before anything that follows from it is sent.
    pub fn record(&self) -> GrantorRecord {
        self.record
    }

    /// Answers a request to renew `epoch`.
    pub fn renew(&mut self, epoch: Epoch, now: Moment) -> Result<(), NotGranted> {
        match epoch.cmp(&self.record.epoch) {
            std::cmp::Ordering::Less => Err(NotGranted::Superseded(self.record.epoch)),
            std::cmp::Ordering::Greater => Err(NotGranted::Unknown),
            std::cmp::Ordering::Equal if self.record.stopped => Err(NotGranted::Stopped),
            std::cmp::Ordering::Equal => {
                self.lapses = self.lapses.max(now.saturating_add(self.terms.granted()));
                Ok(())
            }
        }
    }

    /// Promises not to renew `epoch`, or an older one, any more. To be written down before it is
    /// said. Says whether the promise holds: not for a word of an earlier attempt.
    pub fn stop(&mut self, epoch: Epoch, attempt: Attempt) -> bool {
        let holds = epoch >= self.record.epoch && attempt >= self.record.attempt;
        if holds {
            self.record = GrantorRecord {
                epoch,
                stopped: true,
                attempt,
            };
        }
        holds
    }

    /// Takes up a new epoch, in which the other side serves. Older ones are refused from now on.
    pub fn take_up(&mut self, epoch: Epoch) {
        if epoch > self.record.epoch {
            self.record = GrantorRecord {
                epoch,
                stopped: false,
                attempt: self.record.attempt,
            };
        }
    }

    /// Takes the promise of [`Grantor::stop`] back: that attempt was given up before anybody else
    /// was promoted, and only the control centre can know that.
    pub fn resume(&mut self, epoch: Epoch, attempt: Attempt) {
        if epoch == self.record.epoch && attempt >= self.record.attempt {
            self.record.stopped = false;
            self.record.attempt = attempt;
        }
    }

    /// How long until nothing that it granted can be valid any more; zero when that is so.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.lapses.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERMS: Terms = Terms::DEFAULT;
    const ONE: Epoch = Epoch(1);

    fn grantor() -> Grantor {
        let record = GrantorRecord {
            epoch: ONE,
            ..GrantorRecord::default()
        };
        Grantor::restart(TERMS, record, Moment::ZERO)
    }

    #[test]
    fn a_holder_without_a_grant_may_not_serve() {
        assert!(!Holder::new(TERMS, ONE).may_serve(Moment::ZERO));
    }

    #[test]
    fn a_late_answer_counts_from_the_question() {
        let mut holder = Holder::new(TERMS, ONE);
        holder.granted(ONE, Duration::from_secs(1));
        assert!(holder.may_serve(Duration::from_secs(10)));
        assert!(!holder.may_serve(Duration::from_secs(11)));
    }

    #[test]
    fn a_fenced_holder_stays_fenced_whatever_arrives() {
        let mut holder = Holder::new(TERMS, ONE);
        holder.fence();
        holder.granted(ONE, Duration::from_secs(1));
        assert!(!holder.may_serve(Duration::from_secs(1)));
    }

    #[test]
    fn a_grantor_that_stopped_renews_no_more_until_it_is_told_that_nothing_came_of_it() {
        let mut grantor = grantor();
        assert!(grantor.stop(ONE, Attempt(1)));
        assert_eq!(grantor.renew(ONE, Moment::ZERO), Err(NotGranted::Stopped));
        grantor.resume(ONE, Attempt(1));
        assert_eq!(grantor.renew(ONE, Moment::ZERO), Ok(()));
    }

    #[test]
    fn a_late_word_of_an_earlier_attempt_changes_nothing() {
        let mut grantor = grantor();
        assert!(grantor.stop(ONE, Attempt(2)));
        grantor.resume(ONE, Attempt(1));
        assert_eq!(grantor.renew(ONE, Moment::ZERO), Err(NotGranted::Stopped));
        grantor.resume(ONE, Attempt(2));
        assert!(!grantor.stop(ONE, Attempt(1)));
        assert_eq!(grantor.renew(ONE, Moment::ZERO), Ok(()));
    }

    #[test]
    fn an_old_epoch_is_told_of_the_new_one() {
        let mut grantor = grantor();
        grantor.take_up(Epoch(2));
        let refused = grantor.renew(ONE, Moment::ZERO);
        assert_eq!(refused, Err(NotGranted::Superseded(Epoch(2))));
    }

    #[test]
    fn a_restarted_grantor_waits_a_whole_lease() {
        let restarted = Grantor::restart(TERMS, grantor().record(), Duration::from_secs(100));
        assert_eq!(
            restarted.remaining(Duration::from_secs(100)),
            TERMS.granted()
        );
    }

    proptest! {
        /// Clocks at different speeds, any delay on the way: the holder's end comes first.
        #[test]
        fn a_lease_ends_at_its_holder_first(
            asked in 0u64..1_000_000,
            on_the_way in 0u64..100_000,
            holder_speed in 996i64..=1004,
            grantor_speed in 996i64..=1004,
        ) {
            let (holder_clock, grantor_clock) = (clock(holder_speed), clock(grantor_speed));
            let mut holder = Holder::new(TERMS, ONE);
            let mut grantor = grantor();
            prop_assert!(grantor.renew(ONE, grantor_clock(asked + on_the_way)).is_ok());
            holder.granted(ONE, holder_clock(asked));
            let mut real = asked;
            while holder.may_serve(holder_clock(real)) {
                prop_assert!(grantor.remaining(grantor_clock(real)) > Duration::ZERO);
                real += 37;
            }
        }
    }

    fn clock(speed: i64) -> impl Fn(u64) -> Moment {
        move |real| Duration::from_micros(real * u64::try_from(speed).expect("positive"))
    }
}
