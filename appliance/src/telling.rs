//! A bounded log that many follow: what was told can be read again from a number
//! on, as far as it is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// How much a follower takes at once.
const BATCH: usize = 64;

/// The log.
#[derive(Debug)]
pub struct Telling<T> {
    told: Mutex<Told<T>>,
    last: watch::Sender<u64>,
}

#[derive(Debug)]
struct Told<T> {
    kept: VecDeque<(u64, T)>,
    most: usize,
    last: u64,
    /// Everything up to this number is gone.
    gone: u64,
    closed: bool,
}

/// What a follower hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<T> {
    /// Something that was told, with its number.
    One(u64, T),
    /// What was told between these numbers, both included, is kept no more.
    Missed(u64, u64),
}

impl<T: Clone> Telling<T> {
    /// An empty log that keeps at most `most`.
    pub fn new(most: usize) -> Arc<Self> {
        let told = Told {
            kept: VecDeque::new(),
            most,
            last: 0,
            gone: 0,
            closed: false,
        };
        Arc::new(Self {
            told: Mutex::new(told),
            last: watch::Sender::new(0),
        })
    }

    /// Tells something; returns its number.
    pub fn tell(&self, one: T) -> u64 {
        self.tell_over(one, |_| false)
    }

    /// Tells something in the place of what was told last, if that is outdated by it.
    pub fn tell_over(&self, one: T, outdates: impl FnOnce(&T) -> bool) -> u64 {
        let number = {
            let mut told = self.told();
            if told.kept.back().is_some_and(|(_, last)| outdates(last)) {
                told.kept.pop_back();
            }
            told.push(one)
        };
        self.last.send_replace(number);
        number
    }

    /// The number of what was told last; 0 when nothing was.
    pub fn last(&self) -> u64 {
        self.told().last
    }

    /// Nothing more will be told: followers hear the rest and end.
    pub fn close(&self) {
        let last = {
            let mut told = self.told();
            told.closed = true;
            told.last
        };
        self.last.send_replace(last);
    }

    /// Follows from what comes after this number.
    pub fn follow(self: &Arc<Self>, after: u64) -> Follower<T> {
        Follower {
            last: self.last.subscribe(),
            telling: self.clone(),
            after,
            waiting: VecDeque::new(),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told<T>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Told<T> {
    fn push(&mut self, one: T) -> u64 {
        self.last += 1;
        self.kept.push_back((self.last, one));
        if self.kept.len() > self.most
            && let Some((number, _)) = self.kept.pop_front()
        {
            self.gone = number;
        }
        self.last
    }
}

/// Reads along.
#[derive(Debug)]
pub struct Follower<T> {
    telling: Arc<Telling<T>>,
    last: watch::Receiver<u64>,
    after: u64,
    waiting: VecDeque<Heard<T>>,
}

impl<T: Clone> Follower<T> {
    /// The next; `None` at the end. Nothing is lost when it is dropped half-way.
    pub async fn next(&mut self) -> Option<Heard<T>> {
        loop {
            self.last.mark_unchanged();
            if let Some(heard) = self.waiting.pop_front() {
                return Some(heard);
            }
            if self.fetch() {
                continue;
            }
            if self.telling.told().closed {
                return None;
            }
            self.last.changed().await.ok()?;
        }
    }

    /// Whether there was anything.
    fn fetch(&mut self) -> bool {
        let told = self.telling.told();
        // A number of another life of the daemon is larger than any of this one.
        self.after = self.after.min(told.last);
        if self.after < told.gone {
            self.waiting
                .push_back(Heard::Missed(self.after + 1, told.gone));
            self.after = told.gone;
        }
        let from = told
            .kept
            .partition_point(|(number, _)| *number <= self.after);
        for (number, one) in told.kept.iter().skip(from).take(BATCH) {
            self.after = *number;
            self.waiting.push_back(Heard::One(*number, one.clone()));
        }
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(follower: &mut Follower<&'static str>) -> Vec<Heard<&'static str>> {
        let mut heard = Vec::new();
        while let Some(one) = follower.next().await {
            heard.push(one);
        }
        heard
    }

    #[tokio::test]
    async fn who_comes_late_hears_what_is_kept_and_what_he_missed() {
        let telling = Telling::new(2);
        for one in ["a", "b", "c"] {
            telling.tell(one);
        }
        telling.close();
        let kept = [Heard::One(2, "b"), Heard::One(3, "c")];
        assert_eq!(
            all(&mut telling.follow(0)).await,
            [&[Heard::Missed(1, 1)], &kept[..]].concat()
        );
        assert_eq!(all(&mut telling.follow(1)).await, kept);
        assert_eq!(all(&mut telling.follow(3)).await, []);
        assert_eq!(all(&mut telling.follow(99)).await, []);
    }

    #[tokio::test]
    async fn what_is_outdated_gives_way_under_a_new_number() {
        let telling = Telling::new(9);
        telling.tell("10 %");
        let mut early = telling.follow(0);
        assert_eq!(early.next().await, Some(Heard::One(1, "10 %")));
        telling.tell_over("20 %", |last| last.ends_with('%'));
        telling.tell_over("end", |_| false);
        telling.close();
        let rest = [Heard::One(2, "20 %"), Heard::One(3, "end")];
        assert_eq!(all(&mut early).await, rest);
        assert_eq!(all(&mut telling.follow(0)).await, rest);
    }

    #[tokio::test]
    async fn a_follower_waits_for_what_comes() {
        let telling = Telling::new(9);
        let mut follower = telling.follow(0);
        let hearing = tokio::spawn(async move { all(&mut follower).await });
        tokio::task::yield_now().await;
        telling.tell("a");
        telling.close();
        assert_eq!(hearing.await.unwrap(), [Heard::One(1, "a")]);
    }
}
